"""How far a group is: which requests of each budget are answered and scored, and what its last analysis was made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import UsageError
from groundlake.query_files import quoted
from groundlake.transition.analysis.analysis import read_requests
from groundlake.transition.analysis.tables import COLUMNS
from groundlake.transition.data.prepared import require_lake, require_summary
from groundlake.transition.inference.guard import require_asked_so
from groundlake.transition.scope import of_requests
from groundlake.transition.scoring.answer import scorer_version
from groundlake.transition.scoring.tasks import find_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.prepared import Summary
    from groundlake.transition.scoring.tasks import Task

RUN, SCORE = "run", "score"


@dataclass(frozen=True, kw_only=True)
class BudgetStanding:
    """How far one budget is.

    Attributes:
        budget: Fraction kept.
        planned: Requests that it has in all: examples of the prepared data set, times repeats.
        answered: Those with an answer.
        failed: Those without an answer that can be scored.
        scored: Answers with a score by the rules of now.
    """

    budget: float
    planned: int
    answered: int
    failed: int
    scored: int

    @property
    def missing(self) -> int:
        """Requests that ended in neither an answer nor a failure."""
        return self.planned - self.answered - self.failed

    @property
    def unscored(self) -> int:
        """Answers without a score."""
        return self.answered - self.scored


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A group that a stage may work on.

    Attributes:
        task: Its task.
        version: The scoring rules of now.
        budgets: How far each budget of the settings is.
        requests: The requests that the settings look at, as `read_requests` reads them.
        missing: What is missing, in words, where that is allowed.
    """

    task: Task
    version: str
    budgets: tuple[BudgetStanding, ...]
    requests: pl.DataFrame
    missing: tuple[str, ...]


def require_ready(settings: Settings, lake: Lake, *, needs: str, allow_partial: bool) -> Ready:
    """Return how far a group is, where a stage behind `run` may work on it.

    Args:
        settings: Which group, and what it has when it is complete.
        lake: Where it is.
        needs: `run`, or `score` which needs both.
        allow_partial: Go on with what is there.

    Raises:
        UsageError: The group is not prepared, or its answers are of other settings or data than these, or something is
            missing and that is not allowed.
    """
    group = str(settings.output.exp_group_id)
    prepared = require_summary(lake, group)
    require_asked_so(settings, prepared, lake)
    task = find_task(prepared.task)
    version = scorer_version(task)
    requests = read_requests(lake, group, of_requests(settings))
    budgets = standing(settings, requests, prepared, version)
    missing = require_complete(budgets, group, needs=needs, allow_partial=allow_partial)
    return Ready(task=task, version=version, budgets=budgets, requests=requests, missing=missing)


def standing(settings: Settings, requests: pl.DataFrame, prepared: Summary, version: str) -> tuple[BudgetStanding, ...]:
    """Return how far each budget of the settings is, in their order, by these scoring rules.

    Args:
        settings: Which budgets, and how often each example is asked.
        requests: The requests that they look at, as `read_requests` reads them.
        prepared: What is to be asked.
        version: The scoring rules.
    """
    planned = prepared.selected * settings.decoding.repeats
    counted = requests.group_by("budget").agg(
        answered=(pl.col("state") == "answered").sum(),
        failed=(pl.col("state") == "failed").sum(),
        scored=(pl.col("scorer_version") == version).sum(),
    )
    by_budget = {row["budget"]: row for row in counted.iter_rows(named=True)}
    return tuple(
        BudgetStanding(
            budget=budget,
            planned=planned,
            **{name: by_budget.get(budget, {}).get(name, 0) for name in ("answered", "failed", "scored")},
        )
        for budget in settings.kv.budgets
    )


def require_complete(
    budgets: Sequence[BudgetStanding], exp_group_id: str, *, needs: str, allow_partial: bool
) -> tuple[str, ...]:
    """Return what is missing, in words, where that is allowed.

    Args:
        budgets: How far each is.
        exp_group_id: Their group.
        needs: `run`, or `score` which needs both.
        allow_partial: Go on with what is there.

    Raises:
        UsageError: Something is missing and that is not allowed, or nothing is there at all.
    """
    lacking = [f"budget {each.budget:g}: {each.missing} of {each.planned} requests" for each in budgets if each.missing]
    step, things, what = RUN, "requests", "have neither an answer nor a failure"
    if not lacking and needs == SCORE:
        lacking = [f"budget {each.budget:g}: {each.unscored} of {each.answered} answers" for each in budgets]
        lacking = [text for text, each in zip(lacking, budgets, strict=True) if each.unscored]
        step, things, what = SCORE, "answers", "have no score"
    if not any(each.answered + each.failed for each in budgets):
        asked = ", ".join(f"{each.budget:g}" for each in budgets)
        partly = "; --allow-partial takes what is there, and there is nothing" if allow_partial else ""
        raise UsageError(
            f"group {exp_group_id}: nothing was asked yet at budget {asked}\n  lake kv {RUN} first{partly}"
        )
    if not lacking or allow_partial:
        return tuple(f"{text} {what}" for text in lacking)
    advice = "; --allow-partial takes what is there, and the report says PARTIAL RUN"
    shown = "\n  ".join(lacking[:3] + ([f"and {len(lacking) - 3} more budgets"] if len(lacking) > 3 else []))  # noqa: PLR2004 - a message is short
    raise UsageError(
        f"group {exp_group_id} is not complete: {things} of it {what}\n  {shown}\n  lake kv {step} first{advice}"
    )


@dataclass(frozen=True, kw_only=True)
class LastAnalysis:
    """The last analysis of a group: the only one that readers take figures from.

    Attributes:
        run_id: Its run.
        config_hash: Hash of its settings and of what it was made of.
    """

    run_id: str
    config_hash: str | None


def last_analysis(lake: Lake, exp_group_id: str) -> LastAnalysis | None:
    """Return the last analysis of a group; None where there is none."""
    if not lake.exists:
        return None
    where = f"exp_group_id = {quoted(exp_group_id)}"
    rows = lake.sql(f"SELECT run_id, config_hash FROM kv_current_analyses WHERE {where}").rows()  # noqa: S608 - a literal
    return LastAnalysis(run_id=rows[0][0], config_hash=rows[0][1]) if rows else None


def analysis_hash(settings: Settings, lake: Lake) -> str:
    """Return the hash of what an analysis would be made of now: settings, scores and failures."""
    return hash_of(settings, read_requests(lake, str(settings.output.exp_group_id), of_requests(settings)))


def hash_of(settings: Settings, requests: pl.DataFrame) -> str:
    """Return the hash of the settings of an analysis and of the requests it is made of, in whatever order they are."""
    ordered = requests.select(COLUMNS.keys()).sort(pl.all())
    content = f"{settings.settings_hash('analyze')}\n{ordered.write_csv()}"
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def budgets_named(lake: Lake, exp_group_id: str, name: str) -> tuple[float, ...]:
    """Return the budgets of a group that a run id, or the id of a budget, stands for.

    Raises:
        UsageError: The group has no such run, or there is no lake.
    """
    require_lake(lake, exp_group_id)
    query = f"SELECT run_id, budget_id, budget FROM kv_current_runs WHERE exp_group_id = {quoted(exp_group_id)}"  # noqa: S608 - a literal
    rows = lake.sql(query).rows()
    found = {budget for run_id, budget_id, budget in rows if name in (run_id, budget_id)}
    if found:
        return tuple(sorted(found, reverse=True))
    known = sorted({(-budget, budget_id) for _, budget_id, budget in rows})
    there = f"budgets are {', '.join(f'{budget_id} ({-budget:g})' for budget, budget_id in known)}"
    raise UsageError(
        f"--run-id {name}: group {exp_group_id} has no such run\n"
        f"  {there if known else 'nothing was asked yet, so that no run and no budget has an id'}\n"
        "  to ask some budgets only: --override 'kv.budgets=[1.0, 0.5]', the whole cache first"
    )
