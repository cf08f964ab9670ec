"""Contracts of calibration sets: which images calibrate a quantization, which ones evaluate it, and what came of it."""

from __future__ import annotations

from typing import Annotated

import polars as pl

from groundlake.schemas.base import Element, Table, column, in_order

SPLITS = ("train", "test", "unknown")
SHA256 = r"^[0-9a-f]{64}$"
CHANNELS = 3


class _OfNoDevice(Table):
    """Where the rows of a set lie: it belongs to no device and to no model."""

    hardware_id: str = column("none: a set of images belongs to no device")
    precision: str = column("none: a set of images has no precision")
    model: str = column("none: a set of images belongs to no model")
    batch: int = column("0: a set of images is not batched", unit="1", ge=0)
    run_id: str = column("Run of kind calibration or evaluation_set that wrote it")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")


class CalibrationBuilds(_OfNoDevice):
    """One calibration set: where its images come from, how they were chosen, and how they are prepared."""

    calibration_set: str = column("Name of the set")
    set_fingerprint: str = column("Hash of source, selection and preprocessing: equal sets have equal ones")
    dataset: str = column("cifar10, image_folder or npz")
    split: str = column("Part of the data set the images are of", isin=SPLITS)
    source_sha256: str = column("Hash of the files that were read, in their order")
    seed: int = column("Seed of the selection", unit="1")
    samples_per_class: int = column("Images of each class", unit="1", ge=1)
    num_classes: int = column("Classes", unit="1", ge=1)
    num_samples: int = column("Images", unit="1", ge=1)
    height: int = column("Height of an image in pixels", unit="1", ge=1)
    width: int = column("Width of an image in pixels", unit="1", ge=1)
    channels: int = column("Channels of an image: 3, red, green, blue", unit="1", ge=1)
    class_names: Annotated[pl.List, pl.String()] = column("Names of the classes, by label")
    preprocess: str = column(
        "Function that prepares its images for a network: package.module:function; NULL leaves them float32, 0 to 255",
        nullable=True,
    )
    preprocessing_json: str = column("Canonical description of what is done to the pixels, as JSON")
    probe_sha256: str = column("Hash of its output on fixed probe images: changed code is noticed")
    preprocessing_fingerprint: str = column("Hash of the output on the probe images, with its type and layout")

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "calibration_builds"

    @classmethod
    def elements(cls) -> tuple[Element, ...]:
        """A view lists the classes of each set; the position of a name is its label."""
        return (Element("class_names", "calibration_classes", "class_name"),)

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """Every class has the same number of images, and a name."""
        return {
            "num_samples = num_classes * samples_per_class": pl.col("num_samples")
            == pl.col("num_classes") * pl.col("samples_per_class"),
            "each_class_has_a_name": pl.col("class_names").list.len() == pl.col("num_classes"),
            "one_set_in_a_run": pl.struct("hardware_id", "run_id").is_unique(),
        }


class CalibrationSamples(_OfNoDevice):
    """One image of a calibration set, as raw bytes."""

    calibration_set: str = column("Set it is of")
    sample_id: str = column(
        "Hash of its size and its pixels: the same picture has the same one in every file format", str_matches=SHA256
    )
    ordinal: int = column("Place in the set, from 0", unit="1", ge=0)
    label: int = column("Class, from 0", unit="1", ge=0)
    class_name: str = column("Name of the class")
    source_file: str = column("File it was read from, below the data folder")
    source_index: int = column("Place in that file, from 0", unit="1", ge=0)
    source_name: str = column("Name of the picture, as the source tells it", nullable=True)
    pixels: bytes = column("Height x width x 3 bytes, row by row, red green blue of each pixel")
    pixel_min: int = column("Smallest of these bytes", unit="1", ge=0, le=255)
    pixel_max: int = column("Largest of these bytes", unit="1", ge=0, le=255)
    pixel_mean: float = column("Mean of these bytes", unit="1", ge=0, le=255)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "calibration_samples"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """An image is in a set once, all are of one size, and what is said of the bytes can be."""
        size = pl.col("pixels").cast(pl.Binary).bin.size()  # where a message is made, bytes are there as text
        return {
            "pixel_min <= mean <= max": in_order("pixel_min", "pixel_mean", "pixel_max"),
            "pixels_are_of_three_bytes": (size > 0) & (size % CHANNELS == 0),
            "images_of_a_run_have_one_size": size == size.first().over("hardware_id", "run_id"),
            "sample_once_in_run": pl.struct("hardware_id", "run_id", "sample_id").is_unique(),
            "ordinal_once_in_run": pl.struct("hardware_id", "run_id", "ordinal").is_unique(),
        }


class EvaluationSets(_OfNoDevice):
    """One set that accuracy is evaluated on: which images, and how the evaluation prepares them."""

    evaluation_set: str = column("Name of the set")
    dataset: str = column("cifar10, image_folder or npz")
    split: str = column("Part of the data set the images are of", isin=SPLITS)
    source_sha256: str = column("Hash of the files that were read, in their order")
    num_samples: int = column("Images", unit="1", ge=1)
    preprocess: str = column("Function that prepares its images: package.module:function")
    class_names: Annotated[pl.List, pl.String()] = column(
        "Names of the classes, by label; NULL where the labels have none", nullable=True
    )
    output_dtype: str = column("Type of its output on the probe images, as NumPy names it")
    output_shape: Annotated[pl.List, pl.Int64()] = column("Shape of that output", unit="1")
    output_min: float = column("Smallest number of that output", unit="1")
    output_max: float = column("Largest number of that output", unit="1")
    probe_sha256: str = column("Hash of its output on the probe images")
    preprocessing_fingerprint: str = column("Hash of the output on the probe images, with its type and layout")

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "evaluation_sets"

    @classmethod
    def latest_by(cls) -> tuple[str, ...]:
        """A set that is registered again stands for the one before."""
        return ("evaluation_set",)

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A registration is a run of its own."""
        return {"one_set_in_a_run": pl.struct("hardware_id", "run_id").is_unique()}


class EvaluationSamples(_OfNoDevice):
    """One image of an evaluation set, by its hash alone."""

    evaluation_set: str = column("Set it is of")
    sample_id: str = column("Hash of its size and its pixels, as in calibration_samples", str_matches=SHA256)
    label: int = column("Class, from 0", unit="1", ge=0)
    source_file: str = column("File it was read from, below the data folder")
    source_index: int = column("Place in that file, from 0", unit="1", ge=0)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "evaluation_samples"


class Quantizations(Table):
    """One quantization of a model with a calibration set: what it costs in accuracy, and what really runs as int8."""

    hardware_id: str = column("Device the quantized model ran on")
    precision: str = column("Precision it was quantized to: int8")
    model: str = column("Model that was quantized")
    batch: int = column("Batch size of the run that timed it; int8_time_share is of it", unit="1", ge=0)
    run_id: str = column("Run of kind quantization the row belongs to")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")
    measured_run_id: str = column("Run that timed the quantized model", nullable=True)
    calibration_set: str = column("Set it was calibrated with")
    set_fingerprint: str = column("Its fingerprint")
    num_calibration_samples: int = column("Images that it was calibrated with", unit="1", ge=1)
    calibration_batch_size: int = column(
        "Images that observers saw together: ranges by histogram depend on it", unit="1", nullable=True, ge=1
    )
    backend: str = column("What quantized and runs it, with the version of the library")
    engine: str = column("Engine of the quantized operations: onednn, x86, fbgemm, qnnpack", nullable=True)
    preprocess: str = column(
        "Function that prepared the calibration images: package.module:function; NULL where they are as the set has "
        "them",
        nullable=True,
    )
    preprocessing_fingerprint: str = column(
        "Hash of what the model was given for the probe images, with its type and layout", nullable=True
    )
    evaluation_set: str = column("Set that accuracy is of; NULL where none was evaluated", nullable=True)
    evaluation_run_id: str = column(
        "Run that registered it as it was evaluated: its name may stand for other images or another preparation later",
        nullable=True,
    )
    evaluation_fingerprint: str = column(
        "Hash of what that registration prepares of the probe images, with its type and layout", nullable=True
    )
    num_evaluated: int = column("Images that accuracy is of", unit="1", nullable=True, ge=0)
    accuracy_before: float = column("Share of right answers before", unit="1", nullable=True, ge=0, le=1)
    accuracy_after: float = column("Share of right answers of the quantized model", unit="1", nullable=True, ge=0, le=1)
    chance_accuracy: float = column(
        "Share of right answers that chance may reach on these images: that of the most frequent class, with two "
        "standard deviations",
        unit="1",
        nullable=True,
        ge=0,
        le=1,
    )
    relative_output_error: float = column(
        "Norm of the difference of both outputs over the norm of the output before, on calibration images",
        unit="1",
        nullable=True,
        ge=0,
    )
    int8_time_share: float = column(
        "Share of the processor time of all operators, each without those that it calls, spent in int8 kernels: the "
        "median pass",
        unit="1",
        nullable=True,
        ge=0,
        le=1,
    )
    int8_kernels: Annotated[pl.List, pl.String()] = column(
        "Names of the int8 kernels seen by the profiler", nullable=True
    )
    weights_before_bytes: int = column(
        "Bytes that the model stored before: weights and buffers", unit="byte", nullable=True, ge=0
    )
    weights_after_bytes: int = column("Bytes that it stores afterwards", unit="byte", nullable=True, ge=0)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "quantizations"
