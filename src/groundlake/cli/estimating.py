"""Commands about estimates: bring predictions in, compute some, list them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from groundlake.cli.app import ESTIMATE, app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.progress import counted
from groundlake.cli.settings import Settings, command

estimates = typer.Typer(
    help="Predictions: bring in yours, compute those of the built-in estimators, list them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(estimates, name="estimates", rich_help_panel=ESTIMATE)


class Holdout(str, Enum):
    """What a fit may not see of what it predicts."""

    MODEL = "model"
    HARDWARE = "hardware"
    BATCH = "batch"
    KFOLD = "kfold"


@command(estimates, ESTIMATE)
def add(
    settings: Settings,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="csv, parquet, json or jsonl; see docs/estimates.md.")],
    estimator: Annotated[
        str | None,
        typer.Option("--estimator", metavar="NAME", help="Name of the estimator, unless the file has it as a column."),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            metavar="V",
            help="Its version, which is never overwritten, unless the file has the column estimator_version.",
        ),
    ] = None,
    allow_unmeasured: Annotated[
        bool, typer.Option("--allow-unmeasured", help="Keep predictions of what was not measured yet.")
    ] = False,
) -> None:
    """Bring predictions in: per subgraph or of whole models, latency, energy or memory, any number at once."""
    from groundlake.estimate.files import origin_of, read_estimates, source_of

    frame = read_estimates(file)
    total = frame["hardware_id"].n_unique() if "hardware_id" in frame.columns else 0
    with counted("estimates", total, "hardware ids written", quiet=settings.quiet) as published:
        written = settings.lake.write_estimates(
            frame,
            estimator=estimator,
            version=version,
            allow_unmeasured=allow_unmeasured,
            sources=[source_of(file)],
            origin=origin_of(file),
            on_published=published,
        )
    settings.lake.renew_views()
    for each in written.versions:
        print(f"{each.estimator} {each.version}: {each.rows} estimates written, {each.present} in the lake already")
    names = {each.estimator for each in written.versions}
    settings.remark("next: lake validate" + (f" --estimator {names.pop()}" if len(names) == 1 else ""))


@command(estimates, ESTIMATE)
def fit(
    settings: Settings,
    estimator: Annotated[str, typer.Argument(metavar="NAME", help="roofline or efficiency-curve.")],
    version: Annotated[
        str | None, typer.Option("--version", metavar="V", help="Its version. [default: made of what it sees]")
    ] = None,
    hw: Annotated[str | None, typer.Option("--hw", metavar="ID", help="Predict for this device only.")] = None,
    holdout: Annotated[
        Holdout | None, typer.Option("--holdout", help="What the fit may not see. [default: model]")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="Parameter of the query in queries/estimators/.")
    ] = None,
) -> None:
    """Compute the predictions of a built-in estimator, in SQL, and write them. A fit never sees what it predicts."""
    from groundlake.cli.querying import parameters
    from groundlake.estimate import fit as compute

    given = parameters(param)
    if holdout is not None:
        given["holdout"] = holdout.value
    with counted("estimates", 0, "hardware ids written", quiet=settings.quiet) as published:
        fitted = compute(
            settings.lake, estimator, version=version, hardware_id=hw, parameters=given, on_published=published
        )
    settings.lake.renew_views()
    written = fitted.written
    print(f"{estimator} {fitted.version}: {written.rows} estimates written, {written.present} in the lake already")
    if fitted.without:
        print(
            f"  {fitted.without} subgraphs have no prediction: a figure of the device or a measurement is missing;"
            f" lake query estimate_gaps --param estimator={estimator} --param version={fitted.version}"
        )
    if fitted.registered:
        print(f"  specifications of {', '.join(fitted.registered)} copied from the registry")
    settings.remark(f"next: lake validate --estimator {estimator}")


@command(estimates, ESTIMATE, "list")
def list_versions(settings: Settings, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """List the estimator versions in the lake."""
    sql = "SELECT * FROM estimator_versions ORDER BY estimator, first_recorded_at"
    print_rows(settings.lake.sql(sql).pl(), form, output)
