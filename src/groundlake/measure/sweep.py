"""Measure many configurations and write each to the lake as soon as it is finished. Imports no torch."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Any

from groundlake.errors import LakeEnvironmentError, MissingDependencyError
from groundlake.layout import new_id
from groundlake.measure.baseline import idle_baseline
from groundlake.measure.plan import Plan, plan
from groundlake.measure.record import FailedMeasurement, Measurement
from groundlake.measure.worker import Failed, Job, Measured, Preflight, Progress, Worker, WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from groundlake.measure.plan import Configuration, PlannedRun, SweepSettings
    from groundlake.store import Lake

PREFLIGHT_TIMEOUT_S = 300.0
"""Importing torchvision from a cold disk takes long; nothing is built yet."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something happened in a sweep.

    Attributes:
        kind: skipped, started, progress, done or failed.
        configuration: What it happened to.
        run_index: Number of the repetition, if there are any.
        position: Number of the run in the sweep, from 1; 0 for a skipped one.
        total: Number of runs in the sweep.
        phase: Of a progress: warm-up, subgraphs or whole model.
        passes_done: Of a progress: passes done in the phase.
        passes_total: Of a progress: passes in the phase.
        run_id: Of a finished run.
        reason: Of a failed run.
    """

    kind: str
    configuration: Configuration
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
    """One finished run; `reason` is None when it was measured."""

    run: PlannedRun
    run_id: str
    reason: str | None = None


@dataclass
class SweepResult:
    """What a sweep did."""

    done: list[Finished] = field(default_factory=list)
    failed: list[Finished] = field(default_factory=list)
    skipped: list[Configuration] = field(default_factory=list)


def sweep(
    lake: Lake,
    settings: SweepSettings,
    wanted: Iterable[Configuration],
    on_event: Callable[[Event], None] = lambda _: None,
) -> SweepResult:
    """Measure configurations one after another in a process of their own, and write each at once.

    A configuration that fails, hangs or kills its process becomes a failed run with the reason, and the sweep goes
    on. An interruption stops the measuring process and passes through; what was finished stays in the lake. Where
    there is a power sensor, an idle baseline is taken first, as a run of its own.

    Args:
        lake: Where the runs go; it is made by the first of them.
        settings: How to measure.
        wanted: What to measure; what the lake holds is skipped unless `settings.repeat` is given.
        on_event: Called in this process with everything that happens.

    Raises:
        MissingDependencyError: torch, torchvision or the device is missing; nothing was written.
        UsageError: A model is not known; nothing was written.
        LakeEnvironmentError: The measuring process does not start, or the lake cannot be written.
    """
    settings = settings if settings.session else replace(settings, session=new_id())
    todo = plan(lake, settings, wanted)
    result = SweepResult(skipped=list(todo.skipped))
    for configuration in todo.skipped:
        on_event(Event(kind="skipped", configuration=configuration, total=len(todo.todo)))
    if not todo.todo:
        return result
    if not torch_is_installed():
        raise MissingDependencyError("measuring needs torch\n  pip install 'groundlake[measure]'")
    with _supervised(settings) as supervisor:
        supervisor.check(todo)
        baseline = idle_baseline(settings)
        if baseline is not None:
            lake.write_record(baseline)
        for position, run in enumerate(todo.todo, start=1):
            _one(lake, supervisor, run, result, _reporter(run, position, len(todo.todo), on_event))
    return result


def torch_is_installed() -> bool:
    """Whether there is a torch to measure with; it is not imported."""
    return find_spec("torch") is not None


def preflight(settings: SweepSettings, todo: Plan) -> None:
    """Check what a sweep checks before its first run, in a measuring process that is ended again.

    Args:
        settings: How the sweep would measure.
        todo: What it would measure; with nothing to do nothing is checked.

    Raises:
        MissingDependencyError: torch, torchvision or the device is missing.
        UsageError: A model is not known.
        LakeEnvironmentError: The measuring process does not start, or is lost.
    """
    if todo.todo:
        with _supervised(settings) as supervisor:
            supervisor.check(todo)


def _one(
    lake: Lake, supervisor: _Supervisor, run: PlannedRun, result: SweepResult, report: Callable[..., None]
) -> None:
    """Measure one configuration and commit its run, whatever came of it."""
    report(kind="started")

    def on_progress(progress: Progress) -> None:
        report(kind="progress", phase=progress.phase, passes_done=progress.done, passes_total=progress.total)

    outcome = supervisor.measure(run, on_progress)
    run_id = lake.write_record(outcome)
    if isinstance(outcome, Measurement):
        result.done.append(Finished(run, run_id))
        report(kind="done", run_id=run_id)
    else:
        result.failed.append(Finished(run, run_id, outcome.reason))
        report(kind="failed", run_id=run_id, reason=outcome.reason)


def _reporter(run: PlannedRun, position: int, total: int, on_event: Callable[[Event], None]) -> Callable[..., None]:
    def report(**happened: Any) -> None:  # noqa: ANN401 - fields of Event
        on_event(
            Event(
                configuration=run.configuration,
                run_index=run.run_index,
                position=position,
                total=total,
                **happened,
            )
        )

    return report


class _Supervisor:
    """Keeps one measuring process ready, and replaces it when it is lost or in doubt."""

    def __init__(self, settings: SweepSettings) -> None:
        self._settings = settings
        self._worker: Worker | None = None

    def close(self, *, interrupted: bool) -> None:
        """End the process: at once when it may be in the middle of a measurement that nobody will read."""
        if self._worker is not None:
            if interrupted:
                self._worker.kill()
            else:
                self._worker.stop()
            self._worker = None

    def check(self, todo: Plan) -> None:
        """Raise what would make every run of a sweep fail, before the first of them."""
        models = tuple(dict.fromkeys(run.configuration.model for run in todo.todo))
        worker = self._running()
        try:
            answer = worker.ask(Preflight(models, self._settings.device), PREFLIGHT_TIMEOUT_S)
        except WorkerLostError as error:
            self._worker = None
            raise LakeEnvironmentError(
                f"the measuring process was lost while it looked for the device and the models: {error}\n"
                "  torchvision or the driver may be broken: python -c 'import torchvision' shows whether it is"
            ) from error
        if isinstance(answer, Failed):
            raise answer.error

    def measure(self, run: PlannedRun, on_progress: Callable[[Progress], None]) -> Measurement | FailedMeasurement:
        """Measure one configuration; a failure is a result, too."""
        worker = self._running()
        started_at, start = datetime.now(timezone.utc), monotonic()
        try:
            answer = worker.ask(self._job(run), self._settings.timeout_s, on_progress)
        except WorkerLostError as error:
            self._worker = None
            reason = str(error)
        else:
            if isinstance(answer, Measured):
                return Measurement.of(run, self._settings, answer)
            reason = str(answer.error) if isinstance(answer, Failed) else "the measuring process gave no result"
            if not isinstance(answer, Failed) or not answer.reusable:
                worker.kill()
                self._worker = None
        return FailedMeasurement(
            run=run,
            settings=self._settings,
            reason=reason,
            started_at=started_at,
            duration_s=monotonic() - start,
            software=worker.software,
        )

    def _running(self) -> Worker:
        if self._worker is None:
            self._worker = Worker.start()
        return self._worker

    def _job(self, run: PlannedRun) -> Job:
        wanted, settings = run.configuration, self._settings
        return Job(
            model=wanted.model,
            precision=wanted.precision,
            batch=wanted.batch,
            device=settings.device,
            warmup=settings.warmup,
            runs=settings.runs,
            input_shape=settings.input_shape,
            power=settings.power,
            power_hz=settings.power_hz,
        )


@contextmanager
def _supervised(settings: SweepSettings) -> Iterator[_Supervisor]:
    """Yield a supervisor, and end its process whatever happens."""
    supervisor = _Supervisor(settings)
    try:
        yield supervisor
    except BaseException:
        supervisor.close(interrupted=True)
        raise
    supervisor.close(interrupted=False)
