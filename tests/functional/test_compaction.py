"""Merging the ledger changes no answer, whoever does it, and however often."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

RUN = {"precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def lake(lake_root: Path, timings) -> Lake:
    """Two devices; one of four runs of the first is retracted."""
    lake = Lake(lake_root)
    for number in range(4):
        lake.write(RUN | {"hardware_id": "a", "run_id": f"a{number}"}, subgraph_timings=timings(2))
    lake.write(RUN | {"hardware_id": "b", "run_id": "b0"}, subgraph_timings=timings(2))
    lake.retract("a3", "a", "wrong mode")
    return lake


def everything(lake: Lake) -> list[pl.DataFrame]:
    return [
        lake.sql("select * from runs order by hardware_id, run_id").pl(),
        lake.sql("select * from subgraph_timings order by hardware_id, run_id, subgraph_id").pl(),
        lake.sql("select * exclude (part) from runs_parts order by all").pl(),
    ]


def test_every_row_is_the_same_before_and_after(lake: Lake, cli) -> None:
    before = everything(lake)
    assert cli("compact").stdout == "a: 5 ledger files merged into 1\n"
    for earlier, later in zip(before, everything(lake), strict=True):
        assert earlier.equals(later)
    assert Lake(lake.root).runs().equals(lake.runs())
    assert "a3" not in lake.runs()["run_id"]
    assert len(list((lake.root / "runs" / "hardware_id=a").iterdir())) == 1
    assert lake.check() == []
    assert "nothing to do" in cli("compact").stdout


def test_a_retracted_run_does_not_come_back_when_the_lake_goes_on(lake: Lake) -> None:
    lake.compact_runs()
    lake.write(RUN | {"hardware_id": "a", "run_id": "a4"})
    lake.compact_runs()
    assert lake.runs("a")["run_id"].to_list() == ["a0", "a1", "a2", "a4"]
    assert lake.sql("select run_id from runs where hardware_id = 'a' order by 1").rows() == [
        ("a0",),
        ("a1",),
        ("a2",),
        ("a4",),
    ]


def test_below_the_asked_number_of_files_nothing_is_merged(lake: Lake) -> None:
    assert lake.compact_runs(at_least=6) == {}
    assert lake.compact_runs(at_least=5) == {"a": 5}


def test_rows_that_stand_twice_after_a_kill_are_shown_once_and_merged_to_one(lake: Lake) -> None:
    before = everything(lake)[:2]
    kept = {path: path.read_bytes() for path in lake._ledger.files("a")}
    lake.compact_runs()
    for path, content in kept.items():  # as if it had been killed before it removed them
        path.write_bytes(content)
    assert lake.sql("select count(*) from runs_parts where hardware_id = 'a'").rows() == [(10,)]
    assert all(map(pl.DataFrame.equals, everything(lake)[:2], before))
    assert lake.runs("a").height == 3
    assert lake.check() == []
    assert lake.compact_runs() == {"a": 6}
    assert lake.sql("select count(*) from runs_parts where hardware_id = 'a'").rows() == [(5,)]
    assert all(map(pl.DataFrame.equals, everything(lake)[:2], before))


def test_compactions_at_once_lose_nothing(lake: Lake) -> None:
    before = everything(lake)[:2]
    command = [sys.executable, "-m", "groundlake", "compact", "--root", lake.root]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert all(map(pl.DataFrame.equals, everything(lake)[:2], before))
    assert lake.check() == []


def test_only_the_ledger_can_be_compacted(lake: Lake, cli) -> None:
    assert "--table runs" in cli("compact", "--table", "subgraph_timings", code=2).stderr
