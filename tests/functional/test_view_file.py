"""`lake.db`: views and COMMENTs for any duckdb shell, rebuilt at any time, replaced atomically."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import duckdb
import pytest

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.query_files import written_views
from groundlake.schemas import FACT_TABLES
from groundlake.store import Lake
from groundlake.views import base_views, element_views

if TYPE_CHECKING:
    from pathlib import Path

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    lake = Lake(lake_root)
    lake.create()
    return lake


def test_the_duckdb_command_line_opens_it_from_another_folder(lake: Lake, shell, timings) -> None:
    lake.write(RUN, subgraph_timings=timings(3))
    view_file = lake.bind_views()
    question = "select count(*), min(model) from subgraph_timings"
    assert shell("-readonly", view_file, question) == ["3,net"]
    assert shell(view_file, question) == ["3,net"]
    assert shell("-readonly", view_file, "select model, num_subgraphs from model_summary") == ["net,NULL"]
    assert view_file == lake.root.with_name("lake.db")


def test_a_view_bound_while_the_tables_were_empty_sees_the_first_rows(lake: Lake, shell, timings) -> None:
    view_file = lake.bind_views()
    assert shell("-readonly", view_file, "select count(*) from subgraph_timings") == ["0"]
    assert shell("-readonly", view_file, "select count(*) from quarantine") == ["0"]
    lake.write(RUN, subgraph_timings=timings(3))
    assert shell("-readonly", view_file, "select count(*) from subgraph_timings") == ["3"]


def test_every_view_and_every_column_has_a_comment(lake: Lake, shell) -> None:
    view_file = lake.bind_views()
    of_columns = "table_name, column_name from duckdb_columns() where not ends_with(table_name, '_parts')"
    for columns in ("view_name from duckdb_views() where true", of_columns):
        kind = f"select {columns} and not internal and (comment is null or trim(comment) = '')"
        assert shell("-readonly", view_file, kind) == []
    views = set(shell("-readonly", view_file, "select view_name from duckdb_views() where not internal"))
    parts = {f"{name}_parts" for name in ("runs", *FACT_TABLES)}
    assert views == parts | set(base_views()) | set(written_views()) | {"quarantine", "help"}


def test_comments_carry_the_units_of_the_contracts(lake: Lake, shell) -> None:
    comments = "select comment from duckdb_columns() where table_name = '{}' and column_name = '{}'"
    view_file = lake.bind_views()
    for column, unit in (("latency_mean_ms", "[ms]"), ("flops", "[FLOP]"), ("achieved_flops", "[FLOP/s]")):
        (comment,) = shell("-readonly", view_file, comments.format("subgraph_timings", column))
        assert comment.strip('"').endswith(unit)


def test_help_lists_every_view_with_an_example_that_runs(lake: Lake, shell) -> None:
    view_file = lake.bind_views()
    with duckdb.connect(str(view_file), read_only=True) as connection:
        listed = connection.sql("select name, one_row_is, example_sql from help").fetchall()
        assert {name for name, _, _ in listed} == set(base_views()) | set(written_views()) | {"quarantine", "help"}
        for name, one_row_is, example in listed:
            assert one_row_is
            assert f"from {name}" in example.lower()
            connection.sql(example).fetchall()
            lake.sql(example).rows()
    assert shell("-readonly", view_file, "select count(*) from help") == [str(len(listed))]


def test_every_view_runs_on_an_empty_lake_through_both_doors(lake: Lake) -> None:
    view_file = lake.bind_views()
    with duckdb.connect(str(view_file), read_only=True) as connection:
        of_no_table = {"flops_bins"}
        for name in {*base_views(), *written_views(), "quarantine"} - of_no_table:
            assert connection.sql(f"select * from {name}").fetchall() == []
            assert lake.sql(f"select * from {name}").rows() == []


def test_it_can_be_deleted_and_rebuilt_at_any_time(lake: Lake, shell, cli, timings) -> None:
    lake.write(RUN, subgraph_timings=timings(2))
    view_file = lake.bind_views()
    view_file.unlink()
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(2,)]
    assert str(view_file) in cli("views").stdout
    assert shell("-readonly", view_file, "select count(*) from subgraph_timings") == ["2"]
    assert [path.name for path in view_file.parent.glob("lake.db*")] == ["lake.db"]


def test_a_file_that_holds_what_would_be_written_is_left_alone(lake: Lake, cli, monkeypatch) -> None:
    view_file = lake.bind_views()
    before = view_file.stat().st_ino
    assert lake.bind_views(only_if_stale=True).stat().st_ino == before
    cli("init")
    assert view_file.stat().st_ino == before
    monkeypatch.setattr("groundlake.viewfile.__version__", "0.0.0")
    lake.bind_views(only_if_stale=True)
    assert view_file.stat().st_ino != before
    before = view_file.stat().st_ino
    cli("views")
    assert view_file.stat().st_ino != before


def test_a_file_of_other_software_or_of_another_place_is_written_anew(lake: Lake, tmp_path: Path, shell) -> None:
    lake.view_file.write_bytes(b"not a database")
    lake.bind_views(only_if_stale=True)
    assert shell("-readonly", lake.view_file, "select count(*) from runs") == ["0"]
    (tmp_path / "other").mkdir()
    moved = Lake(tmp_path / "other" / "lake")
    moved.write(RUN)
    shutil.copy(lake.view_file, moved.view_file)
    moved.bind_views(only_if_stale=True)
    assert shell("-readonly", moved.view_file, "select count(*) from runs") == ["1"]


def test_views_that_are_the_same_in_each_lake_are_bound_once_and_those_of_a_lake_are_its_own(
    tmp_path: Path, shell, timings, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = Lake(tmp_path / "first"), Lake(tmp_path / "second")
    first.write(RUN, subgraph_timings=timings(3))
    second.write(RUN, subgraph_timings=timings(5))
    first.bind_views()
    (kept,) = (tmp_path / "cache").rglob("*.db")
    written = kept.stat().st_ino
    assert b"groundlake 0" not in kept.read_bytes()  # the stamp of one lake's file is in no other
    second.bind_views()
    assert [path.stat().st_ino for path in (tmp_path / "cache").rglob("*.db")] == [written]
    columns = "select table_name, column_name, data_type, comment from duckdb_columns() order by all"
    assert shell("-readonly", first.view_file, columns) == shell("-readonly", second.view_file, columns)
    for lake, rows in ((first, "3"), (second, "5")):
        assert shell("-readonly", lake.view_file, "select count(*) from subgraph_timings") == [rows]
        assert shell("-readonly", lake.view_file, "select num_subgraphs is null from model_summary") == ["true"]


@pytest.mark.parametrize("what", ["damaged", "a folder", "no place"])
def test_a_cache_that_cannot_be_used_is_no_error(what: str, lake: Lake, tmp_path: Path, shell, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lake.bind_views()
    (kept,) = (tmp_path / "cache").rglob("*.db")
    if what == "damaged":
        kept.write_bytes(kept.read_bytes()[:5000])
    elif what == "a folder":
        kept.unlink()
        kept.mkdir()
    else:
        shutil.rmtree(tmp_path / "cache")
        (tmp_path / "cache").write_text("a file")
    lake.bind_views()
    assert shell("-readonly", lake.view_file, "select count(*) from runs") == ["0"]
    if what == "damaged":
        assert kept.stat().st_size > 5000


def test_a_lake_that_was_moved_answers_after_lake_views(lake: Lake, shell, cli, tmp_path: Path, timings) -> None:
    lake.write(RUN, subgraph_timings=timings(2))
    lake.bind_views()
    moved = tmp_path / "elsewhere" / "gt"
    moved.parent.mkdir()
    shutil.move(lake.root, moved)
    shutil.move(lake.view_file, moved.parent / "gt.db")
    assert shell("-readonly", moved.parent / "gt.db", "select count(*) from runs", code=1) == []
    cli("views", "--root", moved)
    assert shell("-readonly", moved.parent / "gt.db", "select count(*) from subgraph_timings") == ["2"]


@pytest.mark.parametrize("name", ["it's", 'a"b', "lake[1]*", "what?", "**", "{a,b}", "x%20y", "ünï cöde", "a b"])
def test_a_root_may_have_any_name(name: str, tmp_path: Path, shell, timings) -> None:
    lake = Lake(tmp_path / name)
    other = Lake(tmp_path / "lake1")  # what `lake[1]*` would match
    other.write(RUN, subgraph_timings=timings(5))
    run = lake.write(RUN, subgraph_timings=timings(3))
    assert lake.sql("select run_id, count(*) from subgraph_timings group by 1").rows() == [(run, 3)]
    assert lake.frame("subgraph_timings").height == 3
    assert lake.scan("subgraph_timings").collect().height == 3
    view_file = lake.bind_views()
    assert view_file.name == f"{name}.db"
    assert shell("-readonly", view_file, "select count(*) from subgraph_timings") == ["3"]
    assert lake.check() == []
    lake.write(RUN)
    assert lake.compact_runs() == {"dev": 2}


def test_a_root_with_a_backslash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another --root"):
        Lake(tmp_path / "back\\slash")


def test_the_view_file_is_not_needed_to_ask_and_never_opened_by_the_lake(lake: Lake, cli, timings) -> None:
    lake.write(RUN, subgraph_timings=timings(2))
    lake.view_file.write_text("not a database")
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(2,)]
    assert cli("sql", "select count(*) as n from subgraph_timings", "--format", "csv").stdout == "n\n2\n"
    lake.write(RUN)
    assert lake.view_file.read_text() == "not a database"


def test_a_view_file_that_cannot_be_written_is_an_error_of_the_environment(lake: Lake, cli) -> None:
    lake.view_file.mkdir()
    with pytest.raises(LakeEnvironmentError, match=r"lake\.db"):
        lake.bind_views()
    assert "lake.db" in cli("views", code=5).stderr
    assert lake.check() == []


def test_facts_are_joined_after_the_ledger() -> None:
    assert set(base_views()) == {"runs", *FACT_TABLES, *element_views()}
    for name in FACT_TABLES:
        view = base_views()[name]
        assert view.sql.index("FROM runs r") < view.sql.index(f"JOIN {name}_parts t")


def test_a_filter_on_the_keys_reads_only_the_files_that_match(lake: Lake, timings) -> None:
    for device in ("deva", "devb", "devc"):
        for model in ("one", "two", "three", "four"):
            lake.write(RUN | {"hardware_id": device, "model": model}, subgraph_timings=timings(2))
    keys = "hardware_id = 'devb' and precision = 'fp32' and model = 'two' and batch = 1"
    with lake.connect() as connection:
        plan = "\n".join(
            row[1]
            for row in connection.execute(f"explain analyze select * from subgraph_timings where {keys}").fetchall()
        )
    read = sorted(map(int, re.findall(r"Total Files Read:\s*(\d+)", plan)))
    assert read == [1, 4], plan  # one part of facts, and the ledger of one device
