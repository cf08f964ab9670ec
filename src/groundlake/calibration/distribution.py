"""Load a calibration set without a lake, and check what was loaded: what scripts of quantization call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from groundlake.calibration.images import CHANNELS
from groundlake.calibration.preprocessing import apply
from groundlake.calibration.selection import SAMPLES_PER_CLASS, SEED, choose, repeated
from groundlake.calibration.sources import cifar10
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from groundlake.calibration.images import LabelledImages


def load_calibration_data(
    data_dir: str, samples_per_class: int = SAMPLES_PER_CLASS
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    """Load a stratified calibration set from the training batches of CIFAR-10; the test batch gives none of it.

    The images are those that `lake calibration build --source cifar10` stores with seed 0, in the same order.

    Args:
        data_dir: Folder `cifar-10-batches-py`.
        samples_per_class: Images of each of the ten classes.

    Returns:
        Images float32 (10 * samples_per_class, 32, 32, 3), NHWC, raw values 0.0 to 255.0, not normalised; their labels
        int64 (10 * samples_per_class,); and the names of the classes, by label.

    Raises:
        UsageError: The folder or a batch is not what it should be, or a class has fewer images.
        LakeEnvironmentError: A file may not be read.
    """
    images, labels, class_names, _ = load(data_dir, samples_per_class)
    return images, labels, class_names


def load(
    data_dir: str, samples_per_class: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str], tuple[str, ...]]:
    """Load as `load_calibration_data` does, with what is unusual about the files."""
    source: LabelledImages = cifar10.read(data_dir)
    chosen = choose(source, samples_per_class, SEED)
    passed_over = repeated(source)
    remarks = (*source.remarks, passed_over) if passed_over else source.remarks
    return apply(source.pixels[chosen]), source.labels[chosen], list(source.class_names), remarks


def verify_distribution(labels: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, int]:
    """Count the samples of each class, and print them as a table.

    Args:
        labels: Classes of the samples, whole numbers (n,).
        class_names: Names of the classes, by label.

    Returns:
        Samples by name of the class, in the order of the labels; a class without any has 0.

    Raises:
        UsageError: A label has no name, or a name is there twice.
    """
    numbers = np.asarray(labels)
    names = [str(name) for name in class_names]
    if len(set(names)) != len(names):
        raise UsageError(f"class names: each stands for one class, got {', '.join(names)}")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise UsageError(f"labels: should be whole numbers (n,), got {numbers.dtype} of shape {numbers.shape}")
    if numbers.size and (numbers.min() < 0 or numbers.max() >= len(names)):
        raise UsageError(f"labels: should be 0 to {len(names) - 1}, got {numbers.min()} to {numbers.max()}")
    counts = dict(zip(names, np.bincount(numbers, minlength=len(names)).tolist(), strict=True))
    print("\n".join(_table(counts)))  # noqa: T201 - printing is what it is called for
    return counts


def check_images(images: NDArray[np.float32]) -> list[str]:
    """Check that images are as every calibration set has them: float32, NHWC, raw values of 0 to 255.

    Args:
        images: What was loaded.

    Returns:
        What was found, a line each.

    Raises:
        LakeError: They are of another type or layout, or were divided by 255 or normalised.
    """
    if images.dtype != np.float32:
        raise LakeError(f"images: should be float32, got {images.dtype}")
    if images.ndim != 4 or images.shape[-1] != CHANNELS or not images.size:  # noqa: PLR2004 - n, height, width, 3
        raise LakeError(f"images: should be NHWC, (n, height, width, 3), got {images.shape}")
    low, high = float(images.min()), float(images.max())
    if low < 0.0 or not 1.0 < high <= 255.0:  # noqa: PLR2004 - the highest value of a byte
        raise LakeError(
            f"images: pixel range [{low}, {high}] is not that of raw pixels, 0 to 255\n"
            "  were they divided by 255, or normalised? A calibration set is neither"
        )
    return [
        f"dtype: {images.dtype}",
        f"shape: {images.shape}",
        f"pixel range: [{low}, {high}]",
        "NHWC format confirmed",
    ]


def _table(counts: dict[str, int]) -> list[str]:
    """Lay the counts of the classes out, with their shares, and say whether they are equal."""
    total = sum(counts.values())
    width = max(len(name) for name in ("class", *counts))
    lines = [f"{'class':<{width}}  samples  share"]
    lines += [f"{name:<{width}}  {count:>7}  {count / total if total else 0:>5.1%}" for name, count in counts.items()]
    low, high = min(counts.values(), default=0), max(counts.values(), default=0)
    verdict = f"balanced: {low} of each class" if low == high else f"NOT balanced: {low} to {high} of a class"
    return [*lines, f"{'total':<{width}}  {total:>7}", verdict]
