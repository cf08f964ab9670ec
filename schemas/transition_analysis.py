"""Contracts of what is found about KV-cache budgets: intervals, changes, and where answers collapse."""

from __future__ import annotations

from typing import Annotated

import polars as pl

from groundlake.schemas.base import Table, column
from groundlake.schemas.transition import GROUP

SUBJECTS = ("accuracy", "accuracy_all", "exact_match", "failure_rate")
LOG_LATENCY = "log_latency"
"""The natural logarithm of a latency in ms: its change is that of the ratio, which is paired whatever the length."""
CHANGING = (*SUBJECTS, LOG_LATENCY)
"""What a change between two budgets may be of."""
COMPARISONS = ("adjacent", "baseline")
SIGNIFICANCES = ("interval", "none")
ALL_BINS = -1
"""Bin of a figure over all bins together."""


class _OfAnAnalysis(Table):
    """Where the rows of an analysis lie: it belongs to no device, as it compares what any of them answered."""

    hardware_id: str = column("none: an analysis belongs to no device")
    precision: str = column("none: an analysis has no precision")
    model: str = column("none: an analysis belongs to no model")
    batch: int = column("0: an analysis is not batched", unit="1", ge=0)
    run_id: str = column("Run of kind kv_analysis the row belongs to")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")


class KvIntervals(_OfAnAnalysis):
    """One bootstrap interval of a mean over the examples of a bin, or of all, at one budget."""

    exp_group_id: str = column(GROUP)
    budget_id: str = column("Budget it is of, as in kv_runs")
    bin_index: int = column("Bin; -1 over all", unit="1", ge=-1)
    subject: str = column("accuracy, accuracy_all (failures as 0), exact_match or failure_rate", isin=SUBJECTS)
    num_examples: int = column("Examples behind it", unit="1", ge=0)
    mean: float = column("Mean over examples, of the mean over an example's repeats", unit="1")
    ci_lower: float = column("Lower end of the interval; NULL of one example", unit="1", nullable=True)
    ci_upper: float = column("Upper end of the interval; NULL of one example", unit="1", nullable=True)
    confidence: float = column("Share of such intervals that hold the truth", unit="1", gt=0, le=1)
    resamples: int = column("Resamples of the bootstrap", unit="1", ge=1)
    seed: int = column("Its seed", unit="1")

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_intervals"

    @classmethod
    def latest_by(cls) -> tuple[str, ...]:
        """The latest analysis stands for those before."""
        return ("exp_group_id", "budget_id", "bin_index", "subject")


class KvDeltas(_OfAnAnalysis):
    """One change of a mean between two budgets, paired by example, with its bootstrap interval."""

    exp_group_id: str = column(GROUP)
    comparison: str = column("adjacent (the next larger budget) or baseline (the largest)", isin=COMPARISONS)
    from_budget_id: str = column("Larger budget")
    to_budget_id: str = column("Smaller budget")
    bin_index: int = column("Bin; -1 over all", unit="1", ge=-1)
    subject: str = column(
        "accuracy, accuracy_all (failures as 0), exact_match, failure_rate, or log_latency: natural logarithm of an "
        "answer's latency in ms, so that exp(change) is how many times as long answers take",
        isin=CHANGING,
    )
    num_examples: int = column("Examples that both budgets have", unit="1", ge=0)
    from_mean: float = column("Mean at the larger budget, of these examples", unit="1", nullable=True)
    to_mean: float = column("Mean at the smaller budget, of these examples", unit="1", nullable=True)
    change: float = column("to_mean less from_mean", unit="1", nullable=True)
    ci_lower: float = column("Lower end of its interval; NULL of one example", unit="1", nullable=True)
    ci_upper: float = column("Upper end of its interval; NULL of one example", unit="1", nullable=True)
    probability_below_zero: float = column("Share of resamples in which it fell", unit="1", nullable=True, ge=0, le=1)
    confidence: float = column("Share of such intervals that hold the truth", unit="1", gt=0, le=1)
    resamples: int = column("Resamples of the bootstrap", unit="1", ge=1)
    seed: int = column("Its seed", unit="1")

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_deltas"

    @classmethod
    def latest_by(cls) -> tuple[str, ...]:
        """The latest analysis stands for those before."""
        return ("exp_group_id", "comparison", "from_budget_id", "to_budget_id", "bin_index", "subject")


class KvTransitions(_OfAnAnalysis):
    """One verdict of a group: whether quality collapses between two budgets, by one rule, and which bin falls most."""

    exp_group_id: str = column(GROUP)
    comparison: str = column("Rule: adjacent or baseline", isin=COMPARISONS)
    is_detected: bool = column("Whether a drop was found that counts, by drop_threshold and significance")
    from_budget: float = column("Budget before the drop; NULL where none was found", unit="1", nullable=True)
    to_budget: float = column("First budget behind it; NULL where none was found", unit="1", nullable=True)
    drop: float = column(
        "Loss of accuracy_all; the largest that was seen where none was found", unit="1", nullable=True
    )
    drop_from_budget: float = column(
        "Budget before that loss; NULL where nothing could be compared", unit="1", nullable=True
    )
    drop_to_budget: float = column("Budget behind it", unit="1", nullable=True)
    drop_ci_lower: float = column("Lower end of its interval", unit="1", nullable=True)
    drop_ci_upper: float = column("Upper end of its interval", unit="1", nullable=True)
    drop_threshold: float = column("Loss from which it counts", unit="1", gt=0)
    significance: str = column(
        "interval: its interval has to be below zero as well; none: it need not", isin=SIGNIFICANCES
    )
    failure_share: float = column(
        "Share of the drop that failures explain: the loss of accuracy_all beyond that of accuracy",
        unit="1",
        nullable=True,
    )
    worst_bin: int = column("Bin that loses most; NULL where none was found", unit="1", nullable=True, ge=0)
    worst_bin_drop: float = column("Its loss", unit="1", nullable=True)
    flags: Annotated[pl.List, pl.String()] = column("What is odd about the group, each as code: text", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "kv_transitions"

    @classmethod
    def latest_by(cls) -> tuple[str, ...]:
        """The latest analysis stands for those before."""
        return ("exp_group_id", "comparison")
