"""Commit runs of 71 subgraphs, and name where the time goes. A module of its own, so that processes can import it."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq

from groundlake import Lake
from groundlake.schemas import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBGRAPHS = 71
RUN = {
    "hardware_id": "bench",
    "precision": "fp32",
    "model": "efficientnet_b0",
    "batch": 1,
    "timing_method": "perf_counter",
}


def timings() -> pl.DataFrame:
    """Rows of one run, raw samples included."""
    samples = [1.0 + number / 100 for number in range(50)]
    return pl.DataFrame(
        [
            {
                "subgraph_id": number,
                "fusion_pattern": "Conv2d_BatchNorm2d_ReLU",
                "operation_type": "conv2d_batchnorm",
                "node_names": [f"conv{number}", f"bn{number}", f"relu{number}"],
                "flops": 1_000_000 + number,
                "total_bytes": 100_000 + number,
                "arithmetic_intensity": 10.0,
                "latency_mean_ms": 1.245,
                "latency_std_ms": 0.15,
                "latency_min_ms": 1.0,
                "latency_max_ms": 1.49,
                "latency_samples": 50,
                "latency_samples_ms": samples,
            }
            for number in range(SUBGRAPHS)
        ]
    )


def write(root: Path, count: int) -> list[float]:
    """Commit this many runs; returns the time of each in ms."""
    lake, rows, times = Lake(root), timings(), []
    lake.write(RUN, subgraph_timings=rows)
    for _ in range(count):
        start = time.perf_counter()
        lake.write(RUN, subgraph_timings=rows)
        times.append((time.perf_counter() - start) * 1000)
    return times


def shares(root: Path, count: int) -> dict[str, float]:
    """Share of a commit's time: contract checks, Parquet encoding, fsync, and the rest."""
    spent: dict[str, float] = defaultdict(float)
    with ExitStack() as stack:
        stack.enter_context(_timed(Table, "check", "Pandera", spent))
        stack.enter_context(_timed(os, "fsync", "fsync", spent))
        for step in ("__init__", "write_table", "close"):
            stack.enter_context(_timed(pq.ParquetWriter, step, "Parquet", spent))
        total = sum(write(root, count)) / 1000
    parts = {name: seconds / total for name, seconds in spent.items()}
    return parts | {"rest": 1 - sum(parts.values())}


@contextmanager
def _timed(owner: Any, name: str, label: str, spent: dict[str, float]) -> Iterator[None]:  # noqa: ANN401 - module or class
    """Add up the time spent in a function while the block runs."""
    original = owner.__dict__[name]
    function = original.__func__ if isinstance(original, classmethod) else original

    def timed(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent[label] += time.perf_counter() - start

    setattr(owner, name, classmethod(timed) if isinstance(original, classmethod) else timed)
    try:
        yield
    finally:
        setattr(owner, name, original)
