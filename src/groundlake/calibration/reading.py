"""Open a calibration set of a lake: its facts at once, its images when they are asked for, in batches of any size."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from groundlake.calibration.preprocessing import apply, fingerprint
from groundlake.calibration.user_code import working_function
from groundlake.errors import CorruptLakeError, UsageError
from groundlake.ledger import retry
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from groundlake.store import Lake

Layout = Literal["NHWC", "NCHW"]
"""Order of the axes of a batch: images, then height, width and channels, or channels, height and width."""

LAYOUTS: tuple[Layout, ...] = ("NHWC", "NCHW")

BYTES_AT_ONCE = 4 * 2**20
"""Raw pixels that are read together, and kept beside the batch: 1365 images of CIFAR-10. A batch may need more."""


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """One calibration set of a lake.

    Opening it reads one row; the images stay in the lake until they are asked for.

    Attributes:
        lake: The lake that it is in.
        name: Its name.
        run_id: Run that wrote it.
        fingerprint: Hash of source, selection and preprocessing: equal sets have equal ones.
        dataset: cifar10, image_folder or npz.
        split: Part of the data set that the images are of: train, test or unknown.
        source_sha256: Hash of the files that were read.
        seed: Seed of the selection.
        samples_per_class: Images of each class.
        num_samples: Images.
        height: Of an image, in pixels.
        width: Of an image, in pixels.
        channels: 3.
        class_names: Names of the classes, by label.
        preprocessing_json: Canonical description of what is done to the pixels.
        probe_sha256: Hash of its output on the probe images.
        preprocessing_fingerprint: Hash of that output with its type and layout.
        preprocess: Function that prepares the images for a network, `package.module:function`; None leaves them
            float32, 0 to 255.
    """

    lake: Lake
    name: str
    run_id: str
    fingerprint: str
    dataset: str
    split: str
    source_sha256: str
    seed: int
    samples_per_class: int
    num_samples: int
    height: int
    width: int
    channels: int
    class_names: tuple[str, ...]
    preprocessing_json: str
    probe_sha256: str
    preprocessing_fingerprint: str
    preprocess: str | None = None

    def __len__(self) -> int:
        return self.num_samples

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Description of what is done to the pixels."""
        described: dict[str, Any] = json.loads(self.preprocessing_json)
        return described

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, self.channels

    @property
    def prepared_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image as the set prepares it."""
        if self.preprocess is None:
            return self.image_shape
        _, height, width, channels = self.preprocessing["shape"]
        return height, width, channels

    @cached_property
    def samples(self) -> pl.DataFrame:
        """Rows of `calibration_samples` without the pixels, in the order of the set."""
        of_source = ("source_file", "source_index", "source_name")
        of_pixels = ("pixel_min", "pixel_max", "pixel_mean")
        return self._rows(("ordinal", "sample_id", "label", "class_name", *of_source, *of_pixels))

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes of the images, in the order of the set: int64, (num_samples,)."""
        return self.samples["label"].to_numpy().astype(np.int64)

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """Content hashes of the images, in the order of the set."""
        return tuple(self.samples["sample_id"])

    def function(self) -> Callable[[NDArray[np.uint8]], Any]:
        """Return what prepares its raw pixels; a function of the user is imported, from the working directory too.

        Raises:
            UsageError: That function is not there any more.
        """
        whose = f"calibration set {self.name}: the function that it was built with cannot be used:"
        return apply if self.preprocess is None else working_function(self.preprocess, whose)

    def require_its_code(self) -> None:
        """Make sure that images are prepared as when the set was built, by its function or by groundlake.

        Raises:
            UsageError: What is made of the probe images has another fingerprint than the set, or cannot be made.
        """
        size = {"height": self.height, "width": self.width}
        now = fingerprint(self.function(), **size, called=self.preprocess or "").preprocessing
        if now != self.preprocessing_fingerprint and self.preprocess is not None:
            raise UsageError(
                f"calibration set {self.name}: {self.preprocess} does something else than when the set was built: the "
                f"fingerprint is {now[:16]}..., not {self.preprocessing_fingerprint[:16]}...\n"
                "  build the set again under another name, and calibrate anew"
            )
        if now != self.preprocessing_fingerprint:
            raise UsageError(
                f"calibration set {self.name}: this version of groundlake prepares images otherwise than the one that "
                f"built it: the fingerprint is {now[:16]}..., not {self.preprocessing_fingerprint[:16]}...\n"
                "  build the set again under another name"
            )

    def pixels(self, start: int = 0, end: int | None = None) -> NDArray[np.uint8]:
        """Read images as they are stored: uint8, (images, height, width, channels), C-contiguous; all by default.

        Args:
            start: Place in the set of the first one.
            end: Place before which to stop; None reads to the end of the set.

        Raises:
            CorruptLakeError: Images are missing, or have another size than the set says.
        """
        return self._pixels(start, self.num_samples if end is None else end)

    def images(self) -> NDArray[np.float32]:
        """Read all images as the set prepares them: float32, (num_samples, height, width, channels).

        They are 0 to 255, unless the set was built with a function.

        Raises:
            UsageError: The function of the set is not there, or does something else than when it was built.
            CorruptLakeError: Images are missing, or have another size than the set says.
        """
        return _prepared(self._checked_function(), self.pixels())

    def batches(self, size: int, *, layout: Layout = "NHWC", drop_last: bool = False) -> Iterator[NDArray[np.float32]]:
        """Read the images batch by batch, in the order of the set; few of them are in memory at any time.

        Args:
            size: Images in a batch.
            layout: Order of the axes; models of PyTorch want NCHW.
            drop_last: Leave out a last batch that is smaller than the others.

        Yields:
            float32, (size, height, width, channels) or (size, channels, height, width), C-contiguous.

        Raises:
            UsageError: The size is below 1, or the layout unknown; or the function of the set is not there, or does
                something else than when it was built.
            CorruptLakeError: Images are missing, or have another size than the set says.
        """
        if size < 1:
            raise UsageError(f"calibration set {self.name}: a batch has at least 1 image, got {size}")
        if layout not in LAYOUTS:
            raise UsageError(f"calibration set {self.name}: a layout is one of {', '.join(LAYOUTS)}, got {layout!r}")
        return self._batches(self._checked_function(), size, layout, drop_last=drop_last)

    def _checked_function(self) -> Callable[[NDArray[np.uint8]], Any]:
        if self.preprocess is not None:
            self.require_its_code()
        return self.function()

    def _batches(
        self, function: Callable[[NDArray[np.uint8]], Any], size: int, layout: Layout, *, drop_last: bool
    ) -> Iterator[NDArray[np.float32]]:
        end = self.num_samples - self.num_samples % size if drop_last else self.num_samples
        at_once = max(BYTES_AT_ONCE // (self.height * self.width * self.channels * size), 1) * size  # whole batches
        for start in range(0, end, at_once):
            pixels = self._pixels(start, min(start + at_once, end))
            for first in range(0, len(pixels), size):
                images = _prepared(function, pixels[first : first + size])
                yield images if layout == "NHWC" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def _pixels(self, start: int, end: int) -> NDArray[np.uint8]:
        """Read the images from one place in the set up to another, the end left out."""
        rows = self._rows(("ordinal", "pixels"), start, end)
        size = self.height * self.width * self.channels
        wrong = rows.filter(pl.col("pixels").bin.size() != size)
        if not wrong.is_empty():
            ordinal, pixels = wrong.row(0)
            raise CorruptLakeError(
                f"calibration set {self.name}: image {ordinal} has {len(pixels)} bytes, "
                f"{self.height} x {self.width} x {self.channels} need {size}\n"
                "build the set again under another name"
            )
        joined = bytearray(b"".join(rows["pixels"]))  # an array over it may be written to
        return np.frombuffer(joined, dtype=np.uint8).reshape(-1, *self.image_shape)

    def _rows(self, columns: Iterable[str], start: int = 0, end: int | None = None) -> pl.DataFrame:
        """Read columns of the images from one place in the set up to another, in its order."""
        end = self.num_samples if end is None else end

        def read() -> pl.DataFrame:
            rows = self.lake.scan("calibration_samples", hardware_id=NO_KEY, run_id=self.run_id)
            chosen = rows.filter(pl.col("ordinal") >= start, pl.col("ordinal") < end)
            return chosen.select(columns).sort("ordinal").collect()

        found = retry(partial(read))
        if found.height != end - start:
            raise CorruptLakeError(
                f"calibration set {self.name} has {found.height} of the images {start} to {end - 1}\n"
                "`lake check` says which file is gone; the same `lake calibration build` makes the set again"
            )
        return found


def _prepared(function: Callable[[NDArray[np.uint8]], Any], pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(function(pixels), dtype=np.float32)


def open_set(lake: Lake, name: str) -> CalibrationSet:
    """Open a calibration set by its name; where a lake was merged from several, the set that was recorded last.

    Args:
        lake: The lake that it is in.
        name: Name of the set.

    Raises:
        UsageError: There is no such set; similar names are listed.
        LakeNotFoundError: There is no lake.
    """
    builds = lake.frame("calibration_builds", hardware_id=NO_KEY)
    recorded = lake.runs(NO_KEY).select("run_id", "recorded_at")
    mine = builds.filter(pl.col("calibration_set") == name).join(recorded, on="run_id")
    if mine.is_empty():
        raise unknown_name("calibration set", name, builds["calibration_set"], lake, "lake calibration build")
    row = mine.sort("recorded_at", "run_id").row(-1, named=True)
    facts = {each: row[each] for each in CalibrationSet.__dataclass_fields__ if each in row}
    facts |= {"fingerprint": row["set_fingerprint"], "class_names": tuple(row["class_names"])}
    return CalibrationSet(lake=lake, name=name, **facts)


def unknown_name(what: str, name: str, known: Iterable[str], lake: Lake, how_made: str) -> UsageError:
    """Make the error of a name that nothing has: similar ones, else all that there are.

    Args:
        what: What would have it.
        name: The name.
        known: Names that there are.
        lake: Where it was looked for.
        how_made: Command that makes one.
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        advice = f"did you mean {', '.join(near)}?"
    elif names:
        advice = f"there are {', '.join(names[:10])}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")  # noqa: PLR2004 - a message is short
    else:
        advice = f"there is none yet; {how_made} makes one"
    return UsageError(f"no {what} {name!r} in {lake.root}\n  {advice}")
