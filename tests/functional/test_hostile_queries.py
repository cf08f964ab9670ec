"""A query reads the files of its lake and nothing else, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

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
        "select * from query('select * from ''{secret}'' ')",
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
