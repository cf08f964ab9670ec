"""Choose the images of a calibration set: as many of each class, in an order that every machine finds again.

The order comes from a hash of the seed, the class and the pixels: not from a generator of random numbers, whose
versions differ, and not from the order of the files. Classes take turns, so that every batch of a set is balanced as
far as its size allows, and a set of fewer images is the beginning of a larger one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from groundlake.calibration.images import shortened
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from groundlake.calibration.images import LabelledImages

SEED = 0
SAMPLES_PER_CLASS = 100
_MANY = 12
"""Classes of which a message lists all."""


def choose(images: LabelledImages, samples_per_class: int = SAMPLES_PER_CLASS, seed: int = SEED) -> NDArray[np.int64]:
    """Choose exactly `samples_per_class` images of each class.

    A picture counts once, however often it is there; one that is there under two classes counts for neither.

    Args:
        images: What there is to choose from.
        samples_per_class: Images of each class.
        seed: Another seed gives another choice.

    Returns:
        Positions in `images`, int64 (classes * samples_per_class,), in the order of the set: the first image of every
        class, then the second of every class.

    Raises:
        UsageError: A class has fewer images, and the message says how many each has; or a number is none that can be
            stored.
    """
    if type(samples_per_class) is not int or samples_per_class < 1:
        raise UsageError(f"samples per class: at least 1 of each class makes a set, got {samples_per_class!r}")
    if type(seed) is not int or not -(2**63) <= seed < 2**63:
        raise UsageError(f"seed: a whole number of 64 bits, with a sign, got {str(seed)[:40]}")
    by_class, torn = _distinct(images)
    _require_enough(images, {label: len(found) for label, found in by_class.items()}, samples_per_class, torn)
    chosen = [
        sorted((_place_in_order(seed, label, each), at) for each, at in by_class[label].items())[:samples_per_class]
        for label in range(len(images.class_names))
    ]
    return np.array([mine[rank][1] for rank in range(samples_per_class) for mine in chosen], dtype=np.int64)


def repeated(images: LabelledImages) -> str | None:
    """Say how many pictures `choose` passes over because they are there more than once; None where there are none."""
    by_class, torn = _distinct(images)
    left = len(images) - sum(len(found) for found in by_class.values())
    if not left:
        return None
    several = f"; {len(torn)} of them are in two classes or more, and count for none" if torn else ""
    return f"repeated: {left} of {len(images)} pictures are there more than once and were not counted{several}"


def _distinct(images: LabelledImages) -> tuple[Mapping[int, dict[str, int]], list[dict[int, int]]]:
    """Return the position of each picture by its class and hash; and of those with several classes, one of each class.

    Of equal pictures it is the position of the first file by name.
    """
    places: defaultdict[str, dict[int, int]] = defaultdict(dict)
    first: dict[str, int] = {}
    for at, (each, label) in enumerate(zip(images.sample_ids(), images.labels.tolist(), strict=True)):
        places[each].setdefault(label, at)
        known = first.setdefault(each, at)
        if (images.files[at], images.indices[at]) < (images.files[known], images.indices[known]):
            first[each] = at
    found: dict[int, dict[str, int]] = {label: {} for label in range(len(images.class_names))}
    for each, at in first.items():
        if len(places[each]) == 1:
            found[int(images.labels[at])][each] = at
    return found, [at_label for at_label in places.values() if len(at_label) > 1]


def _place_in_order(seed: int, label: int, sample_id: str) -> str:
    return hashlib.sha256(f"{seed}:{label}:{sample_id}".encode()).hexdigest()


def _require_enough(
    images: LabelledImages, counts: Mapping[int, int], wanted: int, torn: Sequence[Mapping[int, int]]
) -> None:
    """Refuse more than the smallest class has; say which pictures it lacks because another class claims them, too."""
    short = [label for label, count in counts.items() if count < wanted]
    if not short:
        return
    fewest = sorted(counts, key=lambda label: (counts[label], label))
    told = [f"{images.class_names[label]} {counts[label]}" for label in (fewest if len(fewest) > _MANY else counts)]
    smallest = min(counts.values())
    missing = images.class_names[fewest[0]]
    left_out = [at_label for at_label in torn if not at_label.keys().isdisjoint(short)]
    take = f"take at most {smallest}" if smallest else f"there is no image of {missing}"
    if left_out:
        same = [" = ".join(_source_of(images, at) for at in at_label.values()) for at_label in left_out]
        take = f"take at most {smallest}" if smallest else f"no image of {missing} can be chosen"
        take += f"; left out, as two classes or more claim the same picture: {shortened(same)}"
    raise UsageError(
        f"samples per class: {wanted} of each class are wanted, {len(short)} of {len(counts)} classes have fewer\n"
        f"  different images: {shortened(told, _MANY)}\n  {take}"
    )


def _source_of(images: LabelledImages, at: int) -> str:
    """Name the file of an image, and its place where the file has several."""
    file = images.files[at]
    return file if images.files.count(file) == 1 else f"image {images.indices[at]} of {file}"
