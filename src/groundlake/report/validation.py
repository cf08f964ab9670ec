"""Estimators beside measurements: each prediction against what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.report.figure import Ask, Figure, Wanted, data, devices, equals, load_altair, where
from groundlake.report.style import GREY, PRECISIONS, colour, ordered, ticks, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

TAKES = ("hardware", "precision", "model", "batch", "estimator", "version")
HINT = "no predictions beside measurements: `lake estimates add FILE`, or `lake estimates fit roofline`"
UNITS = {"latency": "ms", "energy": "J", "memory": "byte"}
BAND = 0.25
"""Relative error up to which an estimate is rated GOOD."""


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each estimator (its latest version, unless one is named), quantity and measured figure.

    Estimates of whole models; what is compared with another figure, or in another quantity, is never mixed.
    """
    keys = "e.estimator, e.estimator_version, e.quantity, e.compared_with"
    latest = [] if wanted.version else ["v.is_latest"]
    given = _given(wanted, latest)
    sql = (
        f"SELECT DISTINCT {keys}\nFROM estimator_error e\nJOIN estimator_versions v\n"
        f"    ON v.estimator = e.estimator AND v.estimator_version = e.estimator_version{given}\nORDER BY {keys}"
    )
    for chosen in ask(sql).iter_rows():
        yield _figure(ask, wanted, chosen)


def _given(wanted: Wanted, more: list[str]) -> str:
    columns = ("hardware_id", "precision", "model", "batch", "estimator", "estimator_version")
    conditions = [f"e.{each}" for each in wanted.conditions(*columns)]
    return where([*conditions, "e.level = 'model'", "e.measured > 0", "e.predicted > 0", *more])


def _figure(ask: Ask, wanted: Wanted, keys: tuple[str, ...]) -> Figure:
    estimator, version, quantity, compared = keys
    named = {"estimator": estimator, "estimator_version": version, "quantity": quantity, "compared_with": compared}
    conditions = equals(**named) + wanted.conditions("hardware_id", "precision", "model", "batch")
    sql = (
        "SELECT hardware_id, precision, model, batch, measured, predicted,\n"
        "    measured * (1 - noise_percent / 100) AS measured_lower,\n"
        "    measured * (1 + noise_percent / 100) AS measured_upper,\n"
        "    signed_error_percent, within_noise, rating,\n"
        "    CASE WHEN reason IS NOT NULL THEN 'not judged' WHEN extrapolated THEN 'extrapolated'\n"
        "        ELSE 'within the fitted range' END AS range, reason, timing_method\n"
        "FROM estimator_error"
        + where([*conditions, "level = 'model'", "measured > 0", "predicted > 0"])
        + "\nORDER BY hardware_id, precision, model, batch"
    )
    rows = ask(sql)
    unit = UNITS.get(quantity, "1")
    outside = rows.filter(rows["range"] == "extrapolated").height
    methods = ", ".join(sorted(set(rows["timing_method"])))
    places = devices(rows)
    return Figure(
        title=f"{estimator}: predicted against measured {quantity}",
        scope=(
            f"{places} · {', '.join(ordered(rows['precision']))} · {estimator} {version} beside {compared} · "
            f"timed by {methods}"
        ),
        alt=f"Predicted against measured {quantity} of {rows.height} configurations, estimator {estimator} {version}",
        sql=sql,
        rows=rows,
        chart=_chart(rows, quantity, unit),
        notes=(
            f"Solid line: exact; dashed: {BAND * 100:.0f} % off. Whiskers: noise of the measurement."
            + (
                f" Crosses: {outside} predictions outside the range that the estimator was fitted on."
                if outside
                else ""
            ),
        ),
    )


def _chart(rows: pl.DataFrame, quantity: str, unit: str) -> Any:  # noqa: ANN401 - an altair chart
    alt = load_altair()
    ends = [*rows["measured"], *rows["predicted"]]
    low, high = min(ends) / 1.4, max(ends) * 1.4
    scale = alt.Scale(type="log", domain=[low, high], nice=False, clamp=True)
    axis = ticks(scale, format="~g")
    precisions = rows["precision"].unique().to_list()
    base = alt.Chart().encode(color=colour("precision", "Precision", precisions, PRECISIONS))
    x = alt.X("measured:Q", title=f"Measured {quantity} [{unit}]", scale=scale, axis=axis)
    y = alt.Y("predicted:Q", title=f"Predicted {quantity} [{unit}]", scale=scale, axis=axis)
    kinds = ["within the fitted range", "extrapolated", "not judged"]
    present = [kind for kind in kinds if kind in set(rows["range"])]
    points = base.mark_point(size=48, opacity=0.85, strokeWidth=1.6).encode(
        x=x,
        y=y,
        shape=alt.Shape(
            "range:N",
            title="Prediction",
            scale=alt.Scale(domain=kinds, range=["circle", "M-0.9,-0.9L0.9,0.9M-0.9,0.9L0.9,-0.9", "triangle-up"]),
            legend=alt.Legend(values=present),
        ),
        tooltip=tooltip(
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
        ),
    )
    whiskers = base.mark_rule(opacity=0.7).encode(x=alt.X("measured_lower:Q", scale=scale), x2="measured_upper", y=y)
    return alt.layer(*_lines(low, high), whiskers, points, data=data(rows)).properties(height=360)


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
