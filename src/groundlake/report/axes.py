"""Log axes: what they hold, round ticks that fit beside each other, and whiskers that say where they are cut."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from groundlake.report.figure import load_altair
from groundlake.report.style import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

LADDERS = (
    (1.0,),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
    (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
    (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.2, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0),
)
"""Round numbers of a decade, ever closer; an axis takes the last whose labels fit."""

ACROSS, UP = 44, 26
"""Least distance of two ticks on a horizontal and on a vertical axis [px]: labels are wider than high."""

NARROW = 1.35
"""An axis over less than this factor is nearly linear, and so are its ticks."""

MOST_EVEN = 11
"""Ticks of such an axis."""

REACH = 4.0
"""Whiskers beyond the points widen an axis by at most this factor."""

ARROWS = {
    ("x", "lower"): "M0,0L1,-0.6L1,0.6Z",
    ("x", "upper"): "M0,0L-1,-0.6L-1,0.6Z",
    ("y", "lower"): "M0,0L-0.6,-1L0.6,-1Z",
    ("y", "upper"): "M0,0L-0.6,1L0.6,1Z",
}
"""Heads of arrows whose tip is at the end of the axis, inside the plot."""


def logarithmic(points: Iterable[float | None], ends: Iterable[float | None] = (), *, margin: float = 1.3) -> Any:  # noqa: ANN401 - altair's
    """Return a log scale over the points above 0, and over the ends of whiskers as far as `REACH` beyond them."""
    alt = load_altair()
    above = [value for value in points if value is not None and value > 0]
    if not above:
        return alt.Scale(type="log")
    least, most = min(above), max(above)
    inside = [min(max(end, least / REACH), most * REACH) for end in ends if end is not None and end > 0]
    domain = [min([least, *inside]) / margin, max([most, *inside]) * margin]
    return alt.Scale(type="log", domain=domain, clamp=True, nice=False)


def ticks(scale: Any, *, length: int = WIDTH, gap: int = ACROSS, **options: Any) -> Any:  # noqa: ANN401 - altair's
    """Return an axis for a log scale with as many round ticks as fit.

    A tick outside the scale would be drawn at its end, under a wrong number: none is.

    Args:
        scale: What `logarithmic` returned.
        length: Of the axis [px].
        gap: Least distance between two ticks [px].
        options: Of the axis.
    """
    alt = load_altair()
    if not isinstance(scale["domain"], list):
        return alt.Axis(**options)
    low, high = scale["domain"]
    return alt.Axis(values=round_values(low, high, apart=gap / length), **options)


def round_values(low: float, high: float, *, apart: float) -> list[float]:
    """Choose round numbers of a log axis, of which no two are closer than this share of it."""
    if high / low < NARROW:
        return _even(low, high, min(MOST_EVEN, int(1 / apart)))
    least = apart * math.log(high / low)
    chosen: list[float] = []
    for ladder in LADDERS:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        every = max(1, math.ceil(least / math.log(10))) if len(ladder) == 1 else 1
        marks = [float(f"{step}e{power}") for power in powers if power % every == 0 for step in ladder]
        inside = [mark for mark in marks if low <= mark <= high]
        close = any(math.log(after / before) < least for before, after in pairwise(inside))
        if not close or not chosen:
            chosen = inside
    return chosen


def _even(low: float, high: float, most: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten, at most this many."""
    exponent = math.floor(math.log10(high - low)) - 1
    for power in range(exponent, exponent + 3):
        for step in (1, 2, 5):
            width = float(f"{step}e{power}")
            numbers = range(math.floor(low / width), math.ceil(high / width) + 1)
            marks = [float(f"{number * step}e{power}") for number in numbers]
            inside = [mark for mark in marks if low <= mark <= high]
            if len(inside) <= most:
                return inside
    return []


def whiskers(
    base: Any,  # noqa: ANN401 - an altair chart
    rows: pl.DataFrame,
    along: str,
    ends: tuple[str, str],
    scale: Any,  # noqa: ANN401 - altair's
    **mark: Any,  # noqa: ANN401 - options of the line
) -> list[Any]:
    """Draw lines between two columns; where one leaves the axis it ends in an arrow.

    Args:
        base: Chart with the other axis and the colour.
        rows: Its rows.
        along: `x` or `y`.
        ends: Columns of the lower and the upper end. A lower end that is not above 0 is beyond any log axis, and a
            missing upper end beside a known lower one has no bound.
        scale: Scale of the axis.
        mark: Options of the line.
    """
    alt = load_altair()
    lower, upper = (f"datum['{end}']" for end in ends)
    if not isinstance(scale["domain"], list):
        return []
    low, high = scale["domain"]
    known = base.transform_filter(f"isValid({lower}) && {lower} <= {high} && !({upper} < {low})")
    start, channel = (alt.X, alt.datum) if along == "x" else (alt.Y, alt.datum)
    lines = known.transform_calculate(
        whisker_from=f"max({lower}, {low})", whisker_to=f"isValid({upper}) ? min({upper}, {high}) : {high}"
    ).mark_rule(**mark)
    layers = [lines.encode(**{along: start("whisker_from:Q", scale=scale), f"{along}2": "whisker_to"})]
    tests = {"lower": (f"{lower} < {low}", low), "upper": (f"(!isValid({upper}) || {upper} > {high})", high)}
    for end, (test, edge) in tests.items():
        if beyond(rows, ends, scale, end):
            head = known.transform_filter(test).mark_point(shape=ARROWS[along, end], filled=True, size=150, opacity=1)
            layers.append(head.encode(**{along: channel(edge)}))
    return layers


def beyond(rows: pl.DataFrame, ends: tuple[str, str], scale: Any, end: str) -> int:  # noqa: ANN401 - altair's
    """Count the whiskers that leave the axis at its lower or upper end."""
    low, high = scale["domain"]
    pairs = rows.select(ends).drop_nulls(ends[0]).iter_rows()
    if end == "lower":
        return sum(lower < low for lower, _ in pairs)
    return sum(upper is None or upper > high for _, upper in pairs)


def about_arrows(rows: pl.DataFrame, ends: tuple[str, str], scale: Any) -> str:  # noqa: ANN401 - altair's
    """Say how many whiskers end in an arrow, and what that means; nothing without any."""
    if not isinstance(scale["domain"], list):
        return ""
    count = sum(beyond(rows, ends, scale, end) for end in ("lower", "upper"))
    if not count:
        return ""
    unbounded = sum(lower is not None and lower <= 0 for lower in rows[ends[0]])
    why = f" Noise of 100 % or more ({unbounded}) leaves no lower end." if unbounded else ""
    return f"Arrows ({count}): the whisker goes on beyond the axis.{why}"
