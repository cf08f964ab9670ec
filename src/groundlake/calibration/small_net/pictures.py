"""Makes pictures whose classes can be learned, and writes them in the format of CIFAR-10 for Python.

    python -m groundlake.calibration.small_net.pictures FOLDER [--per-class N] [--test-per-class N] [--seed N]

A class is one of ten directions of stripes. Length, phase, contrast, colours, light and noise are a picture's own, so
that neither a pixel nor the mean colour tells the class: it has to be seen.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.commit import write_made_files
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE, BATCHES = 32, 5
CLASS_NAMES = tuple(f"stripes at {18 * number} degrees" for number in range(10))
AT_ONCE = 500
"""Pictures that are made together: what is kept in memory as floats."""
PROTOCOL = 3
"""Of pickle: the last that writes arrays with the three names of NumPy that the real files have."""


def make_pictures(per_class: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Make pictures of all classes in a mixed order.

    Args:
        per_class: How many of each.
        seed: The same seed gives the same pictures with the same version of NumPy.

    Returns:
        Pixels (n, 32, 32, 3), and labels (n,).

    Raises:
        UsageError: No pictures.
    """
    if per_class < 1:
        raise UsageError(f"pictures of each class must be at least 1, got {per_class}")
    random = np.random.default_rng([seed, len(CLASS_NAMES)])
    labels = random.permutation(np.repeat(np.arange(len(CLASS_NAMES)), per_class)).astype(np.int64)
    parts = [_draw(labels[start : start + AT_ONCE], random) for start in range(0, labels.size, AT_ONCE)]
    return np.concatenate(parts), labels


def _draw(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a picture (32, 32, 3) for each label."""
    one, colours = (labels.size, 1, 1), (labels.size, 1, 1, 3)
    angle = np.pi * labels.reshape(one) / len(CLASS_NAMES) + random.normal(0, 0.045, one)
    row, column = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    along = (column * np.cos(angle) + row * np.sin(angle)) / random.uniform(4.5, 9.0, one)
    stripes = np.sin(2 * np.pi * (along + random.uniform(0, 1, one)))[..., None]
    slope = random.normal(0, 25, (labels.size, 1, 1, 2))
    light = slope[..., 0] * (row / SIZE - 0.5) + slope[..., 1] * (column / SIZE - 0.5)
    noise = random.normal(0, 30, (labels.size, SIZE, SIZE, 3))
    values = random.uniform(80, 175, colours) + random.uniform(-75, 75, colours) * stripes + light[..., None] + noise
    return np.ascontiguousarray(values.round().clip(0, 255).astype(np.uint8))


def write_cifar10(folder: Path, *, per_class: int, test_per_class: int, seed: int = 0) -> Path:
    """Write five training batches, a test batch and batches.meta, as CIFAR-10 for Python has them.

    Args:
        folder: Is made where it is not there.
        per_class: Training pictures of each class, over all batches.
        test_per_class: Test pictures of each class; they are drawn with another seed than those for training.
        seed: See `make_pictures`.

    Returns:
        The folder.

    Raises:
        UsageError: `per_class` is no multiple of 5, there are no pictures, or other files of these names are there.
        LakeEnvironmentError: The folder cannot be written.
    """
    if per_class % BATCHES:
        raise UsageError(f"training pictures of each class fill {BATCHES} batches: a multiple of 5, got {per_class}")
    pixels, labels = make_pictures(per_class, seed)
    each = labels.size // BATCHES
    files: dict[str, bytes] = {}
    for number in range(1, BATCHES + 1):
        part = slice((number - 1) * each, number * each)
        facts = _batch(pixels[part], labels[part], f"training batch {number} of {BATCHES}")
        files[f"data_batch_{number}"] = pickle.dumps(facts, PROTOCOL)
    facts = _batch(*make_pictures(test_per_class, seed + 1), "testing batch 1 of 1")
    files["test_batch"] = pickle.dumps(facts, PROTOCOL)
    names = [name.encode() for name in CLASS_NAMES]
    meta = {b"num_cases_per_batch": each, b"label_names": names, b"num_vis": SIZE * SIZE * 3}
    write_made_files(folder, files | {"batches.meta": pickle.dumps(meta, PROTOCOL)})
    return folder


def _batch(pixels: NDArray[np.uint8], labels: NDArray[np.int64], says: str) -> dict[bytes, Any]:
    """Return what a batch holds: for each picture 1024 red, 1024 green and 1024 blue bytes, its label and its name."""
    rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(labels.size, -1)
    names = [f"stripes_{18 * label:03}_s_{place:06}.png".encode() for place, label in enumerate(labels.tolist())]
    return {b"batch_label": says.encode(), b"labels": labels.tolist(), b"data": rows, b"filenames": names}


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m groundlake.calibration.small_net.pictures", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="where the batches go")
    parser.add_argument("--per-class", type=int, default=500, help="training pictures of each class (default: 500)")
    parser.add_argument("--test-per-class", type=int, default=100, help="test pictures of each class (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        write_cifar10(given.folder, per_class=given.per_class, test_per_class=given.test_per_class, seed=given.seed)
    except LakeError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{given.folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
