"""The functions of the document: their signatures, and what they check and print."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import cifar
import numpy as np
import pytest

from groundlake.calibration import load_calibration_data, verify_distribution
from groundlake.calibration.distribution import check_images
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cifar.write_cifar10(tmp_path_factory.mktemp("cifar"), per_class=20, test_per_class=4)


def test_the_signatures_are_those_of_the_document() -> None:
    load = inspect.signature(load_calibration_data).parameters
    assert [(name, parameter.default) for name, parameter in load.items()] == [
        ("data_dir", inspect.Parameter.empty),
        ("samples_per_class", 100),
    ]
    assert list(inspect.signature(verify_distribution).parameters) == ["labels", "class_names"]


def test_images_are_raw_float32_nhwc_with_labels_and_names(folder: Path) -> None:
    images, labels, class_names = load_calibration_data(str(folder), samples_per_class=20)
    assert images.shape == (200, 32, 32, 3)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert (images.min(), images.max()) == (0.0, 255.0)
    assert class_names == list(cifar.CLASSES)
    assert np.bincount(labels).tolist() == [20] * 10


def test_every_image_is_a_training_image_with_its_own_label(folder: Path) -> None:
    pixels, labels = cifar.pictures(24)
    label_of = {picture.tobytes(): label for picture, label in zip(pixels, labels, strict=True)}
    first = np.array([np.count_nonzero(labels[:at] == label) for at, label in enumerate(labels)])
    training = {picture.tobytes() for picture in pixels[first < 20]}
    images, found, _ = load_calibration_data(str(folder), 3)
    for image, label in zip(images.astype(np.uint8), found, strict=True):
        assert image.tobytes() in training
        assert label_of[image.tobytes()] == label


def test_too_many_of_a_class_are_refused_with_how_many_there_are(folder: Path) -> None:
    with pytest.raises(UsageError, match="take at most 20"):
        load_calibration_data(str(folder))


def test_the_distribution_is_returned_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    counts = verify_distribution(np.array([0, 1, 1, 0]), ["cat", "dog"])
    assert counts == {"cat": 2, "dog": 2}
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["cat", "2", "50.0%"]
    assert lines[2].split() == ["dog", "2", "50.0%"]
    assert lines[-1] == "balanced: 2 of each class"


def test_a_class_without_samples_is_counted_and_called_unbalanced(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_distribution(np.array([1, 1]), ["cat", "dog"]) == {"cat": 0, "dog": 2}
    assert "NOT balanced: 0 to 2 of a class" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([2], ["cat", "dog"], "should be 0 to 1, got 2 to 2"),
        ([-1], ["cat", "dog"], "should be 0 to 1, got -1 to -1"),
        ([0.5], ["cat", "dog"], "whole numbers"),
        ([[0]], ["cat", "dog"], "whole numbers"),
        ([0], ["cat", "cat"], "each stands for one class"),
    ],
)
def test_labels_without_a_class_are_refused(labels: list[int], names: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        verify_distribution(np.array(labels), names)


def test_good_images_are_described_in_the_words_of_the_document() -> None:
    images = np.zeros((2, 4, 4, 3), np.float32)
    images[0, 0, 0, 0] = 255
    assert check_images(images) == [
        "dtype: float32",
        "shape: (2, 4, 4, 3)",
        "pixel range: [0.0, 255.0]",
        "NHWC format confirmed",
    ]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.full((1, 4, 4, 3), 9, np.float64), "should be float32"),
        (np.full((1, 3, 4, 4), 9, np.float32), "should be NHWC"),
        (np.full((4, 4, 3), 9, np.float32), "should be NHWC"),
        (np.full((1, 4, 4, 3), 0.9, np.float32), "divided by 255, or normalised"),
        (np.array([[[[-2.0, 0, 100]]]], np.float32), "divided by 255, or normalised"),
        (np.array([[[[0, 0, 300]]]], np.float32), "is not that of raw pixels"),
        (np.array([[[[0, 0, np.nan]]]], np.float32), "is not that of raw pixels"),
    ],
)
def test_images_that_were_changed_are_refused(images: np.ndarray, words: str) -> None:
    with pytest.raises(LakeError, match=words):
        check_images(images)
