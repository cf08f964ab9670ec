"""How int8 is made: with which calibration set, prepared how, by which engine, and what accuracy is of. No torch.

Everything that can be known to be wrong is refused here, before the first run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.calibration.reading import open_set
from groundlake.calibration.streaming import OtherPreparationError, make_feed
from groundlake.calibration.user_code import working_function
from groundlake.errors import UsageError
from groundlake.measure.inputs import own_shape
from groundlake.measure.int8.evaluation import (
    not_checked,
    prepared_shape,
    read_registered,
    refuse_other_classes,
    refuse_other_preparation,
    refuse_shared,
    registered,
)
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from groundlake.calibration.images import LabelledImages
    from groundlake.calibration.reading import CalibrationSet, Layout
    from groundlake.calibration.streaming import Preprocess
    from groundlake.measure.doubts import Doubt
    from groundlake.measure.plan import Configuration

INT8 = "int8"
ENGINES = ("onednn", "x86", "fbgemm", "qnnpack")
"""Engines of torch's quantized operations; which of them are there depends on how torch was built."""

SHORT = 12
"""Digits of a fingerprint that tell networks apart, in the ledger and in messages."""

BATCH_SIZE = 50
"""Images that are calibrated or evaluated with together, of 32 x 32 pixels; fewer of larger ones."""

PIXELS_AT_ONCE = BATCH_SIZE * 64 * 64


@dataclass(frozen=True, kw_only=True)
class Int8Settings:
    """How int8 is made. The measuring process gets it as it is, and reads the images itself.

    Attributes:
        lake_root: Folder of the lake that has the calibration set.
        calibration_set: Its name.
        set_fingerprint: Its fingerprint.
        num_images: Images in it, all of which calibrate.
        image_shape: Channels, height and width of an image as the model is given it.
        preprocessing_fingerprint: Of what the model is given.
        preprocess: Function of the evaluation, or of the set, that prepares the images, `package.module:function`;
            None leaves them float32, 0 to 255.
        returns: Order of the axes of what that function returns.
        evaluation_set: Evaluation set whose preprocessing that is.
        evaluation_run_id: Run that registered it: the name may be registered again, with other content.
        evaluation_data: Folder or file with its images; None evaluates nothing.
        engine: Engine of torch's quantized operations.
        is_default_engine: Whether nobody named it: where torch is built without it, the first that is there is taken.
        doubts: What is doubtful about every network that is made so.
    """

    lake_root: str
    calibration_set: str
    set_fingerprint: str
    num_images: int
    image_shape: tuple[int, int, int]
    preprocessing_fingerprint: str
    preprocess: str | None = None
    returns: Layout = "NHWC"
    evaluation_set: str | None = None
    evaluation_run_id: str | None = None
    evaluation_data: str | None = None
    engine: str = ENGINES[0]
    is_default_engine: bool = False
    doubts: tuple[Doubt, ...] = ()

    @property
    def decisive(self) -> dict[str, str]:
        """What makes two int8 networks of one model the same."""
        return {
            "set_fingerprint": self.set_fingerprint,
            "preprocessing_fingerprint": self.preprocessing_fingerprint,
            "engine": self.engine,
        }

    @property
    def network(self) -> str:
        """Engine, set and preparation in one short word: int8 networks of one model are alike where it is equal."""
        return f"{self.engine}.{self.set_fingerprint[:SHORT]}.{self.preprocessing_fingerprint[:SHORT]}"

    def in_words(self) -> str:
        """Say what a network is made with."""
        prepared = f"prepared by {self.preprocess}" if self.preprocess else "as they are (0 to 255)"
        return (
            f"int8 with set {self.calibration_set} ({self.set_fingerprint[:SHORT]}), images {prepared}, {self.engine}"
        )

    @property
    def batch_size(self) -> int:
        """Images that are calibrated or evaluated with together."""
        _, height, width = self.image_shape
        return max(1, min(BATCH_SIZE, PIXELS_AT_ONCE // (height * width)))

    def open(self) -> CalibrationSet:
        """Open the calibration set.

        Raises:
            UsageError: It is gone, or another one has its name now.
        """
        opened = open_set(Lake(self.lake_root), self.calibration_set)
        if opened.fingerprint != self.set_fingerprint:
            raise UsageError(
                f"calibration set {self.calibration_set} is another one than when the sweep began\n"
                f"  fingerprint {opened.fingerprint[:16]}..., not {self.set_fingerprint[:16]}...; start the sweep again"
            )
        return opened

    def function(self) -> Preprocess | None:
        """Import the function that prepares images, from the working directory too.

        Raises:
            UsageError: It is not there any more.
        """
        return None if self.preprocess is None else working_function(self.preprocess, "function")

    def evaluation_images(self) -> LabelledImages | None:
        """Read the images that accuracy is of; None where nothing is evaluated.

        Raises:
            UsageError: They cannot be read, are not those that were registered, or the name was registered again.
        """
        if self.evaluation_set is None or self.evaluation_data is None:
            return None
        lake = Lake(self.lake_root)
        row = registered(lake, self.evaluation_set)
        if row["run_id"] != self.evaluation_run_id:
            raise UsageError(
                f"evaluation set {self.evaluation_set} was registered again since the sweep began\n"
                "  start the sweep again: what it measured is in the lake, evaluated on what was registered then"
            )
        return read_registered(lake, row, self.evaluation_data)


def choose_int8(
    lake: Lake,
    *,
    calibration_set: str,
    engine: str | None = None,
    evaluation_set: str | None = None,
    evaluation_data: str | Path | None = None,
) -> Int8Settings:
    """Check what int8 is to be made with.

    Args:
        lake: It has the calibration set, and the evaluation set if one is named.
        calibration_set: Name of the set that calibrates.
        engine: Engine of torch's quantized operations, whether this torch has it is seen by the measuring process; by
            default the first of `ENGINES` that it has.
        evaluation_set: Name of a registered evaluation set: images are prepared as it prepares them.
        evaluation_data: Folder or file with its images, for the accuracy before and after.

    Raises:
        UsageError: There is no such set or engine; both sets share images; the evaluation's function is not the one
            that was registered any more; the data are other images than those that were registered.
        LakeNotFoundError: There is no lake.
    """
    if engine is not None and engine not in ENGINES:
        raise UsageError(f"--int8-engine: no engine {engine!r}; there are {', '.join(ENGINES)}")
    if evaluation_data is not None and evaluation_set is None:
        raise UsageError(
            "--evaluation-data: the images of which evaluation set? name it with --evaluation-set\n"
            "  lake calibration register-eval registers one"
        )
    opened = open_set(lake, calibration_set)
    chosen = Int8Settings(
        lake_root=str(lake.root),
        calibration_set=calibration_set,
        set_fingerprint=opened.fingerprint,
        num_images=opened.num_samples,
        image_shape=(opened.channels, opened.height, opened.width),
        preprocessing_fingerprint=opened.preprocessing_fingerprint,
        engine=engine or ENGINES[0],
        is_default_engine=engine is None,
    )
    if evaluation_set is None:
        opened.require_its_code()
        height, width, channels = opened.prepared_shape
        own = replace(chosen, image_shape=(channels, height, width), preprocess=opened.preprocess)
        return replace(own, doubts=(not_checked(opened),))
    row = registered(lake, evaluation_set)
    returns, shape = prepared_shape(row)
    refuse_other_preparation(opened, row)
    refuse_shared(opened, row)
    if evaluation_data is not None:
        refuse_other_classes(opened, row)
        read_registered(lake, row, evaluation_data)
    settings = replace(
        chosen,
        image_shape=shape,
        preprocessing_fingerprint=row["preprocessing_fingerprint"],
        preprocess=row["preprocess"],
        returns=returns,
        evaluation_set=evaluation_set,
        evaluation_run_id=row["run_id"],
        evaluation_data=None if evaluation_data is None else str(evaluation_data),
    )
    _refuse_changed_function(settings, opened)
    return settings


def check_wanted(wanted: Iterable[Configuration], int8: Int8Settings | None, device_kind: str) -> None:
    """Refuse a sweep that asks for int8 and cannot have it.

    Args:
        wanted: Configurations of the sweep.
        int8: How int8 is made; None where no calibration set was named.
        device_kind: cpu or cuda.

    Raises:
        UsageError: There is no calibration set, the device is not a processor, or a model that is known without being
            built takes inputs of another shape than the images have.
    """
    in_int8 = [each for each in wanted if each.precision == INT8]
    if not in_int8:
        return
    if int8 is None:
        raise UsageError(
            "int8 needs a calibration set: activations are scaled by what the network computes for its images\n"
            "  name one with --calibration-set (lake calibration list), or make one from training images:\n"
            "  lake calibration build --source cifar10 --data-dir DIR --name NAME"
        )
    if device_kind != "cpu":
        raise UsageError(
            f"int8 is measured on the processor only: torch has no such kernels for {device_kind}\n"
            "  measure it with --device cpu, and other precisions in a sweep of their own"
        )
    for each in in_int8:
        shape = each.input_shape or own_shape(each.plain_model)
        if shape is not None:
            require_shape(each.plain_model, shape, int8)


def require_shape(model: str, shape: Sequence[int], int8: Int8Settings) -> None:
    """Raise `UsageError` unless a model takes inputs of the shape that the calibration images have."""
    if tuple(shape) == int8.image_shape:
        return
    size = "x".join(map(str, int8.image_shape))
    prepared = f" as {int8.preprocess} prepares them" if int8.preprocess else ""
    mend = "  int8 is calibrated with images: measure models of other inputs in another precision"
    if len(shape) == len(int8.image_shape) and shape[0] == int8.image_shape[0]:
        mend = (
            f"  measure it at that size: --models {model}@{size}, or --input-shape {size.replace('x', ',')};\n"
            "  or build a set of images of that size: lake calibration build"
        )
    raise UsageError(
        f"int8: model {model!r} takes inputs of {'x'.join(map(str, shape))}, and the images of calibration set"
        f" {int8.calibration_set} are {size}{prepared}\n{mend}"
    )


def runs_made_alike(lake: Lake, hardware_id: str, int8: Int8Settings) -> list[str]:
    """Ids of the runs of a device that timed a network made as these settings make it, and evaluated if they do."""
    rows = lake.frame("quantizations", hardware_id=hardware_id)
    alike = rows.filter(*(pl.col(name) == value for name, value in int8.decisive.items()))
    if int8.evaluation_data is not None:
        same = pl.col("evaluation_run_id") == pl.lit(int8.evaluation_run_id)  # its name may be registered again
        alike = alike.filter(same, pl.col("accuracy_after").is_not_null())
    found: list[str] = alike["measured_run_id"].drop_nulls().to_list()
    return found


def feed_arguments(settings: Int8Settings) -> dict[str, Any]:
    """Arguments that every reader of the calibration images gets; it refuses another preparation."""
    return {
        "batch_size": settings.batch_size,
        "layout": "NCHW",
        "last": "keep",
        "preprocess": settings.function(),
        "returns": settings.returns,
        "expected": settings.preprocessing_fingerprint,
    }


def _refuse_changed_function(settings: Int8Settings, opened: CalibrationSet) -> None:
    """Raise unless the function prepares images today as it did when it was registered."""
    called = f"evaluation set {settings.evaluation_set}"
    try:
        make_feed(opened, **feed_arguments(settings))
    except OtherPreparationError as error:
        raise UsageError(
            f"{called}: {settings.preprocess} does something else than when it was registered\n"
            "  if it should, register it again, and accuracy is of the new preparation:\n"
            f"  lake calibration register-eval {settings.evaluation_set} --preprocess {settings.preprocess} ..."
        ) from error
    except UsageError as error:
        raise UsageError(f"{called}: the function that it was registered with cannot be used\n  {error}") from error
