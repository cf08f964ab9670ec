"""The command that says how wrong estimators are, and whether a gate or a comparison of versions fails."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import ESTIMATE, app
from groundlake.cli.output import Format, FormatOption, OutOption, as_markdown, print_rows
from groundlake.cli.settings import AsOfOption, Settings, command, say
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    import polars as pl

    from groundlake.estimate.gates import Outcome

SHORT = (
    "estimator",
    "estimator_version",
    "member",
    "extrapolated",
    "num_configurations",
    "predicted_share",
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
    as_of: AsOfOption = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Say how wrong estimators are beside what was measured, with intervals, gates and a verdict on a new version."""
    from groundlake.estimate.accuracy import Errors, Scope
    from groundlake.estimate.gates import Gate, gated_figures, judge

    scope = Scope(estimator=estimator, version=version, hardware_id=hw, by=by.value)
    if fail_on_worse and not against:
        raise UsageError("--fail-on-worse judges a comparison: name the older version with --against")
    errors = Errors.read(settings.lake_as_of(as_of), scope, against)
    rows, not_judged = errors.accuracies(), errors.not_judged()
    gates = [Gate.parse(text, gated_figures(rows)) for text in gate or ()]
    compared = errors.beside(against) if against else None
    outcomes = judge(gates, rows, not_judged)
    if compared is None or (form is Format.TABLE and output is None):
        print_rows(rows.select(SHORT) if form is Format.TABLE else rows, form, output)
    if compared is not None:
        print_rows(compared, form, output)
    notes = _notes(not_judged)
    if form is Format.TABLE and output is None:
        print("".join(f"\n{note}" for note in notes), end="\n" if notes else "")
    if summary:
        _append(summary, rows, compared, outcomes, notes)
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
        few = any(outcome.verdict == "insufficient data" for outcome in outcomes) and not allow_insufficient
        hint = "; --allow-insufficient lets those with insufficient data pass" if few else ""
        raise LakeError(f"{broken} of {len(outcomes)} gates did not pass{hint}")
    fitted = None if compared is None else set(compared.filter(~compared["extrapolated"])["verdict"])
    if fail_on_worse and fitted and "worse" in fitted:
        raise LakeError("the new version is worse than the one it is compared with")


def _notes(not_judged: pl.DataFrame) -> list[str]:
    """Say which estimates no measurement judges, one line for each reason."""
    return [
        f"{row['estimator']} {row['estimator_version']}: {row['num_estimates']} estimates of {row['quantity']}"
        f" are not judged: {row['reason']}"
        for row in not_judged.iter_rows(named=True)
    ]


def _append(
    path: Path, rows: pl.DataFrame, compared: pl.DataFrame | None, outcomes: list[Outcome], notes: list[str]
) -> None:
    """Append what a job summary should show."""
    parts = ["## Estimators beside measurements", as_markdown(rows.select(SHORT))]
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    if compared is not None:
        parts += ["### Beside the older version", as_markdown(compared)]
    if outcomes:
        parts += ["### Gates", "\n".join(f"- {outcome}" for outcome in outcomes)]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n\n".join(parts) + "\n")
