"""`lake kv` as a user calls it: the shipped model on the shipped data, every stage, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Cli
from llm_server import LlmServer, Received, Reply, error, stream

import groundlake.transition.recall
from groundlake.cli.app import app
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow  # together they take minutes

needs_kvpress = pytest.mark.skipif(find_spec("kvpress") is None, reason="kvpress is not installed")

STAGES = ("prepare", "run", "score", "analyze", "report")
TREE = [
    "manifest.json",
    "plots/acc_by_bin.png",
    "plots/fail_by_bin.png",
    "plots/latency_p50_by_bin.png",
    "report.html",
    "report.md",
]
WIDE = {
    "dataset.pinned_example_ids": "[]",
    "dataset.n_per_bin": "40",
    "binning.n_bins": "4",
    "kv.budgets": "[1.0, 0.2]",
    "output.exp_group_id": "wide",
}
"""All 160 examples: enough to say whether quality falls at each length."""

SERVED = """
dataset: {{name: recall, task: kv_recall, path: {data}, n_per_bin: 2}}
binning: {{n_bins: 2}}
tokenizer: {{name: words}}
model: {{name: test-model}}
engine: {{type: openai, base_url: "{url}", concurrency: 2}}
kv: {{policy: snapkv, budgets: [1.0, 0.5], apply: extra_body, extra_body: {{kv_budget: "${{budget}}"}}}}
output: {{exp_group_id: served}}
"""


WAIT_S = 60


def overrides(settings: dict[str, str]) -> list[str]:
    return [text for name, value in settings.items() for text in ("--override", f"{name}={value}")]


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer() as server:
        yield server


@pytest.fixture
def served(cli: Cli, server: LlmServer) -> str:
    """Settings of an evaluation that asks a server, whose answers are any words: enough for what is not quality."""
    data = Path(str(groundlake.transition.recall.__file__)).parent / "data"
    file = cli.folder / "served.yaml"
    file.write_text(SERVED.format(data=data, url=server.url))
    return str(file)


class Inside:
    """Runs `lake` in this process: what a user's command does, without the start of Python for each one."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture

    def __call__(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `lake` with these arguments and check its exit code."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(each) for each in arguments], prog_name="lake")
        out, err = self._capture.readouterr()
        assert (ended.value.code or 0) == code, f"exit code {ended.value.code}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, code, out, err)


@pytest.fixture
def inside(cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Inside:
    """The command line in the folder of `cli`, in this process; a test that begins with many commands takes it."""
    monkeypatch.chdir(cli.folder)
    monkeypatch.delenv("LAKE_ROOT", raising=False)
    return Inside(cli.folder, capsys)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A folder in which the sanity profile was evaluated; tests that change anything copy it."""
    cli = Cli(tmp_path_factory.mktemp("evaluated"))
    (cli.folder / "said.txt").write_text(cli("kv", "all", "-c", "sanity").stdout)
    return cli


@needs_kvpress
def test_all_does_every_stage_and_leaves_exactly_the_files_of_a_group(evaluated: Cli) -> None:
    said = (evaluated.folder / "said.txt").read_text()
    assert [line.partition(":")[0] for line in said.splitlines() if line[0] != " "] == [
        *("prepare", "run", "run", "score", "analyze", "report")
    ]
    assert tree(evaluated.folder / "results/kv/sanity") == TREE
    assert "FAILED" not in evaluated("kv", "verify", "-c", "sanity").stdout
    resolved = evaluated("kv", "resolve", "-c", "sanity").stdout
    assert all(f"{stage}=done" in resolved for stage in STAGES)


@needs_kvpress
def test_all_does_nothing_a_second_time(evaluated: Cli, tmp_path: Path) -> None:
    again = Cli(shutil.copytree(evaluated.folder, tmp_path / "again"))
    folder = again.folder / "results/kv/sanity"
    before = {name: (folder / name).read_bytes() for name in TREE}
    runs = Lake(again.folder / "lake").runs().height
    second = again("kv", "all", "-c", "sanity").stdout
    assert "nothing to ask" in second
    assert "0 answers scored, 20 had a score" in second
    assert Lake(again.folder / "lake").runs().height == runs
    assert {name: (folder / name).read_bytes() for name in TREE} == before


@needs_kvpress
def test_the_shipped_model_answers_with_the_whole_cache_and_loses_answers_with_a_fifth_of_it(cli: Cli) -> None:
    cli("kv", "all", "-c", "sanity", *overrides(WIDE))
    lake = Lake(cli.folder / "lake")
    accuracy = dict(lake.sql("SELECT budget, accuracy_all FROM kv_bin_stats WHERE bin_index = -1").rows())
    assert accuracy[1.0] >= 0.9
    change = lake.sql(
        "SELECT change, ci_lower, ci_upper FROM kv_deltas WHERE bin_index = -1 AND subject = 'accuracy_all' "
        "AND comparison = 'baseline'"
    ).rows()[0]
    assert change[0] == pytest.approx(accuracy[0.2] - accuracy[1.0])
    assert change[1] <= change[0] <= change[2] < 0
    kept = lake.sql("SELECT budget, num_verified, kept_fraction_mean FROM kv_run_summary ORDER BY budget").rows()
    assert [(budget, verified) for budget, verified, _ in kept] == [(0.2, 160), (1.0, 160)]
    assert [share for *_, share in kept] == [pytest.approx(0.2, abs=0.01), 1.0]
    report = (cli.folder / "results/kv/wide/report.md").read_text()
    lengths = lake.sql("SELECT bin_index, tokens_from FROM kv_bin_stats WHERE budget = 1 AND bin_index >= 0").rows()
    assert len(lengths) == 4
    assert all(f"| {bin_index} | {tokens} |" in report for bin_index, tokens in lengths), "the effect of length"


@pytest.mark.parametrize("stage", ["run", "score", "analyze", "report"])
def test_a_stage_names_the_one_that_has_to_come_first(inside: Inside, served: str, stage: str) -> None:
    assert "lake kv prepare" in inside("kv", stage, "-c", served, code=2).stderr


def test_stages_one_by_one_refuse_to_go_ahead_of_each_other(inside: Inside, served: str) -> None:
    inside("kv", "prepare", "-c", served)
    assert "lake kv run" in inside("kv", "score", "-c", served, code=2).stderr
    assert "lake kv run" in inside("kv", "all", "-c", served, "--from", "score", code=2).stderr
    assert Lake(inside.folder / "lake").sql("SELECT count(*) FROM kv_requests").rows() == [(0,)]
    views = inside.folder / "lake.db"
    views.unlink()
    inside("kv", "run", "-c", served)
    assert views.exists()
    assert "lake kv score" in inside("kv", "analyze", "-c", served, code=2).stderr
    inside("kv", "score", "-c", served)
    assert "lake kv analyze" in inside("kv", "report", "-c", served, code=2).stderr
    assert "FAILED analyze.current" in inside("kv", "verify", "-c", served, code=1).stdout


def test_resolve_tells_what_is_to_do_under_settings_that_were_changed(inside: Inside, served: str) -> None:
    inside("kv", "all", "-c", served)
    told = inside("kv", "resolve", "-c", served, *overrides({"decoding.max_tokens": "9"})).stdout
    states = dict(line.split("=", 1) for line in told.splitlines()[-len(STAGES) :])
    assert states == dict.fromkeys(STAGES, "to do") | {"prepare": "done"}
    assert "report=done" in inside("kv", "resolve", "-c", served).stdout


def test_a_budget_that_loses_nothing_is_said_to_and_others_are_not_spoken_of(inside: Inside, served: str) -> None:
    said = inside("kv", "all", "-c", served, *overrides({"kv.budgets": "[1.0, 0.5, 0.25]"})).stdout
    assert "between neighbouring budgets: no transition; nothing is lost" in said
    assert "budget 1, 0.5, 0.25: NOT VERIFIED" in said
    few = overrides({"kv.budgets": "[1.0, 0.5]"})
    assert "budget 1, 0.5: NOT VERIFIED" in inside("kv", "analyze", "-c", served, *few).stdout
    shown = json.loads(inside("kv", "sample", "-c", served, *few, "--n", "99", "--format", "json").stdout)
    assert {row["budget"] for row in shown} == {1.0, 0.5}


def test_a_part_of_the_budgets_is_a_partial_run_that_has_to_be_allowed(inside: Inside, served: str) -> None:
    inside("kv", "prepare", "-c", served)
    inside("kv", "run", "-c", served, *overrides({"kv.budgets": "[1.0]"}))
    inside("kv", "score", "-c", served, "--allow-partial")
    said = inside("kv", "analyze", "-c", served, code=2).stderr
    assert "budget 0.5: 4 of 4 requests" in said
    assert "--allow-partial" in said
    inside("kv", "analyze", "-c", served, "--allow-partial")
    inside("kv", "report", "-c", served, code=2)
    inside("kv", "report", "-c", served, "--allow-partial")
    assert "PARTIAL RUN" in (inside.folder / "results/kv/served/report.md").read_text()


def test_a_run_id_limits_the_work_to_its_budget(inside: Inside, served: str) -> None:
    assert "budget 1, 0.5: NOT VERIFIED" in inside("kv", "all", "-c", served).stdout
    lake = Lake(inside.folder / "lake")
    (run_id,) = lake.sql("SELECT run_id FROM kv_runs WHERE budget = 0.5").rows()[0]
    asked = inside("kv", "run", "-c", served, "--run-id", run_id).stdout
    assert asked.startswith("run: budget 0.5: nothing to ask")
    assert "budget 1:" not in asked
    shown = json.loads(inside("kv", "sample", "-c", served, "--run-id", run_id, "--format", "json").stdout)
    assert {row["budget"] for row in shown} == {0.5}
    for command in ("sample", "score", "run"):
        assert "has no such run" in inside("kv", command, "-c", served, "--run-id", "nobody", code=2).stderr
    assert "--allow-partial" in inside("kv", "all", "-c", served, "--run-id", run_id, code=2).stderr


def test_all_goes_on_to_the_report_where_what_failed_fails_again(
    inside: Inside, served: str, server: LlmServer
) -> None:
    once = ("--override", "run.retries.max_attempts=1")
    server.replies[:] = [error(500) for _ in range(4)]
    inside("kv", "prepare", "-c", served)
    inside("kv", "run", "-c", served, *once)
    server.replies[:] = [error(500) for _ in range(4)]
    assert "no request was answered" in inside("kv", "run", "-c", served, *once, code=1).stderr
    server.replies[:] = [error(500) for _ in range(4)]
    said = inside("kv", "all", "-c", served, *once).stdout
    assert "run: budget 1: 4 asked, 0 answered, 4 failed (4 ENGINE_ERROR)" in said
    assert "run: budget 0.5: nothing to ask, 4 had ended before" in said
    assert "report: " in said


class Refusing(LlmServer):
    """Answers everything but the prompt that it is asked first, at whatever budget and however often."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply, self.refused = reply, ""

    def answer(self, received: Received) -> Reply:
        prompt = str(received.body.get("messages", received.body.get("prompt")))
        self.refused = self.refused or prompt
        return self.reply if prompt == self.refused else super().answer(received)


@pytest.mark.parametrize("reply", [Reply(ending="drop"), error(403)], ids=["reset", "403"])
def test_a_request_that_always_fails_holds_up_neither_other_budgets_nor_later_stages(
    inside: Inside, served: str, reply: Reply
) -> None:
    with Refusing(reply) as server:
        where = {"engine.base_url": server.url, "engine.concurrency": "1", "run.retries.max_attempts": "1"}
        here = ("-c", served, *overrides(where))
        assert "4 asked, 3 answered, 1 failed" in inside("kv", "all", *here).stdout
        more = (*here, *overrides({"kv.budgets": "[1.0, 0.5, 0.2]"}))
        said = inside("kv", "all", *more).stdout
        assert "run: budget 1: 1 asked, 0 answered, 1 failed" in said
        assert "run: budget 0.2: 4 asked, 3 answered, 1 failed" in said
        assert "report: " in said
        assert "no request was answered" in inside("kv", "run", *more, code=1).stderr
        assert "report: " in inside("kv", "all", *more).stdout


class Holding(LlmServer):
    """Answers so many requests, and holds the next one until the client leaves it.

    Attributes:
        goes_on: So many are answered before one is held; None answers all.
        held: Set as soon as one is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.goes_on: int | None = None
        self.held = threading.Event()

    def answer(self, received: Received) -> Reply:
        if self.goes_on == 0:
            self.held.set()
            return stream([], ending="hang")
        self.goes_on = None if self.goes_on is None else self.goes_on - 1
        return super().answer(received)


@pytest.mark.parametrize("stage", ["run", "all"])
def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(cli: Cli, served: str, stage: str) -> None:
    cli("kv", "prepare", "-c", served)
    with Holding() as server:
        where = {"engine.base_url": server.url, "engine.concurrency": "1"}
        command = ("kv", stage, "-c", served, *overrides(where))
        server.goes_on = 6
        with subprocess.Popen(
            [sys.executable, "-m", "groundlake", *command],
            cwd=cli.folder,
            env=cli.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert server.held.wait(WAIT_S), process.communicate()
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
            out, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 130, err
        assert "run: budget 1: 4 asked, 4 answered; 4 planned" in out
        assert "run: budget 0.5: 2 asked, 2 answered, 2 not reached; 4 planned" in out
        assert out.endswith("run: interrupted; what was answered is in the lake, and the same command goes on\n")
        assert err == ""
        server.goes_on = None
        said = cli(*command).stdout
        assert "run: budget 1: nothing to ask" in said
        assert "run: budget 0.5: 2 asked, 2 answered" in said
        assert ("report: " in said) == (stage == "all")
        assert len(server.received) == 6 + 1 + 2


def test_a_full_disk_ends_a_run_with_its_reason_and_loses_nothing(
    cli: Cli, served: str, server: LlmServer, disk_of: Callable[[str], Path]
) -> None:
    disk = disk_of("16m")
    there = ("-c", served, "--override", f"output.folder={disk}/results", "--root", disk / "lake")
    cli("kv", "prepare", *there)
    (disk / "lake.db").unlink()
    (disk / "ballast").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 16_384))
    server.tokens = 4000
    said = cli("kv", "run", *there, code=5).stderr
    assert "No space left on device" in said
    assert "defect" not in said
    assert "views" not in said
    (disk / "ballast").unlink()
    server.tokens = 5
    before = len(server.received)
    cli("kv", "run", *there)
    assert "nothing to ask" in cli("kv", "run", *there).stdout
    assert before < len(server.received) <= before + 8


@needs_kvpress
def test_a_sample_shows_answers_raw_beside_gold_and_the_same_ones_each_time(evaluated: Cli) -> None:
    shown = evaluated("kv", "sample", "-c", "sanity", "--n", "4", "--budget", "0.2").stdout
    assert shown == evaluated("kv", "sample", "-c", "sanity", "--n", "4", "--budget", "0.2").stdout
    assert shown.count("gold:") == shown.count("answer:") == shown.count("score:") == 4


def test_validate_names_every_wrong_key(cli: Cli) -> None:
    file = cli.folder / "wrong.yaml"
    file.write_text("extends: sanity\nkv: {budgets: [0.5, 2], polcy: snapkv}\ndecoding: {max_tokens: many}\n")
    said = cli("kv", "validate", "-c", file, code=2).stderr
    assert all(path in said for path in ("kv.budgets", "kv.polcy", "decoding.max_tokens"))


def test_validate_notices_a_model_that_is_not_there(cli: Cli) -> None:
    said = cli("kv", "validate", "-c", "sanity", *overrides({"model.path": "gone"}), code=2)
    assert f"model.path: {cli.folder}/gone does not exist" in said.stderr
    assert "settings are complete" not in said.stdout


def test_print_config_shows_everything_but_secrets(cli: Cli, served: str) -> None:
    printed = cli("kv", "run", "-c", served, "--override", "engine.headers={X-Key: hidden-value}", "--print-config")
    assert "hidden-value" not in printed.stdout
    assert "X-Key" in printed.stdout
    assert not (cli.folder / "lake").exists()
    assert "settings are complete" in cli("kv", "validate", "-c", served).stdout


def test_overrides_have_the_type_of_their_setting(inside: Inside, served: str) -> None:
    inside("kv", "prepare", "-c", served, *overrides({"dataset.n_per_bin": "5"}))
    manifest = json.loads((inside.folder / "results/kv/served/manifest.json").read_text())
    assert len(manifest["entries"]) == 10
    assert "n_per_bin" in inside("kv", "prepare", "-c", served, *overrides({"dataset.n_per_bin": "ten"}), code=2).stderr


def test_tasks_are_listed_with_their_metrics(cli: Cli) -> None:
    rows = {row["task"]: row for row in json.loads(cli("kv", "tasks", "--format", "json").stdout)}
    assert rows["trec"]["metric"] == "classification"
    assert rows["kv_recall"]["metric"] == "exact_match"


def shape(line: str) -> str:
    """A line of output without its figures, which depend on the machine."""
    return re.sub(r"[\d.]+", "#", line)


@needs_kvpress
@pytest.mark.parametrize("page", ["README.md", "docs/kv-budgets.md"])
def test_pages_show_what_the_commands_say(evaluated: Cli, page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    shown = text.partition("lake kv all -c sanity\nprepare:")[2].partition("\n```")[0].partition("\n$ ")[0]
    said = (evaluated.folder / "said.txt").read_text().splitlines()
    assert [shape(line) for line in f"prepare:{shown}".splitlines()] == [shape(line) for line in said]


@needs_kvpress
def test_the_page_shows_the_sample_that_a_fresh_lake_gives(evaluated: Cli) -> None:
    page = (Path(__file__).parents[2] / "docs/kv-budgets.md").read_text(encoding="utf-8")
    command = "lake kv sample -c sanity --n 2"
    shown = page.partition(f"$ {command}\n")[2].partition("$ ")[0]
    said = evaluated(*command.split()[1:]).stdout
    # Which are drawn is the same everywhere; what a model with a fifth of its cache says may hang on the processor.
    drawn, told = ([line for line in text.splitlines() if "   answer:" not in line] for text in (said, shown))
    assert [line for line in drawn if "score:" not in line] == [line for line in told if "score:" not in line]
    assert shown.count("answer:") == shown.count("score:") == 2
