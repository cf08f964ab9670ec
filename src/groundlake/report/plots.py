"""The plots by their names, and what each of them can be asked."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from groundlake.errors import UsageError
from groundlake.report import coverage, drift, efficiency, latency, modes, power, roofline, scaling, speedup, validation
from groundlake.report.figure import Wanted, check_names, load_converter

if TYPE_CHECKING:
    import polars as pl

    from groundlake.report.figure import Figure
    from groundlake.store import Lake

PLOTS = {
    "efficiency": efficiency,
    "roofline": roofline,
    "scaling": scaling,
    "power": power,
    "validation": validation,
    "drift": drift,
    "coverage": coverage,
    "latency": latency,
    "speedup": speedup,
    "modes": modes,
}
OPTIONS = {
    "hardware": "--hw",
    "precision": "--precision",
    "models": "--model",
    "batch": "--batch",
    "estimator": "--estimator",
    "version": "--version",
}
MOST_PANELS = 12
"""Panels of one picture; more are not readable, and mean that a device or precision should be named."""


def plot(lake: Lake, kind: str, wanted: Wanted) -> list[Figure]:
    """Make the figures of one plot of what is asked for.

    Args:
        lake: The lake.
        kind: Name of the plot, a key of PLOTS.
        wanted: What it is about.

    Raises:
        UsageError: An option that this plot does not take, a name that the lake does not have, no data, or too many
            figures for one picture.
        MissingDependencyError: The extra `plot` is not installed.
    """
    module = PLOTS[kind]
    taken = [name for name in OPTIONS if name in module.TAKES or (name == "models" and "model" in module.TAKES)]
    for name, option in OPTIONS.items():
        if getattr(wanted, name) not in (None, ()) and name not in taken:
            raise UsageError(f"lake plot {kind} takes no {option}, only {', '.join(OPTIONS[each] for each in taken)}")
    load_converter()

    def ask(sql: str) -> pl.DataFrame:
        return lake.sql(sql).pl()

    check_names(ask, wanted)
    figures = list(islice(module.figures(ask, wanted), MOST_PANELS + 1))
    if not figures:
        raise UsageError(f"lake plot {kind}: {module.HINT}")
    if len(figures) > MOST_PANELS:
        raise UsageError(
            f"lake plot {kind}: more than {MOST_PANELS} panels are too many for one picture\n"
            f"narrow it with {', '.join(OPTIONS[each] for each in taken)}; `lake ls` lists what was measured"
        )
    return figures
