"""What a model takes by itself, and the name of a model with inputs of another shape. Imports no torch.

The shape of the input decides about the work as much as the model does, and the keys of a run are device, precision,
model and batch: so a shape that is not the model's own is a part of its name, for example `resnet18@3x160x160`.
"""

from __future__ import annotations

import re

from groundlake.errors import UsageError
from groundlake.measure.encoder_table import DEFAULT_LENGTH, ENCODERS

DEFAULT_SIDE = 224
"""Height and width of a classifier's input, in pixels, unless the table says otherwise."""

INPUT_SIDES = {
    "efficientnet_b1": 240,
    "efficientnet_b2": 288,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "efficientnet_b7": 600,
    "efficientnet_v2_s": 384,
    "efficientnet_v2_m": 384,
    "efficientnet_v2_l": 480,
    "inception_v3": 299,
    "swin_v2_t": 256,
    "swin_v2_s": 256,
    "swin_v2_b": 256,
}
"""Evaluation crop that torchvision documents with the weights of a model, in pixels."""

CHANNELS = 3
"""Channels of the images that the classifiers of torchvision take."""


def own_shape(model: str) -> tuple[int, ...] | None:
    """Shape of one input that a model takes by itself, without the batch; None for a factory, which must be called."""
    if ":" in model:
        return None
    if model in ENCODERS:
        return (DEFAULT_LENGTH,)
    side = INPUT_SIDES.get(model, DEFAULT_SIDE)
    return (CHANNELS, side, side)


def name_with_shape(model: str, shape: tuple[int, ...] | None) -> str:
    """Name of a model with inputs of a shape; the plain name where it takes that shape by itself.

    Raises:
        UsageError: A size below 1.
    """
    if shape is None:
        return model
    if not shape or min(shape) < 1:
        raise UsageError(f"--input-shape: every size is at least 1, got {','.join(map(str, shape)) or 'none'}")
    return model if shape == own_shape(model) else f"{model}@{'x'.join(map(str, shape))}"


def split_name(name: str) -> tuple[str, tuple[int, ...] | None]:
    """Split a name into the model and the shape of its input; None where the name has none."""
    found = re.fullmatch(r"(.+)@(\d+(?:x\d+)*)", name)
    if found is None:
        return name, None
    return found[1], tuple(int(size) for size in found[2].split("x"))
