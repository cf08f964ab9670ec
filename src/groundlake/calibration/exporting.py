"""Write a calibration set as files that quantization tools read: arrays of NumPy, batches of ONNX Runtime, tensors."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.commit import environment_error
from groundlake.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from groundlake.calibration.reading import CalibrationSet, Layout

FORMATS = ("npz", "ort", "torch")
USUAL_LAYOUT: dict[str, Layout] = {"npz": "NHWC", "ort": "NCHW", "torch": "NCHW"}
"""What its readers usually want: models of PyTorch, and those exported from it to ONNX, have the channels first."""

DATA_SET = "test_data_set_"
"""ONNX Runtime's tools read a batch from a folder of this name and a number, beside the model."""

FACTS = "calibration.json"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        path: File, or folder of ort.
        images: Images in it.
        layout: Order of the axes.
        batches: Batches, of ort.
    """

    path: Path
    images: int
    layout: str
    batches: int | None = None


def export(opened: CalibrationSet, to: str, output: Path, *, layout: Layout | None = None, batch: int = 1) -> Exported:
    """Write a calibration set.

    Args:
        opened: The set.
        to: npz: `images` float32, `labels`, `class_names`, `sample_ids`, `fingerprint`, `layout`, `preprocessing`,
            `preprocessing_fingerprint`. torch: a dict of tensors and
            texts, which `torch.load(..., weights_only=True)` reads. ort: a folder with a batch in each
            `test_data_set_<n>/input_0.pb`, as ONNX Runtime's `static_quantize_runner` reads them beside a model; what
            an interrupted export left in the folder is replaced.
        output: File; of ort a folder.
        layout: NHWC or NCHW; what the format usually has where none is given.
        batch: Images in a batch, of ort.

    Raises:
        UsageError: An unknown format, a batch that the set is no multiple of, a folder that holds batches, or a set
            that was built by a version of groundlake that prepares images otherwise.
        MissingDependencyError: The format needs a library that is not installed.
        CorruptLakeError: Images are missing.
        LakeEnvironmentError: It cannot be written.
    """
    if to not in FORMATS:
        raise UsageError(f"--to {to!r}: a calibration set is written as {', '.join(FORMATS)}")
    opened.require_its_code()
    chosen = layout or USUAL_LAYOUT[to]
    if to == "ort":
        try:
            return _to_ort(opened, output, chosen, batch)
        except OSError as error:
            raise environment_error(error, output, "-o") from error
    if not output.absolute().parent.is_dir():
        raise UsageError(f"-o {output}: its folder does not exist")
    if output.is_dir():
        raise UsageError(f"-o {output}: is a folder; {to} is written as one file")
    write = _to_npz if to == "npz" else _to_torch
    write(opened, output, chosen)
    return Exported(path=output, images=len(opened), layout=chosen)


def facts(opened: CalibrationSet, layout: str) -> dict[str, Any]:
    """Return what stands beside exported images: which set they are of, and how they were prepared."""
    return {
        "calibration_set": opened.name,
        "set_fingerprint": opened.fingerprint,
        "preprocessing_fingerprint": opened.preprocessing_fingerprint,
        "preprocessing": opened.preprocessing,
        "dataset": opened.dataset,
        "split": opened.split,
        "num_samples": opened.num_samples,
        "samples_per_class": opened.samples_per_class,
        "class_names": list(opened.class_names),
        "dtype": "float32",
        "layout": layout,
    }


def _to_npz(opened: CalibrationSet, output: Path, layout: Layout) -> None:
    with _in_place_of(output) as path, path.open("wb") as file:
        np.savez(
            file,
            images=_images(opened, layout),
            labels=opened.labels,
            class_names=np.array(opened.class_names, dtype=np.str_),
            sample_ids=np.array(opened.sample_ids, dtype=np.str_),
            fingerprint=np.array(opened.fingerprint),
            layout=np.array(layout),
            preprocessing=np.array(opened.preprocessing_json),
            preprocessing_fingerprint=np.array(opened.preprocessing_fingerprint),
        )


def _to_torch(opened: CalibrationSet, output: Path, layout: Layout) -> None:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"--to torch needs PyTorch ({error})\n  pip install 'groundlake[measure]'"
        ) from error
    content = facts(opened, layout) | {
        "images": torch.from_numpy(_images(opened, layout)),
        "labels": torch.from_numpy(opened.labels),
        "sample_ids": list(opened.sample_ids),
        "fingerprint": opened.fingerprint,
    }
    with _in_place_of(output) as path, path.open("wb") as file:
        torch.save(content, file)


def _images(opened: CalibrationSet, layout: Layout) -> np.ndarray[Any, np.dtype[np.float32]]:
    (images,) = opened.batches(len(opened), layout=layout)
    return images


def _to_ort(opened: CalibrationSet, folder: Path, layout: Layout, batch: int) -> Exported:
    try:
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingDependencyError(
            f"--to ort writes tensors of ONNX, which needs onnx ({error})\n  pip install 'groundlake[quantization]'"
        ) from error
    count = _whole_batches(opened, batch)
    begun = folder / (FACTS + ".tmp")
    there = sorted(path.name for path in folder.glob(f"{DATA_SET}*")) if folder.is_dir() else []
    if begun.is_file():  # of an export that was interrupted: what is there is its own
        for each in there:
            shutil.rmtree(folder / each)
        there = []
    if there or (folder.exists() and not folder.is_dir()):
        holds = f"holds {there[0]} already" if there else "is a file"
        raise UsageError(f"-o {folder}: {holds}; ort writes a folder of batches: name another one")
    folder.mkdir(parents=True, exist_ok=True)
    content = facts(opened, layout) | {"batch": batch, "num_batches": count, "sample_ids": list(opened.sample_ids)}
    begun.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for number, images in enumerate(opened.batches(batch, layout=layout)):
        place = folder / f"{DATA_SET}{number}"
        place.mkdir()
        tensor = numpy_helper.from_array(images, name="input_0")
        (place / "input_0.pb").write_bytes(tensor.SerializeToString())
    begun.replace(folder / FACTS)
    return Exported(path=folder, images=len(opened), layout=layout, batches=count)


def _whole_batches(opened: CalibrationSet, batch: int) -> int:
    """Return the number of batches: all of one size, for ONNX Runtime's histograms fail where the last one differs."""
    if batch < 1 or len(opened) % batch:
        fitting = [size for size in range(1, len(opened) + 1) if len(opened) % size == 0]
        near = sorted(fitting, key=lambda size: abs(size - batch))[:4]
        raise UsageError(
            f"--batch {batch}: the {len(opened)} images of {opened.name} make no whole number of batches\n"
            f"  near ones that do: {', '.join(map(str, sorted(near)))}"
        )
    return len(opened) // batch


@contextmanager
def _in_place_of(output: Path) -> Iterator[Path]:
    """Yield a path to write to, whose file takes the place of `output` once it is whole."""
    path = output.with_name(output.name + ".tmp")
    try:
        yield path
        path.replace(output)
    except OSError as error:
        error.filename = None  # a temporary file, which nobody asked for
        raise environment_error(error, output, "-o") from error
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
