"""`lake vacuum` removes what no reader can see, when it is old enough, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest

from groundlake.commit import Commit
from groundlake.errors import CorruptLakeError, UsageError
from groundlake.intake import leaves
from groundlake.layout import new_id
from groundlake.schemas import Runs
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """Three runs whose parts were merged: the merged part, and three that it superseded."""
    lake = Lake(lake_root)
    for number in range(3):
        lake.write(RUN | {"run_id": f"r{number}"}, subgraph_timings=timings(2))
    lake.compact()
    return lake


def parts(lake: Lake) -> list[Path]:
    return sorted((lake.root / "subgraph_timings" / "hardware_id=dev").rglob("*.parquet"))


def orphaned(lake: Lake) -> Path:
    """A part whose writer was killed before its commit."""
    (part,) = (path for path in parts(lake) if path.name.startswith(lake.runs()["part"][0]))
    orphan = part.with_name("nobody-points-here.v01.parquet")
    orphan.write_bytes(part.read_bytes())
    return orphan


def test_superseded_parts_orphans_and_leftovers_go_and_nothing_else(lake: Lake, cli: Cli) -> None:
    orphan = orphaned(lake)
    leftover = orphan.with_name("half.v01.parquet.tmp")
    leftover.write_bytes(b"PAR1")
    foreign = orphan.with_name("notes.txt")
    foreign.write_text("mine")
    superseded = [path for path in parts(lake) if not path.name.startswith((lake.runs()["part"][0], "nobody"))]
    assert len(superseded) == 3
    before = lake.frame("subgraph_timings")
    said = cli("vacuum", "--older-than", "0s", "--nobody-writes").stdout
    assert "5 files" in said
    assert "1 leftover, 1 orphan, 3 superseded" in said
    assert not any(path.exists() for path in [*superseded, orphan, leftover])
    assert foreign.read_text() == "mine"
    assert lake.frame("subgraph_timings").equals(before)
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(6,)]
    foreign.unlink()
    assert lake.check() == []
    assert cli("vacuum", "--older-than", "0s", "--nobody-writes").stdout == "0 files (0 B) removed\n"


def test_young_files_stay_and_a_dry_run_removes_nothing(lake: Lake, cli: Cli) -> None:
    there = parts(lake)
    said = cli("vacuum").stdout
    assert "0 files (0 B) removed" in said
    assert "3 superseded) younger than 7d stay" in said
    dry = cli("vacuum", "--older-than", "0s", "--dry-run").stdout
    assert "3 superseded) would be removed" in dry
    assert parts(lake) == there


def test_a_copy_that_kept_its_old_time_is_as_young_as_its_arrival(lake: Lake) -> None:
    for path in parts(lake):
        os.utime(path, (0, 0))
    done = lake.vacuum(older_than_s=3600)
    assert done.removed == ()
    assert len(done.kept) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("1m", "a writer at work could lose"),
        ("week", "--older-than week: a time is a number and s, m, h or d"),
        ("7", "for example 7d or 12h"),
        ("-1d", "a time is a number"),
    ],
)
def test_a_time_that_is_too_short_or_none_is_refused(given: str, said: str, lake: Lake, cli: Cli) -> None:
    there = parts(lake)
    assert said in cli("vacuum", f"--older-than={given}", code=2).stderr
    assert parts(lake) == there


def test_statements_of_places_where_nothing_lies_any_more_leave_the_ledger(lake: Lake) -> None:
    assert lake.sql("select count(*) from runs_parts").rows() == [(6,)]
    lake.vacuum(older_than_s=0, nobody_writes=True)
    assert lake.sql("select count(*), min(placement) from runs_parts").rows() == [(3, 1)]
    assert lake.check() == []


def test_a_withdrawn_run_keeps_its_rows_for_the_past(lake: Lake) -> None:
    lake.retract("r1", "dev", "too hot")
    before = lake.sql("select recorded_at from runs_parts where status = 'retracted'").rows()[0][0]
    lake.compact()
    lake.vacuum(older_than_s=0, nobody_writes=True)
    then = Lake(lake.root, as_of=before.replace(microsecond=before.microsecond - 1 if before.microsecond else 0))
    assert then.frame("subgraph_timings").height == 6
    assert lake.frame("subgraph_timings").height == 4


def test_facts_without_any_ledger_are_never_removed(lake: Lake, cli: Cli) -> None:
    there = parts(lake)
    for path in (lake.root / "runs" / "hardware_id=dev").iterdir():
        path.unlink()
    said = cli("vacuum", "--older-than", "0s", "--nobody-writes").stdout
    assert "4 files have no ledger at all and stay" in said
    assert parts(lake) == there


def test_a_torn_ledger_stops_a_vacuum(lake: Lake) -> None:
    there = parts(lake)
    (ledger,) = (lake.root / "runs" / "hardware_id=dev").iterdir()
    ledger.write_bytes(ledger.read_bytes()[:-9])
    with pytest.raises(CorruptLakeError, match="cannot be read"):
        lake.vacuum(older_than_s=0, nobody_writes=True)
    assert parts(lake) == there


def merged(lake: Lake) -> Path:
    """The part that the others were merged into."""
    (path,) = (path for path in parts(lake) if path.name.startswith(lake.runs()["part"][0]))
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def lose_rows(path: Path) -> None:
    rows = pq.read_table(path, partitioning=None)
    pq.write_table(rows.slice(1), path)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (os.unlink, "run r0: 0 of 2 rows of subgraph_timings are there"),
        (cut, "not the bytes that were written"),
        (turn_a_bit, "not the bytes that were written"),
        (lose_rows, "not the bytes that were written"),
    ],
)
def test_superseded_parts_stay_where_what_they_were_merged_into_is_damaged(
    damage: Callable[[Path], None], why: str, lake: Lake, cli: Cli
) -> None:
    part = merged(lake)
    former = [path for path in parts(lake) if path != part]
    content = part.read_bytes()
    damage(part)
    before = cli("sql", "select count(*) from runs_parts").stdout
    for dry in (["--dry-run"], []):
        said = cli("vacuum", "--older-than", "0s", "--nobody-writes", *dry).stdout
        assert f"dev: 3 superseded files stay, such as {former[0]}" in said
        assert f"what they were merged into is damaged: {why}" in said.replace(f"{part}: ", "")
        assert "restore that part from a copy" in said
        assert all(path.exists() for path in former)
    assert cli("sql", "select count(*) from runs_parts").stdout == before, "where they lie is not forgotten"
    part.write_bytes(content)
    assert len(lake.vacuum(older_than_s=0, nobody_writes=True).removed) == 3
    assert lake.check() == []


def test_rows_are_counted_where_the_ledger_has_no_checksum(lake: Lake) -> None:
    part = merged(lake)
    rows = lake.sql("select * from runs_parts").pl().with_columns(fact_files=None)
    for path in (lake.root / "runs" / "hardware_id=dev").iterdir():
        path.unlink()
    with Commit(lake.root) as commit:
        commit.stage(Runs, new_id(), leaves(Runs, rows.cast(dict(Runs.polars_schema()))))
        commit.publish()
    content = part.read_bytes()
    lose_rows(part)
    (needed,) = lake.vacuum(older_than_s=0, nobody_writes=True).needed
    assert "run r0: 1 of 2 rows of subgraph_timings are there" in needed.why
    assert len(needed.paths) == 1, "the others have all their rows where they lie now"
    part.write_bytes(content)
    assert lake.vacuum(older_than_s=0, nobody_writes=True).needed == ()
    assert lake.check() == []


def test_facts_that_only_the_ledger_of_another_device_names_stay(lake: Lake, cli: Cli) -> None:
    lake.write(RUN | {"run_id": "later"}, subgraph_timings=timing_of(lake))
    (ledger,) = set((lake.root / "runs" / "hardware_id=dev").iterdir()) - {first_ledger(lake)}
    (part,) = lake.runs().filter(pl.col("run_id") == "later")["part"]
    other = lake.root / "runs" / "hardware_id=other"
    other.mkdir()
    ledger.rename(other / ledger.name)
    (fact,) = (path for path in parts(lake) if path.name.startswith(part))
    said = cli("vacuum", "--older-than", "0s", "--nobody-writes").stdout
    assert f"1 files are named by the ledger of another hardware id and stay, such as {fact}" in said
    assert fact.exists()
    (other / ledger.name).rename(ledger)
    assert lake.frame("subgraph_timings").height == 8
    assert lake.check() == []


def timing_of(lake: Lake) -> pl.DataFrame:
    rows = lake.frame("subgraph_timings", run_id="r0")
    return rows.drop("run_id", "part")


def first_ledger(lake: Lake) -> Path:
    return min((lake.root / "runs" / "hardware_id=dev").iterdir())


def test_ledger_files_stay_as_they_are_where_no_place_is_empty(lake: Lake, cli: Cli) -> None:
    lake.vacuum(older_than_s=0, nobody_writes=True)
    for number in range(3):
        lake.write(RUN | {"run_id": f"s{number}"}, subgraph_timings=timing_of(lake))
    ledger = sorted((lake.root / "runs" / "hardware_id=dev").iterdir())
    assert len(ledger) == 4
    assert cli("vacuum", "--older-than", "0s", "--nobody-writes").stdout == "0 files (0 B) removed\n"
    assert sorted((lake.root / "runs" / "hardware_id=dev").iterdir()) == ledger


def test_what_leaves_the_ledger_is_said_before_and_after(lake: Lake, cli: Cli) -> None:
    lake.write(RUN | {"run_id": "later"}, subgraph_timings=timing_of(lake))
    ledger = sorted((lake.root / "runs" / "hardware_id=dev").iterdir())
    words = "dev: 3 statements about empty places {}removed from the ledger; its 2 files {}written as one\n"
    would = "would be "
    dry = cli("vacuum", "--older-than", "0s", "--dry-run").stdout
    assert dry.endswith(words.format(would, would))
    assert sorted((lake.root / "runs" / "hardware_id=dev").iterdir()) == ledger
    assert cli("vacuum", "--older-than", "0s", "--nobody-writes").stdout.endswith(words.format("", ""))
    assert len(list((lake.root / "runs" / "hardware_id=dev").iterdir())) == 1


def test_the_api_refuses_a_short_time_too(lake: Lake) -> None:
    with pytest.raises(UsageError, match="nobody-writes"):
        lake.vacuum(older_than_s=1)
