"""Roofline: how much of what the device can do at an arithmetic intensity is achieved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.report.axes import UP, about_arrows, logarithmic, ticks, whiskers
from groundlake.report.figure import Ask, Figure, Wanted, data, equals, load_altair, methods_told, where
from groundlake.report.style import GREY, OPERATIONS, colour, shape, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

ENDS = ("achieved_lower", "achieved_upper")
TAKES = ("hardware", "precision", "model", "batch")
HEIGHT = 340
HINT = "no roofline: it needs runs with counted FLOPs and bytes, `lake ingest`"
VIEW = "roofline_position"
PLACED = ["flops > 0", "total_bytes > 0", "latency_mean_ms > 0"]
"""What has a place in the picture: subgraphs without counted work have no intensity."""

OF_A_MODEL = (
    "SELECT p.model, p.batch, p.subgraph_id, p.operation_type, p.fusion_pattern, p.flops, p.total_bytes,\n"
    "    p.arithmetic_intensity, p.achieved_flops,\n"
    "    p.flops * 1000 / NULLIF(t.latency_ci_upper_ms, 0) AS achieved_lower,\n"
    "    CASE WHEN t.latency_ci_lower_ms > 0\n"
    "        THEN p.flops * 1000 / NULLIF(t.latency_ci_lower_ms, 0) END AS achieved_upper,\n"
    "    p.latency_mean_ms AS latency_ms, p.share_of_roof, p.bound\n"
    "FROM {view} p\nJOIN subgraph_timings t\n"
    "    ON t.hardware_id = p.hardware_id AND t.run_id = p.run_id AND t.subgraph_id = p.subgraph_id{given}\n"
    "ORDER BY p.model, p.batch, p.subgraph_id"
)
OVER_OPERATIONS = (
    "SELECT model, batch, operation_type,\n"
    "    sum(CAST(flops AS DOUBLE)) / sum(total_bytes) AS arithmetic_intensity,\n"
    "    sum(CAST(flops AS DOUBLE)) / sum(latency_mean_ms) * 1000 AS achieved_flops,\n"
    "    sum(latency_mean_ms) AS latency_ms, count(*) AS num_subgraphs\n"
    "FROM {view}{given}\nGROUP BY model, batch, operation_type\nORDER BY model, batch, operation_type"
)


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each hardware id, precision and pair of methods.

    A point is one subgraph where models are named; else the subgraphs of one operation type of a model and batch size.
    """
    keys = "hardware_id, precision, timing_method, flops_method"
    given = where(wanted.conditions("hardware_id", "precision", "model", "batch") + PLACED)
    roof = "physical_peak_flops, memory_bandwidth_bytes_per_s"
    sql = f"SELECT DISTINCT {keys}, {roof}\nFROM {VIEW}{given}\nORDER BY {keys}"
    for *methods, peak, bandwidth in ask(sql).iter_rows():
        yield _figure(ask, wanted, methods, peak, bandwidth)


def _figure(ask: Ask, wanted: Wanted, methods: list[Any], peak: float | None, bandwidth: float | None) -> Figure:
    alt = load_altair()
    hardware, precision, timing, counting = methods
    fine = bool(wanted.models)
    conditions = equals(hardware_id=hardware, precision=precision, timing_method=timing, flops_method=counting)
    conditions += wanted.conditions("model", "batch") + PLACED
    given = where([f"p.{each}" for each in conditions] if fine else conditions)
    sql = (OF_A_MODEL if fine else OVER_OPERATIONS).format(view=VIEW, given=given)
    rows = ask(sql)
    roof = _roof(rows, peak, bandwidth)
    scales = _scales(rows, roof, fine=fine)
    layers = [*_whiskers(rows, scales[1], fine=fine), _points(rows, *scales, fine=fine)]
    if roof:
        line = {"x": alt.X("arithmetic_intensity:Q"), "y": alt.Y("achieved_flops:Q")}
        layers.insert(0, alt.Chart(alt.Data(values=roof)).mark_line(color=GREY, strokeWidth=2).encode(**line))
    notes = [_about_points(rows, fine=fine), _about_roof(hardware, precision, peak, bandwidth)]
    if peak and bandwidth:
        notes.append(_about_those_above(rows, peak, bandwidth))
    if fine:
        notes.append(about_arrows(rows, ENDS, scales[1]))
    return Figure(
        title="Roofline",
        scope=f"{hardware} · {precision}{wanted.told} · {methods_told(timing, counting)}",
        alt=f"Achieved FLOP/s against arithmetic intensity, {rows.height} points, on {hardware} in {precision}",
        sql=sql,
        rows=rows,
        chart=alt.layer(*layers, data=data(rows)).properties(height=HEIGHT),
        notes=tuple(filter(None, notes)),
    )


def _scales(rows: pl.DataFrame, roof: list[dict[str, float]], *, fine: bool) -> tuple[Any, Any]:
    """Return scales that hold the points and the ridge of the roof."""
    x = [*rows["arithmetic_intensity"], *(corner["arithmetic_intensity"] for corner in roof[1:2])]
    y = [*rows["achieved_flops"], *(corner["achieved_flops"] for corner in roof)]
    ends = [*rows[ENDS[0]], *rows[ENDS[1]]] if fine else []
    return logarithmic(x, margin=1.6), logarithmic(y, ends, margin=1.8)


def _roof(rows: pl.DataFrame, peak: float | None, bandwidth: float | None) -> list[dict[str, float]]:
    """Corners of the roof over the range of the points; nothing where the specification lacks a figure."""
    if not peak or not bandwidth:
        return []
    ridge = peak / bandwidth
    left = min(float(rows["arithmetic_intensity"].min()), ridge) / 1.6  # type: ignore[arg-type] # a column of numbers
    right = max(float(rows["arithmetic_intensity"].max()), ridge) * 1.6  # type: ignore[arg-type] # the same
    corners = [(left, left * bandwidth), (ridge, peak), (right, peak)]
    return [{"arithmetic_intensity": x, "achieved_flops": y} for x, y in corners]


def _points(rows: pl.DataFrame, across: Any, up: Any, *, fine: bool) -> Any:  # noqa: ANN401 - an altair chart
    alt = load_altair()
    kinds = rows["operation_type"].unique().to_list()
    shown = {"model": ("Model", ""), "batch": ("Batch", "d"), "operation_type": ("Operation type", "")}
    if fine:
        shown |= {"subgraph_id": ("Subgraph", "d"), "fusion_pattern": ("Pattern", ""), "bound": ("Bound by", "")}
        shown |= {"share_of_roof": ("Share of the roof", ".4~%")}
    else:
        shown |= {"num_subgraphs": ("Subgraphs", "d")}
    shown |= {
        "arithmetic_intensity": ("Intensity [FLOP/byte]", ".4~g"),
        "achieved_flops": ("Achieved [FLOP/s]", ".4~s"),
        "latency_ms": ("Latency [ms]", ".4~g"),
    }
    x = alt.X(
        "arithmetic_intensity:Q",
        title="Arithmetic intensity [FLOP/byte]",
        scale=across,
        axis=ticks(across, format="~g"),
    )
    y = alt.Y(
        "achieved_flops:Q", title="Achieved [FLOP/s]", scale=up, axis=ticks(up, length=HEIGHT, gap=UP, format="~s")
    )
    return (
        alt.Chart()
        .mark_point(filled=True, size=50, opacity=0.8)
        .encode(
            x=x,
            y=y,
            color=colour("operation_type", "Operation type", kinds, OPERATIONS),
            shape=shape("operation_type", "Operation type", kinds, OPERATIONS),
            tooltip=tooltip(**shown),
        )
    )


def _whiskers(rows: pl.DataFrame, up: Any, *, fine: bool) -> list[Any]:  # noqa: ANN401 - altair's
    if not fine:
        return []
    alt = load_altair()
    kinds = rows["operation_type"].unique().to_list()
    hue = colour("operation_type", "Operation type", kinds, OPERATIONS)
    base = alt.Chart().encode(x="arithmetic_intensity:Q", color=hue)
    return whiskers(base, rows, "y", ENDS, up, opacity=0.6)


def _about_points(rows: pl.DataFrame, *, fine: bool) -> str:
    if not fine:
        return "A point is all subgraphs of one operation type in one model and batch size."
    known = rows[ENDS[0]].count() > 0
    return "A point is a subgraph." + (" Whiskers: 95 % interval of the mean." if known else "")


def _about_those_above(rows: pl.DataFrame, peak: float, bandwidth: float) -> str:
    """Count the points above the roof, and say what can be the reason; nothing without any."""
    pairs = rows.select("arithmetic_intensity", "achieved_flops").iter_rows()
    above = sum(achieved > min(peak, intensity * bandwidth) for intensity, achieved in pairs)
    if not above:
        return ""
    return f"Points above it: {above}. FLOPs or bytes are counted too high there, or the specification is too low."


def _about_roof(hardware: str, precision: str, peak: float | None, bandwidth: float | None) -> str:
    if peak and bandwidth:
        return f"Roof: {peak / 1e12:.4g} TFLOP/s and {bandwidth / 1e9:.4g} GB/s, from the specification in `hardware`."
    missing = " and ".join(name for name, value in ((f"{precision} peak", peak), ("bandwidth", bandwidth)) if not value)
    return f"No roof: the lake has no {missing} of {hardware} (lake hw register, or lake hw add)."
