"""Arrays in an `.npz` file: `images` uint8 (n, height, width, 3), `labels` (n,), and, if wanted, `class_names`.

The arrays are read without NumPy's own loader of archives: what an array needs is known before memory is asked for, and
nothing in the file is ever unpickled.
"""

from __future__ import annotations

import hashlib
import lzma
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from groundlake.calibration.images import CHANNELS, UNKNOWN_SPLIT, LabelledImages, printable, shortened
from groundlake.errors import LakeEnvironmentError, UsageError

DATASET = "npz"
IMAGES, LABELS, CLASS_NAMES = "images", "labels", "class_names"
SIZE_LIMIT = 4 * 2**30
"""Bytes of an array: it is in memory at once."""

_MOST_AXES = 8
"""Of an array; images have 4."""

_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError),
    *(OSError, RuntimeError, ValueError),
)
"""What Python's reader of archives raises for a damaged one: also errors of the system, for places that no file has."""

_NO_HEADER = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError),
    tokenize.TokenError,
)
"""What NumPy raises for a header: it has its text read as Python is."""

Array = np.ndarray[Any, Any]

_FORM = "images: uint8 (n, height, width, 3), labels: whole numbers (n,), and class_names: text, if there are names"


def read(data_dir: str | Path, *, split: str = "train") -> LabelledImages:
    """Read the arrays of a file, or of `train.npz` or `test.npz` in a folder.

    Args:
        data_dir: The file, whose split is then unknown, or the folder.
        split: train or test; which file of a folder is read.

    Raises:
        UsageError: The file or an array is missing, or of another form; the message says which.
        LakeEnvironmentError: The file may not be read.
    """
    path, its_split = _file(Path(data_dir), split)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.sha256()
            for block in iter(lambda: file.read(2**20), b""):
                sha256.update(block)
            arrays = _read_arrays(file, path)
    except OSError as error:
        raise LakeEnvironmentError(f"cannot read {path}: {error.strerror or error}") from error
    pixels = _pixels(arrays[IMAGES], path)
    labels = _labels(arrays[LABELS], len(pixels), path)
    return LabelledImages(
        pixels=pixels,
        labels=labels,
        class_names=_class_names(arrays.get(CLASS_NAMES), labels, path),
        files=(printable(path.name),) * len(pixels),
        indices=tuple(range(len(pixels))),
        names=("",) * len(pixels),
        dataset=DATASET,
        split=its_split,
        source_sha256=sha256.hexdigest(),
    )


def _file(data_dir: Path, split: str) -> tuple[Path, str]:
    """Return the file, and the split it is of."""
    if data_dir.is_file():
        return data_dir, UNKNOWN_SPLIT
    path = data_dir / f"{split}.npz"
    if path.is_file():
        return path, split
    what = f"has no {path.name}" if data_dir.is_dir() else "is not there"
    raise UsageError(f"npz: {data_dir} {what}\n  give the file, or a folder with train.npz and test.npz")


def _read_arrays(file: IO[bytes], path: Path) -> dict[str, Array]:
    """Read the arrays that count from an open archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            there = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            missing = [name for name in (IMAGES, LABELS) if name not in there]
            if missing:
                raise UsageError(
                    f"{path}: has no array {' and no array '.join(missing)}, but {shortened(sorted(there)) or 'none'}"
                    f"\n  {_FORM}"
                )
            wanted = [name for name in (IMAGES, LABELS, CLASS_NAMES) if name in there]
            return {name: _read_array(archive, archive.getinfo(there[name]), name, path) for name in wanted}
    except _BROKEN as error:
        raise UsageError(f"{path}: cannot be read as .npz: {error}\n  np.savez writes such a file") from None


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, path: Path) -> Array:
    """Read one array, whose header must agree with the size of the entry."""
    if entry.file_size > SIZE_LIMIT:
        raise UsageError(
            f"{path}: array {name} has {entry.file_size / 2**30:.1f} GiB, at most {SIZE_LIMIT / 2**30:g} GiB are read\n"
            "  a calibration set needs some hundred images of a class: give a file with fewer"
        )
    with archive.open(entry) as stream:
        shape, is_fortran, dtype = _header(stream, name, path)
        if dtype.hasobject:
            raise UsageError(
                f"{path}: array {name} holds Python objects, which are programs and are not run\n"
                f"  save it as a plain array\n  {_FORM}"
            )
        if len(shape) > _MOST_AXES or any(length < 0 for length in shape) or dtype.subdtype or not dtype.itemsize:
            raise UsageError(f"{path}: array {name} has {len(shape)} axes of {str(dtype)[:40]}\n  {_FORM}")
        needed = math.prod(shape) * dtype.itemsize
        data = stream.read(min(needed, SIZE_LIMIT) + 1)  # a small header may stand before a large nothing
    if needed != len(data):
        there = f"{len(data)} are" if len(data) < needed else "more are"
        raise UsageError(
            f"{path}: array {name} is cut off or damaged: {shape} {dtype} has {needed} bytes, {there} there"
        )
    values: Array = np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")
    return values


def _header(stream: IO[bytes], name: str, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type that an array has by its header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header of Python 2 is read all the same
            version = npy.read_magic(stream)
            return npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)
    except _NO_HEADER as error:
        raise UsageError(f"{path}: {name} is no array of NumPy: {str(error)[:200]}\n  {_FORM}") from None


def _pixels(images: Array, path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the images: uint8 (n, height, width, 3), C-contiguous."""
    if images.dtype != np.uint8:
        raise UsageError(
            f"{path}: images should be uint8, got {images.dtype}\n"
            "  a set keeps raw pixels of 0 to 255: what was scaled or normalised does not come back"
        )
    if images.ndim != 4 or images.shape[-1] != CHANNELS or not images.size:  # noqa: PLR2004 - n, height, width, 3
        turned = images.ndim == 4 and images.shape[1] == CHANNELS  # noqa: PLR2004 - the same
        advice = "these look like NCHW: images.transpose(0, 2, 3, 1)" if turned else _FORM
        raise UsageError(f"{path}: images should be (n, height, width, 3), got {images.shape}\n  {advice}")
    return np.ascontiguousarray(images)


def _labels(labels: Array, count: int, path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the classes of the images: int64 (n,)."""
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise UsageError(
            f"{path}: labels should be {count} whole numbers (one an image), got {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0 or int(labels.max()) > np.iinfo(np.int64).max:
        raise UsageError(f"{path}: labels should be 0 and above, got {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


def _class_names(names: Array | None, labels: np.ndarray[Any, np.dtype[np.int64]], path: Path) -> tuple[str, ...]:
    """Return the names of the classes; without any they are called by their numbers, and none may be missing."""
    highest = int(labels.max())
    if names is None:
        there = np.unique(labels)
        if len(there) != highest + 1:
            raise UsageError(
                f"{path}: labels go up to {highest}, and only {len(there)} of these classes have images\n"
                "  number the classes from 0, or save class_names with the name of each"
            )
        return tuple(map(str, range(highest + 1)))
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise UsageError(f"{path}: class_names should be a list of text, got {names.dtype} of shape {names.shape}")
    try:
        read = [each.encode() if isinstance(each, str) else each for each in names.tolist()]
        texts = tuple(each.decode() for each in read)
    except (ValueError, SystemError):  # NumPy takes any four bytes for a sign, and Python does not
        raise UsageError(f"{path}: class_names should be text, got bytes that are none (UTF-8)") from None
    if len(set(texts)) != len(texts) or not all(texts):
        raise UsageError(f"{path}: class_names should be different names, got {shortened(texts)}")
    if highest >= len(texts):
        raise UsageError(f"{path}: labels go up to {highest}, class_names has {len(texts)} names")
    return texts
