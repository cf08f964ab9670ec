"""Commands that make pictures: one plot, or a report of everything in one file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from groundlake.cli.app import ASK, app
from groundlake.cli.settings import Settings, command


class Plot(str, Enum):
    """What is drawn."""

    EFFICIENCY = "efficiency"
    ROOFLINE = "roofline"
    SCALING = "scaling"
    POWER = "power"
    VALIDATION = "validation"
    DRIFT = "drift"
    COVERAGE = "coverage"
    LATENCY = "latency"
    SPEEDUP = "speedup"
    MODES = "modes"


@command(app, ASK)
def plot(
    settings: Settings,
    kind: Annotated[Plot, typer.Argument(metavar="PLOT", help=", ".join(each.value for each in Plot) + ".")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A .png, .svg or .html file.")],
    hw: Annotated[list[str] | None, typer.Option("--hw", metavar="ID", help="Of this hardware id; repeatable.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="In this precision.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME", help="Of this model; may be repeated.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", metavar="N", help="At this batch size.")] = None,
    estimator: Annotated[
        str | None, typer.Option("--estimator", metavar="NAME", help="Of this estimator (validation).")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="V", help="Of this version; the latest of each without it.")
    ] = None,
) -> None:
    """Draw a picture of what the lake says, from a view of it: `lake plot efficiency --hw dev -o curves.png`."""
    from groundlake.report.figure import Wanted
    from groundlake.report.files import check_kind, draw
    from groundlake.report.plots import plot as figures_of

    check_kind(output)
    wanted = Wanted(
        hardware=tuple(hw or ()),
        precision=precision,
        models=tuple(model or ()),
        batch=batch,
        estimator=estimator,
        version=version,
    )
    figures = figures_of(settings.lake, kind.value, wanted)
    draw(settings.lake, figures, output)
    print(f"{output}: {len(figures)} panel{'s' if len(figures) > 1 else ''}")


@command(app, ASK)
def report(
    settings: Settings,
    hw: Annotated[
        list[str] | None, typer.Option("--hw", metavar="ID", help="About this hardware id only; repeatable.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.html", help="The file, which is replaced.")
    ] = Path("report.html"),
) -> None:
    """Write a report of everything in the lake: one file that opens offline, with charts, tables and their queries."""
    from groundlake.report.files import check_kind
    from groundlake.report.whole import write_report

    check_kind(output, ("html",), "report")
    written = write_report(settings.lake, output, tuple(hw or ()))
    size = output.stat().st_size / 1e6
    print(f"{output}: {written['figures']} figures, {written['rows']} rows of tables, {size:.1f} MB")
