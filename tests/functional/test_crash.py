"""Whatever moment a writer dies at, the lake answers, and an acknowledged run is there once, with all its rows."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from groundlake.store import Lake

if TYPE_CHECKING:
    from conftest import Writers

STOPS = Path(__file__).parent / "programs" / "stops.py"
HARMLESS = {"leftover", "orphan"}
TIMINGS_ROWS, POWER_ROWS = 5, 2  # of each run that programs/writer.py commits


def stopped_at_every_step(action: str, mode: str, folder: Path) -> list[dict[str, Any]]:
    """What the lake says after the action was stopped before its first step, its second, and so on."""
    done = subprocess.run(
        [sys.executable, STOPS, action, mode, folder], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["stopped"] for report in reports] == [True] * (len(reports) - 1) + [False]
    return reports


def assert_whole_or_absent(reports: list[dict[str, Any]], earlier: list[str]) -> None:
    for step, report in enumerate(reports):
        assert report["direct_runs"] in (earlier, [*earlier, "the-run"]), step
        rows = [[run, 4 if run == "the-run" else 2] for run in report["direct_runs"]]
        assert report["rows"] == report["direct_rows"] == rows, step
        assert set(report["findings"]) <= HARMLESS, step
        assert report["again"] == ("exists" if "the-run" in report["direct_runs"] else "written"), step
        assert ["the-run", 4] in report["rows_then"], step


def test_a_commit_killed_before_any_of_its_steps_is_whole_or_absent(tmp_path: Path) -> None:
    reports = stopped_at_every_step("write_to_a_lake", "freeze", tmp_path)
    assert_whole_or_absent(reports, ["earlier-0", "earlier-1"])
    states = {("the-run" in report["direct_runs"], *report["findings"]) for report in reports}
    assert {(False, "leftover"), (False, "leftover", "orphan"), (True, "leftover"), (True,)} <= states


def test_a_commit_interrupted_before_any_of_its_steps_leaves_nothing_behind(tmp_path: Path) -> None:
    reports = stopped_at_every_step("write_to_a_lake", "interrupt", tmp_path)
    assert_whole_or_absent(reports, ["earlier-0", "earlier-1"])
    assert [report["findings"] for report in reports] == [[]] * len(reports)


def test_a_first_commit_killed_while_the_root_is_made_leaves_an_empty_lake(tmp_path: Path) -> None:
    reports = stopped_at_every_step("write", "freeze", tmp_path)
    assert_whole_or_absent(reports, [])
    assert sum(not report["rows"] for report in reports) > 20


@pytest.mark.slow
def test_a_first_commit_interrupted_while_the_root_is_made_is_whole_or_absent(tmp_path: Path) -> None:
    reports = stopped_at_every_step("write", "interrupt", tmp_path)
    assert_whole_or_absent(reports, [])
    assert [report["findings"] for report in reports] == [[]] * len(reports)


@pytest.mark.parametrize(
    ("action", "mode"), [("compact", "freeze"), ("compact", "interrupt"), ("bind_views", "freeze")]
)
def test_stopping_at_any_step_of_keeping_the_lake_changes_no_answer(action: str, mode: str, tmp_path: Path) -> None:
    for step, report in enumerate(stopped_at_every_step(action, mode, tmp_path)):
        assert report["direct_runs"] == ["earlier-0", "earlier-1"], step
        assert report["rows"] == report["direct_rows"] == [["earlier-0", 2], ["earlier-1", 2]], step
        assert set(report["findings"]) <= ({"leftover"} if mode == "freeze" else set()), step


def assert_every_view_answers(lake: Lake) -> None:
    with lake.connect() as connection:
        for (name,) in connection.sql("select name from help").fetchall():
            connection.sql(f"select * from {name}").fetchall()


def assert_runs_are_whole(lake: Lake, acknowledged: list[str]) -> None:
    runs = lake.sql("select run_id from runs").pl()["run_id"].to_list()
    assert len(runs) == len(set(runs))
    assert set(acknowledged) <= set(runs)
    for table, rows in (("subgraph_timings", TIMINGS_ROWS), ("power_timeseries", POWER_ROWS)):
        counts = dict(lake.sql(f"select run_id, count(*) from {table} group by run_id").rows())
        assert counts == dict.fromkeys(runs, rows)


def assert_only_harmless_remains(lake: Lake) -> None:
    assert {finding.code for finding in lake.check()} <= HARMLESS


def kill_again_and_again(writers: Writers, lake: Lake, rounds: int) -> None:
    """Let three processes write at once, kill each at a moment of its own, and look at the lake; again and again."""
    chance = random.Random(20260101)  # noqa: S311 - which moments are met is no secret
    for number in range(rounds):
        victims = []
        for _ in range(3):
            writers.command("loop dev")
            victims.append(writers.started())
        for victim in victims:
            for _ in range(chance.randrange(4)):
                writers.next()
            writers.wait_at_most(chance.uniform(0, 0.05))
            os.kill(victim, signal.SIGKILL)
            with suppress(ProcessLookupError):
                while True:  # until the system has taken it away, it may be in the middle of its last step
                    os.kill(victim, 0)
        if lake.exists:
            assert_runs_are_whole(lake, writers.acknowledged)
            if number % 10 == 3:  # they read every file many times, and the number of files grows
                assert_every_view_answers(lake)
                assert_only_harmless_remains(lake)
    writers.end()
    assert_runs_are_whole(lake, writers.acknowledged)
    assert_only_harmless_remains(lake)
    assert len(writers.acknowledged) > rounds


def test_twelve_writers_killed_at_random_lose_nothing_acknowledged(writers: Writers, lake_root: Path) -> None:
    kill_again_and_again(writers, Lake(lake_root), rounds=4)


@pytest.mark.slow
def test_two_hundred_writers_killed_at_random_lose_nothing_acknowledged(writers: Writers, lake_root: Path) -> None:
    kill_again_and_again(writers, Lake(lake_root), rounds=67)


@pytest.mark.parametrize("made", [[], ["runs"], ["hardware", "subgraph_timings"]])
def test_a_half_made_root_reads_as_an_empty_lake_and_is_completed_by_the_next_write(
    made: list[str], lake_root: Path, timings
) -> None:
    for table in made:
        (lake_root / table / "hardware_id=~").mkdir(parents=True)
    lake_root.mkdir(exist_ok=True)
    lake = Lake(lake_root)
    assert_every_view_answers(lake)
    assert lake.runs().is_empty()
    assert lake.frame("subgraph_timings").is_empty()
    assert lake.scan("subgraph_timings").collect().is_empty()
    assert lake.hardware_ids() == []
    assert lake.check() == []
    run = lake.write({"hardware_id": "dev"}, subgraph_timings=timings())
    assert lake.sql("select distinct run_id from subgraph_timings").rows() == [(run,)]
    assert lake.frame("subgraph_timings").select(pl.len()).item() == 3
