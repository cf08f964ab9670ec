"""The pictures of a report: accuracy, failures and latency by bin of prompt lengths, a line for each budget.

Budgets have an order, and so have their colours: from dark for the whole cache to light for the least. Lightness alone
tells them apart, and so do their shapes. Lines stand a little beside each other, so that equal ones do not hide.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from groundlake.errors import MissingDependencyError
from groundlake.transition.report.facts import ACCURACY, ACCURACY_ALL, FAILURE_RATE
from groundlake.transition.report.markup import percent
from groundlake.transition.report.reading import lengths

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from groundlake.transition.report.facts import BinAtBudget, Budget, Content

WIDTH, HEIGHT = 680, 300
SCALE: Final = 2.0
"""Pixels of a png for each of the picture's units."""
APART: Final = 0.05
"""Distance of two budgets beside each other, in bins."""
MOST_LABELS: Final = 12
FEW_BANDS: Final = 3
"""Bands that can lie over each other and be told apart; more are fainter, and bars show the intervals."""
SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "stroke")
LIGHT: Final = ("#0b1f5c", "#5b02a3", "#a62098", "#d8576b", "#f0863d")
DARK: Final = ("#e8f4ff", "#9fc9ff", "#c596f5", "#f47fb0", "#ff9d5c")
"""Colours of the largest to the smallest budget, of five; others lie between them. From plasma, which falls evenly in
lightness and is told apart without red, green or blue cones."""
LEGEND: Final = "Budget: share of the cache kept"
ROOM: Final = 1.08
"""How far an axis reaches beyond what it shows."""


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of a picture."""

    ground: str
    text: str
    soft: str
    line: str
    budgets: tuple[str, ...]


THEMES: Final = {
    "light": Theme(ground="#ffffff", text="#1c1c1c", soft="#555555", line="#e2e2e2", budgets=LIGHT),
    "dark": Theme(ground="#16191c", text="#e6e6e6", soft="#b4b4b4", line="#363c42", budgets=DARK),
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One axis with a line for each budget.

    Attributes:
        title: What is shown.
        subtitle: What has to be known beside it.
        axis: Title of the vertical axis, with the metric or the unit.
        rows: Budget, bin, place, value and, where there is one, the ends of its interval.
        top: End of the axis; None lets it end where the values do.
        form: Format of the axis' labels.
        empty: What stands there in place of lines.
    """

    title: str
    subtitle: str
    axis: str
    rows: list[dict[str, Any]]
    top: float | None
    form: str = ",~f"
    empty: str = ""


def draw(content: Content, theme: str = "light") -> dict[str, bytes]:
    """Draw all pictures of a report.

    Returns:
        Bytes of a png by the name of its file, less the ending.

    Raises:
        MissingDependencyError: The extra `plot` is not installed.
    """
    alt, converter = _load()
    version = ".".join(str(alt.SCHEMA_VERSION).lstrip("v").split(".")[:2])
    pictures = {
        "acc_by_bin": _accuracies(content),
        "fail_by_bin": [_failures(content)],
        "latency_p50_by_bin": [_latencies(content)],
    }
    drawn: dict[str, bytes] = {}
    for name, panels in pictures.items():
        spec = _picture(alt, content, panels, THEMES[theme])
        spec["$schema"] = f"https://vega.github.io/schema/vega-lite/v{version}.json"
        drawn[name] = converter.vegalite_to_png(spec, vl_version=version, scale=SCALE)
    return drawn


def _load() -> tuple[ModuleType, ModuleType]:
    try:
        import altair as alt
        import vl_convert
    except ImportError as error:
        raise MissingDependencyError(
            f"pictures need altair and vl-convert ({error})\n  pip install 'groundlake[plot]'"
        ) from error
    return alt, vl_convert


def _accuracies(content: Content) -> list[Panel]:
    """Return accuracy of what was answered; with failures as 0 too, where there are failures."""
    metric = content.metric
    level = "" if content.confidence is None else f"Bands and bars: {percent(content.confidence)} intervals"
    failing = any(each.num_failed for each in content.budgets)
    answered = Panel(
        title="Accuracy of what was answered" if failing else "Accuracy",
        subtitle=level if failing else f"{level}. No request failed".lstrip(". "),
        axis=f"Accuracy ({metric})",
        rows=_rows(content, lambda row: row.accuracy, ACCURACY),
        top=1.0,
        empty="no answer has a score",
    )
    if not failing:
        return [answered]
    whole = Panel(
        title="Accuracy, failures as 0",
        subtitle=level,
        axis=f"Accuracy, failures as 0 ({metric})",
        rows=_rows(content, lambda row: row.accuracy_all, ACCURACY_ALL),
        top=1.0,
        empty="nothing was asked",
    )
    return [whole, answered]


def _failures(content: Content) -> Panel:
    rows = _rows(content, lambda row: row.failure_rate, FAILURE_RATE)
    most = max((row[name] or 0.0 for row in rows for name in ("value", "upper")), default=0.0)
    failing = any(each.num_failed for each in content.budgets)
    return Panel(
        title="Failure rate",
        subtitle="Requests without an answer that can be scored" if failing else "No request failed",
        axis="Failure rate (share of requests)",
        rows=rows,
        top=min(1.0, max(0.1, ROOM * most)),
        form="%",
        empty="nothing was asked",
    )


def _latencies(content: Content) -> Panel:
    return Panel(
        title="Median latency",
        subtitle="From sending a request to the end of its answer; of what was answered",
        axis="Latency p50 (ms)",
        rows=_rows(content, lambda row: row.latency_p50_ms, None),
        top=None,
        empty="no answer tells its latency",
    )


def _rows(content: Content, value: Callable[[BinAtBudget], float | None], subject: str | None) -> list[dict[str, Any]]:
    """Return a row for each budget and bin; a bin without a value has None, at which a line breaks."""
    middle = (len(content.budgets) - 1) / 2
    return [
        {
            "budget": f"{budget.budget:g}",
            "place": bin_index + APART * (number - middle),
            "value": value(content.bin(budget, bin_index)),
            **_ends(content, budget, subject, bin_index),
        }
        for number, budget in enumerate(content.budgets)
        for bin_index in content.bin_indices
    ]


def _ends(content: Content, budget: Budget, subject: str | None, bin_index: int) -> dict[str, float | None]:
    found = None if subject is None else content.interval(budget, subject, bin_index)
    return {"lower": found.ci_lower if found else None, "upper": found.ci_upper if found else None}


def _picture(alt: ModuleType, content: Content, panels: list[Panel], theme: Theme) -> dict[str, Any]:
    """Return the Vega-Lite specification of a picture: panels below each other."""
    budgets = [f"{each.budget:g}" for each in content.budgets]
    charts = [_panel(alt, content, panel, budgets, theme) for panel in panels]
    whole = alt.vconcat(*charts, spacing=28).resolve_legend(color="independent", shape="independent")
    spec: dict[str, Any] = whole.to_dict(validate=False)
    spec["config"] = _config(theme)
    spec["padding"] = 14
    return spec


def _panel(alt: ModuleType, content: Content, panel: Panel, budgets: list[str], theme: Theme) -> Any:  # noqa: ANN401 - altair's
    shown = [row for row in panel.rows if row["value"] is not None]
    y_scale = alt.Scale(domainMin=0, nice=True) if panel.top is None else alt.Scale(domain=[0, panel.top])
    colour = alt.Color(
        "budget:N",
        title=LEGEND,
        scale=alt.Scale(domain=budgets, range=_colours(theme.budgets, len(budgets))),
    )
    base = alt.Chart(alt.Data(values=panel.rows)).encode(x=_axis(alt, content), color=colour)
    value = alt.Y("value:Q", title=panel.axis, scale=y_scale, axis=alt.Axis(format=panel.form, tickCount=6))
    ends = {"y": alt.Y("lower:Q", title=panel.axis, scale=y_scale), "y2": "upper:Q"}
    told = alt.datum.lower != None  # noqa: E711 - an expression of Vega
    symbols = alt.Scale(domain=budgets, range=[SHAPES[place % len(SHAPES)] for place in range(len(budgets))])
    shape = alt.Shape("budget:N", title=LEGEND, scale=symbols)
    layers = [
        base.mark_area(opacity=0.1 if len(budgets) <= FEW_BANDS else 0.05, line=False).encode(**ends),
        base.transform_filter(told).mark_rule(opacity=0.75, strokeWidth=1.3).encode(**ends),
        base.mark_line(strokeWidth=2.2).encode(y=value),
        base.transform_filter(alt.datum.value != None)  # noqa: E711 - the same
        .mark_point(filled=True, size=64, opacity=1)
        .encode(y=value, shape=shape),
    ]
    if not any(row["lower"] is not None for row in panel.rows):
        layers = layers[2:]
    if not shown:
        nothing = alt.Axis(labels=False, ticks=False, grid=False)
        there = alt.Y("none:Q", title=panel.axis, scale=alt.Scale(domain=[0, 1]), axis=nothing)
        layers = [base.mark_point(opacity=0, filled=True).encode(y=there, shape=shape), _text(alt, panel.empty, theme)]
    title = alt.TitleParams(panel.title, subtitle=panel.subtitle) if panel.subtitle else alt.TitleParams(panel.title)
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)


def _axis(alt: ModuleType, content: Content) -> Any:  # noqa: ANN401 - altair's
    """Return the axis of bins: each with its number and its range of tokens."""
    bins = content.bin_indices
    step = -(-len(bins) // MOST_LABELS)
    labels = {str(each): [f"bin {each}", lengths(content, each, "")] for each in bins}
    return alt.X(
        "place:Q",
        title="Bin of prompt lengths (tokens)",
        scale=alt.Scale(domain=[bins[0] - 0.35, bins[-1] + 0.35], nice=False, zero=False),
        axis=alt.Axis(
            values=bins[::step], labelExpr=f"{json.dumps(labels)}[format(datum.value, 'd')]", grid=False, labelPadding=6
        ),
    )


def _text(alt: ModuleType, text: str, theme: Theme) -> Any:  # noqa: ANN401 - altair's
    chart = alt.Chart(alt.Data(values=[{"text": text}]))
    return chart.mark_text(fontSize=14, color=theme.soft).encode(
        text="text:N", x=alt.value(WIDTH / 2), y=alt.value(HEIGHT / 2)
    )


def _colours(anchors: tuple[str, ...], number: int) -> list[str]:
    """Return so many colours, evenly from the first of the anchors to the last."""
    if number == 1:
        return [anchors[0]]
    found = []
    for place in range(number):
        position = place * (len(anchors) - 1) / (number - 1)
        left = min(int(position), len(anchors) - 2)
        found.append(_mixed(anchors[left], anchors[left + 1], position - left))
    return found


def _mixed(one: str, other: str, share: float) -> str:
    parts = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(first + share * (second - first)):02x}" for first, second in parts)


def _config(theme: Theme) -> dict[str, Any]:
    return {
        "background": theme.ground,
        "font": "sans-serif",
        "view": {"stroke": None},
        "axis": {
            "labelColor": theme.soft,
            "titleColor": theme.text,
            "gridColor": theme.line,
            "domainColor": theme.soft,
            "tickColor": theme.soft,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titleFontWeight": 500,
            "titlePadding": 10,
        },
        "legend": {
            "labelColor": theme.text,
            "titleColor": theme.soft,
            "labelFontSize": 12,
            "titleFontSize": 11,
            "titleFontWeight": 500,
            "orient": "top",
            "direction": "horizontal",
            "columns": 8,
            "symbolSize": 90,
            "symbolOpacity": 1,
            "titleOrient": "left",
            "titleAnchor": "middle",
            "offset": 8,
        },
        "title": {
            "color": theme.text,
            "subtitleColor": theme.soft,
            "fontSize": 15,
            "fontWeight": 600,
            "subtitleFontSize": 12,
            "subtitlePadding": 4,
            "anchor": "start",
            "frame": "group",
            "offset": 10,
        },
    }
