"""What a run of one budget records of itself, and how it gets into the lake: with all its requests, or not at all."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from groundlake import __version__
from groundlake.errors import ContractViolationError, CorruptLakeError, RunExistsError, UsageError
from groundlake.layout import new_id
from groundlake.machine import gpu_index
from groundlake.query_files import quoted
from groundlake.system import software_facts, system_state
from groundlake.transition.inference import journal
from groundlake.transition.inference.guard import MODEL_FILES, stored_settings
from groundlake.transition.inference.model_files import model_files
from groundlake.transition.inference.rows import run_frames
from groundlake.transition.scoring.failures import (
    CONNECTION,
    ENGINE_ERROR,
    FAILURES,
    RATE_LIMITED,
    TIMEOUT,
    UNKNOWN_FAILURE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from groundlake.power.watch import PowerRecord
    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.prepared import Prepared
    from groundlake.transition.engines.opening import EngineFacts
    from groundlake.transition.inference.journal import Kept, Rows
    from groundlake.transition.inference.plan import Plan, PlannedBudget
    from groundlake.transition.inference.rows import Start

KIND: Final = "kv_transition"
MAY_PASS: Final = frozenset({RATE_LIMITED, TIMEOUT, CONNECTION, ENGINE_ERROR, UNKNOWN_FAILURE})
"""Failures that the next run asks again. To ask the others again until they suit would choose by the outcome."""
LASTING: Final = frozenset(FAILURES) - MAY_PASS
REFUSED: Final = (
    *(ContractViolationError, pl.exceptions.PolarsError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
"""Errors of rows that cannot be written. Those of a disk are others, and pass."""
KILLED: Final = "journal_brought_in: the process that asked was killed; power and its end are not known"

Head = dict[str, Any]
"""What is known of a run before its first request: its columns of the ledger, and its row of `kv_runs`."""


@dataclass(frozen=True, kw_only=True)
class Before:
    """What was asked of a group so far.

    Attributes:
        asked: Its requests that ended, in whatever.
        finished: Those of them that are never asked again: they have an answer, or a failure that stays.
        answered_at: Addresses that answered at least one; None among them stands for this process.
    """

    asked: frozenset[str] = frozenset()
    finished: frozenset[str] = frozenset()
    answered_at: frozenset[str | None] = frozenset()


def asked_before(lake: Lake, exp_group_id: str) -> Before:
    """Return what was asked of a group so far; the identity of a request tells under which settings it was."""
    if not lake.exists:
        return Before()
    joined = "{0}.hardware_id = q.hardware_id AND {0}.run_id = q.run_id"
    of_request = f"{joined} AND {{0}}.request_id = q.request_id"
    rows = lake.sql(
        "SELECT q.request_id, k.base_url, p.request_id IS NOT NULL AS is_answered, f.failure "  # noqa: S608 - a literal
        f"FROM kv_requests q JOIN kv_runs k ON {joined.format('k')} "
        f"LEFT JOIN kv_responses p ON {of_request.format('p')} LEFT JOIN kv_failures f ON {of_request.format('f')} "
        f"WHERE q.exp_group_id = {quoted(exp_group_id)}"
    ).rows()
    return Before(
        asked=frozenset(request for request, *_ in rows),
        finished=frozenset(request for request, _, is_answered, failure in rows if is_answered or failure in LASTING),
        answered_at=frozenset(address for _, address, is_answered, _ in rows if is_answered),
    )


def latest_runs(lake: Lake, exp_group_id: str) -> dict[str, str]:
    """Return the latest run of each budget of a group, by the budget's identity."""
    where = f"exp_group_id = {quoted(exp_group_id)}"
    runs = lake.sql(f"SELECT budget_id, run_id FROM kv_current_runs WHERE {where} ORDER BY place DESC")  # noqa: S608 - a literal
    return dict(runs.rows())  # of several the last one, which is the latest


def repeats_that_count(lake: Lake, exp_group_id: str) -> int | None:
    """Return up to which repeat the views count requests of a group; None where it was not asked yet."""
    if not lake.exists:
        return None
    where = f"exp_group_id = {quoted(exp_group_id)} AND place = 1"
    rows = lake.sql(f"SELECT group_repeats FROM kv_current_runs WHERE {where}").rows()  # noqa: S608 - a literal
    return rows[0][0] if rows else None


def head_of(
    settings: Settings,
    prepared: Prepared,
    plan: Plan,
    planned: PlannedBudget,
    facts: EngineFacts,
    *,
    start: Start,
    parent_run_id: str | None,
    forced: str | None,
) -> Head:
    """Return what is known of a run before its first request, as a journal can hold it.

    Args:
        settings: Under which it asks.
        prepared: Data set that it asks.
        plan: All that is to be asked.
        planned: The budget that it asks.
        facts: What answers.
        start: When it begins.
        parent_run_id: Run of the same budget before it; None for the first one.
        forced: What differs from what the group held, and was let through.
    """
    device = facts.device
    ledger = {
        **software_facts(),
        "run_id": new_id(),
        "kind": KIND,
        "hardware_id": facts.hardware_id,
        "precision": facts.precision,
        "model": facts.model,
        "batch": facts.batch,
        "device": None if device is None else device.split(":", 1)[0],
        "device_index": None if device is None else gpu_index(device),
        "parent_run_id": parent_run_id,
        "session_id": prepared.exp_group_id,
        "config_hash": settings.settings_hash("run"),
        "tool_version": f"groundlake {__version__}",
        "started_at": start.at.isoformat(),
        "started_at_zone_source": "clock",
        "timing_method": "none",
        "system_before": state_of(facts),
    }
    run = {
        "exp_group_id": prepared.exp_group_id,
        "dataset_id": prepared.dataset_id,
        "dataset_run_id": prepared.run_id,
        "budget_id": planned.budget_id,
        "policy": facts.policy,
        "policy_json": facts.policy_json,
        "budget": planned.budget,
        "engine": facts.engine,
        "engine_version": facts.engine_version,
        "base_url": facts.base_url,
        "how_applied": facts.how_applied,
        "temperature": settings.decoding.temperature,
        "max_tokens": plan.max_tokens,
        "seed": settings.decoding.seed,
        "repeats": settings.decoding.repeats,
        "prompt_hash": prepared.prompt_hash,
        "tokenizer_fingerprint": prepared.tokenizer_fingerprint,
        "settings_hash": plan.epoch,
        "settings_json": json.dumps(_kept(settings), sort_keys=True, ensure_ascii=False),
        "planned_requests": len(planned.requests),
        "forced": forced,
    }
    return {"ledger": ledger, "run": run}


def _kept(settings: Settings) -> dict[str, Any]:
    """Return the settings of a run, with the fingerprint of a local model, whose path says nothing of its weights."""
    files = model_files(settings)
    return stored_settings(settings) | ({} if files is None else {MODEL_FILES: files})


def state_of(facts: EngineFacts) -> dict[str, Any] | None:
    """Return the state of this machine; None where another one works."""
    return system_state(facts.device) if facts.is_local and facts.device is not None else None


def commit(
    lake: Lake,
    head: Mapping[str, Any],
    outcomes: Sequence[Rows],
    *,
    power: PowerRecord | None = None,
    **ledger: object,
) -> str:
    """Write a run of one budget, with everything that came of its requests, or nothing.

    Args:
        lake: Where it goes.
        head: As `head_of` gives it.
        outcomes: What came of its requests.
        power: What the sensors said meanwhile.
        **ledger: Further columns of the ledger.

    Returns:
        Its run id.
    """
    row = dict(head["ledger"]) | ledger | ({} if power is None else power.ledger_columns())
    row["started_at"] = dt.datetime.fromisoformat(row["started_at"])
    frames = run_frames(head["run"], outcomes)
    if power is not None and not power.rows.is_empty():
        frames["power_timeseries"] = power.rows
    return lake.write(row, **frames)


@contextmanager
def taken_from(path: Path) -> Iterator[None]:
    """Name the journal whose rows the lake refuses: each next call would end in the same way.

    Raises:
        CorruptLakeError: The lake refuses them.
    """
    try:
        yield
    except REFUSED as error:
        words = next(iter(str(error).splitlines()), "")
        raise CorruptLakeError(
            f"{path}: the lake does not take what this journal of a run holds: {type(error).__name__}: {words}\n"
            "  move it away to go on without it: its requests are asked again. Please report it with the file, which "
            "holds questions and answers"
        ) from error


def bring_in(lake: Lake, folder: Path) -> int:
    """Bring the journals of processes that were killed into the lake, and remove them; returns their requests.

    Raises:
        UsageError: One was written beside another lake.
        CorruptLakeError: One cannot be read, or the lake does not take what it holds.
    """
    brought = 0
    for path in journal.left_behind(folder):
        kept = journal.read(path)
        if kept is not None and kept.outcomes:
            with taken_from(path):
                brought += _bring_in(lake, kept)
        path.unlink()
    return brought


def _bring_in(lake: Lake, kept: Kept) -> int:
    dataset_run = str(kept.head["run"]["dataset_run_id"])
    known = lake.sql(f"SELECT 1 FROM kv_datasets WHERE run_id = {quoted(dataset_run)}").rows()  # noqa: S608 - a literal
    if not known:
        raise UsageError(
            f"{kept.path}: a run that was killed has left it, and {lake.root} has not the data set that it asked\n"
            "  give the --root of that run, or move the file away: its requests are asked again then"
        )
    try:
        commit(lake, kept.head, kept.outcomes, warnings=[KILLED])
    except RunExistsError:  # killed between its last two steps: the lake has it already
        return 0
    return len(kept.outcomes)
