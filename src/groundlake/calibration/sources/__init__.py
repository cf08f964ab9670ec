"""Where labelled images come from: CIFAR-10 for Python, a folder of pictures, or arrays in an `.npz` file.

Each source has a module with `read(data_dir, *, split)`; `read` here takes the one that is named.
"""

from __future__ import annotations

import difflib
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from groundlake.calibration.images import UNKNOWN_SPLIT
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from groundlake.calibration.images import LabelledImages

SOURCES = ("cifar10", "image_folder", "npz")
SPLITS = ("train", "test")


def read(source: str, data_dir: str | Path, *, split: str = "train") -> LabelledImages:
    """Read the images of one split.

    Args:
        source: cifar10, image_folder or npz.
        data_dir: Folder of the data set; of npz the file, or a folder with `train.npz` and `test.npz`.
        split: train or test. CIFAR-10 has both; of the others, a folder or file of that name is taken where there is
            one, else all there is, whose split is unknown.

    Raises:
        UsageError: An unknown source or split, training images from a path that is called test, or data that are
            wrong; the message names the file.
        MissingDependencyError: A folder of pictures, and Pillow is not installed.
        LakeEnvironmentError: A file may not be read.
    """
    if source not in SOURCES:
        near = difflib.get_close_matches(source, SOURCES, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(SOURCES)}"
        raise UsageError(f"no source of images {source!r}\n  {advice}")
    if split not in SPLITS:
        raise UsageError(f"no split {split!r} of a data set\n  there are {', '.join(SPLITS)}")
    images: LabelledImages = import_module(f"groundlake.calibration.sources.{source}").read(data_dir, split=split)
    if split == "train" and images.split == UNKNOWN_SPLIT and _is_called_test(data_dir):
        raise UsageError(
            f"{data_dir} is called test: calibrated with test images, the accuracy on them looks better than it is\n"
            "  give the training images; images of an evaluation are registered with lake calibration register-eval"
        )
    return images


def _is_called_test(data_dir: str | Path) -> bool:
    """Whether a file or folder of images that does not tell its split has the name of the test split."""
    return Path(os.path.abspath(data_dir)).stem.casefold() == "test"  # noqa: PTH100 - a link is judged by its own name
