"""Figures that are no times beside JSON: a value with its unit, its interval where it was estimated, and its target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of a result.

    Attributes:
        door: What a user calls to get what was measured.
        low: Lower end of the 95 % interval; None where the value is no estimate.
        target: What was promised: the value is to be at most this.
    """

    what: str
    door: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    target: float | None = None
    note: str = ""


def median_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, and its 95 % interval by the bootstrap (percentiles of the medians of resamples)."""
    found = np.asarray(values, dtype=float)
    chance = np.random.default_rng(0)
    medians = np.median(chance.choice(found, (RESAMPLES, found.size)), axis=1)
    low, high = np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.median(found)), float(low), float(high)


def show(figures: Sequence[Figure]) -> str:
    """Format figures as a table."""
    lines = [f"{'what':46} {'door':24} {'value':>14} {'95 % interval':>18} {'target':>8}  note"]
    for each in figures:
        interval = "" if each.low is None or each.high is None else f"{each.low:.3g} to {each.high:.3g}"
        target = "" if each.target is None else f"{each.target:g}"
        value = f"{each.value:.3g} {each.unit}"
        lines.append(f"{each.what:46} {each.door:24} {value:>14} {interval:>18} {target:>8}  {each.note}")
    return "\n".join(lines)
