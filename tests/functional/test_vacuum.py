"""`lake vacuum` removes what no reader can see, when it is old enough, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import CorruptLakeError, UsageError
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

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


def test_the_api_refuses_a_short_time_too(lake: Lake) -> None:
    with pytest.raises(UsageError, match="nobody-writes"):
        lake.vacuum(older_than_s=1)
