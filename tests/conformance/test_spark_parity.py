"""Spark and DuckDB run the same text over the same files and give equal rows."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from parity_lake import fill, run, timings

from groundlake import spark
from groundlake.errors import LakeNotFoundError, UsageError
from groundlake.query_files import named_queries, written_views
from groundlake.schemas import FACT_TABLES, TABLES
from groundlake.store import Lake
from groundlake.views import base_views, element_views, fact_view_sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from groundlake.answer import Answer

BASE = ("runs", *FACT_TABLES, *element_views(), "quarantine", "help")
TOLERANCE = 1e-9
ASKED: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name, query in named_queries().items() if query.parameters),
    ("batch_knee", {"share": 0.99}),
    ("best_within_latency", {"limit_ms": 4}),
    ("cheapest_within_slo", {"ttft_p95_ms": 0, "itl_p99_ms": 9}),
    ("efficiency_curve", {"holdout": "hardware"}),
    ("efficiency_curve", {"holdout": "batch", "centre": "compat"}),
    ("efficiency_curve", {"holdout": "kfold", "folds": 2}),
    ("efficiency_curve", {"holdout": "none"}),
    ("efficiency_rebased", {"batch": 1, "peak_flops": 1e12}),
    ("efficiency_rebased", {"power_mode": "30W"}),
    ("energy_rebaselined", {"baseline": "own", "max_age_s": 60}),
    ("estimate_gaps", {"estimator": "parts", "version": "2"}),
    ("latency_percentiles", {"metric": "itl_trimmed", "level": "model"}),
    ("latency_percentiles", {"metric": "e2e", "level": "run"}),
    ("roofline", {"compute_share": 0.5, "bandwidth_share": 0.25}),
    ("run_history", {"hardware_id": "dev_a", "precision": "fp32", "model": "net", "batch": 1}),
    ("scattered", {"cv": 0.01, "max_to_mean": 1.5, "least_share": 0.5}),
    ("slower_in_lower_precision", {"slower_than": 1.25}),
    ("slowest_subgraphs", {"hardware_id": "gerät µ/50 W", "model": "a/b c%=1", "top": 2}),
    ("stale_measurements", {"days": 0.5, "reference": "2026-03-09"}),
    ("throttled_runs", {"least_clock_share": 0.1, "hottest_c": 70}),
    ("worst_estimates", {"estimator": "it's whole", "quantity": "energy"}),
    ("worst_estimates", {"level": "subgraph", "version": "1", "top": 3}),
]
"""Parameterised queries: with their defaults, and with values that take another way through the SQL."""


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
        "spark.driver.memory": "3g",  # the plans of all views of one session
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
    return bytes(value) if isinstance(value, bytearray) else value


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
    assert_equal(answer, asked)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters"), ASKED)
def test_every_query_gives_equal_rows_on_both_engines(
    name: str, parameters: dict[str, object], session: Any, full: Lake, bound: list[str]
) -> None:
    assert_equal(spark.query(session, name, **parameters), full.query(name, **parameters))


def assert_equal(answer: Any, asked: Answer) -> None:
    """Check that the answers of Spark and of DuckDB have the same columns and rows, and that there are rows."""
    assert answer.columns == asked.columns
    theirs, ours = ordered(answer.collect()), ordered(asked.rows())
    assert len(theirs) == len(ours)
    assert ours, "the lake of this test should have rows for every view and query"
    for their_row, our_row in zip(theirs, ours, strict=True):
        assert equal(their_row, our_row), f"\nspark  {their_row}\nduckdb {our_row}"


@pytest.mark.slow
def test_a_frame_keeps_the_parameters_that_it_was_asked_with(session: Any, bound: list[str]) -> None:
    few = spark.query(session, "slowest_subgraphs", top=1)
    many = spark.query(session, "slowest_subgraphs", top=3)
    assert 3 * few.count() == many.count()


@pytest.mark.slow
def test_a_query_of_spark_refuses_what_the_query_of_a_lake_refuses(session: Any, bound: list[str]) -> None:
    with pytest.raises(UsageError, match="share DOUBLE"):
        spark.query(session, "batch_knee", shape=1)
    with pytest.raises(UsageError, match="did you mean batch_knee"):
        spark.query(session, "batch_knees")


@pytest.mark.slow
def test_a_query_of_spark_without_a_bound_lake_says_what_to_call(session: Any) -> None:
    with pytest.raises(LakeNotFoundError, match="bind"):
        spark.query(session.newSession(), "batch_knee")


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
    # Where pandas is installed, pandera loads pyspark for its contracts; what the binding itself loads is looked at.
    script = (
        "import sys, groundlake.schemas; before = set(sys.modules); import groundlake.spark; "
        "print(any(name.startswith('pyspark') for name in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
