"""Speed-up of a lower precision beside fp32, and of one power mode beside another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.report.axes import about_arrows, logarithmic, ticks, whiskers
from groundlake.report.figure import Ask, Figure, Wanted, data, equals, load_altair, where
from groundlake.report.style import GREY, PRECISIONS, beside, colour, ordered, reference, row_height, shape, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

ENDS = ("lower", "upper")
TAKES = ("hardware", "precision", "model", "batch")
NOTE = (
    "Above 1 the lower precision is faster. Both latencies are sums of separately timed subgraphs. "
    "Whiskers: the noise of both runs. A label is a model and its batch size."
)
HINT = "no speed-up: it needs a model in fp32 and in another precision, `lake ingest --precisions fp32,fp16`"


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each hardware id and timing method."""
    keys = "hardware_id, timing_method"
    conditions = [*wanted.conditions("hardware_id", "precision", "model", "batch"), "speedup IS NOT NULL"]
    sql = f"SELECT DISTINCT {keys}\nFROM precision_speedup{where(conditions)}\nORDER BY {keys}"
    for hardware, timing in ask(sql).iter_rows():
        yield _figure(ask, wanted, hardware, timing)


def _figure(ask: Ask, wanted: Wanted, hardware: str, timing: str) -> Figure:
    given = where(
        equals(**{"s.hardware_id": hardware, "s.timing_method": timing})
        + [f"s.{condition}" for condition in wanted.conditions("precision", "model", "batch")]
        + ["s.speedup IS NOT NULL"]
    )
    margin = "sqrt(low.noise_percent * low.noise_percent + base.noise_percent * base.noise_percent) / 100"
    sql = (
        "SELECT s.model || ' · b' || CAST(s.batch AS STRING) AS configuration, s.model, s.batch, s.precision,\n"
        f"    s.speedup, s.speedup * (1 - {margin}) AS lower,\n"
        f"    s.speedup * (1 + {margin}) AS upper,\n"
        "    s.fp32_latency_ms, s.latency_ms\n"
        "FROM precision_speedup s\n"
        "LEFT JOIN run_noise low\n"
        "    ON low.hardware_id = s.hardware_id AND low.run_id = s.run_id AND low.quantity = 'total_latency_ms'\n"
        "LEFT JOIN run_noise base\n"
        "    ON base.hardware_id = s.hardware_id AND base.run_id = s.fp32_run_id AND base.quantity = 'total_latency_ms'"
        f"{given}\nORDER BY s.model, s.batch, s.precision"
    )
    rows = ask(sql)
    precisions = rows["precision"].unique().to_list()
    return Figure(
        title="Speed-up beside fp32",
        scope=f"{hardware} · {', '.join(ordered(precisions))}{wanted.told} · timed by {timing}",
        alt=f"Speed-up of {', '.join(ordered(precisions))} over fp32 for each model and batch size on {hardware}",
        sql=sql,
        rows=rows,
        chart=dots(
            rows,
            axis="Latency in fp32 / latency [1]",
            hue=(
                colour("precision", "Precision", precisions, PRECISIONS),
                shape("precision", "Precision", precisions, PRECISIONS),
            ),
            shown=tooltip(
                model=("Model", ""),
                batch=("Batch", "d"),
                precision=("Precision", ""),
                speedup=("Speed-up", ".4~g"),
                lower=("Noise from", ".4~g"),
                upper=("Noise to", ".4~g"),
                fp32_latency_ms=("Latency in fp32 [ms]", ".4~g"),
                latency_ms=("Latency [ms]", ".4~g"),
            ),
        ),
        notes=tuple(filter(None, (NOTE, about_arrows(rows, ENDS, spread(rows))))),
    )


def spread(rows: pl.DataFrame) -> Any:  # noqa: ANN401 - altair's
    """Return the scale of ratios, which always holds 1."""
    return logarithmic([*rows["speedup"], 1.0], [*rows["lower"], *rows["upper"]], margin=1.15)


def dots(rows: pl.DataFrame, *, axis: str, hue: tuple[Any, Any], shown: list[Any]) -> Any:  # noqa: ANN401 - an altair chart
    """Draw ratios with whiskers, one row a configuration, beside the line of no change."""
    alt = load_altair()
    scale = spread(rows)
    order = rows.group_by("configuration", maintain_order=True).first()["configuration"].to_list()
    precisions = rows["precision"].unique().to_list()
    base = alt.Chart().encode(
        y=alt.Y("configuration:N", title=None, sort=order, axis=alt.Axis(grid=True, ticks=False)),
        color=hue[0],
        **beside(precisions),
    )
    one = alt.Chart(reference()).mark_rule(strokeDash=[5, 4], color=GREY).encode(x=alt.datum(1.0))
    lines = whiskers(base, rows, "x", ENDS, scale, strokeWidth=1.5)
    points = base.mark_point(filled=True, size=60, opacity=0.95).encode(
        x=alt.X("speedup:Q", title=axis, scale=scale, axis=ticks(scale, format="~g")), shape=hue[1], tooltip=shown
    )
    return alt.layer(one, *lines, points, data=data(rows)).properties(
        height=max(110, row_height(precisions) * len(order))
    )
