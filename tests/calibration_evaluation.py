"""What an evaluation is of: tests that register one write its pictures and its module with `write_data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cifar

if TYPE_CHECKING:
    from pathlib import Path

EVALUATION = '''
import numpy as np

SCALE = np.float32(255)

class Steps:
    @staticmethod
    def raw(images):
        return images.astype(np.float32)

def raw(images):
    return Steps.raw(images)

def scaled(images):
    return images.astype(np.float32) / SCALE

def channels_first(images):
    return images.astype(np.float32).transpose(0, 3, 1, 2)

def blue_first(images):
    return images.astype(np.float32)[..., ::-1]

def as_bytes(images):
    return images

def in_double(images):
    return images.astype(np.float64)

def standardized(images):
    axes = {"axis": (1, 2, 3), "keepdims": True}
    return (images.astype(np.float32) - images.mean(**axes)) / images.std(**axes)

def of_the_batch(images):
    return images.astype(np.float32) - np.float32(images.mean())

def shifted(images):
    return 255 - images.astype(np.float32)

def nested(images):
    return [[[list(map(float, pixel)) for pixel in row] for row in image] for image in images]

class Tensor:
    """Gives its numbers as tensors of other libraries do."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __array__(self, dtype=None, copy=None):
        return self.numbers

def tensor(images):
    return Tensor(raw(images))

def failing(images):
    raise KeyError("mean")

class Later:
    @property
    def prepare(self):
        raise ImportError("no torch")

LATER = Later()

def ending(images):
    raise SystemExit

def words(images):
    return ["cat", "dog"]

def nothing(images):
    return None

def divided_by_zero(images):
    with np.errstate(all="ignore"):
        return images.astype(np.float32) / np.float32(0)

def augmented(images):
    return images.astype(np.float32) + np.random.default_rng().normal()
'''


def write_data(folder: Path) -> Path:
    """Write a data set in the format of CIFAR-10 beside modules of an evaluation; returns the folder."""
    cifar.write_cifar10(folder / "cifar", per_class=5, test_per_class=2)
    (folder / "evaluation_of_verify.py").write_text(EVALUATION, encoding="utf-8")
    (folder / "module_of_verify_that_fails.py").write_text("import not_installed_anywhere\n", encoding="utf-8")
    (folder / "module_of_verify_that_ends.py").write_text("import sys\nsys.exit('no weights')\n", encoding="utf-8")
    return folder
