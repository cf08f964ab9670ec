"""Make a lake of many runs: the 661 configurations of the corpus, measured again and again, 20 subgraphs each."""

from __future__ import annotations

import datetime as dt
from itertools import islice
from typing import TYPE_CHECKING

import corpus
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from groundlake import Lake

SUBGRAPHS = 20
FIRST = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - naive UTC, as the lake has it


def timings(seed: int) -> pl.DataFrame:
    """Rows of one run; another seed gives other latencies."""
    number = pl.int_range(SUBGRAPHS, eager=True)
    noise = ((number * 7919 + seed * 104729) % 1000) / 1000
    mean = 0.1 + number / 10 + noise / 20
    return pl.DataFrame(
        {"subgraph_id": number, "latency_mean_ms": mean, "latency_min_ms": mean * 0.9, "latency_max_ms": mean * 1.2}
    ).with_columns(
        fusion_pattern=pl.lit("Conv2d_BatchNorm2d_ReLU"),
        operation_type=pl.when(pl.col("subgraph_id") % 3 == 0).then(pl.lit("conv2d")).otherwise(pl.lit("matmul")),
        node_names=pl.lit(["conv", "bn", "relu"]),
        flops=1_000_000 + pl.col("subgraph_id"),
        total_bytes=100_000 + pl.col("subgraph_id"),
        arithmetic_intensity=10.0,
        latency_std_ms=pl.col("latency_mean_ms") / 20,
        latency_samples=50,
    )


def runs(count: int) -> Iterator[tuple[dict[str, object], dict[str, pl.DataFrame]]]:
    """Yield runs in the order of their configurations, so that a group of a hundred lies in few folders."""
    each = -(-count // len(list(corpus.configurations())))

    def of_all() -> Iterator[tuple[dict[str, object], dict[str, pl.DataFrame]]]:
        for hardware_id, precision, model, batch in corpus.configurations():
            for repeat in range(each):
                frame = timings(repeat)
                total_ms = float(frame["latency_mean_ms"].sum())
                yield (
                    {
                        "hardware_id": hardware_id,
                        "precision": precision,
                        "model": model,
                        "batch": batch,
                        "started_at": FIRST + dt.timedelta(hours=repeat),
                        "started_at_zone_source": "clock",
                        "timing_method": "perf_counter",
                        "flops_method": "fx_chain_v1",
                        "device": "cpu",
                        "run_index": repeat + 1,
                        "num_subgraphs": SUBGRAPHS,
                        "total_latency_ms": total_ms,
                        "end_to_end_latency_ms": total_ms * 0.98,
                        "throughput_fps": batch / total_ms * 1000,
                        "total_flops": int(frame["flops"].sum()),
                        "total_bytes": int(frame["total_bytes"].sum()),
                    },
                    {"subgraph_timings": frame},
                )

    return islice(of_all(), count)


def fill(lake: Lake, count: int) -> None:
    """Write this many runs."""
    lake.write_many(runs(count))


def files(root: Path, table: str) -> int:
    """Number of parts of a table."""
    return sum(1 for _ in (root / table).rglob("*.parquet"))
