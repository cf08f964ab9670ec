"""A contract grows by nullable columns: old parts stay readable, and an old reader still sees the rows of new parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest

from groundlake.commit import Commit, ensure_anchor
from groundlake.intake import leaves
from groundlake.ledger import leaf_files, read_parts, scan_parts
from groundlake.maintenance.integrity import inspect
from groundlake.schemas import FACT_TABLES, TABLES, SubgraphTimings
from groundlake.schemas.base import column
from groundlake.views import fact_view_sql, ledger_view_sql, parts_sql

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.schemas import Table


class NewTimings(SubgraphTimings):
    """One subgraph in one run, with a column that version 1 did not have."""

    energy_j: float = column("Energy of one pass", unit="J", nullable=True, ge=0)

    @classmethod
    def version(cls) -> int:
        return 2

    @classmethod
    def added(cls) -> dict[str, int]:
        return {"energy_j": 2}


KEYS = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


def put(root: Path, contract: type[Table], part: str, frame: pl.DataFrame) -> None:
    ensure_anchor(root, contract)
    literals = [pl.lit(value).alias(name) for name, value in (KEYS | {"run_id": part, "part": part}).items()]
    rows = contract.conform(frame.with_columns(literals).with_columns(pl.col("batch").cast(pl.Int64)))
    contract.check(rows)
    with Commit(root) as commit:
        commit.stage(contract, part, leaves(contract, rows))
        commit.publish()


@pytest.fixture
def mixed(lake_root: Path, valid) -> Path:
    """A lake with one part of each version."""
    put(lake_root, SubgraphTimings, "old", valid(SubgraphTimings))
    put(lake_root, NewTimings, "new", valid(NewTimings, energy_j=0.5))
    return lake_root


def energies(rows: list[tuple[str, float | None]]) -> dict[str, set[float | None]]:
    found: dict[str, set[float | None]] = {}
    for part, energy in rows:
        found.setdefault(part, set()).add(energy)
    return found


def test_the_file_name_says_the_version(mixed: Path) -> None:
    names = {path.name for _, path in leaf_files(mixed, NewTimings, {})}
    assert names == {"old.v01.parquet", "new.v02.parquet"}


def test_the_base_view_shows_old_parts_with_null_in_the_new_column(mixed: Path) -> None:
    rows = duckdb.sql(f"SELECT part, energy_j FROM ({parts_sql(NewTimings, mixed)})").fetchall()
    assert energies(rows) == {"old": {None}, "new": {0.5}}
    assert len(rows) == 4
    described = duckdb.sql(f"DESCRIBE ({parts_sql(NewTimings, mixed)})").fetchall()
    assert [row[0] for row in described] == NewTimings.polars_schema().names()


def test_direct_readers_show_old_parts_with_null_in_the_new_column(mixed: Path) -> None:
    for keys, path in leaf_files(mixed, NewTimings, {}):
        rows = read_parts(NewTimings, [path], keys | {"batch": 1})
        assert rows.schema == NewTimings.polars_schema()
        assert set(rows["energy_j"]) == {0.5 if path.name.startswith("new") else None}
        assert scan_parts(NewTimings, [path]).collect()["energy_j"].to_list() == rows["energy_j"].to_list()


def test_an_old_reader_still_sees_the_rows_of_new_parts(mixed: Path) -> None:
    rows = duckdb.sql(f"SELECT part, flops FROM ({parts_sql(SubgraphTimings, mixed)})").fetchall()
    assert sorted(rows) == [("new", 1), ("new", 1), ("old", 1), ("old", 1)]
    paths = [path for _, path in leaf_files(mixed, SubgraphTimings, {})]
    direct = read_parts(SubgraphTimings, paths, KEYS)
    assert direct.schema == SubgraphTimings.polars_schema()
    assert sorted(direct["part"]) == ["new", "new", "old", "old"]


def test_a_lake_of_one_version_reads_as_well(lake_root: Path, valid) -> None:
    put(lake_root, NewTimings, "new", valid(NewTimings, energy_j=0.5))
    assert len(duckdb.sql(parts_sql(NewTimings, lake_root)).fetchall()) == 2
    assert "UNION" not in parts_sql(NewTimings, lake_root)


def test_old_parts_before_the_first_new_write_are_read_once_the_new_anchor_is_there(lake_root: Path, valid) -> None:
    put(lake_root, SubgraphTimings, "old", valid(SubgraphTimings))
    ensure_anchor(lake_root, NewTimings)
    rows = duckdb.sql(f"SELECT part, energy_j FROM ({parts_sql(NewTimings, lake_root)})").fetchall()
    assert energies(rows) == {"old": {None}}


def test_a_lake_of_older_software_reads_before_anything_new_is_written(lake_root: Path, valid) -> None:
    put(lake_root, SubgraphTimings, "old", valid(SubgraphTimings))
    rows = duckdb.sql(f"SELECT part, energy_j FROM ({parts_sql(NewTimings, lake_root)})").fetchall()
    assert (energies(rows), len(rows)) == ({"old": {None}}, 2)
    ensure_anchor(lake_root, NewTimings)
    assert duckdb.sql(f"SELECT part, energy_j FROM ({parts_sql(NewTimings, lake_root)})").fetchall() == rows


def test_the_anchors_of_earlier_versions_are_no_findings(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tables in (TABLES, FACT_TABLES):
        monkeypatch.setitem(tables, "subgraph_timings", NewTimings)
    assert {finding.code for finding in inspect(mixed)} == {"orphan"}
    anchors = list(mixed.rglob("anchor.*"))
    assert {path.name for path in anchors} == {"anchor.v01.parquet", "anchor.v02.parquet"}
    assert not {finding.where for finding in inspect(mixed)} & {str(path) for path in anchors}


def test_a_filter_on_the_keys_prunes_the_files_of_both_versions(mixed: Path, valid) -> None:
    elsewhere = mixed / "subgraph_timings" / "hardware_id=dev" / "precision=fp32" / "model=torn" / "batch=1"
    elsewhere.mkdir(parents=True)
    for version in (1, 2):
        (elsewhere / f"x.v0{version}.parquet").write_bytes(b"reading this file is an error")
    relation = f"({parts_sql(NewTimings, mixed)})"
    assert len(duckdb.sql(f"SELECT energy_j FROM {relation} WHERE model = 'net' AND batch = 1").fetchall()) == 4
    with pytest.raises(duckdb.Error):
        duckdb.sql(f"SELECT energy_j FROM {relation}").fetchall()


def test_the_text_of_the_views_above_the_files_names_no_path() -> None:
    for sql in (ledger_view_sql(), fact_view_sql(SubgraphTimings)):
        assert "/" not in sql
        assert "parquet" not in sql
