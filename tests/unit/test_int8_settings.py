"""What int8 is made with, and what is refused before the first run. Nothing of it needs torch."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from calibration_lake import quantized, registered
from cifar import batch, dump, write_cifar10

from groundlake.calibration.building import build
from groundlake.calibration.registering import register_evaluation
from groundlake.calibration.sources import read
from groundlake.errors import UsageError
from groundlake.measure.int8.settings import Int8Settings, check_wanted, choose_int8
from groundlake.measure.plan import Configuration, SweepSettings, config_hash, configurations, measured_already, plan
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVALUATING = """
import numpy as np

FACTOR = 1

def right(pixels):
    return pixels.astype(np.float32) * np.float32(FACTOR)

def tall(pixels):
    return np.repeat(right(pixels), 2, axis=1).transpose(0, 3, 1, 2)

def grey(pixels):
    return right(pixels)[..., :1]
"""
NET = Configuration("own:small", "int8", 1)
INT8 = Int8Settings(
    lake_root="lake",
    calibration_set="set",
    set_fingerprint="fingerprint of set",
    num_images=4,
    image_shape=(3, 32, 32),
    preprocessing_fingerprint="raw",
)
SWEEP = SweepSettings(hardware_id="dev", int8=INT8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cifar10(tmp_path_factory.mktemp("data") / "cifar", per_class=5, test_per_class=2)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Lake]:
    """A set, and evaluations: one that fits, one that shares its images, one of another size, one of one channel."""
    lake = Lake(tmp_path_factory.mktemp("kept") / "lake")
    leaky = data.parent / "leaky"
    leaky.mkdir()
    (leaky / "batches.meta").write_bytes((data / "batches.meta").read_bytes())
    training = read("cifar10", data, split="train")
    first = batch(training.pixels[:10], training.labels[:10], batch_label="testing batch 1 of 1")
    dump(leaky / "test_batch", first, protocol=2)
    code = tmp_path_factory.mktemp("code")
    (code / "evaluating.py").write_text(EVALUATING)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(code)
        build(lake, source="cifar10", data_dir=data, samples_per_class=5, name="stripes")
        for name, folder in (("right", data), ("tall", data), ("grey", data)):
            register_evaluation(lake, name, folder, f"evaluating:{name}")
        register_evaluation(lake, "leaky", leaky, "evaluating:right")
        yield lake
    del sys.modules["evaluating"]


def test_without_an_evaluation_the_images_calibrate_as_the_set_has_them(lake: Lake) -> None:
    chosen = choose_int8(lake, calibration_set="stripes")
    opened = chosen.open()
    assert (chosen.set_fingerprint, chosen.num_images) == (opened.fingerprint, 50)
    assert chosen.preprocessing_fingerprint == opened.preprocessing_fingerprint
    assert (chosen.engine, chosen.image_shape, chosen.preprocess) == ("onednn", (3, 32, 32), None)
    (doubt,) = chosen.doubts
    assert "right only for a network that normalises by itself" in str(doubt), "`right` prepares images as the set does"
    assert chosen.evaluation_images() is None


def test_raw_images_that_no_registered_evaluation_has_are_doubtful(data: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    build(lake, source="cifar10", data_dir=data, samples_per_class=1, name="stripes")
    (doubt,) = choose_int8(lake, calibration_set="stripes").doubts
    assert (doubt.code, doubt.observed) == ("preparation_not_checked", "no --evaluation-set")
    register_evaluation(lake, "net-test", data, "groundlake.calibration.small_net:prepare")
    (doubt,) = choose_int8(lake, calibration_set="stripes").doubts
    assert "no evaluation that is registered prepares images so: net-test (groundlake.calibration" in doubt.meaning
    assert doubt.advice == "measure it again with --evaluation-set net-test"
    assert choose_int8(lake, calibration_set="stripes", evaluation_set="net-test").doubts == ()


def test_with_an_evaluation_the_images_are_prepared_as_it_prepares_them(lake: Lake, data: Path) -> None:
    chosen = choose_int8(lake, calibration_set="stripes", engine="x86", evaluation_set="tall", evaluation_data=data)
    assert (chosen.image_shape, chosen.returns) == ((3, 64, 32), "NCHW")
    assert (chosen.preprocess, chosen.engine) == ("evaluating:tall", "x86")
    images = chosen.evaluation_images()
    assert images is not None
    assert len(images) == 20


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"calibration_set": "stripe"}, r"no calibration set 'stripe' .*\n  did you mean stripes\?"),
        ({"engine": "onedn"}, r"--int8-engine: no engine 'onedn'; there are onednn, x86, fbgemm, qnnpack"),
        ({"evaluation_set": "rigth"}, r"no evaluation set 'rigth' .*\n  did you mean right"),
        ({"evaluation_data": "anywhere"}, r"--evaluation-data: the images of which evaluation set\?"),
        (
            {"evaluation_set": "leaky"},
            r"share 10 images: accuracy on them says nothing\n  lake calibration verify stripes --against leaky",
        ),
        ({"evaluation_set": "grey"}, r"evaluating:grey makes arrays of shape \(4, 32, 32, 1\)"),
    ],
)
def test_what_int8_cannot_be_made_with_is_named(lake: Lake, asked: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        choose_int8(lake, **({"calibration_set": "stripes"} | asked))


def test_a_function_may_import_its_neighbours_when_it_is_called(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory is not where Python looks for modules, as in the command `lake`."""
    (tmp_path / "lazy_evaluation.py").write_text(
        "def prepare(images):\n    from neighbour_of_lazy import halved\n\n    return halved(images)\n"
    )
    (tmp_path / "neighbour_of_lazy.py").write_text(
        "import numpy as np\n\ndef halved(images):\n    return images.astype(np.float32) / 2\n"
    )
    monkeypatch.chdir(tmp_path)
    lake = Lake(tmp_path / "lake")
    build(lake, source="cifar10", data_dir=data, samples_per_class=1, name="stripes")
    register_evaluation(lake, "lazy", data, "lazy_evaluation:prepare")
    del sys.modules["neighbour_of_lazy"]
    chosen = choose_int8(lake, calibration_set="stripes", evaluation_set="lazy")
    del sys.modules["neighbour_of_lazy"], sys.modules["lazy_evaluation"]
    function = chosen.function()
    assert function is not None
    assert function(chosen.open().pixels(0, 2)).max() <= 127.5
    assert str(tmp_path) not in sys.path


def test_accuracy_is_not_evaluated_where_labels_stand_for_other_classes(data: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    pixels = read("cifar10", data, split="train").pixels
    for name, classes, part in (("train", ["cat", "dog", "eel"], pixels[:9]), ("test", ["cat", "eel"], pixels[9:15])):
        labels = [place % len(classes) for place in range(len(part))]
        np.savez(tmp_path / f"{name}.npz", images=part, labels=labels, class_names=classes)
    build(lake, source="npz", data_dir=tmp_path, samples_per_class=1, name="three")
    register_evaluation(lake, "two", tmp_path, "groundlake.calibration.preprocessing:apply", "npz")
    asked = {"calibration_set": "three", "evaluation_set": "two"}
    assert choose_int8(lake, **asked).evaluation_data is None
    told = r"number their classes differently: label 1 is 'dog' in the calibration set and 'eel' in the evaluation"
    with pytest.raises(UsageError, match=told):
        choose_int8(lake, **asked, evaluation_data=tmp_path)


def test_accuracy_is_of_the_registered_images_only(lake: Lake, data: Path) -> None:
    told = r"leaky has 0 of its 20 registered images with their labels, and 10 others"
    with pytest.raises(UsageError, match=told):
        choose_int8(lake, calibration_set="stripes", evaluation_set="right", evaluation_data=data.parent / "leaky")


def test_an_evaluation_that_lost_images_proves_nothing(data: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    build(lake, source="cifar10", data_dir=data, samples_per_class=1, name="stripes")
    registered(lake, "partial", num_samples=3)
    with pytest.raises(UsageError, match=r"partial: 2 of its 3 images are in the lake.*\n  register it again"):
        choose_int8(lake, calibration_set="stripes", evaluation_set="partial")


def test_an_evaluation_whose_code_changed_is_refused(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_int8(lake, calibration_set="stripes", evaluation_set="right")
    monkeypatch.setattr("evaluating.FACTOR", 2)
    told = (
        "evaluation set right: evaluating:right does something else than when it was registered\n"
        "  if it should, register it again, and accuracy is of the new preparation:\n"
        "  lake calibration register-eval right --preprocess evaluating:right ..."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(told)}$"):
        choose_int8(lake, calibration_set="stripes", evaluation_set="right")


def test_an_evaluation_whose_code_is_gone_is_refused(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("evaluating.right")
    with pytest.raises(UsageError, match=r"^evaluation set right: the function .*\n  function evaluating:right: eval"):
        choose_int8(lake, calibration_set="stripes", evaluation_set="right")


def test_a_set_that_became_another_one_is_not_calibrated_with(lake: Lake) -> None:
    chosen = replace(choose_int8(lake, calibration_set="stripes"), set_fingerprint="00" * 32)
    with pytest.raises(UsageError, match="is another one than when the sweep began"):
        chosen.open()


@pytest.mark.parametrize(
    ("model", "int8", "device", "told"),
    [
        ("resnet18@3x32x32", None, "cpu", r"int8 needs a calibration set.*\n.*--calibration-set.*\n  lake calibration"),
        ("resnet18@3x32x32", INT8, "cuda", r"int8 is measured on the processor only.*\n  .*--device cpu"),
        (
            "resnet18",
            INT8,
            "cpu",
            r"'resnet18' takes inputs of 3x224x224, .* set are 3x32x32\n.*resnet18@3x32x32, or --input-shape 3,32,32",
        ),
        ("own:net@1x32x32", INT8, "cpu", r"takes inputs of 1x32x32.*\n  int8 is calibrated with images: measure"),
        ("bert_base", INT8, "cpu", r"takes inputs of 128,"),
    ],
)  # fmt: skip
def test_a_sweep_that_cannot_have_int8_is_refused_whatever_else_it_measures(
    model: str, int8: Int8Settings | None, device: str, told: str, lake_root: Path
) -> None:
    wanted = configurations(models=["vgg11", model], precisions=["fp32", "int8"], batches=[1])
    wanted = [each for each in wanted if each.precision == "fp32" or each.model == model]
    with pytest.raises(UsageError, match=told):
        plan(Lake(lake_root), SweepSettings(hardware_id="dev", device=device, int8=int8), wanted)
    assert not lake_root.exists()


def test_a_sweep_without_int8_needs_no_set() -> None:
    check_wanted(configurations(precisions=["fp32"]), None, "cuda")
    check_wanted([Configuration("own:net", "int8", 1)], INT8, "cpu")  # its shape is known once it is built


@pytest.mark.parametrize(
    "other", [{"set_fingerprint": "another"}, {"engine": "x86"}, {"preprocessing_fingerprint": "divided"}]
)
def test_a_network_that_was_made_otherwise_is_not_measured_already(lake_root: Path, other: dict[str, str]) -> None:
    lake = Lake(lake_root)
    keys = {"hardware_id": "dev", "precision": "int8", "model": "own:small", "batch": 1}
    lake.write(keys)
    assert measured_already(lake, "dev", INT8) == set(), "nobody knows how it was made"
    for facts in (INT8.decisive | other, INT8.decisive):
        assert plan(lake, SWEEP, [NET]).todo
        assert plan(lake, replace(SWEEP, repeat=1, session="night"), [NET]).todo
        quantized(lake, measured_run_id=lake.write(keys | {"session_id": "night", "run_index": 1}), **facts)
    assert plan(lake, SWEEP, [NET]).todo == ()
    assert plan(lake, replace(SWEEP, repeat=1, session="night"), [NET]).todo == ()
    changed = replace(SWEEP, int8=replace(INT8, **other))
    assert config_hash(NET, changed) != config_hash(NET, SWEEP)
    fp32 = Configuration("own:small", "fp32", 1)
    assert config_hash(fp32, changed) == config_hash(fp32, replace(SWEEP, int8=None))


def test_a_network_that_was_not_evaluated_is_measured_again_where_accuracy_is_wanted(lake_root: Path) -> None:
    lake = Lake(lake_root)
    keys = {"hardware_id": "dev", "precision": "int8", "model": "own:small", "batch": 1}
    unknown = dict.fromkeys(("evaluation_set", "num_evaluated", "accuracy_before", "accuracy_after"))
    quantized(lake, measured_run_id=lake.write(keys), **INT8.decisive, **unknown)
    evaluating = replace(INT8, evaluation_set="test", evaluation_run_id="first", evaluation_data="cifar")
    assert measured_already(lake, "dev", INT8) == {NET}
    assert measured_already(lake, "dev", evaluating) == set()
    quantized(lake, measured_run_id=lake.write(keys), **INT8.decisive)
    assert measured_already(lake, "dev", evaluating) == set(), "nobody knows what the name stood for"
    quantized(lake, measured_run_id=lake.write(keys), **INT8.decisive, evaluation_run_id="first")
    assert measured_already(lake, "dev", evaluating) == {NET}
    assert measured_already(lake, "dev", replace(evaluating, evaluation_run_id="second")) == set()


def test_what_int8_is_made_with_is_checked_without_torch() -> None:
    code = "import sys, groundlake.measure.plan, groundlake.measure.int8.found; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
