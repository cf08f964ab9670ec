"""What came of requests as rows of the lake, first as a journal can hold them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from groundlake.llm.answers import MOST
from groundlake.llm.generation import PER_REQUEST_BATCH, Attempt, Failure, Generation
from groundlake.schemas.transition import KvAttempts, KvFailures, KvRequests, KvResponses, KvRuns
from groundlake.transition.engines.base import EngineAnswer
from groundlake.transition.scoring.failures import (
    CONTEXT_LENGTH_EXCEEDED,
    FAILURES,
    Spoken,
    classify,
    is_truncated,
    strip_reasoning,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from groundlake.schemas.base import Table
    from groundlake.transition.inference.journal import Rows
    from groundlake.transition.inference.plan import PlannedRequest

FILLED_IN: Final = ("hardware_id", "precision", "model", "batch", "run_id", "part")
"""Columns that the lake fills in from the run."""
TABLES: Final[tuple[type[Table], ...]] = (KvRequests, KvAttempts, KvResponses, KvFailures)
MS: Final = 1000.0
ENGINE: Final = "engine"
"""Code of a failure: the engine stopped with an error of its own."""


@dataclass(frozen=True)
class Start:
    """When a run began, on both clocks.

    Attributes:
        at: By the day, aware, UTC.
        s: By `time.perf_counter`.
    """

    at: dt.datetime
    s: float

    @classmethod
    def now(cls) -> Start:
        """Return the present."""
        return cls(dt.datetime.now(dt.timezone.utc), perf_counter())

    def day(self, moment_s: float) -> str:
        """Return a moment by the day, as a journal can hold it."""
        return (self.at + dt.timedelta(seconds=moment_s - self.s)).isoformat()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a request ended: in a response or in a failure, never in both.

    Attributes:
        rows: Its rows by table.
        failure: Why there is no answer that can be scored; None where there is one.
        message: What is said of it.
        error: What the engine says went wrong; None of an answer, also of one that is none by its text.
    """

    rows: Rows
    failure: str | None
    message: str | None = None
    error: Failure | None = None


def outcome_of(request: PlannedRequest, answer: EngineAnswer, start: Start) -> Outcome:
    """Return what came of a request that was sent."""
    generation = answer.generation
    attempts = generation.attempts or (_only_attempt(generation),)
    spoken = strip_reasoning(generation.text)
    failure = classify(generation.error, generation.text, generation.finish_reason)
    rows: Rows = {
        "kv_requests": [_request(request, start.day(attempts[0].started_s), len(attempts))],
        "kv_attempts": [_attempt(request, number, each, start) for number, each in enumerate(attempts, start=1)],
    }
    if failure is None:
        rows["kv_responses"] = [_response(request, answer, spoken)]
        return Outcome(rows=rows, failure=None)
    message = _words(failure, generation.finish_reason) if generation.error is None else generation.error.message
    status = attempts[-1].status if generation.error is None else generation.error.status
    came = generation.text or generation.reasoning
    rows["kv_failures"] = [_failure(request, failure, message, status, came)]
    return Outcome(rows=rows, failure=failure, message=message, error=generation.error)


def outcome_unsent(request: PlannedRequest, why: str, start: Start) -> Outcome:
    """Return what came of a request that does not fit into the model, and was not sent."""
    rows: Rows = {
        "kv_requests": [_request(request, start.day(perf_counter()), 0)],
        "kv_failures": [_failure(request, CONTEXT_LENGTH_EXCEEDED, why, None, "")],
    }
    return Outcome(rows=rows, failure=CONTEXT_LENGTH_EXCEEDED, message=why)


def answer_of_error(error: Exception, sent_s: float) -> EngineAnswer:
    """Return what came of a request where the engine raised an error: it is of this request alone."""
    first = next(iter(str(error).splitlines()), "")
    return EngineAnswer(
        generation=Generation(
            text="",
            sent_s=sent_s,
            finished_s=perf_counter(),
            token_timing=PER_REQUEST_BATCH,
            error=Failure(code=ENGINE, message=f"{type(error).__name__}: {first}"),
        ),
        budget_verified=None,
        evidence="there is no answer",
    )


def run_frames(run: Mapping[str, Any], outcomes: Iterable[Rows]) -> dict[str, pl.DataFrame]:
    """Return the frames of a run, to be written; tables without a row are left out.

    Args:
        run: Its row of `kv_runs`.
        outcomes: What came of its requests, as a journal holds it.
    """
    rows: Rows = {}
    for outcome in outcomes:
        for table, some in outcome.items():
            rows.setdefault(table, []).extend(some)
    frames = {table.table_name(): _frame(table, rows.get(table.table_name(), ())) for table in TABLES}
    return {"kv_runs": _frame(KvRuns, [run])} | {name: frame for name, frame in frames.items() if not frame.is_empty()}


def _frame(table: type[Table], rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    schema = {name: dtype for name, dtype in table.polars_schema().items() if name not in FILLED_IN}
    read = [{name: _read(row.get(name), dtype) for name, dtype in schema.items()} for row in rows]
    return pl.DataFrame(read, schema=schema)


def _read(value: object, dtype: pl.DataType) -> object:
    """Bring back what JSON has no type for: moments; and a half of a character, which no file can hold."""
    if not isinstance(value, str):
        return value
    if dtype == pl.Datetime:
        return dt.datetime.fromisoformat(value).astimezone(dt.timezone.utc).replace(tzinfo=None)
    return value.encode("utf-8", "replace").decode()


def _only_attempt(generation: Generation) -> Attempt:
    """Return the attempt of an engine that makes one only."""
    return Attempt(
        started_s=generation.sent_s,
        ended_s=generation.finished_s,
        status=None if generation.error is None else generation.error.status,
        error=generation.error,
    )


def _request(request: PlannedRequest, sent_at: str, num_attempts: int) -> dict[str, Any]:
    source = request.asked.source
    return {
        "exp_group_id": request.exp_group_id,
        "budget_id": request.budget_id,
        "request_id": request.request_id,
        "example_id": source.example.example_id,
        "bin_index": source.bin_index,
        "repeat": request.repeat,
        "prompt_sha256": request.asked.prompt_sha256,
        "prompt_truncation": request.asked.truncation,
        "sent_at": sent_at,
        "num_attempts": num_attempts,
    }


def _attempt(request: PlannedRequest, number: int, attempt: Attempt, start: Start) -> dict[str, Any]:
    failure = None if attempt.error is None else classify(attempt.error, None, None)
    return {
        "request_id": request.request_id,
        "attempt": number,
        "status": "ok" if attempt.error is None else "failed",
        "started_s": attempt.started_s - start.s,
        "duration_s": attempt.ended_s - attempt.started_s,
        "waited_s": attempt.waited_s,
        "http_status": attempt.status,
        "failure": failure,
        "message": None if attempt.error is None else attempt.error.message,
    }


def _response(request: PlannedRequest, answer: EngineAnswer, spoken: Spoken) -> dict[str, Any]:
    first_s = answer.time_to_first_token_s
    return {
        "request_id": request.request_id,
        "text": spoken.text,
        "reasoning": (answer.generation.reasoning + spoken.reasoning) or None,
        "finish_reason": answer.finish_reason,
        "is_truncated": is_truncated(answer.finish_reason),
        "latency_ms": answer.latency_s * MS,
        "time_to_first_token_ms": None if first_s is None else first_s * MS,
        "prompt_tokens": _count(answer.prompt_tokens),
        "completion_tokens": _count(answer.completion_tokens),
        "peak_memory_bytes": answer.peak_memory_bytes,
        "kept_fraction": _share(answer.kept_fraction),
        "kept_entries": None if answer.kept_tokens is None else list(answer.kept_tokens),
        "cache_entries": answer.compressed_tokens,
        "budget_verified": answer.budget_verified,
        "budget_evidence": answer.evidence or None,
    }


def _words(failure: str, finish_reason: str | None) -> str:
    """Say what is wrong with an answer that came whole: thoughts that fill all its tokens leave none for a text."""
    ended = "; the limit of tokens (decoding.max_tokens) ended it" if is_truncated(finish_reason) else ""
    return f"{FAILURES[failure]}{ended}"


def _count(count: int | None) -> int | None:
    """Return a number that a server tells; None where it can be none: a single wrong one must not lose a run."""
    return count if count is not None and 0 <= count <= MOST else None


def _share(fraction: float | None) -> float | None:
    return fraction if fraction is not None and 0 <= fraction <= 1 else None


def _failure(request: PlannedRequest, failure: str, message: str, status: int | None, text: str) -> dict[str, Any]:
    return {
        "request_id": request.request_id,
        "failure": failure,
        "message": message,
        "http_status": status,
        "text": text or None,
    }
