"""One row for each pair of configurations: the change, its noise, the verdict, and the reason in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.compare.figures import MEAN, TYPICAL, Figure
from groundlake.stats.change import (
    IMPROVED,
    INSUFFICIENT,
    NOISE_CEILING,
    REGRESSED,
    SIGNIFICANCE,
    UNCHANGED,
    Change,
    adjusted,
    as_percent,
    combined,
    decide,
    decide_blind,
)
from groundlake.stats.ranks import mann_whitney

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundlake.compare.scatter import RunNoise

BETWEEN, OTHERS, STATED, WITHIN = "between runs", "between runs of others", "stated", "within run"
"""Where the noise comes from: repeats of the configuration, repeats of others like it, the user, or one run alone."""

NOISE_IN_WORDS = {
    BETWEEN: "noise between runs",
    OTHERS: "noise between runs of other models",
    STATED: "the noise that was stated",
}

_WITHIN_RULES = 2.0
"""Where the spread within the runs alone gives more than this times the variance that repeats showed, it counts."""

_MOST_REPEATS = 100
_NORMAL_QUANTILE = 1.96


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A pair and all that was found about it, before the verdict.

    Attributes:
        a: Runs of the first side, at least one.
        b: Runs of the second.
        statistic: What stands for a run.
        change: The change.
        source: Where the noise comes from.
        noise: Standard deviation of the logarithm of one run's figure; None where nothing is known.
        repeats: Repeats behind it.
        one_session: Whether they say nothing of drift between sessions.
        rank_p_value: Of Mann and Whitney, on raw samples.
        p_adjusted: Of the change, for all configurations together; None where noise between runs is not known.
    """

    a: Sequence[Figure]
    b: Sequence[Figure]
    statistic: str
    change: Change
    source: str
    noise: float | None
    repeats: int
    one_session: bool
    rank_p_value: float | None
    p_adjusted: float | None = None


def examine(
    a: Sequence[Figure],
    b: Sequence[Figure],
    noises: Mapping[str, Mapping[tuple[Any, ...], RunNoise]],
    stated: float | None,
) -> Judged:
    """Find the change between comparable runs, and the noise beside it.

    Args:
        a: Runs of the first side.
        b: Runs of the second, of the same quantity.
        noises: For both statistics: scatter between runs by configuration.
        stated: Relative standard deviation between runs, given by the user; it stands in where nothing was repeated.
    """
    statistic = TYPICAL if all(figure.samples for figure in (*a, *b)) else MEAN
    left, right = (fmean(figure.log_value(statistic) or 0.0 for figure in side) for side in (a, b))
    known = [noises[statistic].get(side[0].configuration) for side in (a, b)]
    inside = [_within(side, statistic) for side in (a, b)]
    within = None if inside[0] is None or inside[1] is None else combined([inside[0], inside[1]])
    first, second = known
    repeats, one_session = 0, False
    variance: float | None
    noise: float | None
    if first and second:
        variance, freedom = _between(first, second, len(a), len(b), same=a[0].configuration == b[0].configuration)
        noise = math.sqrt(max(first.variance, second.variance))
        source = OTHERS if first.borrowed or second.borrowed else BETWEEN
        repeats, one_session = min(first.repeats, second.repeats), first.one_session or second.one_session
        if within and within[0] > _WITHIN_RULES * variance:
            variance, freedom = within
            noise = max(noise, _typical_within((*a, *b), statistic))
    elif stated is not None and within:
        added = math.log1p(stated) ** 2
        variance, freedom = combined([within, (added * (1 / len(a) + 1 / len(b)), math.inf)])
        noise, source = math.log1p(stated), STATED
    else:
        noise, source = (_typical_within((*a, *b), statistic) if within else None), WITHIN
        variance, freedom = within or (None, math.inf)
    return Judged(
        a=a,
        b=b,
        statistic=statistic,
        change=Change(right - left, variance, freedom),
        source=source,
        noise=noise,
        repeats=repeats,
        one_session=one_session,
        rank_p_value=_ranks(a, b) if statistic == TYPICAL else None,
    )


def _between(first: RunNoise, second: RunNoise, count_a: int, count_b: int, *, same: bool) -> tuple[float, float]:
    """Variance of the change and its degrees of freedom, from the scatter between runs."""
    if same:
        return first.variance * (1 / count_a + 1 / count_b), first.degrees_of_freedom
    sides = [(first, count_a), (second, count_b)]
    return combined([(noise.variance / count, noise.degrees_of_freedom) for noise, count in sides])


def _within(side: Sequence[Figure], statistic: str) -> tuple[float, float] | None:
    """Variance of a side's figure from the spread within its runs; None where a run does not know its own."""
    spreads = [figure.within(statistic) for figure in side]
    known = [spread for spread in spreads if spread]
    if len(known) < len(spreads):
        return None
    return combined([(variance / len(side) ** 2, freedom) for variance, freedom in known])


def _typical_within(figures: Sequence[Figure], statistic: str) -> float:
    """Standard deviation of one run's figure by the spread within the runs, where they know it."""
    return math.sqrt(fmean(spread[0] for figure in figures if (spread := figure.within(statistic))))


def _ranks(a: Sequence[Figure], b: Sequence[Figure]) -> float:
    first, second = ([value for figure in side for value in figure.samples or ()] for side in (a, b))
    return mann_whitney(first, second).p_value


def adjust(rows: Sequence[Judged]) -> list[Judged]:
    """Adjust the p values for all configurations whose noise between runs is known."""
    judged = list(rows)
    at = [number for number, row in enumerate(judged) if row.source != WITHIN]
    p_values = [judged[number].change.p_value() for number in at]
    for number, p_value in zip(at, adjusted([1.0 if each is None else each for each in p_values]), strict=True):
        judged[number] = replace(judged[number], p_adjusted=p_value)
    return judged


def verdict(row: Judged, threshold: float) -> str:
    """Say what the change of one pair is."""
    if row.source == WITHIN:
        return INSUFFICIENT if _doubts(row) else decide_blind(row.change, row.rank_p_value)
    return decide(row.change, row.p_adjusted, threshold=threshold)


def reason(row: Judged, said: str, threshold: float) -> str:
    """Say why, in words; what matters most comes first."""
    about = _why(row, said, threshold)
    means = [fmean(figure.mean for figure in side) for side in (row.a, row.b)]
    of_means = math.log(means[1] / means[0])
    if row.statistic == TYPICAL and abs(of_means - row.change.log_change) > math.log1p(threshold):
        about += f"; the means, outliers included, differ by {as_percent(of_means):+.1f} %"
    if row.one_session and said in {REGRESSED, IMPROVED}:
        about += "; all repeats are of one session, so drift between sessions is not in the noise"
    if doubts := _doubts(row):
        about += f"; warnings of the runs: {doubts}"
    return about


def _doubts(row: Judged) -> str:
    """Warnings of the runs that make a figure doubtful, by side; empty where there are none."""
    found = []
    for name, side in (("A", row.a), ("B", row.b)):
        codes = dict.fromkeys(code for figure in side for code in figure.doubts)
        found += [f"{name} {', '.join(codes)}"] if codes else []
    return "; ".join(found)


def _why(row: Judged, said: str, threshold: float) -> str:
    if row.source == WITHIN:
        return _why_blind(row, said)
    limits = f"±{100 * threshold:g} %"
    if said in {REGRESSED, IMPROVED}:
        return f"{NOISE_IN_WORDS[row.source]} does not explain it: p = {row.p_adjusted:.2g}"
    if said == UNCHANGED:
        return f"the interval lies within {limits}"
    if row.p_adjusted is not None and row.p_adjusted <= SIGNIFICANCE:
        return f"changed beyond noise, but perhaps by less than {limits}"
    noise = row.noise or 0.0
    needed = math.ceil(2 * (_NORMAL_QUANTILE * noise / math.log1p(threshold)) ** 2)
    repeats = f"about {needed}" if needed <= _MOST_REPEATS else f"over {_MOST_REPEATS}"
    return f"noise may explain it; {limits} needs {repeats} runs a side"


def _why_blind(row: Judged, said: str) -> str:
    if said in {REGRESSED, IMPROVED}:
        return f"run-to-run noise is unknown, but none seen so far explains a factor over {NOISE_CEILING:g}"
    about = "run-to-run noise is unknown: no repeats (ingest --repeat 5)"
    if row.rank_p_value is not None:
        beyond = row.rank_p_value <= SIGNIFICANCE
        about += f"; the samples {'differ beyond' if beyond else 'agree within'} the noise within the runs"
    elif row.change.variance is None:
        about += "; nor do the runs know their own"
    elif (interval := row.change.log_interval()) and (interval[0] > 0 or interval[1] < 0):
        about += "; the runs differ beyond the noise within them"
    return about


SCHEMA: dict[str, Any] = {
    "verdict": pl.String(),
    "hardware_id": pl.String(),
    "precision": pl.String(),
    "model": pl.String(),
    "batch": pl.Int64(),
    "b_differs_in": pl.String(),
    "quantity": pl.String(),
    "rail": pl.String(),
    "statistic": pl.String(),
    "a_value": pl.Float64(),
    "b_value": pl.Float64(),
    "a_runs": pl.Int64(),
    "b_runs": pl.Int64(),
    "change_percent": pl.Float64(),
    "change_ci_lower": pl.Float64(),
    "change_ci_upper": pl.Float64(),
    "noise_percent": pl.Float64(),
    "noise_method": pl.String(),
    "num_repeats": pl.Int64(),
    "p_value": pl.Float64(),
    "p_adjusted": pl.Float64(),
    "mann_whitney_p": pl.Float64(),
    "reason": pl.String(),
    "a_run_ids": pl.List(pl.String()),
    "b_run_ids": pl.List(pl.String()),
}
"""Columns of a comparison; docs/comparing.md describes them."""

ORDER = (REGRESSED, INSUFFICIENT, "not comparable", UNCHANGED, IMPROVED)
"""Verdicts, worst first."""


def described(a: Sequence[Figure], b: Sequence[Figure], difference: str | None) -> dict[str, object]:
    """Columns that say what a row is about, whatever is found."""
    run = a[0].run
    return {
        **{key: run[key] for key in ("hardware_id", "precision", "model", "batch")},
        "b_differs_in": difference,
        "quantity": a[0].quantity,
        "rail": a[0].rail,
        "a_runs": len(a),
        "b_runs": len(b),
        "a_run_ids": [figure.run["run_id"] for figure in a],
        "b_run_ids": [figure.run["run_id"] for figure in b],
    }


def found(row: Judged, threshold: float) -> dict[str, object]:
    """Columns that hold what was found about comparable runs."""
    said = verdict(row, threshold)
    interval = row.change.log_interval()
    values = [math.exp(fmean(figure.log_value(row.statistic) or 0.0 for figure in side)) for side in (row.a, row.b)]
    return {
        "verdict": said,
        "statistic": row.statistic,
        "a_value": values[0],
        "b_value": values[1],
        "change_percent": row.change.percent,
        "change_ci_lower": as_percent(interval[0]) if interval else None,
        "change_ci_upper": as_percent(interval[1]) if interval else None,
        "noise_percent": None if row.noise is None else 200 * row.noise,
        "noise_method": None if row.noise is None else row.source,
        "num_repeats": row.repeats,
        "p_value": row.change.p_value() if row.p_adjusted is not None else None,
        "p_adjusted": row.p_adjusted,
        "mann_whitney_p": row.rank_p_value,
        "reason": reason(row, said, threshold),
    }
