"""Labelled images as every source gives them, and the identity of an image, which does not depend on its file."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CHANNELS = 3
"""Red, green and blue."""

UNKNOWN_SPLIT = "unknown"


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images of one split of a data set, all of one size.

    Attributes:
        pixels: uint8 (n, height, width, 3), NHWC, raw values 0 to 255, C-contiguous.
        labels: int64 (n,), from 0.
        class_names: Names of the classes, by label.
        files: File that each image was read from, below the data folder.
        indices: Its place in that file, from 0.
        names: Name of the image as the source tells it; empty where it tells none.
        dataset: cifar10, image_folder or npz.
        split: train, test or unknown.
        source_sha256: Hash of the files that were read, in their order.
        remarks: What is unusual about the files, each as `code: text`; nothing of it is an error.
        is_compared: Whether training images were compared with those of the test split, and what it has left out.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    files: tuple[str, ...]
    indices: tuple[int, ...]
    names: tuple[str, ...]
    dataset: str
    split: str
    source_sha256: str
    remarks: tuple[str, ...] = ()
    is_compared: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        _, height, width, channels = self.pixels.shape
        return height, width, channels

    @property
    def has_names(self) -> bool:
        """Whether the classes have names, and not just the numbers of their labels."""
        return has_names(self.class_names)

    def sample_ids(self) -> tuple[str, ...]:
        """Return the content hash of each image."""
        return sample_ids(self.pixels)

    def as_source(self, data_dir: Path) -> dict[str, str]:
        """Return how a run tells where they are from: `sources` of the ledger."""
        return {"uri": printable(data_dir.resolve().name), "sha256": self.source_sha256, "layout": self.dataset}

    def per_class(self) -> dict[str, int]:
        """Return how many images each class has, by its name."""
        counts = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        return dict(zip(self.class_names, counts, strict=True))


def has_names(class_names: Sequence[str]) -> bool:
    """Whether classes have names, and not just the numbers of their labels."""
    return list(class_names) != list(map(str, range(len(class_names))))


def other_class(ours: Sequence[str], theirs: Sequence[str] | None) -> str | None:
    """Say which label stands for another class in an evaluation than in a calibration set: the numbers then differ.

    Args:
        ours: Names of the classes of the calibration set, by label.
        theirs: Those of the evaluation set; None where its labels have no names.

    Returns:
        Words about the first such label; empty where there is none; None where nothing can tell.
    """
    if theirs is None or not has_names(ours):
        return None
    for label, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine != other:
            return f"label {label} is {mine!r} in the calibration set and {other!r} in the evaluation"
    return ""


def sample_id(picture: NDArray[np.uint8]) -> str:
    """Return the content hash of one image, uint8 (height, width, 3): SHA-256 of its size and its pixels, in hex.

    The size is in it, so that a picture of 4 x 8 is not one of 8 x 4 with the same bytes.
    """
    size = "x".join(map(str, picture.shape))
    return hashlib.sha256(f"{size}:".encode() + picture.tobytes()).hexdigest()


def sample_ids(pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Return the content hash of each image of a batch, uint8 (n, height, width, 3)."""
    return tuple(sample_id(picture) for picture in pixels)


def source_hash(files: Iterable[tuple[str, str]]) -> str:
    """Return one hash of several files, given as name and SHA-256 of the content, in the order in which they count."""
    lines = (f"{sha256} {name}\n" for name, sha256 in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def printable(name: str) -> str:
    """Return the name of a file as text that can be stored: bytes of it that are no UTF-8 get another sign."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def shortened(items: Sequence[str], most: int = 5) -> str:
    """Join what a message lists; from `most` on only their number is said."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
