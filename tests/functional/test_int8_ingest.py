"""int8 through the real command line: refused without a set, measured with one, and told what it was made with."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest
from calibration_lake import built, quantized, registered
from cifar import write_cifar10

pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")
pytest.importorskip("torch.ao.quantization.quantize_fx", reason="this torch quantizes no more")

from groundlake.calibration.building import build
from groundlake.calibration.registering import register_evaluation
from groundlake.errors import MissingDependencyError
from groundlake.measure.int8.settings import choose_int8
from groundlake.measure.plan import Configuration, SweepSettings, plan
from groundlake.measure.sweep import sweep
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow  # together they take minutes

SMALL = "groundlake.calibration.small_net:small_net"
MERGING = """
import torch

class Net(torch.nn.Module):
    input_shape = (3, 32, 32)

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        print("what a model says is not shown")

    def forward(self, x):
        return torch.nn.functional.relu(self.conv(x)).flatten(1)

class FloatOnly(torch.nn.SiLU):
    input_shape = (3, 32, 32)
"""
OPTIONS = ("ingest", "--hw", "bench", "--device", "cpu", "--power", "none", "--warmup", "1", "--runs", "3")
UNKNOWN = ["total_latency_ms", "total_latency_std_ms", "total_bytes", "throughput_fps"]


def test_int8_without_a_set_is_refused_with_the_reason_and_what_to_do(cli: Callable, lake_root: Path) -> None:
    refused = cli(*OPTIONS, "--models", "vgg11", "--precisions", "fp32,int8", "--batches", "1", code=2)
    assert refused.stderr.startswith("error: int8 needs a calibration set: activations are scaled by")
    assert "lake calibration build" in refused.stderr
    other = cli(*OPTIONS, "--models", "vgg11", "--calibration-set", "stripes", "--dry-run", code=2)
    assert "--calibration-set is for int8, which is not measured here; add --precisions int8" in other.stderr
    assert not lake_root.exists()


def test_int8_is_quantized_with_the_set_measured_proven_and_evaluated(
    cli: Callable, lake_root: Path, tmp_path: Path
) -> None:
    lake, data = Lake(lake_root), write_cifar10(tmp_path / "cifar", per_class=5, test_per_class=2)
    made = build(lake, source="cifar10", data_dir=data, samples_per_class=2, name="stripes")
    register_evaluation(lake, "test", data, "groundlake.calibration.small_net:prepare")
    (tmp_path / "own_net.py").write_text(MERGING)
    options = ("--models", f"{SMALL},own_net:Net,own_net:FloatOnly", "--precisions", "int8", "--batches", "2")
    options += ("--calibration-set", "stripes", "--evaluation-set", "test", "--evaluation-data", str(data))
    done = cli(*OPTIONS, *options, "--session", "night", code=1)
    assert "bench: 2 measured, 1 failed" in done.stdout
    assert "deprecated" not in done.stdout + done.stderr
    prepared = "20 images prepared by groundlake.calibration.small_net:prepare"
    words = rf"{re.escape(SMALL)} int8 batch 2: int8 with set stripes \({re.escape(prepared)}\), onednn; "
    assert re.search(words + r"\d+ % of the time in int8 kernels; accuracy [01]\.\d{3} -> [01]\.\d{3}\n", done.stdout)
    runs = {row["model"]: row for row in lake.runs("bench").filter(kind="efficiency").to_dicts()}
    error = runs["own_net:FloatOnly"]["error"]
    assert error.startswith("no kernel of the model ran as int8: it would be fp32 under")
    assert f"int8 with set stripes ({made.set_fingerprint[:12]}), images prepared by" in error
    small, merged = runs[SMALL], runs["own_net:Net"]
    assert small["num_subgraphs"] == 16
    assert small["flops_method"].startswith(f"fx_chain_v1+int8_bytes.onednn.{made.set_fingerprint[:12]}.")
    assert lake.frame("subgraph_timings", hardware_id="bench", run_id=small["run_id"]).height == 16
    assert (merged["num_subgraphs"], merged["timing_method"]) == (None, "end_to_end")
    assert [merged[name] for name in UNKNOWN] == [None] * 4
    assert merged["end_to_end_latency_ms"] > 0
    assert any(text.startswith("parts_not_timed: ") for text in merged["warnings"])

    rows = {row["model"]: row for row in lake.frame("quantizations", hardware_id="bench").to_dicts()}
    assert set(rows) == {SMALL, "own_net:Net"}, "what failed is no quantization"
    row = rows[SMALL]
    assert (row["calibration_set"], row["set_fingerprint"]) == ("stripes", made.set_fingerprint)
    assert (row["measured_run_id"], row["engine"], row["batch"]) == (small["run_id"], "onednn", 2)
    assert re.fullmatch(r"torch \S+, FX graph mode, onednn", row["backend"])
    assert "quantized::conv2d" in row["int8_kernels"]
    assert (row["evaluation_set"], row["num_evaluated"], row["num_calibration_samples"]) == ("test", 20, 20)
    assert row["accuracy_before"] > 0.5
    beside = lake.runs("bench").filter(kind="quantization", parent_run_id=small["run_id"])
    assert beside.select("precision", "session_id", "timing_method").rows() == [("int8", "night", "none")]

    shown = lake.sql("select * from quantization_results where num_overlapping = 0").pl()
    assert set(shown["model"]) == set(rows)
    assert shown["set_is_here"].all()
    assert shown["preprocessing_matches"].all(), "the images were prepared as the evaluation prepares them"
    assert shown["end_to_end_latency_ms"].null_count() == 0
    chosen = choose_int8(lake, calibration_set="stripes", evaluation_set="test", evaluation_data=data)
    todo = plan(lake, SweepSettings(hardware_id="bench", int8=chosen), [Configuration(SMALL, "int8", 2)])
    assert todo.todo == ()
    settings = SweepSettings(hardware_id="bench", int8=replace(chosen, engine="x86"))
    assert len(plan(lake, settings, [Configuration(SMALL, "int8", 2)]).todo) == 1


LAZY = """
def prepare(images):
    from neighbour_of_cli import halved
    return halved(images)
"""
NEIGHBOUR = "import numpy as np\n\ndef halved(images):\n    return images.astype(np.float32) / 2\n"


def test_a_function_that_imports_its_neighbours_late_is_registered_and_ingested(cli: Callable, tmp_path: Path) -> None:
    """Also in the measuring process. Without the evaluation the sweep says before its first run what is doubtful."""
    data = write_cifar10(tmp_path / "cifar", per_class=5, test_per_class=1)
    (tmp_path / "lazy_of_cli.py").write_text(LAZY)
    (tmp_path / "neighbour_of_cli.py").write_text(NEIGHBOUR)
    build(Lake(tmp_path / "lake"), source="cifar10", data_dir=data, samples_per_class=1, name="stripes")
    cli("calibration", "register-eval", "late", "--data-dir", str(data), "--preprocess", "lazy_of_cli:prepare")
    options = ("--models", SMALL, "--precisions", "int8", "--batches", "1", "--calibration-set", "stripes")
    told = cli(*OPTIONS, *options, "--dry-run").stdout
    assert "warning: preparation_not_checked: calibrated with raw images (0 to 255), and no evaluation" in told
    done = cli(*OPTIONS, *options, "--evaluation-set", "late", "--evaluation-data", str(data))
    assert "int8 with set stripes (10 images prepared by lazy_of_cli:prepare)" in done.stdout
    assert "preparation_not_checked" not in done.stdout


def test_where_nobody_named_an_engine_the_sweep_takes_one_that_is_there(lake_root: Path, tmp_path: Path) -> None:
    lake, data = Lake(lake_root), write_cifar10(tmp_path / "cifar", per_class=5, test_per_class=1)
    build(lake, source="cifar10", data_dir=data, samples_per_class=1, name="stripes")
    elsewhere = replace(choose_int8(lake, calibration_set="stripes"), engine="tensorrt")
    assert elsewhere.is_default_engine
    settings = SweepSettings(hardware_id="bench", int8=elsewhere, warmup=0, runs=2, power="none", baseline_s=0)
    wanted = [Configuration(SMALL, "int8", 1)]
    assert [done.reason for done in sweep(lake, settings, wanted).done] == [None]
    (row,) = lake.frame("quantizations", hardware_id="bench").to_dicts()
    assert row["engine"] in ("onednn", "qnnpack")
    assert sweep(lake, settings, wanted).done == [], "it is in the lake for the engine that is there"
    named = replace(settings, int8=replace(elsewhere, is_default_engine=False))
    with pytest.raises(MissingDependencyError, match="--int8-engine tensorrt: torch"):
        sweep(lake, named, wanted)


@pytest.mark.parametrize(("fingerprint", "matches"), [("scaled", True), ("raw", False), (None, False)])
def test_what_counts_is_how_the_images_that_calibrated_were_prepared(
    lake_root: Path, fingerprint: str | None, matches: bool
) -> None:
    lake = Lake(lake_root)
    built(lake)
    registered(lake, preprocessing_fingerprint="scaled")
    quantized(lake, preprocess="evaluation:prepare", preprocessing_fingerprint=fingerprint, engine="onednn")
    found = lake.sql("select preprocessing_matches, engine, preprocess from quantization_results").rows()
    assert found == [(matches, "onednn", "evaluation:prepare")]


def test_int8_and_fp32_are_compared_part_by_part_in_sql(lake_root: Path) -> None:
    lake = Lake(lake_root)
    for precision, counted, total_ms in (
        ("fp32", "fx_chain_v1", 6.0),
        ("int8", "fx_chain_v1+int8_bytes.onednn.00.11", 2.0),
    ):
        run = {"hardware_id": "dev", "model": "small", "batch": 1, "precision": precision, "device": "cpu"}
        lake.write(run | {"timing_method": "perf_counter", "flops_method": counted, "total_latency_ms": total_ms})
    frame = lake.sql("select precision, speedup, verdict from precision_speedup").pl()
    assert frame.equals(pl.DataFrame({"precision": ["int8"], "speedup": [3.0], "verdict": ["comparable"]}))
