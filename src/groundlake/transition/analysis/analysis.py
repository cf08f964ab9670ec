"""Analyses a group: intervals of its means, paired changes between its budgets, and whether quality collapses.

It is a function of scores, failures, latencies and what shows that budgets were applied, whatever order they come in,
so that two machines that hold the same find the same. What SQL can say is in the views of `queries/transition`;
here is the bootstrap.

Means are over examples, of the mean over an example's repeats. Over all bins together every example weighs the same:
it is the mean over examples, not the mean of the bins' means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from groundlake.query_files import quoted
from groundlake.schemas.transition_analysis import CHANGING, SUBJECTS, KvDeltas, KvIntervals, KvTransitions
from groundlake.transition.analysis.oddities import flags
from groundlake.transition.analysis.resampling import DIGITS, Bootstrap
from groundlake.transition.analysis.tables import COLUMNS, Group, group_of
from groundlake.transition.analysis.verdict import JUDGED, Change, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from groundlake.schemas.base import Table
    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import AnalysisSettings

Row = dict[str, object]
FILLED_IN: Final = ("hardware_id", "precision", "model", "batch", "run_id", "part")
"""Columns that the lake fills in from the run."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What an analysis finds; the frames meet the contracts, less the columns that the lake fills in.

    Attributes:
        intervals: Rows of `kv_intervals`.
        deltas: Rows of `kv_deltas`.
        transitions: Rows of `kv_transitions`: one for each rule, found or not.
    """

    intervals: pl.DataFrame
    deltas: pl.DataFrame
    transitions: pl.DataFrame

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """The frames by table, to be written; a group of one budget has no deltas."""
        found = {"kv_intervals": self.intervals, "kv_deltas": self.deltas, "kv_transitions": self.transitions}
        return {name: frame for name, frame in found.items() if not frame.is_empty()}


def read_requests(lake: Lake, exp_group_id: str, looked_at: str = "TRUE") -> pl.DataFrame:
    """Read the selected requests of a group: what `analyze` needs of them, and how far each is.

    Args:
        lake: Where it is.
        exp_group_id: The group.
        looked_at: Condition, in SQL, of the requests that are looked at, as `of_requests` says it; all otherwise.
    """
    columns = ", ".join((*COLUMNS, "state", "scorer_version"))
    where = f"exp_group_id = {quoted(exp_group_id)} AND is_selected AND {looked_at}"
    return lake.sql(f"SELECT {columns} FROM kv_current_requests WHERE {where}").pl()  # noqa: S608 - names of columns, and a literal


def analyze(requests: pl.DataFrame, exp_group_id: str, settings: AnalysisSettings) -> Analysis:
    """Analyse the requests of a group, all budgets together.

    Args:
        requests: A row for each request, as `read_requests` reads them.
        exp_group_id: The group they are of.
        settings: Seed and size of the bootstrap, and when a drop counts.

    Raises:
        UsageError: There is no request, or two policies have the same budget.
    """
    group = group_of(requests, exp_group_id)
    intervals: list[Row] = []
    changes: list[Change] = []
    for bin_index in group.bin_indices:
        found, changed = _of_bin(group, bin_index, settings)
        intervals += found
        changes += changed
    significant = settings.significance == "interval"
    odd = flags(group, changes, settings)
    verdicts = judge(changes, settings.drop_threshold, significant=significant)
    shared = {"exp_group_id": exp_group_id}
    drawn = {"confidence": settings.confidence, "resamples": settings.n_bootstrap, "seed": settings.seed}
    return Analysis(
        intervals=_frame(KvIntervals, (shared | drawn | row for row in intervals)),
        deltas=_frame(KvDeltas, (shared | drawn | row for change in changes for row in _delta(group, change))),
        transitions=_frame(KvTransitions, (shared | _transition(group, each, settings, odd) for each in verdicts)),
    )


def _of_bin(group: Group, bin_index: int, settings: AnalysisSettings) -> tuple[list[Row], list[Change]]:
    """Return the intervals of a bin at each budget, and the changes between budgets."""
    inside = group.members(bin_index)
    tables = {subject: group.values[subject][inside] for subject in CHANGING}
    cells = [(place, subject) for place in range(len(group.budgets)) for subject in SUBJECTS]
    steps = [(before, after, subject) for before, after in group.pairs() for subject in CHANGING]
    # Examples that a budget lacks are NaN, and so is their change.
    columns = [tables[subject][:, place] for place, subject in cells]
    columns += [tables[subject][:, after] - tables[subject][:, before] for before, after, subject in steps]
    known = ~np.isnan(tables[JUDGED])
    asked = [known[:, place] for place, _ in cells] + [known[:, after] & known[:, before] for before, after, _ in steps]
    bootstrap = Bootstrap(
        seed=settings.seed,
        group=group.exp_group_id,
        resamples=settings.n_bootstrap,
        confidence=settings.confidence,
    )
    figures = bootstrap.intervals(np.column_stack(columns), np.column_stack(asked), bin_index)
    intervals: list[Row] = [
        {
            "budget_id": group.budget_ids[place],
            "bin_index": bin_index,
            "subject": subject,
            "num_examples": found.examples,
            "mean": found.mean,
            "ci_lower": found.lower,
            "ci_upper": found.upper,
        }
        for (place, subject), found in zip(cells, figures, strict=False)
        if found.mean is not None
    ]
    changes = []
    for (before, after, subject), found in zip(steps, figures[len(cells) :], strict=True):
        both = tables[subject][:, [before, after]]
        means = (
            both[~np.isnan(both).any(axis=1)].mean(axis=0).round(DIGITS).tolist() if found.examples else (None, None)
        )
        changes.append(
            Change(
                before=before,
                after=after,
                bin_index=bin_index,
                subject=subject,
                from_mean=means[0],
                to_mean=means[1],
                figures=found,
            )
        )
    return intervals, changes


def _delta(group: Group, change: Change) -> Iterable[Row]:
    """Rows of `kv_deltas`: one for each rule that looks at the change."""
    for comparison in change.comparisons:
        yield {
            "comparison": comparison,
            "from_budget_id": group.budget_ids[change.before],
            "to_budget_id": group.budget_ids[change.after],
            "bin_index": change.bin_index,
            "subject": change.subject,
            "num_examples": change.figures.examples,
            "from_mean": change.from_mean,
            "to_mean": change.to_mean,
            "change": change.figures.mean,
            "ci_lower": change.figures.lower,
            "ci_upper": change.figures.upper,
            "probability_below_zero": change.figures.below_zero,
        }


def _transition(group: Group, verdict: Verdict, settings: AnalysisSettings, odd: Sequence[str]) -> Row:
    """Return a row of `kv_transitions`."""
    found, largest, worst = verdict.found, verdict.largest, verdict.worst
    # A drop is the change with its sign turned, and so are the ends of its interval.
    lower = largest.figures.upper if largest else None
    upper = largest.figures.lower if largest else None
    return {
        "comparison": verdict.comparison,
        "is_detected": found is not None,
        "from_budget": group.budgets[found.before] if found else None,
        "to_budget": group.budgets[found.after] if found else None,
        "drop": largest.drop if largest else None,
        "drop_from_budget": group.budgets[largest.before] if largest else None,
        "drop_to_budget": group.budgets[largest.after] if largest else None,
        "drop_ci_lower": None if lower is None else 0.0 - lower,
        "drop_ci_upper": None if upper is None else 0.0 - upper,
        "drop_threshold": settings.drop_threshold,
        "significance": settings.significance,
        "failure_share": verdict.failure_share,
        "worst_bin": worst.bin_index if worst else None,
        "worst_bin_drop": worst.drop if worst else None,
        "flags": list(odd) or None,
    }


def _frame(table: type[Table], rows: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """Rows as the contract's frame, in the order of its columns, less those that the lake fills in."""
    schema = {name: dtype for name, dtype in table.polars_schema().items() if name not in FILLED_IN}
    return pl.DataFrame(list(rows), schema=schema, orient="row")
