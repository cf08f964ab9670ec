"""How pictures look: colours that colour-blind readers can tell apart, in light and dark, and shared encodings.

The palette begins with four colours of Okabe and Ito (2008), "Color Universal Design", and goes on with those that stay
farthest from them and from each other, to all eyes and to eyes without red, green or blue cones. Colour never stands
alone: what is told apart by it differs in shape as well.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from groundlake.report.figure import load_altair

if TYPE_CHECKING:
    from collections.abc import Iterable

LIGHT = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#4B5A00", "#5AA5FF"),
    *("#69000F", "#964BFF", "#808080", "#002D5A", "#B40F69", "#690096"),
)
DARK = (
    *("#4FA8E0", "#F08A4B", "#35C796", "#E6A3C8", "#FFE12D", "#9669D2"),
    *("#D21E78", "#E1FFFF", "#9A9A9A", "#5AFF96", "#B07A00", "#C300FF"),
)
SHAPES = (
    *("circle", "square", "triangle-up", "diamond", "triangle-down", "triangle-right", "triangle-left", "cross"),
    "M-0.85,-0.85L0.85,-0.85L-0.85,0.85L0.85,0.85Z",  # hourglass
    "M0,-1L0.29,-0.4L0.95,-0.31L0.48,0.15L0.59,0.81L0,0.5L-0.59,0.81L-0.48,0.15L-0.95,-0.31L-0.29,-0.4Z",  # star
    "M-0.85,-0.85L-0.85,0.85L0.85,-0.85L0.85,0.85Z",  # bow tie
    "M-0.45,-0.95L0.45,-0.95L0.45,0.95L-0.45,0.95Z",  # bar
)
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
GREY = "#888888"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
FILE_FONT = "sans-serif"
WIDTH = 640
"""Width of a picture's plot in a file [px]; in a page it is that of the page."""

TITLE_SIZE, SUBTITLE_SIZE = 15, 12
"""Of a picture's headings [px]."""

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
            "symbolBaseFillColor": soft,  # of shapes that have no colour of their own
            "symbolBaseStrokeColor": soft,
            "columnPadding": 14,
            "offset": 10,
            "layout": {"top": {"direction": "vertical", "margin": 8}},
        },
        "title": {
            "color": text,
            "subtitleColor": soft,
            "fontSize": TITLE_SIZE,
            "fontWeight": 600,
            "subtitleFontSize": SUBTITLE_SIZE,
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


def ordered(values: Iterable[str], order: tuple[str, ...] = PRECISIONS) -> list[str]:
    """Return each value once: those of `order` as they stand there, the others behind them by name."""
    found = set(values)
    return [name for name in order if name in found] + sorted(found - set(order))


def beside(precisions: list[str]) -> dict[str, Any]:
    """Encode precisions as places below each other within a row: what lies at one value hides nothing."""
    alt = load_altair()
    if len(precisions) == 1:
        return {}
    domain = ordered(precisions)
    return {"yOffset": alt.YOffset("precision:N", scale=alt.Scale(domain=domain, paddingOuter=0.35))}


def row_height(precisions: list[str]) -> int:
    """Return the height of a row with a mark for each precision [px]."""
    return max(19, 8 * len(precisions))


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


def by_model(models: list[str]) -> tuple[Any, Any]:
    """Encode models as colour and shape: no two look alike, and the first twelve differ in both."""
    alt = load_altair()
    turns = [divmod(number, len(LIGHT)) for number in range(len(models))]
    shapes = [SHAPES[(place + 5 * turn) % len(SHAPES)] for turn, place in turns]
    legend = alt.Legend(values=models)
    # Without a range of its own, colour is taken from the theme's, again from its start where it ends.
    return (
        alt.Color("model:N", title="Model", scale=alt.Scale(domain=models), legend=legend),
        alt.Shape("model:N", title="Model", scale=alt.Scale(domain=models, range=shapes), legend=legend),
    )


def dashed(lines: Any, models: list[str]) -> Any:  # noqa: ANN401 - an altair chart
    """Dash the lines of models that share the colour of an earlier one; up to twelve models are all solid."""
    if len(models) <= len(LIGHT):
        return lines
    alt = load_altair()
    turns = -(-len(models) // len(LIGHT))
    scale = alt.Scale(domain=list(range(turns)), range=[DASHES[turn % len(DASHES)] for turn in range(turns)])
    turn = f"floor(indexof({json.dumps(models)}, datum.model) / {len(LIGHT)})"
    return lines.transform_calculate(turn=turn).encode(strokeDash=alt.StrokeDash("turn:O", scale=scale, legend=None))
