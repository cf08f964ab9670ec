"""How a part's columns are encoded: large ones tightly, and every double as it was, to the last bit, in each reader."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from groundlake.calibration.building import build
from groundlake.parts import BYTES_IN_GROUP, ROW_GROUP_ROWS
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}
ROWS = 3000
EDGES = [-0.0, 5e-324, 2.2250738585072014e-308, 0.1 + 0.2, 1.7976931348623157e308, -1.7976931348623157e308]
READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    "duckdb": lambda path: duckdb.sql(f"select * from read_parquet('{path}')").pl(),
    "polars": pl.read_parquet,
    "pyarrow": lambda path: pl.DataFrame(pl.from_arrow(pq.ParquetFile(path).read())),
}


def readings(rows: int) -> pl.DataFrame:
    """Moments of a clock that jitters, and powers as a sensor steps them, some of them missing."""
    chance = random.Random(0)  # noqa: S311 - nothing is secret
    moments = [number / 20 + chance.expovariate(1e4) for number in range(rows)]
    return pl.DataFrame(
        {
            "phase": "measure",
            "source": "jetson_ina3221",
            "rail": "VDD_IN",
            "timestamp_s": EDGES + moments[len(EDGES) :],
            "power_w": [None if number % 7 == 0 else chance.randrange(90, 110) * 0.152 for number in range(rows)],
        }
    )


def encodings(path: Path) -> dict[str, set[str]]:
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return {column.path_in_schema: set(column.encodings) for column in columns}


def bits(values: pl.Series) -> list[bytes | None]:
    return [None if value is None else struct.pack("<d", value) for value in values]


@pytest.fixture
def part(lake_root: Path) -> Path:
    """The file of one run's power series."""
    Lake(lake_root).write(RUN, power_timeseries=readings(ROWS))
    (path,) = (lake_root / "power_timeseries").rglob("batch=1/*.parquet")
    return path


def test_clock_readings_are_split_into_bytes_and_what_repeats_has_a_dictionary(part: Path) -> None:
    found = encodings(part)
    assert "BYTE_STREAM_SPLIT" in found["timestamp_s"]
    assert not any("DICTIONARY" in name for name in found["timestamp_s"])
    for column in ("power_w", "rail", "temperature_c"):
        assert any("DICTIONARY" in name for name in found[column]), column


def test_a_series_takes_less_than_half_of_its_plain_size(part: Path) -> None:
    assert part.stat().st_size < ROWS * 8


@pytest.mark.parametrize("reader", READERS)
def test_every_double_reads_back_to_the_bit(reader: str, part: Path) -> None:
    written, read = readings(ROWS), READERS[reader](part)
    for column in ("timestamp_s", "power_w"):
        assert bits(read[column]) == bits(written[column])
    assert read["energy_counter_j"].null_count() == ROWS


def test_the_duckdb_command_line_reads_it(part: Path, shell) -> None:
    count = f"select count(*), count(distinct timestamp_s), count(power_w) from read_parquet('{part}')"
    assert shell(":memory:", count) == [f"{ROWS},{ROWS},{ROWS - -(-ROWS // 7)}"]


def test_lists_keep_a_dictionary_beside_a_column_that_is_split(lake_root: Path, timings) -> None:
    latency = [1.0 + number / 3e4 for number in range(ROWS)]
    samples = pl.Series([[value, 1.5] for value in latency])
    rows = timings(ROWS, latency_mean_ms=latency, latency_samples_ms=samples)
    Lake(lake_root).write(RUN, subgraph_timings=rows)
    (path,) = (lake_root / "subgraph_timings").rglob("batch=1/*.parquet")
    found = encodings(path)
    assert "BYTE_STREAM_SPLIT" in found["latency_mean_ms"]
    for column in ("node_names.list.element", "latency_samples_ms.list.element", "fusion_pattern"):
        assert any("DICTIONARY" in name for name in found[column]), column
    assert bits(Lake(lake_root).frame("subgraph_timings").sort("subgraph_id")["latency_mean_ms"]) == bits(
        rows["latency_mean_ms"]
    )


def test_a_long_series_lies_in_row_groups_whose_times_are_known(lake_root: Path) -> None:
    rows = ROW_GROUP_ROWS + 1
    series = pl.DataFrame({"timestamp_s": [number / 20 for number in range(rows)]}).with_columns(
        phase=pl.lit("measure"), source=pl.lit("replay"), rail=pl.lit("a"), power_w=pl.lit(1.5)
    )
    Lake(lake_root).write(RUN, power_timeseries=series)
    (path,) = (lake_root / "power_timeseries").rglob("batch=1/*.parquet")
    metadata = pq.ParquetFile(path).metadata
    at = metadata.schema.names.index("timestamp_s")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [ROW_GROUP_ROWS, 1]
    times = [(group.column(at).statistics.min, group.column(at).statistics.max) for group in groups]
    assert times == [(0.0, (rows - 2) / 20), ((rows - 1) / 20,) * 2]


@pytest.mark.parametrize("images", [800, 1200])
def test_pictures_lie_in_row_groups_of_a_few_megabytes_whose_places_are_known(lake_root: Path, images: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (images, 64, 64, 3), dtype=np.uint8)
    np.savez(lake_root.parent / "noise.npz", images=pixels, labels=np.arange(images) % 2)
    build(Lake(lake_root), source="npz", data_dir=lake_root.parent / "noise.npz", samples_per_class=images // 2)
    (path,) = (path for path in (lake_root / "calibration_samples").rglob("*.parquet") if path.stat().st_size > 2**20)
    metadata = pq.ParquetFile(path).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert max(group.total_byte_size for group in groups) <= 1.1 * BYTES_IN_GROUP
    assert len(groups) == -(-images // groups[0].num_rows) > 2
    ordinal, pixel = (metadata.schema.names.index(name) for name in ("ordinal", "pixels"))
    ranges = [(group.column(ordinal).statistics.min, group.column(ordinal).statistics.max) for group in groups]
    assert [low for low, _ in ranges[1:]] == [high + 1 for _, high in ranges[:-1]]
    assert not any(group.column(pixel).is_stats_set for group in groups)


def test_a_small_part_is_written_the_quick_way(lake_root: Path) -> None:
    Lake(lake_root).write(RUN, power_timeseries=readings(100))
    (path,) = (lake_root / "power_timeseries").rglob("batch=1/*.parquet")
    assert not any("DICTIONARY" in name or "SPLIT" in name for names in encodings(path).values() for name in names)
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "SNAPPY"
