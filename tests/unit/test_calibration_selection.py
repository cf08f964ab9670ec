"""A choice has as many images of each class, the same ones on every machine."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import cifar
import numpy as np
import pytest

from groundlake.calibration.images import LabelledImages, sample_id
from groundlake.calibration.selection import choose, repeated
from groundlake.errors import UsageError


def made(pixels: np.ndarray, labels: np.ndarray, classes: int = 10) -> LabelledImages:
    count = len(labels)
    return LabelledImages(
        pixels=pixels,
        labels=labels,
        class_names=tuple(f"class {label}" for label in range(classes)),
        files=("file",) * count,
        indices=tuple(range(count)),
        names=("",) * count,
        dataset="npz",
        split="train",
        source_sha256="0" * 64,
    )


def hashed(count: int, classes: int = 2) -> LabelledImages:
    """Pictures of 2 x 2 that a hash makes, so that every machine and release has the same."""
    data = b"".join(hashlib.sha256(f"picture {number}".encode()).digest()[:12] for number in range(count))
    pixels = np.frombuffer(data, np.uint8).reshape(count, 2, 2, 3)
    return made(pixels, np.arange(count, dtype=np.int64) % classes, classes)


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    return made(*cifar.pictures(8))


def test_each_class_has_exactly_as_many(images: LabelledImages) -> None:
    chosen = choose(images, 5)
    assert np.bincount(images.labels[chosen]).tolist() == [5] * 10
    assert len(set(chosen.tolist())) == 50


def test_classes_take_turns(images: LabelledImages) -> None:
    assert images.labels[choose(images, 3)].tolist() == [*range(10)] * 3


def test_a_smaller_set_is_the_beginning_of_a_larger_one(images: LabelledImages) -> None:
    np.testing.assert_array_equal(choose(images, 8)[:30], choose(images, 3))


def test_the_choice_is_the_one_that_every_release_makes() -> None:
    assert choose(hashed(12), 3, seed=0).tolist() == [8, 11, 0, 7, 2, 5]
    assert choose(hashed(12), 3, seed=1).tolist() == [2, 11, 10, 5, 0, 3]


def test_the_order_is_that_of_a_hash_of_seed_class_and_pixels() -> None:
    images = hashed(12)

    def place(at: int) -> str:
        pixels = hashlib.sha256(b"2x2x3:" + images.pixels[at].tobytes()).hexdigest()
        return hashlib.sha256(f"7:{images.labels[at]}:{pixels}".encode()).hexdigest()

    assert choose(images, 6, seed=7)[::2].tolist() == sorted(range(0, 12, 2), key=place)


def test_another_seed_gives_another_choice(images: LabelledImages) -> None:
    assert set(choose(images, 3, seed=0).tolist()) != set(choose(images, 3, seed=1).tolist())


def test_the_state_of_numpys_generator_does_not_matter(images: LabelledImages) -> None:
    np.random.seed(1)  # noqa: NPY002 - the old one, which is shared by all
    first = choose(images, 3)
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, choose(images, 3))


def test_all_of_a_class_may_be_taken(images: LabelledImages) -> None:
    assert sorted(choose(images, 8).tolist()) == list(range(80))


def test_more_than_there_are_says_how_many_each_class_has(images: LabelledImages) -> None:
    first_of_class_3 = int(np.flatnonzero(images.labels == 3)[0])
    fewer = np.delete(np.arange(80), first_of_class_3)
    with pytest.raises(UsageError) as raised:
        choose(made(images.pixels[fewer], images.labels[fewer]), 8)
    message = str(raised.value)
    assert "8 of each class are wanted, 1 of 10 classes have fewer" in message
    assert "class 2 8, class 3 7, class 4 8" in message
    assert "take at most 7" in message


def test_of_many_classes_those_with_the_fewest_are_told() -> None:
    labels = np.concatenate([np.repeat(np.arange(300), 2), [7]]).astype(np.int64)
    pixels = np.arange(labels.size * 12, dtype=np.uint32).view(np.uint8)[: labels.size * 12].reshape(-1, 2, 2, 3)
    with pytest.raises(UsageError) as raised:
        choose(made(pixels, labels, 300), 3)
    message = str(raised.value)
    assert "299 of 300 classes have fewer" in message
    assert "and 288 more" in message
    assert len(message) < 600


def test_a_class_without_images_is_named(images: LabelledImages) -> None:
    with pytest.raises(UsageError, match="there is no image of class 10"):
        choose(replace(images, class_names=(*images.class_names, "class 10")), 1)


def test_a_class_whose_only_picture_another_class_claims_is_not_said_to_have_none() -> None:
    three = hashed(3)
    pixels = three.pixels[[0, 1, 2, 0]]  # a, b, b; and that of a is there as one of b
    doubled = made(pixels, np.array([0, 1, 1, 1]), 2)
    with pytest.raises(UsageError) as raised:
        choose(replace(doubled, files=("a/x.png", "b/y.png", "b/z.png", "b/x.png"), indices=(0,) * 4), 1)
    message = str(raised.value)
    assert "no image of class 0 can be chosen" in message
    assert "left out, as two classes or more claim the same picture: a/x.png = b/x.png" in message
    assert "there is no image" not in message
    with pytest.raises(UsageError, match=r"take at most 2; left out, .*: image 0 of file = image 4 of file$"):
        choose(made(hashed(5).pixels[[0, 1, 2, 3, 0, 4]], np.array([0, 0, 0, 1, 1, 1]), 2), 3)


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 0.0, "0"])
def test_a_seed_that_cannot_be_stored_is_refused(images: LabelledImages, seed: int) -> None:
    with pytest.raises(UsageError, match="seed: a whole number of 64 bits"):
        choose(images, 1, seed)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_less_than_one_of_a_class_is_no_set(images: LabelledImages, count: int) -> None:
    with pytest.raises(UsageError, match="at least 1 of each class"):
        choose(images, count)


def test_a_picture_that_is_there_twice_counts_once(images: LabelledImages) -> None:
    twice = np.concatenate([np.arange(80), np.flatnonzero(images.labels == 4)])
    doubled = made(images.pixels[twice], images.labels[twice])
    np.testing.assert_array_equal(choose(doubled, 8), choose(images, 8))
    assert repeated(doubled) == "repeated: 8 of 88 pictures are there more than once and were not counted"
    assert repeated(images) is None


def test_a_picture_of_two_classes_is_in_neither(images: LabelledImages) -> None:
    place = int(np.flatnonzero(images.labels == 4)[0])
    both = np.append(np.arange(80), place)
    labels = np.append(images.labels, 5)
    chosen = choose(made(images.pixels[both], labels), 7)
    assert sample_id(images.pixels[place]) not in {sample_id(images.pixels[both][at]) for at in chosen}
    with pytest.raises(UsageError, match="class 4 7"):
        choose(made(images.pixels[both], labels), 8)
    told = "2 of 81 pictures are there more than once and were not counted; 1 of them are in two classes or more"
    assert told in str(repeated(made(images.pixels[both], labels)))


def test_the_hash_of_a_picture_is_one_of_its_size_too() -> None:
    pixels = np.arange(24, dtype=np.uint8)
    assert sample_id(pixels.reshape(2, 4, 3)) != sample_id(pixels.reshape(4, 2, 3))
    assert sample_id(pixels.reshape(2, 4, 3)) == hashlib.sha256(b"2x4x3:" + bytes(range(24))).hexdigest()


def test_the_hash_of_a_picture_is_not_one_of_how_it_lies_in_memory(images: LabelledImages) -> None:
    picture = images.pixels[0]
    assert sample_id(np.asfortranarray(picture)) == sample_id(picture)
