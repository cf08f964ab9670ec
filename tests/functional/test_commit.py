"""Commits: all or nothing, facts before the ledger, nothing written over, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from groundlake.commit import Commit, publish
from groundlake.errors import (
    ContractViolationError,
    CorruptLakeError,
    LakeEnvironmentError,
    LakeNotFoundError,
    RunExistsError,
    UsageError,
)
from groundlake.intake import leaves
from groundlake.layout import new_id
from groundlake.parts import Staged, stage_part
from groundlake.schemas import Runs, SubgraphTimings
from groundlake.store import Lake
from groundlake.writer import RUNS_PER_LEDGER_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def everything_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} if root.exists() else set()


def test_a_run_comes_back_as_it_was_written(lake: Lake, timings) -> None:
    rows = timings(3)
    run = lake.write(RUN | {"num_subgraphs": 3}, subgraph_timings=rows)
    assert lake.frame("subgraph_timings", run_id=run).select(rows.columns).equals(rows)
    assert lake.scan("subgraph_timings", model="net").collect().select(rows.columns).equals(rows)
    assert lake.sql("select * from subgraph_timings order by subgraph_id").pl().select(rows.columns).equals(rows)
    ledger = lake.runs("dev").row(0, named=True)
    assert (ledger["run_id"], ledger["num_subgraphs"], ledger["status"], ledger["revision"]) == (run, 3, "ok", 0)
    assert ledger["fact_rows"] == [{"table": "subgraph_timings", "rows": 3}]


def test_facts_are_invisible_until_the_ledger_row_is_there(lake: Lake, timings) -> None:
    lake.create()
    part = new_id()
    rows = SubgraphTimings.conform(
        timings().with_columns(
            pl.lit(value).alias(name) for name, value in (RUN | {"run_id": "r", "part": part}).items()
        )
    )
    with Commit(lake.root) as commit:
        commit.stage(SubgraphTimings, part, leaves(SubgraphTimings, rows))
        commit.publish()
    assert lake.sql("select count(*) from subgraph_timings_parts").rows() == [(3,)]
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(0,)]
    assert lake.frame("subgraph_timings").is_empty()
    assert lake.frame("subgraph_timings", **RUN).is_empty()
    assert lake.scan("subgraph_timings").collect().is_empty()
    assert [finding.code for finding in lake.check()] == ["orphan"]


def test_a_part_never_replaces_a_file_of_its_name(lake: Lake, timings) -> None:
    lake.create()
    rows = SubgraphTimings.conform(
        timings().with_columns(
            pl.lit(value).alias(name) for name, value in (RUN | {"run_id": "r", "part": "p"}).items()
        )
    )
    taken = lake.root / "subgraph_timings/hardware_id=dev/precision=fp32/model=net/batch=1/p.v01.parquet"
    taken.parent.mkdir(parents=True)
    taken.write_text("was here first")

    def commit_over_it() -> None:
        with Commit(lake.root) as commit:
            commit.stage(SubgraphTimings, "p", leaves(SubgraphTimings, rows))
            commit.publish()

    with pytest.raises(LakeEnvironmentError, match=r"p\.v01\.parquet"):
        commit_over_it()
    assert taken.read_text() == "was here first"
    assert everything_below(taken.parent) == {"p.v01.parquet"}


def test_without_hard_links_parts_are_renamed_and_still_replace_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_on_exfat(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    # No file system without hard links can be made here; this is the one answer of the system that differs.
    monkeypatch.setattr(os, "link", as_on_exfat)
    final = tmp_path / "a.v01.parquet"
    rows = Runs.to_arrow(Runs.empty_frame())
    first, second = (Staged(final.with_name(f"{number}.tmp"), final) for number in range(2))
    stage_part(first.temporary, rows)
    publish(first)
    assert everything_below(tmp_path) == {"a.v01.parquet"}
    stage_part(second.temporary, rows)
    with pytest.raises(FileExistsError):
        publish(second)


def test_two_leaves_and_two_tables_of_a_run_become_visible_together(lake: Lake, timings) -> None:
    rows = pl.concat([timings(2, precision="fp32"), timings(3, precision="bf16")])
    power = pl.DataFrame(
        {"phase": "measure", "source": "replay", "rail": "vdd", "timestamp_s": [0.0], "power_w": [1.5]}
    )
    run = lake.write(RUN, subgraph_timings=rows, power_timeseries=power)
    assert lake.frame("subgraph_timings", precision="bf16").height == 3
    assert lake.frame("subgraph_timings", run_id=run).height == 5
    assert lake.frame("power_timeseries", run_id=run)["power_w"].to_list() == [1.5]
    assert lake.runs()["fact_rows"].to_list() == [
        [{"table": "subgraph_timings", "rows": 5}, {"table": "power_timeseries", "rows": 1}]
    ]
    parts = set(lake.frame("subgraph_timings")["part"]) | set(lake.frame("power_timeseries")["part"])
    assert parts == set(lake.runs()["part"])


def test_a_given_run_id_is_kept_and_refused_the_second_time(lake: Lake, timings) -> None:
    assert lake.write(RUN | {"run_id": "mine"}, subgraph_timings=timings()) == "mine"
    before = everything_below(lake.root)
    with pytest.raises(RunExistsError, match="mine"):
        Lake(lake.root).write(RUN | {"run_id": "mine"}, subgraph_timings=timings())
    assert everything_below(lake.root) == before
    assert lake.write(RUN | {"run_id": "mine", "hardware_id": "other"}) == "mine"


def test_a_run_id_given_twice_in_one_batch_writes_nothing(lake: Lake, timings) -> None:
    twice = [(RUN | {"run_id": "mine"}, {"subgraph_timings": timings()})] * 2
    with pytest.raises(RunExistsError, match="mine"):
        lake.write_many(twice)
    assert everything_below(lake.root) == set()


def test_many_runs_are_committed_in_groups_of_at_most_a_hundred_of_one_device(lake: Lake, timings) -> None:
    rows = timings(1)
    runs = [
        (RUN | {"hardware_id": "ab"[number % 5 == 0] + "dev", "note": str(number)}, {"subgraph_timings": rows})
        for number in range(250)
    ]
    published: list[int] = []
    ids = lake.write_many(runs, on_published=published.append)
    assert sum(published) == 250
    assert max(published) <= RUNS_PER_LEDGER_FILE
    notes = dict(lake.sql("select run_id, note from runs").rows())
    assert [notes[run_id] for run_id in ids] == [str(number) for number in range(250)]
    assert dict(lake.sql("select hardware_id, count(*) from runs group by 1").rows()) == {"adev": 200, "bdev": 50}
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(250,)]
    assert lake.hardware_ids() == ["adev", "bdev"]
    assert len(list((lake.root / "runs" / "hardware_id=adev").iterdir())) == 2
    assert len(list((lake.root / "runs" / "hardware_id=bdev").iterdir())) == 1


def test_a_bad_run_takes_its_group_along_and_leaves_earlier_groups_committed(lake: Lake, timings) -> None:
    rows = timings(1)
    good = [(RUN, {"subgraph_timings": rows})] * (RUNS_PER_LEDGER_FILE + 1)
    bad = (RUN, {"subgraph_timings": timings(1, latency_mean_ms=-1.0)})
    with pytest.raises(ContractViolationError):
        lake.write_many([*good, bad])
    assert lake.sql("select count(*) from runs").rows() == [(RUNS_PER_LEDGER_FILE,)]
    assert lake.check() == []


def test_a_run_can_continue_another(lake: Lake) -> None:
    first = lake.write(RUN)
    second = lake.write(RUN | {"parent_run_id": first, "kind": "kv_score"})
    assert lake.runs().filter(run_id=second)["parent_run_id"].to_list() == [first]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"hardware": "dev"}, "no column 'hardware'"),
        ({"model": "net"}, "needs a hardware_id"),
        ({"hardware_id": ""}, "needs a hardware_id"),
    ],
)
def test_a_ledger_row_that_cannot_be_is_refused(run: dict[str, object], message: str, lake: Lake) -> None:
    with pytest.raises(UsageError, match=message):
        lake.write(run)
    assert not lake.exists


def test_frames_that_cannot_be_are_refused_before_anything_is_written(lake: Lake, timings) -> None:
    refused = {
        "no fact table 'timings'": {"timings": timings()},
        "first argument of write": {"runs": pl.DataFrame({"run_id": ["r"]})},
        "got LazyFrame": {"subgraph_timings": timings().lazy()},
        "got dict": {"subgraph_timings": {"subgraph_id": [0]}},
        "rows of other in a run of dev": {"subgraph_timings": timings(hardware_id="other")},
    }
    for message, frames in refused.items():
        with pytest.raises(UsageError, match=message):
            lake.write(RUN, **frames)
    with pytest.raises(UsageError, match="no fact table 'nothing'"):
        lake.write(RUN, nothing=pl.DataFrame())
    assert not lake.exists


def test_a_frame_without_rows_writes_no_file(lake: Lake, timings) -> None:
    for empty in (pl.DataFrame(), timings().clear()):
        run = lake.write(RUN, subgraph_timings=empty)
        assert lake.runs().filter(run_id=run)["fact_rows"].to_list() == [None]
    assert lake.sql("select count(*) from subgraph_timings_parts").rows() == [(0,)]
    assert lake.check() == []


def test_unknown_tables_and_keys_of_a_read_name_what_there_is(lake: Lake) -> None:
    lake.create()
    for read in (lake.frame, lake.scan):
        with pytest.raises(UsageError, match="there are hardware, subgraph_timings"):
            read("timings")
        with pytest.raises(UsageError, match="give any of hardware_id, precision, model, batch, run_id"):
            read("subgraph_timings", device="cpu")
        with pytest.raises(UsageError, match="give any of hardware_id, run_id"):
            read("hardware", model="net")


def test_a_retracted_run_is_not_shown_and_an_older_revision_does_not_come_back(lake: Lake, timings) -> None:
    kept, withdrawn = (lake.write(RUN, subgraph_timings=timings()) for _ in range(2))
    lake.retract(withdrawn, "dev", "wrong power mode")
    assert lake.runs()["run_id"].to_list() == [kept]
    assert lake.sql("select distinct run_id from subgraph_timings").rows() == [(kept,)]
    assert set(lake.frame("subgraph_timings")["run_id"]) == {kept}
    assert set(lake.scan("subgraph_timings").collect()["run_id"]) == {kept}
    with pytest.raises(UsageError, match="was withdrawn before: wrong power mode"):
        lake.retract(withdrawn, "dev", "again")
    assert lake.sql("select error from runs_parts where status = 'retracted'").rows() == [("wrong power mode",)]


def test_a_root_that_is_a_file_is_an_error_of_the_environment(lake: Lake, cli) -> None:
    lake.root.write_text("no folder")
    with pytest.raises(LakeEnvironmentError, match="cannot write"):
        lake.write(RUN)
    assert "error: cannot write" in cli("init", code=5).stderr


def test_reading_a_root_that_does_not_exist_says_how_to_make_one(lake: Lake, cli) -> None:
    for read in (lake.runs, lake.hardware_ids, lake.check, lake.bind_views, lambda: lake.frame("runs")):
        with pytest.raises(LakeNotFoundError, match="lake init"):
            read()
    for command in (["sql", "select 1"], ["ls"], ["show", "a", "b"], ["check"], ["views"], ["compact"]):
        assert "lake init" in cli(*command, code=2).stderr
    assert not lake.exists


@pytest.fixture
def read_only(lake: Lake) -> Iterator[Lake]:
    """A lake whose ledger folder cannot be changed, not even by root."""
    lake.write(RUN)
    folder = lake.root / "runs" / "hardware_id=dev"
    if subprocess.run(["chattr", "+i", folder], check=False, capture_output=True).returncode:
        pytest.skip("chattr +i does not work here (it needs root, and a file system that has it)")
    yield lake
    subprocess.run(["chattr", "-i", folder], check=True)


def test_a_folder_that_may_not_be_written_leaves_no_trace_of_the_run(read_only: Lake, timings) -> None:
    before = everything_below(read_only.root)
    with pytest.raises(LakeEnvironmentError, match="no permission"):
        read_only.write(RUN, subgraph_timings=timings())
    assert everything_below(read_only.root) == before
    assert read_only.runs().height == 1


@pytest.fixture
def small_disk(disk_of: Callable[[str], Path]) -> Path:
    """A file system of 1 MiB."""
    return disk_of("1m")


def test_a_full_disk_loses_nothing_acknowledged_and_leaves_no_rubbish(small_disk: Path, timings) -> None:
    lake = Lake(small_disk / "lake")
    samples = [[number / 7 + shift for number in range(2000)] for shift in range(3)]
    acknowledged: list[str] = []

    def write_until_it_is_full() -> None:
        while True:
            acknowledged.append(lake.write(RUN, subgraph_timings=timings(3, latency_samples_ms=samples)))

    with pytest.raises(LakeEnvironmentError, match="disk is full"):
        write_until_it_is_full()
    assert acknowledged
    assert lake.runs()["run_id"].to_list() == sorted(acknowledged)
    assert lake.frame("subgraph_timings").height == 3 * len(acknowledged)
    assert lake.check() == []
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    lake.write(RUN, subgraph_timings=timings())
    assert lake.sql("select count(*) from runs").rows() == [(len(acknowledged) + 1,)]


def test_what_the_lake_decides_and_what_no_ledger_can_hold_is_refused(lake: Lake) -> None:
    refused: dict[str, dict[str, object]] = {
        "part is filled in by the lake": {"part": "mine"},
        "fact_rows is filled in by the lake": {"fact_rows": [{"table": "estimates", "rows": 1}]},
        "withdraw it with Lake.retract": {"status": "retracted"},
        "system_before has no field 'bogus'": {"system_before": {"bogus": "x"}},
        "sources has no field 'url'": {"sources": [{"url": "x"}]},
        "lone surrogate": {"note": "\udc00"},
        "warnings is a list, got the text 'hot'": {"warnings": "hot"},
    }
    for message, columns in refused.items():
        with pytest.raises(UsageError, match=message):
            lake.write({"hardware_id": "dev", **columns})
    assert not lake.exists


def test_a_bad_hardware_id_is_one_error_with_and_without_a_run_id(lake: Lake) -> None:
    for run in ({"hardware_id": "123"}, {"hardware_id": "123", "run_id": "r"}):
        with pytest.raises(ContractViolationError, match="hardware_id: must be a name for a folder"):
            lake.write(run)


def test_a_subgraph_stands_once_in_a_run(lake: Lake, timings) -> None:
    twice = pl.concat([timings(), timings()])
    with pytest.raises(ContractViolationError, match="subgraph_id_once_in_run; 6 of 6"):
        lake.write({"hardware_id": "dev", "precision": "fp32", "model": "m", "batch": 1}, subgraph_timings=twice)
    assert not lake.exists


def test_keys_of_a_frame_are_texts_and_whole_numbers(lake: Lake, timings) -> None:
    lake.write({"hardware_id": "dev", "precision": "fp32", "model": "m", "batch": 1}, subgraph_timings=timings())
    whole = np.int64(1)
    assert lake.frame("subgraph_timings", hardware_id="dev", batch=whole).height == timings().height
    for keys in ({"hardware_id": None}, {"batch": "1"}, {"model": 1}, {"batch": True}):
        for table in ("runs", "subgraph_timings"):
            with pytest.raises(UsageError, match="leave it out to read all of them"):
                lake.frame(table, **keys)


def test_the_latest_specification_of_a_device_is_shown(lake: Lake) -> None:
    for name in ("first", "second"):
        rows = pl.DataFrame([{"name": name, "device": "cpu"}])
        lake.write({"hardware_id": "dev", "kind": "hardware_spec"}, hardware=rows)
    lake.write(
        {"hardware_id": "other", "kind": "hardware_spec"}, hardware=pl.DataFrame([{"name": "x", "device": "cpu"}])
    )
    assert sorted(lake.sql("select hardware_id, name from hardware").rows()) == [("dev", "second"), ("other", "x")]
    assert lake.frame("hardware", hardware_id="dev")["name"].to_list() == ["second"]
    assert sorted(lake.scan("hardware").collect()["name"]) == ["second", "x"]


def test_a_part_that_lacks_a_column_is_an_error_not_null(lake: Lake, timings) -> None:
    keys = {"precision": "fp32", "model": "m", "batch": 1}
    lake.write({"hardware_id": "dev", **keys}, subgraph_timings=timings())
    [path] = lake.root.glob("subgraph_timings/hardware_id=dev/*/*/*/*.parquet")
    pl.read_parquet(path, hive_partitioning=False).drop("latency_mean_ms").write_parquet(path)
    with pytest.raises(CorruptLakeError, match=path.name):
        lake.frame("subgraph_timings", hardware_id="dev")
