"""One attempt at one configuration, in a process of its own: a measurement, or a failure with its reason."""

from __future__ import annotations

from datetime import datetime, timezone
from time import monotonic
from typing import TYPE_CHECKING

from groundlake.errors import LakeEnvironmentError, LakeError
from groundlake.hardware.detection import mode_slug
from groundlake.measure.int8.settings import INT8
from groundlake.measure.messages import Failed, Job, Known, Measured, Question
from groundlake.measure.record import FailedMeasurement, Measurement
from groundlake.measure.worker import Worker, WorkerLostError, WorkerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundlake.measure.doubts import Doubt
    from groundlake.measure.messages import Progress
    from groundlake.measure.plan import Plan, PlannedRun, SweepSettings

CHECK_TIMEOUT_S = 300.0
"""Importing torchvision from a cold disk takes long; nothing is built yet."""


def check_sweep(settings: SweepSettings, todo: Plan) -> Known:
    """Check what would make every run of a sweep fail, in a measuring process that is ended again.

    Args:
        settings: How the sweep would measure.
        todo: What it would measure; with nothing to do nothing is checked.

    Returns:
        FLOPs of one input of each model by its name in the lake, and the engine of int8 that is there.

    Raises:
        MissingDependencyError: torch, what a model is built with, or the device is missing.
        UsageError: A model is not known, or every run would fail for a reason that is known now.
        LakeEnvironmentError: The measuring process does not start, or is lost.
    """
    wanted = tuple(dict.fromkeys(run.configuration for run in todo.todo))
    if not wanted:
        return Known()
    try:
        with Worker.running(show_output=settings.show_output) as worker:
            answer = worker.ask(Question(wanted, settings.device, settings.int8), CHECK_TIMEOUT_S)
    except WorkerLostError as error:
        raise LakeEnvironmentError(
            f"the measuring process was lost while it looked for the device and the models: {error}\n"
            "  a module of your own, torchvision or the driver may be broken:"
            " python -c 'import torchvision' shows whether it is"
        ) from error
    if isinstance(answer, Failed):
        raise answer.error
    return answer if isinstance(answer, Known) else Known()


def attempt(
    run: PlannedRun,
    settings: SweepSettings,
    *,
    doubts: Sequence[Doubt] = (),
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Measurement | FailedMeasurement:
    """Measure one configuration; a failure is a result, too.

    Args:
        run: What to measure.
        settings: How.
        doubts: What is doubtful about the run before it begins.
        on_progress: Called with each progress of the measuring process.

    Raises:
        LakeEnvironmentError: The measuring process does not start.
        MissingDependencyError: torch is missing.
    """
    started_at, start_s = datetime.now(timezone.utc), monotonic()
    with Worker.running(show_output=settings.show_output) as worker:
        try:
            answer = worker.ask(_job(run, settings), settings.timeout_s, settings.memory_limit_bytes, on_progress)
        except WorkerTimeoutError as error:
            answer = Failed(LakeError(f"{error} (--timeout)"))
        except WorkerLostError as error:
            answer = Failed(LakeError(str(error)))
        reason = reason_against(answer, settings)
        if reason is None and isinstance(answer, Measured):
            return Measurement.of(run, settings, answer, doubts)
        return FailedMeasurement(
            run=run,
            settings=settings,
            reason=reason or "the measuring process gave no result",
            started_at=started_at,
            duration_s=monotonic() - start_s,
            software=worker.software,
        )


def reason_against(answer: object, settings: SweepSettings) -> str | None:
    """Say why an answer is no measurement under the id that the sweep measures; None where it is one."""
    if isinstance(answer, Failed):
        return str(answer.error)
    if not isinstance(answer, Measured) or settings.thermal_profile is None:
        return None
    wanted = mode_slug(settings.thermal_profile)
    for when, state in (("before", answer.system_before), ("after", answer.system_after)):
        found = state.get("power_mode")
        if found is not None and mode_slug(found) != wanted:
            return (
                f"power mode: the device was in {found} {when} the run, and {settings.hardware_id} means"
                f" {settings.thermal_profile}; set it with nvpmodel, or measure under the id of that mode"
            )
    return None


def _job(run: PlannedRun, settings: SweepSettings) -> Job:
    wanted = run.configuration
    return Job(
        model=wanted.plain_model,
        precision=wanted.precision,
        batch=wanted.batch,
        device=settings.device,
        warmup=settings.warmup,
        runs=settings.runs,
        until_ci=settings.until_ci,
        time_limit_s=settings.timeout_s,
        input_shape=wanted.input_shape,
        power=settings.power,
        power_hz=settings.power_hz,
        int8=settings.int8 if wanted.precision == INT8 else None,
    )
