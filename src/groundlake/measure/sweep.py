"""Measure many configurations and write each to the lake as soon as it is finished. Imports no torch."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Any

from groundlake import machine
from groundlake.commit import require_room
from groundlake.errors import ContractViolationError, LakeEnvironmentError, MissingDependencyError
from groundlake.layout import new_id
from groundlake.measure.attempt import attempt, check_sweep
from groundlake.measure.baseline import idle_baseline
from groundlake.measure.cooldown import cool_down, require_sensor
from groundlake.measure.occupancy import occupied
from groundlake.measure.plan import Plan, plan
from groundlake.measure.record import Measurement
from groundlake.power.watch import AUTO, require_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from groundlake.measure.doubts import Doubt
    from groundlake.measure.messages import Progress
    from groundlake.measure.plan import Configuration, PlannedRun, SweepSettings
    from groundlake.measure.record import FailedMeasurement
    from groundlake.store import Lake

SHARE_OF_MEMORY = 0.9
"""Share of the free memory that a configuration may take where no limit is given: the rest keeps the machine alive."""

ROOM_BYTES = 4 * 2**20
"""A run of a large model with its samples takes about 1 MiB."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something happened in a sweep.

    Attributes:
        kind: skipped, waiting, started, progress, done or failed.
        configuration: What it happened to; None while the sweep waits for something.
        run_index: Number of the repetition, if there are any.
        position: Number of the run in the sweep, from 1; 0 before the first.
        total: Number of runs in the sweep.
        phase: Of a progress: warm-up, subgraphs or whole model; what is waited for.
        passes_done: Of a progress: passes done in the phase.
        passes_total: Of a progress: passes in the phase, at most.
        run_id: Of a finished run.
        reason: Of a failed run.
    """

    kind: str
    configuration: Configuration | None = None
    run_index: int | None = None
    position: int = 0
    total: int = 0
    phase: str = ""
    passes_done: int = 0
    passes_total: int = 0
    run_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Finished:
    """One finished run; `reason` is None when it was measured, and `warnings` are what is doubtful then.

    `int8` says of a run in int8 what it was made with, and what that came to.
    """

    run: PlannedRun
    run_id: str
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    int8: str | None = None


@dataclass
class SweepResult:
    """What a sweep did.

    Attributes:
        session: Name of the sweep in the ledger.
        skipped: Runs that the lake held already.
        left: Runs that were not begun, because the sweep was to stop.
        spent_s: Where the time went, in s: waiting, start, preflight, baseline, cool-down, measuring,
            writing.
        no_power: Why the runs have no power readings, each as `source: reason`; empty where they have some, or none
            were asked for.
        stopped_by: What ended the sweep behind its first run, for example a disk that filled up.
    """

    session: str = ""
    done: list[Finished] = field(default_factory=list)
    failed: list[Finished] = field(default_factory=list)
    skipped: list[PlannedRun] = field(default_factory=list)
    left: list[PlannedRun] = field(default_factory=list)
    spent_s: dict[str, float] = field(default_factory=dict)
    no_power: tuple[str, ...] = ()
    stopped_by: LakeEnvironmentError | None = None

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Add the time of the block to what was spent."""
        start_s = monotonic()
        try:
            yield
        finally:
            self.spent_s[what] = self.spent_s.get(what, 0.0) + monotonic() - start_s


def sweep(
    lake: Lake,
    settings: SweepSettings,
    wanted: Iterable[Configuration],
    on_event: Callable[[Event], None] = lambda _: None,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    preflight: Callable[[], Sequence[Doubt]] = tuple,
) -> SweepResult:
    """Measure configurations one after another, each in a process of its own, and write each at once.

    A configuration that fails, hangs, takes too much memory or kills its process becomes a failed run with the
    reason, and the sweep goes on. An interruption ends the measuring process and passes through; what was finished
    stays in the lake. Where there is a power sensor, an idle baseline is taken first, as a run of its own.

    Args:
        lake: Where the runs go; it is made by the first of them.
        settings: How to measure.
        wanted: What to measure; what the lake holds is skipped unless `settings.repeat` is given.
        on_event: Called in this process with everything that happens.
        should_stop: Asked before each run and about once a second while waiting; True ends the sweep there.
        preflight: Called once the device is held: returns what is doubtful about every run, or raises.

    Raises:
        MissingDependencyError: torch, torchvision, the device or a sensor is missing; nothing was written.
        UsageError: A model is not known; nothing was written.
        LakeEnvironmentError: Another sweep has the device, the measuring process does not start, or the lake cannot
            be written. Once a run is finished, it is returned in `stopped_by`, with what was done.
    """
    settings = replace(settings, session=settings.session or new_id())
    result = SweepResult(session=settings.session or "")
    sweeping = _Sweep(lake, settings, result, on_event, should_stop)
    if sweeping.plan(wanted):
        try:
            sweeping.run(wanted, preflight)
        except LakeEnvironmentError as error:
            if not (result.done or result.failed):
                raise
            result.stopped_by = error
    return result


def torch_is_installed() -> bool:
    """Whether there is a torch to measure with; it is not imported."""
    return find_spec("torch") is not None


def free_memory_share() -> int | None:
    """Memory that a configuration may take where no limit is given, in bytes; None where nothing is known."""
    free = machine.available_bytes()
    return None if free is None else int(SHARE_OF_MEMORY * free)


@dataclass
class _Sweep:
    """A sweep under way."""

    lake: Lake
    settings: SweepSettings
    result: SweepResult
    on_event: Callable[[Event], None]
    should_stop: Callable[[], bool]
    todo: Plan = field(default_factory=Plan)

    def plan(self, wanted: Iterable[Configuration]) -> bool:
        """Decide what there is to do, if anything."""
        self.todo = plan(self.lake, self.settings, wanted)
        self.result.skipped = list(self.todo.skipped)
        self.result.left = list(self.todo.todo)
        return bool(self.todo.todo)

    def run(self, wanted: Iterable[Configuration], preflight: Callable[[], Sequence[Doubt]]) -> None:
        """Hold the device, and do what the plan says."""
        if not torch_is_installed():
            raise MissingDependencyError("measuring needs torch\n  pip install 'groundlake[measure]'")
        settings, result = self.settings, self.result
        require_room(self.lake.root, ROOM_BYTES)
        require_sensor(settings.cooldown, settings.device)
        require_trace(settings.power)
        with ExitStack() as stack:
            with result.spending("waiting"):
                device = occupied(
                    settings.device,
                    settings.session,
                    wait=settings.wait,
                    should_stop=self.should_stop,
                    on_wait=lambda what: self._waiting(0, what),
                )
                held = stack.enter_context(device)
            # A sweep that had the device until now may have measured the same, and has given its memory back.
            if held and self.plan(wanted):
                self._check()
                if self.plan(wanted):  # what is in the lake for the engine of int8 that is there
                    self._prepare(preflight)
                    self._all()

    def _check(self) -> None:
        """Find out what would make every run fail, and which engine of int8 there is."""
        with self.result.spending("start"):
            self._waiting(0, "loading torch, checking models and device")
            known = check_sweep(self.settings, self.todo)
        self.settings = replace(self.settings, int8=known.settle(self.settings.int8))

    def _prepare(self, preflight: Callable[[], Sequence[Doubt]]) -> None:
        """Find out what makes every run doubtful, and what the idle device takes."""
        for run in self.todo.skipped:
            self.on_event(Event(kind="skipped", configuration=run.configuration, run_index=run.run_index))
        limit = self.settings.memory_limit_bytes or free_memory_share()
        with self.result.spending("preflight"):
            self._waiting(0, "preflight")
            doubts = (*self.settings.doubts, *preflight())
        self.settings = replace(self.settings, memory_limit_bytes=limit, doubts=doubts)
        self._baseline()

    def _all(self) -> None:
        """Measure what is planned, one after another, until it is done or the sweep is to stop."""
        for position, run in enumerate(self.todo.todo, start=1):
            doubt = self._cool_down(position)
            if self.should_stop():
                return
            self._one(run, position, doubt)
            self.result.left.pop(0)

    def _baseline(self) -> None:
        if self.should_stop():
            return
        with self.result.spending("baseline"):
            what = f"idle baseline of {self.settings.baseline_s:g} s"
            baseline = idle_baseline(self.settings, on_begin=lambda: self._waiting(0, what))
            if baseline is not None:
                self.lake.write_record(baseline)

    def _cool_down(self, position: int) -> Doubt | None:
        """Wait before a run; a fixed time lies between two runs only."""
        cooldown = self.settings.cooldown
        if cooldown is None or (position == 1 and cooldown.below_c is None):
            return None
        with self.result.spending("cool-down"):
            return cool_down(
                cooldown,
                self.settings.device,
                should_stop=self.should_stop,
                on_wait=lambda what: self._waiting(position, what),
            )

    def _one(self, run: PlannedRun, position: int, doubt: Doubt | None) -> None:
        """Measure one configuration and commit its run, whatever came of it."""

        def tell(**happened: Any) -> None:  # noqa: ANN401 - fields of Event
            self.on_event(
                Event(
                    configuration=run.configuration,
                    run_index=run.run_index,
                    position=position,
                    total=len(self.todo.todo),
                    **happened,
                )
            )

        def on_progress(progress: Progress) -> None:
            tell(kind="progress", phase=progress.phase, passes_done=progress.done, passes_total=progress.total)

        tell(kind="started")
        with self.result.spending("measuring"):
            outcome = attempt(run, self.settings, doubts=[doubt] if doubt else [], on_progress=on_progress)
        with self.result.spending("writing"):
            run_id, outcome = self._written(outcome)
        if isinstance(outcome, Measurement):
            power = outcome.measured.power
            silent = power is not None and not power.series and self.settings.power == AUTO
            self.result.no_power = power.notes if power is not None and silent else ()
            self.result.done.append(Finished(run, run_id, warnings=outcome.warnings, int8=outcome.int8_in_words()))
            tell(kind="done", run_id=run_id)
        else:
            self.result.failed.append(Finished(run, run_id, outcome.reason))
            tell(kind="failed", run_id=run_id, reason=outcome.reason)

    def _written(self, outcome: Measurement | FailedMeasurement) -> tuple[str, Measurement | FailedMeasurement]:
        """Commit an outcome; a measurement that its contract refuses is a failure with that reason."""
        try:
            return self.lake.write_many(outcome.to_runs())[0], outcome
        except ContractViolationError as error:
            if not isinstance(outcome, Measurement):
                raise
            failed = outcome.refused(str(error))
            return self.lake.write_record(failed), failed

    def _waiting(self, position: int, what: str) -> None:
        self.on_event(Event(kind="waiting", position=position, total=len(self.todo.todo), phase=what))
