"""Power over time of one run, rail by rail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.report.figure import Ask, Figure, Wanted, data, equals, load_altair, where
from groundlake.report.style import GREY, colour, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

TAKES = ("hardware", "precision", "model", "batch")
HINT = "no power readings: they come from a sensor, or from a recorded trace, `lake ingest --power trace.csv`"
MOST_READINGS = 1500
"""More readings of a run than this are drawn as mean, smallest and largest of equal steps of time."""

EXACT = (
    "SELECT source || ' ' || rail AS series, timestamp_s, power_w, power_w AS lowest_w, power_w AS highest_w,\n"
    "    1 AS num_readings, method\n"
)
STEPS = (
    "SELECT source || ' ' || rail AS series, floor(timestamp_s / {step}) * {step} + {step} / 2 AS timestamp_s,\n"
    "    avg(power_w) AS power_w, min(power_w) AS lowest_w, max(power_w) AS highest_w, count(*) AS num_readings,\n"
    "    min(method) AS method\n"
)


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each run with power readings, the latest first; idle baselines are no runs of a model."""
    given = where([f"p.{each}" for each in wanted.conditions("hardware_id", "precision", "model", "batch")])
    keys = "p.hardware_id, p.run_id, p.precision, p.model, p.batch, r.started_at, r.measured_window_s, r.timing_method"
    sql = (
        f"SELECT {keys}, count(*) AS readings, max(p.timestamp_s) - min(p.timestamp_s) AS length_s,\n"
        "    max(p.averaging_s) AS averaging_s\n"
        "FROM power_profile p\nJOIN latest_runs l ON l.hardware_id = p.hardware_id AND l.run_id = p.run_id\n"
        f"JOIN runs r ON r.hardware_id = p.hardware_id AND r.run_id = p.run_id{given}\n"
        f"GROUP BY {keys}\nORDER BY r.started_at DESC NULLS LAST, p.hardware_id, p.model, p.batch, p.precision"
    )
    for run in ask(sql).iter_rows(named=True):
        yield _figure(ask, run)


def _figure(ask: Ask, run: dict[str, Any]) -> Figure:
    alt = load_altair()
    given = where(equals(hardware_id=run["hardware_id"], run_id=run["run_id"]))
    step = None
    if run["readings"] > MOST_READINGS:
        step = f"{run['length_s'] / MOST_READINGS * 3:.3g}"
        sql = f"{STEPS.format(step=step)}FROM power_profile{given}\nGROUP BY 1, 2\nORDER BY series, timestamp_s"
    else:
        sql = f"{EXACT}FROM power_profile{given}\nORDER BY series, timestamp_s"
    rows = ask(sql)
    series = rows["series"].unique().to_list()
    base = alt.Chart().encode(
        x=alt.X(
            "timestamp_s:Q",
            title="Time since the first timed pass [s]",
            scale=alt.Scale(nice=False),
            axis=alt.Axis(tickCount=10, format="~g"),
        ),
        color=colour("series", "Rail", series, symbolType="stroke", symbolStrokeWidth=2, symbolOpacity=1),
    )
    y = alt.Y("power_w:Q", title="Power [W]", scale=alt.Scale(zero=True))
    shown = tooltip(
        series=("Rail", ""),
        timestamp_s=("Time [s]", ".4~g"),
        power_w=("Power [W]", ".4~g"),
        lowest_w=("Lowest [W]", ".4~g"),
        highest_w=("Highest [W]", ".4~g"),
        num_readings=("Readings", "d"),
        method=("Method", ""),
    )
    band = base.mark_area(opacity=0.22, line=False).encode(y=alt.Y("lowest_w:Q"), y2="highest_w")
    line = base.mark_line(strokeWidth=1.5).encode(y=y)
    points = base.mark_point(filled=True, size=26, opacity=0.001).encode(y=y, tooltip=shown)
    layers = [*_window(run["measured_window_s"]), *([band] if step else []), line, points]
    return Figure(
        title=f"Power while {run['model']} ran",
        scope=(
            f"{run['hardware_id']} · {run['precision']} · batch {run['batch']} · timed by {run['timing_method']} · "
            f"{run['readings']} readings"
        ),
        alt=f"Power over time of {len(series)} rails while {run['model']} ran on {run['hardware_id']}",
        sql=sql,
        rows=rows,
        chart=alt.layer(*layers, data=data(rows)).properties(height=260),
        notes=(_about(rows, run, step),),
    )


def _window(length_s: float | None) -> list[Any]:
    """Shade the measured window."""
    if not length_s:
        return []
    alt = load_altair()
    window = alt.Chart(alt.Data(values=[{"from": 0, "to": length_s}]))
    return [window.mark_rect(color=GREY, opacity=0.13).encode(x=alt.X("from:Q"), x2="to")]


def _about(rows: pl.DataFrame, run: dict[str, Any], step: str | None) -> str:
    """Say what the lines and the shade are, and what a reading means."""
    said = ["Rails of one device overlap and are never added up."]
    if run["measured_window_s"]:
        said.append(f"Shaded: the measured window of {run['measured_window_s']:.4g} s.")
    if run["averaging_s"]:
        said.append(f"A reading is an average over up to {run['averaging_s']:g} s.")
    if "counter_difference" in set(rows["method"]):
        said.append("A rail with a counter only is drawn as the mean power of each step.")
    if step:
        said.append(f"Line: mean of steps of {step} s; band: lowest to highest reading in it.")
    return " ".join(said)
