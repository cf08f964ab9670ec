"""Efficiency curves: which share of the recorded peak an operation type reaches at which size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.report.axes import UP, about_arrows, logarithmic, ticks, whiskers
from groundlake.report.figure import Ask, Figure, Wanted, data, equals, load_altair, methods_told, where
from groundlake.report.style import GREY, OPERATIONS, colour, reference, shape, tooltip

if TYPE_CHECKING:
    from collections.abc import Iterator

TAKES = ("hardware", "precision")
HEIGHT = 320
HINT = "no curves: they come from runs with counted FLOPs, `lake ingest`"
VIEW = "efficiency_curves"


def figures(ask: Ask, wanted: Wanted) -> Iterator[Figure]:
    """Draw one figure for each hardware id, precision and pair of methods: runs of other methods share no curve."""
    keys = "hardware_id, precision, timing_method, flops_method"
    sql = f"SELECT DISTINCT {keys}\nFROM {VIEW}{where(wanted.conditions('hardware_id', 'precision'))}\nORDER BY {keys}"
    for hardware, precision, timing, counting in ask(sql).iter_rows():
        yield _figure(ask, hardware, precision, timing, counting)


def _figure(ask: Ask, hardware: str, precision: str, timing: str, counting: str | None) -> Figure:
    alt = load_altair()
    sql = (
        "SELECT operation_type, flops_geometric_mean, efficiency_mean, efficiency_ci_lower, efficiency_ci_upper,\n"
        "    num_observations, num_samples, num_models\n"
        f"FROM {VIEW}"
        + where(equals(hardware_id=hardware, precision=precision, timing_method=timing, flops_method=counting))
        + "\nORDER BY operation_type, flops_geometric_mean"
    )
    rows = ask(sql)
    kinds = rows["operation_type"].unique().to_list()
    ends = ("efficiency_ci_lower", "efficiency_ci_upper")
    scale = logarithmic([*rows["efficiency_mean"], 1.0], [*rows[ends[0]], *rows[ends[1]]])
    across = logarithmic(rows["flops_geometric_mean"].to_list(), margin=1.6)
    hue = colour("operation_type", "Operation type", kinds, OPERATIONS)
    base = alt.Chart().encode(
        x=alt.X(
            "flops_geometric_mean:Q",
            title="Work of a subgraph [FLOP]",
            scale=across,
            axis=ticks(across, format="~s"),
        ),
        color=hue,
    )
    y = alt.Y(
        "efficiency_mean:Q",
        title="Share of the recorded peak",
        scale=scale,
        axis=ticks(scale, length=HEIGHT, gap=UP, format="~%"),
    )
    points = base.mark_point(filled=True, size=55, opacity=0.95).encode(
        y=y,
        shape=shape("operation_type", "Operation type", kinds, OPERATIONS),
        tooltip=tooltip(
            operation_type=("Operation type", ""),
            flops_geometric_mean=("Work [FLOP]", ".4~s"),
            efficiency_mean=("Share of the peak", ".4~%"),
            efficiency_ci_lower=("95 % from", ".4~%"),
            efficiency_ci_upper=("95 % to", ".4~%"),
            num_observations=("Subgraphs", "d"),
            num_models=("Models", "d"),
        ),
    )
    one = alt.Chart(reference()).mark_rule(strokeDash=[5, 4], color=GREY).encode(y=alt.datum(1.0))
    lines = base.mark_line(strokeWidth=1.6, opacity=0.8).encode(y=y)
    above = rows.filter(rows["efficiency_mean"] > 1).height
    notes = ["Whiskers: 95 % interval of the mean. Dashed line: the peak that the runs recorded."]
    if above:
        notes.append(f"Points above it: {above}. The recorded peak is too low there, or FLOPs are counted too high.")
    notes.append(about_arrows(rows, ends, scale))
    return Figure(
        title="Efficiency by size of the work",
        scope=f"{hardware} · {precision} · {methods_told(timing, counting)}",
        alt=f"Efficiency against FLOPs of a subgraph for {len(kinds)} operation types on {hardware} in {precision}",
        sql=sql,
        rows=rows,
        chart=alt.layer(one, lines, *whiskers(base, rows, "y", ends, scale), points, data=data(rows)).properties(
            height=HEIGHT
        ),
        notes=tuple(filter(None, notes)),
    )
