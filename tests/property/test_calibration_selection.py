"""A choice keeps its promises for whatever images there are, in whatever order and file they come."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from groundlake.calibration.images import LabelledImages
from groundlake.calibration.selection import choose

BUDGET = settings(max_examples=60, deadline=None, derandomize="CI" in os.environ)

SEEDS = st.integers(0, 2**63 - 1)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[LabelledImages, int]:
    """Images of one pixel, of up to four classes, some of them more than once; and how many the smallest class has."""
    values = draw(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=60))
    classes = draw(st.integers(1, 4))
    by_class = {label: {value for value in values if value % classes == label} for label in range(classes)}
    if not all(by_class.values()):
        values += list(range(classes))
        by_class = {label: {value for value in values if value % classes == label} for label in range(classes)}
    pixels = np.array([list(value.to_bytes(3, "big")) for value in values], np.uint8).reshape(-1, 1, 1, 3)
    labels = np.array([value % classes for value in values], np.int64)
    return made(pixels, labels, classes), min(len(found) for found in by_class.values())


def made(pixels: np.ndarray, labels: np.ndarray, classes: int, files: tuple[str, ...] | None = None) -> LabelledImages:
    return LabelledImages(
        pixels=pixels,
        labels=labels,
        class_names=tuple(map(str, range(classes))),
        files=files or ("file",) * len(labels),
        indices=tuple(range(len(labels))),
        names=("",) * len(labels),
        dataset="npz",
        split="train",
        source_sha256="",
    )


@BUDGET
@given(labelled(), SEEDS, st.data())
def test_a_choice_has_exactly_as_many_of_each_class_and_no_picture_twice(
    given_images: tuple[LabelledImages, int], seed: int, data: st.DataObject
) -> None:
    images, smallest = given_images
    wanted = data.draw(st.integers(1, smallest))
    chosen = choose(images, wanted, seed)
    assert Counter(images.labels[chosen].tolist()) == dict.fromkeys(range(len(images.class_names)), wanted)
    assert len({images.pixels[at].tobytes() for at in chosen}) == len(chosen)
    assert set(chosen.tolist()) <= set(range(len(images)))


@BUDGET
@given(labelled(), SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_images_and_files_does_not_change_a_choice(
    given_images: tuple[LabelledImages, int], seed: int, random: object
) -> None:
    images, smallest = given_images
    order = list(range(len(images)))
    random.shuffle(order)  # type: ignore[attr-defined]
    files = tuple(f"file {place % 3}" for place in order)
    other = made(images.pixels[order], images.labels[order], len(images.class_names), files)
    first, second = choose(images, smallest, seed), choose(other, smallest, seed)
    np.testing.assert_array_equal(images.pixels[first], other.pixels[second])
    np.testing.assert_array_equal(images.labels[first], other.labels[second])


@BUDGET
@given(labelled(), SEEDS)
def test_a_choice_of_fewer_is_the_beginning_of_one_of_more(given_images: tuple[LabelledImages, int], seed: int) -> None:
    images, smallest = given_images
    every = choose(images, smallest, seed)
    for wanted in range(1, smallest):
        few = choose(images, wanted, seed)
        np.testing.assert_array_equal(few, every[: len(few)])
