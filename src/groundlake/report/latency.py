"""Latency of every configuration, with what noise explains as whiskers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.report.axes import about_arrows, logarithmic, ticks, whiskers
from groundlake.report.figure import Ask, Figure, Wanted, data, equals, load_altair, where
from groundlake.report.style import PRECISIONS, beside, colour, ordered, row_height, shape, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

ENDS = ("lower_ms", "upper_ms")
TAKES = ("hardware", "precision", "model", "batch")
HINT = "no latencies: measure models, or import measurements, with `lake ingest`"
TITLES = {
    "end_to_end_latency_ms": "Latency of the whole model, end to end",
    "total_latency_ms": "Latency as the sum of separately timed subgraphs",
}


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each hardware id, timing method and kind of latency."""
    given = where(wanted.conditions("hardware_id", "precision", "model", "batch"))
    counts = ", ".join(f"count(CASE WHEN {quantity} > 0 THEN 1 END) AS {quantity}" for quantity in TITLES)
    keys = "hardware_id, timing_method"
    sql = f"SELECT {keys}, {counts}\nFROM latest_runs{given}\nGROUP BY {keys}\nORDER BY {keys}"
    for found in ask(sql).iter_rows(named=True):
        for quantity in TITLES:
            if found[quantity]:
                yield _figure(ask, wanted, found["hardware_id"], quantity, found["timing_method"])


def _figure(ask: Ask, wanted: Wanted, hardware: str, quantity: str, timing: str) -> Figure:
    alt = load_altair()
    given = where(
        equals(**{"l.hardware_id": hardware, "l.timing_method": timing})
        + [f"l.{condition}" for condition in wanted.conditions("precision", "model", "batch")]
        + [f"l.{quantity} > 0"]
    )
    sql = (
        "SELECT l.model || ' · b' || CAST(l.batch AS STRING) AS configuration, l.model, l.batch, l.precision,\n"
        f"    l.{quantity} AS measured_ms,\n"
        f"    l.{quantity} * (1 - n.noise_percent / 100) AS lower_ms,\n"
        f"    l.{quantity} * (1 + n.noise_percent / 100) AS upper_ms,\n"
        "    n.noise_method, n.num_runs, CASE WHEN l.is_representative THEN 'fit' ELSE 'forced' END AS machine\n"
        "FROM latest_runs l\nLEFT JOIN run_noise n\n"
        f"    ON n.hardware_id = l.hardware_id AND n.run_id = l.run_id AND n.quantity = '{quantity}'"
        f"{given}\nORDER BY l.model, l.batch, l.precision"
    )
    rows = ask(sql)
    precisions = rows["precision"].unique().to_list()
    base = alt.Chart().encode(
        y=alt.Y("configuration:N", title=None, sort=_order(rows), axis=alt.Axis(grid=True, ticks=False)),
        color=colour("precision", "Precision", precisions, PRECISIONS),
        **beside(precisions),
    )
    scale = logarithmic(rows["measured_ms"], [*rows["lower_ms"], *rows["upper_ms"]])
    placed = base.encode(
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
            machine=("Machine", ""),
        ),
    )
    fit = placed.transform_filter("datum.machine == 'fit'").mark_point(filled=True, size=60, opacity=0.95)
    forced = placed.transform_filter("datum.machine == 'forced'").mark_point(filled=False, size=60, strokeWidth=1.5)
    lines = whiskers(base, rows, "x", ENDS, scale, strokeWidth=1.5)
    height = max(110, row_height(precisions) * rows["configuration"].n_unique())
    return Figure(
        title=TITLES[quantity],
        scope=f"{hardware} · {', '.join(ordered(precisions))}{wanted.told} · timed by {timing}",
        alt=f"Latency of {rows['configuration'].n_unique()} models and batch sizes on {hardware}, by precision",
        sql=sql,
        rows=rows,
        chart=alt.layer(*lines, fit, forced, data=data(rows)).properties(height=height),
        notes=tuple(filter(None, (*_notes(rows), about_arrows(rows, ENDS, scale)))),
    )


def _order(rows: pl.DataFrame) -> list[str]:
    """Fastest model first, its batch sizes one below the other."""
    import polars as pl

    sorted_rows = rows.with_columns(pl.col("measured_ms").min().over("model").alias("least"))
    return sorted_rows.sort("least", "model", "batch")["configuration"].unique(maintain_order=True).to_list()


def _notes(rows: pl.DataFrame) -> list[str]:
    """Say what the whiskers are, and which runs were forced."""
    methods, said = set(rows["noise_method"]), []
    if "between runs" in methods:
        said.append("twice the relative deviation of repeated runs")
    if "within run" in methods:
        said.append("the 95 % interval of the mean within the run, which is too small where nothing was repeated")
    known = ", or ".join(said) or "none, as no noise is known"
    notes = [f"A label is a model and its batch size. Whiskers: {known}."]
    forced = rows.filter(rows["machine"] == "forced").height
    if forced:
        notes.append(f"Hollow ({forced}): forced on a machine unfit to be measured; such runs have no whiskers.")
    return notes
