"""Read everything that a report of a group says, by SQL, from the lake alone."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from groundlake.errors import UsageError
from groundlake.query_files import quoted
from groundlake.snapshot import Snapshot
from groundlake.transition.report import facts
from groundlake.transition.scope import looked_at
from groundlake.transition.standing import SCORE, hash_of, last_analysis, require_ready

if TYPE_CHECKING:
    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings

Row = TypeVar("Row")

HELD = ("kv_current_datasets", "kv_budgets", "kv_current_requests", "kv_bin_stats", "kv_run_summary")
"""Views that are worked out once: several questions read them."""
NAMES = (
    *HELD,
    *("kv_current_analyses", "kv_transitions", "kv_intervals", "kv_deltas", "kv_failure_summary", "kv_integrity"),
    *("kv_current_runs", "kv_runs", "kv_requests", "kv_failures", "run_energy", "runs"),
)
LEFT_OUT = {
    "kv_examples": ("question", "context", "answers"),
    "kv_responses": ("text", "reasoning", "kept_entries"),
    "kv_scores": ("normalized_answer", "normalized_gold"),
}
"""Texts are most of a group, and a report shows none of them."""

BUDGETS = """
SELECT {columns}
FROM kv_run_summary
JOIN (
    SELECT
        k.exp_group_id, k.budget_id, k.policy_json, k.engine_version, k.temperature, k.max_tokens, k.seed,
        least(k.repeats, {repeats}) AS repeats, k.prompt_hash, k.settings_hash, k.forced,
        n.base_url, n.settings_json, r.tool_version, r.python_version, r.torch_version, r.os
    FROM kv_budgets k
    JOIN kv_runs n ON n.hardware_id = k.hardware_id AND n.run_id = k.run_id
    JOIN runs r ON r.hardware_id = k.hardware_id AND r.run_id = k.run_id
) USING (exp_group_id, budget_id)
WHERE exp_group_id = {group}
ORDER BY budget DESC
"""

DELTAS = """
SELECT {columns}
FROM kv_deltas d
JOIN (SELECT exp_group_id, budget_id AS from_budget_id, budget AS from_budget FROM kv_budgets)
    USING (exp_group_id, from_budget_id)
JOIN (SELECT exp_group_id, budget_id AS to_budget_id, budget AS to_budget FROM kv_budgets)
    USING (exp_group_id, to_budget_id)
WHERE exp_group_id = {group} AND d.run_id = {analysis}
ORDER BY comparison, to_budget DESC, from_budget DESC, bin_index, subject
"""

MESSAGES = """
SELECT c.failure, f.message, count(*) AS num, sum(count(*)) OVER (PARTITION BY c.failure) AS total
FROM kv_current_requests c
JOIN kv_failures f ON f.hardware_id = c.hardware_id AND f.run_id = c.run_id AND f.request_id = c.request_id
WHERE c.exp_group_id = {group} AND c.is_selected AND c.state = 'failed'
GROUP BY c.failure, f.message
QUALIFY row_number() OVER (PARTITION BY c.failure ORDER BY count(*) DESC, f.message NULLS LAST) = 1
ORDER BY total DESC, failure
"""

EVIDENCE = """
SELECT budget_id, budget_verified, min(budget_evidence) AS example, count(*) AS num
FROM kv_current_requests
WHERE exp_group_id = {group} AND is_selected AND state = 'answered'
GROUP BY budget_id, budget_verified
ORDER BY budget_id, budget_verified NULLS LAST
"""

# A budget that was asked in several runs has the energy of all of them, or none.
ENERGIES = """
WITH budget_runs AS (
    SELECT
        k.budget_id, k.hardware_id, k.run_id, count(CASE WHEN q.num_attempts > 0 THEN 1 END) AS num_requests
    FROM kv_runs k
    LEFT JOIN kv_requests q ON q.hardware_id = k.hardware_id AND q.run_id = k.run_id
    WHERE k.exp_group_id = {group}
        AND k.budget_id IN (SELECT budget_id FROM kv_budgets WHERE exp_group_id = {group})
    GROUP BY k.budget_id, k.hardware_id, k.run_id
),
counted AS (
    SELECT budget_id, count(*) AS num_runs, CAST(sum(num_requests) AS BIGINT) AS num_requests
    FROM budget_runs
    GROUP BY budget_id
),
rails AS (
    SELECT
        b.budget_id, e.source, e.rail, count(*) AS num_runs, count(coalesce(e.energy_j, e.counter_energy_j)) AS known,
        sum(coalesce(e.energy_j, e.counter_energy_j)) AS energy_j,
        min(coalesce(e.reason, '') || CASE WHEN e.counter_reason IS NULL THEN '' ELSE '; ' || e.counter_reason END)
            AS reason
    FROM budget_runs b
    JOIN run_energy e ON e.hardware_id = b.hardware_id AND e.run_id = b.run_id
    GROUP BY b.budget_id, e.source, e.rail
)
SELECT
    r.budget_id, r.source, r.rail, c.num_requests,
    CASE WHEN r.known = c.num_runs THEN r.energy_j END AS energy_j,
    CASE
        WHEN r.known = c.num_runs THEN NULL
        WHEN r.num_runs < c.num_runs THEN 'not every run of the budget has readings'
        ELSE r.reason
    END AS reason
FROM rails r
JOIN counted c ON c.budget_id = r.budget_id
ORDER BY r.budget_id, r.source, r.rail
"""

VIOLATIONS = """
SELECT violation, count(*) AS num
FROM kv_integrity
WHERE exp_group_id = {group}
GROUP BY violation
ORDER BY violation
"""

SCORED = """
SELECT metric, scorer_version, count(*) AS num
FROM kv_current_requests
WHERE exp_group_id = {group} AND is_selected AND is_scored
GROUP BY metric, scorer_version
ORDER BY metric, scorer_version
"""

WARNINGS = """
SELECT k.budget, unnest(r.warnings) AS warning
FROM kv_runs k
JOIN runs r ON r.hardware_id = k.hardware_id AND r.run_id = k.run_id
WHERE k.exp_group_id = {group}
    AND k.budget_id IN (SELECT budget_id FROM kv_budgets WHERE exp_group_id = {group})
ORDER BY k.budget DESC, r.started_at, warning
"""

DEVICES = """
SELECT k.budget_id, k.budget, k.hardware_id, k.precision, r.device, count(*) AS num_requests
FROM kv_current_runs k
JOIN runs r ON r.hardware_id = k.hardware_id AND r.run_id = k.run_id
JOIN kv_requests q ON q.hardware_id = k.hardware_id AND q.run_id = k.run_id
WHERE k.exp_group_id = {group}
GROUP BY k.budget_id, k.budget, k.hardware_id, k.precision, r.device
ORDER BY k.budget DESC, k.hardware_id, k.precision, r.device NULLS LAST
"""

PIECES = """
SELECT
    budget_id, run_id, count(*) AS num_requests,
    min(CASE WHEN num_attempts > 0 THEN sent_at END) AS first_sent_at,
    max(CASE WHEN num_attempts > 0 THEN sent_at END) AS last_sent_at
FROM kv_current_requests
WHERE exp_group_id = {group} AND is_selected
GROUP BY budget_id, run_id
ORDER BY budget_id, first_sent_at NULLS LAST, run_id
"""

CUT = """
SELECT budget_id, count(*) AS num
FROM kv_current_requests
WHERE exp_group_id = {group} AND is_selected AND prompt_truncation <> 'none'
GROUP BY budget_id
ORDER BY budget_id
"""


def require_content(settings: Settings, lake: Lake, *, allow_partial: bool = False) -> facts.Content:
    """Read what a report says, when the group is ready for one.

    Args:
        settings: Which group, and what it has when it is complete.
        lake: Where it is; nothing else is read.
        allow_partial: Report what is there where requests or scores are missing.

    Raises:
        UsageError: A step comes first; the message names it. An analysis of other answers than the group has now is
            refused always: figures of then beside counts of now would contradict each other. So are answers of other
            settings or data than those of now.
    """
    group = str(settings.output.exp_group_id)
    ready = require_ready(settings, lake, needs=SCORE, allow_partial=allow_partial)
    last = last_analysis(lake, group)
    if last is None or last.config_hash != hash_of(settings, ready.requests):
        why = "was not analysed yet" if last is None else "has other answers or settings than its analysis was made of"
        with_what = " --allow-partial" if ready.missing else ""
        raise UsageError(f"group {group} {why}\n  lake kv analyze{with_what} first")
    return read_content(settings, lake, last.run_id, missing=ready.missing, task_metric=ready.task.metric)


class _Group:
    """Asks for rows of one group.

    Args:
        settings: Which group, and what of it is looked at.
        lake: Where it is; it is read at one moment.
        analysis: The run of its analysis.
    """

    def __init__(self, settings: Settings, lake: Lake, analysis: str) -> None:
        self.name = str(settings.output.exp_group_id)
        self._repeats = settings.decoding.repeats
        self._analysis = analysis
        self._state = Snapshot(lake, NAMES, held=HELD, left_out=LEFT_OUT, only=looked_at(settings))

    def rows(self, kind: type[Row], sql: str) -> tuple[Row, ...]:
        """Run a query, and make each row one of this kind: its fields are the columns."""
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        text = sql.format(
            columns=", ".join(names),
            group=quoted(self.name),
            analysis=quoted(self._analysis),
            repeats=self._repeats,
        )
        return tuple(kind(**_of(names, row)) for row in self._state.ask(text).iter_rows(named=True))

    def of_view(self, kind: type[Row], view: str, order: str, *, of_analysis: bool = False) -> tuple[Row, ...]:
        """Return rows of a view as they are."""
        only = " AND run_id = {analysis}" if of_analysis else ""
        sql = f"SELECT {{columns}} FROM {view} WHERE exp_group_id = {{group}}{only} ORDER BY {order}"  # noqa: S608 - our own names
        return self.rows(kind, sql)


def _of(names: list[str], row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def read_content(
    settings: Settings, lake: Lake, analysis: str, *, missing: tuple[str, ...], task_metric: str
) -> facts.Content:
    """Read what a report says of a group, all of it at one moment.

    Args:
        settings: Which group, and what of it is looked at.
        lake: Where it is.
        analysis: The run of its analysis, whose figures are taken.
        missing: What the group lacks, in words.
        task_metric: By what the group's task is scored.
    """
    group = _Group(settings, lake, analysis)
    of_bins = "budget DESC, bin_index"
    return facts.Content(
        exp_group_id=group.name,
        missing=missing,
        task_metric=task_metric,
        dataset=group.of_view(facts.Dataset, "kv_current_datasets", "run_id")[0],
        budgets=group.rows(facts.Budget, BUDGETS),
        bins=group.of_view(facts.BinAtBudget, "kv_bin_stats", of_bins),
        analysis=group.of_view(facts.Analysis, "kv_current_analyses", "run_id", of_analysis=True)[0],
        intervals=group.of_view(facts.Interval, "kv_intervals", "budget_id, bin_index, subject", of_analysis=True),
        deltas=group.rows(facts.Delta, DELTAS),
        verdicts=group.of_view(facts.Verdict, "kv_transitions", "comparison", of_analysis=True),
        failures=group.of_view(facts.FailureCount, "kv_failure_summary", f"{of_bins}, failure"),
        messages=group.rows(facts.FailureMessage, MESSAGES),
        evidence=group.rows(facts.Evidence, EVIDENCE),
        energies=group.rows(facts.Energy, ENERGIES),
        violations=group.rows(facts.Violation, VIOLATIONS),
        scored=group.rows(facts.Scored, SCORED),
        warnings=group.rows(facts.RunWarning, WARNINGS),
        devices=group.rows(facts.Device, DEVICES),
        pieces=group.rows(facts.Piece, PIECES),
        cut=group.rows(facts.CutPrompts, CUT),
    )
