"""Makes files in the format of CIFAR-10 for Python, of pictures whose classes can be learned.

A class is a direction of stripes: ten directions, each with a phase, a contrast, two colours and noise of its own, so
that a small network learns them in seconds, and must look at the picture for it.
"""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32
BATCHES = 5
NOISE = 25.0
"""Standard deviation of the noise, in steps of a pixel."""


def pictures(per_class: int, *, seed: int = 0, size: int = SIZE, classes: int = len(CLASSES)):
    """Return pixels (n, size, size, 3) uint8 and labels (n,) int64 in a mixed order; no picture is there twice."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(classes), per_class))
    angle = labels * np.pi / classes + generator.normal(0, 0.04, labels.size)
    row, column = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    along = column * np.cos(angle)[:, None, None] + row * np.sin(angle)[:, None, None]
    length = generator.uniform(5.0, 8.0, labels.size)[:, None, None]
    phase = generator.uniform(0, 2 * np.pi, labels.size)[:, None, None]
    wave = np.sin(2 * np.pi * along / length + phase)[..., None]
    contrast = generator.uniform(40, 100, (labels.size, 1, 1, 3))
    middle = generator.uniform(90, 165, (labels.size, 1, 1, 3))
    noisy = middle + contrast * wave + generator.normal(0, NOISE, (labels.size, size, size, 3))
    return np.ascontiguousarray(noisy.clip(0, 255).astype(np.uint8)), labels.astype(np.int64)


def write_cifar10(
    folder: Path, *, per_class: int = 60, test_per_class: int = 12, seed: int = 0, protocol: int = 2
) -> Path:
    """Write five training batches, the test batch and batches.meta; return the folder.

    Args:
        folder: Is made; `cifar-10-batches-py` is its name in the real data set.
        per_class: Training pictures of each class, over all batches; a multiple of 5 makes batches of equal size.
        test_per_class: Pictures of each class in the test batch; 0 writes none.
        seed: Other seeds give other pictures of the same classes.
        protocol: 2 writes what Python 2 wrote, opcode for opcode, as the real files are; 3 or 4 what today's does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = pictures(per_class + test_per_class, seed=seed)
    is_test = _is_nth_of_class(labels) >= per_class
    training = zip(np.array_split(pixels[~is_test], BATCHES), np.array_split(labels[~is_test], BATCHES), strict=True)
    for number, (its_pixels, its_labels) in enumerate(training, start=1):
        facts = batch(its_pixels, its_labels, batch_label=f"training batch {number} of {BATCHES}")
        dump(folder / f"data_batch_{number}", facts, protocol)
    if test_per_class:
        test = batch(pixels[is_test], labels[is_test], batch_label="testing batch 1 of 1")
        dump(folder / "test_batch", test, protocol)
    dump(folder / "batches.meta", meta(per_class * len(CLASSES) // BATCHES), protocol)
    return folder


def batch(pixels: np.ndarray, labels: np.ndarray, *, batch_label: str = "training batch 1 of 5") -> dict[bytes, Any]:
    """Return what a batch file holds: rows of 1024 red, 1024 green and 1024 blue bytes, and a label for each."""
    rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), -1)
    names = [f"{CLASSES[label]}_s_{_digest(row)}.png".encode() for row, label in zip(rows, labels, strict=True)]
    return {b"batch_label": batch_label.encode(), b"labels": labels.tolist(), b"data": rows, b"filenames": names}


def meta(per_batch: int) -> dict[bytes, Any]:
    """Return what batches.meta holds."""
    names = [name.encode() for name in CLASSES]
    return {b"num_cases_per_batch": per_batch, b"label_names": names, b"num_vis": SIZE * SIZE * 3}


def dump(path: Path, value: Mapping[bytes, Any], protocol: int = 2) -> None:
    """Pickle to a file; protocol 2 as Python 2 did it, with its strings of bytes and the old name of NumPy's module."""
    with path.open("wb") as file:
        (_Python2Pickler(file, 2) if protocol == 2 else pickle.Pickler(file, protocol)).dump(value)


class _Python2Pickler(pickle._Pickler):
    """Writes bytes and text as Python 2's strings, and NumPy's function under the name that it had then."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def _save_string(self, value: bytes | str) -> None:
        data = value.encode("latin-1") if isinstance(value, str) else value
        length = bytes([len(data)]) if len(data) < 256 else len(data).to_bytes(4, "little")
        self.write((pickle.SHORT_BINSTRING if len(data) < 256 else pickle.BINSTRING) + length + data)
        self.memoize(value)

    dispatch[bytes] = _save_string
    dispatch[str] = _save_string

    def save_global(self, obj: object, name: str | None = None) -> None:
        if getattr(obj, "__name__", "") != "_reconstruct":
            super().save_global(obj, name)
            return
        self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
        self.memoize(obj)


def _is_nth_of_class(labels: np.ndarray) -> np.ndarray:
    """Return for each picture how many of its class come before it."""
    place = np.zeros(labels.size, dtype=np.int64)
    for label in np.unique(labels):
        place[labels == label] = np.arange((labels == label).sum())
    return place


def _digest(row: np.ndarray) -> str:
    return hashlib.sha256(row.tobytes()).hexdigest()[:6]
