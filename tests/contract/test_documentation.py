"""Every table says what a row is, every column what it means, and every number its unit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.query_files import parse_view, written_views
from groundlake.schemas import FACT_TABLES, TABLES, Quarantine, Runs, Table

if TYPE_CHECKING:
    from groundlake.schemas import ColumnSpec

CONTRACTS: list[type[Table]] = [*TABLES.values(), Quarantine]
COLUMNS = [(contract, spec) for contract in CONTRACTS for spec in contract.columns()]
NAMES = [f"{contract.table_name()}.{spec.name}" for contract, spec in COLUMNS]

UNIT_OF_SUFFIX = {
    "_bytes_per_s": "byte/s",
    "_tokens_per_second": "1/s",
    "_kg_co2": "kg",
    "_ms": "ms",
    "_s": "s",
    "_w": "W",
    "_j": "J",
    "_mhz": "MHz",
    "_c": "°C",
    "_bytes": "byte",
    "_flops": "FLOP/s",
    "_ops": "OP/s",
}

FIXED_BY_THE_SOURCE_DOCUMENT = {
    "flops": "counted work in FLOP; the document's name",
    "total_flops": "counted work in FLOP; the document's name, though other names on _flops are rates",
    "total_bytes": "the document's name",
    "arithmetic_intensity": "FLOP/byte; the document's name",
    "achieved_flops": "a rate in FLOP/s; the document's name",
    "theoretical_peak_flops": "a rate in FLOP/s; the document's name",
    "throughput_fps": "inputs per second; the document's name",
}
"""Names that schema 2.0 fixes, so that they cannot end in their unit, and why."""


def is_number(dtype: pl.DataType) -> bool:
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    return isinstance(inner, pl.DataType) and inner.is_numeric()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.table_name())
def test_a_table_says_what_one_row_is(contract: type[Table]) -> None:
    assert len(contract.documentation()) > 20
    assert contract.documentation() != Table.documentation()


@pytest.mark.parametrize(("contract", "spec"), COLUMNS, ids=NAMES)
def test_a_column_says_what_it_means(contract: type[Table], spec: ColumnSpec) -> None:
    assert len(spec.description) > 5


@pytest.mark.parametrize(("contract", "spec"), COLUMNS, ids=NAMES)
def test_a_number_has_a_unit_and_nothing_else_has(contract: type[Table], spec: ColumnSpec) -> None:
    assert bool(spec.unit) == is_number(spec.dtype)


@pytest.mark.parametrize(("contract", "spec"), COLUMNS, ids=NAMES)
def test_a_name_of_our_own_ends_in_its_unit(contract: type[Table], spec: ColumnSpec) -> None:
    if spec.name in FIXED_BY_THE_SOURCE_DOCUMENT or not is_number(spec.dtype):
        return
    suffix = next((suffix for suffix in UNIT_OF_SUFFIX if spec.name.endswith(suffix)), None)
    assert spec.unit == (UNIT_OF_SUFFIX[suffix] if suffix else "1")


def test_the_exemptions_are_all_in_use() -> None:
    assert set(FIXED_BY_THE_SOURCE_DOCUMENT) <= {spec.name for _, spec in COLUMNS}


def test_counted_work_and_rates_of_work_have_different_units() -> None:
    units = {spec.name: spec.unit for _, spec in COLUMNS}
    assert units["flops"] == units["total_flops"] == "FLOP"
    rates = [name for name in units if name.endswith("_flops") and name != "total_flops"]
    assert {"achieved_flops", "theoretical_peak_flops", "peak_fp32_flops"} <= set(rates)
    assert {units[name] for name in rates} == {"FLOP/s"}


def test_the_ledger_is_written_last() -> None:
    assert list(TABLES)[-1] == "runs"
    assert TABLES["runs"] is Runs
    assert set(FACT_TABLES) == set(TABLES) - {"runs"}
    assert all(name == table.table_name() for name, table in TABLES.items())


@pytest.mark.parametrize("contract", list(TABLES.values()), ids=lambda contract: contract.table_name())
def test_keys_are_the_first_folders_and_never_in_the_file(contract: type[Table]) -> None:
    assert contract.keys() == ("hardware_id", "precision", "model", "batch")[: len(contract.keys())]
    stored = contract.arrow_schema()
    assert stored.names == [name for name in contract.polars_schema() if name not in contract.keys()]
    assert stored.metadata[b"groundlake.contract"].decode() == contract.table_name()
    assert stored.metadata[b"groundlake.contract_version"].decode() == str(contract.version())
    assert re.fullmatch(rb"groundlake \d+\.\d+\.\d+", stored.metadata[b"groundlake.writer"])


@pytest.mark.parametrize("contract", list(FACT_TABLES.values()), ids=lambda contract: contract.table_name())
def test_a_fact_row_carries_its_run_and_part(contract: type[Table]) -> None:
    assert {"hardware_id", "run_id", "part"} <= set(contract.polars_schema())
    assert not next(spec for spec in contract.columns() if spec.name == "run_id").nullable


@pytest.mark.parametrize("name", sorted(written_views()))
def test_a_written_view_says_what_one_row_is_and_how_to_ask(name: str) -> None:
    view = written_views()[name]
    assert len(view.one_row_is) > 20
    assert f"from {name}" in view.example


def test_the_head_of_a_query_is_its_documentation() -> None:
    text = (
        "-- One row is a thing. More\n-- of it.\n-- example: select a\n--   from t\n"
        "-- column a [ms]: An a,\n--   or b\nSELECT 1;\n"
    )
    view = parse_view("t", text)
    assert (view.sql, view.documentation) == ("SELECT 1", "One row is a thing. More of it.")
    assert view.one_row_is == "One row is a thing"
    assert view.example == "select a from t"
    assert view.columns == {"a": "An a, or b [ms]"}
