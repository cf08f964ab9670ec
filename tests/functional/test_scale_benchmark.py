"""Lakes of several sizes beside other stores: the benchmark runs, compares equal answers only, and its page is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import results
import scale
import scale_lake
import scale_page
from peers.measuring import measure
from peers.questions import QUESTIONS, differences

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARKS = REPOSITORY / "benchmarks"
PAGE = REPOSITORY / "docs" / "scale.md"
RUNS = 30
PLAIN = ("parquet", "parquet_leaves")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of 30 runs that was compacted, its state before and after, and its rows for other stores."""
    folder = tmp_path_factory.mktemp("scale")
    root = folder / "lake"
    scale_lake.fill(root, RUNS)
    before = scale_lake.state(root, 1)
    seconds = scale_lake.compact(root)
    counts = scale_lake.export(root, folder / "data")
    found = {"before": before, "after": scale_lake.state(root, 1), **seconds, **counts}
    (folder / "found.json").write_text(json.dumps(found))
    return folder


@pytest.fixture(scope="module")
def lake_found(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def test_a_lake_is_measured_before_and_after_compaction(lake_found: dict[str, Any]) -> None:
    assert (lake_found["runs"], lake_found["rows"], lake_found["configurations"]) == (30, 600, 30)
    for when in ("before", "after"):
        state = lake_found[when]
        assert set(state["ms"]) == {*QUESTIONS, "first_look_up", "one_configuration_by_view", "listing"}
        assert min(state["ms"].values()) > 0
        assert state["files"] > state["ledger_files"] > 0
        assert state["bytes"] > state["ledger_bytes"] > 0
        counts = {question: rows for question, (rows, _) in state["answers"].items()}
        assert counts == {
            "all_summaries": 30,
            "one_configuration": 20,
            "by_operation": 2,
            "one_column": 600,
            "full_scan": 600,
        }
    assert not differences(lake_found["before"]["answers"], lake_found["after"]["answers"])


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files_give_the_answers_of_the_lake(
    name: str, folder: Path, lake_found: dict[str, Any], tmp_path: Path
) -> None:
    found = measure(name, folder / "data", tmp_path, 1)
    assert not differences(lake_found["after"]["answers"], found["answers"])
    assert found["files"] == (2 if name == "parquet" else 31), "one file for each leaf folder"
    assert set(found["ms"]) == set(QUESTIONS)


def test_scans_are_held_to_the_plain_files_of_the_leaves(folder: Path, tmp_path: Path) -> None:
    measure("parquet_leaves", folder / "data", tmp_path, 1)
    found = scale_lake.beside_leaves(folder / "lake", tmp_path / "timings", 1)
    for times in (found["one_column"], found["full_scan"]):
        assert times["ratio"] == times["lake"] / times["leaves"] > 0


@pytest.mark.slow
@pytest.mark.skipif(not scale.PEER_PYTHON.exists(), reason="no .venv-peers: make bench-scale makes it")
@pytest.mark.parametrize("name", scale.PEERS)
def test_other_stores_give_the_answers_of_the_lake(
    name: str, folder: Path, lake_found: dict[str, Any], tmp_path: Path
) -> None:
    arguments = ("--data", str(folder / "data"), "--work", str(tmp_path / name), "--repeats", "1")
    found = scale.peer(name, scale.PEER_PYTHON, *arguments)
    if "ModuleNotFoundError" in found.get("missing", ""):
        pytest.skip(f"{name} is not installed: {found['missing']}")
    assert not differences(lake_found["after"]["answers"], found["answers"])
    assert found["files"] > 0
    assert found["software"]


def test_another_answer_ends_the_run(lake_found: dict[str, Any]) -> None:
    ours = lake_found["after"]
    rows, total = ours["answers"]["by_operation"]
    for wrong in ((rows + 1, total), (rows, total * 1.001)):
        theirs = {"answers": {**ours["answers"], "by_operation": wrong}}
        with pytest.raises(SystemExit, match="a store answers otherwise than the lake: by_operation"):
            scale.refuse_differences("a store", ours, theirs)


def test_a_store_that_is_not_installed_is_left_out_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ".venv-peers" in scale.peer("delta", tmp_path / "python")["missing"]
    arguments = ("--data", str(tmp_path), "--work", str(tmp_path / "work"))
    found = scale.peer("lance", Path(sys.executable), *arguments)
    assert found["missing"] == "ModuleNotFoundError: No module named 'lance'"
    scale.refuse_differences("lance", {}, found)
    assert "lance: left out: ModuleNotFoundError" in capsys.readouterr().err


def test_results_of_other_benchmarks_of_the_machine_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "results" / "machine.json"
    results.keep(path, {"rows": [1], "scale": "old"})
    results.keep(path, {"scale": "new"})
    assert json.loads(path.read_text()) == {"rows": [1], "scale": "new"}


@pytest.mark.slow
def test_the_whole_benchmark_runs_and_its_page_can_be_made(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "scale.py", "--sizes", "20", "30", "--repeats", "1", "--peers"]
    said = subprocess.run([*command, "--output", tmp_path], capture_output=True, text=True, check=False, timeout=600)
    assert said.returncode == 0, said.stderr
    (written,) = tmp_path.iterdir()
    result = json.loads(written.read_text())
    found = result["scale"]
    assert [size["runs"] for size in found["sizes"]] == [20, 30]
    assert all(set(size["peers"]) == set(PLAIN) for size in found["sizes"])
    for store in ("lake", "parquet_leaves"):
        appended = found["appends"][store]
        assert (appended["acknowledged"], appended["errors"]) == (160, {})
        assert appended["rows_read"] == appended["rows_acknowledged"] == 168 * 71
        assert 0 < appended["p50_ms"] <= appended["p95_ms"]
    whats = [target["what"] for target in found["targets"]]
    assert whats == ["full_scan, 20 runs", "full_scan, 30 runs", "appends refused, of 160"]
    assert all(target["met"] == (target["value"] <= target["limit"]) for target in found["targets"])
    assert all(what in said.stdout for what in whats)
    text = scale_page.page(result, written.name)
    assert "| rows of timings | 400 | 600 |" in text
    assert "{" not in text


def test_the_page_is_made_of_the_results_it_names() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (name,) = re.findall(r"scale_page\.py benchmarks/results/(\w+\.json)", text)
    result = json.loads((BENCHMARKS / "results" / name).read_text(encoding="utf-8"))
    assert text == scale_page.page(result, name), "run benchmarks/scale_page.py"
    assert [size["asked_runs"] for size in result["scale"]["sizes"]] == list(scale.SIZES)
    assert all("missing" not in found for size in result["scale"]["sizes"] for found in size["peers"].values())


def test_every_other_store_is_pinned_and_made_by_make() -> None:
    lines = (BENCHMARKS / "peers" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w\[\]-]+==[\d.]+", pin) for pin in pins), pins
    assert {"deltalake", "pylance", "duckdb-extension-ducklake"} <= {pin.partition("==")[0] for pin in pins}
    recipe = (REPOSITORY / "Makefile").read_text(encoding="utf-8").split("\nbench-scale:")[1].split("\nwheel:")[0]
    assert "benchmarks/scale.py $(ARGS)" in recipe
    assert "benchmarks/peers/requirements.txt" in recipe
