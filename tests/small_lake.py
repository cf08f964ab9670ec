"""Rows of a lake small enough to work its answers out by hand."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundlake.store import Lake

PEAK = 1e9
NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - the lake keeps naive UTC
STATE = {
    "gpu_clock_mhz": None,
    "mem_clock_mhz": None,
    "power_mode": None,
    "temperature_c": None,
    "cpu_freq_mhz": None,
    "cpu_governor": None,
    "throttle_reasons": None,
}


def timing(number: int, *, flops: int = 1000, mean: float = 1.0, **columns: object) -> dict[str, object]:
    """One subgraph: 100 bytes, a latency without spread, and the efficiency that follows from the recorded peak."""
    rate = flops / (mean / 1000) if flops and mean else None
    return {
        "subgraph_id": number,
        "fusion_pattern": "Conv2d",
        "operation_type": "conv2d",
        "node_names": [f"node_{number}"],
        "flops": flops,
        "total_bytes": 100,
        "arithmetic_intensity": flops / 100,
        "latency_mean_ms": mean,
        "latency_std_ms": 0.0,
        "latency_min_ms": 0.0,
        "latency_max_ms": mean,
        "latency_samples": 50,
        "achieved_flops": rate,
        "efficiency_mean": None if rate is None else rate / PEAK,
        "efficiency_std": None if rate is None else 0.0,
        "efficiency_samples": None if rate is None else 50,
        "theoretical_peak_flops": PEAK,
    } | columns


def measured(lake: Lake, *rows: Mapping[str, object], day: float | None = 0, **run: object) -> str:
    """Write a good run, `day` days after noon of 1 January 2026, and return its id.

    Without `total_latency_ms`, its total is the sum of the subgraphs.
    """
    facts: Sequence[Mapping[str, object]] = rows or [timing(0)]
    summary = {
        "hardware_id": "dev",
        "precision": "fp32",
        "model": "net",
        "batch": 1,
        "device": "cpu",
        "timing_method": "perf_counter",
        "flops_method": "counted",
        "theoretical_peak_flops": PEAK,
        "theoretical_peak_source": "registry",
        "started_at": None if day is None else NOON + dt.timedelta(days=day),
        "started_at_zone_source": None if day is None else "clock",
        "total_flops": sum(int(str(row["flops"])) for row in facts),
        "total_bytes": sum(int(str(row["total_bytes"])) for row in facts),
        "total_latency_ms": sum(float(str(row["latency_mean_ms"])) for row in facts),
        "num_subgraphs": len(facts),
    } | run
    return lake.write(summary, subgraph_timings=pl.DataFrame(facts, infer_schema_length=None))


def failed(lake: Lake, error: str | None, **run: object) -> str:
    """Write a failed attempt and return its id."""
    keys = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "device": "cpu"}
    return lake.write(keys | {"status": "failed", "error": error} | run)


def specified(lake: Lake, hardware_id: str = "dev", **figures: object) -> None:
    """Write the specification of a device."""
    row = {name: [value] for name, value in ({"name": "A device", "device": "cpu"} | figures).items()}
    lake.write({"hardware_id": hardware_id, "kind": "hardware_spec"}, hardware=pl.DataFrame(row))


def estimated(lake: Lake, *rows: Mapping[str, object], version: str = "1") -> None:
    """Write estimates by the estimator `guess`, of the configuration dev/fp32/net/1 unless a row says otherwise."""
    keys = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}
    frame = pl.DataFrame([keys | dict(row) for row in rows], infer_schema_length=None)
    lake.write_estimates(frame, estimator="guess", version=version, allow_unmeasured=True)


def ask(lake: Lake, name: str, columns: str, **parameters: object) -> list[tuple[Any, ...]]:
    """Rows of a query in the order of their text, these columns only."""
    frame = lake.query(name, **parameters).pl()
    names = columns.replace(",", " ").split()
    return sorted(frame.select(names).rows(), key=repr)


def near(*values: object) -> Sequence[object]:
    """A row in which numbers may differ in their last digits."""
    return tuple(pytest.approx(value, rel=1e-12) if isinstance(value, float) else value for value in values)
