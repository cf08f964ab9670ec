"""Small lakes of calibration sets, written straight to the contracts, to work answers out by hand."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.store import Lake

NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - the lake keeps naive UTC
CLASSES = ("cat", "dög")
BYTES = 12
"""Of an image of 2 x 2 pixels."""
Row = dict[str, object]


def pixels(number: int) -> bytes:
    """An image of 2 x 2 pixels: the bytes number, number + 1, ..."""
    return bytes((number + place) % 256 for place in range(BYTES))


def image_id(number: int) -> str:
    """The content hash of an image, which is made up."""
    return hashlib.sha256(f"image {number}".encode()).hexdigest()


def built(
    lake: Lake,
    name: str = "set",
    images: Sequence[tuple[int, int]] = ((0, 0), (1, 0), (100, 1), (244, 1)),
    *,
    hour: float = 0,
    **columns: object,
) -> str:
    """Write a calibration set of images, each a number and its class. Returns its run.

    Args:
        lake: Where it goes.
        name: Name of the set.
        images: Number of each image, which decides its bytes and its name, and its class.
        hour: When it was made, in hours after noon.
        **columns: Columns of `calibration_builds`; num_samples follows from the classes and samples_per_class.
    """
    each = int(str(columns.get("samples_per_class", 2)))
    build: Row = {
        "calibration_set": name,
        "set_fingerprint": f"fingerprint of {name}",
        "dataset": "npz",
        "split": "train",
        "source_sha256": "00",
        "seed": 0,
        "samples_per_class": each,
        "num_classes": len(CLASSES),
        "num_samples": each * len(CLASSES),
        "height": 2,
        "width": 2,
        "channels": 3,
        "class_names": list(CLASSES),
        "preprocessing_json": '{"layout":"NHWC"}',
        "probe_sha256": "aa",
        "preprocessing_fingerprint": "raw",
    }
    samples = [
        {
            "calibration_set": name,
            "sample_id": image_id(number),
            "ordinal": place,
            "label": label,
            "class_name": CLASSES[label],
            "source_file": "train.npz",
            "source_index": number,
            "pixels": pixels(number),
            "pixel_min": min(pixels(number)),
            "pixel_max": max(pixels(number)),
            "pixel_mean": sum(pixels(number)) / BYTES,
        }
        for place, (number, label) in enumerate(images)
    ]
    rows = {"calibration_builds": pl.DataFrame([build | columns]), "calibration_samples": pl.DataFrame(samples)}
    return lake.write(_ledger("calibration", hour), **rows)


def registered(
    lake: Lake, name: str = "test", images: Sequence[int] = (7, 8), *, hour: float = 1, **columns: object
) -> str:
    """Write an evaluation set of images by their numbers. Returns its run.

    Args:
        lake: Where it goes.
        name: Name of the set.
        images: Number of each image; those of a calibration set are the same images.
        hour: When it was registered, in hours after noon.
        **columns: Columns of `evaluation_sets`.
    """
    row: Row = {
        "evaluation_set": name,
        "dataset": "npz",
        "split": "test",
        "source_sha256": "ff",
        "num_samples": len(images),
        "preprocess": "evaluation:prepare",
        "output_dtype": "float32",
        "output_shape": [4, 2, 2, 3],
        "output_min": 0.0,
        "output_max": 255.0,
        "probe_sha256": "aa",
        "preprocessing_fingerprint": "raw",
    }
    samples = [
        {
            "evaluation_set": name,
            "sample_id": image_id(number),
            "label": 0,
            "source_file": "test.npz",
            "source_index": place,
        }
        for place, number in enumerate(images)
    ]
    rows = {"evaluation_sets": pl.DataFrame([row | columns]), "evaluation_samples": pl.DataFrame(samples)}
    return lake.write(_ledger("evaluation_set", hour), **rows)


def quantized(lake: Lake, calibration_set: str = "set", *, hour: float = 2, **columns: object) -> str:
    """Write a quantization with a set. Returns its run.

    Args:
        lake: Where it goes.
        calibration_set: Set it was calibrated with.
        hour: When it was made, in hours after noon.
        **columns: Columns of `quantizations`.
    """
    row: Row = {
        "calibration_set": calibration_set,
        "set_fingerprint": f"fingerprint of {calibration_set}",
        "num_calibration_samples": 4,
        "backend": "onnxruntime 1.0",
        "evaluation_set": "test",
        "num_evaluated": 2,
        "accuracy_before": 0.9,
        "accuracy_after": 0.875,
        "int8_time_share": 0.75,
        "int8_kernels": ["ConvInteger", "größe"],
        "weights_before_bytes": 400,
        "weights_after_bytes": 110,
    }
    keys = {"hardware_id": "dev", "precision": "int8", "model": "small", "batch": 1}
    rows = pl.DataFrame([row | columns], infer_schema_length=None)
    return lake.write(_ledger("quantization", hour) | keys, quantizations=rows)


def fill(lake: Lake) -> None:
    """Write sets that fit and sets that do not, in each of the ways that the views tell apart."""
    built(lake)
    built(lake, "uneven", ((0, 0), (1, 0), (2, 0), (7, 1)), hour=1)
    built(lake, "one class", ((3, 0), (4, 0)), hour=1)
    built(lake, "twice", set_fingerprint="first")
    built(lake, "twice", ((7, 0), (8, 0), (9, 1), (10, 1)), hour=3, set_fingerprint="second")
    built(lake, "divided", hour=2, preprocessing_fingerprint="divided by 255")
    registered(lake, images=(0,), hour=0)
    registered(lake, hour=5)
    registered(lake, "other", (7, 7, 300 - 256), preprocessing_fingerprint="other", output_max=1.0)
    timed = {"hardware_id": "dev", "precision": "int8", "model": "small", "batch": 1, "end_to_end_latency_ms": 1.5}
    measured = lake.write(_ledger("efficiency", 2) | timed | {"timing_method": "end_to_end"})
    plain = timed | {"precision": "fp32", "total_latency_ms": 3.5, "end_to_end_latency_ms": 3.0}
    lake.write(_ledger("efficiency", 2) | plain | {"timing_method": "perf_counter"})
    quantized(lake, measured_run_id=measured)
    made = {"engine": "onednn", "preprocess": "evaluation:prepare"}
    quantized(lake, "divided", hour=6, **made, preprocessing_fingerprint="raw")
    quantized(lake, "uneven", hour=3, relative_output_error=0.99)
    quantized(lake, set_fingerprint="of long ago", hour=4)
    unknown = ("num_evaluated", "accuracy_before", "accuracy_after", "int8_time_share", "int8_kernels")
    unknown += ("weights_before_bytes", "weights_after_bytes", "evaluation_set")
    quantized(lake, "never built", hour=5, **dict.fromkeys(unknown))


def _ledger(kind: str, hour: float) -> Row:
    return {
        "kind": kind,
        "hardware_id": "none",
        "timing_method": "none",
        "started_at": NOON + dt.timedelta(hours=hour),
        "started_at_zone_source": "clock",
    }
