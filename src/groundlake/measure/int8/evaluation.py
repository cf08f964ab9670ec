"""The evaluation that int8 is prepared and judged by: what is registered, and what does not fit a set. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.calibration import sources
from groundlake.calibration.images import CHANNELS, other_class
from groundlake.calibration.reading import unknown_name
from groundlake.errors import UsageError
from groundlake.measure.doubts import Doubt
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.calibration.images import LabelledImages
    from groundlake.calibration.reading import CalibrationSet, Layout
    from groundlake.store import Lake

SHOWN = 3
"""Evaluation sets that the warning names."""

IMAGE_AXES = 4


def registered(lake: Lake, name: str) -> dict[str, Any]:
    """Return the row of an evaluation set.

    Raises:
        UsageError: There is none of that name; similar ones are listed.
    """
    sets = lake.frame("evaluation_sets", hardware_id=NO_KEY)
    found = sets.filter(pl.col("evaluation_set") == name)
    if found.is_empty():
        raise unknown_name("evaluation set", name, sets["evaluation_set"], lake, "lake calibration register-eval")
    return found.row(-1, named=True)


def read_registered(lake: Lake, row: dict[str, Any], data: str | Path) -> LabelledImages:
    """Read the images of an evaluation set, which must be those that were registered, with their labels.

    Args:
        lake: It has their content hashes.
        row: Row of the evaluation set.
        data: Where they lie.

    Raises:
        UsageError: They cannot be read, or are others.
    """
    images = sources.read(row["dataset"], data, split="test")
    rows = lake.frame("evaluation_samples", hardware_id=NO_KEY, run_id=row["run_id"])
    wanted = sorted(rows.select("sample_id", "label").iter_rows())
    got = sorted(zip(images.sample_ids(), images.labels.tolist(), strict=True))
    if wanted != got:
        there = len(set(wanted) & set(got))
        raise UsageError(
            f"evaluation set {row['evaluation_set']}: {data} has {there} of its {len(set(wanted))} registered images"
            f" with their labels, and {len(set(got)) - there} others\n"
            "  accuracy is of the registered images only: give the folder that was registered, or register this one\n"
            "  under a name of its own (lake calibration register-eval)"
        )
    return images


def prepared_shape(row: dict[str, Any]) -> tuple[Layout, tuple[int, int, int]]:
    """Order of the axes of what an evaluation's preprocessing returns, and the shape of an image by channels first."""
    shape = row["output_shape"]
    if len(shape) == IMAGE_AXES and shape[3] == CHANNELS:
        return "NHWC", (shape[3], shape[1], shape[2])
    if len(shape) == IMAGE_AXES and shape[1] == CHANNELS:
        return "NCHW", (shape[1], shape[2], shape[3])
    raise UsageError(
        f"evaluation set {row['evaluation_set']}: {row['preprocess']} makes arrays of shape {tuple(shape)}\n"
        f"  int8 is calibrated with images of {CHANNELS} channels: (n, height, width, {CHANNELS}) or channels first"
    )


def refuse_other_preparation(opened: CalibrationSet, row: dict[str, Any]) -> None:
    """Raise where a set that was built with a function prepares images otherwise than the evaluation."""
    if opened.preprocess is None or opened.preprocessing_fingerprint == row["preprocessing_fingerprint"]:
        return
    raise UsageError(
        f"calibration set {opened.name} ({opened.preprocess}) and evaluation set {row['evaluation_set']}"
        f" ({row['preprocess']}) prepare images differently\n"
        f"  lake calibration verify {opened.name} --against {row['evaluation_set']} says how; calibrated with other"
        " values than\n  it is evaluated with, a quantized network is wrong: build a set with the evaluation's function"
    )


def refuse_shared(opened: CalibrationSet, row: dict[str, Any]) -> None:
    """Raise where an image calibrates and is evaluated, or nobody knows because images are not in the lake."""
    theirs = opened.lake.frame("evaluation_samples", hardware_id=NO_KEY, run_id=row["run_id"])["sample_id"]
    if len(theirs) != row["num_samples"]:
        raise UsageError(
            f"evaluation set {row['evaluation_set']}: {len(theirs)} of its {row['num_samples']} images are in the lake,"
            " so that nobody knows whether the others calibrate\n"
            "  register it again: lake calibration register-eval"
        )
    shared = len(set(opened.sample_ids) & set(theirs))
    if shared:
        raise UsageError(
            f"calibration set {opened.name} and evaluation set {row['evaluation_set']} share {shared} images:"
            " accuracy on them says nothing\n"
            f"  lake calibration verify {opened.name} --against {row['evaluation_set']} names them"
        )


def refuse_other_classes(opened: CalibrationSet, row: dict[str, Any]) -> None:
    """Raise where a label stands for two classes: right answers of the network would count as wrong ones."""
    if other := other_class(opened.class_names, row["class_names"]):
        raise UsageError(
            f"calibration set {opened.name} and evaluation set {row['evaluation_set']} number their classes"
            f" differently: {other}\n"
            "  folders of classes are numbered by name, train and test each for itself: give both the same classes,\n"
            "  or leave --evaluation-data out"
        )


def not_checked(opened: CalibrationSet) -> Doubt:
    """Say that nobody knows whether the network wants such images; more where no registered evaluation has them."""
    given, right = "raw images (0 to 255)", "that normalises by itself"
    if opened.preprocess is not None:
        given, right = f"images that {opened.preprocess} prepares", "that expects such"
    sets = opened.lake.frame("evaluation_sets", hardware_id=NO_KEY)
    others = sets.filter(pl.col("preprocessing_fingerprint") != opened.preprocessing_fingerprint)
    observed, threshold = "no --evaluation-set", "the preparation of the network's evaluation"
    if 0 < others.height == sets.height:
        names = sorted(others["evaluation_set"])
        listed = ", ".join(f"{row['evaluation_set']} ({row['preprocess']})" for row in others.head(SHOWN).to_dicts())
        return Doubt(
            code="preparation_not_checked",
            meaning=f"calibrated with {given}, and no evaluation that is registered prepares images so:"
            f" {listed}; a network that expects other values is wrong in int8",
            observed=observed,
            threshold=threshold,
            advice=f"measure it again with --evaluation-set {names[0] if len(names) == 1 else 'NAME'}",
        )
    return Doubt(
        code="preparation_not_checked",
        meaning=f"calibrated with {given}, which is right only for a network {right}",
        observed=observed,
        threshold=threshold,
        advice="name the evaluation with --evaluation-set (lake calibration register-eval), and --evaluation-data",
    )
