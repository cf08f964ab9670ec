"""What a study found: one row for each configuration, with the mean over its cycles and how well it is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.experiment.study import differences
from groundlake.stats.intervals import summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.store import Lake

FIGURES = {
    "energy_per_output_token_j": ("energy_source", "energy_method", "energy_scope"),
    "output_tokens_per_s": (),
    "ttft_p50_ms": ("token_timing",),
    "itl_p50_ms": ("token_timing",),
}
"""Figures, with the columns that must be the same in all cycles: what was measured differently has no common mean."""

PARTS = ("mean", "sd", "ci_lower", "ci_upper")
ENOUGH = 3
"""Cycles from which an interval says something: of two it is 13 times as wide as their spread."""

MEASURED = """
    SELECT
        c.hardware_id, c.config_hash, c.cycle, c.position, c.state, c.is_current, c.settings_json, c.study, s.run_id,
        s.configuration, s.energy_source, s.energy_method, s.energy_scope, s.token_timing, s.num_warnings,
        s.energy_per_output_token_j, s.output_tokens_per_s, s.ttft_p50_ms, s.itl_p50_ms
    FROM study_cells c
    LEFT JOIN experiment_summary s ON s.hardware_id = c.hardware_id AND s.run_id = c.done_run_id
"""


def study_figures(lake: Lake, study: str) -> pl.DataFrame:
    """Sum up a study: for each configuration its settings that vary, n, and each figure over the cycles.

    A cycle counts once: its latest good run. `_ci_lower` and `_ci_upper` are the ends of the 95 % interval of the mean
    (Student's t); they, and the standard deviation, are NULL of one cycle. What the last plan of the study does not
    have any more is in no row.

    Returns:
        One row for each configuration, in the order of the plan.
    """
    rows = lake.sql(MEASURED).pl().filter(pl.col("study") == study, pl.col("is_current"))
    groups = [
        group.sort("cycle")
        for _, group in rows.sort("position").group_by("hardware_id", "config_hash", maintain_order=True)
    ]
    settings = [json.loads(group["settings_json"][0]) for group in groups]
    told = [
        {"hardware_id": group["hardware_id"][0], "config_hash": group["config_hash"][0]} | differing | _figures(group)
        for group, differing in zip(groups, differences(settings), strict=True)
    ]
    return pl.DataFrame(told, infer_schema_length=None)


def _figures(rows: pl.DataFrame) -> dict[str, Any]:
    """Figures of one configuration; `rows` are its cycles."""
    done = rows.filter(pl.col("run_id").is_not_null())
    figures: dict[str, Any] = {"planned": rows.height, "n": done.height}
    remarks = [_remark(done.height)]
    if done["configuration"].n_unique() > 1:
        remarks.append("software, power mode or backend changed between cycles")
    for figure, same in FIGURES.items():
        known = done.filter(pl.col(figure).is_not_null())
        is_mixed = any(known[column].n_unique() > 1 for column in same)
        values = [] if is_mixed else known[figure].to_list()
        if is_mixed:
            remarks.append(f"{figure}: no mean, {' or '.join(same)} differs between cycles")
        elif 0 < len(values) < done.height:
            remarks.append(f"{figure}: of {len(values)} cycles only")
        figures |= {f"{figure}_{part}": value for part, value in zip(PARTS, _interval(values), strict=True)}
        figures[f"{figure}_n"] = len(values)
    scopes = done["energy_scope"].drop_nulls().unique().to_list()
    figures["energy_scope"] = scopes[0] if len(scopes) == 1 else None
    figures["cycles_with_warnings"] = done.filter(pl.col("num_warnings") > 0).height
    figures["remark"] = "; ".join(filter(None, remarks)) or None
    return figures


def _remark(cycles: int) -> str | None:
    """Say what so few cycles are worth."""
    if cycles == 0:
        return "no good run"
    if cycles == 1:
        return "one cycle: no interval"
    return f"{cycles} cycles: the interval is unreliable" if cycles < ENOUGH else None


def _interval(values: Sequence[float]) -> tuple[float | None, ...]:
    """Mean, standard deviation, and both ends of the 95 % interval; of one value nobody knows the spread."""
    if not values:
        return None, None, None, None
    found = summarize(values)
    if len(values) == 1:
        return found["mean"], None, None, None
    return found["mean"], found["std"], found["ci_lower"], found["ci_upper"]
