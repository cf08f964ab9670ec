"""The examples run as they stand, and their numbers are right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cifar
import polars as pl
import pytest
import transition_lake

from groundlake import Lake, MeasurementRecord
from groundlake.hardware import find
from groundlake.stats.timed import timed_subgraph
from groundlake.transition.configuration.settings import AnalysisSettings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BOARD = "jetson_orin_agx_maxn"


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    """Two subgraphs per run: one limited by its FLOPs, one by its bytes; the estimate is off by known shares."""
    spec = find(BOARD)
    assert spec is not None
    assert spec.memory_bandwidth_bytes_per_s is not None
    lake = Lake(lake_root)
    for precision, batch, share in (("fp32", 1, 0.9), ("fp32", 2, 0.5), ("fp32", 4, 0.6), ("fp16", 1, 1.25)):
        work = {"flops": 10**12, "total_bytes": 1}, {"flops": 0, "total_bytes": 10**11}
        estimates_ms = 1e15 / spec.peaks[precision], 1e14 / spec.memory_bandwidth_bytes_per_s
        subgraphs = [
            timed_subgraph([estimate / share], model="net", subgraph_id=number, **amounts)
            for number, (estimate, amounts) in enumerate(zip(estimates_ms, work, strict=True))
        ]
        lake.write_record(
            MeasurementRecord(
                model="net",
                hardware_id=BOARD,
                device="cuda",
                precision=precision,
                batch_size=batch,
                subgraphs=subgraphs,
            )
        )
    return lake


def run(
    *arguments: str | Path, example: str = "validate_one.py", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / example, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
    )


def test_the_validation_prints_the_error_of_each_precision(lake: Lake) -> None:
    done = run(lake.root, BOARD)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"│ (\w+) +┆ (\d+) +┆ ([\d.]+) ", done.stdout)
    assert [(precision, int(count), float(error)) for precision, count, error in rows] == [
        ("fp16", 1, pytest.approx(25)),
        ("fp32", 3, pytest.approx(40)),
    ]


def test_the_validation_names_a_device_that_nobody_knows(lake: Lake) -> None:
    done = run(lake.root, "abacus")
    assert done.returncode == 1
    assert "abacus has no specification" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_estimator_is_brought_in_and_judged(lake: Lake) -> None:
    """Each run has 1e12 FLOPs and 1e11 bytes: 1 s and 2 s by the example's figures, and 20 us for each operation."""
    done = run(lake.root, example="validate_estimator.py")
    assert done.returncode == 0, done.stderr
    first, judged = done.stdout.splitlines()
    assert first == "8 predictions written, 0 were there"
    measured = lake.sql("select total_latency_ms from latest_runs").pl()["total_latency_ms"]
    expected = ((1000 + 2000 + 0.04) / measured - 1).abs().median()
    found = re.fullmatch(rf"{BOARD}: 4 configurations, median error ([\d.]+) % \(\d+ to \d+\), POOR", judged)
    assert found is not None, judged
    assert float(found[1]) == pytest.approx(100 * expected, abs=0.06)
    again = run(lake.root, example="validate_estimator.py")
    assert again.stdout.startswith("0 predictions written, 8 were there")


def test_the_notebook_runs_from_top_to_bottom(lake: Lake, lake_root: Path) -> None:
    for model in ("other", "third"):
        parts = [
            timed_subgraph(
                [1.0, 1.02], model=model, subgraph_id=number, flops=10**6, total_bytes=10, theoretical_peak_flops=1e12
            )
            for number in (0, 1)
        ]
        lake.write_record(
            MeasurementRecord(
                model=model, hardware_id=BOARD, device="cuda", precision="fp32", batch_size=1, subgraphs=parts
            )
        )
    others = [
        {"hardware_id": BOARD, "precision": "fp32", "model": model, "batch": 1, "subgraph_id": number}
        for model in ("other", "third")
        for number in (0, 1)
    ]
    wrong = pl.DataFrame(others).with_columns(predicted_latency_ms=1e6)
    lake.write_estimates(wrong, estimator="zz_another", version="9")
    notebook = json.loads((EXAMPLES / "explore.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "outputs are not committed"
    shown = "\n".join(re.sub(r"(?m)\A((?:.*\n)*)(?![ #)\]])(.+)\Z", r"\1print(\2)", cell) for cell in cells)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", shown],
        capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"LAKE_ROOT": str(lake_root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("shape: ") == len(cells)
    assert "rating" in done.stdout
    assert "zz_another" not in done.stdout
    gaps = lake.sql("select sum(absolute_gap_ms) from estimator_gap_share where estimator = 'efficiency-curve'").rows()
    shown_gaps = re.findall(r"│ [\w ]+ +┆ ([\d.e+]+) ", done.stdout.rpartition("shape: ")[2])
    assert sum(map(float, shown_gaps)) == pytest.approx(gaps[0][0], rel=1e-3), "estimates of others are not in the sum"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "no lake at"), (("nowhere",), "no lake at"), (("empty",), "no subgraph was timed in")],
)
def test_without_measurements_the_estimator_is_told_so(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    Lake(tmp_path / "empty").create()
    done = run(*arguments, example="validate_estimator.py", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_validation_says_which_arguments_it_takes() -> None:
    done = run("lake")
    assert done.returncode == 1
    assert "python examples/validate_one.py lake jetson_orin_maxn" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_quality_collapses_is_asked_of_a_lake(lake_root: Path) -> None:
    """Of four short examples all stay right at half of the cache; two of four long ones are lost, one by a failure."""
    lake = Lake(lake_root)
    right, wrong, lost = transition_lake.right(), transition_lake.right(0.0), transition_lake.lost()
    names = [f"e{number}" for number in range(8)]
    transition_lake.prepared(lake, {name: int(number > 3) for number, name in enumerate(names)})
    for hour, (budget, last) in enumerate(((1.0, (right, right)), (0.5, (wrong, lost)), (0.2, (wrong, lost))), start=1):
        ended = dict.fromkeys(names, right) | dict(zip(names[-2:], last, strict=True))
        bins = {name: int(number > 3) for number, name in enumerate(names)}
        transition_lake.asked(lake, budget, ended, bins=bins, hour=hour)
    transition_lake.analyzed(lake, AnalysisSettings(n_bootstrap=100, significance="none"))
    done = run(lake.root, "g", example="kv_budgets.py")
    assert done.returncode == 0, done.stderr
    share = (2 / 8 - 1 / 7) / (2 / 8)
    first, second = done.stdout.splitlines()[:2]
    assert first == f"g, adjacent: 1.0 to 0.5; accuracy loses 0.250, {share:.0%} of that by failures"
    assert second == first.replace("adjacent", "baseline")
    rows = re.findall(r"│ (\d+) +┆ \d+ +┆ ([\d.]+) +┆", done.stdout)
    assert rows == [("100", "0.2"), ("200", "1.0")]
    other = run(lake.root, "nobody", example="kv_budgets.py")
    assert (other.returncode, other.stdout) == (1, "")
    assert "nobody was analysed in" in other.stderr
    assert "Traceback" not in run("nowhere", example="kv_budgets.py", folder=lake_root).stderr


def test_a_calibration_set_is_built_and_held_to_an_evaluation(tmp_path: Path) -> None:
    cifar.write_cifar10(tmp_path / "data", per_class=20, test_per_class=2)
    (tmp_path / "evaluation.py").write_text(
        "def divided(images):\n    return images.astype('f4') / 255\n", encoding="utf-8"
    )
    fitting = run("lake", "data", example="calibration.py", folder=tmp_path)
    assert fitting.returncode == 0, fitting.stderr
    images = Lake(tmp_path / "lake").sql("select pixels from calibration_samples").pl()["pixels"]
    red = [each[0::3] for each in images]
    assert fitting.stdout.startswith(f"red   {min(map(min, red))} to {max(map(max, red))}\ngreen ")
    assert fitting.stdout.endswith(", usable\n")
    divided = run("lake", "data", "evaluation:divided", example="calibration.py", folder=tmp_path)
    assert divided.returncode == 0, divided.stdout
    assert re.match(r"red   0(\.\d+)? to (1|0\.\d+)\n", divided.stdout)
    assert re.search(r"\ncifar10-20-per-class-divided: 200 images, [0-9a-f]{12}, usable\n$", divided.stdout)
    cifar.write_cifar10(tmp_path / "leaky", per_class=20, test_per_class=2)
    (tmp_path / "leaky" / "test_batch").write_bytes((tmp_path / "leaky" / "data_batch_1").read_bytes())
    unfit = run("lake", "leaky", example="calibration.py", folder=tmp_path)
    assert unfit.returncode == 1, unfit.stdout
    missing = run("lake", "nowhere", example="calibration.py", folder=tmp_path)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("error: CIFAR-10: nowhere is not there")


def test_every_example_is_named_where_a_reader_looks() -> None:
    pages = [(EXAMPLES.parent / page).read_text(encoding="utf-8") for page in ("README.md", "docs/queries.md")]
    names = [path.name for path in EXAMPLES.iterdir() if path.is_file()]
    assert len(names) >= 3
    assert [name for name in names for page in pages if name not in page] == []


def test_an_example_fits_on_a_page() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 50, path.name


@pytest.mark.slow
def test_a_small_language_model_is_measured_at_two_batch_sizes(tmp_path: Path) -> None:
    done = run(tmp_path, "8", example="experiment.py")
    assert done.returncode == 0, done.stderr
    rows = Lake(tmp_path / "lake").sql("select batch, output_tokens, num_ttft from experiment_summary order by batch")
    assert rows.rows() == [(1, 128, 8), (4, 128, 8)]
    assert len(re.findall(r"result.json first token p95 [\d.]+ ms", done.stdout)) == 2
