"""Batch scaling: what one input costs as the batch grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.report.axes import UP, about_arrows, logarithmic, ticks, whiskers
from groundlake.report.figure import Ask, Figure, Wanted, data, equals, load_altair, where
from groundlake.report.style import GREY, by_model, dashed, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDS = ("lower_ms", "upper_ms")
TAKES = ("hardware", "precision", "model")
HEIGHT = 340
HINT = "no batch scaling: it needs a model at two batch sizes or more, `lake ingest --batches 1,4,16`"


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each hardware id and precision; the view says which runs cannot be compared."""
    keys = "hardware_id, precision"
    given = where(wanted.conditions("hardware_id", "precision", "model"))
    sql = f"SELECT DISTINCT {keys}\nFROM batch_scaling{given}\nORDER BY {keys}"
    for hardware, precision in ask(sql).iter_rows():
        yield _figure(ask, wanted, hardware, precision)


def _figure(ask: Ask, wanted: Wanted, hardware: str, precision: str) -> Figure:
    alt = load_altair()
    given = where(
        equals(**{"s.hardware_id": hardware, "s.precision": precision})
        + [f"s.{condition}" for condition in wanted.conditions("model")]
    )
    sql = (
        "SELECT s.model, s.batch, s.latency_per_input_ms,\n"
        "    s.latency_per_input_ms * (1 - n.noise_percent / 100) AS lower_ms,\n"
        "    s.latency_per_input_ms * (1 + n.noise_percent / 100) AS upper_ms,\n"
        "    s.throughput_speedup, s.scaling_efficiency, s.verdict, s.reason, s.quantity, s.timing_method\n"
        "FROM batch_scaling s\nLEFT JOIN run_noise n\n"
        "    ON n.hardware_id = s.hardware_id AND n.run_id = s.run_id AND n.quantity = s.quantity"
        f"{given}\nORDER BY s.model, s.batch"
    )
    rows = ask(sql)
    models = sorted(rows["model"].unique().to_list())
    hue, mark = by_model(models)
    scale = logarithmic(rows["latency_per_input_ms"], [*rows["lower_ms"], *rows["upper_ms"]])
    sizes = sorted(rows["batch"].unique().to_list())
    base = alt.Chart().encode(
        x=alt.X(
            "batch:Q",
            title="Batch size (inputs of one pass)",
            scale=alt.Scale(type="log", base=2, domain=[max(sizes[0], 1), sizes[-1]], nice=False, padding=12),
            axis=alt.Axis(values=sizes, format="d"),
        ),
        color=hue,
    )
    up = ticks(scale, length=HEIGHT, gap=UP, format="~g")
    y = alt.Y("latency_per_input_ms:Q", title="Latency of one input [ms]", scale=scale, axis=up)
    shown = tooltip(
        model=("Model", ""),
        batch=("Batch", "d"),
        latency_per_input_ms=("Latency of one input [ms]", ".4~g"),
        throughput_speedup=("Throughput, times the smallest batch", ".4~g"),
        scaling_efficiency=("Scaling efficiency", ".3~%"),
        verdict=("Verdict", ""),
        reason=("Why", ""),
        quantity=("Latency compared", ""),
        timing_method=("Timed by", ""),
    )
    fair = base.transform_filter("datum.verdict == 'comparable'")
    unfair = base.transform_filter("datum.verdict != 'comparable'")
    odd = rows.filter(rows["verdict"] != "comparable").height
    notes = ["Latency: sum of separately timed subgraphs, or end to end, over the batch. Whiskers: noise."]
    if odd:
        notes.append(f"{odd} runs, drawn as crosses, cannot be compared with the smallest batch: the tooltip says why.")
    notes.append(about_arrows(rows, ENDS, scale))
    return Figure(
        title="Latency of one input by batch size",
        scope=f"{hardware} · {precision}{wanted.told} · timed by {', '.join(sorted(set(rows['timing_method'])))}",
        alt=f"Latency of one input against batch size for {len(models)} models on {hardware} in {precision}",
        sql=sql,
        rows=rows,
        chart=alt.layer(
            dashed(fair.mark_line(strokeWidth=1.6, opacity=0.85).encode(y=y), models),
            *whiskers(base, rows, "y", ENDS, scale, opacity=0.8),
            fair.mark_point(filled=True, size=50).encode(y=y, shape=mark, tooltip=shown),
            unfair.mark_point(shape="cross", size=70, stroke=GREY, angle=45).encode(y=y, tooltip=shown),
            data=data(rows),
        ).properties(height=HEIGHT),
        notes=tuple(filter(None, notes)),
    )
