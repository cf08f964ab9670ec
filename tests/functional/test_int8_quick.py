"""int8 from the calibration set to the rows of the lake, in one process: small enough to be run with every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cifar import write_cifar10

pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")
pytest.importorskip("torch.ao.quantization.quantize_fx", reason="this torch quantizes no more")

import torch

from groundlake.calibration.building import build
from groundlake.calibration.registering import register_evaluation
from groundlake.errors import UsageError
from groundlake.measure.engine import measure
from groundlake.measure.int8.kernels import time_share
from groundlake.measure.int8.quantize import count_right
from groundlake.measure.int8.settings import choose_int8
from groundlake.measure.messages import Job
from groundlake.measure.plan import Configuration, PlannedRun, SweepSettings, plan
from groundlake.measure.record import Measurement
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from groundlake.measure.int8.settings import Int8Settings

ENGINE = next((each for each in ("onednn", "qnnpack") if each in torch.backends.quantized.supported_engines), None)
pytestmark = pytest.mark.skipif(ENGINE is None, reason="this torch has no engine for int8")

CODE = """
import numpy as np
import torch

def prepare(images):
    images //= 2  # a function may use its input as it likes
    return images.astype(np.float32)

class Net(torch.nn.Sequential):
    input_shape = (3, 32, 32)

    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 4, 3, stride=4), torch.nn.ReLU(), torch.nn.Flatten())
        self.append(torch.nn.LazyLinear(10))
        self(torch.zeros(1, 3, 32, 32))

class Fading(Net):
    def __init__(self):
        super().__init__()
        for each in self.parameters():
            each.data *= 1e-9
"""
NET = Configuration("quick_evaluation:Net", "int8", 2)


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with the module of an evaluation and pictures of ten classes."""
    (tmp_path / "quick_evaluation.py").write_text(CODE, encoding="utf-8")
    write_cifar10(tmp_path / "cifar", per_class=5, test_per_class=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def chosen(code: Path) -> Int8Settings:
    lake = Lake(code / "lake")
    build(lake, source="cifar10", data_dir=code / "cifar", samples_per_class=1, name="ten")
    register_evaluation(lake, "quick", code / "cifar", "quick_evaluation:prepare")
    return choose(lake, code / "cifar")


def choose(lake: Lake, data: Path) -> Int8Settings:
    return choose_int8(lake, calibration_set="ten", engine=str(ENGINE), evaluation_set="quick", evaluation_data=data)


def run(chosen: Int8Settings, hardware_id: str = "dev", net: Configuration = NET) -> Measurement:
    """Measure a network in two passes, and write what came of it."""
    settings = SweepSettings(hardware_id=hardware_id, int8=chosen)
    job = Job(model=net.model, precision="int8", batch=net.batch, device="cpu", warmup=0, runs=2, int8=chosen)
    done = Measurement.of(PlannedRun(net), settings, measure(job, lambda *_: None))
    Lake(chosen.lake_root).write_many(done.to_runs())
    return done


def test_int8_is_quantized_proven_evaluated_and_written(chosen: Int8Settings) -> None:
    done = run(chosen)
    lake = Lake(chosen.lake_root)
    (row,) = lake.frame("quantizations", hardware_id="dev").to_dicts()
    assert row["calibration_batch_size"] == chosen.batch_size == 50
    (timed,) = lake.runs("dev").filter(kind="efficiency").to_dicts()
    assert timed["flops_method"] == f"fx_chain_v1+int8_bytes.{chosen.network}"
    assert "preparation_not_checked" not in str(timed["warnings"])
    assert (row["calibration_set"], row["set_fingerprint"]) == ("ten", chosen.set_fingerprint)
    assert (row["measured_run_id"], row["num_calibration_samples"], row["engine"]) == (timed["run_id"], 10, ENGINE)
    assert any(name.startswith("quantized::conv2d") for name in row["int8_kernels"])
    assert 0 < row["int8_time_share"] < 1
    assert (row["evaluation_set"], row["num_evaluated"]) == ("quick", 10)
    assert 0 <= row["accuracy_after"] <= 1
    by_chance = [text for text in done.warnings if text.startswith("accuracy_by_chance: ")]
    assert row["chance_accuracy"] == pytest.approx(0.1 + 2 * (0.1 * 0.9 / 10) ** 0.5)
    assert len(by_chance) == (row["accuracy_before"] <= row["chance_accuracy"]), "its weights are random"
    assert f"10 images prepared by quick_evaluation:prepare), {ENGINE}; " in str(done.int8_in_words())
    assert timed["end_to_end_latency_ms"] > 0
    assert row["evaluation_run_id"] == chosen.evaluation_run_id
    assert plan(lake, SweepSettings(hardware_id="dev", int8=chosen), [NET]).todo == ()


def test_a_network_whose_outputs_int8_destroys_says_so_wherever_it_is_shown(chosen: Int8Settings) -> None:
    done = run(chosen, net=Configuration("quick_evaluation:Fading", "int8", 2))
    (doubt,) = (text for text in done.warnings if text.startswith("outputs_destroyed: "))
    assert "(observed off by 1 (relative norm), threshold 0.5)" in doubt
    assert "; outputs off by 1 (relative norm); accuracy " in str(done.int8_in_words())
    lake = Lake(chosen.lake_root)
    ((error, warnings),) = lake.sql("select relative_output_error, warnings from quantization_results").rows()
    assert error == pytest.approx(1, abs=1e-3)
    assert doubt in warnings
    assert (doubt,) in lake.sql("select explanation from data_quality where finding = 'warning'").rows()
    sound = run(chosen)
    assert not [text for text in sound.warnings if text.startswith("outputs_destroyed: ")]


def test_an_operator_that_the_machine_interrupts_leaves_the_share_of_int8_as_it_is() -> None:
    usual = {"quantized::conv2d": 8.0, "aten::quantize_per_tensor": 1.0, "aten::empty": 1.0}
    held_up = usual | {"aten::quantize_per_tensor": 400.0}
    assert time_share([usual] * 5 + [held_up] * 4) == pytest.approx(0.8)
    assert time_share([{}, usual]) == pytest.approx(0.8), "a pass whose operators took no time tells nothing"


def test_an_evaluation_that_is_registered_again_is_evaluated_again(chosen: Int8Settings, code: Path) -> None:
    run(chosen)
    lake = Lake(chosen.lake_root)
    write_cifar10(code / "other", per_class=5, test_per_class=2, seed=1)
    register_evaluation(lake, "quick", code / "other", "quick_evaluation:prepare")
    with pytest.raises(UsageError, match="evaluation set quick was registered again since the sweep began"):
        chosen.evaluation_images()
    again = choose(lake, code / "other")
    assert len(plan(lake, SweepSettings(hardware_id="dev", int8=again), [NET]).todo) == 1
    (row,) = lake.sql("select evaluation_is_here, num_overlapping from quantization_results").rows()
    assert row == (False, 0)


def test_both_networks_are_evaluated_on_the_same_images_whatever_the_function_does_to_its_input(
    chosen: Int8Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def kept(network: Callable, batches: Iterator) -> int:
        got = list(batches)
        seen.append(torch.cat([images for images, _ in got]))
        return count_right(network, got)

    monkeypatch.setattr("groundlake.measure.int8.prepare.count_right", kept)
    run(chosen)
    before, after = seen
    assert before.equal(after)


def test_a_network_whose_preparation_nobody_checked_says_so(chosen: Int8Settings) -> None:
    unchecked = choose_int8(Lake(chosen.lake_root), calibration_set="ten", engine=str(ENGINE))
    done = run(unchecked)
    (warning,) = (text for text in done.warnings if text.startswith("preparation_not_checked: "))
    assert "no evaluation that is registered prepares images so: quick (quick_evaluation:prepare);" in warning
    assert "measure it again with --evaluation-set quick" in warning
    kept = Lake(chosen.lake_root).sql("select warnings from runs where kind = 'efficiency'").rows()
    assert warning in kept[0][0]
