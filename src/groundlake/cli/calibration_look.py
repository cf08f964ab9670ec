"""`lake calibration verify|list|show|export`: whether calibration sets are right, what they are, and as files."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.calibration import CALIBRATION, NameArgument, calibration
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import Settings, command
from groundlake.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from groundlake.calibration.reading import CalibrationSet
    from groundlake.calibration.verifying import Check

LISTED = (
    "SELECT calibration_set, dataset, split, num_samples, samples_per_class, is_balanced, pixel_min, pixel_max, "
    "preprocess, num_evaluation_sets, is_disjoint, preprocessing_matches, set_fingerprint FROM calibration_sets "
    "ORDER BY calibration_set"
)
EVALUATIONS = (
    "SELECT evaluation_set, dataset, split, num_samples, preprocess, output_dtype, output_min, output_max, "
    "preprocessing_fingerprint FROM evaluation_sets ORDER BY evaluation_set"
)


class Target(str, Enum):
    """As what a set is written."""

    NPZ = "npz"
    ORT = "ort"
    TORCH = "torch"


class AxisOrder(str, Enum):
    """Order of the axes of a batch."""

    NHWC = "NHWC"
    NCHW = "NCHW"


@command(calibration, CALIBRATION, "verify")
def verify(
    settings: Settings,
    name: NameArgument,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="EVAL",
            help="Evaluation set that it must fit.",
            show_default="every one that is registered",
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Check balance, range, hashes and fingerprint, that no image is an evaluation's, and that preprocessing is equal.

    All of it is computed anew from the bytes in the lake. Exit code 1 if anything fails; what is unknown does not fail.
    """
    import polars as pl

    from groundlake.calibration.reading import open_set
    from groundlake.calibration.verifying import verify as verify_set

    checks = verify_set(settings.lake, name, against=against)
    if form is Format.TABLE and output is None:
        print("\n".join(_check_words(checks)))
    else:
        rows = [{"check": each.name, "passed": each.passed, "detail": each.detail} for each in checks]
        print_rows(pl.DataFrame(rows, schema_overrides={"passed": pl.Boolean}), form, output)
    failed = sum(each.failed for each in checks)
    if failed:
        advice = _advice(checks, is_raw=open_set(settings.lake, name).preprocess is None)
        raise LakeError("\n".join([f"calibration set {name}: {failed} of {len(checks)} checks failed", *advice]))


@command(calibration, CALIBRATION, "list")
def list_sets(
    settings: Settings,
    evaluations: Annotated[
        bool, typer.Option("--evaluations", help="List the registered evaluation sets instead.")
    ] = False,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """List the calibration sets, and whether each is balanced and fits the registered evaluation sets."""
    print_rows(settings.lake.sql(EVALUATIONS if evaluations else LISTED).pl(), form, output)


@command(calibration, CALIBRATION, "show")
def show(
    settings: Settings,
    name: NameArgument,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE.png", help="Also draw a contact sheet: the classes in rows."),
    ] = None,
    columns: Annotated[int, typer.Option("--columns", metavar="N", help="Images of each class on it.")] = 10,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Show what a set is made of, and how many images each class has; --format csv or json prints the classes alone."""
    import polars as pl

    from groundlake.calibration.reading import open_set

    opened = open_set(settings.lake, name)
    wanted = "label, class_name, samples, share, expected, is_balanced, pixel_min, pixel_max, pixel_mean"
    classes = settings.lake.sql(f"SELECT calibration_set, {wanted} FROM calibration_distribution ORDER BY label").pl()
    drawn = ""
    if picture is not None:  # first, so that it is there whoever stops reading what is printed
        from groundlake.calibration.contact_sheet import write_contact_sheet

        shown = write_contact_sheet(opened, picture, columns=columns)
        drawn = f"picture: {picture}, {shown} of {len(opened)} images"
    if form is Format.TABLE and output is None:
        print("\n".join(_set_words(opened)))
    print_rows(classes.filter(pl.col("calibration_set") == name).drop("calibration_set"), form, output)
    if drawn and form is Format.TABLE and output is None:
        print(drawn)


@command(calibration, CALIBRATION, "export")
def export(
    settings: Settings,
    name: NameArgument,
    to: Annotated[
        Target,
        typer.Option(
            "--to",
            help="npz: arrays of NumPy. torch: a dict of tensors, which torch.load(weights_only=True) reads. ort: a "
            "folder of batches that ONNX Runtime's static_quantize_runner reads beside a model, with calibration.json.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="File; of ort a folder.")],
    layout: Annotated[
        AxisOrder | None,
        typer.Option("--layout", help="Order of the axes.", show_default="NHWC of npz, NCHW of the others"),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Images in a batch of ort.")] = 1,
) -> None:
    """Write a set as files that quantization tools read: float32, 0 to 255, with its fingerprint beside the images."""
    from groundlake.calibration.exporting import export as export_set
    from groundlake.calibration.reading import open_set

    opened = open_set(settings.lake, name)
    done = export_set(opened, to.value, output, layout=layout.value if layout else None, batch=batch)
    batches = f" in {done.batches} batches" if done.batches is not None else ""
    print(f"{done.path}: {done.images} images{batches}, float32 {done.layout}, set {opened.fingerprint}")


def _check_words(checks: Sequence[Check]) -> Iterator[str]:
    """Say of each check whether it passed."""
    width = max(len(each.name) for each in checks)
    state = {True: "ok", False: "FAILED", None: "unknown"}
    for each in checks:
        yield f"{state[each.passed]:<7} {each.name:<{width}}  {each.detail}"


def _advice(checks: Sequence[Check], *, is_raw: bool) -> Iterator[str]:
    """Say how a set is made that prepares images as an evaluation, of other images, does.

    A raw set may be quantized with the evaluation's function; one with its own gives no other.
    """
    failed = {each.name for each in checks if each.failed}
    named = [name.partition(".")[2] for name in sorted(failed) if name.startswith("preprocessing.")]
    usable = [name for name in named if f"disjoint.{name}" not in failed]
    if not usable:
        return
    build = "where that is meant, build a set of another name with the evaluation's function: --preprocess of build"
    yield build + (";" if is_raw else "")
    if is_raw:
        option = f"--evaluation-set {usable[0]}" if len(usable) == 1 else "--evaluation-set NAME"
        yield f"or quantize with that function: {option} of lake ingest, preprocess= of a reader"


def _set_words(opened: CalibrationSet) -> Iterator[str]:
    """Say what a set is made of."""
    said = {
        "images": f"{len(opened)}, {opened.height} x {opened.width} x {opened.channels}",
        "source": f"{opened.dataset}, split {opened.split}, files {opened.source_sha256}",
        "selection": f"{opened.samples_per_class} of each of {len(opened.class_names)} classes, seed {opened.seed}",
        "prepared by": opened.preprocess or "no function: float32, 0 to 255",
        "preprocessing": opened.preprocessing_json,
        "prepares as": opened.preprocessing_fingerprint,
        "fingerprint": opened.fingerprint,
        "run": opened.run_id,
    }
    yield f"calibration set {opened.name}"
    width = max(map(len, said))
    for name, value in said.items():
        yield f"  {name:<{width}}  {value}"
    yield ""
