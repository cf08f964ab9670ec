"""Validate a naive roofline estimate against all that a lake has measured on one device: the error per precision.

python examples/validate_one.py lake jetson_orin_maxn
"""

from __future__ import annotations

import sys

import polars as pl

from groundlake import Lake
from groundlake.hardware import find


def roofline_errors(lake: Lake, hardware_id: str) -> pl.DataFrame:
    """One row per precision: configurations, and the median absolute percentage error of the whole-model latency."""
    spec = find(hardware_id, lake)
    if spec is None:
        sys.exit(f"{hardware_id} has no specification: `lake hw list` has the known ones, `lake hw add` takes yours")
    peak = pl.col("precision").replace_strict(spec.peaks, default=None, return_dtype=pl.Float64)
    traffic_s = pl.col("total_bytes") / pl.lit(spec.memory_bandwidth_bytes_per_s, dtype=pl.Float64)
    subgraphs = lake.frame("subgraph_timings", hardware_id=hardware_id).with_columns(
        estimate_ms=1000 * pl.max_horizontal(pl.col("flops") / peak, traffic_s)  # what is unknown does not limit
    )
    estimates = subgraphs.group_by("run_id").agg(pl.sum("estimate_ms")).filter(pl.col("estimate_ms") > 0)
    measured = lake.sql("select hardware_id, precision, run_id, total_latency_ms from latest_runs").pl()
    return (
        measured.filter(hardware_id=hardware_id)
        .join(estimates, on="run_id")
        .with_columns(error_percent=100 * (pl.col("estimate_ms") / pl.col("total_latency_ms") - 1).abs())
        .group_by("precision")
        .agg(configurations=pl.len(), median_error_percent=pl.median("error_percent"))
        .sort("precision")
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - the program, the lake and the device
        sys.exit(__doc__)
    print(roofline_errors(Lake(sys.argv[1]), sys.argv[2]))
