"""A query reads the files of its lake and nothing else, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from groundlake.errors import QueryError
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from tests.conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    lake = Lake(lake_root)
    lake.write(RUN, subgraph_timings=timings(2))
    return lake


@pytest.fixture
def secret(lake: Lake) -> Path:
    """A Parquet file beside the lake."""
    path = lake.root.parent / "secret.parquet"
    duckdb.sql(f"copy (select 42 as answer) to '{path}'")
    return path


@pytest.mark.parametrize(
    "query",
    [
        "select * from '{secret}'",
        "select * from read_parquet('{secret}')",
        "select * from read_parquet('{root}/../secret.parquet')",
        "select * from read_parquet(['{root}/runs/*/*.parquet', '{secret}'], union_by_name = true)",
        "select * from parquet_metadata('{secret}')",
        "select * from read_text('/etc/hostname')",
        "select * from read_blob('/proc/self/environ')",
        "select * from read_csv('/etc/passwd')",
        "select * from sniff_csv('/etc/passwd')",
        "select * from glob('/etc/*')",
        "select (select answer from '{secret}')",
        "with found as (from '{secret}') select * from found",
    ],
)
def test_files_outside_the_lake_are_not_read(query: str, lake: Lake, secret: Path, cli: Cli) -> None:
    refused = cli("sql", query.format(secret=secret, root=lake.root), code=2)
    assert "reads the files of its lake and no others" in refused.stderr
    assert refused.stdout == ""


def test_a_link_out_of_the_lake_leads_nowhere(lake: Lake, secret: Path, cli: Cli) -> None:
    link = lake.root / "link.parquet"
    link.symlink_to(secret)
    assert "no others" in cli("sql", f"select * from '{link}'", code=2).stderr


def test_variables_of_python_are_no_tables(lake: Lake, cli: Cli) -> None:
    assert "there is no view views" in cli("sql", "select * from views", code=2).stderr
    assert "there is no view statement" in cli("sql", "select * from statement", code=2).stderr


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to '{folder}/out.csv'",
        "attach '{folder}/other.db' as other",
        "set memory_limit = '1GB'",
        "create table t as select 1",
        "drop view runs",
        "install httpfs",
        "load httpfs",
        "call pragma_version()",
        "select 1; select 2",
        "export database '{folder}/out'",
        "checkpoint",
        "insert into runs select * from runs",
        "explain analyze copy (select 1) to '{folder}/out.csv'",
        "pivot runs on model using count(*)",
        "prepare asked as select 1",
        "execute asked",
        "pragma version",
        "",
        ";",
    ],
)
def test_only_a_single_question_is_run(query: str, lake: Lake, cli: Cli) -> None:
    folder = lake.root.parent
    there = sorted(folder.rglob("*"))
    refused = cli("sql", query.format(folder=folder), code=2)
    assert refused.stderr.startswith("error: ")
    assert "Traceback" not in refused.stderr
    assert sorted(folder.rglob("*")) == there


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1 as a) to '{part}' (format parquet)",
        "explain copy (select 1 as a) to '{part}' (format parquet)",
        "explain analyze copy (select 1 as a) to '{part}' (format parquet)",
        "EXPLAIN ANALYSE COPY (select 1 as a) TO '{part}' (format parquet)",
        "explain (analyze) copy (select 1 as a) to '{part}' (format parquet)",
        "explain (analyze, format json) copy (select 1 as a) to '{part}' (format parquet)",
        "explain (format json) analyze copy (select 1 as a) to '{part}' (format parquet)",
        "explain analyze (copy (select 1 as a) to '{part}' (format parquet))",
        "-- why\nexplain /* it */ analyze -- is\n copy (select 1 as a) to '{part}' (format parquet)",
        "explain explain analyze copy (select 1 as a) to '{part}' (format parquet)",
        "explain analyze select 1; copy (select 1 as a) to '{part}' (format parquet)",
        "explain analyze create table t as select 1",
        "explain analyze insert into runs select 1",
        "explain analyze execute asked",
        "explain analyze call pragma_version()",
        "explain analyze checkpoint",
        "explain analyze set threads = 1",
        "explain analyze pivot runs on model using count(*)",
        "with x as (copy (select 1 as a) to '{part}' (format parquet)) select * from x",
        "with x as materialized (copy (select 1 as a) to '{part}') select 1 union all select * from x",
        "explain analyze with x as (copy (select 1 as a) to '{part}' (format parquet)) select * from x",
        "explain (analyze) with x as (copy (select 1 as a) to '{part}' (format parquet)) select * from x",
        "select (with x as (copy (select 1 as a) to '{part}') select count(*) from x)",
        "with x as (insert into runs select 1 returning *) select * from x",
        "with x as (update runs set model = 'x' returning *) select * from x",
        "with x as (delete from runs returning *) select * from x",
        "from enable_logging(level = 'trace', storage = 'file', storage_config = {{'path': '{folder}'}})",
        "select * from main.\"Enable_Logging\"(storage = 'file', storage_path = '{folder}')",
        "from enable_profiling(format = 'json', save_location = '{folder}/profile.json')",
        "explain analyze from enable_profiling(format = 'json', save_location = '{folder}/profile.json')",
        "from query('select 1')",
        "select 1 where 1 in (from \"QUERY\"('from enable_' || 'logging()'))",
        "from json_execute_serialized_sql('{serialized}')",
        "from force_checkpoint()",
    ],
)
def test_no_query_writes_into_the_lake(query: str, lake: Lake) -> None:
    [part] = (lake.root / "subgraph_timings").glob("hardware_id=dev/**/*.parquet")
    before = {path: path.read_bytes() for path in lake.root.parent.rglob("*") if path.is_file()}
    writing = f"with x as (copy (select 1 as a) to '{part}' (format parquet)) select * from x"
    serialized = "{}"  # which DuckDB 1 makes of no such query
    if not duckdb.__version__.startswith("1."):
        with duckdb.connect() as connection:
            [(serialized,)] = connection.execute("select json_serialize_sql(?)", [writing]).fetchall()
    text = query.format(part=part, folder=lake.root, serialized=serialized.replace("'", "''"))
    with pytest.raises(QueryError):
        lake.sql(text).rows()
    assert {path: path.read_bytes() for path in lake.root.parent.rglob("*") if path.is_file()} == before


def test_the_command_writes_over_no_part(lake: Lake, cli: Cli) -> None:
    [part] = (lake.root / "subgraph_timings").glob("hardware_id=dev/**/*.parquet")
    before = part.read_bytes()
    copy = f"copy (select 1 as a) to '{part}' (format parquet)"
    assert "EXPLAIN of something else" in cli("sql", f"explain analyze {copy}", code=2).stderr
    assert cli("sql", f"with x as ({copy}) select * from x", code=2).stderr.startswith("error: ")
    assert part.read_bytes() == before


@pytest.mark.parametrize(
    "query",
    [
        "explain select * from runs",
        "EXPLAIN ANALYZE SELECT count(*) FROM runs",
        "explain (select 1) union all (select 2)",
        "explain analyze (select 1)",
        "explain (format json) select model from runs",
        "explain (analyze, format json) with r as (from runs) select * from r",
        "-- how\nexplain /* slowly */ analyze -- or not\n from runs;",
        "explain analyze values (1)",
        "with recursive n as (select 1 as i union all select i + 1 from n where i < 3) select * from n",
        "with r as materialized (select * from runs) select model from r",
        "show tables",
        "describe runs",
        "summarize runs",
        "pivot runs on model in ('net') using count(*)",
        "select i, j.value from range(3) as t(i), json_each('[1, 2]') as j",
        "select 'with x as (copy', {'type': 'COPY_QUERY_NODE'}",
        "from query_table('runs') select run_id",
    ],
)
def test_questions_of_all_forms_are_answered(query: str, lake: Lake) -> None:
    assert lake.sql(query).rows()


def test_a_pivot_that_names_no_columns_is_told_how_to(lake: Lake) -> None:
    with pytest.raises(QueryError, match=r"name its columns|a single SELECT"):  # DuckDB 1 sees several statements in it
        lake.sql("pivot runs on model using count(*)").rows()


@pytest.mark.parametrize("name", ["la[k]e*?", "it's a lake", "läke", 'say "hi"', "a=b"])
def test_a_lake_of_any_name_and_one_behind_a_link_answer(
    name: str, tmp_path: Path, timings: Callable[..., pl.DataFrame]
) -> None:
    lake = Lake(tmp_path / name)
    lake.write(RUN, subgraph_timings=timings(2))
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(2,)]
    link = tmp_path / "link"
    link.symlink_to(lake.root)
    assert Lake(link).sql("select count(*) from subgraph_timings").rows() == [(2,)]


def test_an_answer_is_written_to_a_file_by_the_command_itself(lake: Lake, cli: Cli) -> None:
    target = lake.root.parent / "answer.csv"
    cli("sql", "select count(*) as n from subgraph_timings", "--format", "csv", "-o", target)
    assert target.read_text() == "n\n2\n"
