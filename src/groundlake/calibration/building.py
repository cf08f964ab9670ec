"""Build a calibration set: read, choose, and commit one run with its facts and its images.

A name stands for one content. The same set again writes nothing; another content under a name that is taken is refused,
because what was quantized with the set says no more than its name and its fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake import __version__
from groundlake.calibration.identity import checked_name, set_fingerprint
from groundlake.calibration.images import UNKNOWN_SPLIT, sample_ids, shortened
from groundlake.calibration.preprocessing import RAW, apply, by_function, fingerprint
from groundlake.calibration.selection import SAMPLES_PER_CLASS, SEED, choose, repeated
from groundlake.calibration.sources import read
from groundlake.calibration.user_code import working_function
from groundlake.errors import CorruptLakeError, UsageError
from groundlake.intake import utc_now
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from groundlake.calibration.images import LabelledImages
    from groundlake.calibration.preprocessing import Fingerprint
    from groundlake.store import Lake

KIND = "calibration"
_SHOWN = 12
"""Characters of a hash that a message shows."""
_HASH = 64
"""Characters of a hash."""
_FACTS_IN_WORDS = {
    "seed": "seed",
    "samples_per_class": "images of each class",
    "dataset": "source",
    "split": "split",
    "class_names": "classes",
    "source_sha256": "files",
    "preprocess": "--preprocess",
    "preprocessing_fingerprint": "preprocessing",
}
"""What makes a set another one, and how a message calls it."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What building a set came to.

    Attributes:
        name: Name of the set.
        run_id: Run that wrote it.
        was_there: Whether the lake had it already: nothing was written.
        set_fingerprint: Hash of source, selection and preprocessing.
        preprocessing_fingerprint: Hash of what the preprocessing makes of the probe images.
        num_samples: Images.
        samples_per_class: Images of each class.
        class_names: Names of the classes, by label.
        image_shape: Height, width and channels of an image.
        split: Part of the data set that the images are of: train, test or unknown.
        remarks: What is unusual about the files, each as `code: text`.
    """

    name: str
    run_id: str
    was_there: bool
    set_fingerprint: str
    preprocessing_fingerprint: str
    num_samples: int
    samples_per_class: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    split: str
    remarks: tuple[str, ...]


def build(
    lake: Lake,
    *,
    source: str,
    data_dir: str | Path,
    samples_per_class: int = SAMPLES_PER_CLASS,
    seed: int = SEED,
    name: str | None = None,
    preprocess: str | None = None,
) -> Built:
    """Build a calibration set from training images, unless the lake has it.

    Args:
        lake: Where it goes; it is made when it is missing.
        source: cifar10, image_folder or npz.
        data_dir: Folder or file of the data set.
        samples_per_class: Images of each class.
        seed: Another seed gives another choice.
        name: Name of the set; without one, source, number, seed and function make it.
        preprocess: Function that prepares its images for the network, as `package.module:function`, as its evaluation
            does. It is imported from the working directory too, and called whenever the set is read; what is stored
            are raw bytes all the same. Without one, images are float32, 0 to 255.

    Raises:
        UsageError: The data are wrong, a class has fewer images, the function is not there or gives something else
            than finite float32 in NHWC, or the name is taken by another set. Nothing was written.
        MissingDependencyError: The source needs a library that is not installed.
        LakeEnvironmentError: A file cannot be read, or the lake not be written.
    """
    started_at = utc_now()
    called = checked_name(
        "calibration set", name if name is not None else default_name(source, samples_per_class, seed, preprocess)
    )
    images = read(source, data_dir, split="train")
    told = [each for each in (repeated(images), _not_compared(images)) if each]
    images = replace(images, remarks=(*images.remarks, *told))
    chosen = choose(images, samples_per_class, seed)
    height, width, _ = images.image_shape
    function = apply if preprocess is None else working_function(preprocess)
    prepared = fingerprint(function, height=height, width=width, called=preprocess or "")
    selection = _Selection(
        name=called,
        images=images,
        chosen=chosen,
        sample_ids=sample_ids(images.pixels[chosen]),
        samples_per_class=samples_per_class,
        seed=seed,
        preprocess=preprocess,
        described=(RAW if preprocess is None else by_function(preprocess, prepared)).to_json(),
        prepared=prepared,
    )
    known = _known_run(lake, selection)
    return selection.built(known or selection.commit(lake, Path(data_dir), started_at), was_there=known is not None)


def default_name(source: str, samples_per_class: int, seed: int, preprocess: str | None = None) -> str:
    """Return the name of a set that is given none."""
    other = f"-seed-{seed}" if seed != SEED else ""
    prepared = f"-{preprocess.rpartition(':')[2]}" if preprocess else ""
    return f"{source}-{samples_per_class}-per-class{other}{prepared}"


@dataclass(frozen=True, kw_only=True)
class _Selection:
    """Images that were chosen, and all that makes them this set and no other."""

    name: str
    images: LabelledImages
    chosen: NDArray[np.int64]
    sample_ids: tuple[str, ...]
    samples_per_class: int
    seed: int
    preprocess: str | None
    described: str
    prepared: Fingerprint

    @property
    def set_fingerprint(self) -> str:
        """Hash of source, selection and preprocessing; the name of the set is not in it."""
        images = self.images
        return set_fingerprint(
            dataset=images.dataset,
            split=images.split,
            source_sha256=images.source_sha256,
            class_names=images.class_names,
            samples_per_class=self.samples_per_class,
            seed=self.seed,
            samples=list(zip(self.sample_ids, images.labels[self.chosen].tolist(), strict=True)),
            preprocessing_json=self.described,
            preprocessing_fingerprint=self.prepared.preprocessing,
        )

    def commit(self, lake: Lake, data_dir: Path, started_at: dt.datetime) -> str:
        """Write one run with the facts of the set and its images; returns the run id."""
        images = self.images
        ledger = {
            "hardware_id": NO_KEY,
            "kind": KIND,
            "session_id": self.name,
            "config_hash": self.set_fingerprint,
            "tool_version": f"groundlake {__version__}",
            "started_at": started_at,
            "started_at_zone_source": "clock",
            "duration_s": (utc_now() - started_at).total_seconds(),
            "timing_method": "none",
            "sources": [images.as_source(data_dir)],
            "warnings": list(images.remarks) or None,
        }
        return lake.write(ledger, calibration_builds=self.facts(), calibration_samples=self._samples())

    def facts(self) -> pl.DataFrame:
        """Return the row of `calibration_builds`."""
        images = self.images
        height, width, channels = images.image_shape
        return pl.DataFrame(
            {
                "calibration_set": [self.name],
                "set_fingerprint": [self.set_fingerprint],
                "dataset": [images.dataset],
                "split": [images.split],
                "source_sha256": [images.source_sha256],
                "seed": [self.seed],
                "samples_per_class": [self.samples_per_class],
                "num_classes": [len(images.class_names)],
                "num_samples": [len(self.chosen)],
                "height": [height],
                "width": [width],
                "channels": [channels],
                "class_names": [list(images.class_names)],
                "preprocess": pl.Series([self.preprocess], dtype=pl.String),
                "preprocessing_json": [self.described],
                "probe_sha256": [self.prepared.probe_sha256],
                "preprocessing_fingerprint": [self.prepared.preprocessing],
            }
        )

    def _samples(self) -> pl.DataFrame:
        images, places = self.images, self.chosen.tolist()
        labels = images.labels[self.chosen].tolist()
        flat = images.pixels[self.chosen].reshape(len(places), -1)
        return pl.DataFrame(
            {
                "calibration_set": [self.name] * len(places),
                "sample_id": list(self.sample_ids),
                "ordinal": list(range(len(places))),
                "label": labels,
                "class_name": [images.class_names[label] for label in labels],
                "source_file": [images.files[at] for at in places],
                "source_index": [images.indices[at] for at in places],
                "source_name": [images.names[at] or None for at in places],
                "pixels": [each.tobytes() for each in flat],
                "pixel_min": flat.min(axis=1),
                "pixel_max": flat.max(axis=1),
                "pixel_mean": flat.mean(axis=1, dtype="float64"),
            },
            schema_overrides={"source_name": pl.String},
        )

    def built(self, run_id: str, *, was_there: bool) -> Built:
        """Say what came of it."""
        return Built(
            name=self.name,
            run_id=run_id,
            was_there=was_there,
            set_fingerprint=self.set_fingerprint,
            preprocessing_fingerprint=self.prepared.preprocessing,
            num_samples=len(self.chosen),
            samples_per_class=self.samples_per_class,
            class_names=self.images.class_names,
            image_shape=self.images.image_shape,
            split=self.images.split,
            remarks=self.images.remarks,
        )


def _not_compared(images: LabelledImages) -> str | None:
    """Remark on images of which nobody knows whether an evaluation has them, too."""
    if images.split == UNKNOWN_SPLIT:
        return (
            f"split_unknown: {images.dataset} does not say whether these are training images, and nothing was compared "
            "with test images: lake calibration register-eval, then verify"
        )
    if not images.is_compared:
        told = "lake calibration register-eval, then verify"
        return f"not_compared: the training images of {images.dataset} were not compared with test images: {told}"
    return None


def _is_whole(lake: Lake, run_id: str, num_samples: int) -> bool:
    """Whether the lake has all images of a run; a set that lost some is built again."""
    try:
        rows = lake.scan("calibration_samples", hardware_id=NO_KEY, run_id=run_id)
        return bool(rows.select(pl.len()).collect().item() == num_samples)
    except CorruptLakeError:
        return False


def _known_run(lake: Lake, wanted: _Selection) -> str | None:
    """Return the run of this set where the lake has it under this name; refuse another one of that name."""
    if not lake.exists:
        return None
    rows = lake.frame("calibration_builds", hardware_id=NO_KEY).filter(pl.col("calibration_set") == wanted.name)
    same = rows.filter(pl.col("set_fingerprint") == wanted.set_fingerprint)
    if not same.is_empty():
        whole = [run_id for run_id in same["run_id"] if _is_whole(lake, run_id, same["num_samples"][0])]
        return max(whole, default=None)
    if rows.is_empty():
        return None
    there = rows.row(0, named=True)
    now = wanted.facts().row(0, named=True)
    raise UsageError(
        f"calibration set {wanted.name} is in {lake.root} with other content\n"
        f"  there: {there['num_samples']} images, seed {there['seed']}, fingerprint "
        f"{there['set_fingerprint'][:_SHOWN]}; now: {now['set_fingerprint'][:_SHOWN]}\n"
        f"  different now: {_difference(there, now)}\n"
        "  what was quantized with it refers to that content: give this set another --name"
    )


def _difference(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in which of its facts a set differs from the one that is there."""
    told = [
        f"{words} {_short(now[fact])}, there {_short(there[fact])}"
        for fact, words in _FACTS_IN_WORDS.items()
        if now[fact] != there[fact]
    ]
    return "; ".join(told) or "which images were chosen"


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} ({shortened(value, 3)})"
    text = "none" if value is None else str(value)
    return text[:_SHOWN] if len(text) == _HASH else text
