"""Twelve measured models of 100, 110, ... ms, and estimates of them that are wrong by a factor."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODELS = [f"m{number:02d}" for number in range(12)]
FACTORS = [1.0, 1.1, 0.8, 1.4, 0.6, 2.0, 1.0, 1.05, 0.95, 1.2, 0.7, 1.3]
"""Errors in %: 0 10 20 40 40 100 0 5 5 20 30 30."""

KEYS = {"hardware_id": "dev", "precision": "fp32", "batch": 1}
FORCED = "not_representative: measured with --force although cpu_load (observed 80 %, threshold 20 %); measure again"
LATER = {"started_at": datetime(2026, 1, 2), "started_at_zone_source": "clock"}  # noqa: DTZ001 - UTC


def run(model: str, **columns: object) -> dict[str, object]:
    return (
        KEYS
        | {
            "model": model,
            "device": "cpu",
            "timing_method": "perf_counter",
            "flops_method": "counted",
            "total_latency_ms": 100.0,
            "total_latency_std_ms": 0.0,
            "num_subgraphs": 2,
            "timed_runs": 50,
        }
        | columns
    )


def twelve_models(root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """Twelve models of 100, 110, ... ms, each of two subgraphs of 60 % and 40 %."""
    lake = Lake(root)
    for number, model in enumerate(MODELS):
        total = 100.0 + 10 * number
        rows = timings(
            2,
            latency_mean_ms=[0.6 * total, 0.4 * total],
            operation_type=["conv2d", "unfused"],
            fusion_pattern=["Conv2d", "Unfused"],
            latency_ci_lower_ms=[0.59 * total, 0.4 * total],
            latency_ci_upper_ms=[0.61 * total, 0.4 * total],
        )
        lake.write(run(model, total_latency_ms=total), subgraph_timings=rows)
    return lake


def estimate(lake: Lake, factors: list[float], version: str = "1", **columns: object) -> None:
    """Predict each model as its measured sum times a factor."""
    rows = [
        KEYS | {"model": model, "predicted_latency_ms": (100.0 + 10 * number) * factor} | columns
        for number, (model, factor) in enumerate(zip(MODELS, factors, strict=False))
    ]
    lake.write_estimates(pl.DataFrame(rows), estimator="mine", version=version)
