"""A lake in object storage: read and written like one in a folder, over a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from bucket_server import BUCKET

from groundlake import Lake
from groundlake.errors import (
    CorruptLakeError,
    LakeEnvironmentError,
    QueryError,
    RunExistsError,
    UsageError,
)
from groundlake.ground_truth import GroundTruthLoader
from groundlake.places import place_of
from groundlake.schemas import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl
    from bucket_server import BucketServer

RUN = {"hardware_id": "board/a b", "model": "net=100%", "precision": "fp32", "batch": 4, "total_latency_ms": 4.0}


pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'groundlake[s3]'")
pytest.importorskip("moto", reason="moto is not installed: pip install 'groundlake[dev]'")


@pytest.fixture
def bucket_lake(reached: BucketServer) -> Lake:
    """A lake in the bucket that nobody has written to."""
    return Lake(f"s3://{BUCKET}/some prefix/{uuid4()}")


def fill(lake: Lake, timings: Callable[..., pl.DataFrame]) -> None:
    """Write runs of two devices, one of them measured twice."""
    for number, run in enumerate([RUN, RUN, {**RUN, "hardware_id": "other", "batch": 1}]):
        measured = {**run, "run_id": f"run-{number}", "num_subgraphs": 3, "kind": "efficiency"}
        lake.write(measured, subgraph_timings=timings(latency_mean_ms=[1.0, 2.0, number + 1.0]))


def test_a_lake_in_a_bucket_answers_like_one_in_a_folder(bucket_lake: Lake, lake_root, timings):
    folder_lake = Lake(lake_root)
    fill(folder_lake, timings)
    assert not bucket_lake.exists
    fill(bucket_lake, timings)
    assert bucket_lake.exists
    assert bucket_lake.hardware_ids() == ["board/a b", "other"]
    record = GroundTruthLoader(str(bucket_lake.root)).load("board/a b", "net=100%", "fp32", 4)
    assert record.run_id == "run-1"
    for question in (
        "select run_id, hardware_id, model, batch from runs order by run_id",
        "select run_id, subgraph_id, latency_mean_ms, node_names from subgraph_timings order by all",
        "select * from model_summary order by all",
        "select count(*) from estimates",
        "select count(*) from quarantine",
        "select name from help order by name",
    ):
        assert bucket_lake.sql(question).rows() == folder_lake.sql(question).rows()
    for table in TABLES:
        mine, other = bucket_lake.frame(table), folder_lake.frame(table)
        same = [name for name in mine.columns if name not in {"recorded_at", "part", "fact_files"}]
        assert mine.select(same).sort(same[:6]).equals(other.select(same).sort(same[:6]))
    chosen = bucket_lake.frame("subgraph_timings", hardware_id="board/a b", model="net=100%", run_id="run-1")
    assert chosen["latency_mean_ms"].to_list() == [1.0, 2.0, 2.0]
    assert bucket_lake.scan("subgraph_timings", batch=1).collect().height == 3


def test_a_run_is_written_once_and_withdrawn_for_good(bucket_lake: Lake, timings):
    fill(bucket_lake, timings)
    with pytest.raises(RunExistsError, match="run-0"):
        bucket_lake.write({**RUN, "run_id": "run-0"}, subgraph_timings=timings())
    bucket_lake.retract("run-1", None, "a cable was loose")
    assert bucket_lake.sql("select run_id from runs order by 1").rows() == [("run-0",), ("run-2",)]


def test_large_parts_are_read_in_pieces(bucket_lake: Lake, timings, monkeypatch):
    from groundlake import bucket_files

    fill(bucket_lake, timings)
    monkeypatch.setattr(bucket_files, "WHOLE_BYTES", 100)
    assert bucket_lake.sql("select sum(latency_mean_ms) from subgraph_timings").rows() == [(15.0,)]


def test_a_question_lists_and_fetches_and_asks_nothing_else(bucket_lake: Lake, reached: BucketServer, timings):
    fill(bucket_lake, timings)
    reached.requests.clear()
    bucket_lake.sql("select * from subgraph_timings").rows()
    asked = [request for request in reached.requests if str(bucket_lake.root).rpartition("/")[2] in request]
    assert not [request for request in asked if request.startswith(("HEAD", "PUT"))]
    fetched = [
        request for request in asked if "/subgraph_timings/hardware_id=" in request and "list-type" not in request
    ]
    assert len(fetched) == len(set(fetched))


@pytest.mark.parametrize("stop_at", ["/subgraph_timings/", "/runs/hardware_id=board"])
def test_a_writer_that_is_killed_leaves_nothing_that_can_be_seen(bucket_lake: Lake, timings, stop_at, tmp_path):
    program = f"""
import os
import polars as pl
from groundlake import Lake, commit
send = commit._send
def stop(staged):
    if {stop_at!r} in staged.final.path:
        os._exit(9)
    send(staged)
lake = Lake({str(bucket_lake.root)!r})
lake.create()
commit._send = stop
rows = pl.read_parquet({str(tmp_path / "rows.parquet")!r})
lake.write({RUN!r}, subgraph_timings=rows)
"""
    timings().write_parquet(tmp_path / "rows.parquet")
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == 9
    assert bucket_lake.sql("select count(*) from runs").rows() == [(0,)]
    assert bucket_lake.sql("select count(*) from subgraph_timings").rows() == [(0,)]
    bucket_lake.write(RUN, subgraph_timings=timings())
    assert bucket_lake.sql("select count(*) from subgraph_timings").rows() == [(3,)]


def test_writers_in_several_processes_lose_nothing(bucket_lake: Lake, timings, tmp_path):
    timings().write_parquet(tmp_path / "rows.parquet")
    program = f"""
import polars as pl
from groundlake import Lake
lake, rows = Lake({str(bucket_lake.root)!r}), pl.read_parquet({str(tmp_path / "rows.parquet")!r})
for _ in range(4):
    print(lake.write({RUN!r}, subgraph_timings=rows))
"""
    writers = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    written = sorted(line for writer in writers for line in writer.communicate()[0].split())
    assert len(written) == 12
    assert sorted(bucket_lake.runs()["run_id"]) == written
    assert bucket_lake.sql("select count(*) from subgraph_timings").rows() == [(36,)]


def test_a_question_reads_its_lake_and_nothing_else_of_the_bucket(bucket_lake: Lake, timings):
    fill(bucket_lake, timings)
    other = bucket_lake.root.with_name("another")
    (other / "secret.parquet").write_bytes(b"PAR1")
    with pytest.raises(QueryError, match="reads the files of its lake and no others"):
        bucket_lake.sql(f"select * from read_parquet('{other}/secret.parquet')").rows()


def test_a_torn_part_is_named(bucket_lake: Lake, timings):
    fill(bucket_lake, timings)
    torn = max((bucket_lake.root / "subgraph_timings" / "hardware_id=other").glob("**/*.parquet"))
    torn.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(CorruptLakeError, match=str(torn)):
        bucket_lake.sql("select * from subgraph_timings").rows()
    with pytest.raises(CorruptLakeError, match=str(torn)):
        bucket_lake.frame("subgraph_timings", hardware_id="other")
    assert bucket_lake.frame("subgraph_timings", hardware_id="board/a b").height == 6


def test_the_command_line_reads_a_bucket_and_says_what_it_cannot_do_there(bucket_lake: Lake, cli, timings):
    fill(bucket_lake, timings)
    asked = cli("sql", "select run_id from runs order by 1", "--root", str(bucket_lake.root), "--format", "csv")
    assert asked.stdout.split() == ["run_id", "run-0", "run-1", "run-2"]
    refused = cli("check", "--root", str(bucket_lake.root), code=2).stderr
    assert "in a folder only" in refused
    assert f"lake sync '{bucket_lake.root}'" in refused
    assert cli("report", "--root", str(bucket_lake.root), "-o", "report.html").stdout
    assert cli("init", "--root", f"{bucket_lake.root}/new").stdout == f"{bucket_lake.root}/new  (data)\n"
    assert cli("sql", "select count(*) as n from runs", "--root", f"{bucket_lake.root}/new", "--format", "csv").stdout
    assert f"location: {bucket_lake.root}/*" in cli("export", "odcs", "--root", str(bucket_lake.root)).stdout


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("s3://", "s3://bucket/prefix"),
        ("s3://bucket", "s3://bucket/prefix"),
        ("gs://bucket/prefix", "s3://bucket/prefix"),
        ("s3://bucket/a*b", "has none of"),
        ("s3://bucket/a//b", "no empty parts"),
    ],
)
def test_an_address_that_cannot_be_a_lake_is_refused(root, message, cli):
    with pytest.raises(UsageError, match=message):
        place_of(root)
    assert message in cli("sql", "select 1", "--root", root, code=2).stderr


def test_a_bucket_that_is_not_there_or_does_not_answer_is_told(reached: BucketServer, cli, timings, monkeypatch):
    with pytest.raises(LakeEnvironmentError, match="there is no bucket nobody"):
        Lake("s3://nobody/lake").runs()
    with pytest.raises(LakeEnvironmentError, match=r"(?s)cannot write s3://nobody/lake.*AWS_ENDPOINT_URL"):
        Lake("s3://nobody/lake").write(RUN, subgraph_timings=timings())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    unreached = cli("sql", "select 1", "--root", f"s3://{BUCKET}/x", code=5, AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert "cannot be reached" in unreached.stderr
    assert "AWS_ENDPOINT_URL" in unreached.stderr


def test_without_the_extra_the_message_says_what_to_install(cli, tmp_path):
    (tmp_path / "upath.py").write_text("raise ModuleNotFoundError('no upath', name='upath')")
    missing = cli("sql", "select 1", "--root", "s3://bucket/lake", code=3, PYTHONPATH=str(tmp_path))
    assert "pip install 'groundlake[s3]'" in missing.stderr


def test_estimates_in_a_bucket_are_written_without_a_view_file(bucket_lake: Lake, timings, cli, tmp_path):
    bucket_lake.write(RUN | {"kind": "efficiency"}, subgraph_timings=timings())
    file = tmp_path / "estimates.csv"
    file.write_text(
        "hardware_id,precision,model,batch,subgraph_id,predicted_latency_ms\nboard/a b,fp32,net=100%,4,0,1.5\n"
    )
    added = cli(
        "--root", str(bucket_lake.root), "estimates", "add", file, "--estimator", "mine", "--version", "1", **reaching()
    )
    assert "mine 1: 1 estimates written" in added.stdout
    assert bucket_lake.sql("select count(*) from estimates").rows() == [(1,)]


def test_a_wrong_endpoint_and_a_bucket_that_is_not_there_are_named(reached: BucketServer, cli):
    query = "select count(*) from runs"
    wrong = cli("--root", "s3://no-such-bucket/lake", "sql", query, code=5, **reaching())
    assert "there is no bucket no-such-bucket" in wrong.stderr
    garbage = cli("--root", "s3://any/lake", "sql", query, code=5, **reaching() | {"AWS_ENDPOINT_URL": "garbage"})
    assert "AWS_ENDPOINT_URL=garbage" in garbage.stderr


def reaching() -> dict[str, str]:
    """What says to a process how to reach the server."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
