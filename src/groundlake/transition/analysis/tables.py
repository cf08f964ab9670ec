"""Turns the requests of a group into one value for each example, budget and subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from groundlake.errors import UsageError
from groundlake.schemas.transition_analysis import ALL_BINS, CHANGING, LOG_LATENCY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

COLUMNS: Final = {
    "budget_id": pl.String,
    "budget": pl.Float64,
    "example_id": pl.String,
    "bin_index": pl.Int64,
    "accuracy": pl.Float64,
    "accuracy_all": pl.Float64,
    "exact_match": pl.Float64,
    "failed": pl.Float64,
    "budget_verified": pl.Boolean,
    "latency_ms": pl.Float64,
}
"""What a row of requests tells; NULL where it is not known, see the view `kv_current_requests`."""
STATES = VERIFIED, REFUTED, NOT_KNOWN = "true", "false", "unknown"
"""Whether a budget was applied to its answers."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The values of a group.

    Attributes:
        exp_group_id: Its name.
        budgets: Fractions that are kept, largest first.
        budget_ids: Their identities.
        examples: Ids, in alphabetical order: nothing depends on the order of the rows that were read.
        bins: Bin of each example.
        values: Shape (examples, budgets) by subject: mean over the repeats of an example; NaN where there is none.
        states: Whether each budget was applied to its answers, as read back: true, false or unknown, as
            `kv_run_summary` has it.
    """

    exp_group_id: str
    budgets: tuple[float, ...]
    budget_ids: tuple[str, ...]
    examples: tuple[str, ...]
    bins: NDArray[np.int64]
    values: dict[str, Values]
    states: tuple[str, ...]

    @property
    def bin_indices(self) -> list[int]:
        """Bins that have examples, short ones first, after the one that stands for all."""
        return [ALL_BINS, *np.unique(self.bins).tolist()]

    def members(self, bin_index: int) -> NDArray[np.bool_]:
        """Which examples are in a bin."""
        return np.full(self.bins.shape, fill_value=True) if bin_index == ALL_BINS else self.bins == bin_index

    def pairs(self) -> list[tuple[int, int]]:
        """Places of the budgets that are compared: each with the next larger one, and with the largest."""
        last = range(1, len(self.budgets))
        return sorted({(place - 1, place) for place in last} | {(0, place) for place in last})


def group_of(requests: pl.DataFrame, exp_group_id: str) -> Group:
    """Bring requests into order: one value for each example and budget, the mean over its repeats.

    Args:
        requests: A row for each request, with the columns of `COLUMNS`; others are not looked at.
        exp_group_id: The group they are of.

    Raises:
        UsageError: There is no request, or a column is missing, or two policies have the same budget, or an example
            has two bins.
    """
    missing = [name for name in COLUMNS if name not in requests.columns]
    if missing:
        raise UsageError(f"analysis: the requests have no column {', '.join(missing)}")
    if requests.is_empty():
        raise UsageError(
            f"group {exp_group_id} has no requests to analyse\n  run `lake kv run` and `lake kv score` first"
        )
    rows = requests.select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items())
    budgets, states = _budgets(rows, exp_group_id), budget_states(rows)
    bins = rows.group_by("example_id").agg(pl.col("bin_index").unique()).sort("example_id")
    twice = bins.filter(pl.col("bin_index").list.len() > 1)
    if not twice.is_empty():
        raise UsageError(f"group {exp_group_id}: example {twice['example_id'][0]} is in several bins")
    latency = pl.col("latency_ms")
    timed = rows.with_columns(pl.when(latency > 0).then(latency.log()).alias(LOG_LATENCY))
    values = timed.rename({"failed": "failure_rate"}).group_by("budget_id", "example_id")
    means = values.agg(pl.col(*CHANGING).sort().mean())  # in their order: a sum depends on it in its last digits
    examples = bins["example_id"]
    place = {each: number for number, each in enumerate(budgets["budget_id"])}
    row = examples.search_sorted(means["example_id"]).to_numpy()
    column = means["budget_id"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
    tables: dict[str, Values] = {}
    for subject in CHANGING:
        tables[subject] = np.full((len(examples), len(place)), np.nan)
        tables[subject][row, column] = means[subject].fill_null(np.nan).to_numpy()
    return Group(
        exp_group_id=exp_group_id,
        budgets=tuple(budgets["budget"]),
        budget_ids=tuple(place),
        examples=tuple(examples),
        bins=bins["bin_index"].list.first().to_numpy(),
        values=tables,
        states=tuple(states[each] for each in place),
    )


def budget_states(requests: pl.DataFrame) -> dict[str, str]:
    """Return of each budget, by its identity, whether it was applied: to every answer, not to one, or nobody knows.

    Args:
        requests: A row for each request, with the columns of `COLUMNS`.
    """
    told = pl.col("budget_verified").cast(pl.Boolean).filter(pl.col("failed") == 0)
    refuted, verified = told.eq(other=False).any(), (told.len() > 0) & (told.null_count() == 0)
    state = pl.when(refuted).then(pl.lit(REFUTED)).when(verified).then(pl.lit(VERIFIED)).otherwise(pl.lit(NOT_KNOWN))
    return dict(requests.group_by("budget_id").agg(state.alias("state")).iter_rows())


def _budgets(rows: pl.DataFrame, exp_group_id: str) -> pl.DataFrame:
    """Return the budgets, largest first."""
    found = rows.select("budget", "budget_id").unique().sort("budget", "budget_id", descending=[True, False])
    for name in ("budget", "budget_id"):
        several = found.filter(pl.col(name).is_duplicated())
        if not several.is_empty():
            told = ", ".join(f"{budget:g} ({identity})" for budget, identity in several.rows())
            raise UsageError(
                f"group {exp_group_id}: budgets cannot be put into an order: {told}\n"
                "  two policies are two groups: give each an output.exp_group_id of its own"
            )
    return found
