"""The command that compares runs with runs: did anything become slower?"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import ASK, app
from groundlake.cli.output import Format, FormatOption, OutOption, as_markdown, plain_in_markdown, print_rows
from groundlake.cli.settings import Settings, command
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    import polars as pl

    from groundlake.compare import Comparison

FAIL_ON = {"regressed": "regressed", "insufficient": "insufficient data", "not_comparable": "not comparable"}
"""What --fail-on takes, and the verdict it means."""

SHORT = (
    "verdict",
    "change_percent",
    "change_ci_lower",
    "change_ci_upper",
    "noise_percent",
    "hardware_id",
    "precision",
    "model",
    "batch",
    "b_differs_in",
    "quantity",
    "rail",
    "mann_whitney_p",
    "reason",
)
"""Columns that a table shows; csv, json and parquet have all."""


class Quantity(str, Enum):
    """What is compared."""

    LATENCY = "latency"
    ENERGY = "energy"


@command(app, ASK)
def compare(
    settings: Settings,
    a: Annotated[str, typer.Argument(metavar="A", help="Runs to compare with: latest~1, a date, a session, ...")],
    b: Annotated[str, typer.Argument(metavar="B", help="Runs to compare: latest, a run id, column=value, ...")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on", metavar="VERDICT", help="Exit code 1 on regressed, insufficient or not_comparable; repeatable."
        ),
    ] = None,
    hw: Annotated[str | None, typer.Option("--hw", metavar="ID", help="Only runs on this device.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="Only this precision.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Only this batch size.")] = None,
    quantity: Annotated[Quantity, typer.Option("--quantity", help="What is compared.")] = Quantity.LATENCY,
    threshold: Annotated[
        str, typer.Option("--threshold", metavar="PERCENT", help="Smallest change that matters.")
    ] = "1%",
    run_noise: Annotated[
        str | None,
        typer.Option(
            "--run-noise", metavar="PERCENT", help="Standard deviation between runs, where the lake has no repeats."
        ),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", metavar="FILE.md", help="Append the result as Markdown to this file.")
    ] = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Compare runs with runs: which configurations regressed, and does noise between runs explain it?

    A and B are each a run id (or its first 8 characters), latest, latest~1 (the repeats of a sweep
    count as one), a date or moment (UTC), a session, or column=value,... (any column of the ledger).
    A change above 0 % means that B is slower. See docs/comparing.md.
    """
    from groundlake.compare import compare_selections
    from groundlake.compare import summary as in_one_line

    failing = _failing(fail_on)
    done = compare_selections(
        settings.lake,
        a,
        b,
        keys={"hardware_id": hw, "precision": precision, "model": model, "batch": batch},
        quantity=quantity.value,
        threshold_percent=_percent("--threshold", threshold),
        run_noise_percent=None if run_noise is None else _percent("--run-noise", run_noise),
    )
    print_rows(_short(done.rows) if form is Format.TABLE else done.rows, form, output)
    if form is Format.TABLE:
        print(in_one_line(done))
    if summary:
        _append(summary, f"{a} → {b}", in_one_line(done), done)
    counts = {name: done.rows.filter(verdict=verdict).height for name, verdict in FAIL_ON.items() if name in failing}
    broken = ", ".join(f"{count} {FAIL_ON[name]}" for name, count in counts.items() if count)
    if broken:
        raise LakeError(f"of {done.rows.height} configurations: {broken} (--fail-on {','.join(failing)})")


def _failing(given: list[str] | None) -> list[str]:
    """Verdicts to fail on, from options that may be repeated or joined by commas."""
    names = [name.strip() for text in given or () for name in text.split(",")]
    for name in names:
        if name not in FAIL_ON:
            raise UsageError(f"--fail-on takes {', '.join(FAIL_ON)}, joined by commas or repeated; got {name!r}")
    return list(dict.fromkeys(names))


def _percent(option: str, text: str) -> float:
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        raise UsageError(f"{option} is a number of percent, such as 2%, got {text!r}") from None


def _short(rows: pl.DataFrame) -> pl.DataFrame:
    """Columns of a table, those left out that say nothing in any row."""
    return rows.select(name for name in SHORT if rows[name].null_count() < rows.height or name in SHORT[:5])


def _append(path: Path, title: str, line: str, done: Comparison) -> None:
    """Append what a job summary should show."""
    parts = [f"## Runs compared: {plain_in_markdown(title)}", line, as_markdown(_short(done.rows))]
    with path.open("a", encoding="utf-8") as file:
        file.write("\n\n".join(parts) + "\n")
