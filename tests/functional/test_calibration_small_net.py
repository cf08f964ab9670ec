"""The small network that shows what calibration data do: its pictures, its training and its shipped weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cifar
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from groundlake.calibration.small_net import load_network, pictures, prepare, train, weights_file
from groundlake.calibration.small_net.pictures import CLASS_NAMES, make_pictures, write_cifar10
from groundlake.calibration.sources import read
from groundlake.errors import UsageError


def test_the_shipped_network_is_small_and_knows_pictures_that_it_was_not_trained_on() -> None:
    assert weights_file().stat().st_size <= 300_000
    pixels, labels = make_pictures(40, seed=77)
    assert train.accuracy(load_network(), pixels, labels) > 0.97


def test_the_network_needs_its_own_scale() -> None:
    pixels, labels = make_pictures(20, seed=77)
    tensors = torch.from_numpy(prepare(pixels).transpose(0, 3, 1, 2) / np.float32(255))
    with torch.no_grad():
        found = load_network()(tensors).argmax(1).numpy()
    assert (found == labels).mean() < 0.5


def test_the_same_seed_trains_the_same_network(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    first, right = train.train(epochs=2, seed=3, per_class=40)
    assert torch.equal(torch.get_rng_state(), state)
    train.save(first, tmp_path, facts={"right": right})
    again = load_network(tmp_path / weights_file().name)
    second, _ = train.train(epochs=2, seed=3, per_class=40)
    assert all(torch.equal(second.state_dict()[name], value) for name, value in again.state_dict().items())
    for wrong in ({"epochs": 0}, {"per_class": 12}):
        with pytest.raises(UsageError, match="epochs must be at least 1 and pictures of each class at least 13"):
            train.train(**wrong)


def test_pictures_are_written_as_the_files_of_cifar_10(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "groundlake.calibration.small_net.pictures"]
    options = ["--per-class", "10", "--test-per-class", "3", "--seed", "5"]
    done = subprocess.run([*program, tmp_path / "made", *options], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "made")
    training, test = (read("cifar10", tmp_path / "made", split=split) for split in ("train", "test"))
    assert (training.class_names, test.class_names) == (CLASS_NAMES, CLASS_NAMES)
    assert np.bincount(training.labels).tolist() == [10] * 10
    assert np.bincount(test.labels).tolist() == [3] * 10
    assert np.array_equal(training.pixels, make_pictures(10, seed=5)[0])
    assert len({*training.sample_ids(), *test.sample_ids()}) == 130
    with pytest.raises(UsageError, match="a multiple of 5, got 12"):
        write_cifar10(tmp_path / "wrong", per_class=12, test_per_class=1)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_batches_that_are_there_are_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, few = tmp_path / "cifar-10-batches-py", ["--per-class", "5", "--test-per-class", "1"]
    cifar.write_cifar10(folder, per_class=5, test_per_class=2)
    (folder / "data_batch_5").unlink()
    there = _bytes(folder)
    assert pictures._main([str(folder), *few]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {folder}: has data_batch_1, data_batch_2, data_batch_3, data_batch_4, test_batch")
    assert "would be lost; nothing was written\n  give another folder" in said
    assert _bytes(folder) == there

    made = tmp_path / "made"
    assert pictures._main([str(made), *few]) == 0
    first = _bytes(made)
    (made / "test_batch").unlink()
    assert pictures._main([str(made), *few]) == 0, "its own files may be made again"
    assert _bytes(made) == first
    assert pictures._main([str(made), *few, "--seed", "1"]) == 2
    assert _bytes(made) == first


def test_a_folder_of_pictures_that_cannot_be_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for folder, options, code, says in (
        (tmp_path / "file", (), 2, "file: is a file, and a folder is wanted"),
        (tmp_path / "file" / "below", (), 5, "a part of this path is a file: choose another folder"),
        (Path("/proc/x/y"), (), 5, "cannot write /proc/x"),
        (tmp_path / "none", ("--per-class", "-1"), 2, "a multiple of 5, got -1"),
        (tmp_path / "none", ("--per-class", "-5"), 2, "must be at least 1, got -5"),
    ):
        given = ["--per-class", "5", "--test-per-class", "1", *options]
        assert pictures._main([str(folder), *given]) == code
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert says in said
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "none").exists()
