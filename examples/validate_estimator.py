"""Validate an estimator of your own against all that a lake has measured: predict, bring in, ask.

python examples/validate_estimator.py lake
"""

from __future__ import annotations

import sys

import polars as pl

from groundlake import Lake
from groundlake.errors import LakeError
from groundlake.estimate.accuracy import Scope, accuracy

WORK = """
    select s.hardware_id, s.precision, s.model, s.batch, s.subgraph_id, s.flops, s.total_bytes
    from latest_runs r
    join subgraph_timings s on s.hardware_id = r.hardware_id and s.run_id = r.run_id
"""


def predict(work: pl.DataFrame) -> pl.DataFrame:
    """Your estimator: here every device computes 1 TFLOP/s, moves 50 GB/s, and begins an operation in 20 us."""
    compute_s, memory_s = pl.col("flops") / 1e12, pl.col("total_bytes") / 50e9
    latency_ms = 1000 * (pl.max_horizontal(compute_s, memory_s) + 20e-6)
    return work.with_columns(predicted_latency_ms=latency_ms).drop("flops", "total_bytes")


def judge(lake: Lake) -> None:
    """Bring the predictions in, and print one line for each device."""
    work = lake.sql(WORK).pl()
    if work.is_empty():
        sys.exit(f"error: no subgraph was timed in {lake.root}; `lake ingest` measures some")
    written = lake.write_estimates(predict(work), estimator="one_size", version="1")
    print(f"{written.rows} predictions written, {written.present} were there")
    for row in accuracy(lake, Scope(estimator="one_size", version="1", by="hardware")).iter_rows(named=True):
        interval = f"{row['median_ape_ci_lower']:.0f} to {row['median_ape_ci_upper']:.0f}"
        print(f"{row['member']}: {row['num_configurations']} configurations,", end=" ")
        print(f"median error {row['median_ape']:.1f} % ({interval}), {row['rating']}")


if __name__ == "__main__":
    try:
        judge(Lake(*sys.argv[1:]))  # without an argument, the lake is ./lake
    except LakeError as error:
        sys.exit(f"error: {error}")
