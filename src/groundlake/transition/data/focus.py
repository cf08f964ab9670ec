"""Adaptive sampling: more examples of the bins in which the last analysis saw quality fall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import UsageError
from groundlake.query_files import quoted
from groundlake.transition.analysis.verdict import BASELINE, JUDGED
from groundlake.transition.data.selection import FOCUS_TRANSITION, Focus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.bins import Bin


def focus_bins(transitions: pl.DataFrame, deltas: pl.DataFrame) -> tuple[int, ...]:
    """Return the bins to look at closely: those that lose most, by either rule.

    Where the whole does not collapse, it is those that do so alone, against the largest budget: at or above the
    threshold, their interval below zero. None of them where nothing falls.

    Args:
        transitions: Rows of `kv_transitions` of one group.
        deltas: Its rows of `kv_deltas`.
    """
    worst = transitions.filter("is_detected")["worst_bin"].drop_nulls()
    if worst.len():
        return tuple(sorted(set(worst)))
    if transitions.is_empty():
        return ()
    falls = (
        (pl.col("comparison") == BASELINE)
        & (pl.col("subject") == JUDGED)
        & (pl.col("bin_index") >= 0)
        & (pl.col("change") <= -transitions["drop_threshold"][0] + 1e-9)
        & (pl.col("ci_upper") < 0)
    )
    return tuple(sorted(set(deltas.filter(falls)["bin_index"])))


def focus_for(settings: Settings, lake: Lake | None) -> Focus | None:
    """Return which bins get more examples, as `selection.Sampling` takes it; None where sampling is uniform.

    Bins that the settings name are taken as they are. Else those of the group's last analysis in the lake are.

    Args:
        settings: Whole configuration.
        lake: Where an earlier analysis may be; None, or a lake that is not there yet, has none.

    Raises:
        UsageError: Bins have to be found, and the group was not analysed yet, or nothing falls in it.
    """
    sampling = settings.sampling
    if sampling.strategy != FOCUS_TRANSITION:
        return None
    base = sampling.base_n_per_bin or settings.dataset.n_per_bin
    return Focus(
        bins=sampling.focus_bins or _found(str(settings.output.exp_group_id), lake),
        radius=sampling.focus_radius_bins or 0,
        base_n=base,
        focus_n=sampling.focus_n_per_bin or base,
    )


def require_same_bins(lake: Lake, exp_group_id: str, bins: Sequence[Bin]) -> None:
    """Raise unless the last analysis of a group saw these bins: the number of a bin says nothing of other ones.

    Args:
        lake: Where it is.
        exp_group_id: The group.
        bins: What the examples are sorted into now.

    Raises:
        UsageError: The data set that was analysed had other edges.
    """
    rows = lake.sql(
        "WITH analysed AS (SELECT d.run_id, d.hardware_id FROM runs p "  # noqa: S608 - a literal
        "JOIN kv_datasets d ON d.hardware_id = p.hardware_id AND d.run_id = p.run_id "
        "JOIN kv_current_analyses c ON c.exp_group_id = d.exp_group_id "
        "JOIN runs a ON a.hardware_id = c.hardware_id AND a.run_id = c.run_id "
        f"WHERE d.exp_group_id = {quoted(exp_group_id)} AND p.recorded_at <= a.recorded_at "
        "ORDER BY p.recorded_at DESC, p.run_id DESC LIMIT 1) "
        "SELECT b.tokens_from, b.tokens_to FROM kv_bins b "
        "JOIN analysed d ON d.hardware_id = b.hardware_id AND d.run_id = b.run_id ORDER BY b.bin_index"
    ).rows()
    now = [(None, None) if each.is_empty else (each.low, each.longest) for each in bins]
    if rows != now:
        seen, made = (
            ", ".join("none" if low is None else f"{low} to {high}" for low, high in each) for each in (rows, now)
        )
        raise UsageError(
            f"sampling.focus_bins: group {exp_group_id} was analysed in other bins\n"
            f"  then: {seen}\n  now: {made} (tokens)\n"
            "  name bins in sampling.focus_bins, or set sampling.strategy: uniform, run and analyze first"
        )


def _found(exp_group_id: str, lake: Lake | None) -> tuple[int, ...]:
    """Find bins in the last analysis; rows of earlier ones may be of bins and budgets that are gone."""
    advice = "  name bins in sampling.focus_bins, or set sampling.strategy: uniform"
    unseen = UsageError(f"sampling.focus_bins: group {exp_group_id} was not analysed yet\n{advice} and run it first")
    if lake is None or not lake.exists:
        raise unseen
    last = lake.sql(
        f"SELECT hardware_id, run_id FROM kv_current_analyses WHERE exp_group_id = {quoted(exp_group_id)}"  # noqa: S608 - a literal
    ).rows()
    if not last:
        raise unseen
    hardware_id, run_id = last[0]
    transitions, deltas = (
        lake.frame(table, hardware_id=hardware_id, run_id=run_id) for table in ("kv_transitions", "kv_deltas")
    )
    bins = focus_bins(transitions, deltas)
    if not bins:
        raise UsageError(f"sampling.focus_bins: the analysis of group {exp_group_id} found no bin that falls\n{advice}")
    return bins
