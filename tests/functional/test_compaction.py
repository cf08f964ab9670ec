"""Merging files changes no answer, whoever does it, and however often: those of the ledger, and those of the tables."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest

from groundlake.ledger import Ledger
from groundlake.maintenance.compaction import plan
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
    assert cli("compact", "--table", "runs").stdout == "a: 5 ledger files merged into 1\n"
    for earlier, later in zip(before, everything(lake), strict=True):
        assert earlier.equals(later)
    assert Lake(lake.root).runs().equals(lake.runs())
    assert "a3" not in lake.runs()["run_id"]
    assert len(list((lake.root / "runs" / "hardware_id=a").iterdir())) == 1
    assert lake.check() == []
    assert "nothing to do" in cli("compact", "--table", "runs").stdout


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


POWER = pl.DataFrame({"timestamp_s": [0.0, 1.0], "power_w": 5.0, "source": "fake", "rail": "all", "phase": "measure"})
PLACE = ("part", "placement", "fact_files")


def answers(lake: Lake) -> list[pl.DataFrame]:
    """Every visible row through both doors, but for where it lies."""
    by_sql = everything(lake)[:2]
    direct = [
        lake.runs().sort("hardware_id", "run_id"),
        lake.frame("subgraph_timings").sort("hardware_id", "run_id", "subgraph_id"),
    ]
    return [frame.drop(PLACE, strict=False) for frame in [*by_sql, *direct]]


def same(lake: Lake, before: list[pl.DataFrame]) -> bool:
    return all(map(pl.DataFrame.equals, answers(lake), before))


def parts(lake: Lake, hardware_id: str = "a") -> list[Path]:
    return sorted((lake.root / "subgraph_timings" / f"hardware_id={hardware_id}").rglob("*.parquet"))


def test_each_leaf_folder_gets_one_part_and_no_answer_changes(lake: Lake, cli) -> None:
    before = answers(lake)
    said = cli("compact").stdout
    assert re.fullmatch(r"a: 4 files of 4 runs merged into 1, [0-9.]+ kB to [0-9.]+ kB\n", said)
    assert same(lake, before)
    assert same(Lake(lake.root), before)
    current = set(lake.runs("a")["part"])
    assert len(current) == 1, "three visible runs lie in one part"
    assert len(parts(lake)) == 5, "the old parts stay until vacuum removes them"
    assert len(list((lake.root / "runs" / "hardware_id=a").iterdir())) == 1
    assert lake.check() == []
    assert cli("compact").stdout == "nothing to do: every leaf folder has one part\n"


def test_a_dry_run_says_what_would_be_merged_and_changes_nothing(lake: Lake, cli) -> None:
    there = sorted(lake.root.rglob("*"))
    assert cli("compact", "--dry-run").stdout == "a: 4 files of 4 runs would be merged into 1\n"
    assert cli("compact", "--table", "runs", "--dry-run").stdout == "a: 5 ledger files would be merged into 1\n"
    assert sorted(lake.root.rglob("*")) == there


def test_runs_that_come_later_are_merged_with_the_earlier_ones(lake: Lake, timings) -> None:
    lake.compact()
    lake.write(RUN | {"hardware_id": "a", "run_id": "a4"}, subgraph_timings=timings(2))
    lake.retract("a0", "a", "too hot")
    before = answers(lake)
    (done,) = lake.compact()
    assert (done.runs, done.files_before, done.files_after) == (5, 2, 1)
    assert same(lake, before)
    assert lake.runs("a")["placement"].to_list() == [2, 2, 1]
    assert lake.check() == []


def test_tables_and_folders_that_a_run_wrote_move_together(lake_root: Path, timings) -> None:
    lake = Lake(lake_root)
    for number in range(3):
        rows = timings(4, precision=["fp32", "bf16"] * 2)
        lake.write(RUN | {"hardware_id": "a", "run_id": f"a{number}"}, subgraph_timings=rows, power_timeseries=POWER)
    lake.write(RUN | {"hardware_id": "a", "run_id": "alone", "model": "other"}, subgraph_timings=timings(1))
    before = [lake.frame(name).drop("part").sort(pl.all()) for name in ("subgraph_timings", "power_timeseries")]
    (done,) = lake.compact()
    assert (done.files_before, done.files_after, done.runs) == (9, 3, 3)
    after = [lake.frame(name).drop("part").sort(pl.all()) for name in ("subgraph_timings", "power_timeseries")]
    assert all(map(pl.DataFrame.equals, before, after))
    assert lake.runs()["placement"].to_list() == [1, 1, 1, 0], "a part that shares no folder stays where it is"
    known = {each["path"] for files in lake.runs()["fact_files"] for each in files}
    assert all((lake.root / path).is_file() for path in known)


def test_rows_that_are_missing_stop_a_compaction_before_it_changes_anything(lake: Lake, timings, cli) -> None:
    rows = timings(4, precision=["fp32", "bf16"] * 2)
    lake.write(RUN | {"hardware_id": "a", "run_id": "half"}, subgraph_timings=rows)
    next(path for path in parts(lake) if "bf16" in str(path)).unlink()
    there = sorted(lake.root.rglob("*"))
    refused = cli("compact", code=4).stderr
    assert "run half: 2 of 4 rows of subgraph_timings are there" in refused
    assert "nothing was merged" in refused
    assert sorted(lake.root.rglob("*")) == there


def test_a_run_of_which_nothing_is_left_does_not_stop_the_others(lake: Lake) -> None:
    (gone,) = (path for path in parts(lake) if path.name.startswith(lake.runs("a")["part"][1]))
    gone.unlink()
    (done,) = lake.compact()
    assert (done.files_before, lake.runs("a")["placement"].to_list()) == (3, [1, 0, 1])
    assert [finding.where for finding in lake.check()] == ["a run a1"], "what is lost is still said to be lost"


def test_a_torn_part_stops_a_compaction_and_is_named(lake: Lake, cli) -> None:
    torn = parts(lake)[2]
    torn.write_bytes(torn.read_bytes()[:-20])
    refused = cli("compact", code=4).stderr
    assert f"{torn}: cannot be read" in refused
    assert lake.runs("a")["placement"].to_list() == [0, 0, 0]


def test_parts_of_an_earlier_contract_are_merged_into_the_present_one(lake: Lake) -> None:
    from groundlake.schemas import PowerTimeseries

    assert PowerTimeseries.version() > 1, "the table to look at has changed once"
    for number in range(2):
        lake.write(RUN | {"hardware_id": "c", "run_id": f"c{number}"}, power_timeseries=POWER)
    later = set(PowerTimeseries.added())
    for path in (lake.root / "power_timeseries" / "hardware_id=c").rglob("*.parquet"):
        rows = pq.read_table(path, partitioning=None)
        metadata = {**rows.schema.metadata, b"groundlake.contract_version": b"1"}
        old = path.with_name(path.name.replace(f".v{PowerTimeseries.version():02d}.", ".v01."))
        pq.write_table(rows.drop_columns(sorted(later)).replace_schema_metadata(metadata), old)
        path.unlink()
    before = lake.frame("power_timeseries", hardware_id="c").drop("part")
    (done,) = lake.compact("c")
    assert done.files_after == 1
    assert lake.frame("power_timeseries", hardware_id="c").drop("part").equals(before)
    assert lake.sql("select count(*) from power_timeseries").rows() == [(4,)]


def test_a_large_part_is_left_as_it_is(lake: Lake) -> None:
    smallest = min(path.stat().st_size for path in parts(lake))
    assert plan(lake.root, Ledger(lake.root), "a", large_bytes=smallest - 1) is None
    assert plan(lake.root, Ledger(lake.root), "a").files_before == 4


def test_compactions_at_once_lose_nothing(lake: Lake) -> None:
    before = answers(lake)
    command = [sys.executable, "-m", "groundlake", "compact", "--root", lake.root]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert same(lake, before)
    assert set(lake.runs("a")["placement"]) != {0}
    assert {finding.code for finding in lake.check()} <= {"orphan"}, "of two that move the same runs, one wins"


def test_only_the_ledger_can_be_merged_by_itself(lake: Lake, cli) -> None:
    assert "--table runs" in cli("compact", "--table", "subgraph_timings", code=2).stderr
    assert "there are a, b" in cli("compact", "--hw", "c", code=2).stderr
