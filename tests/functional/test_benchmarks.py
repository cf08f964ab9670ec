"""The benchmarks run and say what they measured; how long anything took is no test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"
ROW_KEYS = {"what", "door", "ours_ms", "json_ms", "target_ms", "note", "ratio"}
BESIDE_JSON = {
    "migrate one file",
    "all summaries",
    "latency by hardware and operation",
    "full scan",
    "one configuration",
    "one summary",
    'lake sql "select * from model_summary"',
}


ESTIMATED = {"added to resnet18 at 20 Hz", "the same, from 400 Hz"}
"""Figures with an interval."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run over three configurations wrote."""
    output = tmp_path_factory.mktemp("results")
    done = subprocess.run(
        [sys.executable, RUN, "--limit", "3", "--rows", "3000", "--rounds", "1", "--seconds", "1", "--output", output],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    (written,) = output.iterdir()
    found: dict[str, Any] = json.loads(written.read_bytes())
    shown = [line for line in done.stdout.splitlines() if line]
    assert len(shown) == 1 + len(found["rows"]) + 1 + 1 + len(found["power"]), "two headings, all rows and the sizes"
    return found


@pytest.mark.slow
def test_a_result_names_the_machine_the_software_and_the_corpus(result: dict[str, Any]) -> None:
    assert {"cpu", "cores", "duckdb", "software", "configurations", "bytes", "rows", "power"} == set(result)
    assert result["configurations"] == 3
    assert result["bytes"]["lake"] > 0
    assert result["bytes"]["json"] > 0
    assert result["software"]["machine_fingerprint"]


@pytest.mark.slow
def test_each_row_has_a_time_and_those_beside_json_have_both(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        assert set(row) == ROW_KEYS
        assert row["ours_ms"] > 0
        assert (row["json_ms"] is not None) == (row["what"] in BESIDE_JSON), row["what"]
        if row["json_ms"] is not None:
            assert row["json_ms"] > 0
            assert row["ratio"] == pytest.approx(row["json_ms"] / row["ours_ms"])


@pytest.mark.slow
def test_each_promise_is_timed_once(result: dict[str, Any]) -> None:
    doors = [(row["what"], row["door"]) for row in result["rows"]]
    assert len(set(doors)) == len(doors)
    assert {what for what, _ in doors} >= {*BESIDE_JSON, "lake --help", "commit, 1 writer (p50)"}
    (shares,) = [row["note"] for row in result["rows"] if row["what"] == "commit, 1 writer (p50)"]
    assert all(f"{name} " in shares for name in ("Pandera", "Parquet", "fsync", "rest")), shares


@pytest.mark.slow
def test_the_power_recorder_is_measured_in_full(result: dict[str, Any]) -> None:
    figures = {row["what"]: row for row in result["power"]}
    assert len(figures) == len(result["power"])
    beside = {"period, beside resnet18 (p99)", "processor time at 20 Hz", *ESTIMATED} if find_spec("torch") else set()
    stored = {"a reading, 3,000 of one rail", "a reading, 60 s of 3 rails", "write rate, 3,000 of one rail"}
    assert set(figures) >= {"period, idle (p50)", "period, idle (p99)", "1 % of 3,000 readings", *stored, *beside}
    assert {what for what, row in figures.items() if row["low"] is not None} == ESTIMATED & beside
    for row in figures.values():
        assert row["unit"] in {"ms", "%", "B", "Mrow/s"}
        assert row["what"] in ESTIMATED or row["value"] > 0
        if row["low"] is not None:
            assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.slow
def test_a_reading_stands_beside_what_others_need_for_it(result: dict[str, Any]) -> None:
    notes = {row["what"]: row["note"] for row in result["power"]}
    for what in ("a reading, 3,000 of one rail", "a reading, 60 s of 3 rails"):
        assert re.fullmatch(r"pyarrow with zstd \d+\.\d+; integers of ns and mW \d+\.\d+", notes[what])


@pytest.mark.slow
def test_every_operation_of_a_model_stands_beside_the_profiler() -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")
    done = subprocess.run(
        [sys.executable, RUN.with_name("profiler.py"), "--rounds", "1", "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    found = json.loads(done.stdout)
    rows = {row.pop("operation"): row for row in found["rows"]}
    counts = {kind: row["count"] for kind, row in rows.items()}
    assert counts == {
        "Conv2d": 20,
        "BatchNorm2d": 20,
        "ReLU": 17,
        "MaxPool2d": 1,
        "add": 8,
        "AdaptiveAvgPool2d": 1,
        "flatten": 1,
        "Linear": 1,
        "all": 69,
    }
    for row in rows.values():
        assert row["ratio"] == row["low"] == row["high"] == pytest.approx(row["ours_ms"] / row["profiler_ms"])
    every = rows.pop("all")
    for column in ("ours_ms", "profiler_ms"):
        assert every[column] == pytest.approx(sum(row[column] for row in rows.values()))
    assert found["whole_model_ms"] > 0


def said(script: str, *options: str) -> str:
    """What a benchmark prints."""
    command = [sys.executable, RUN.with_name(script), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_scoring_and_analysing_an_evaluation_are_timed() -> None:
    told = said("transition.py", "--answers", "500")
    seconds = re.findall(r"(?m)^(\w+): (\d+\.\d\d) s", told)
    assert [what for what, _ in seconds] == ["scoring", "analysing", "together"]
    answers, verdicts = re.findall(r"(\d+) answers, (\d+) verdicts", told)[0]
    assert 450 < int(answers) <= 500
    assert verdicts == "2"


def test_how_busy_asking_keeps_a_server_is_measured() -> None:
    pytest.importorskip("httpx2", reason="httpx2 is not installed: pip install 'groundlake[transition]'")
    told = said("transition_run.py", "--requests", "40", "--answer-s", "0.02")
    assert "40 requests, 16 at a time, 0.02 s each: " in told
    mean, every = re.findall(r"mean (\d\.\d+) \(aim 0\.9\); all of them (\d\.\d+)", told)[0]
    assert 0 < float(mean) <= 1
    assert 0 <= float(every) <= 1


def test_make_bench_runs_what_measures_evaluations() -> None:
    recipe = (RUN.parents[1] / "Makefile").read_text().split("\nbench:")[1].split("\n\n")[0]
    for script in ("run.py", "transition.py", "transition_run.py"):
        assert f"benchmarks/{script}" in recipe
