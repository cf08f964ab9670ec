"""A valid row of every contract, to be broken in one place at a time."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from groundlake.schemas import Estimates, SubgraphTimings

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundlake.schemas import Table

SPECIAL: dict[str, Any] = {
    "hardware_id": "jetson_orin_agx_maxn",
    "precision": "fp32",
    "model": "resnet18",
    "status": "ok",
    "kind": "efficiency",
    "timing_method": "perf_counter",
    "started_at_zone_source": "clock",
    "phase": "measure",
    "code": "bad_json",
    "predicted_latency_ms": 1.0,
    "node_names": ["conv", "bn"],
}
BY_TYPE: dict[type[pl.DataType], Any] = {
    pl.String: "text",
    pl.Int64: 1,
    pl.Float64: 1.0,
    pl.Boolean: True,
    pl.Datetime: dt.datetime(2026, 1, 1),  # noqa: DTZ001 - the lake keeps naive UTC
}


@pytest.fixture(scope="session")
def valid() -> Callable[..., pl.DataFrame]:
    """Make a frame that meets a contract: `valid(contract, rows, **columns)`."""

    def make(contract: type[Table], rows: int = 2, **columns: object) -> pl.DataFrame:
        values = {name: SPECIAL.get(name, BY_TYPE.get(type(dtype))) for name, dtype in contract.polars_schema().items()}
        frame = pl.DataFrame([values] * rows, schema=contract.polars_schema())
        if issubclass(contract, (SubgraphTimings, Estimates)):  # a subgraph stands once in a run
            frame = frame.with_columns(subgraph_id=pl.int_range(rows, dtype=pl.Int64))
        return frame.with_columns(
            value.alias(name)
            if isinstance(value, pl.Series)
            else pl.Series(name, [value] * rows, dtype=frame.schema[name])
            for name, value in columns.items()
        )

    return make
