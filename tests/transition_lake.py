"""Small lakes of KV-cache-budget evaluations, written straight to the contracts, to work answers out by hand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from groundlake.transition.analysis.analysis import analyze, read_requests
from groundlake.transition.configuration.settings import AnalysisSettings
from groundlake.transition.data.prepared import require_summary
from groundlake.transition.inference.identity import epoch_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings

GROUP = "g"
NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - the lake keeps naive UTC
ENTRIES = 100
Row = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a request ended: in an answer with this accuracy (None: not scored yet), in a failure, both or neither.

    Attributes:
        answered: Whether there is an answer.
        accuracy: Its score; exact match is 1 where this is 1.
        failure: Why it failed.
        columns: Further columns of its answer.
        repeat: Which repeat of its example.
        attempts: Statuses of its attempts, each a second long; the failures are RATE_LIMITED.
        message: What the engine said with its failure.
    """

    answered: bool = True
    accuracy: float | None = None
    failure: str | None = None
    columns: Mapping[str, object] = field(default_factory=dict)
    repeat: int = 1
    attempts: Sequence[str] = ("ok",)
    message: str = "it failed"


def right(accuracy: float | None = 1.0, **columns: object) -> Outcome:
    """An answer with a score; None leaves it unscored."""
    return Outcome(accuracy=accuracy, columns=columns)


def lost(failure: str = "TIMEOUT", message: str = "it failed") -> Outcome:
    """A failure."""
    return Outcome(answered=False, failure=failure, attempts=("failed",), message=message)


def budget_id(budget: float, group: str = GROUP) -> str:
    """The identity of a budget."""
    return f"{group}_{budget:g}"


def request_id(budget: float, example: str, repeat: int = 1, group: str = GROUP) -> str:
    """The identity of a request."""
    return f"{budget_id(budget, group)}_{example}_{repeat}"


def prepared(
    lake: Lake, examples: Mapping[str, int], *, bins: int = 0, hour: float = 0, group: str = GROUP, **dataset: object
) -> str:
    """Write a data set: examples and their bins; the prompts of bin i have 100 * (i + 1) tokens. Returns its run.

    Args:
        lake: Where it goes.
        examples: Bin of each example.
        bins: Bins there are, where the last ones are empty.
        hour: When it was prepared, in hours after noon.
        group: Group it belongs to.
        **dataset: Columns of `kv_datasets`.
    """
    numbers = range(max(bins, max(examples.values(), default=0) + 1))
    inside = {number: sum(each == number for each in examples.values()) for number in numbers}
    row: Row = {
        "exp_group_id": group,
        "dataset_id": "made__recall",
        "task": "recall",
        "tokenizer": "words (approximation)",
        "tokenizer_fingerprint": "t",
        "prompt_hash": "p",
        "population": 2 * len(examples),
        "left_out": 0,
        "selected": len(examples),
        "manifest_sha256": "m",
        "settings_hash": "s",
        "selection_json": "{}",
    }
    shared = {"exp_group_id": group, "dataset_id": "made__recall"}
    rows: list[Row] = [
        {
            **shared,
            "example_id": name,
            "position": place,
            "bin_index": number,
            "prompt_tokens": 100 * (number + 1),
            "question": "Which?",
            "context": "These.",
            "answers": ["this"],
            "all_classes": ["this", "that"],
            "content_sha256": name,
            "line_sha256": name,
            "prompt_sha256": name,
        }
        for place, (name, number) in enumerate(sorted(examples.items(), key=lambda item: (item[1], item[0])))
    ]
    edges: list[Row] = [
        {
            **shared,
            "bin_index": number,
            "tokens_from": 100 * (number + 1) if inside[number] else None,
            "tokens_to": 100 * (number + 1) if inside[number] else None,
            "population": 2 * inside[number],
            "selected": inside[number],
        }
        for number in numbers
    ]
    names = ("dataset_id", "example_id", "prompt_sha256", "prompt_tokens")
    counts: list[Row] = [{name: row[name] for name in names} | {"tokenizer_fingerprint": "t"} for row in rows]
    written = {"kv_datasets": [row | dataset], "kv_examples": rows, "kv_bins": edges, "kv_token_counts": counts}
    keys = {"hardware_id": "none", "precision": "none", "model": "none", "batch": 0}
    return lake.write(keys | _ledger("kv_dataset", hour), **{table: frame(each) for table, each in written.items()})


def asked(
    lake: Lake,
    budget: float,
    outcomes: Mapping[str, Outcome | Sequence[Outcome]],
    *,
    bins: Mapping[str, int] | None = None,
    hour: float = 1,
    group: str = GROUP,
    power_w: Sequence[float] = (),
    begun_s: float = 0.0,
    hardware_id: str = "dev",
    **run: object,
) -> str:
    """Write a run of one budget: how the requests of examples ended. Answers that say so are scored at once.

    Args:
        lake: Where it goes.
        budget: Share of the cache that is kept.
        outcomes: How each example's request ended, or its repeats did, one after the other.
        bins: Bin of each example as it was asked; 0 unless it says otherwise.
        hour: When it began, and its first request was sent, in hours after noon; the others follow by the minute.
        group: Group it belongs to.
        power_w: Readings of a power sensor, one each second, over the window of the run.
        begun_s: When its first attempt began, from the start of the run.
        hardware_id: Device that answered.
        **run: Columns of `kv_runs`; repeats are those of the outcomes unless it says otherwise.
    """
    ended = [
        (name, outcome)
        for name, those in outcomes.items()
        for outcome in ((those,) if isinstance(those, Outcome) else those)
    ]
    told = {"planned_requests": len(ended), "repeats": max((each.repeat for _, each in ended), default=1)}
    facts: dict[str, list[Row]] = {"kv_runs": [_run(budget, group) | told | run]}
    for place, (name, outcome) in enumerate(ended):
        for table, rows in _request(name, outcome, (budget, (bins or {}).get(name, 0), place, group)).items():
            facts.setdefault(table, []).extend(rows)
    for place, row in enumerate(facts.get("kv_requests", [])):
        row["sent_at"] = NOON + dt.timedelta(hours=hour, minutes=place)
    for row in facts.get("kv_attempts", []):
        row["started_s"] = begun_s + float(str(row["started_s"]))
    scores = facts.pop("kv_scores", [])
    keys = {"hardware_id": hardware_id, "precision": "fp32", "model": "small", "batch": 1}
    ledger = _ledger("kv_transition", hour)
    if power_w:
        facts["power_timeseries"] = [_reading(second, power) for second, power in enumerate(power_w)]
        ledger["measured_window_s"] = len(power_w) - 1.0
    written = lake.write(keys | ledger, **{table: frame(rows) for table, rows in facts.items() if rows})
    if scores:
        made = frame([row | {"answer_run_id": written} for row in scores])
        lake.write(keys | _ledger("kv_score", hour + 0.5), kv_scores=made)
    return written


def analyzed(lake: Lake, settings: AnalysisSettings, *, hour: float = 5, group: str = GROUP) -> str:
    """Write an analysis of a group as it is. Returns its run."""
    ledger = _ledger("kv_analysis", hour) | {"hardware_id": "none", "session_id": group, "config_hash": "c"}
    return lake.write(ledger, **analyze(read_requests(lake, group), group, settings).frames)


def epoch_of(settings: Settings, lake: Lake) -> str:
    """What a run has to be of to count, under these settings: `settings_hash` of `kv_runs`."""
    return epoch_hash(settings, require_summary(lake, str(settings.output.exp_group_id)))


def score(request: str, accuracy: float, group: str = GROUP, answer_run_id: str = "none") -> Row:
    """A row of `kv_scores`."""
    return {
        "exp_group_id": group,
        "request_id": request,
        "answer_run_id": answer_run_id,
        "metric": "qa_f1",
        "accuracy": accuracy,
        "exact_match": float(accuracy == 1),
        "f1": accuracy,
        "normalized_answer": "this",
        "normalized_gold": "this",
        "scorer_version": "1",
    }


def frame(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Rows as a frame; a column that a row leaves out is NULL in it."""
    return pl.DataFrame(rows, infer_schema_length=None)


def fill(lake: Lake) -> None:
    """Write a group with every situation that the views of `queries/transition` tell apart, violations included."""
    examples = {"a": 0, "b": 0, "c": 1, "d": 1}
    prepared(lake, examples | {"gone": 1}, bins=3)
    prepared(lake, examples, bins=3, hour=0.25)
    asked(lake, 1.0, {"a": right(), "b": right(0.75), "c": lost(), "d": right(0.5), "gone": right()}, bins=examples)
    asked(lake, 1.0, {"c": right(0.9, is_truncated=True, latency_ms=None)}, bins=examples, hour=2, planned_requests=4)
    half = {"kept_fraction": 0.5, "cache_entries": ENTRIES, "kept_entries": [50, 50], "budget_verified": True}
    off = half | {"kept_fraction": 0.48, "budget_verified": False}
    asked(
        lake,
        0.5,
        {
            "a": [right(0.8, **half), Outcome(accuracy=0.4, repeat=2, attempts=("failed", "ok"))],
            "b": right(None, **off),
            "c": lost("CONTEXT_LENGTH_EXCEEDED"),
            "d": Outcome(answered=False),
            "stranger": Outcome(failure="REFUSAL"),
        },
        bins=examples,
        hour=3,
        repeats=2,
    )
    keys = {"hardware_id": "dev", "precision": "fp32", "model": "small", "batch": 1}
    lake.write(keys | _ledger("kv_score", 4), kv_scores=frame([score("nobody", 1.0)]))
    analyzed(lake, AnalysisSettings(n_bootstrap=100))
    analyzed(lake, AnalysisSettings(n_bootstrap=200), hour=6)


def _ledger(kind: str, hour: float) -> Row:
    return {
        "kind": kind,
        "timing_method": "none",
        "started_at": NOON + dt.timedelta(hours=hour),
        "started_at_zone_source": "clock",
    }


def _reading(second: int, power_w: float) -> Row:
    """A row of `power_timeseries`."""
    return {
        "phase": "measure",
        "source": "nvml",
        "rail": "gpu",
        "timestamp_s": float(second),
        "power_w": power_w,
        "averaging_s": 0.0,
    }


def _run(budget: float, group: str) -> Row:
    return {
        "exp_group_id": group,
        "dataset_id": "made__recall",
        "dataset_run_id": "d",
        "budget_id": budget_id(budget, group),
        "policy": "snapkv",
        "policy_json": "{}",
        "budget": budget,
        "engine": "transformers",
        "how_applied": "in_process",
        "temperature": 0.0,
        "max_tokens": 8,
        "prompt_hash": "p",
        "tokenizer_fingerprint": "t",
        "settings_hash": "s",
        "settings_json": "{}",
    }


def _request(name: str, outcome: Outcome, where: tuple[float, int, int, str]) -> dict[str, list[Row]]:
    """Rows of one request; `where` is its budget, its bin, its place in the run and its group."""
    budget, bin_index, place, group = where
    own: Row = {"request_id": request_id(budget, name, outcome.repeat, group)}
    request: Row = own | {
        "exp_group_id": group,
        "budget_id": budget_id(budget, group),
        "example_id": name,
        "bin_index": bin_index,
        "repeat": outcome.repeat,
        "prompt_sha256": name,
        "prompt_truncation": "none",
        "sent_at": NOON,
        "num_attempts": len(outcome.attempts),
    }
    attempts: list[Row] = [
        own
        | {
            "attempt": number,
            "status": status,
            "started_s": 2.0 * place + number - 1,
            "duration_s": 1.0,
            "waited_s": 0.5 if number > 1 else None,
            "failure": "RATE_LIMITED" if status == "failed" else None,
        }
        for number, status in enumerate(outcome.attempts, start=1)
    ]
    response: Row = {
        "text": "this",
        "finish_reason": "stop",
        "is_truncated": False,
        "latency_ms": 100.0 * (place + 1),
        "time_to_first_token_ms": 10.0 * (place + 1),
        "prompt_tokens": 100,
        "completion_tokens": 4,
    }
    failure: Row = own | {"failure": outcome.failure, "message": outcome.message}
    scored = outcome.answered and outcome.accuracy is not None
    return {
        "kv_requests": [request],
        "kv_attempts": attempts,
        "kv_responses": [own | response | dict(outcome.columns)] if outcome.answered else [],
        "kv_failures": [failure] if outcome.failure else [],
        "kv_scores": [score(str(own["request_id"]), outcome.accuracy or 0.0, group)] if scored else [],
    }
