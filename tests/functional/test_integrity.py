"""`lake check` and every reader name what is wrong with a file, and what to do; remains of crashes are told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundlake.commit import Commit
from groundlake.errors import CorruptLakeError
from groundlake.ground_truth import GroundTruthLoader
from groundlake.intake import leaves
from groundlake.layout import anchor_path, new_id
from groundlake.schemas import TABLES, Runs, SubgraphTimings
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def lake(lake_root: Path, timings) -> Lake:
    lake = Lake(lake_root)
    for _ in range(2):
        lake.write(RUN, subgraph_timings=timings(500, latency_samples_ms=[[0.1, 0.2]] * 500))
    return lake


def a_part(lake: Lake, table: str = "subgraph_timings") -> Path:
    return min((lake.root / table / "hardware_id=dev").rglob("*.parquet"))


def codes(lake: Lake) -> list[str]:
    return [finding.code for finding in lake.check()]


def test_a_sound_lake_has_no_findings(lake: Lake, cli) -> None:
    assert lake.check() == []
    assert cli("check").stdout == "all is well\n"
    assert cli("check", "--format", "json").stdout == "[]\n"


def test_an_orphan_is_harmless_and_named(lake: Lake, cli) -> None:
    part = a_part(lake)
    orphan = part.with_name("nobody-points-here.v01.parquet")
    rows = pq.read_table(part, partitioning=None)
    at = rows.schema.get_field_index("part")
    named = pa.array(["nobody-points-here"] * rows.num_rows, rows.schema.field(at).type)
    pq.write_table(rows.set_column(at, rows.schema.field(at), named), orphan)
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(1000,)]
    assert lake.frame("subgraph_timings").height == 1000
    done = cli("check", code=1)
    assert f"orphan: {orphan}" in done.stdout
    assert "a writer was stopped before its commit, or the ledger file that names its runs is lost" in done.stdout
    assert f"if you miss runs of dev, restore {lake.root}/runs/hardware_id=dev from a copy" in done.stdout
    assert "no run is affected" not in done.stderr


def test_a_leftover_is_invisible_and_named(lake: Lake, cli) -> None:
    leftovers = [
        a_part(lake).with_name("x.v01.parquet.tmp"),
        lake.root.with_name("lake.db.x.tmp"),
    ]
    for path in leftovers:
        path.write_bytes(b"PAR1 half a file")
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(1000,)]
    assert lake.scan("subgraph_timings").collect().height == 1000
    done = cli("check", code=1)
    assert all(f"leftover: {path}" in done.stdout for path in leftovers)
    assert "no run is affected" in done.stderr


@pytest.mark.parametrize("table", ["subgraph_timings", "runs"])
def test_a_truncated_part_is_named_by_every_door_without_a_traceback(table: str, lake: Lake, cli) -> None:
    part = a_part(lake, table)
    part.write_bytes(part.read_bytes()[:-40])
    done = cli("check", code=4)
    assert f"torn: {part}" in done.stdout
    assert "restore the file" in done.stdout
    for command in (["sql", f"select * from {table}"], ["show", "dev", "net"]):
        if command[0] == "show" and table == "subgraph_timings":
            continue  # shows the latest of two runs, which is in the other part
        errors = cli(*command, code=4).stderr
        assert str(part) in errors
        assert "lake check" in errors
        assert "Traceback" not in errors
        assert len(errors.splitlines()) <= 6
    for read in (lake.sql(f"select * from {table}").rows, lambda: lake.frame(table)):
        with pytest.raises(CorruptLakeError, match=part.name):
            read()


def test_a_part_torn_in_the_middle_is_found_though_its_footer_is_sound(lake: Lake, cli) -> None:
    part = a_part(lake)
    content = bytearray(part.read_bytes())
    content[8:100] = bytes(92)
    part.write_bytes(content)
    pq.read_schema(part)
    assert f"torn: {part}" in cli("check", code=4).stdout
    errors = cli("sql", "select sum(latency_mean_ms), max(node_names) from subgraph_timings", code=4).stderr
    assert "Traceback" not in errors


def test_a_missing_part_is_reported_for_its_run(lake: Lake, cli) -> None:
    part = a_part(lake)
    run_id = pl.read_parquet(part, columns=["run_id"], hive_partitioning=False)["run_id"][0]
    part.unlink()
    done = cli("check", code=4)
    assert f"missing_rows: dev run {run_id}" in done.stdout
    assert f"0 of 500 rows of subgraph_timings are there: {part} is not there" in done.stdout


def test_readers_of_whole_runs_refuse_an_answer_without_a_missing_part(lake: Lake) -> None:
    latest = lake.runs().sort("started_at", "run_id")["part"][-1]
    next((lake.root / "subgraph_timings").rglob(f"{latest}.*")).unlink()
    loader = GroundTruthLoader(lake.root)
    readers = (
        lambda: lake.frame("subgraph_timings"),
        lambda: lake.frame("subgraph_timings", hardware_id="dev"),
        lambda: loader.load("dev", "net", "fp32", 1),
        lambda: loader.load_all("dev"),
    )
    for read in readers:
        with pytest.raises(CorruptLakeError, match=f"0 of its 500 rows: a file {latest}"):
            read()
    assert loader.load_model_summary("dev", "net", "fp32", 1)


def test_a_foreign_file_is_named(lake: Lake, cli) -> None:
    strangers = [a_part(lake).with_name("notes.txt"), lake.root / "runs" / "loose.v01.parquet"]
    for path in strangers:
        path.write_text("hello")
    done = cli("check", code=4)
    assert all(f"foreign: {path}" in done.stdout for path in strangers)


@pytest.mark.parametrize("table", ["subgraph_timings", "runs"])
def test_a_pipe_or_a_folder_with_the_name_of_a_part_is_foreign_and_never_opened(
    table: str, lake: Lake, cli, timings
) -> None:
    before = lake.sql("select run_id, count(*) from subgraph_timings group by 1 order by 1").rows()
    pipe, folder = (a_part(lake, table).with_name(f"{name}.v01.parquet") for name in ("pipe", "folder"))
    os.mkfifo(pipe)
    folder.mkdir()
    said = cli("check", "--deep", code=4).stdout
    assert f"foreign: {pipe}\n  a pipe, a socket or a device with the name of a part" in said
    assert f"foreign: {folder}\n  a folder with the name of a part" in said
    assert said.endswith("2 findings; 4 files read, 2 of them held against a recorded checksum\n")
    fresh = Lake(lake.root)
    assert fresh.frame("subgraph_timings").height == 1000
    assert fresh.sql("select run_id, count(*) from subgraph_timings group by 1 order by 1").rows() == before
    assert [each.files_after for each in fresh.compact()] == [1]
    assert len(fresh.vacuum(older_than_s=0, nobody_writes=True).removed) == 2
    assert pipe.is_fifo(), "a vacuum removes what is the lake's"
    assert folder.is_dir()
    said = cli("check", "--repair", code=4).stdout
    assert f"set aside: {pipe}" in said
    assert f"set aside: {folder}" in said
    assert lake.check() == []


@pytest.mark.parametrize("table", ["subgraph_timings", "runs"])
def test_a_file_that_may_not_be_read_is_said_to_be_so_and_left_where_it_is(
    table: str, lake: Lake, unprivileged: list[str]
) -> None:
    part = a_part(lake, table)
    part.chmod(0)
    command = [*unprivileged, sys.executable, "-m", "groundlake", "check", "--deep", "--repair", "--root", lake.root]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 5, done.stdout + done.stderr
    assert f"unreadable: {part}\n  your user has no permission to read it\n  -> let your user read it" in done.stdout
    assert "1 findings; 3 files read" in done.stdout, "of rows that nobody could count, nothing is said"
    assert "set aside" not in done.stdout
    assert "error: files of the lake may not be read" in done.stderr
    part.chmod(0o644)
    assert lake.check() == []


@pytest.mark.parametrize(("level", "mode"), [(0, 0o300), (1, 0o300), (2, 0o600), (4, 0o600)])
def test_a_folder_that_may_not_be_listed_is_said_instead_of_an_answer_without_its_rows(
    level: int, mode: int, lake: Lake, unprivileged: list[str]
) -> None:
    folder = a_part(lake).parents[4 - level]
    asks = "import sys; from groundlake.store import Lake; lake = Lake(sys.argv[1])"
    for ask in ("lake.sql('select count(*) from subgraph_timings').rows()", "lake.connect()"):
        program = f"{asks}\ntry: {ask}\nexcept Exception as error: print(type(error).__name__, error)"
        folder.chmod(mode)
        try:
            command = [*unprivileged, sys.executable, "-c", program, lake.root]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        finally:
            folder.chmod(0o755)
        assert f"LakeEnvironmentError {folder}: your user has no permission to read this folder" in said
        assert "chmod u+rx" in said
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(1000,)]


def test_a_copied_part_which_counts_its_rows_twice_is_foreign(lake: Lake) -> None:
    part = a_part(lake)
    part.with_name("copy.v01.parquet").write_bytes(part.read_bytes())
    (finding,) = lake.check()
    assert (finding.code, finding.corrupt) == ("foreign", True)
    assert "twice" in finding.what


def test_a_part_of_another_contract_or_version_is_foreign(lake: Lake) -> None:
    part = a_part(lake)
    rows = pq.read_table(part, partitioning=None)
    stranger = part.with_name("stranger.v01.parquet")
    pq.write_table(rows.replace_schema_metadata({"groundlake.contract": "estimates"}), stranger)
    assert codes(lake) == ["foreign"]
    pq.write_table(rows.replace_schema_metadata({}), stranger)
    assert codes(lake) == ["foreign"]
    pq.write_table(rows.drop_columns(["flops"]).replace_schema_metadata(rows.schema.metadata), stranger)
    assert codes(lake) == ["foreign"]
    stranger.unlink()
    part.rename(part.with_name(part.name.replace(".v01.", ".v02.")))
    (finding,) = lake.check()
    assert (finding.code, finding.moves[0][1]) == ("misplaced", part)
    lake.repair([finding])
    assert lake.check() == []


def test_a_missing_anchor_is_reported_and_made_again_by_init(lake: Lake, cli) -> None:
    anchor = lake.root / anchor_path(SubgraphTimings)
    anchor.unlink()
    assert "missing_anchor" in cli("check", code=4).stdout
    cli("init")
    assert anchor.exists()
    assert lake.check() == []
    assert lake.sql("select count(*) from subgraph_timings").rows() == [(1000,)]


def test_the_remains_of_retracted_runs_are_no_findings(lake: Lake) -> None:
    lake.retract(lake.runs()["run_id"][0], "dev", "wrong mode")
    assert lake.check() == []


def test_every_file_names_its_contract_version_and_writer(lake: Lake) -> None:
    for path in lake.root.rglob("*.parquet"):
        footer = pq.read_schema(path).metadata
        table = TABLES[path.relative_to(lake.root).parts[0]]
        assert footer[b"groundlake.contract"].decode() == table.table_name()
        assert footer[b"groundlake.contract_version"].decode() == str(table.version())
        assert footer[b"groundlake.writer"].startswith(b"groundlake ")


def test_no_file_holds_a_partition_key(lake: Lake) -> None:
    for path in lake.root.rglob("*.parquet"):
        table = TABLES[path.relative_to(lake.root).parts[0]]
        assert not set(table.keys()) & set(pq.read_schema(path).names)


def test_a_part_of_a_ledger_row_that_lies_about_its_rows_is_found(lake: Lake) -> None:
    row = (
        lake.runs()
        .head(1)
        .with_columns(
            revision=pl.lit(1, dtype=pl.Int64),
            fact_rows=pl.Series([[{"table": "subgraph_timings", "rows": 7}]], dtype=Runs.polars_schema()["fact_rows"]),
        )
    )
    with Commit(lake.root) as commit:
        commit.stage(Runs, new_id(), leaves(Runs, row))
        commit.publish()
    assert codes(lake) == ["missing_rows"]
