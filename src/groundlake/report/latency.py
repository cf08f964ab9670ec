"""Latency of every configuration, with what noise explains as whiskers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.report.figure import Ask, Figure, Wanted, data, equals, load_altair, where
from groundlake.report.style import PRECISIONS, colour, logarithmic, ordered, shape, ticks, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

TAKES = ("hardware", "precision", "model", "batch")
HINT = "no latencies: measure models, or import measurements, with `lake ingest`"
ROW_HEIGHT = 19
TITLES = {
    "end_to_end_latency_ms": "Latency of the whole model, end to end",
    "total_latency_ms": "Latency as the sum of separately timed subgraphs",
}


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each hardware id, kind of latency and timing method."""
    keys = "hardware_id, quantity, timing_method"
    given = where(wanted.conditions("hardware_id", "precision", "model", "batch"))
    sql = f"SELECT DISTINCT {keys}\nFROM run_noise{given}\nORDER BY {keys}"
    for hardware, quantity, timing in ask(sql).iter_rows():
        yield _figure(ask, wanted, hardware, quantity, timing)


def _figure(ask: Ask, wanted: Wanted, hardware: str, quantity: str, timing: str) -> Figure:
    alt = load_altair()
    given = where(
        equals(hardware_id=hardware, quantity=quantity, timing_method=timing)
        + wanted.conditions("precision", "model", "batch")
    )
    sql = (
        "SELECT model || ' · b' || CAST(batch AS STRING) AS configuration, model, batch, precision, measured_ms,\n"
        "    measured_ms * (1 - noise_percent / 100) AS lower_ms,\n"
        "    measured_ms * (1 + noise_percent / 100) AS upper_ms,\n"
        "    noise_percent, noise_method, num_runs\n"
        f"FROM run_noise{given}\nORDER BY model, batch, precision"
    )
    rows = ask(sql)
    precisions = rows["precision"].unique().to_list()
    ends = [*rows["measured_ms"], *rows["lower_ms"], *rows["upper_ms"]]
    base = alt.Chart().encode(
        y=alt.Y("configuration:N", title=None, sort=_order(rows), axis=alt.Axis(grid=True, ticks=False)),
        color=colour("precision", "Precision", precisions, PRECISIONS),
    )
    scale = logarithmic(ends)
    points = base.mark_point(filled=True, size=60, opacity=0.95).encode(
        x=alt.X("measured_ms:Q", title="Latency of one pass [ms]", scale=scale, axis=ticks(scale, format="~g")),
        shape=shape("precision", "Precision", precisions, PRECISIONS),
        tooltip=tooltip(
            model=("Model", ""),
            batch=("Batch", "d"),
            precision=("Precision", ""),
            measured_ms=("Latency [ms]", ".4~g"),
            lower_ms=("Noise from [ms]", ".4~g"),
            upper_ms=("Noise to [ms]", ".4~g"),
            noise_method=("Noise known", ""),
            num_runs=("Runs", "d"),
        ),
    )
    whiskers = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("lower_ms:Q", scale=scale), x2="upper_ms")
    height = max(110, ROW_HEIGHT * rows["configuration"].n_unique())
    return Figure(
        title=TITLES[quantity],
        scope=f"{hardware} · {', '.join(ordered(precisions))} · timed by {timing}",
        alt=f"Latency of {rows['configuration'].n_unique()} models and batch sizes on {hardware}, by precision",
        sql=sql,
        rows=rows,
        chart=alt.layer(whiskers, points, data=data(rows)).properties(height=height),
        notes=(_about_noise(set(rows["noise_method"])),),
    )


def _order(rows: pl.DataFrame) -> list[str]:
    """Fastest model first, its batch sizes one below the other."""
    import polars as pl

    ordered = rows.with_columns(pl.col("measured_ms").min().over("model").alias("least"))
    return ordered.sort("least", "model", "batch")["configuration"].unique(maintain_order=True).to_list()


def _about_noise(methods: set[str | None]) -> str:
    """Say what the whiskers are."""
    said = []
    if "between runs" in methods:
        said.append("twice the relative deviation of repeated runs")
    if "within run" in methods:
        said.append("the 95 % interval of the mean within the run, which is too small where nothing was repeated")
    return f"A label is a model and its batch size. Whiskers: {', or '.join(said) or 'none, as no noise is known'}."
