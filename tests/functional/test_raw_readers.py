"""The raw folders of a fresh lake, opened by other readers, equal the views."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from polars.testing import assert_frame_equal

from groundlake.schemas import TABLES
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

TABLE_NAMES = ("subgraph_timings", "runs", "power_timeseries", "hardware")


@pytest.fixture
def lake(lake_root: Path, timings) -> Lake:
    lake = Lake(lake_root)
    power = pl.DataFrame(
        {"phase": "measure", "source": "replay", "rail": "vdd", "timestamp_s": [0.0], "power_w": [0.1]}
    )
    for device in ("jetson_orin_agx_maxn", "i7-12700k"):
        for batch in (1, 4):
            run = {"hardware_id": device, "precision": "fp32", "model": "resnet18", "batch": batch}
            lake.write(run | {"total_latency_ms": 0.1 + 0.2}, subgraph_timings=timings(3), power_timeseries=power)
    lake.write(
        {"hardware_id": "i7-12700k", "kind": "hardware_spec"},
        hardware=pl.DataFrame({"name": ["i7"], "device": ["cpu"]}),
    )
    return lake


def ordered(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    schema = TABLES[table].polars_schema()
    by = [name for name in ("hardware_id", "run_id", "batch", "subgraph_id", "timestamp_s") if name in schema]
    return rows.select(schema.names()).cast(dict(schema)).sort(by)


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_polars_reads_the_folder_as_the_view(table: str, lake: Lake) -> None:
    raw = pl.read_parquet(lake.root / table / "**/*.parquet", hive_partitioning=True)
    assert_frame_equal(ordered(raw, table), ordered(lake.frame(table), table), check_exact=True)


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_pyarrow_reads_the_folder_as_the_view(table: str, lake: Lake) -> None:
    raw = ds.dataset(lake.root / table, partitioning="hive", format="parquet").to_table()
    assert isinstance(raw, pa.Table)
    frame = pl.from_arrow(raw)
    assert isinstance(frame, pl.DataFrame)
    assert_frame_equal(ordered(frame, table), ordered(lake.sql(f"select * from {table}").pl(), table), check_exact=True)


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_duckdb_reads_the_folder_as_the_view(table: str, lake: Lake, shell) -> None:
    glob = f"{lake.root}/{table}/**/*.parquet"
    raw = duckdb.sql(f"select * from read_parquet('{glob}', hive_partitioning = true)").pl()
    assert_frame_equal(ordered(raw, table), ordered(lake.scan(table).collect(), table), check_exact=True)
    count = f"select count(*) from read_parquet('{glob}', hive_partitioning = true)"
    assert shell(":memory:", count) == [str(raw.height)]
