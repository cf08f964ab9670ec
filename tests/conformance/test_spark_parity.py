"""Spark and DuckDB run the same text over the same files and give equal rows."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from groundlake import spark
from groundlake.query_files import written_views
from groundlake.schemas import FACT_TABLES, TABLES
from groundlake.store import Lake
from groundlake.views import base_views, fact_view_sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = dt.datetime(2026, 3, 8, 2, 30, 0, 123456)  # noqa: DTZ001 - naive UTC; an hour that New York's clocks skip
BASE = ("runs", *FACT_TABLES, "quarantine", "help")
TOLERANCE = 1e-9


def timings(scale: float, *, noisy: bool = False, peak: float | None = 1e9) -> pl.DataFrame:
    rows = [
        {
            "subgraph_id": number,
            "fusion_pattern": "Unfused" if flops == 0 else "Conv2d_BatchNorm2d_ReLU",
            "operation_type": "unfused" if flops == 0 else "conv2d_batchnorm",
            "node_names": [f"conv{number}", "größe"],
            "flops": flops,
            "total_bytes": 0 if flops == 0 else 4096,
            "arithmetic_intensity": flops / 4096,
            "latency_mean_ms": mean * scale,
            "latency_std_ms": mean * scale / (3 if noisy else 30),
            "latency_min_ms": 0.0,
            "latency_max_ms": mean * scale * (20 if noisy else 2),
            "latency_samples": 50,
            "latency_samples_ms": [mean * scale, mean * scale * 1.1],
            "efficiency_mean": flops / mean / scale / 1e6 if flops and peak else None,
            "theoretical_peak_flops": peak,
        }
        for number, (flops, mean) in enumerate([(123_457, 0.1), (0, 0.07), (7_654_321, 3.3), (11, 1 / 3)])
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def run(**columns: object) -> dict[str, object]:
    return {
        "hardware_id": "dev_a",
        "precision": "fp32",
        "model": "net",
        "batch": 1,
        "device": "cpu",
        "timing_method": "perf_counter",
        "flops_method": "counted",
        "theoretical_peak_flops": 1e9,
        "theoretical_peak_source": "recorded",
        "started_at": DAY,
        "started_at_zone_source": "assumed_utc",
        "total_flops": 7_777_789,
        "total_bytes": 12_288,
        "total_latency_ms": 3.8,
        "total_latency_std_ms": 0.1,
        "num_subgraphs": 4,
        "throughput_fps": 263.1,
    } | columns


def power(watts: float) -> pl.DataFrame:
    """Readings of a GPU, of a counter, and of a rail with a gap, around a window of one second."""
    moments = [number / 10 - 0.55 for number in range(22)]
    shared = {"phase": "measure", "timestamp_s": moments}
    gpu = pl.DataFrame(
        shared | {"power_w": [watts + number % 3 for number in range(22)]}, schema_overrides={"power_w": pl.Float64}
    ).with_columns(
        source=pl.lit("nvml"),
        rail=pl.lit("gpu"),
        device_index=pl.lit(0),
        temperature_c=pl.lit(40.5),
        averaging_s=pl.lit(0.1),
        power_w=pl.when(pl.col("timestamp_s") > 1.3).then(None).otherwise("power_w"),
    )
    package = pl.DataFrame(shared | {"energy_counter_j": [watts * moment + 1e3 for moment in moments]})
    gap = gpu.filter((pl.col("timestamp_s") < 0.3) | (pl.col("timestamp_s") > 0.8)).with_columns(device_index=pl.lit(1))
    counters = package.with_columns(source=pl.lit("rapl"), rail=pl.lit("package-0"))
    return pl.concat([gpu, counters, gap], how="diagonal_relaxed")


def fill(root: Path) -> None:
    """Write a lake with every situation the views tell apart."""
    lake = Lake(root)
    later = DAY + dt.timedelta(days=1)
    lake.write(run(), subgraph_timings=timings(1))
    whole = {"end_to_end_latency_ms": 2.5, "end_to_end_latency_std_ms": 0.2}
    lake.write(run(started_at=later, **whole), subgraph_timings=timings(1.1, noisy=True))
    lake.write(run(started_at=None, started_at_zone_source=None), subgraph_timings=timings(9))
    gone = lake.write(run(started_at=later + dt.timedelta(days=1)), subgraph_timings=timings(5))
    lake.retract(gone, "dev_a", "throttled")
    lake.write(
        run(precision="fp16", warnings=['a: "quoted", text', "b: größer", r'c: C:\new "\\x"']),
        subgraph_timings=timings(2),
    )
    lake.write(run(precision="bf16", timing_method="node_events", theoretical_peak_flops=3e9, flops_method=None))
    for batch in (4, 16):
        lake.write(run(batch=batch, total_latency_ms=3.8 * batch**0.7), subgraph_timings=timings(batch**0.7))
    other = run(hardware_id="gerät µ/50 W", model="a/b c%=1", total_flops=7_000_000)
    lake.write(other, subgraph_timings=timings(3))
    lake.write(run(hardware_id="gerät µ/50 W", theoretical_peak_flops=2e9), subgraph_timings=timings(0.5, peak=None))
    lake.write(run(hardware_id="gpu", device="cuda", theoretical_peak_flops=None), subgraph_timings=timings(0.01))
    keys = {"hardware_id": "gpu", "precision": "fp32", "model": "big", "device": "cuda"}
    lake.write(keys | {"batch": 64, "status": "failed", "error": "CUDA out of memory"})
    lake.write(keys | {"batch": 64, "status": "failed", "error": "again", "started_at": DAY} | ZONE)
    powered = {"hardware_id": "gpu", "session_id": "s", "measured_window_s": 1.0, "timed_runs": 50, "device_index": 0}
    idle = {"kind": "idle_baseline", "precision": "none", "model": "idle", "batch": 0}
    lake.write(powered | idle, power_timeseries=power(20.0))
    lake.write(run(device="cuda", **powered), subgraph_timings=timings(0.02), power_timeseries=power(300.0))
    device = pl.DataFrame({"name": ["Device"], "device": ["cpu"], "aliases": [["gerät µ/50 W"]]})
    lake.write({"hardware_id": "dev_a", "kind": "hardware_spec"}, hardware=device)
    set_aside = {
        "import_id": "i1",
        "imported_at": "2026-03-08T02:30:00.123456",
        "uri": "x/y.json",
        "code": "not_json",
        "reason": "größe",
        "what_to_do": "mend it",
    }
    folder = root / "_quarantine"
    folder.mkdir()
    (folder / "i1.jsonl").write_text(json.dumps(set_aside) + "\n", encoding="utf-8")
    (folder / "-.jsonl").touch()


ZONE = {"started_at_zone_source": "clock"}


@pytest.fixture(scope="module")
def session(spark_ready: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Little data in big plans: compiling them and planning them anew in every stage would take most of the time.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",
        "spark.default.parallelism": "1",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.session.timeZone": "America/New_York",
        "spark.sql.warehouse.dir": str(folder),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    root = tmp_path_factory.mktemp("full") / "lake"
    fill(root)
    return Lake(root)


@pytest.fixture(scope="module")
def bound(session: Any, full: Lake) -> list[str]:
    return spark.bind(session, full.root)


def plain(value: object) -> object:
    """Reduce an engine's own types to what both have: structs become tuples of their values."""
    if isinstance(value, dict):
        return tuple(plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    return value


def ordered(rows: list[Any]) -> list[tuple[object, ...]]:
    """Rows in an order that does not depend on the last digits of a float."""
    found = [tuple(plain(value) for value in row) for row in rows]
    return sorted(found, key=lambda row: [f"{v:.8g}" if isinstance(v, float) else repr(v) for v in row])


def equal(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=TOLERANCE)
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and left == right


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BASE, *sorted(written_views())])
def test_every_view_gives_equal_rows_on_both_engines(name: str, session: Any, full: Lake, bound: list[str]) -> None:
    answer = session.sql(f"select * from {name}")
    asked = full.sql(f"select * from {name}")
    assert answer.columns == asked.columns
    theirs, ours = ordered(answer.collect()), ordered(asked.rows())
    assert len(theirs) == len(ours)
    empty = {"power_timeseries", "estimates"}
    assert ours or name in empty, "the lake of this test should have rows for every view"
    for their_row, our_row in zip(theirs, ours, strict=True):
        assert equal(their_row, our_row), f"\nspark  {their_row}\nduckdb {our_row}"


@pytest.mark.slow
def test_keys_beyond_ascii_read_back_as_they_were_written(session: Any, bound: list[str]) -> None:
    rows = session.sql("select batch, model from runs where hardware_id = 'gerät µ/50 W' order by model").collect()
    assert [tuple(row) for row in rows] == [(1, "a/b c%=1"), (1, "net")]


@pytest.mark.slow
def test_the_ledger_is_listed_before_any_facts(bound: list[str]) -> None:
    assert bound[0] == "runs_parts"
    assert {f"{name}_parts" for name in TABLES} <= set(bound)
    assert set(written_views()) <= set(bound)


@pytest.mark.slow
def test_a_file_that_is_being_written_is_not_read(session: Any, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.write(run(), subgraph_timings=timings(1))
    leaf = next((lake.root / "subgraph_timings").rglob("model=net")) / "batch=1"
    (leaf / "torn.v01.parquet.tmp").write_bytes(b"PAR1 half a file")
    spark.bind(session, lake.root)
    assert session.sql("select count(*) from subgraph_timings").collect()[0][0] == 4


@pytest.mark.slow
@pytest.mark.parametrize("vectorized", ["true", "false"])
def test_a_long_power_series_reads_back_to_the_bit(vectorized: str, session: Any, tmp_path: Path) -> None:
    moments = [-0.0, 5e-324, 0.1 + 0.2, 1.7976931348623157e308, *(math.sqrt(number) for number in range(3000))]
    watts = [None if number % 7 == 0 else number % 11 * 0.152 for number in range(len(moments))]
    rows = pl.DataFrame({"phase": "measure", "source": "replay", "rail": "a", "timestamp_s": moments, "power_w": watts})
    lake = Lake(tmp_path / "lake")
    lake.write({"hardware_id": "dev", "model": "net"}, power_timeseries=rows)
    (path,) = (lake.root / "power_timeseries").rglob("model=net/*/*.parquet")
    group = pq.ParquetFile(path).metadata.row_group(0)
    found = [group.column(number) for number in range(group.num_columns)]
    assert any("BYTE_STREAM_SPLIT" in column.encodings for column in found)
    session.conf.set("spark.sql.parquet.enableVectorizedReader", vectorized)
    read = session.read.parquet(str(path)).select("timestamp_s", "power_w").collect()
    session.conf.unset("spark.sql.parquet.enableVectorizedReader")
    # repr tells -0.0 from 0.0, and every other double from its neighbours.
    assert [repr(tuple(row)) for row in read] == [repr(pair) for pair in zip(moments, watts, strict=True)]


@pytest.mark.slow
def test_a_folder_without_any_table_binds_as_an_empty_lake(session: Any, tmp_path: Path) -> None:
    spark.bind(session, tmp_path)
    for name in ("model_summary", "coverage_gaps"):
        assert session.sql(f"select * from {name}").collect() == []


@pytest.mark.parametrize("table", FACT_TABLES.values(), ids=FACT_TABLES)
def test_the_ledger_stands_first_in_every_fact_view(table: type[Any]) -> None:
    name = table.table_name()
    assert re.findall(r"\b(?:from|join)\s+(\w+)", fact_view_sql(table), re.IGNORECASE) == ["runs", f"{name}_parts"]
    assert base_views()[name].sql == fact_view_sql(table)


def test_binding_without_pyspark_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['pyspark'] = None\n"
        "from groundlake import spark\n"
        "from groundlake.errors import MissingDependencyError\n"
        "try:\n"
        f"    spark.bind(None, {str(tmp_path)!r})\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'groundlake[spark]'" in done.stdout


def test_importing_the_binding_does_not_load_pyspark() -> None:
    script = "import sys; import groundlake.spark; print('pyspark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
