"""The stage that analyses a group: it reads scores and failures, and writes intervals, changes and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake import __version__
from groundlake.intake import utc_now
from groundlake.transition.analysis.analysis import analyze
from groundlake.transition.analysis.tables import budget_states
from groundlake.transition.standing import SCORE, analysis_hash, hash_of, last_analysis, require_ready

if TYPE_CHECKING:
    import polars as pl

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings

KIND = "kv_analysis"


@dataclass(frozen=True, kw_only=True)
class Analyzed:
    """What analysing a group came to.

    Attributes:
        run_id: The analysis that stands.
        was_current: Whether it was there already: settings, scores and failures are the same.
        transitions: Its verdicts: rows of `kv_transitions`.
        states: Whether each budget was applied to its answers: true, false or unknown; largest first.
        missing: What it was made without, in words; () for nothing.
    """

    run_id: str
    was_current: bool
    transitions: pl.DataFrame
    states: dict[float, str]
    missing: tuple[str, ...]


def analyze_group(settings: Settings, lake: Lake, *, allow_partial: bool = False) -> Analyzed:
    """Analyse a group, all its budgets together, unless the last analysis was made of the same.

    Args:
        settings: Which group, and when a drop counts.
        lake: Where it is.
        allow_partial: Take what is there where requests or scores are missing.

    Raises:
        UsageError: The group is not prepared, asked or scored, and that is not allowed; or its answers are of other
            settings or data.
    """
    group = str(settings.output.exp_group_id)
    ready = require_ready(settings, lake, needs=SCORE, allow_partial=allow_partial)
    requests, missing = ready.requests, ready.missing
    config_hash = hash_of(settings, requests)
    last = last_analysis(lake, group)
    states = _states(requests)
    if last is not None and last.config_hash == config_hash:
        found = _verdicts(lake, last.run_id)
        return Analyzed(run_id=last.run_id, was_current=True, transitions=found, states=states, missing=missing)
    analysis = analyze(requests, group, settings.analysis)
    ledger = {
        "hardware_id": "none",
        "kind": KIND,
        "session_id": group,
        "config_hash": config_hash,
        "tool_version": __version__,
        "started_at": utc_now(),
        "started_at_zone_source": "clock",
        "timing_method": "none",
        "timed_runs": requests.height,
        "warnings": [f"partial: {text}" for text in missing] or None,
    }
    run_id = lake.write(ledger, **analysis.frames)
    found = analysis.transitions
    return Analyzed(run_id=run_id, was_current=False, transitions=found, states=states, missing=missing)


def is_analyzed(settings: Settings, lake: Lake) -> bool:
    """Whether the last analysis of a group was made of what the group holds now."""
    group = str(settings.output.exp_group_id)
    last = last_analysis(lake, group)
    return last is not None and last.config_hash == analysis_hash(settings, lake)


def _states(requests: pl.DataFrame) -> dict[float, str]:
    """Return whether each budget was applied, the largest first."""
    states = budget_states(requests)
    named = requests.select("budget", "budget_id").unique().sort("budget", "budget_id", descending=[True, False])
    return {budget: states[budget_id] for budget, budget_id in named.iter_rows()}


def _verdicts(lake: Lake, run_id: str) -> pl.DataFrame:
    """Read the verdicts of an analysis."""
    return lake.frame("kv_transitions", hardware_id="none", run_id=run_id)
