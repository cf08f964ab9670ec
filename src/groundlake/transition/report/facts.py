"""What the lake tells about a group, as a report needs it: frozen rows of views, with nothing worked out anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.schemas.transition_analysis import ALL_BINS

if TYPE_CHECKING:
    import datetime as dt

ACCURACY, ACCURACY_ALL, EXACT_MATCH, FAILURE_RATE = "accuracy", "accuracy_all", "exact_match", "failure_rate"
LOG_LATENCY = "log_latency"
ADJACENT, BASELINE = "adjacent", "baseline"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The group's data set as it was prepared last: columns of `kv_current_datasets`."""

    dataset_id: str
    task: str
    source_uri: str | None
    source_sha256: str | None
    tokenizer: str
    tokenizer_fingerprint: str
    prompt_hash: str
    population: int
    left_out: int
    selected: int
    manifest_sha256: str
    settings_hash: str
    selection_json: str
    run_id: str
    started_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One budget of the group: columns of `kv_run_summary`, `kv_budgets`, and of its latest run.

    Times are in s and ms, memory in bytes; None is what nothing tells.
    """

    budget_id: str
    budget: float
    policy: str
    policy_json: str
    engine: str
    engine_version: str | None
    how_applied: str
    base_url: str | None
    model: str
    temperature: float
    max_tokens: int
    seed: int | None
    repeats: int
    prompt_hash: str
    settings_hash: str
    settings_json: str
    forced: str | None
    num_answered: int
    num_failed: int
    num_scored: int
    num_truncated: int
    num_verified: int
    num_refuted: int
    num_unverified: int
    budget_state: str
    kept_fraction_mean: float | None
    mean_prompt_tokens: float | None
    mean_completion_tokens: float | None
    total_prompt_tokens: int | None
    total_completion_tokens: int | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    num_without_latency: int
    num_without_ttft: int
    num_without_tokens: int
    peak_memory_bytes: int | None
    num_attempts: int
    num_failed_attempts: int
    num_rate_limited: int
    waited_s: float | None
    wall_s: float | None
    requests_per_min: float | None
    output_tokens_per_s: float | None
    tokens_per_s: float | None
    tool_version: str | None
    python_version: str | None
    torch_version: str | None
    os: str | None


@dataclass(frozen=True, kw_only=True)
class BinAtBudget:
    """A bin of lengths at a budget, or all of them (-1): columns of `kv_bin_stats`."""

    budget_id: str
    budget: float
    bin_index: int
    tokens_from: int | None
    tokens_to: int | None
    population: int
    selected: int
    num_examples: int
    num_requests: int
    num_answered: int
    num_failed: int
    num_scored: int
    num_truncated: int
    accuracy: float | None
    accuracy_std: float | None
    accuracy_all: float | None
    exact_match: float | None
    failure_rate: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    prompt_tokens_p50: float | None
    prompt_tokens_p95: float | None
    completion_tokens_p50: float | None
    completion_tokens_p95: float | None
    kept_fraction_mean: float | None
    kept_fraction_min: float | None
    kept_fraction_max: float | None
    peak_memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The analysis that all intervals, changes and verdicts are of: columns of `kv_current_analyses`."""

    run_id: str
    started_at: dt.datetime | None
    config_hash: str | None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The interval of a mean: columns of `kv_intervals`."""

    budget_id: str
    bin_index: int
    subject: str
    num_examples: int
    mean: float
    ci_lower: float | None
    ci_upper: float | None
    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A change between two budgets, paired by example: columns of `kv_deltas`, and the budgets of the two ids."""

    comparison: str
    from_budget: float
    to_budget: float
    bin_index: int
    subject: str
    num_examples: int
    from_mean: float | None
    to_mean: float | None
    change: float | None
    ci_lower: float | None
    ci_upper: float | None
    probability_below_zero: float | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule says: columns of `kv_transitions`."""

    comparison: str
    is_detected: bool
    from_budget: float | None
    to_budget: float | None
    drop: float | None
    drop_from_budget: float | None
    drop_to_budget: float | None
    drop_ci_lower: float | None
    drop_ci_upper: float | None
    drop_threshold: float
    significance: str
    failure_share: float | None
    worst_bin: int | None
    worst_bin_drop: float | None
    flags: list[str] | None


@dataclass(frozen=True, kw_only=True)
class FailureCount:
    """How many requests of a bin at a budget ended in one failure: columns of `kv_failure_summary`."""

    budget_id: str
    bin_index: int
    failure: str
    num_failed: int
    share: float | None


@dataclass(frozen=True, kw_only=True)
class FailureMessage:
    """What an engine said most often with a failure; `num` of `total` failures said it."""

    failure: str
    message: str | None
    num: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What shows whether a budget was applied: one of the texts, and how many answers have the verdict."""

    budget_id: str
    budget_verified: bool | None
    example: str | None
    num: int


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy of one rail, read by a sensor, over the runs of a budget [J], from `run_energy`; None with the reason."""

    budget_id: str
    source: str
    rail: str
    energy_j: float | None
    num_requests: int
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Something that must never be, and how often it is: from `kv_integrity`."""

    violation: str
    num: int


@dataclass(frozen=True, kw_only=True)
class Scored:
    """By what answers were scored, and how many; `num_cut` of their prompts lost their middle."""

    metric: str | None
    scorer_version: str | None
    num: int


@dataclass(frozen=True, kw_only=True)
class RunWarning:
    """What is doubtful about a run of the group."""

    budget: float
    warning: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """What answered requests of a budget, and how many; a budget may have several where work was resumed elsewhere."""

    budget_id: str
    budget: float
    hardware_id: str
    precision: str
    device: str | None
    num_requests: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Requests that count of one run of a budget, and when the first and last was sent (UTC); None where none was.

    A run that asked nothing, or only what was asked again since, has none.
    """

    budget_id: str
    run_id: str
    num_requests: int
    first_sent_at: dt.datetime | None
    last_sent_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class CutPrompts:
    """Prompts of a budget that lost their middle to fit."""

    budget_id: str
    num: int


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that a report says.

    Attributes:
        exp_group_id: The group.
        missing: What is not there, in words; () of a complete group.
        task_metric: By what its task is scored.
        dataset: Its data set.
        budgets: Its budgets, largest first.
        bins: A row for each budget and bin, and for all bins, in this order.
        analysis: Whose figures these are.
        intervals: Of means.
        deltas: Changes.
        verdicts: A row for each rule.
        failures: Kinds of failures, by budget and bin.
        messages: What engines said.
        evidence: What shows that budgets were applied.
        energies: By budget and rail.
        violations: What must never be.
        scored: By what.
        warnings: Of runs.
        devices: What answered, by budget.
        pieces: Of which runs the requests that count are, by budget.
        cut: Prompts that lost their middle.
    """

    exp_group_id: str
    missing: tuple[str, ...]
    task_metric: str
    dataset: Dataset
    budgets: tuple[Budget, ...]
    bins: tuple[BinAtBudget, ...]
    analysis: Analysis
    intervals: tuple[Interval, ...]
    deltas: tuple[Delta, ...]
    verdicts: tuple[Verdict, ...]
    failures: tuple[FailureCount, ...]
    messages: tuple[FailureMessage, ...]
    evidence: tuple[Evidence, ...]
    energies: tuple[Energy, ...]
    violations: tuple[Violation, ...]
    scored: tuple[Scored, ...]
    warnings: tuple[RunWarning, ...]
    devices: tuple[Device, ...]
    pieces: tuple[Piece, ...]
    cut: tuple[CutPrompts, ...]

    @property
    def metric(self) -> str:
        """Name of the metric by which answers were scored, or would have been, had there been any."""
        names = sorted({each.metric for each in self.scored if each.metric is not None})
        return ", ".join(names) or self.task_metric

    @property
    def significance(self) -> str | None:
        """`interval` or `none`: whether a drop has to be beyond chance; None where there is no verdict."""
        return self.verdicts[0].significance if self.verdicts else None

    @property
    def machines(self) -> tuple[tuple[str, str], ...]:
        """Every device with the precision that it answered in: more than one have times that cannot be compared."""
        return tuple(sorted({(each.hardware_id, each.precision) for each in self.devices}))

    @property
    def bin_indices(self) -> list[int]:
        """Bins, short ones first, empty ones too."""
        return sorted({each.bin_index for each in self.bins} - {ALL_BINS})

    @property
    def confidence(self) -> float | None:
        """Confidence of all intervals; None where there is none."""
        return self.intervals[0].confidence if self.intervals else None

    def bin(self, budget: Budget, bin_index: int = ALL_BINS) -> BinAtBudget:
        """Return a bin at a budget; all bins together unless one is named."""
        return next(each for each in self.bins if each.budget_id == budget.budget_id and each.bin_index == bin_index)

    def interval(self, budget: Budget, subject: str, bin_index: int = ALL_BINS) -> Interval | None:
        """Return the interval of a mean; None where there is no such mean."""
        wanted = (budget.budget_id, bin_index, subject)
        found = (each for each in self.intervals if (each.budget_id, each.bin_index, each.subject) == wanted)
        return next(found, None)

    def delta(
        self, comparison: str, budgets: tuple[float, float], subject: str, bin_index: int = ALL_BINS
    ) -> Delta | None:
        """Return the change from the first of two budgets to the second; None where they were not compared."""
        wanted = (comparison, *budgets, subject, bin_index)
        found = (
            each
            for each in self.deltas
            if (each.comparison, each.from_budget, each.to_budget, each.subject, each.bin_index) == wanted
        )
        return next(found, None)

    def verdict(self, comparison: str) -> Verdict | None:
        """Return what a rule says."""
        return next((each for each in self.verdicts if each.comparison == comparison), None)

    @property
    def flags(self) -> tuple[str, ...]:
        """What the analysis finds odd, each as `code: text`, in its order."""
        return tuple(dict.fromkeys(flag for each in self.verdicts for flag in each.flags or ()))
