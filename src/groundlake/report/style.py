"""How pictures look: colours that colour-blind readers can tell apart, in light and dark, and shared encodings.

The palette is that of Okabe and Ito (2008), "Color Universal Design", in an order that keeps neighbours apart; its
black is a grey, and on a dark ground each colour is lighter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from groundlake.report.figure import load_altair

if TYPE_CHECKING:
    from collections.abc import Iterable

LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B47B00", "#2E9FD8", "#6B6B6B", "#8A7E00")
DARK = ("#4FA8E0", "#F08A4B", "#35C796", "#E6A3C8", "#F0B541", "#8ED2F7", "#BDBDBD", "#F0E442")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "triangle-right", "triangle-left", "cross")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
GREY = "#888888"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
FILE_FONT = "sans-serif"
WIDTH = 640
"""Width of a picture's plot in a file [px]; in a page it is that of the page."""

DECADES = 2.6
"""From here on a log axis has ticks at powers of ten only."""

PRECISIONS = ("fp32", "fp16", "bf16", "tf32", "int8")
OPERATIONS = ("conv2d_batchnorm", "conv2d", "matmul", "activation", "unfused")


def config(*, dark: bool = False, font: str = FILE_FONT) -> dict[str, Any]:
    """Vega-Lite configuration of a theme."""
    text, soft, line = ("#E6E6E6", "#B4B4B4", "#3A3F44") if dark else ("#1C1C1C", "#555555", "#E2E2E2")
    return {
        "background": None if font == FONT else ("#16191C" if dark else "#FFFFFF"),
        "font": font,
        "view": {"stroke": None},
        "range": {
            "category": list(DARK if dark else LIGHT),
            "heatmap": ["#12344A", "#4FA8E0", "#DDF1FF"] if dark else ["#DCEBF5", "#4A98C9", "#053B63"],
            "ramp": ["#12344A", "#4FA8E0", "#DDF1FF"] if dark else ["#DCEBF5", "#4A98C9", "#053B63"],
            "symbol": list(SHAPES),
        },
        "axis": {
            "labelColor": soft,
            "titleColor": text,
            "gridColor": line,
            "domainColor": soft,
            "tickColor": soft,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titleFontWeight": 500,
            "titlePadding": 8,
            "labelLimit": 190,
        },
        "legend": {
            "labelColor": text,
            "titleColor": soft,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": 500,
            "orient": "top",
            "direction": "horizontal",
            "columns": 5,
            "labelLimit": 220,
            "symbolLimit": 60,
            "columnPadding": 14,
            "offset": 10,
        },
        "title": {
            "color": text,
            "subtitleColor": soft,
            "fontSize": 15,
            "fontWeight": 600,
            "subtitleFontSize": 12,
            "subtitlePadding": 5,
            "anchor": "start",
            "frame": "group",
            "offset": 14,
        },
    }


def colour(column: str, title: str, present: list[str], order: tuple[str, ...] = (), **legend: Any) -> Any:  # noqa: ANN401 - altair's
    """Encode a column as colour; a value of `order` has the same colour in every picture."""
    alt = load_altair()
    domain, shown = ordered((*order, *present), order), ordered(present, order)
    return alt.Color(
        f"{column}:N", title=title, scale=alt.Scale(domain=domain), legend=alt.Legend(values=shown, **legend)
    )


def shape(column: str, title: str, present: list[str], order: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 - altair's
    """Encode a column as shape, beside the same encoding as colour: one legend for both."""
    alt = load_altair()
    domain, shown = ordered((*order, *present), order), ordered(present, order)
    symbols = [SHAPES[number % len(SHAPES)] for number in range(len(domain))]
    return alt.Shape(
        f"{column}:N", title=title, scale=alt.Scale(domain=domain, range=symbols), legend=alt.Legend(values=shown)
    )


def logarithmic(values: list[float], *, margin: float = 1.3) -> Any:  # noqa: ANN401 - altair's
    """Return a log scale over the values above 0; an interval down to 0 ends at the end of the scale."""
    alt = load_altair()
    above = [value for value in values if value is not None and value > 0]
    if not above:
        return alt.Scale(type="log")
    return alt.Scale(type="log", domain=[min(above) / margin, max(above) * margin], clamp=True, nice=False)


def ordered(values: Iterable[str], order: tuple[str, ...] = PRECISIONS) -> list[str]:
    """Return each value once: those of `order` as they stand there, the others behind them by name."""
    found = set(values)
    return [name for name in order if name in found] + sorted(found - set(order))


def ticks(scale: Any, **options: Any) -> Any:  # noqa: ANN401 - altair's
    """Return an axis for a log scale with few, round ticks: powers of ten, or 1, 2, 5 as well below two decades.

    A tick outside the scale would be drawn at its end, under a wrong number: none is.
    """
    alt = load_altair()
    if not isinstance(scale["domain"], list):
        return alt.Axis(**options)
    low, high = scale["domain"]
    decades = math.log10(high / low)
    steps = (1,) if decades > DECADES else (1, 2, 5)
    every = max(1, round(decades / 8)) if len(steps) == 1 else 1
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{step}e{power}") for power in powers if power % every == 0 for step in steps]
    inside = [mark for mark in marks if low <= mark <= high]
    return alt.Axis(values=inside, **options) if len(inside) > 1 else alt.Axis(tickCount=5, **options)


def reference() -> Any:  # noqa: ANN401 - altair's
    """Return the data of a line that stands for no measurement, such as a ratio of 1."""
    return load_altair().Data(values=[{}])


def tooltip(**fields: tuple[str, str]) -> list[Any]:
    """Encode what is shown at a point: column = (title with unit, format); the format of a text is empty."""
    alt = load_altair()
    return [
        alt.Tooltip(f"{name}:{'Q' if form else 'N'}", title=title, **({"format": form} if form else {}))
        for name, (title, form) in fields.items()
    ]


def by_model(models: list[str]) -> tuple[Any, Any, Any]:
    """Encode models as colour, dash and shape, which together tell apart more models than there are colours."""
    alt = load_altair()
    count, steps = len(models), range(len(models))
    numbers = [number * 3 + number // len(SHAPES) for number in steps]
    legend = alt.Legend(values=models)
    domain = {"domain": models}
    # Without a range of its own, colour is taken from the theme's, again from its start where it ends.
    return (
        alt.Color("model:N", title="Model", scale=alt.Scale(**domain), legend=legend),
        alt.StrokeDash(
            "model:N",
            title="Model",
            scale=alt.Scale(
                **domain, range=[list(DASHES[number // len(LIGHT) % len(DASHES)]) for number in range(count)]
            ),
            legend=legend,
        ),
        alt.Shape(
            "model:N",
            title="Model",
            scale=alt.Scale(**domain, range=[SHAPES[number % len(SHAPES)] for number in numbers]),
            legend=legend,
        ),
    )
