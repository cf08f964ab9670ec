"""Register what accuracy is evaluated on: the content of every image, and how the evaluation prepares images.

The images themselves stay where they are. Their hashes are enough to see that no image of a calibration set is among
them, and the fingerprint of the function that prepares them is enough to see that calibration prepares them alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from groundlake import __version__
from groundlake.calibration import sources
from groundlake.calibration.identity import checked_name
from groundlake.calibration.preprocessing import fingerprint
from groundlake.calibration.user_code import working_function
from groundlake.errors import CorruptLakeError, UsageError
from groundlake.intake import utc_now
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    import datetime as dt

    from groundlake.calibration.images import LabelledImages
    from groundlake.calibration.preprocessing import Fingerprint
    from groundlake.store import Lake

KIND = "evaluation_set"
TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An evaluation set of the lake.

    Attributes:
        name: Its name.
        run_id: Run that registered it.
        was_there: Whether the same was registered before; nothing was written then.
        preprocess: Function that prepares its images.
        num_samples: Images.
        preparation: What the function makes of the probe images.
        remarks: What is unusual about the files.
    """

    name: str
    run_id: str
    was_there: bool
    preprocess: str
    num_samples: int
    preparation: Fingerprint
    remarks: tuple[str, ...] = ()


def register_evaluation(
    lake: Lake, name: str, data_dir: str | Path, preprocess: str, source: str = "cifar10"
) -> Registered:
    """Register an evaluation set: the content hashes of the test split, and the fingerprint of its preprocessing.

    A name that is registered again stands for the new content; the same content again writes nothing.

    Args:
        lake: Where it goes; it is made where it is missing.
        name: Name of the set.
        data_dir: Folder with the data set, or an .npz file.
        preprocess: Function that prepares the images of the evaluation, as `package.module:function`. It is imported
            from the working directory too, and called with uint8 (4, height, width, 3), NHWC, 0 to 255.
        source: cifar10, image_folder or npz.

    Raises:
        UsageError: The data cannot be read, or the function not found, or it fails, or gives no finite numbers.
    """
    started_at = utc_now()
    checked_name("evaluation set", name)
    function = working_function(preprocess)
    images = sources.read(source, data_dir, split=TEST)
    height, width, _ = images.image_shape
    made = fingerprint(function, height=height, width=width, called=preprocess)
    if not (math.isfinite(made.low) and math.isfinite(made.high)):
        raise UsageError(
            f"preprocessing {preprocess}: gives numbers that are not finite ({made.low:g} to {made.high:g})\n"
            "  it is called with one array, uint8 NHWC, 0 to 255"
        )
    row = _row(name, images, preprocess, made)
    samples = _samples(name, images)
    known = _known(lake, row, samples)
    tables = {"evaluation_sets": pl.DataFrame([row]), "evaluation_samples": samples}
    run_id = known or lake.write(_ledger(name, images, Path(data_dir), started_at), **tables)
    return Registered(
        name=name,
        run_id=run_id,
        was_there=known is not None,
        preprocess=preprocess,
        num_samples=len(images),
        preparation=made,
        remarks=images.remarks,
    )


def _row(name: str, images: LabelledImages, preprocess: str, made: Fingerprint) -> dict[str, object]:
    return {
        "evaluation_set": name,
        "dataset": images.dataset,
        "split": images.split,
        "source_sha256": images.source_sha256,
        "num_samples": len(images),
        "preprocess": preprocess,
        "class_names": list(images.class_names) if images.has_names else None,
        "output_dtype": made.dtype,
        "output_shape": list(made.shape),
        "output_min": made.low,
        "output_max": made.high,
        "probe_sha256": made.probe_sha256,
        "preprocessing_fingerprint": made.preprocessing,
    }


def _samples(name: str, images: LabelledImages) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sample_id": images.sample_ids(),
            "label": images.labels,
            "source_file": images.files,
            "source_index": images.indices,
        }
    ).with_columns(evaluation_set=pl.lit(name))


def _known(lake: Lake, row: dict[str, object], samples: pl.DataFrame) -> str | None:
    """Return the run that registered just this, if its name stands for it now and its rows are there."""
    if not lake.exists:
        return None
    found = lake.frame("evaluation_sets", hardware_id=NO_KEY).filter(pl.col("evaluation_set") == row["evaluation_set"])
    for each in found.iter_rows(named=True):
        try:
            there = lake.frame("evaluation_samples", hardware_id=NO_KEY, run_id=each["run_id"])
        except CorruptLakeError:
            continue  # registered again, it is whole again
        if all(each[key] == value for key, value in row.items()) and there.select(samples.columns).equals(samples):
            return str(each["run_id"])
    return None


def _ledger(name: str, images: LabelledImages, data_dir: Path, started_at: dt.datetime) -> dict[str, object]:
    return {
        "kind": KIND,
        "hardware_id": NO_KEY,
        "session_id": name,
        "tool_version": f"groundlake {__version__}",
        "timing_method": "none",
        "started_at": started_at,
        "started_at_zone_source": "clock",
        "duration_s": (utc_now() - started_at).total_seconds(),
        "sources": [images.as_source(data_dir)],
        "warnings": list(images.remarks) or None,
    }
