"""Runs a study: what is planned and not done, one experiment after another. A failure is kept, and it goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.experiment.readiness import require_backend
from groundlake.experiment.runner import run_experiment
from groundlake.experiment.study import known_cells, write_plan
from groundlake.power.watch import require_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.quality import Doubt
    from groundlake.experiment.runner import Event, Outcome
    from groundlake.experiment.study import Cell, Key, Study
    from groundlake.experiment.watching import IdleBaseline
    from groundlake.store import Lake

LOOK_PERIOD_S = 0.2
MAX_BASELINE_AGE_S = 3600.0
"""Age of an idle baseline, in s, above which an experiment of a study takes a new one: the room warms, fans settle."""

DONE, FAILED, MISSING = "done", "failed", "missing"


@dataclass(frozen=True, kw_only=True)
class StudyEvent:
    """Something happened in a study.

    Attributes:
        cell: The experiment it happened to.
        position: Its number among those that are to be run now, from 1.
        total: How many these are.
        now: What goes on.
        outcome: What came of it, once it has ended.
        spent_s: How long it took, then.
        left_s: About how long the rest takes; None where nothing is known.
    """

    cell: Cell
    position: int
    total: int
    now: str = ""
    outcome: Outcome | None = None
    spent_s: float | None = None
    left_s: float | None = None


@dataclass
class StudyResult:
    """What was done now.

    Attributes:
        done: Experiments that were measured.
        failed: Experiments that failed.
        left: Experiments that were not begun, because the study was to stop.
        before: How many were done before.
        given_up: How many failed before, and were not tried again.
        is_new: Whether the plan was written now.
    """

    done: list[tuple[Cell, Outcome]] = field(default_factory=list)
    failed: list[tuple[Cell, Outcome]] = field(default_factory=list)
    left: list[Cell] = field(default_factory=list)
    before: int = 0
    given_up: int = 0
    is_new: bool = False


def states_of(lake: Lake, study: Study) -> dict[Key, str]:
    """Say of each experiment of a study whether it is done, failed or missing: an anti-join of plan and runs."""
    rows = known_cells(lake, study.name)
    if rows.is_empty():
        return {}
    return {
        (hardware_id, config, cycle): state
        for hardware_id, config, cycle, state in rows.select("hardware_id", "config_hash", "cycle", "state").iter_rows()
    }


def to_do(study: Study, states: dict[Key, str], *, retry_failed: bool) -> list[Cell]:
    """Experiments that have no good run, in their order; failed ones only where they are to be tried again."""
    wanted = (MISSING, FAILED) if retry_failed else (MISSING,)
    return [cell for cell in study.cells if states.get(cell.key, MISSING) in wanted]


def require_study(study: Study) -> None:
    """Refuse what would make experiments fail, before the first begins.

    Raises:
        MissingDependencyError: What a backend needs is not installed.
        UsageError: A recorded trace of power cannot be read.
    """
    for backend in dict.fromkeys(cell.plan.backend for cell in study.cells):
        require_backend(backend)
    for sensors in dict.fromkeys(cell.plan.sensors for cell in study.cells):
        require_trace(sensors)


def run_study(
    lake: Lake,
    study: Study,
    *,
    retry_failed: bool = False,
    doubts_of: Callable[[ExperimentPlan], Sequence[Doubt]] = lambda _: (),
    on_event: Callable[[StudyEvent], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyResult:
    """Write the plan of a study, and run each of its experiments that has no good run yet.

    Experiments with the same device and sensors share an idle baseline until it is `MAX_BASELINE_AGE_S` old.

    Args:
        lake: Where the plan and the runs go.
        study: What is to be run.
        retry_failed: Try failed experiments again, too.
        doubts_of: What is doubtful about the machine for a plan.
        on_event: Called with everything that happens.
        should_stop: Asked before each experiment and while waiting; True ends the study there.

    Raises:
        MissingDependencyError: What a backend needs is not installed; nothing was written.
        LakeEnvironmentError: The lake cannot be written.
    """
    require_study(study)
    result = StudyResult(is_new=write_plan(lake, study))
    running = _Running(lake, study, result, retry_failed, doubts_of, on_event, should_stop)
    running.run()
    return result


def young(baseline: IdleBaseline | None, now_s: float) -> IdleBaseline | None:
    """Return a baseline that may be taken off at this moment of `time.perf_counter`; None where it is too old."""
    return None if baseline is None or now_s - baseline.ended_s > MAX_BASELINE_AGE_S else baseline


@dataclass
class _Running:
    """A study under way."""

    lake: Lake
    study: Study
    result: StudyResult
    retry_failed: bool
    doubts_of: Callable[[ExperimentPlan], Sequence[Doubt]]
    on_event: Callable[[StudyEvent], None]
    should_stop: Callable[[], bool]
    baselines: dict[object, IdleBaseline | None] = field(default_factory=dict)
    spent_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Run what there is to do, one after another."""
        result, states = self.result, states_of(self.lake, self.study)
        todo = to_do(self.study, states, retry_failed=self.retry_failed)
        told = [states.get(cell.key) for cell in self.study.cells]
        result.before = told.count(DONE)
        result.given_up = 0 if self.retry_failed else told.count(FAILED)
        result.left = list(todo)
        for position, cell in enumerate(todo, start=1):
            if self.spent_s:
                self._pause(cell, position, len(todo))
            if self.should_stop():
                return
            # Another machine that shares the lake may have measured it meanwhile.
            if states_of(self.lake, self.study).get(cell.key) == DONE:
                result.before += 1
            else:
                self._one(cell, position, len(todo))
            result.left.pop(0)

    def _one(self, cell: Cell, position: int, total: int) -> None:
        """Run one experiment and keep what came of it."""
        plan, begun_s = cell.plan, time.monotonic()

        def on_event(event: Event) -> None:
            requests = f" {event.done}/{event.total}" if event.total else ""
            now = f"{event.now}{requests}"
            self.on_event(
                StudyEvent(cell=cell, position=position, total=total, now=now, left_s=self._left(total - position + 1))
            )

        sitting = (plan.hardware_id, plan.device, plan.sensors, plan.power_hz, plan.baseline_s)
        outcome = run_experiment(
            self.lake,
            plan,
            session_id=self.study.name,
            baseline=young(self.baselines.get(sitting), time.perf_counter()),
            doubts=self.doubts_of(plan),
            on_event=on_event,
            kept=(UsageError, MissingDependencyError),
        )
        self.baselines[sitting] = outcome.baseline
        (self.result.failed if outcome.result is None else self.result.done).append((cell, outcome))
        self.spent_s.append(time.monotonic() - begun_s)
        self.on_event(
            StudyEvent(
                cell=cell,
                position=position,
                total=total,
                now=FAILED if outcome.result is None else DONE,
                outcome=outcome,
                spent_s=self.spent_s[-1],
                left_s=self._left(total - position),
            )
        )

    def _left(self, number: int) -> float | None:
        """Time of so many experiments, by the mean of those of this sitting."""
        if not self.spent_s:
            return None
        return number * (sum(self.spent_s) / len(self.spent_s) + self.study.file.gap_s)

    def _pause(self, cell: Cell, position: int, total: int) -> None:
        """Wait between two experiments; a stop ends the wait."""
        end_s = time.monotonic() + self.study.file.gap_s
        while (rest_s := end_s - time.monotonic()) > 0 and not self.should_stop():
            now = f"pause of {self.study.file.gap_s:g} s"
            self.on_event(
                StudyEvent(cell=cell, position=position, total=total, now=now, left_s=self._left(total - position + 1))
            )
            time.sleep(min(LOOK_PERIOD_S, rest_s))
