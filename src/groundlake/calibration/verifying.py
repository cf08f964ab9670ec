"""Check a calibration set: its content against what is recorded of it, and against the sets that accuracy is of.

Nothing that is recorded is believed: hashes, counts and ranges are computed anew from the bytes in the lake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from groundlake.calibration import preprocessing
from groundlake.calibration.identity import set_fingerprint
from groundlake.calibration.images import other_class, sample_ids, shortened
from groundlake.calibration.reading import open_set, unknown_name
from groundlake.errors import CorruptLakeError
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from groundlake.calibration.preprocessing import Fingerprint
    from groundlake.calibration.reading import CalibrationSet
    from groundlake.store import Lake

FULL_RANGE = (0, 255)
SLACK = 32
"""How far the smallest and the largest byte of a set may be from 0 and 255: a set without black and white is odd."""

VARIATIONS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "it divides by 255": lambda images: images / np.float32(255),
    "it puts channels first: register what comes before that": lambda images: images.transpose(0, 3, 1, 2),
    "it divides by 255 and puts channels first": lambda images: (images / np.float32(255)).transpose(0, 3, 1, 2),
    "its channels are blue, green, red": lambda images: images[..., ::-1],
}
"""What evaluations usually do otherwise, in words and as a change to what a calibration set gives: NHWC, 0 to 255."""

REGISTER = "lake calibration register-eval"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that makes a calibration set a right one.

    Attributes:
        name: What is checked; it never changes its meaning.
        passed: Whether it holds; None where nothing in the lake can tell.
        detail: What was found; where it does not hold, also what was expected.
    """

    name: str
    passed: bool | None
    detail: str

    @property
    def failed(self) -> bool:
        """Whether it is known not to hold."""
        return self.passed is False


def verify(lake: Lake, name: str, *, against: str | None = None) -> list[Check]:
    """Check a calibration set.

    Args:
        lake: The lake that it is in.
        name: Name of the set.
        against: Evaluation set that it must fit; every one of the lake where none is named.

    Returns:
        Balance, range, content hashes and fingerprint of the set; and of each evaluation set, whether no image is
        shared and whether both prepare images alike.

    Raises:
        UsageError: There is no set of one of the names.
        LakeNotFoundError: There is no lake.
    """
    opened = open_set(lake, name)
    evaluations = _evaluations(lake, against)
    return [*_own_checks(opened), *_fitting_checks(opened, evaluations)]


def _own_checks(opened: CalibrationSet) -> list[Check]:
    """Check what the set is made of."""
    named = _unique_name(opened)
    try:
        samples, pixels = opened.samples, opened.pixels()
    except CorruptLakeError as error:
        return [named, Check(name="samples.complete", passed=False, detail=str(error).replace("\n", "; "))]
    stored = f"{len(pixels)} images of {opened.height} x {opened.width} x {opened.channels}"
    ids = sample_ids(pixels)
    return [
        named,
        Check(name="samples.complete", passed=True, detail=stored),
        _from_training(opened),
        _balance(opened, samples),
        _range(samples, pixels),
        _hashes(samples, ids),
        _fingerprint(opened, ids),
        _code(opened),
    ]


def _unique_name(opened: CalibrationSet) -> Check:
    builds = opened.lake.frame("calibration_builds", hardware_id=NO_KEY)
    contents = builds.filter(pl.col("calibration_set") == opened.name)["set_fingerprint"].n_unique()
    detail = opened.fingerprint if contents == 1 else f"{contents} sets have it; the last one recorded is checked"
    return Check(name="name.unique", passed=contents == 1, detail=detail)


def _from_training(opened: CalibrationSet) -> Check:
    passed = {"train": True, "test": False}.get(opened.split)
    detail = {
        "train": f"from the training images of {opened.dataset}",
        "test": f"from the test images of {opened.dataset}: accuracy on them says nothing afterwards",
    }.get(opened.split, f"{opened.dataset} does not say which split the images are of")
    return Check(name="source.training", passed=passed, detail=detail)


def _balance(opened: CalibrationSet, samples: pl.DataFrame) -> Check:
    counts = dict(samples.group_by("label").len().iter_rows())
    off = [
        f"{name}: {counts.get(label, 0)}"
        for label, name in enumerate(opened.class_names)
        if counts.get(label, 0) != opened.samples_per_class
    ]
    off += [f"label {label}, which is no class: {counts[label]}" for label in sorted(counts.keys() - _labels(opened))]
    names = dict(enumerate(opened.class_names))
    called = samples.select("ordinal", "class_name", known=pl.Series([names.get(at, "") for at in samples["label"]]))
    misnamed = called.filter(pl.col("class_name") != pl.col("known"))["ordinal"].to_list()
    expected = f"{opened.samples_per_class} of each of {len(opened.class_names)} classes"
    detail = f"expected {expected}, got {shortened(off)}" if off else expected
    if misnamed and not off:
        detail = f"not the names of their labels: {shortened([f'image {ordinal}' for ordinal in misnamed])}"
    return Check(name="classes.balanced", passed=not off and not misnamed, detail=detail)


def _labels(opened: CalibrationSet) -> set[int]:
    return set(range(len(opened.class_names)))


def _range(samples: pl.DataFrame, pixels: NDArray[np.uint8]) -> Check:
    flat = pixels.reshape(len(pixels), -1)
    known = {"pixel_min": flat.min(axis=1), "pixel_max": flat.max(axis=1), "pixel_mean": flat.mean(axis=1, dtype=float)}
    wrong = [
        f"{column} of image {ordinal}"
        for column, values in known.items()
        for ordinal in np.flatnonzero(samples[column].to_numpy() != values)
    ]
    low, high = int(pixels.min()), int(pixels.max())
    passed = low - FULL_RANGE[0] <= SLACK and FULL_RANGE[1] - high <= SLACK
    found = f"{low} to {high}"
    hint = ": divided by 255 before they were stored?" if high <= 1 else ""
    detail = found if passed else f"expected about 0 to 255, got {found}{hint}"
    if passed and wrong:
        detail = f"recorded otherwise than the bytes are: {shortened(wrong)}"
    return Check(name="pixels.range", passed=passed and not wrong, detail=detail)


def _hashes(samples: pl.DataFrame, ids: Sequence[str]) -> Check:
    wrong = [
        f"image {ordinal}"
        for ordinal, (known, now) in enumerate(zip(samples["sample_id"], ids, strict=True))
        if known != now
    ]
    repeated = len(ids) - len(set(ids))
    if wrong:
        detail = f"not the recorded bytes: {shortened(wrong)}"
    elif repeated:
        detail = f"{repeated} images are there more than once"
    else:
        detail = f"all {len(ids)} are those of the bytes"
    return Check(name="samples.hashes", passed=not wrong and not repeated, detail=detail)


def _fingerprint(opened: CalibrationSet, ids: Sequence[str]) -> Check:
    now = set_fingerprint(
        dataset=opened.dataset,
        split=opened.split,
        source_sha256=opened.source_sha256,
        class_names=opened.class_names,
        samples_per_class=opened.samples_per_class,
        seed=opened.seed,
        samples=list(zip(ids, opened.samples["label"].to_list(), strict=True)),
        preprocessing_json=opened.preprocessing_json,
        preprocessing_fingerprint=opened.preprocessing_fingerprint,
    )
    same = now == opened.fingerprint
    detail = now if same else f"source, selection or preprocessing is another: recorded {opened.fingerprint}, now {now}"
    return Check(name="set.fingerprint", passed=same, detail=detail)


def _code(opened: CalibrationSet) -> Check:
    now = _preparation(opened)
    if opened.preprocess is not None:
        made = f"{now.dtype} {_range_words(now.low, now.high)}"
        detail = f"{opened.preprocess} gave {made} when the set was built; it is not run here, the readers check it"
        return Check(name="set.preprocessing", passed=None, detail=detail)
    same = (now.preprocessing, now.probe_sha256) == (opened.preprocessing_fingerprint, opened.probe_sha256)
    detail = (
        f"{now.dtype} {_range_words(now.low, now.high)}"
        if same
        else f"this version of groundlake prepares images otherwise: recorded {opened.preprocessing_fingerprint}, "
        f"now {now.preprocessing}; build the set again under another name"
    )
    return Check(name="set.preprocessing", passed=same, detail=detail)


def _preparation(opened: CalibrationSet) -> Fingerprint:
    """Return what the set makes of the probe images: now, or as it was recorded of a function of the user."""
    if opened.preprocess is not None:
        said = opened.preprocessing
        return preprocessing.Fingerprint(
            preprocessing=opened.preprocessing_fingerprint,
            probe_sha256=opened.probe_sha256,
            dtype=said["dtype"],
            shape=tuple(said["shape"]),
            low=said["minimum"],
            high=said["maximum"],
        )
    return preprocessing.fingerprint(preprocessing.apply, height=opened.height, width=opened.width)


def _evaluations(lake: Lake, against: str | None) -> list[dict[str, Any]]:
    """Return the rows of the evaluation sets to check against, by name."""
    found = lake.frame("evaluation_sets", hardware_id=NO_KEY).sort("evaluation_set")
    if against is None:
        return found.to_dicts()
    named = found.filter(pl.col("evaluation_set") == against)
    if named.is_empty():
        raise unknown_name("evaluation set", against, found["evaluation_set"], lake, REGISTER)
    return named.to_dicts()


def _fitting_checks(opened: CalibrationSet, evaluations: Sequence[Mapping[str, Any]]) -> list[Check]:
    if not evaluations:
        missing = f"no evaluation set is registered: {REGISTER}"
        return [Check(name=name, passed=None, detail=missing) for name in ("disjoint", "classes", "preprocessing")]
    try:
        mine: pl.DataFrame | None = opened.samples.select("sample_id", "ordinal")
    except CorruptLakeError:
        mine = None
    return [
        check
        for each in evaluations
        for check in (_disjoint(opened, mine, each), _numbered_alike(opened, each), _prepared_alike(opened, each))
    ]


def _disjoint(opened: CalibrationSet, mine: pl.DataFrame | None, evaluation: Mapping[str, Any]) -> Check:
    name = f"disjoint.{evaluation['evaluation_set']}"
    if mine is None:
        return Check(name=name, passed=False, detail="nothing is known of images that are missing")
    try:
        theirs = opened.lake.frame("evaluation_samples", hardware_id=NO_KEY, run_id=evaluation["run_id"])
    except CorruptLakeError as error:
        return Check(name=name, passed=False, detail=str(error).replace("\n", "; "))
    shared = mine.join(theirs, on="sample_id", how="semi").sort("ordinal")
    if theirs.height != evaluation["num_samples"]:
        detail = f"{theirs.height} of {evaluation['num_samples']} images of the evaluation set are in the lake"
        return Check(name=name, passed=False, detail=detail)
    if shared.is_empty():
        return Check(name=name, passed=True, detail=f"none of {theirs.height} evaluation images")
    places = shortened([f"image {ordinal}" for ordinal in shared["ordinal"]])
    return Check(name=name, passed=False, detail=f"{shared.height} images are evaluation images: {places}")


def _numbered_alike(opened: CalibrationSet, evaluation: Mapping[str, Any]) -> Check:
    name = f"classes.{evaluation['evaluation_set']}"
    other = other_class(opened.class_names, evaluation["class_names"])
    if other:
        return Check(name=name, passed=False, detail=other)
    if other is None:
        return Check(name=name, passed=None, detail="the labels of one have no names")
    return Check(name=name, passed=True, detail="labels have the same names")


def _prepared_alike(opened: CalibrationSet, evaluation: Mapping[str, Any]) -> Check:
    name = f"preprocessing.{evaluation['evaluation_set']}"
    if evaluation["preprocessing_fingerprint"] == opened.preprocessing_fingerprint:
        return Check(name=name, passed=True, detail=f"the same as {evaluation['preprocess']}")
    off = differences(evaluation, _preparation(opened))
    if opened.preprocess is None:
        off += _likeness(opened, evaluation["preprocessing_fingerprint"])
    than = f" than {opened.preprocess} of the set" if opened.preprocess else ""
    detail = f"{evaluation['preprocess']} prepares images otherwise{than}: {off}"
    return Check(name=name, passed=False, detail=detail)


def differences(evaluation: Mapping[str, Any], calibration: Fingerprint) -> str:
    """Say in words how an evaluation's preprocessing differs from that of a calibration set.

    Args:
        evaluation: Row of `evaluation_sets`.
        calibration: What the calibration set's preprocessing makes of the probe images.
    """
    pairs = (
        (evaluation["output_dtype"], calibration.dtype),
        (_shape_words(evaluation["output_shape"]), _shape_words(calibration.shape)),
        (
            _range_words(evaluation["output_min"], evaluation["output_max"]),
            _range_words(calibration.low, calibration.high),
        ),
    )
    off = [f"evaluation gives {theirs}, calibration {ours}" for theirs, ours in pairs if theirs != ours]
    return "; ".join(off) or "type, shape and range are equal, the values are not"


def _likeness(opened: CalibrationSet, wanted: str) -> str:
    """Say which usual difference explains a fingerprint, if one does."""
    for words, change in VARIATIONS.items():

        def varied(
            images: NDArray[np.uint8], change: Callable[[NDArray[np.float32]], NDArray[np.float32]] = change
        ) -> NDArray[np.float32]:
            return change(preprocessing.apply(images))

        made = preprocessing.fingerprint(varied, height=opened.height, width=opened.width)
        if made.preprocessing == wanted:
            return f" ({words})"
    return ""


def _shape_words(shape: Sequence[int]) -> str:
    return f"shape ({', '.join(map(str, shape))})"


def _range_words(low: float, high: float) -> str:
    return f"{low:g}..{high:g}"
