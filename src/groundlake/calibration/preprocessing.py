"""How the images of a set are prepared, as words and as what really comes out.

A description can stay as it is while the code behind it changes, and two functions can have one effect under different
names. So what counts is the output for fixed images, the probe: its hash is the fingerprint. A calibration set and an
evaluation that prepare images alike have the same one, whatever their functions are called.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.calibration.images import CHANNELS
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

PROBES = 4
_AXES = 4
_KINDS = "biuf"
"""Kinds of numbers that a model can take: bool, integers, floats."""
_ROUNDING = 1e-5
"""Relative and absolute difference of prepared values that is no other preparation."""
_LARGEST = 8
"""Bytes of such a number; longer floats differ from machine to machine."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a function makes of the probe images.

    Attributes:
        preprocessing: Hash of type, shape and bytes of the output.
        probe_sha256: Hash of the bytes alone: equal for outputs that differ in shape only.
        dtype: Type of the output, as `float32`.
        shape: Its shape.
        low: Its lowest value.
        high: Its highest value.
    """

    preprocessing: str
    probe_sha256: str
    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How raw pixels become what a model is given, in words that a program reads."""

    description: Mapping[str, object]

    def to_json(self) -> str:
        """Return the description in its one form: keys sorted, no blanks."""
        return json.dumps(self.description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


RAW = Preprocessing(
    description={
        "input": "uint8 NHWC RGB 0..255",
        "layout": "NHWC",
        "channel_order": "RGB",
        "dtype": "float32",
        "scale": None,
        "mean": None,
        "std": None,
        "reshape": None,
        "transpose": None,
    }
)
"""The preparation of a calibration set for which no function was named: the type changes, and nothing else."""


def by_function(named: str, made: Fingerprint) -> Preprocessing:
    """Describe the preparation of a set whose images a function prepares on reading.

    Args:
        named: The function, `package.module:function`.
        made: What it makes of the probe images: float32, NHWC.

    Raises:
        UsageError: It makes something else, which the readers of a set do not give.
    """
    channels_last = len(made.shape) == _AXES and made.shape[-1] == CHANNELS
    if made.dtype != "float32" or not channels_last or not (math.isfinite(made.low) and math.isfinite(made.high)):
        raise UsageError(
            f"preprocessing {named}: gives {made.dtype} {list(made.shape)}, {made.low:g}..{made.high:g}\n"
            f"  a calibration set gives finite float32 (n, height, width, {CHANNELS}): name the function before it puts"
            " channels\n  first (the readers transpose), and let it return `.astype(numpy.float32)`"
        )
    facts = {"function": named, "shape": list(made.shape), "minimum": made.low, "maximum": made.high}
    usual = {name: RAW.description[name] for name in ("input", "layout", "dtype")}
    return Preprocessing(description=usual | facts)


def apply(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Prepare raw pixels, uint8 (n, height, width, 3), as every calibration set does.

    Returns:
        float32 of the same shape, NHWC, C-contiguous, 0.0 to 255.0: not divided by 255, not normalised.
    """
    return np.ascontiguousarray(pixels, dtype=np.float32)


def probe_images(height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    """Make the probe images: uint8 (4, height, width, 3), the same on every machine and in every release.

    They are made by a hash. The first two have values of all kinds, all 256 of them where they have room for it; the
    third has little contrast and the last is almost black, so that a function that stretches each image is noticed.
    """
    size = height * width * CHANNELS
    noise = _noise(PROBES * size).reshape(PROBES, size)
    ramp = np.arange(256, dtype=np.uint8)[: 2 * size]
    noise[:2].reshape(-1)[: ramp.size] = ramp
    noise[2] = 64 + noise[2] // 8
    noise[3] //= 128
    return noise.reshape(PROBES, height, width, CHANNELS)


def fingerprint(
    function: Callable[[NDArray[np.uint8]], ArrayLike], *, height: int = 32, width: int = 32, called: str = ""
) -> Fingerprint:
    """Return the fingerprint of a function that prepares images.

    Args:
        function: Takes uint8 (n, height, width, 3) and returns numbers for a model.
        height: Of the images that it is made for, in pixels.
        width: Of the images that it is made for, in pixels.
        called: Its name, for messages.

    Raises:
        UsageError: It fails on the probe images, gives no array of numbers with an entry for each of them, not the
            same each time, or not the same for an image alone as among others.
    """
    name = called or getattr(function, "__qualname__", repr(function))
    first, again = (_output(function, probe_images(height, width), name) for _ in range(2))
    if first.dtype != again.dtype or first.shape != again.shape or first.tobytes() != again.tobytes():
        raise UsageError(
            f"preprocessing {name}: gives another output each time it is given the same images\n"
            "  an evaluation prepares images without chance; leave augmentation out of it"
        )
    _refuse_of_batch(function, first, probe_images(height, width), name)
    data = first.tobytes()
    head = f"{first.dtype.name} {','.join(map(str, first.shape))}\n".encode()
    return Fingerprint(
        preprocessing=hashlib.sha256(head + data).hexdigest(),
        probe_sha256=hashlib.sha256(data).hexdigest(),
        dtype=first.dtype.name,
        shape=first.shape,
        low=float(first.min()),
        high=float(first.max()),
    )


def _refuse_of_batch(
    function: Callable[[NDArray[np.uint8]], ArrayLike],
    together: NDArray[np.generic],
    images: NDArray[np.uint8],
    name: str,
) -> None:
    """Refuse a function that prepares an image otherwise when it comes with others: batches are not those of the probe.

    A rounding or two of difference passes: libraries add up in another order for another size.
    """
    for place in range(PROBES):
        alone = _output(function, images[place : place + 1].copy(), name)
        wanted = together[place : place + 1]
        if alone.shape != wanted.shape or not _is_close(alone, wanted):
            raise UsageError(
                f"preprocessing {name}: prepares an image otherwise alone than among others\n"
                "  batches of calibration and evaluation differ, and so would their images: let each image depend on\n"
                "  itself only (a mean over images.mean() is one of the whole batch)"
            )


def _is_close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    with np.errstate(all="ignore"):
        return np.allclose(one, other, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True)


def _output(
    function: Callable[[NDArray[np.uint8]], ArrayLike], images: NDArray[np.uint8], name: str
) -> NDArray[np.generic]:
    """Call a function on the probe images; its numbers come back in the order of bytes that all machines share."""
    try:
        output = np.asarray(function(images))
    except (Exception, SystemExit) as error:  # the function is the user's: it may raise anything
        said = str(error).partition("\n")[0]
        raise UsageError(
            f"preprocessing {name}: fails on images uint8 {images.shape}: {type(error).__name__}: {said}\n"
            "  it is called with one array, NHWC, red green blue, 0 to 255"
        ) from error
    if output.dtype.kind not in _KINDS or output.dtype.itemsize > _LARGEST or not output.size:
        raise UsageError(
            f"preprocessing {name}: gives no array of numbers, but {output.dtype} of shape {output.shape}\n"
            "  return what the model is given: an array with one entry for each image"
        )
    if output.shape[:1] != (len(images),):
        raise UsageError(
            f"preprocessing {name}: of {len(images)} images it makes an array of shape {output.shape}\n"
            "  it is called with several images at once: return an array with one entry for each of them"
        )
    return np.ascontiguousarray(output, dtype=output.dtype.newbyteorder("<"))


def _noise(count: int) -> NDArray[np.uint8]:
    """Return bytes that look random: SHA-256 of a text and a number that counts."""
    blocks = -(-count // hashlib.sha256().digest_size)
    joined = b"".join(hashlib.sha256(f"groundlake probe image {block}".encode()).digest() for block in range(blocks))
    return np.frombuffer(joined[:count], dtype=np.uint8).copy()
