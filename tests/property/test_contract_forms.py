"""The fused check and the per-column form of a contract give the same verdict, whatever the frame."""

from __future__ import annotations

import datetime as dt
import math
import os
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from groundlake.errors import ContractViolationError
from groundlake.schemas import TABLES, Quarantine, Table
from groundlake.schemas.explaining import broken_rules, per_column_schema, readable

CONTRACTS: list[type[Table]] = [*TABLES.values(), Quarantine]
BUDGET = settings(
    max_examples=30,
    deadline=None,  # no timing asserts: a slow machine is no defect
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)

TEXTS = st.sampled_from(
    ["fp32", "net", "ok", "failed", "efficiency", "perf_counter", "clock", "measure", "bad_json", "text"]
)
ODD_TEXTS = st.sampled_from(
    ["", "-", "42", "FP32", " a", "two words", "a/b", "ü" * 21, "x" * 121, "None", "__HIVE_DEFAULT_PARTITION__"]
)
NUMBERS = st.sampled_from([0.0, 1.0, 1.0 + 2**-52, 2.0])
ODD_NUMBERS = st.sampled_from([-1.0, -0.0, math.nan, math.inf, -math.inf, 1e308, 5e-324])
TIMES = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1))  # noqa: DTZ001 - the lake keeps naive UTC

GOOD: dict[str, Any] = {
    "kind": "efficiency",
    "code": "bad_json",
    "answers": ["text"],
    "precision": "fp32",
    "class_names": ["cat"],
    "num_samples": 1,
    "num_classes": 1,
    "samples_per_class": 1,
    "sample_id": "0" * 64,
}


USUAL: dict[type[pl.DataType], st.SearchStrategy[Any]] = {
    pl.String: st.just("text"),
    pl.Int64: st.integers(1, 3),
    pl.Float64: st.just(1.0),
    pl.Datetime: TIMES,
    pl.Boolean: st.booleans(),
    pl.Binary: st.just(bytes(12)),
    pl.List: st.just([]),
    pl.Struct: st.none(),
}
ODD: dict[type[pl.DataType], st.SearchStrategy[Any]] = USUAL | {
    pl.String: TEXTS | ODD_TEXTS,
    pl.Int64: st.sampled_from([-1, 0, 2**62]),
    pl.Float64: NUMBERS | ODD_NUMBERS,
}


def allowed(contract: type[Table], name: str) -> list[Any]:
    """Values that a column lists; none where it takes any."""
    checks = contract.to_schema().columns[name].checks
    return next((list(check.statistics["allowed_values"]) for check in checks if check.name == "isin"), [])


def cells(contract: type[Table], name: str, dtype: pl.DataType, *, odd: bool) -> st.SearchStrategy[Any]:
    """Values of a column; odd ones are of the right type, and often not allowed."""
    if not odd and allowed(contract, name):
        return st.just(allowed(contract, name)[0])
    if odd and isinstance(dtype, pl.List) and dtype.inner == pl.Float64:
        return st.lists(NUMBERS | ODD_NUMBERS, max_size=3)
    if not odd and name in GOOD:
        return st.just(GOOD[name])
    return (ODD if odd else USUAL)[type(dtype)]


@st.composite
def frames(draw: st.DrawFn, contract: type[Table]) -> pl.DataFrame:
    """Frames with the right columns; none to four of them have odd values or NULLs, so that both verdicts occur."""
    schema = contract.polars_schema()
    odd = set(draw(st.lists(st.sampled_from(schema.names()), max_size=4)))
    rows = draw(st.integers(1, 3))
    columns = {}
    for name, dtype in schema.items():
        values = cells(contract, name, dtype, odd=False)
        if name in odd:
            values = st.none() | cells(contract, name, dtype, odd=True)
        columns[name] = pl.Series(name, [draw(values) for _ in range(rows)], dtype=dtype)
    return pl.DataFrame(columns)


def fused_accepts(contract: type[Table], frame: pl.DataFrame) -> bool:
    try:
        contract.check(frame)
    except ContractViolationError:
        return False
    return True


def per_column_accepts(contract: type[Table], frame: pl.DataFrame) -> bool:
    try:
        per_column_schema(contract).validate(readable(frame), lazy=True)
    except SchemaErrors:
        return False
    return True


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.table_name())
def test_both_forms_give_the_same_verdict_and_name_the_same_rules(contract: type[Table]) -> None:
    verdicts = set()

    @BUDGET
    @given(frames(contract))
    def compare(frame: pl.DataFrame) -> None:
        verdict = fused_accepts(contract, frame)
        verdicts.add(verdict)
        assert per_column_accepts(contract, frame) == verdict
        broken = {(rule.column, rule.name) for rule in contract.rules() if not frame.select(rule.holds.all()).item()}
        assert broken_rules(contract, frame) == broken
        assert (broken == set()) == verdict

    compare()
    assert verdicts == {True, False}, "the generated frames met both verdicts"
