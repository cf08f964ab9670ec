"""Predictions that users bring in: what is kept, what is refused, and that nothing is half written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake import estimates
from groundlake.errors import (
    ContractViolationError,
    CorruptLakeError,
    LakeError,
    LakeNotFoundError,
    RunExistsError,
    UsageError,
)
from groundlake.estimate import read_estimates
from groundlake.estimate.files import origin_of
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = {"precision": "fp32", "model": "net", "batch": 1, "total_latency_ms": 4.0, "num_subgraphs": 3}
ROW = {"hardware_id": "dev_a", "precision": "fp32", "model": "net", "batch": 1, "predicted_latency_ms": 5.0}


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    lake = Lake(lake_root)
    lake.write({"hardware_id": "dev_a", **RUN}, subgraph_timings=timings(3))
    lake.write({"hardware_id": "dev_b", **RUN}, subgraph_timings=timings(3))
    lake.write({"hardware_id": "dev_b", **RUN, "model": "wide"}, subgraph_timings=timings(2))
    return lake


HEAD = "hardware_id,precision,model,batch,subgraph_id,predicted_latency_ms,extrapolated\n"
NAN = {"predicted_latency_ms": float("nan")}
INFINITE = {"predicted_latency_ms": float("inf")}


def as_json(*rows: dict[str, object]) -> str:
    return json.dumps([ROW | row for row in rows])


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame([ROW | row for row in rows], infer_schema_length=None)


def add(lake: Lake, rows: pl.DataFrame, version: str = "1", **options: object) -> object:
    return lake.write_estimates(rows, estimator="mine", version=version, **options)


def test_estimates_of_many_devices_are_one_run_for_each(lake: Lake) -> None:
    rows = frame(
        {},
        {"hardware_id": "dev_b", "predicted_latency_ms": None, "predicted_energy_j": 0.5},
        {"hardware_id": "dev_b", "model": "wide"},
    )
    written = add(lake, rows)
    assert (len(written.run_ids), written.rows, written.present) == (2, 3, 0)
    runs = lake.runs().filter(pl.col("kind") == "estimate")
    assert sorted(runs["hardware_id"]) == ["dev_a", "dev_b"]
    assert set(zip(runs["precision"], runs["model"], runs["batch"], strict=True)) == {("none", "none", 0)}
    kept = lake.frame("estimates", hardware_id="dev_b").sort("model")
    assert kept.select("model", "predicted_latency_ms", "predicted_energy_j", "estimator").rows() == [
        ("net", None, 0.5, "mine"),
        ("wide", 5.0, None, "mine"),
    ]


def test_subgraphs_and_the_whole_model_are_different_things(lake: Lake) -> None:
    assert add(lake, frame({"subgraph_id": None}, {"subgraph_id": 0}, {"subgraph_id": 2})).rows == 3


def test_precision_is_taken_in_either_case(lake: Lake) -> None:
    assert add(lake, frame({"precision": "FP32"})).rows == 1


def test_names_may_be_columns_and_several_estimators_come_at_once(lake: Lake) -> None:
    rows = frame({"estimator": "a", "estimator_version": "1"}, {"estimator": "b", "estimator_version": "7"})
    assert lake.write_estimates(rows).rows == 2
    with pytest.raises(UsageError, match=r"estimator: give it once.*got both"):
        lake.write_estimates(rows, estimator="c", version="1")
    with pytest.raises(UsageError, match=r"estimator_version: give it once.*got neither"):
        lake.write_estimates(frame({}), estimator="c")
    with pytest.raises(ContractViolationError, match="row 1: estimator_version must be a name, got ' '"):
        lake.write_estimates(frame({"estimator": "a", "estimator_version": " "}))


def test_a_file_may_name_its_estimators(lake: Lake, cli: Callable) -> None:
    head = "estimator,estimator_version,hardware_id,precision,model,batch,predicted_latency_ms\n"
    content = head + "b,1.10,dev_a,fp32,net,1,5\na,2,dev_b,fp32,net,1,5\na,2,dev_b,fp32,wide,1,5\n"
    (cli.folder / "rows.csv").write_text(content)
    assert cli("estimates", "add", "rows.csv").stdout.splitlines() == [
        "a 2: 2 estimates written, 0 in the lake already",
        "b 1.10: 1 estimates written, 0 in the lake already",
    ]
    (cli.folder / "more.csv").write_text(content + "b,1.10,dev_b,fp32,net,1,6\n")
    done = cli("estimates", "add", "more.csv")
    assert done.stdout.splitlines() == [
        "a 2: 0 estimates written, 2 in the lake already",
        "b 1.10: 1 estimates written, 1 in the lake already",
    ]
    both = cli("estimates", "add", "rows.csv", "--estimator", "c", code=2)
    assert "estimator: give it once, as an argument or as a column of the estimates; got both" in both.stderr
    (cli.folder / "plain.csv").write_text(
        "hardware_id,precision,model,batch,predicted_latency_ms\ndev_a,fp32,net,1,5\n"
    )
    neither = cli("estimates", "add", "plain.csv", "--estimator", "c", code=2)
    assert "estimator_version: give it once" in neither.stderr
    assert "got neither" in neither.stderr


def test_a_subgraph_may_cost_nothing(lake: Lake) -> None:
    assert add(lake, frame({"subgraph_id": 1, "predicted_latency_ms": 0.0})).rows == 1


def test_values_that_fit_are_taken_in_any_type(lake: Lake) -> None:
    """As pandas writes them: whole numbers beside empty ones are floats, and truth begins with a capital."""
    rows = frame({"batch": 1.0, "subgraph_id": 2.0, "predicted_latency_ms": " 5", "extrapolated": "True"})
    add(lake, rows.with_columns(pl.col("model").cast(pl.Categorical)))
    kept = lake.frame("estimates").select("model", "batch", "subgraph_id", "predicted_latency_ms", "extrapolated")
    assert kept.rows() == [("net", 1, 2, 5.0, True)]


def test_a_version_is_never_overwritten(lake: Lake) -> None:
    add(lake, frame({}))
    again = add(lake, frame({}, {"hardware_id": "dev_b"}))
    assert (again.rows, again.present) == (1, 1)
    before = lake.runs().height
    with pytest.raises(
        RunExistsError, match=r"mine 1 predicts 1 of these already.*\n.*dev_a fp32 net batch 1: .*5, now 6"
    ):
        add(lake, frame({"predicted_latency_ms": 6.0}, {"hardware_id": "dev_b"}))
    assert lake.runs().height == before
    add(lake, frame({"predicted_latency_ms": 6.0}), version="2")
    kept = lake.sql("select estimator_version, predicted_latency_ms from estimates where hardware_id = 'dev_a'").rows()
    assert sorted(kept) == [("1", 5.0), ("2", 6.0)]
    assert lake.sql("select estimator_version from estimator_versions where is_latest").rows() == [("2",)]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (frame({}, {}), ContractViolationError, r"given twice: dev_a fp32 net batch 1 \(rows 1 and 2\)"),
        (
            frame({"predicted_latency_ms": -1.0}),
            ContractViolationError,
            r"row 1: predicted_latency_ms must be at least 0, got -1\.0",
        ),
        (
            frame({"predicted_latency_ms": float("nan")}),
            ContractViolationError,
            "row 1: predicted_latency_ms must be a finite number, got NaN",
        ),
        (
            frame({"predicted_latency_ms": float("inf")}),
            ContractViolationError,
            "row 1: predicted_latency_ms must be a finite number, got Infinity",
        ),
        (frame({}, {"batch": 2, "predicted_latency_ms": None}), ContractViolationError, "row 2: predicts nothing"),
        (frame({"predicted_latency_ms": "fast"}), ContractViolationError, "row 1: .* must be a number, got 'fast'"),
        (frame({"batch": 1.5}), ContractViolationError, r"row 1: batch must be a whole number, got 1\.5"),
        (frame({"batch": [1]}), ContractViolationError, r"row 1: batch must be a whole number, got \[1\]"),
        (
            frame({"batch": True, "extrapolated": 1}),
            ContractViolationError,
            "row 1: batch must be a whole number, got True",
        ),
        (frame({"extrapolated": 1}), ContractViolationError, "row 1: extrapolated must be true or false, got 1"),
        (frame({"model": 7}), ContractViolationError, "row 1: model must be a text, got 7"),
        (frame({"model": None}, {}), ContractViolationError, "row 1: model is needed, got nothing"),
        (frame({"predicted_latency_ms": 0.0}), ContractViolationError, "row 1: .* whole model must be more than 0"),
        (frame({}).clear(), UsageError, "there is no estimate to write: the frame has no rows"),
        (pl.DataFrame(), UsageError, "there is no estimate to write"),
        (frame({}).drop("model"), UsageError, "missing: model"),
        (frame({"latency": 3.0}), UsageError, "unknown columns: latency"),
        (
            frame({}).drop("predicted_latency_ms"),
            UsageError,
            "missing: one of predicted_latency_ms, predicted_energy_j",
        ),
        (
            frame({}, {"model": "nte"}),
            UsageError,
            "1 of 2 configurations were never measured(.|\n)*dev_a fp32 nte batch 1",
        ),
        (frame({"subgraph_id": 3}), UsageError, "subgraph 3 of dev_a fp32 net batch 1"),
    ],
)
def test_bad_estimates_are_refused_and_nothing_is_written(
    lake: Lake, rows: pl.DataFrame, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        add(lake, rows)
    assert lake.frame("estimates").is_empty()
    assert lake.runs().filter(pl.col("kind") == "estimate").is_empty()


def test_what_was_not_measured_yet_is_kept_on_demand(lake: Lake) -> None:
    add(lake, frame({"model": "to_come"}), allow_unmeasured=True)
    (row,) = lake.sql("select measured, reason from estimator_error").rows()
    assert row == (None, "this configuration was not measured")


def test_another_figure_of_the_same_version_joins_the_first(lake: Lake) -> None:
    add(lake, frame({}))
    energy = frame({"predicted_latency_ms": None, "predicted_energy_j": 0.5})
    assert add(lake, energy).rows == 1
    assert add(lake, energy).present == 1
    rows = lake.sql("select quantity, predicted from estimator_error order by 1").rows()
    assert rows == [("energy", 0.5), ("latency", 5.0)]
    with pytest.raises(RunExistsError, match=r"predicted_energy_j 0\.5, now 0\.7"):
        add(lake, frame({"predicted_latency_ms": None, "predicted_energy_j": 0.7}))


def test_what_two_writers_wrote_at_once_counts_once(lake: Lake) -> None:
    """Each found nothing there: the ledger has both, and so has a merge of two lakes."""
    parts = frame({"subgraph_id": 0}, {"subgraph_id": 1}, {"subgraph_id": 2})
    rows = estimates.checked(parts, "mine", "1")
    lake.write_many([*estimates.as_runs(rows), *estimates.as_runs(rows)])
    assert lake.frame("estimates").height == 6
    assert lake.sql("select predicted from estimator_error where level = 'model'").rows() == [(15.0,)]
    assert lake.sql("select count(*) from estimator_error where level = 'subgraph'").rows() == [(3,)]


def of_many_models(number: int) -> pl.DataFrame:
    """Rows that take a file each."""
    return frame(*({"model": f"net_{at}", "predicted_latency_ms": at + 1.0} for at in range(number)))


def test_many_files_are_read_a_few_at_a_time(lake_root: Path) -> None:
    """As many threads as files is what polars warns of, and where it may hang."""
    add(Lake(lake_root), of_many_models(100), allow_unmeasured=True)
    program = """if True:
        import sys
        from groundlake import Lake
        lake = Lake(sys.argv[1])
        rows = lake.frame("estimates")
        again = lake.write_estimates(rows.drop("run_id", "part"), allow_unmeasured=True)
        print(rows.height, lake.scan("estimates").collect().height, again.present)
    """
    done = subprocess.run(
        [sys.executable, "-c", program, lake_root],
        env=os.environ | {"POLARS_MAX_BLOCKING_THREAD_COUNT": "16"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("100 100 100\n", "")


def test_many_files_keep_their_keys_wherever_the_lake_lies(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "hardware_id=x" / "a=b" / "per%20cent")
    rows = of_many_models(9)
    add(lake, rows, allow_unmeasured=True)
    assert lake.frame("estimates").select(rows.columns).sort("predicted_latency_ms").equals(rows)
    assert lake.scan("estimates").select(rows.columns).collect().sort("predicted_latency_ms").equals(rows)


def test_the_torn_one_of_many_files_is_named(lake_root: Path) -> None:
    lake = Lake(lake_root)
    add(lake, of_many_models(9), allow_unmeasured=True)
    (torn,) = lake_root.glob("estimates/*/*/model=net_5/*/*.parquet")
    content = torn.read_bytes()
    torn.write_bytes(b"PAR1" + b"\xff" * 200 + content[204:])
    with pytest.raises(CorruptLakeError, match=r"model=net_5/.*: cannot be read as a part"):
        lake.frame("estimates")


def test_a_version_needs_a_name(lake: Lake) -> None:
    with pytest.raises(UsageError, match="estimator_version is empty"):
        add(lake, frame({}), version=" ")


def test_a_lake_that_is_not_there_has_nothing_to_predict(lake_root: Path) -> None:
    with pytest.raises(LakeNotFoundError):
        add(Lake(lake_root), frame({}))
    assert not lake_root.exists()


def written_as(path: Path, rows: pl.DataFrame) -> Path:
    write = {
        ".csv": rows.write_csv,
        ".parquet": rows.write_parquet,
        ".json": rows.write_json,
        ".jsonl": rows.write_ndjson,
    }
    write[path.suffix](path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json", ".jsonl"])
def test_every_format_is_read_alike(lake: Lake, cli: Callable, tmp_path: Path, suffix: str) -> None:
    rows = frame({"subgraph_id": None, "predicted_energy_j": None}, {"subgraph_id": 1, "predicted_energy_j": 0.25})
    path = written_as(tmp_path / f"mine{suffix}", rows)
    said = cli("estimates", "add", path.name, "--estimator", "mine", "--version", "1").stdout
    assert said == "mine 1: 2 estimates written, 0 in the lake already\n"
    kept = lake.sql("select subgraph_id, predicted_energy_j from estimates order by 1 nulls first").rows()
    assert kept == [(None, None), (1, 0.25)]
    (run,) = lake.runs().filter(pl.col("kind") == "estimate").to_dicts()
    assert [(source["uri"], source["layout"]) for source in run["sources"]] == [(path.name, "estimates")]
    listed = json.loads(cli("estimates", "list", "--format", "json").stdout)
    assert [(row["estimator"], row["num_estimates"], row["is_latest"]) for row in listed] == [("mine", 2, True)]


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("rows.xlsx", "", 2, "estimates are read from .csv, .parquet, .json, .jsonl, got .xlsx"),
        ("rows.csv", "", 2, "cannot be read as csv"),
        ("rows.json", "{not json", 2, "cannot be read as json"),
        ("rows.csv", "hardware_id,precision,model,batch,predicted_latency_ms\n", 2, "there is no estimate in it"),
        (
            "rows.csv",
            "hardware_id,precision,model,batch,predicted_ms\ndev_a,fp32,net,1,3\n",
            2,
            "unknown columns: predicted_ms",
        ),
        ("rows.csv", "hardware_id,precision,model,batch,predicted_latency_ms\ndev_a,fp32,net,1,-3\n", 1, "-3"),
        (
            "rows.csv",
            f"{HEAD}dev_a,fp32,net,1,,5,\n\ndev_a,FP32,net,1,,6,\n",
            1,
            "rows.csv: 2 of 2 rows refused; nothing was written\n  given twice: dev_a fp32 net batch 1 (lines 2 and 4)",
        ),
        (
            "rows.json",
            as_json({}, {"batch": 2, **NAN}),
            1,
            "row 2: predicted_latency_ms must be a finite number, got NaN",
        ),
    ],
)
def test_a_bad_file_is_named_with_the_exit_code(
    lake: Lake, cli: Callable, *, name: str, content: str | bytes, code: int, message: str
) -> None:
    (cli.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = cli("estimates", "add", name, "--estimator", "mine", "--version", "1", code=code)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 6
    assert lake.frame("estimates").is_empty()


def test_a_missing_file_is_named(lake: Lake, cli: Callable) -> None:
    done = cli("estimates", "add", "no.csv", "--estimator", "mine", "--version", "1", code=2)
    assert "no.csv: there is no such file" in done.stderr
    with pytest.raises(UsageError):
        read_estimates(lake.root / "no.csv")


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("rows.csv", f"{HEAD}dev_a,fp32,net,1,,5,\n" * 2, 1, "line 3: batch must be a whole number, got 'batch'"),
        ("rows.csv", f"{HEAD}dev_a,fp32,net,1,,abc,\n", 1, "line 2: predicted_latency_ms must be a number, got 'abc'"),
        ("rows.csv", f"{HEAD}\ndev_a,fp32,net,one,,5,\n", 1, "line 3: batch must be a whole number, got 'one'"),
        (
            "rows.csv",
            f'{HEAD}dev_a,fp32,"n\net",1,,5,\ndev_a,fp32,net,1,,5,maybe\n',
            1,
            "line 4: extrapolated must be true or false, got 'maybe'",
        ),
        ("rows.csv", f"{HEAD}dev_a,fp32,net,1,,,true\n", 1, "line 2: predicts nothing"),
        ("rows.csv", f"{HEAD}dev_a,fp32,net,1,,5,,\n", 2, "line 2 has 8 fields, the header 7"),
        ("rows.csv", f"{HEAD}dev_a,fp32,n\xe9t,1,,5,\n".encode("latin-1"), 2, "line 2 is not UTF-8 (byte 0xe9)"),
        ("rows.csv", f"{HEAD}dev_a,fp32,net,1,,5,\n".encode("utf-16"), 2, "line 1 is not UTF-8"),
        (
            "rows.json",
            as_json({}, {"batch": 2, **NAN}),
            1,
            "row 2: predicted_latency_ms must be a finite number, got NaN",
        ),
        ("rows.json", as_json({}, INFINITE), 1, "row 2: predicted_latency_ms must be a finite number, got Infinity"),
        ("rows.json", as_json({}, {"batch": [1]}), 1, "row 2: batch must be a whole number, got '[1]'"),
        ("rows.json", as_json({}) + "]", 2, "cannot be read as json: line 1, column "),
        ("rows.json", "[1]", 2, "row 1 is no object"),
        ("rows.json", json.dumps({"batch": [1, 2]}), 2, "no array of objects"),
        ("rows.jsonl", f"\n{json.dumps(ROW)}\n\n{json.dumps(ROW | NAN)}\n", 1, "line 4: predicted_latency_ms"),
        ("rows.jsonl", f"{json.dumps(ROW)}\n{{oops\n", 2, "cannot be read as jsonl: line 2, column 2"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(
    lake: Lake, tmp_path: Path, *, name: str, content: str | bytes, code: int, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LakeError, match=re.escape(message)) as raised:
        add(lake, read_estimates(path), origin=origin_of(path))
    assert raised.value.exit_code == code
    assert str(raised.value).startswith(str(path))
    assert lake.frame("estimates").is_empty()


def test_a_long_list_of_wrong_rows_is_cut(lake: Lake) -> None:
    with pytest.raises(ContractViolationError, match=r"7 of 8 rows refused(.|\n)*rows 2, 3, 4 and 2 more(.|\n)*"):
        add(lake, frame({"predicted_latency_ms": -1.0}, *[{"batch": 2}] * 5, {"batch": 0, **NAN}, {}))
    with pytest.raises(ContractViolationError, match=r"8 of 8 rows refused(.|\n)*  and 5 more$"):
        add(lake, frame(*({"batch": at, "predicted_latency_ms": -1.0} for at in range(8))))
