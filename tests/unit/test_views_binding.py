"""How views are found, ordered and bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.query_files import parse_view, written_views
from groundlake.schemas import FACT_TABLES, TABLES, Quarantine
from groundlake.store import Lake
from groundlake.views import (
    View,
    all_views,
    base_views,
    comment_statements,
    empty_sql,
    fact_view_sql,
    ledger_view_sql,
    needed_for,
    parts_sql,
    quarantine_sql,
    sql_type,
)

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.schemas import Table


def test_a_view_comes_after_everything_it_reads(tmp_path: Path) -> None:
    views = all_views(tmp_path)
    order = list(views)
    for name, view in views.items():
        assert all(order.index(read) < order.index(name) for read in view.reads() & set(order) - {name}), name
    assert order.index("runs_parts") == 0


def test_only_what_a_query_needs_is_bound(tmp_path: Path) -> None:
    views = all_views(tmp_path)
    assert needed_for(["runs"], views) == ["runs_parts", "runs"]
    assert set(needed_for(["SUBGRAPH_timings"], views)) == {
        "runs_parts",
        "runs",
        "subgraph_timings_parts",
        "subgraph_timings",
    }
    assert needed_for(["nothing"], views) == []


def test_reads_are_found_in_joins_and_not_in_comments() -> None:
    view = View("v", "-- from nothing\nSELECT 1 FROM a JOIN b ON true -- join c\nLEFT JOIN d ON true", "", "")
    assert view.reads() == {"a", "b", "d"}


@pytest.mark.parametrize("table", list(FACT_TABLES.values()), ids=lambda table: table.table_name())
def test_the_ledger_stands_first_in_the_from_of_every_fact_view(table: type[Table]) -> None:
    text = " ".join(fact_view_sql(table).split())
    assert f"FROM runs r JOIN {table.table_name()}_parts t ON" in text
    assert "t.hardware_id = r.hardware_id AND t.run_id = r.run_id AND t.part = r.part" in text


def test_the_window_of_the_ledger_partitions_by_hardware_id_and_run_id() -> None:
    text = " ".join(ledger_view_sql().split())
    assert "PARTITION BY hardware_id, run_id ORDER BY revision DESC, placement DESC, part DESC" in text


@pytest.mark.parametrize("table", [*TABLES.values(), Quarantine], ids=lambda table: table.table_name())
def test_an_empty_relation_has_the_columns_and_types_of_the_contract(table: type[Table], lake_root: Path) -> None:
    import duckdb

    lake_root.mkdir()
    raw = quarantine_sql(lake_root) if table is Quarantine else parts_sql(table, lake_root)
    assert raw == empty_sql(table)
    frame = duckdb.sql(raw).pl()
    assert frame.schema == table.polars_schema()
    assert frame.is_empty()


@pytest.mark.parametrize("table", list(TABLES.values()), ids=lambda table: table.table_name())
def test_a_bound_relation_has_the_columns_and_types_of_the_contract(table: type[Table], lake_root: Path) -> None:
    import duckdb

    Lake(lake_root).create()
    assert duckdb.sql(parts_sql(table, lake_root)).pl().schema == table.polars_schema()


def test_nested_types_are_written_for_duckdb() -> None:
    struct = pl.List(pl.Struct({"table": pl.String(), "rows": pl.Int64()}))
    assert sql_type(struct) == 'STRUCT("table" VARCHAR, "rows" BIGINT)[]'


def test_comments_quote_what_they_say() -> None:
    view = parse_view("v", "-- One row's thing\n-- column a [ms]: It's a\nSELECT 1 AS a")
    assert comment_statements(view, ["a", "unheard_of"]) == [
        "COMMENT ON VIEW v IS 'One row''s thing'",
        "COMMENT ON COLUMN v.\"a\" IS 'It''s a [ms]'",
    ]


def test_no_written_view_names_a_file_or_hides_columns() -> None:
    for name, view in written_views().items():
        for forbidden in ("read_parquet", "read_json", "EXCLUDE", "EXCEPT", "_parts", "SELECT *"):
            assert forbidden not in view.sql, name
    assert not set(written_views()) & set(base_views())
