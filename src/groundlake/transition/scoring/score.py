"""Scores the answers of a group: those that have no score by the rules of now. A failure has none, and gets none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake import __version__
from groundlake.errors import UsageError
from groundlake.intake import utc_now
from groundlake.query_files import quoted
from groundlake.schemas import KvScores
from groundlake.transition.scope import of_requests
from groundlake.transition.scoring.answer import score_answer
from groundlake.transition.standing import RUN, require_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.scoring.tasks import Task

KIND = "kv_score"
KEYS = ("hardware_id", "precision", "model", "batch", "run_id")
ANSWER = ("example_id", "text", "finish_reason", "answers", "all_classes")
FIGURES = ("metric", "accuracy", "exact_match", "f1", "normalized_answer", "normalized_gold", "scorer_version")
TOLD_EVERY = 1000
"""Answers between two words about the progress."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What scoring a group came to.

    Attributes:
        scored: Answers that were scored now.
        known: Answers that had a score by the same rules.
        failed: Requests without an answer that can be scored.
        missing: Requests that ended in neither, in words; () for none.
        scorer_version: The rules.
    """

    scored: int
    known: int
    failed: int
    missing: tuple[str, ...]
    scorer_version: str


def score_group(
    settings: Settings,
    lake: Lake,
    *,
    allow_partial: bool = False,
    run_id: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Scoring:
    """Score every answer of a group that has no score by the rules of now; each run's scores are a run of their own.

    Args:
        settings: Which group.
        lake: Where it is.
        allow_partial: Score although requests are missing.
        run_id: Only answers of this run, or of the budget with this id; others are not looked at.
        on_progress: Called with the answers scored and their number.

    Raises:
        UsageError: The group is not prepared or not asked, or its answers are of other settings or data; or requests
            are missing and that is not allowed, or a right answer has not the form that the task's metric needs.
        MissingDependencyError: The task needs a library that is not installed.
    """
    group = str(settings.output.exp_group_id)
    ready = require_ready(settings, lake, needs=RUN, allow_partial=allow_partial or run_id is not None)
    only = of_requests(settings) if run_id is None else f"{quoted(run_id)} IN (run_id, budget_id)"
    rows = _unscored(lake, group, ready.version, only)
    made = _scored(ready.task, rows, group, on_progress)
    lake.write_many(_runs(made))
    return Scoring(
        scored=made.height,
        known=sum(each.scored for each in ready.budgets),
        failed=sum(each.failed for each in ready.budgets),
        missing=ready.missing,
        scorer_version=ready.version,
    )


def _unscored(lake: Lake, group: str, version: str, only: str) -> pl.DataFrame:
    """Read the answers without a score by these rules, with what they are held against."""
    return lake.sql(
        f"SELECT {', '.join(KEYS)}, request_id, {', '.join(ANSWER)} "  # noqa: S608 - literals
        f"FROM kv_answers WHERE exp_group_id = {quoted(group)} AND state = 'answered' "
        f"AND scorer_version IS DISTINCT FROM {quoted(version)} AND {only} ORDER BY run_id, request_id"
    ).pl()


def _scored(task: Task, rows: pl.DataFrame, group: str, on_progress: Callable[[int, int], None]) -> pl.DataFrame:
    """Return the rows of `kv_scores` of answers, with the keys of the runs that answered."""
    scores = []
    for example_id, text, finish_reason, answers, classes in rows.select(ANSWER).iter_rows():
        try:
            scores.append(score_answer(task, text, answers, classes, finish_reason=finish_reason))
        except UsageError as error:
            raise UsageError(f"example {example_id}: {error}") from None
        if len(scores) % TOLD_EVERY == 0 or len(scores) == rows.height:
            on_progress(len(scores), rows.height)
    figures = [
        pl.Series(name, [getattr(each, name) for each in scores], dtype=KvScores.polars_schema()[name])
        for name in FIGURES
    ]
    return rows.select(*KEYS, "request_id", answer_run_id="run_id").with_columns(*figures, exp_group_id=pl.lit(group))


def _runs(scores: pl.DataFrame) -> Iterator[tuple[dict[str, object], dict[str, pl.DataFrame]]]:
    """Return a run of scores for each run of answers."""
    for keys, rows in scores.group_by(KEYS, maintain_order=True):
        *where, answered_by = keys
        ledger = dict(zip(KEYS[:-1], where, strict=True)) | {
            "kind": KIND,
            "parent_run_id": answered_by,
            "session_id": rows["exp_group_id"][0],
            "tool_version": __version__,
            "started_at": utc_now(),
            "started_at_zone_source": "clock",
            "timing_method": "none",
            "timed_runs": rows.height,
        }
        yield ledger, {"kv_scores": rows.drop(KEYS)}
