"""CIFAR-10 as its authors give it out for Python: five training batches, one test batch, and the names of the classes.

A calibration set is made of the training batches alone. What comes from the test batch would make the accuracy that is
measured on it look better than it is, so it is noticed by what it says of itself and by its pictures, not by its name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.calibration.images import CHANNELS, LabelledImages, sample_ids, source_hash
from groundlake.calibration.sources import pickles
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DATASET = "cifar10"
FOLDER = "cifar-10-batches-py"
TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = ("test_batch",)
META = "batches.meta"
SIZE = 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BYTES = SIZE * SIZE * CHANNELS
"""Of a picture: 1024 of red, then of green, then of blue, each row by row."""

PUBLISHED_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """One batch file: uint8 (n, 32, 32, 3), int64 (n,), and what it says of itself."""

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    says: str
    sha256: str
    md5: str


def read(data_dir: str | Path, *, split: str = "train") -> LabelledImages:
    """Read the training batches, or the test batch.

    Of the training batches, pictures that the test batch has, too, are left out.

    Args:
        data_dir: The folder `cifar-10-batches-py`, or the one that it is in.
        split: train or test.

    Raises:
        UsageError: A batch is missing, cut off or not what it should be, or a training batch holds test pictures.
        LakeEnvironmentError: A file may not be read.
    """
    folder = _folder(Path(data_dir))
    wanted = TEST if split == "test" else TRAINING
    _require(folder, wanted)
    class_names, meta_remarks, meta_hash, meta_md5, per_batch = _read_meta(folder)
    batches = [_read_batch(folder / name) for name in wanted]
    kept = [np.ones(len(batch.labels), dtype=bool) for batch in batches]
    read_files = {batch.name: batch.md5 for batch in batches} | meta_md5
    remarks = [*meta_remarks, *_unpublished(read_files), *_of_other_length(batches, per_batch, split)]
    _refuse_other_split(folder, batches, split)
    if split == "train":
        kept, shared = _without_test(folder, batches)
        remarks += shared
    places = [np.flatnonzero(keep) for keep in kept]
    files = [(batch.name, batch.sha256) for batch in batches]
    return LabelledImages(
        pixels=np.concatenate([batch.pixels[at] for batch, at in zip(batches, places, strict=True)]),
        labels=np.concatenate([batch.labels[at] for batch, at in zip(batches, places, strict=True)]),
        class_names=class_names,
        files=tuple(batch.name for batch, at in zip(batches, places, strict=True) for _ in at),
        indices=tuple(int(place) for at in places for place in at),
        names=tuple(batch.names[place] for batch, at in zip(batches, places, strict=True) for place in at),
        dataset=DATASET,
        split=split,
        source_sha256=source_hash([*files, *meta_hash]),
        remarks=tuple(remarks),
        is_compared=split == "train" and (folder / TEST[0]).is_file(),
    )


def _folder(data_dir: Path) -> Path:
    """Return the folder with the batches: the one that is given, or the one of the usual name in it."""
    if not data_dir.is_dir():
        what = "is a file" if data_dir.exists() else "is not there"
        raise UsageError(
            f"CIFAR-10: {data_dir} {what}\n  give the folder {FOLDER}, which cifar-10-python.tar.gz unpacks to"
        )
    inner = data_dir / FOLDER
    return inner if inner.is_dir() and not (data_dir / TRAINING[0]).exists() else data_dir


def _require(folder: Path, wanted: Sequence[str]) -> None:
    """Refuse a folder that lacks a batch, and say what it looks like instead."""
    missing = [name for name in wanted if not (folder / name).is_file()]
    if not missing:
        return
    if any(folder.glob("*_batch*.bin")):
        advice = "it has the binary version; get CIFAR-10 for Python (cifar-10-python.tar.gz)"
    elif any(folder.glob("cifar-10-python.tar*")):
        advice = "the archive is there: unpack it (tar xzf cifar-10-python.tar.gz)"
    elif len(missing) < len(wanted):
        advice = "unpack cifar-10-python.tar.gz again: all batches are needed"
    else:
        advice = f"give the folder {FOLDER}, which cifar-10-python.tar.gz unpacks to"
    raise UsageError(f"CIFAR-10: {folder} has no {', '.join(missing)}\n  {advice}")


def _read_meta(folder: Path) -> tuple[tuple[str, ...], list[str], list[tuple[str, str]], dict[str, str], int | None]:
    """Return names of the classes, remarks, name and hash of the file, its md5, and how many pictures a batch has.

    Without the file, the names are those that CIFAR-10 has: they are part of its definition.
    """
    path = folder / META
    if not path.is_file():
        return CLASSES, [f"missing_names: no {META}; the classes have the names of CIFAR-10"], [], {}, None
    data = pickles.read_bytes(path)
    facts = pickles.loads(data, META)
    names = facts.get(b"label_names")
    texts = [_text(name) for name in names] if isinstance(names, list) else []
    if len(texts) != len(CLASSES) or len(set(texts)) != len(CLASSES) or not all(texts):
        raise UsageError(f"{path}: 'label_names' should be {len(CLASSES)} different names, got {len(texts)} entries")
    count = facts.get(b"num_cases_per_batch")
    return (
        tuple(texts),
        [],
        [(META, hashlib.sha256(data).hexdigest())],
        {META: hashlib.md5(data, usedforsecurity=False).hexdigest()},
        count if isinstance(count, int) else None,
    )


def _read_batch(path: Path) -> _Batch:
    """Read one batch and check all that it holds."""
    data = pickles.read_bytes(path)
    facts = pickles.loads(data, path.name)
    rows = _rows(facts.get(b"data"), path)
    planes = rows.reshape(-1, CHANNELS, SIZE, SIZE)
    return _Batch(
        name=path.name,
        pixels=np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
        labels=_labels(facts.get(b"labels"), len(rows), path),
        names=_names(facts.get(b"filenames"), len(rows), path),
        says=_text(facts.get(b"batch_label")),
        sha256=hashlib.sha256(data).hexdigest(),
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
    )


def _rows(rows: object, path: Path) -> NDArray[np.uint8]:
    """Return the pictures of a batch, uint8 (n, 3072)."""
    if not isinstance(rows, np.ndarray):
        raise UsageError(f"{path}: 'data' should be an array of uint8, {_got(rows)}")
    if rows.ndim != 2 or rows.shape[1] != BYTES or not len(rows):  # noqa: PLR2004 - pictures and bytes
        raise UsageError(f"{path}: 'data' should have the shape (pictures, {BYTES}), got {rows.shape}")
    return rows


def _labels(labels: object, count: int, path: Path) -> NDArray[np.int64]:
    """Return the classes of the pictures of a batch, int64 (n,)."""
    if isinstance(labels, np.ndarray) and labels.ndim == 1:
        labels = labels.tolist()
    if not isinstance(labels, list):
        raise UsageError(f"{path}: 'labels' should be a list of numbers, {_got(labels)}")
    if len(labels) != count:
        raise UsageError(f"{path}: 'labels' has {len(labels)} entries, 'data' has {count} pictures")
    for place, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASSES):
            shown = label if type(label) is int else type(label).__name__
            raise UsageError(f"{path}: label {place} should be 0 to {len(CLASSES) - 1}, got {shown}")
    return np.array(labels, dtype=np.int64)


def _names(names: object, count: int, path: Path) -> tuple[str, ...]:
    """Return the names of the pictures of a batch; empty ones where it has none."""
    if names is None:
        return ("",) * count
    if not isinstance(names, list) or len(names) != count:
        got = f"{len(names)} entries" if isinstance(names, list) else type(names).__name__
        raise UsageError(f"{path}: 'filenames' should name {count} pictures, got {got}")
    return tuple(_text(name) for name in names)


def _refuse_other_split(folder: Path, batches: Sequence[_Batch], split: str) -> None:
    """Refuse a batch that has the name of one split and calls itself one of the other."""
    for batch in batches:
        says = batch.says.lower()
        if split == "train" and "test" in says:
            raise _is_test(folder / batch.name, f"it calls itself {batch.says[:40]!r}")
        if split == "test" and "train" in says:
            raise UsageError(
                f"{folder / batch.name}: this is a training batch: it calls itself {batch.says[:40]!r}\n"
                "  accuracy on pictures that a model was trained with looks better than it is\n"
                "  unpack cifar-10-python.tar.gz again"
            )


def _without_test(folder: Path, batches: Sequence[_Batch]) -> tuple[list[NDArray[np.bool_]], list[str]]:
    """Say for each batch which pictures are not of the test batch; refuse one that has no others."""
    if not (folder / TEST[0]).is_file():
        return [np.ones(len(batch.labels), dtype=bool) for batch in batches], []
    test = set(sample_ids(_read_batch(folder / TEST[0]).pixels))
    kept = [np.array([each not in test for each in sample_ids(batch.pixels)], dtype=bool) for batch in batches]
    for batch, keep in zip(batches, kept, strict=True):
        if not keep.any():
            raise _is_test(folder / batch.name, f"all of its pictures are in {TEST[0]}, too")
    shared = sum(int((~keep).sum()) for keep in kept)
    return kept, [f"also_in_test: left out {shared} training pictures that {TEST[0]} has, too"] if shared else []


def _is_test(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path}: this is the test batch: {why}\n"
        "  calibrating with test pictures makes the accuracy on them look better than it is\n"
        "  unpack cifar-10-python.tar.gz again; training batches are data_batch_1 to data_batch_5"
    )


def _unpublished(md5_of: dict[str, str]) -> list[str]:
    """Remark on files that are not those that were published."""
    others = [name for name, md5 in md5_of.items() if md5 != PUBLISHED_MD5.get(name)]
    return [f"not_the_published_files: {', '.join(others)} differ from those of CIFAR-10 (md5)"] if others else []


def _of_other_length(batches: Sequence[_Batch], per_batch: int | None, split: str) -> list[str]:
    """Remark on training batches with another number of pictures than batches.meta tells."""
    if per_batch is None or split != "train":
        return []
    others = [f"{batch.name} has {len(batch.labels)}" for batch in batches if len(batch.labels) != per_batch]
    return [f"other_length: {META} says {per_batch} pictures a batch, {', '.join(others)}"] if others else []


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a file holds
    """Return text that Python 2 or 3 wrote, with another sign for what is none; empty for anything else."""
    if isinstance(value, str):
        value = value.encode("utf-8", errors="replace")  # a pickle may hold halves of signs, which no file takes
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else ""


def _got(value: object) -> str:
    return "there is none" if value is None else f"got {type(value).__name__}"
