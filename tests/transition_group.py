"""A group of evaluations that is really asked: data, settings and a lake in a folder, and a server on loopback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import yaml
from llm_server import MODEL, LlmServer, Received, Reply, events_of, stream, usage

from groundlake.store import Lake
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.data.prepare import Preparation, group_folder, prepare
from groundlake.transition.inference.run import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.inference.outcome import RunOutcome

GROUP = "g"
PROGRAM = """
import sys
from groundlake.store import Lake
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.inference.run import run
said = []
outcome = run(load_settings(sys.argv[1]), Lake(sys.argv[2]), on_event=lambda event: said.append(event.now))
print(outcome.interrupted, outcome.asked, said[-1])
"""


class Recall(LlmServer):
    """Answers "answer to e03" to the question of example e03; `special` makes other replies of some examples.

    Attributes:
        asked: Examples in the order in which they came.
        special: Reply by example; a list gives one after the other, then the usual one.
        hold_from: From the request of this number on nothing is answered; None answers all.
        held: Set as soon as such a request is there.
    """

    def __init__(self, *, meet: int = 1) -> None:
        super().__init__(meet=meet)
        self.asked: list[str] = []
        self.special: dict[str, Callable[[], Reply] | list[Reply]] = {}
        self.hold_from: int | None = None
        self.held = threading.Event()

    def answer(self, received: Received) -> Reply:
        prompt = received.body["messages"][-1]["content"]
        name = re.findall(r"What of (e\d+)\?", prompt)[-1]
        self.asked.append(name)
        if self.hold_from is not None and len(self.asked) >= self.hold_from:
            self.held.set()
            return stream([], ending="hang")
        special = self.special.get(name)
        if callable(special):
            return special()
        return special.pop(0) if special else said(f"answer to {name}")


def said(text: str, finish: str = "stop") -> Reply:
    """A whole answer."""
    return stream(events_of([text], finish=finish, counted=usage(100, 4)))


class Group:
    """A folder with the data of a group, its settings and its lake.

    Args:
        folder: Where it is.
        url: Of the endpoint.
        examples: So many questions; that of a higher number is longer.
    """

    def __init__(self, folder: Path, url: str, *, examples: int = 6, **settings: dict[str, Any]) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.lake = Lake(folder / "lake")
        self.file = folder / "g.yaml"
        self.write_data(examples)
        told: dict[str, dict[str, Any]] = {
            "dataset": {"name": "made", "task": "hotpotqa", "path": "data.jsonl", "n_per_bin": 100},
            "binning": {"n_bins": 2},
            "model": {"name": MODEL},
            "engine": {"base_url": url, "concurrency": 1, "timeout_s": 20.0},
            "run": {"retries": {"max_attempts": 1, "base_s": 0.0, "cap_s": 0.0, "longest_s": 1.0}},
            "output": {"exp_group_id": GROUP, "folder": str(folder / "results")},
        }
        for part, keys in settings.items():
            told[part] = told.get(part, {}) | keys
        self.file.write_text(yaml.safe_dump(told))

    def write_data(self, examples: int, *, words: str = "words") -> None:
        rows = (
            {
                "_id": f"e{number:02}",
                "input": f"What of e{number:02}?",
                "context": f"{words} of {number} " * (5 * number),
                "answers": [f"answer to e{number:02}"],
            }
            for number in range(1, examples + 1)
        )
        (self.folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    @property
    def results(self) -> Path:
        return group_folder(self.settings())

    def settings(self, *overrides: str) -> Settings:
        return load_settings(self.file, overrides, {})

    def prepare(self, *overrides: str, force: bool = False) -> Preparation:
        return prepare(self.settings(*overrides), self.lake, force=force)

    def run(self, *overrides: str, **options: Any) -> RunOutcome:
        return run(self.settings(*overrides), self.lake, **options)

    def start(self) -> subprocess.Popen[str]:
        """Ask in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.file), str(self.lake.root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.lake.sql(query).rows()

    def one(self, query: str) -> dict[str, Any]:
        (row,) = self.lake.sql(query).pl().to_dicts()
        return row

    def failures(self) -> dict[str, str]:
        """Failure by example, as it stands."""
        return dict(self.rows("select example_id, failure from kv_current_requests where state = 'failed'"))

    def texts(self) -> pl.DataFrame:
        """Every answer in the lake, old ones too."""
        return self.lake.sql(
            "select q.example_id, q.request_id, p.text from kv_requests q join kv_responses p "
            "on p.run_id = q.run_id and p.request_id = q.request_id order by q.example_id"
        ).pl()

    def require_consistent(self) -> None:
        """Every request ends in one response or one failure, and nothing breaks a rule."""
        assert self.rows("select * from kv_integrity") == []
        counted = "select (select count(*) from kv_requests), (select count(*) from kv_responses)"
        ((requests, responses, failures),) = self.rows(f"{counted}, (select count(*) from kv_failures)")
        assert responses + failures == requests
