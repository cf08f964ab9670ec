"""A valid row of every contract, to be broken in one place at a time."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from groundlake.schemas import (
    Estimates,
    ExperimentProcesses,
    ExperimentRequests,
    Experiments,
    ExperimentSettings,
    StudyPlan,
    SubgraphTimings,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SPECIAL: dict[str, Any] = {
    "hardware_id": "jetson_orin_agx_maxn",
    "precision": "fp32",
    "model": "resnet18",
    "kind": "efficiency",
    "code": "bad_json",
    "predicted_latency_ms": 1.0,
    "node_names": ["conv", "bn"],
    "samples_ms": [1.0],
    "answers": ["text"],
    "class_names": ["cat"],
    "sample_id": "5e" * 32,
    "output_shape": [4, 32, 32, 3],
}
BY_TYPE: dict[type[pl.DataType], Any] = {
    pl.String: "text",
    pl.Int64: 1,
    pl.Float64: 1.0,
    pl.Boolean: True,
    pl.Datetime: dt.datetime(2026, 1, 1),  # noqa: DTZ001 - the lake keeps naive UTC
    pl.Binary: bytes(12),
}


ONCE_IN_A_RUN: dict[type[Table], str] = {
    SubgraphTimings: "subgraph_id",
    Estimates: "subgraph_id",
    ExperimentProcesses: "process_index",
    ExperimentRequests: "request_index",
    StudyPlan: "position",
}


def usual(contract: type[Table], name: str, dtype: pl.DataType) -> object:
    """Return a value that the column takes: the first of those it allows, where it lists them."""
    for check in contract.to_schema().columns[name].checks:
        if check.name == "isin":
            return next(iter(check.statistics["allowed_values"]))
    return SPECIAL.get(name, BY_TYPE.get(type(dtype)))


@pytest.fixture(scope="session")
def valid() -> Callable[..., pl.DataFrame]:
    """Make a frame that meets a contract: `valid(contract, rows, **columns)`."""

    def make(contract: type[Table], rows: int = 2, **columns: object) -> pl.DataFrame:
        values = {name: usual(contract, name, dtype) for name, dtype in contract.polars_schema().items()}
        frame = pl.DataFrame([values] * rows, schema=contract.polars_schema())
        if contract is StudyPlan:
            frame = frame.with_columns(cycle=pl.int_range(1, rows + 1, dtype=pl.Int64))
        for table, number in ONCE_IN_A_RUN.items():
            if issubclass(contract, table):
                frame = frame.with_columns(pl.int_range(rows, dtype=pl.Int64).alias(number))
        if contract in (Experiments, ExperimentSettings) or contract.table_name().startswith(
            ("kv_", "calibration_", "evaluation_")
        ):
            frame = frame.with_columns(run_id=pl.format("run{}", pl.int_range(rows)))
        return frame.with_columns(
            value.alias(name)
            if isinstance(value, pl.Series)
            else pl.Series(name, [value] * rows, dtype=frame.schema[name])
            for name, value in columns.items()
        )

    return make
