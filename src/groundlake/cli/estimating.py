"""Commands about estimators: bring predictions in, compute some, list them, and say how wrong they are."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import ESTIMATE, app
from groundlake.cli.output import Format, FormatOption, OutOption, as_markdown, print_rows
from groundlake.cli.progress import counted
from groundlake.cli.settings import Settings, command, say
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    import polars as pl

    from groundlake.estimate.gates import Outcome

estimates = typer.Typer(
    help="Predictions: bring in yours, compute those of the built-in estimators, list them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(estimates, name="estimates", rich_help_panel=ESTIMATE)

SHORT = (
    "estimator",
    "estimator_version",
    "member",
    "extrapolated",
    "num_configurations",
    "median_ape",
    "median_ape_ci_lower",
    "median_ape_ci_upper",
    "rating",
    "bias",
    "mean_ape",
    "p90_ape",
    "within_25_percent",
    "within_noise_share",
    "rank_agreement",
    "compared_with",
)
"""Columns that a table shows; csv, json and parquet have all."""


class By(str, Enum):
    """What estimates are grouped by."""

    ALL = "all"
    MODEL = "model"
    PRECISION = "precision"
    OPERATION = "operation"
    BATCH = "batch"
    HARDWARE = "hardware"
    HARDWARE_PRECISION = "hardware_precision"


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
    estimator: Annotated[str, typer.Option("--estimator", metavar="NAME", help="Name of the estimator.")],
    version: Annotated[str, typer.Option("--version", metavar="V", help="Its version, which is never overwritten.")],
    allow_unmeasured: Annotated[
        bool, typer.Option("--allow-unmeasured", help="Keep predictions of what was not measured yet.")
    ] = False,
) -> None:
    """Bring predictions in: per subgraph or of whole models, latency, energy or memory, any number at once."""
    from groundlake.estimate.files import read_estimates, source_of

    frame = read_estimates(file)
    total = frame["hardware_id"].n_unique() if "hardware_id" in frame.columns else 0
    with counted("estimates", total, "hardware ids written", quiet=settings.quiet) as published:
        written = settings.lake.write_estimates(
            frame,
            estimator=estimator,
            version=version,
            allow_unmeasured=allow_unmeasured,
            sources=[source_of(file)],
            on_published=published,
        )
    settings.lake.bind_views()
    print(f"{estimator} {version}: {written.rows} estimates written, {written.present} in the lake already")
    settings.remark(f"next: lake validate --estimator {estimator}")


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
    settings.lake.bind_views()
    written = fitted.written
    print(f"{estimator} {fitted.version}: {written.rows} estimates written, {written.present} in the lake already")
    if fitted.without:
        print(f"  {fitted.without} subgraphs have no prediction: a figure of the device or a measurement is missing")
    if fitted.registered:
        print(f"  specifications of {', '.join(fitted.registered)} copied from the registry")
    settings.remark(f"next: lake validate --estimator {estimator}")


@command(estimates, ESTIMATE, "list")
def list_versions(settings: Settings, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """List the estimator versions in the lake."""
    sql = "SELECT * FROM estimator_versions ORDER BY estimator, first_recorded_at"
    print_rows(settings.lake.sql(sql).pl(), form, output)


@command(app, ESTIMATE)
def validate(
    settings: Settings,
    estimator: Annotated[str | None, typer.Option("--estimator", metavar="NAME", help="Only this one.")] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="V", help="This version. [default: the latest of each]")
    ] = None,
    hw: Annotated[str | None, typer.Option("--hw", metavar="ID", help="Only what was measured on this device.")] = None,
    by: Annotated[By, typer.Option("--by", help="How estimates are grouped.")] = By.ALL,
    gate: Annotated[
        list[str] | None,
        typer.Option("--gate", metavar="'median_ape<=30'", help="End with exit code 1 where a row breaks this."),
    ] = None,
    allow_insufficient: Annotated[
        bool, typer.Option("--allow-insufficient", help="Let a gate pass with fewer than 10 configurations.")
    ] = False,
    against: Annotated[
        str | None, typer.Option("--against", metavar="V", help="Compare with this older version of the estimator.")
    ] = None,
    fail_on_worse: Annotated[
        bool, typer.Option("--fail-on-worse", help="End with exit code 1 where --against finds it worse.")
    ] = False,
    summary: Annotated[
        Path | None, typer.Option("--summary", metavar="FILE.md", help="Append the result as Markdown to this file.")
    ] = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Say how wrong estimators are beside what was measured, with intervals, gates and a verdict on a new version."""
    from groundlake.estimate.accuracy import Scope, accuracy, compare_versions
    from groundlake.estimate.gates import Gate, gated_figures, judge

    scope = Scope(estimator=estimator, version=version, hardware_id=hw, by=by.value)
    if fail_on_worse and not against:
        raise UsageError("--fail-on-worse judges a comparison: name the older version with --against")
    rows = accuracy(settings.lake, scope)
    gates = [Gate.parse(text, gated_figures(rows)) for text in gate or ()]
    compared = compare_versions(settings.lake, scope, against) if against else None
    outcomes = judge(gates, rows)
    if compared is None or (form is Format.TABLE and output is None):
        print_rows(rows.select(SHORT) if form is Format.TABLE else rows, form, output)
    if compared is not None:
        print_rows(compared, form, output)
    if summary:
        _append(summary, rows, compared, outcomes)
    for outcome in outcomes:
        say(str(outcome))
    _fail(outcomes, compared, gates=bool(gates), allow_insufficient=allow_insufficient, fail_on_worse=fail_on_worse)


def _fail(
    outcomes: list[Outcome],
    compared: pl.DataFrame | None,
    *,
    gates: bool,
    allow_insufficient: bool,
    fail_on_worse: bool,
) -> None:
    """End with exit code 1 where a gate fails, or a new version is worse."""
    if gates and not outcomes:
        raise LakeError("no gate could be judged: every prediction is extrapolated")
    bad = {"failed"} if allow_insufficient else {"failed", "insufficient data"}
    broken = sum(outcome.verdict in bad for outcome in outcomes)
    if broken:
        hint = "" if allow_insufficient else "; --allow-insufficient lets groups of fewer than 10 configurations pass"
        raise LakeError(f"{broken} of {len(outcomes)} gates did not pass{hint}")
    fitted = None if compared is None else set(compared.filter(~compared["extrapolated"])["verdict"])
    if fail_on_worse and fitted and "worse" in fitted:
        raise LakeError("the new version is worse than the one it is compared with")


def _append(path: Path, rows: pl.DataFrame, compared: pl.DataFrame | None, outcomes: list[Outcome]) -> None:
    """Append what a job summary should show."""
    parts = ["## Estimators beside measurements", as_markdown(rows.select(SHORT))]
    if compared is not None:
        parts += ["### Beside the older version", as_markdown(compared)]
    if outcomes:
        parts += ["### Gates", "\n".join(f"- {outcome}" for outcome in outcomes)]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n\n".join(parts) + "\n")
