"""The stage that asks: every planned request that has neither an answer nor a failure that stays.

A run of the lake is one budget and one batch of work. What is interrupted, or killed, goes on with the same command:
nothing that has an answer is asked again, and answers that were asked differently are never mixed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from groundlake.errors import LakeEnvironmentError
from groundlake.transition.data.prepare import group_folder
from groundlake.transition.data.prepared import require_prepared
from groundlake.transition.engines.opening import open_engine, require_device_id
from groundlake.transition.inference.asking import Asking, Stop, warm_up
from groundlake.transition.inference.guard import files_of, require_same
from groundlake.transition.inference.journal import Journal, one_process
from groundlake.transition.inference.outcome import BudgetOutcome, RunEvent, RunOutcome
from groundlake.transition.inference.plan import plan
from groundlake.transition.inference.recording import (
    asked_before,
    bring_in,
    commit,
    head_of,
    latest_runs,
    repeats_that_count,
    taken_from,
)
from groundlake.transition.inference.rows import Start
from groundlake.transition.inference.watching import Watch
from groundlake.transition.scoring.tasks import find_task

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.prepared import Prepared
    from groundlake.transition.engines.opening import Opened
    from groundlake.transition.inference.journal import Rows
    from groundlake.transition.inference.plan import Plan, PlannedBudget, PlannedRequest
    from groundlake.transition.inference.recording import Before
    from groundlake.transition.inference.rows import Outcome
    from groundlake.transition.scoring.tasks import Task


STOPPING: Final = "stopping: what has come is kept, and the same command goes on"


def run(
    settings: Settings,
    lake: Lake,
    *,
    force: bool = False,
    hw: str | None = None,
    budgets: Collection[float] | None = None,
    on_event: Callable[[RunEvent], object] = lambda _event: None,
) -> RunOutcome:
    """Ask what a group's data set has to be asked, and write it to the lake: one run for each budget.

    Ctrl-C, and a signal to end, keep what has come: the outcome says `interrupted`. They are listened to in the main
    thread only.

    Args:
        settings: The evaluation.
        lake: Where the data set is, and where runs go.
        force: Begin the group anew where what decides the answers differs from what it holds.
        hw: Hardware id of the runs; None takes the detected one of a local model, and none of an endpoint.
        budgets: Only these of the settings' budgets; None takes all.
        on_event: Called as the engine is opened, and with each request that ends.

    Raises:
        UsageError: The group is not prepared, is asked by another process, or holds answers that were asked
            differently; a budget cannot be applied; or `hw` is no id that its runs can have.
        MissingDependencyError: The engine lacks something.
        LakeEnvironmentError: The endpoint is not there or lets nobody in; what has come is kept. Or the lake cannot be
            written: then the journal is kept, and the next call brings it in.
        CorruptLakeError: The journal of a process that was killed cannot be read.
    """
    require_device_id(settings, lake, hw)  # here too: where nothing is left to ask, no engine is opened
    prepared = require_prepared(lake, str(settings.output.exp_group_id))
    task = find_task(prepared.task)
    folder = group_folder(settings)
    with one_process(folder, lake.root, prepared.exp_group_id):
        brought_in = bring_in(lake, folder)
        forced = require_same(settings, prepared, lake, force=force)
        work = _Work(
            settings=settings,
            lake=lake,
            prepared=prepared,
            task=task,
            plan=plan(settings, prepared, task, files_of(settings, lake)),
            folder=folder,
            forced=forced,
            is_said_anew=forced is not None or counts_fewer(settings, lake),
            before=asked_before(lake, prepared.exp_group_id),
            only=None if budgets is None else frozenset(budgets),
            on_event=on_event,
        )
        if work.chosen:
            _in_a_loop(work, hw)
        return RunOutcome(
            budgets=work.outcomes(),
            interrupted=bool(work.stop),
            brought_in=brought_in,
            forced=forced,
            remark=work.remark,
        )


def missing(settings: Settings, lake: Lake, *, force: bool = False) -> dict[float, int]:
    """Return how many requests of each budget `run` would ask; no engine is opened for it.

    Args:
        settings: The evaluation.
        lake: Where it is.
        force: As `run` is called.

    Raises:
        UsageError: The group is not prepared, or holds answers that were asked differently.
    """
    prepared = require_prepared(lake, str(settings.output.exp_group_id))
    require_same(settings, prepared, lake, force=force)
    planned = plan(settings, prepared, find_task(prepared.task), files_of(settings, lake))
    finished = asked_before(lake, prepared.exp_group_id).finished
    return {each.budget: len(each.without(finished)) for each in planned.budgets}


def counts_fewer(settings: Settings, lake: Lake) -> bool:
    """Whether the latest run of a group had fewer repeats than the settings: further ones do not count before a run."""
    count = repeats_that_count(lake, str(settings.output.exp_group_id))
    return count is not None and count < settings.decoding.repeats


def _in_a_loop(work: _Work, hw: str | None) -> None:
    """Do the work in an event loop; where one runs already (a notebook), in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work.go(hw))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="kv_run") as thread:
        thread.submit(asyncio.run, work.go(hw)).result()


@dataclass(kw_only=True)
class _Work:
    """One call of `run` under way."""

    settings: Settings
    lake: Lake
    prepared: Prepared
    task: Task
    plan: Plan
    folder: Path
    forced: str | None
    is_said_anew: bool
    before: Before
    only: frozenset[float] | None
    on_event: Callable[[RunEvent], object]
    stop: Stop = field(init=False)
    tallies: dict[float, _Tally] = field(default_factory=dict)
    remark: str | None = None

    def __post_init__(self) -> None:
        self.stop = Stop(lambda: self._tell(STOPPING))

    @cached_property
    def chosen(self) -> list[tuple[PlannedBudget, tuple[PlannedRequest, ...]]]:
        """Budgets that are asked, and what is asked of each.

        A group that begins anew, or has more repeats again, needs a run of each budget even where the lake has all
        answers, from before it was asked differently: the latest run says which answers count.
        """
        budgets = [each for each in self.plan.budgets if self.only is None or each.budget in self.only]
        found = [(each, each.without(self.before.finished)) for each in budgets]
        return [(each, requests) for each, requests in found if requests or self.is_said_anew]

    @cached_property
    def total(self) -> int:
        """Requests that are asked."""
        return sum(len(requests) for _, requests in self.chosen)

    def outcomes(self) -> tuple[BudgetOutcome, ...]:
        """Return what came of each budget."""
        finished = self.before.finished
        return tuple(
            self.tallies.get(each.budget, _Tally()).outcome(each, len(each.requests) - len(each.without(finished)))
            for each in self.plan.budgets
            if self.only is None or each.budget in self.only
        )

    async def go(self, hw: str | None) -> None:
        """Open the engine, and ask one budget after the other."""
        with self.stop.heard():
            self._tell("opening the engine")
            async with open_engine(self.settings, self.task, lake=self.lake, hw=hw) as opened:
                self.remark = opened.remark
                parents = latest_runs(self.lake, self.prepared.exp_group_id)
                for planned, requests in self.chosen:
                    if not self.stop and requests and opened.facts(planned.budget).is_local:
                        self._tell(f"budget {planned.budget:g}: warming up")
                        await warm_up(opened.engine, planned.budget, requests[0])
                    if not self.stop:
                        await self._ask(opened, planned, requests, parents.get(planned.budget_id))

    async def _ask(
        self, opened: Opened, planned: PlannedBudget, requests: tuple[PlannedRequest, ...], parent: str | None
    ) -> None:
        """Ask the requests of one budget, and commit what came of them, however it ended."""
        facts, start = opened.facts(planned.budget), Start.now()
        head = head_of(
            self.settings,
            self.prepared,
            self.plan,
            planned,
            facts,
            start=start,
            parent_run_id=parent,
            forced=self.forced,
        )
        tally = self.tallies.setdefault(planned.budget, _Tally())
        with Journal(self.folder, planned.budget_id, head) as journal:

            def on_outcome(outcome: Outcome) -> None:
                journal.add(outcome.rows)
                tally.add(outcome)
                self._tell(f"budget {planned.budget:g}")

            asking = Asking(
                engine=opened.engine,
                budget=planned.budget,
                requests=requests,
                concurrency=self.settings.engine.concurrency,
                is_local=facts.is_local,
                failed_before=self.before.asked if facts.base_url in self.before.answered_at else None,
                start=start,
                stop=self.stop,
                on_outcome=on_outcome,
            )
            watch = Watch(self.settings.power, facts)
            try:
                with watch:
                    await asking.run()
            except BaseException as error:
                with suppress(Exception):  # the journal is still there, and the first error says more
                    self._commit(head, tally, watch, [f"broken_off: {type(error).__name__}: {error}"])
                    journal.path.unlink()
                raise
            with taken_from(journal.path):
                self._commit(head, tally, watch, self._warnings(asking, requests))
            journal.path.unlink()
        if asking.asked.dead is not None:
            raise LakeEnvironmentError(
                f"budget {planned.budget:g}: none of the first {tally.asked} was answered: {asking.asked.dead}\n"
                "  nothing is lost: mend it, and the same command goes on with what has no answer"
            )

    def _commit(self, head: Mapping[str, object], tally: _Tally, watch: Watch, warnings: list[str]) -> None:
        if not tally.rows and not self.is_said_anew:
            return
        tally.run_id = commit(
            self.lake,
            head,
            tally.rows,
            power=watch.record,
            warnings=warnings or None,
            **watch.ledger,
        )

    def _warnings(self, asking: Asking, requests: tuple[PlannedRequest, ...]) -> list[str]:
        done = f"{asking.asked.ended} of {len(requests)} requests"
        if asking.asked.dead is not None:
            return [f"endpoint_not_there: after {done}: {asking.asked.dead}"]
        if self.stop and asking.asked.ended < len(requests):
            return [f"interrupted: {self.stop.signal} after {done}"]
        return []

    def _tell(self, now: str) -> None:
        tallies = self.tallies.values()
        self.on_event(
            RunEvent(
                now=now,
                done=sum(each.asked for each in tallies),
                total=self.total,
                failed=sum(each.failures.total() for each in tallies),
            )
        )


@dataclass(kw_only=True)
class _Tally:
    """What came of the requests of a budget so far."""

    rows: list[Rows] = field(default_factory=list)
    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    run_id: str | None = None

    @property
    def asked(self) -> int:
        """Requests that ended."""
        return len(self.rows)

    def add(self, outcome: Outcome) -> None:
        """Count a request that ended."""
        self.rows.append(outcome.rows)
        if outcome.failure is None:
            self.answered += 1
        else:
            self.failures[outcome.failure] += 1

    def outcome(self, planned: PlannedBudget, already: int) -> BudgetOutcome:
        """Return what came of the budget."""
        return BudgetOutcome(
            budget=planned.budget,
            budget_id=planned.budget_id,
            run_id=self.run_id,
            planned=len(planned.requests),
            already=already,
            asked=self.asked,
            answered=self.answered,
            failures=dict(self.failures),
        )
