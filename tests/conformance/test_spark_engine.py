"""`lake sql --engine spark`: one query in a session of its own, with the answer that DuckDB gives."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from parity_lake import fill

from groundlake import Lake

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = "select hardware_id, model, batch, total_latency_ms from model_summary order by hardware_id, model, batch"


@pytest.mark.slow
def test_both_engines_answer_the_same_and_spark_says_nothing_else(spark_ready: None, cli, tmp_path: Path):
    fill(tmp_path / "lake")
    duckdb, spark = (cli("sql", QUESTION, "--engine", engine, "--format", "json") for engine in ("duckdb", "spark"))
    assert spark.stdout == duckdb.stdout
    assert spark.stderr == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"lake", "lake.db"}  # no folder of Spark's own


@pytest.mark.slow
def test_spark_shows_the_past_too(spark_ready: None, cli, tmp_path: Path):
    fill(tmp_path / "lake")
    asked = ("sql", "select count(*) as runs from runs", "--format", "csv", "--engine", "spark")
    before = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc).isoformat()
    assert cli(*asked, "--as-of", before).stdout.split() == ["runs", "0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select nope from runs", "cannot be resolved"),
        ("select * from parquet.`{folder}/other.parquet`", "cannot be found"),
        ("select * from nothing", "cannot be found"),
    ],
)
def test_what_spark_refuses_is_told_in_a_line(spark_ready: None, cli, tmp_path: Path, query: str, said: str):
    Lake(tmp_path / "lake").create()
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    refused = cli("sql", query.format(folder=tmp_path), "--engine", "spark", code=2)
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.slow
def test_what_spark_alone_reads_as_a_command_is_refused(spark_ready: None, cli, tmp_path: Path):
    """DuckDB and Spark differ in where strings and comments end, so each may find another statement in a text."""
    program = f"""
import sys
from pathlib import Path
from groundlake.errors import QueryError
from groundlake.spark import ask
write = 'insert overwrite directory "{tmp_path}/out" using parquet select 1 as a'
root = Path({str(tmp_path / "lake")!r})
asked = ("explain select 1", "show tables", "with x as (select 1 as a) select a from x")
for text in (*asked, "-- why\\nselect '\\\\\\\\' as a"):
    assert ask(root, text).height, text
try:
    ask(root, "with x as (select '\\\\' as a, ') " + write + " -- ' as b) select 1")
except QueryError as error:
    sys.exit(f"refused: {{error}}")
"""
    Lake(tmp_path / "lake").create()
    asked = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert "refused: Spark reads" in asked.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("explain insert into runs select 1", "a single SELECT is run, got EXPLAIN of something else"),
        ("drop view runs", "a single SELECT is run, got DROP"),
        ("select 1; select 2", "a single SELECT is run, got SELECT, SELECT"),
        ("selec 1", "syntax error"),
        ("select reflect('java.lang.System', 'exit')", "reflect runs Java"),
    ],
)
def test_what_is_no_question_is_refused_before_spark_begins(cli, tmp_path: Path, query: str, said: str):
    (tmp_path / "pyspark").mkdir()
    (tmp_path / "pyspark" / "__init__.py").touch()
    (tmp_path / "pyspark" / "errors.py").write_text("class PySparkException(Exception): ...")
    Lake(tmp_path / "lake").create()
    assert said in cli("sql", query, "--engine", "spark", code=2, PYTHONPATH=str(tmp_path)).stderr


def test_without_pyspark_the_message_says_what_to_install(cli, tmp_path: Path):
    Lake(tmp_path / "lake").create()
    (tmp_path / "pyspark.py").write_text("raise ModuleNotFoundError('no pyspark', name='pyspark')")
    missing = cli("sql", "select 1", "--engine", "spark", code=3, PYTHONPATH=str(tmp_path))
    assert "pip install 'groundlake[spark]'" in missing.stderr


@pytest.mark.slow
def test_without_java_the_message_says_so(spark_ready: None, cli, tmp_path: Path):
    Lake(tmp_path / "lake").create()
    missing = cli("sql", "select 1", "--engine", "spark", code=3, JAVA_HOME=str(tmp_path), PATH=sys.prefix)
    assert "Java 17" in missing.stderr
