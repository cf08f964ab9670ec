"""`lake calibration`: sets of images that calibrate a quantization. Here: building them, and what accuracy is of."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import app
from groundlake.cli.moving import finish
from groundlake.cli.settings import Settings, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.calibration.building import Built
    from groundlake.calibration.registering import Registered

CALIBRATION = "Calibration sets"

calibration = typer.Typer(
    help="Calibration sets: the images that post-training quantization measures ranges on, identified and checked.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(calibration, name="calibration", rich_help_panel=CALIBRATION)


class Source(str, Enum):
    """Where labelled images come from."""

    CIFAR10 = "cifar10"
    IMAGE_FOLDER = "image_folder"
    NPZ = "npz"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the calibration set.")]
SourceOption = Annotated[
    Source,
    typer.Option(
        "--source",
        help="What the data are: the batches of CIFAR-10 for Python, a folder of pictures for each class, or arrays "
        "in .npz.",
    ),
]
DataOption = Annotated[
    Path,
    typer.Option("--data-dir", metavar="DIR", help="Folder of the data set; of npz the file, or its folder."),
]


@command(calibration, CALIBRATION, "build")
def build(
    settings: Settings,
    data_dir: DataOption,
    source: SourceOption = Source.CIFAR10,
    samples_per_class: Annotated[
        int, typer.Option("--samples-per-class", metavar="N", help="Images of each class.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Another seed gives another choice.")] = 0,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the set.", show_default="made of source, number and seed")
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            "--preprocess",
            metavar="MODULE:FUNCTION",
            help="Function that prepares the images for the network as its evaluation does, as "
            "package.module:function; it is imported from the working directory too, and called whenever the set is "
            "read. It is given uint8 (n, height, width, 3), NHWC, RGB, 0 to 255, and returns float32, NHWC.",
            show_default="float32, 0 to 255, not normalised",
        ),
    ] = None,
) -> None:
    """Choose exactly N training images of each class and store them raw, with the fingerprint of the whole set.

    What a network is calibrated with is made of them on reading: float32, 0 to 255, or what --preprocess makes.

    The same set again writes nothing; another one under the same name is refused.
    """
    from groundlake.calibration.building import build as build_set

    lake = settings.lake
    built = build_set(
        lake,
        source=source.value,
        data_dir=data_dir,
        samples_per_class=samples_per_class,
        seed=seed,
        name=name,
        preprocess=preprocess,
    )
    print("\n".join(_built_words(built, source, preprocess)))
    if not (built.was_there and lake.view_file.exists()):
        finish(settings, lake, "calibration_sets")


@command(calibration, CALIBRATION, "register-eval")
def register_eval(
    settings: Settings,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the evaluation set.")],
    data_dir: DataOption,
    preprocess: Annotated[
        str,
        typer.Option(
            "--preprocess",
            metavar="MODULE:FUNCTION",
            help="Function that prepares the images of the evaluation, as package.module:function; it is imported from "
            "the working directory too. It is given uint8 (4, height, width, 3), NHWC, RGB, 0 to 255, and returns an "
            "array of numbers.",
        ),
    ],
    source: SourceOption = Source.CIFAR10,
) -> None:
    """Register what accuracy is evaluated on: the hash of every test image, and what its preprocessing really does.

    `lake calibration verify` then says whether a set shares an image with it, and whether both prepare images alike.

    No image is stored. A name that is registered again stands for the new content.
    """
    from groundlake.calibration.registering import register_evaluation

    lake = settings.lake
    done = register_evaluation(lake, name, data_dir, preprocess, source.value)
    print("\n".join(_registered_words(done)))
    if not (done.was_there and lake.view_file.exists()):
        finish(settings, lake, "calibration_preprocessing")


def _built_words(built: Built, source: Source, preprocess: str | None) -> Iterator[str]:
    height, width, channels = built.image_shape
    each = f"{built.samples_per_class} of each of {len(built.class_names)} classes"
    there = " (it was there, nothing was written)" if built.was_there else ""
    yield f"calibration set {built.name}: {built.num_samples} images, {each}{there}"
    yield f"  source       {source.value}, split {built.split}, {height} x {width} x {channels}"
    if preprocess is not None:
        yield f"  prepared by  {preprocess}, {built.preprocessing_fingerprint}"
    yield f"  fingerprint  {built.set_fingerprint}"
    for remark in built.remarks:
        yield f"  {remark}"


def _registered_words(done: Registered) -> Iterator[str]:
    there = " (it was there, nothing was written)" if done.was_there else ""
    made = done.preparation
    yield f"evaluation set {done.name}: {done.num_samples} images{there}"
    yield f"  {done.preprocess} gives {made.dtype} {list(made.shape)}, {made.low:g}..{made.high:g}, of the probe images"
    yield f"  fingerprint  {made.preprocessing}"
    for remark in done.remarks:
        yield f"  {remark}"
