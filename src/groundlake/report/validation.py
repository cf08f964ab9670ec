"""Estimators beside measurements: each prediction against what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.report.axes import UP, about_arrows, logarithmic, ticks, whiskers
from groundlake.report.figure import Ask, Figure, Wanted, data, devices, equals, load_altair, where
from groundlake.report.style import GREY, PRECISIONS, SHAPES, colour, ordered, shape, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

TAKES = ("hardware", "precision", "model", "batch", "estimator", "version")
HEIGHT = 360
ENDS = ("measured_lower", "measured_upper")
CROSS = "M-1,-1L1,1M-1,1L1,-1"
HINT = "no predictions beside measurements: `lake estimates add FILE`, or `lake estimates fit roofline`"
UNITS = {"latency": "ms", "energy": "J", "memory": "byte"}
BAND = 0.25
"""Relative error up to which an estimate is rated GOOD."""


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw a figure of each estimator (its latest version, unless one is named), quantity and measured figure.

    What was written last comes first.

    Estimates of whole models; what is compared with another figure, or in another quantity, is never mixed.
    """
    keys = "e.estimator, e.estimator_version, e.quantity, e.compared_with"
    order = f"v.last_recorded_at DESC, {keys}"
    latest = [] if wanted.version else ["v.is_latest"]
    given = _given(wanted, latest)
    sql = (
        f"SELECT DISTINCT {keys}, v.last_recorded_at\nFROM estimator_error e\nJOIN estimator_versions v\n"
        f"    ON v.estimator = e.estimator AND v.estimator_version = e.estimator_version{given}\nORDER BY {order}"
    )
    for *chosen, _ in ask(sql).iter_rows():
        yield _figure(ask, wanted, chosen)


def _given(wanted: Wanted, more: list[str]) -> str:
    columns = ("hardware_id", "precision", "model", "batch", "estimator", "estimator_version")
    conditions = [f"e.{each}" for each in wanted.conditions(*columns)]
    return where([*conditions, "e.level = 'model'", "e.measured > 0", "e.predicted > 0", *more])


def _figure(ask: Ask, wanted: Wanted, keys: list[str]) -> Figure:
    estimator, version, quantity, compared = keys
    named = {"estimator": estimator, "estimator_version": version, "quantity": quantity, "compared_with": compared}
    conditions = equals(**named) + wanted.conditions("hardware_id", "precision", "model", "batch")
    sql = (
        "SELECT hardware_id, precision, model, batch, measured, predicted,\n"
        "    measured * (1 - noise_percent / 100) AS measured_lower,\n"
        "    measured * (1 + noise_percent / 100) AS measured_upper,\n"
        "    signed_error_percent, within_noise, rating,\n"
        "    CASE WHEN reason IS NOT NULL THEN 'not judged' WHEN extrapolated THEN 'extrapolated'\n"
        "        ELSE 'predicted' END AS range, reason, timing_method\n"
        "FROM estimator_error"
        + where([*conditions, "level = 'model'", "measured > 0", "predicted > 0"])
        + "\nORDER BY hardware_id, precision, model, batch"
    )
    rows = ask(sql)
    methods = ", ".join(sorted(set(rows["timing_method"])))
    scale = logarithmic(
        [*rows["measured"], *rows["predicted"]], [*rows["measured_lower"], *rows["measured_upper"]], margin=1.4
    )
    return Figure(
        title=f"{estimator}: predicted against measured {quantity}",
        scope=(
            f"{devices(rows, wanted)} · {', '.join(ordered(rows['precision']))}{wanted.told} · "
            f"{estimator} {version} beside {compared} · timed by {methods}"
        ),
        alt=f"Predicted against measured {quantity} of {rows.height} configurations, estimator {estimator} {version}",
        sql=sql,
        rows=rows,
        chart=_chart(rows, quantity, scale),
        notes=tuple(filter(None, (*_notes(rows), about_arrows(rows, ENDS, scale)))),
    )


def _notes(rows: pl.DataFrame) -> list[str]:
    """Say what the lines and the marks are."""
    count = dict(rows["range"].value_counts().iter_rows())
    said = [f"Solid line: exact; dashed: {BAND * 100:.0f} % off. Whiskers: noise of the measurement."]
    if "extrapolated" in count:
        said.append(f"Hollow ({count['extrapolated']}): extrapolated, as the estimator says.")
    if "not judged" in count:
        said.append(f"Hollow with a cross ({count['not judged']}): not judged, as the measurement scatters too much.")
    if rows["hardware_id"].n_unique() > len(SHAPES):
        said.append("The tooltip of a page names the hardware; `--hw` draws those of one.")
    return said


def _chart(rows: pl.DataFrame, quantity: str, scale: Any) -> Any:  # noqa: ANN401 - altair's
    alt = load_altair()
    unit = UNITS.get(quantity, "1")
    axis = ticks(scale, length=HEIGHT, gap=UP, format="~g")
    precisions = rows["precision"].unique().to_list()
    base = alt.Chart().encode(color=colour("precision", "Precision", precisions, PRECISIONS))
    x = alt.X("measured:Q", title=f"Measured {quantity} [{unit}]", scale=scale, axis=axis)
    y = alt.Y("predicted:Q", title=f"Predicted {quantity} [{unit}]", scale=scale, axis=axis)
    placed = base.encode(x=x, y=y, **_by_device(rows))
    shown = tooltip(
        hardware_id=("Hardware", ""),
        model=("Model", ""),
        batch=("Batch", "d"),
        precision=("Precision", ""),
        measured=(f"Measured [{unit}]", ".4~g"),
        predicted=(f"Predicted [{unit}]", ".4~g"),
        signed_error_percent=("Error [%]", "+.4~g"),
        rating=("Rating", ""),
        within_noise=("Within noise", ""),
        range=("Prediction", ""),
        reason=("Why not", ""),
    )
    told = placed.encode(tooltip=shown)
    inside = told.transform_filter("datum.range == 'predicted'").mark_point(filled=True, size=46, opacity=0.8)
    doubtful = told.transform_filter("datum.range != 'predicted'")
    hollow = doubtful.mark_point(filled=False, size=60, opacity=0.9, strokeWidth=1.4)
    crossed = base.encode(x=x, y=y).transform_filter("datum.range == 'not judged'")
    crosses = crossed.mark_point(filled=False, shape=CROSS, size=60, strokeWidth=1.4)
    noise = whiskers(base.encode(y=y), rows, "x", ENDS, scale, opacity=0.7)
    layers = [*_lines(*scale["domain"]), *noise, inside, hollow, crosses]
    return alt.layer(*layers, data=data(rows)).properties(height=HEIGHT)


def _by_device(rows: pl.DataFrame) -> dict[str, Any]:
    """Encode the hardware id as shape, where there are several and not more than shapes."""
    names = sorted(rows["hardware_id"].unique().to_list())
    return {"shape": shape("hardware_id", "Hardware", names)} if 1 < len(names) <= len(SHAPES) else {}


def _lines(low: float, high: float) -> list[Any]:
    """Draw the lines of an exact prediction, and of one at the edge of GOOD, from end to end of both axes."""
    alt = load_altair()
    lines = []
    for factor in (1.0, 1 - BAND, 1 + BAND):
        ends = (max(low, low / factor), min(high, high / factor))
        values = [{"measured": end, "predicted": end * factor} for end in ends]
        dash = [1, 0] if factor == 1 else [4, 4]
        line = alt.Chart(alt.Data(values=values)).mark_line(color=GREY, strokeDash=dash, strokeWidth=1.3)
        lines.append(line.encode(x="measured:Q", y="predicted:Q"))
    return lines
