"""Batches of a calibration set as a model takes them: what the readers for PyTorch and for ONNX Runtime share.

Images come from the lake as they are asked for. A preparation that the model wants beyond raw values is done here, and
only if it is the one that the calibration set or the evaluation has: another one is an error, for a wrong scale costs
a quantized model most of its accuracy and nothing else would say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from groundlake.calibration.preprocessing import apply, fingerprint
from groundlake.calibration.reading import BYTES_AT_ONCE, LAYOUTS, unknown_name
from groundlake.errors import UsageError
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from groundlake.calibration.reading import CalibrationSet, Layout
    from groundlake.store import Lake

Preprocess = Callable[[Any], Any]
"""Takes images (n, height, width, 3), returns an array with one entry for each."""
Takes = Literal["uint8", "float32"]
TAKES: tuple[Takes, ...] = ("uint8", "float32")
Last = Literal["keep", "drop", "pad"]
"""What becomes of a last batch that is not full: it stays smaller, is left out, or is filled with the first images."""
LASTS: tuple[Last, ...] = ("keep", "drop", "pad")
BATCH_SIZE = 50
"""Divides every set of ten classes with a multiple of five images each."""
_AXES = 4


class OtherPreparationError(UsageError):
    """Images are prepared otherwise than they have to be."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How batches are made of a set; `make_feed` checks it.

    Attributes:
        calibration_set: Where the images come from.
        batch_size: Images in a batch.
        layout: Order of the axes of a batch.
        last: What becomes of a last batch that is not full.
        preprocess: Prepares images; None leaves them float32, 0 to 255. `make_feed` takes the function of a set that
            was built with one.
        takes: Type of the images that `preprocess` is called with; both are 0 to 255, NHWC.
        returns: Order of the axes of what it returns.
        fingerprint: Of the preparation: that of the batches without their layout.
    """

    calibration_set: CalibrationSet
    batch_size: int
    layout: Layout
    last: Last
    preprocess: Preprocess | None
    takes: Takes
    returns: Layout
    fingerprint: str

    def __len__(self) -> int:
        """Return the number of batches."""
        full, rest = divmod(self.calibration_set.num_samples, self.batch_size)
        return full + bool(rest and self.last != "drop")

    @property
    def num_images(self) -> int:
        """Images of the set that come in the batches: fewer than it has where a last batch is dropped."""
        return min(len(self) * self.batch_size, self.calibration_set.num_samples)

    @property
    def num_repeated(self) -> int:
        """Images that come once more to fill the last batch."""
        return len(self) * self.batch_size - self.num_images if self.last == "pad" else 0

    def batches(self, start: int = 0, end: int | None = None) -> Iterator[NDArray[Any]]:
        """Read the batches from one number up to another, the end left out; few images are in memory at any time.

        Yields:
            Arrays (batch_size, channels, height, width) or (batch_size, height, width, channels), C-contiguous.

        Raises:
            UsageError: The preprocessing fails, or gives what no model takes.
            CorruptLakeError: Images are missing from the lake.
        """
        last = len(self) if end is None else min(end, len(self))
        height, width, channels = self.calibration_set.image_shape
        together = max(BYTES_AT_ONCE // (height * width * channels * self.batch_size), 1)
        for first in range(start, last, together):
            until = min(first + together, last)
            pixels = self._pixels(first * self.batch_size, until * self.batch_size)
            for place in range(until - first):
                part = pixels[place * self.batch_size : (place + 1) * self.batch_size]
                yield self._prepared(part, first + place)

    def _pixels(self, start: int, end: int) -> NDArray[np.uint8]:
        """Read the images of places, those beyond the end of the set from its start again where batches are filled."""
        size = self.calibration_set.num_samples
        pixels = self.calibration_set.pixels(start, min(end, size))
        if end <= size or self.last != "pad":
            return pixels
        again = self.calibration_set.pixels(0, min(end - size, size))
        return np.concatenate([pixels, np.resize(again, (end - size, *again.shape[1:]))])

    def _prepared(self, pixels: NDArray[np.uint8], number: int) -> NDArray[Any]:
        """Prepare the images of a batch, and put their axes in order."""
        if self.preprocess is None:
            return _in_layout(apply(pixels), "NHWC", self.layout)
        what = f"preprocessing {_name(self.preprocess)}, batch {number} of set {self.calibration_set.name}"
        try:
            images = np.asarray(self.preprocess(pixels if self.takes == "uint8" else apply(pixels)))
        except (Exception, SystemExit) as error:  # the function is the user's: it may raise anything
            said = str(error).partition("\n")[0]
            raise UsageError(f"{what}: fails: {type(error).__name__}: {said}") from error
        if images.ndim != _AXES or len(images) != len(pixels):
            raise UsageError(f"{what}: of {pixels.shape} it makes {images.shape}; return four axes, images first")
        if images.dtype == np.float64:
            raise UsageError(f"{what}: gives float64, which models do not take; return it `.astype(numpy.float32)`")
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise UsageError(f"{what}: gives values that are not finite")
        return _in_layout(images, self.returns, self.layout)


def make_feed(
    calibration_set: CalibrationSet,
    *,
    batch_size: int,
    layout: Layout,
    last: Last,
    preprocess: Preprocess | None = None,
    takes: Takes = "uint8",
    returns: Layout = "NHWC",
    expected: str | None = None,
    evaluation_set: str | None = None,
) -> Feed:
    """Check how batches should be made of a set.

    Args:
        calibration_set: See `Feed`, as for those below.
        batch_size: See there.
        layout: See there.
        last: See there.
        preprocess: See there.
        takes: See there.
        returns: See there.
        expected: Fingerprint that the preparation must have; without it, and without `evaluation_set`, the set's.
        evaluation_set: Name of an evaluation set of the same lake whose fingerprint it must have.

    Raises:
        UsageError: A value is unknown, the batch size below 1, no batch is full though the last is dropped, there is
            no such evaluation set, or the preparation has another fingerprint, or changed since the set was built.
    """
    name = calibration_set.name
    for what, got, known in (
        ("layout", layout, LAYOUTS),
        ("returns", returns, LAYOUTS),
        ("takes", takes, TAKES),
        ("last", last, LASTS),
    ):
        if got not in known:
            raise UsageError(f"calibration set {name}: {what} is one of {', '.join(known)}, got {got!r}")
    if batch_size < 1:
        raise UsageError(f"calibration set {name}: a batch has at least 1 image, got {batch_size}")
    if last == "drop" and batch_size > calibration_set.num_samples:
        raise UsageError(
            f"calibration set {name} has {calibration_set.num_samples} images, so that no batch of {batch_size} is full"
        )
    if preprocess is None and calibration_set.preprocess is not None:
        calibration_set.require_its_code()
        preprocess, takes, returns = calibration_set.function(), "uint8", "NHWC"
    found = _checked_fingerprint(calibration_set, preprocess, takes, expected, evaluation_set)
    return Feed(
        calibration_set=calibration_set,
        batch_size=batch_size,
        layout=layout,
        last=last,
        preprocess=preprocess,
        takes=takes,
        returns=returns,
        fingerprint=found,
    )


def _checked_fingerprint(
    calibration_set: CalibrationSet,
    preprocess: Preprocess | None,
    takes: Takes,
    expected: str | None,
    evaluation_set: str | None,
) -> str:
    """Return the fingerprint of a preparation, which is the wanted one."""
    if expected is not None and evaluation_set is not None:
        raise UsageError("give the fingerprint that is expected, or the evaluation set that has it, not both")
    if preprocess is None:
        calibration_set.require_its_code()
        what, found = "raw images, float32 0 to 255,", calibration_set.preprocessing_fingerprint
    else:
        what, found = f"preprocessing {_name(preprocess)}", _fingerprint_of(preprocess, takes, calibration_set)
    whose, wanted = f"calibration set {calibration_set.name}", calibration_set.preprocessing_fingerprint
    advice = "give the preprocessing of the evaluation, and evaluation_set= (or expected=) to say whose it is"
    if calibration_set.preprocess is not None:
        advice = "build another set with the function of that evaluation: lake calibration build --preprocess"
        if found != wanted:
            advice = "leave preprocess= out: the set is read through its own function"
            raise _other(what, found, f"{whose} ({calibration_set.preprocess})", wanted, advice)
    if expected is not None:
        whose, wanted = "what was expected", expected
    elif evaluation_set is not None:
        wanted = _registered(calibration_set.lake, evaluation_set)
        whose = f"evaluation set {evaluation_set}"
    if found == wanted:
        return found
    raise _other(what, found, whose, wanted, advice)


def _other(what: str, found: str, whose: str, wanted: str, advice: str) -> OtherPreparationError:
    return OtherPreparationError(
        f"{what} and {whose} prepare images differently: the fingerprint is {found[:16]}..., not {wanted[:16]}...\n"
        "  calibrated with other values than it is evaluated with, a quantized model is wrong\n"
        f"  {advice}"
    )


def _fingerprint_of(preprocess: Preprocess, takes: Takes, calibration_set: CalibrationSet) -> str:
    """Return the fingerprint of a function from raw bytes on, whichever type it takes."""

    def from_bytes(pixels: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - what the function of the user returns
        return preprocess(pixels if takes == "uint8" else apply(pixels))

    size = {"height": calibration_set.height, "width": calibration_set.width}
    return fingerprint(from_bytes, **size, called=_name(preprocess)).preprocessing


def _registered(lake: Lake, name: str) -> str:
    """Return the fingerprint of an evaluation set of a lake."""
    sets = lake.frame("evaluation_sets", hardware_id=NO_KEY)
    recorded = lake.runs(NO_KEY).select("run_id", "recorded_at")
    mine = sets.filter(pl.col("evaluation_set") == name).join(recorded, on="run_id").sort("recorded_at", "run_id")
    if mine.is_empty():
        raise unknown_name("evaluation set", name, sets["evaluation_set"], lake, "lake calibration register-eval")
    found: str = mine["preprocessing_fingerprint"][-1]
    return found


def _in_layout(images: NDArray[Any], has: Layout, wanted: Layout) -> NDArray[Any]:
    if has == wanted:
        return np.ascontiguousarray(images)
    axes = (0, 3, 1, 2) if wanted == "NCHW" else (0, 2, 3, 1)
    return np.ascontiguousarray(images.transpose(axes))


def _name(preprocess: Preprocess) -> str:
    return getattr(preprocess, "__qualname__", repr(preprocess))
