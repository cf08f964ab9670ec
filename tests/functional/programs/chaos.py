"""Kill a process again and again while it does something to a lake: `chaos.py ROOT KILLS SEED ACTION...`.

Each round forks a process that does one of the actions in a loop, and kills it at a random moment. Then another fork,
which nobody kills, looks at the lake through both doors. Prints one JSON line for each round; processes are forked from
one that has imported everything and started no thread.

A run that was acknowledged (its id came through the pipe) must be there, once and whole. One that was not may be.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

sys.path.insert(0, str(Path(__file__).parent))
from writer import POWER_ROWS, TIMINGS_ROWS, one_run

import groundlake.cli
import groundlake.importers
import groundlake.maintenance.compaction
import groundlake.maintenance.deep
import groundlake.maintenance.vacuum
import groundlake.viewfile
from groundlake.layout import new_id
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_NEWS = 4
LONGEST_S = 0.1
COMMANDS_LONGEST_S = 0.6
COUNTED = ("subgraph_timings", "power_timeseries")
NO_RUNS = ("started", "begun", "ended")
IMPORTED_ROWS = 3


def write(lake: Lake, say: Callable[[str], None]) -> None:
    """Commit runs one by one."""
    say(one_run(lake, "dev"))


def migrate(lake: Lake, say: Callable[[str], None]) -> None:
    """Run the command that imports a tree of v2.0 measurement files, all of them new."""
    command(say, "migrate-v1", new_tree(lake), "--root", lake.root)


def ingest(lake: Lake, say: Callable[[str], None]) -> None:
    """Run the command that ingests a tree of measurement files; it merges the ledger and writes the views too."""
    command(say, "ingest", "--from", new_tree(lake), "--root", lake.root)


def command(say: Callable[[str], None], *words: object) -> None:
    """Run `lake` in this process, as its own program does; its output goes nowhere."""
    say("begun")
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.argv = ["lake", *map(str, words)]
    try:
        groundlake.cli.main()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"{sys.argv[1]} ended with {ended.code}") from None
    say("ended")


def new_tree(lake: Lake) -> Path:
    """Copy the tree of measurement files for a device that no lake has."""
    device = new_id()
    folder = lake.root.with_name("trees") / device
    for path in Path(os.environ["CHAOS_V1"]).rglob("*.json"):
        text = path.read_text().replace('"dev"', f'"{device}"').replace('"run_id": "', f'"run_id": "{device}-')
        there = folder / device / path.relative_to(os.environ["CHAOS_V1"]).relative_to("dev")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
    return folder


def compact(lake: Lake, say: Callable[[str], None]) -> None:
    """Write something to merge, and merge it."""
    for _ in range(3):
        say(one_run(lake, "dev"))
    lake.compact()


def vacuum(lake: Lake, say: Callable[[str], None]) -> None:
    """Merge, and remove what is dead at once: no other process writes."""
    say(one_run(lake, "dev"))
    lake.compact()
    lake.vacuum(older_than_s=0, nobody_writes=True)


def views(lake: Lake, say: Callable[[str], None]) -> None:
    """Write the view file."""
    say(one_run(lake, "dev"))
    lake.bind_views()


ACTIONS = {"write": write, "migrate": migrate, "ingest": ingest, "compact": compact, "vacuum": vacuum, "views": views}


def forked(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Start a process that does this; its id, and the pipe that it speaks into."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.close(reading)
    try:
        work(lambda text: os.write(writing, f"{text}\n".encode()) and None)
    except BaseException:  # noqa: BLE001 - told to the parent, which fails the test
        os.write(writing, f"ERROR {json.dumps(traceback.format_exc()[-2000:])}\n".encode())
    os._exit(0)


def heard(reading: int) -> list[str]:
    """All that a process said, after it has ended."""
    with os.fdopen(reading, "rb") as pipe:
        return [line for line in pipe.read().decode().splitlines() if line]


def killed(root: str, action: str, news: int, after_s: float) -> tuple[list[str], list[str]]:
    """Let a process work, hear so much of it, and kill it a moment later: the runs it acknowledged, and its errors."""

    def work(say: Callable[[str], None]) -> None:
        lake = Lake(root)
        say("started")
        while True:
            ACTIONS[action](lake, say)

    child, reading = forked(work)
    begin = b""
    while begin.count(b"\n") <= news and (more := os.read(reading, 1)):
        begin += more
    time.sleep(after_s)  # the moment of its death is drawn; nothing waits for anything here
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    words = [*begin.decode().splitlines(), *heard(reading)]
    errors = [word for word in words if word.startswith("ERROR")]
    runs = [word for word in words if word not in NO_RUNS and not word.startswith("ERROR")]
    return runs, errors


def looked(root: str, *, thoroughly: bool) -> dict[str, object]:
    """What readers see now: rows of each run through both doors, and what `check` finds."""

    def work(say: Callable[[str], None]) -> None:
        if not Path(root).is_dir():
            say(json.dumps({"direct": {}, "power": {}, "findings": [], "sql": None}))
            return
        lake = Lake(root)
        counted = {name: dict(lake.frame(name).group_by("run_id").len().iter_rows()) for name in COUNTED}
        shown = lake.runs().filter(lake.runs()["schema_version"].is_null())["run_id"].to_list()
        seen = {"direct": counted["subgraph_timings"], "power": counted["power_timeseries"], "shown": shown}
        others = set(lake.runs()["run_id"]) - set(shown)
        seen |= {"findings": [], "sql": None, "imported": len(others)}
        seen["torn"] = sorted(run for run in others if counted["subgraph_timings"].get(run) != IMPORTED_ROWS)
        if thoroughly:
            query = (
                "select r.run_id, count(t.run_id) from runs r left join subgraph_timings t using (run_id) group by 1"
            )
            seen["sql"] = dict(lake.sql(query).rows())
            if lake.view_file.exists():
                with duckdb.connect(str(lake.view_file), read_only=True) as connection:
                    seen["view_file"] = dict(connection.sql(query).fetchall())
            seen["findings"] = sorted({finding.code for finding in lake.check()})
        say(json.dumps(seen))

    child, reading = forked(work)
    (said,) = heard(reading) or ["{}"]  # before it ends: it says more than a pipe holds
    os.waitpid(child, 0)
    return {"error": said} if said.startswith("ERROR") else json.loads(said)


def main(root: str, kills: int, seed: int, actions: list[str]) -> None:
    """Kill, look, tell; again and again."""
    chance = random.Random(seed)  # noqa: S311 - which moments are met is no secret
    acknowledged: set[str] = set()
    for number in range(kills):
        action = actions[number % len(actions)]
        longest_s = COMMANDS_LONGEST_S if action in ("migrate", "ingest") else LONGEST_S
        runs, errors = killed(root, action, chance.randrange(MOST_NEWS), chance.uniform(0, longest_s))
        acknowledged |= set(runs)
        seen = looked(root, thoroughly=action == "views" or number == kills - 1)
        shown = set(seen.get("shown", ()))
        direct, power = seen.get("direct", {}), seen.get("power", {})
        told = {
            "action": action,
            "unreadable": seen.get("error") or "",
            "errors": errors,
            "lost": sorted(acknowledged - shown),
            "doubled": len(seen.get("shown", ())) - len(shown),
            "torn": sorted(run for run in shown if (direct.get(run), power.get(run)) != (TIMINGS_ROWS, POWER_ROWS))
            + seen.get("torn", []),
            "disagree": seen.get("sql") is not None and seen["sql"] != direct,
            "view_file": None if "view_file" not in seen else "agrees" if seen["view_file"] == direct else "differs",
            "findings": seen.get("findings", []),
            "runs": len(shown),
            "imported": seen.get("imported", 0),
        }
        os.write(1, (json.dumps(told) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
