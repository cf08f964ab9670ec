"""The benchmarks run and say what they measured; how long anything took is no test."""

from __future__ import annotations

import json
import subprocess
import sys
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


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run over three configurations wrote."""
    output = tmp_path_factory.mktemp("results")
    done = subprocess.run(
        [sys.executable, RUN, "--limit", "3", "--output", output],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    (written,) = output.iterdir()
    found: dict[str, Any] = json.loads(written.read_bytes())
    shown = [line for line in done.stdout.splitlines() if line]
    assert len(shown) == 1 + len(found["rows"]) + 1, "a heading, the rows and the sizes"
    return found


@pytest.mark.slow
def test_a_result_names_the_machine_the_software_and_the_corpus(result: dict[str, Any]) -> None:
    assert {"cpu", "cores", "duckdb", "software", "configurations", "bytes", "rows"} == set(result)
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
