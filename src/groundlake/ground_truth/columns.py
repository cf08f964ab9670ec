"""Between the columns of a measurement file and the frames of the contracts, and back, value for value."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, chain
from math import isclose, isfinite
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from groundlake.ground_truth.reading import STATISTICS, Columns
from groundlake.schemas import SubgraphTimings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SUMMARY_TOLERANCE = 1e-12
"""Relative difference up to which a file's summary is its subgraphs': other orders of summation differ by 2e-15."""

EFFICIENCY = (*(f"efficiency_{name}" for name in STATISTICS), "efficiency_samples")


@lru_cache(maxsize=1)
def _frame_schema() -> dict[str, pl.DataType]:
    """Types of the columns that a measurement file has: the contract without keys, ids and raw samples."""
    absent = {*SubgraphTimings.keys(), "run_id", "part", "latency_samples_ms"}
    return {name: dtype for name, dtype in SubgraphTimings.polars_schema().items() if name not in absent}


def to_frame(columns: Columns) -> pl.DataFrame:
    """Build the `subgraph_timings` rows of one file.

    A row without samples of efficiency, all of whose efficiency statistics are 0, says "not applicable", not "0 %":
    it becomes NULL, and so does its `achieved_flops` of 0. A peak of 0 is an unknown peak, and becomes NULL too.

    Args:
        columns: Checked columns, named as in the contract.

    Returns:
        A frame of the contract's columns without keys, `run_id`, `part` and raw samples.
    """
    schema = _frame_schema()
    flat = {name: columns[name] for name in schema if name != "node_names"}
    frame = pl.DataFrame(flat, schema_overrides={name: schema[name] for name in flat}).with_columns(
        _nested(columns["node_names"])
    )
    if 0 in columns["efficiency_samples"]:
        missing = pl.all_horizontal([pl.col(name) == 0 for name in EFFICIENCY])
        silent = missing & (pl.col("achieved_flops") == 0)
        frame = frame.with_columns(
            *[pl.when(~missing).then(pl.col(name)).alias(name) for name in EFFICIENCY],
            pl.when(~silent).then(pl.col("achieved_flops")).alias("achieved_flops"),
        )
    if 0 in columns["theoretical_peak_flops"]:
        peak = pl.col("theoretical_peak_flops")
        frame = frame.with_columns(pl.when(peak > 0).then(peak).alias("theoretical_peak_flops"))
    return frame.select(list(schema))


def _nested(lists: list[list[str]]) -> pl.Series:
    """Build a column of lists from its flat values: polars would build a series for every row."""
    offsets = [0, *accumulate(map(len, lists))]
    values = pa.array(list(chain.from_iterable(lists)), pa.large_string())
    return pl.Series("node_names", pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values))


def from_frame(frame: pl.DataFrame, model: str) -> Columns:
    """Read `subgraph_timings` rows of one run back as the columns of a file: NULL efficiency becomes zeros."""
    schema = _frame_schema()
    rows = frame[list(schema)]
    if not rows["subgraph_id"].is_sorted():
        rows = rows.sort("subgraph_id")
    columns: Columns = rows.to_dict(as_series=False)
    # In lists: a model has a few dozen subgraphs, which cost less than to plan a query over as many columns.
    for name in (*EFFICIENCY, "achieved_flops", "theoretical_peak_flops"):
        zero = 0.0 if schema[name].is_float() else 0
        columns[name] = [zero if value is None else value for value in columns[name]]
    means = columns["latency_mean_ms"]
    for name in ("latency_ci_lower_ms", "latency_ci_upper_ms"):
        bounds = zip(columns[name], means, strict=True)
        columns[name] = [mean if bound is None else bound for bound, mean in bounds]
    columns["source_model"] = [model if source is None else source for source in columns["source_model"]]
    return columns


def totals(columns: Columns, batch_size: int) -> dict[str, Any]:
    """Recompute the model summary from the subgraphs.

    Latencies add up; so do their variances, for the subgraphs are taken as independent. Throughput is
    batch_size / (total_latency_ms / 1000); 0 where the latency is 0, or too small to divide by.
    """
    total = _sum(columns["latency_mean_ms"])
    seconds = total / 1000
    throughput = batch_size / seconds if seconds > 0 else 0.0
    return {
        "total_flops": sum(columns["flops"]),
        "total_bytes": sum(columns["total_bytes"]),
        "total_latency_ms": total,
        "total_latency_std_ms": _sum(std**2 for std in columns["latency_std_ms"]) ** 0.5,
        "num_subgraphs": len(columns["flops"]),
        "throughput_fps": throughput if isfinite(throughput) else 0.0,
    }


def same_summary(stored: Mapping[str, Any], recomputed: Mapping[str, Any]) -> bool:
    """Whether the summary in a file is that of its subgraphs."""
    return all(isclose(stored[name], value, rel_tol=SUMMARY_TOLERANCE) for name, value in recomputed.items())


def settled(stored: Mapping[str, Any] | None, recomputed: dict[str, Any]) -> dict[str, Any]:
    """Return the summary to use: the file's own where it agrees with its subgraphs, else the recomputed one."""
    return dict(stored) if stored is not None and same_summary(stored, recomputed) else recomputed


def _sum(values: Iterable[float]) -> float:
    """Plain left-to-right sum, which recomputes files bit for bit; `sum` compensates since Python 3.12."""
    total = 0.0
    for value in values:
        total += value
    return total
