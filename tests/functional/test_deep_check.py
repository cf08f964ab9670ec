"""`lake check --deep` names what was changed in place, and `--repair` sets it aside: the rest can be read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    lake = Lake(lake_root)
    for number in range(2):
        lake.write(RUN | {"run_id": f"r{number}"}, subgraph_timings=timings(2))
    return lake


def part_of(lake: Lake, run_id: str) -> Path:
    """The file of a run's rows, as the ledger names it."""
    (files,) = lake.runs().filter(pl.col("run_id") == run_id)["fact_files"]
    return lake.root / files[0]["path"]


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the rows of a part and leave its footer as it was."""
    rows = pq.read_table(path, partitioning=None)
    pq.write_table(change(rows).replace_schema_metadata(rows.schema.metadata), path)


def faster(rows: pa.Table) -> pa.Table:
    return with_latencies(rows, 0.5)


def with_latencies(rows: pa.Table, factor: float) -> pa.Table:
    for name in ("latency_mean_ms", "latency_min_ms", "latency_max_ms"):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pc.multiply(rows[name], factor))
    return rows


def test_a_sound_lake_is_said_to_be_so_with_what_was_looked_at(lake: Lake, cli: Cli) -> None:
    said = cli("check", "--deep").stdout
    assert said == "all is well; 4 files read, 2 of them held against a recorded checksum\n"
    lake.compact()
    assert "5 files read, 1 of them" in cli("check", "--deep").stdout.replace("4 files read", "5 files read")


def test_figures_that_were_changed_in_place_are_found_by_their_bytes(lake: Lake, cli: Cli) -> None:
    part = part_of(lake, "r1")
    rewritten(part, faster)
    assert lake.check() == [], "every row meets the contract, and none is missing"
    done = cli("check", "--deep", code=4)
    assert f"tampered: {part}" in done.stdout
    assert "not the bytes that were written" in done.stdout
    assert "restore the file from a copy" in done.stdout
    rewritten(part_of(lake, "r0"), faster)
    lake_after_merge = lake.compact()
    assert lake_after_merge, "what was changed is merged like any other rows"


def test_rows_that_break_the_contract_are_found_where_no_checksum_was_recorded(lake: Lake) -> None:
    part = part_of(lake, "r0")
    rewritten(part, lambda rows: with_latencies(rows, -1.0))
    ledger = lake.runs().with_columns(fact_files=None)
    for path in (lake.root / "runs" / "hardware_id=dev").iterdir():
        path.unlink()
    from groundlake.commit import Commit
    from groundlake.intake import leaves
    from groundlake.layout import new_id
    from groundlake.schemas import Runs

    with Commit(lake.root) as commit:
        commit.stage(Runs, new_id(), leaves(Runs, ledger.cast(Runs.polars_schema())))
        commit.publish()
    (finding,) = lake.check_deep(lake.check()).findings
    assert (finding.code, finding.where) == ("breaks_contract", str(part))
    assert "latency" in finding.what


def test_a_file_that_is_gone_is_named(lake: Lake) -> None:
    part = part_of(lake, "r0")
    part.unlink()
    found = {finding.code: finding.where for finding in lake.check_deep([]).findings}
    assert found == {"missing": str(part)}


def test_what_is_damaged_is_set_aside_and_everything_else_is_readable(lake: Lake, cli: Cli) -> None:
    torn = part_of(lake, "r0")
    torn.write_bytes(torn.read_bytes()[:-30])
    assert cli("sql", "select count(*) from subgraph_timings", code=4).stderr
    said = cli("check", "--deep", "--repair", code=4).stdout
    aside = lake.root / "_quarantine" / "parts" / torn.relative_to(lake.root)
    assert f"set aside: {torn}\n  -> {aside}" in said
    assert aside.is_file()
    assert lake.sql("select run_id, count(*) from subgraph_timings group by 1").rows() == [("r1", 2)]
    again = cli("check", code=4).stdout
    assert "missing_rows: dev run r0" in again, "that rows are lost is not forgotten"
    lake.retract("r0", "dev", "its rows were lost")
    assert lake.check() == []
    assert lake.check_deep([]).findings == ()


def test_two_files_of_one_name_are_set_aside_beside_each_other(lake: Lake) -> None:
    part = part_of(lake, "r0")
    content = part.read_bytes()
    for _ in range(2):
        part.write_bytes(content[:-30])
        (moved,) = lake.repair(lake.check()[:1])
    assert moved.now.name == f"{part.name}.2"
    part.write_bytes(content)
    assert lake.check() == []


def test_a_run_is_withdrawn_by_name_with_a_reason(lake: Lake, cli: Cli) -> None:
    assert cli("retract", "r0", "--why", "the fan was off").stdout == "run r0 of dev is withdrawn: the fan was off\n"
    assert lake.runs()["run_id"].to_list() == ["r1"]
    assert "was withdrawn before: the fan was off" in cli("retract", "r0", "--why", "again", code=2).stderr
    assert "run r9 of dev is not in" in cli("retract", "r9", "--why", "x", code=2).stderr
    assert "say why" in cli("retract", "r1", "--why", " ", code=2).stderr
    lake.write(RUN | {"hardware_id": "other", "run_id": "r1"})
    assert "2 devices have a run r1; name one with --hw" in cli("retract", "r1", "--why", "x", code=2).stderr
    assert "of other is withdrawn" in cli("retract", "r1", "--hw", "other", "--why", "x").stdout
