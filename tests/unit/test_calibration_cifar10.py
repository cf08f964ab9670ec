"""CIFAR-10 is read from its training batches, and what is wrong with a batch is said by its name."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import cifar
import numpy as np
import pytest

from groundlake.calibration.sources import read
from groundlake.calibration.sources.cifar10 import TRAINING
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cifar.write_cifar10(tmp_path_factory.mktemp("data") / "cifar-10-batches-py", per_class=10, test_per_class=2)


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "cifar-10-batches-py")


def refusal(folder: Path, split: str = "train") -> str:
    with pytest.raises(UsageError) as raised:
        read("cifar10", folder, split=split)
    assert len(str(raised.value).splitlines()) <= 6
    return str(raised.value)


def change(folder: Path, name: str, **entries: Any) -> None:
    """Write a batch with other entries; an entry that is None is left out."""
    pixels, labels = cifar.pictures(2, seed=7)
    facts = cifar.batch(pixels, labels) | {key.encode(): value for key, value in entries.items()}
    cifar.dump(folder / name, {key: value for key, value in facts.items() if value is not None})


def test_training_images_are_those_of_the_five_batches_in_their_order(folder: Path) -> None:
    pixels, labels = cifar.pictures(12)
    first = np.array([np.count_nonzero(labels[:at] == label) for at, label in enumerate(labels)])
    images = read("cifar10", folder)
    np.testing.assert_array_equal(images.pixels, pixels[first < 10])
    np.testing.assert_array_equal(images.labels, labels[first < 10])
    assert images.class_names == cifar.CLASSES
    assert images.pixels.flags.c_contiguous
    assert images.pixels.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert images.files == tuple(name for name in TRAINING for _ in range(20))
    assert images.indices == tuple(range(20)) * 5
    assert images.names[0].startswith(cifar.CLASSES[labels[0]])
    assert (images.dataset, images.split) == ("cifar10", "train")


def test_test_images_are_those_of_the_test_batch_alone(folder: Path) -> None:
    images = read("cifar10", folder, split="test")
    assert set(images.files) == {"test_batch"}
    assert images.per_class() == dict.fromkeys(cifar.CLASSES, 2)
    assert not set(images.sample_ids()) & set(read("cifar10", folder).sample_ids())
    assert images.split == "test"


def test_a_red_picture_is_red_whose_rows_are_the_first_thousand_bytes(folder: Path) -> None:
    rows = np.zeros((1, 3072), dtype=np.uint8)
    rows[0, :1024] = 200  # red
    rows[0, 1024] = 9  # the first pixel of green, top left
    rows[0, 2048 + 33] = 7  # blue, second row, second column
    change(folder, "data_batch_1", data=rows, labels=[3], filenames=[b"red.png"])
    picture = read("cifar10", folder).pixels[0]
    assert picture[0, 0].tolist() == [200, 9, 0]
    assert picture[1, 1].tolist() == [200, 0, 7]
    assert picture[5, 6].tolist() == [200, 0, 0]


def test_the_folder_that_the_batches_lie_in_may_be_given_too(folder: Path) -> None:
    assert read("cifar10", folder.parent).source_sha256 == read("cifar10", folder).source_sha256


def test_files_that_differ_from_the_published_ones_are_a_remark_and_no_error(folder: Path) -> None:
    (remark,) = read("cifar10", folder).remarks
    assert remark.startswith("not_the_published_files: data_batch_1, ")


def test_without_names_the_classes_are_called_as_in_cifar10(folder: Path) -> None:
    (folder / "batches.meta").unlink()
    images = read("cifar10", folder)
    assert images.class_names == cifar.CLASSES
    assert any(remark.startswith("missing_names") for remark in images.remarks)


def test_a_batch_of_another_length_than_the_others_is_a_remark(folder: Path) -> None:
    change(folder, "data_batch_1", data=np.ones((1, 3072), np.uint8), labels=[3], filenames=None)
    remarks = read("cifar10", folder).remarks
    assert "other_length: batches.meta says 20 pictures a batch, data_batch_1 has 1" in remarks


def test_other_files_have_another_hash_of_the_source(folder: Path) -> None:
    before = read("cifar10", folder).source_sha256
    change(folder, "data_batch_2")
    assert read("cifar10", folder).source_sha256 != before


@pytest.mark.parametrize(("name", "split"), [("data_batch_4", "train"), ("test_batch", "test")])
def test_a_missing_batch_is_named(folder: Path, name: str, split: str) -> None:
    (folder / name).unlink()
    assert f"has no {name}" in refusal(folder, split)


def test_a_truncated_batch_is_named(folder: Path) -> None:
    data = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(data[: len(data) // 2])
    assert "data_batch_3: cut off or damaged" in refusal(folder)


def test_a_batch_that_is_empty_is_named(folder: Path) -> None:
    (folder / "data_batch_3").write_bytes(b"")
    assert "data_batch_3: cut off or damaged" in refusal(folder)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"data": None}, "'data' should be an array of uint8, there is none"),
        ({"data": [[1, 2], [3, 4]]}, "'data' should be an array of uint8, got list"),
        ({"data": np.zeros((20, 1024), np.uint8)}, "got (20, 1024)"),
        ({"data": np.zeros((20, 32, 32, 3), np.uint8)}, "got (20, 32, 32, 3)"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": [], "filenames": []}, "got (0, 3072)"),
        ({"data": np.zeros((20, 3072), np.float32)}, "has the type"),
        ({"data": np.asfortranarray(np.zeros((20, 3072), np.uint8))}, "column by column"),
        ({"labels": None}, "'labels' should be a list of numbers, there is none"),
        ({"labels": b"0123"}, "'labels' should be a list of numbers, got bytes"),
        ({"labels": [1, 2]}, "'labels' has 2 entries, 'data' has 20 pictures"),
        ({"labels": [10] + [0] * 19}, "label 0 should be 0 to 9, got 10"),
        ({"labels": [0, -1] + [0] * 18}, "label 1 should be 0 to 9, got -1"),
        ({"labels": [True] * 20}, "label 0 should be 0 to 9, got bool"),
        ({"labels": [b"cat"] * 20}, "label 0 should be 0 to 9, got bytes"),
        ({"filenames": [b"a.png"]}, "'filenames' should name 20 pictures, got 1 entries"),
    ],
)
def test_a_batch_that_is_not_what_it_should_be_is_named_with_what_is_wrong(
    folder: Path, entries: dict[str, Any], words: str
) -> None:
    change(folder, "data_batch_5", **entries)
    message = refusal(folder)
    assert "data_batch_5" in message
    assert words in message


@pytest.mark.parametrize("names", [None, [b"cat"], [b"cat"] * 10, "cat"])
def test_names_of_the_classes_must_be_ten_different_ones(folder: Path, names: Any) -> None:
    cifar.dump(folder / "batches.meta", cifar.meta(20) | {b"label_names": names})
    assert "10 different names" in refusal(folder)


def test_halves_of_signs_in_names_are_read_as_text_that_can_be_stored(folder: Path) -> None:
    pixels, labels = cifar.pictures(1, seed=7)
    test = cifar.batch(pixels, labels) | {b"filenames": ["\ud800.png"] * 10}
    cifar.dump(folder / "data_batch_1", test, protocol=3)
    assert read("cifar10", folder).names[0] == "?.png"


def test_a_dictionary_is_wanted_and_not_a_list(folder: Path) -> None:
    cifar.dump(folder / "data_batch_1", [1, 2])  # type: ignore[arg-type]
    assert "holds a list" in refusal(folder)


def copied(folder: Path) -> None:
    """The test batch once more, under the name of a training batch."""
    shutil.copy(folder / "test_batch", folder / "data_batch_3")


def moved(folder: Path) -> None:
    """The test batch is a training batch now, and there is none to compare it with."""
    (folder / "test_batch").replace(folder / "data_batch_3")


def relabelled(folder: Path) -> None:
    """The test batch calls itself a training batch, too."""
    pixels, labels = cifar.pictures(12)
    first = np.array([np.count_nonzero(labels[:at] == label) for at, label in enumerate(labels)])
    test = cifar.batch(pixels[first >= 10], labels[first >= 10], batch_label="training batch 3 of 5")
    cifar.dump(folder / "data_batch_3", test, protocol=4)


@pytest.mark.parametrize("offer", [copied, moved, relabelled])
def test_the_test_batch_is_refused_as_a_training_batch_whatever_it_is_called(
    folder: Path, offer: Callable[[Path], None]
) -> None:
    offer(folder)
    message = refusal(folder)
    assert "data_batch_3: this is the test batch" in message
    assert "looks better than it is" in message or "look better than it is" in message


def test_single_training_pictures_that_the_test_batch_has_too_are_left_out(folder: Path) -> None:
    test = read("cifar10", folder, split="test")
    pixels, labels = cifar.pictures(2, seed=7)
    mixed = cifar.batch(np.concatenate([pixels, test.pixels[:3]]), np.concatenate([labels, test.labels[:3]]))
    cifar.dump(folder / "data_batch_2", mixed)
    images = read("cifar10", folder)
    assert not set(images.sample_ids()) & set(test.sample_ids())
    assert len(images) == 100
    assert "also_in_test: left out 3 training pictures that test_batch has, too" in images.remarks


def test_a_training_batch_is_refused_as_the_test_batch(folder: Path) -> None:
    shutil.copy(folder / "data_batch_1", folder / "test_batch")
    assert "test_batch: this is a training batch" in refusal(folder, "test")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "is not there" in refusal(tmp_path / "nowhere")


def test_a_file_in_place_of_the_folder_is_told(folder: Path) -> None:
    assert "is a file" in refusal(folder / "data_batch_1")


def test_an_empty_folder_is_told_which_files_it_lacks(tmp_path: Path) -> None:
    assert "data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "advice"), [("data_batch_1.bin", "binary version"), ("cifar-10-python.tar.gz", "unpack it")]
)
def test_what_lies_there_instead_decides_the_advice(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / name).touch()
    assert advice in refusal(tmp_path)


@pytest.mark.parametrize(("source", "near"), [("cifar-10", "did you mean cifar10?"), ("mnist", "there are cifar10")])
def test_an_unknown_source_names_those_that_there_are(folder: Path, source: str, near: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(source, folder)
    assert near in str(raised.value)


def test_an_unknown_split_names_those_that_there_are(folder: Path) -> None:
    assert "there are train, test" in refusal(folder, "validation")
