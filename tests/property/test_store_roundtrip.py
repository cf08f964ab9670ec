"""What is written is read back, value for value and bit for bit, under whatever names, by every reader."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow.dataset as ds
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundlake.schemas import SubgraphTimings
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = st.text(st.sampled_from("ab/=%'\"._-# ?&*[]{}+~,;:!@$^()|<>`üж中"), min_size=1, max_size=9)
KEYS = NAMES.map(lambda name: f"x{name}x") | NAMES.map(lambda name: f".{name}x")
NUMBERS = st.floats(min_value=0, allow_infinity=False, allow_nan=False)


def budget(examples: int) -> Callable[..., object]:
    return settings(max_examples=examples, deadline=None, derandomize="CI" in os.environ)


def timings(samples: list[float]) -> pl.DataFrame:
    mean = samples[0]
    return pl.DataFrame(
        {
            "subgraph_id": 0,
            "fusion_pattern": "Unfused",
            "operation_type": "unfused",
            "node_names": [["a"]],
            "flops": 10,
            "total_bytes": 10,
            "arithmetic_intensity": 1.0,
            "latency_mean_ms": mean,
            "latency_std_ms": 0.0,
            "latency_min_ms": mean,
            "latency_max_ms": mean,
            "latency_samples": len(samples),
            "latency_samples_ms": [samples],
        }
    )


@budget(12)
@given(KEYS, KEYS)
@example("/ = % ' \" .. ünïcode", ".hidden model")
@example("NULL", "null")
@example("2026-01-01", "1.5")
@example("%41", "a+b")
def test_odd_names_are_read_back_by_every_reader(hardware_id: str, model: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "lake")
        keys = {"hardware_id": hardware_id, "precision": "fp32", "model": model, "batch": 2}
        run = lake.write(keys, subgraph_timings=timings([1.0]))
        wanted = [(hardware_id, "fp32", model, 2, run)]
        columns = ["hardware_id", "precision", "model", "batch", "run_id"]

        assert lake.hardware_ids() == [hardware_id]
        assert lake.runs(hardware_id).select(columns).rows() == wanted
        assert lake.frame("subgraph_timings").select(columns).rows() == wanted
        assert lake.frame("subgraph_timings", **keys).select(columns).rows() == wanted
        assert lake.scan("subgraph_timings", **keys).select(columns).collect().rows() == wanted
        assert lake.sql(f"select {', '.join(columns)} from subgraph_timings").rows() == wanted
        assert lake.check() == []

        raw = lake.root / "subgraph_timings"
        types = "{hardware_id: VARCHAR, precision: VARCHAR, model: VARCHAR, batch: BIGINT}"
        glob = f"read_parquet('{raw}/**/*.parquet', hive_partitioning = true, hive_types = {types})"
        assert duckdb.sql(f"select {', '.join(columns)} from {glob}").fetchall() == wanted
        schema = {name: SubgraphTimings.polars_schema()[name] for name in SubgraphTimings.keys()}
        scanned = pl.scan_parquet(raw / "**/*.parquet", hive_partitioning=True, hive_schema=schema)
        assert scanned.select(columns).collect().rows() == wanted
        arrow = ds.dataset(raw, partitioning="hive", format="parquet").to_table(columns=columns)
        assert [tuple(map(str, row.values())) for row in arrow.to_pylist()] == [tuple(map(str, wanted[0]))]


@budget(25)
@given(st.lists(NUMBERS, min_size=1, max_size=5))
@example([5e-324, 1.7976931348623157e308, 0.1 + 0.2])
@example([0.0, -0.0])
def test_every_float_is_read_back_bit_for_bit(samples: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "lake")
        lake.write({"hardware_id": "dev", "total_latency_ms": samples[0]}, subgraph_timings=timings(samples))
        wanted = struct.pack(f"{len(samples)}d", *samples)
        for rows in (lake.frame("subgraph_timings"), lake.sql("select * from subgraph_timings").pl()):
            read = rows["latency_samples_ms"][0].to_list()
            assert struct.pack(f"{len(read)}d", *read) == wanted
            assert struct.pack("d", rows["latency_mean_ms"][0]) == wanted[:8]
        assert struct.pack("d", lake.runs()["total_latency_ms"][0]) == wanted[:8]
        assert struct.pack("d", lake.sql("select total_latency_ms from runs").rows()[0][0]) == wanted[:8]
