"""Drift: how the latency of a configuration that was measured again compares with its first run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.report.figure import Ask, Figure, Wanted, data, equals, load_altair, methods_told, where
from groundlake.report.style import GREY, by_model, dashed, reference, tooltip

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

TAKES = ("hardware", "precision", "model", "batch")
NOTE = (
    "A line is one configuration, timed, counted and run in the same way each time. "
    "Whiskers: 95 % interval of the mean within a run; repeated runs scatter more."
)
FORMATS = ((6 * 86400.0, "%Y-%m-%d"), (20 * 60.0, "%H:%M"), (10.0, "%H:%M:%S"), (0.0, "%H:%M:%S.%L"))
"""What an axis of time shows from a span on [s]; where all is of one day, the title has it."""

HINT = "no repeated runs: measure a configuration again, `lake ingest --repeat 3`"


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each hardware id, precision and pair of methods."""
    keys = "hardware_id, precision, timing_method, flops_method"
    given = where(wanted.conditions("hardware_id", "precision", "model", "batch"))
    sql = f"SELECT DISTINCT {keys}\nFROM plot_drift{given}\nORDER BY {keys}"
    for methods in ask(sql).iter_rows():
        yield _figure(ask, wanted, methods)


def _figure(ask: Ask, wanted: Wanted, methods: tuple[Any, ...]) -> Figure:
    alt = load_altair()
    hardware, precision, timing, counting = methods
    given = where(
        equals(hardware_id=hardware, precision=precision, timing_method=timing, flops_method=counting)
        + wanted.conditions("model", "batch")
    )
    sql = (
        "SELECT model, batch, model || ' · b' || CAST(batch AS STRING) AS configuration, started_at, run_number,\n"
        "    num_runs, quantity, latency_ms, change_percent, change_percent - interval_percent AS lower_percent,\n"
        "    change_percent + interval_percent AS upper_percent, run_id\n"
        f"FROM plot_drift{given}\nORDER BY model, batch, run_number"
    )
    rows = ask(sql)
    models = sorted(rows["model"].unique().to_list())
    title, form = _time(rows["started_at"].min(), rows["started_at"].max())  # type: ignore[arg-type] # moments
    hue, mark = by_model(models)
    base = alt.Chart().encode(
        x=alt.X(
            "started_at:T",
            title=title,
            scale=alt.Scale(type="utc", padding=16),
            axis=alt.Axis(
                format=form,
                tickCount=6,
                labelOverlap=True,
                labelSeparation=10,
                labelFlush=False,
            ),
        ),
        color=hue,
        detail="configuration:N",
    )
    y = alt.Y(
        "change_percent:Q",
        title="Latency, change since the first run [%]",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(grid=True),
    )
    shown = tooltip(
        model=("Model", ""),
        batch=("Batch", "d"),
        run_number=("Run", "d"),
        latency_ms=("Latency [ms]", ".4~g"),
        quantity=("Which", ""),
        change_percent=("Change [%]", "+.3~f"),
        lower_percent=("95 % from [%]", "+.3~f"),
        upper_percent=("95 % to [%]", "+.3~f"),
        run_id=("Run id", ""),
    )
    zero = alt.Chart(reference()).mark_rule(strokeDash=[5, 4], color=GREY).encode(y=alt.datum(0.0))
    return Figure(
        title="Drift of repeated runs",
        scope=f"{hardware} · {precision}{wanted.told} · {methods_told(timing, counting)}",
        alt=f"Change of the latency since the first run for {len(models)} models on {hardware} in {precision}",
        sql=sql,
        rows=rows,
        chart=alt.layer(
            zero,
            dashed(base.mark_line(strokeWidth=1.4, opacity=0.8).encode(y=y), models),
            base.mark_rule().encode(y="lower_percent:Q", y2="upper_percent"),
            base.mark_point(filled=True, size=55).encode(y=y, shape=mark, tooltip=shown),
            data=data(rows),
        ).properties(height=300),
        notes=(NOTE,),
    )


def _time(first: dt.datetime, last: dt.datetime) -> tuple[str, str]:
    """Return title and format of an axis from one moment to another: each of its ticks reads differently."""
    span = (last - first).total_seconds()
    form = next(form for least, form in FORMATS if span >= least)
    if span >= FORMATS[0][0]:
        return "Start of the run (UTC)", form
    if first.date() == last.date():
        return f"Start of the run on {first:%Y-%m-%d} (UTC)", form
    if first.year == last.year:
        return f"Start of the run in {first:%Y} (UTC)", f"%m-%d {form}"
    return "Start of the run (UTC)", f"%Y-%m-%d {form}"
