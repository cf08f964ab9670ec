"""Runs one experiment: baseline, processes, common start, energy, result, warnings, and the lake. Imports no torch."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from groundlake import __version__
from groundlake.child_process import reason_of
from groundlake.commit import require_room
from groundlake.errors import ContractViolationError, LakeError
from groundlake.experiment import assembling, doubting, quality, sensed
from groundlake.experiment.assembling import Found
from groundlake.experiment.energy import RUN_ENERGY, Baseline, Energies, energies
from groundlake.experiment.environment import snapshot
from groundlake.experiment.jobs import gpu_of, gpus_used, job_of
from groundlake.experiment.plan import TRANSFORMERS, config_hash
from groundlake.experiment.readiness import AllFailedError, refuse_a_dead_endpoint, require_backend
from groundlake.experiment.rows import KIND, ExperimentRun
from groundlake.experiment.running import Crew, ProcessLostError
from groundlake.experiment.watching import Watched, idle_baseline
from groundlake.layout import new_id
from groundlake.memory import ask_unwritten
from groundlake.power.watch import PowerWatch, require_trace
from groundlake.system import software_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.quality import Doubt
    from groundlake.experiment.result import ExperimentResult
    from groundlake.experiment.watching import IdleBaseline
    from groundlake.power.watch import PowerRecord
    from groundlake.store import Lake

ROOM_BYTES = 4 * 2**20
NOT_HERE = "power: the endpoint runs on another machine, whose sensors cannot be read from here"
SHOWN_FAILURES = 3


@dataclass(frozen=True)
class Event:
    """Something happened: what goes on now, and how many of all requests are done."""

    now: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one experiment.

    Attributes:
        run_id: Its run in the lake; the identity of its result, too.
        result: What was measured; None where it failed.
        run: The run as it went into the lake.
        reason: Why it failed.
        doubts: What is doubtful about it.
        why_no_energy: Why it has no energy; None where it has one.
        failures: How many requests failed, by kind.
        cycle: Number of the repeat.
        baseline: Idle power that was taken, for the next experiment of the sitting.
    """

    run_id: str
    result: ExperimentResult | None = None
    run: ExperimentRun | None = None
    reason: str | None = None
    doubts: tuple[Doubt, ...] = ()
    why_no_energy: str | None = None
    failures: Counter[str]
    cycle: int | None = None
    baseline: IdleBaseline | None = None


def run_experiment(
    lake: Lake,
    plan: ExperimentPlan,
    *,
    session_id: str | None = None,
    baseline: IdleBaseline | None = None,
    doubts: Sequence[Doubt] = (),
    on_event: Callable[[Event], None] = lambda _: None,
    before_writing: Callable[[Outcome], None] = lambda _: None,
    kept: tuple[type[LakeError], ...] = (),
) -> Outcome:
    """Run an experiment and write it to the lake: its result, or why there is none.

    What goes wrong with the figures behind the measurement is a failed run with its reason, too.
    An interruption ends all processes and passes through; nothing is written then.

    Args:
        lake: Where the run goes.
        plan: What to measure.
        session_id: Sitting that it belongs to; None takes the plan's session or name, else a new id.
        baseline: Idle power taken before in the same sitting; None takes it now.
        doubts: What is doubtful about the machine before it begins.
        on_event: Called with everything that happens.
        before_writing: Called with what was measured before it is written, so that a full lake does not lose it.
        kept: Errors behind the baseline that become a failed run, too, instead of being raised.

    Raises:
        UsageError: The model or the trace cannot be used; nothing was written.
        MissingDependencyError: A library or a device is missing; nothing was written.
        LakeEnvironmentError: The lake cannot be written.
    """
    session_id = session_id or plan.session or plan.name or new_id()
    require_backend(plan.backend)
    require_room(lake.root, ROOM_BYTES)
    require_trace(plan.sensors)
    is_fresh = baseline is None
    if is_fresh:
        what = f"idle baseline of {plan.baseline_s:g} s"
        baseline = idle_baseline(plan, session_id, on_begin=lambda: on_event(Event(what)))
    attempt = _Attempt(plan, session_id, baseline, tuple(doubts), on_event, is_fresh=is_fresh)
    try:
        outcome = attempt.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the hour that was measured is not to vanish
        outcome = attempt.failed(_reason(error, kept))
    if outcome.run is not None:
        try:
            before_writing(outcome)
        except Exception:
            attempt.write(lake, outcome)
            raise
    try:
        attempt.write(lake, outcome)
    except Exception as error:
        if outcome.run is None:
            raise
        outcome = attempt.failed(_reason(error, kept))
        attempt.write(lake, outcome)
    return outcome


def _reason(error: Exception, kept: tuple[type[LakeError], ...]) -> str:
    """Why there is no result.

    Raises:
        LakeError: The error itself, where nothing was measured, or nothing can be written.
    """
    if isinstance(error, (ProcessLostError, AllFailedError, ContractViolationError, *kept)):
        return str(error)
    if isinstance(error, LakeError):
        raise error
    return f"groundlake could not keep what was measured: {reason_of(error)}"


class _Attempt:
    """One experiment under way."""

    def __init__(
        self,
        plan: ExperimentPlan,
        session_id: str,
        baseline: IdleBaseline | None,
        doubts: tuple[Doubt, ...],
        on_event: Callable[[Event], None],
        *,
        is_fresh: bool,
    ) -> None:
        self.plan, self.session_id, self.baseline, self.doubts = plan, session_id, baseline, doubts
        self.on_event, self.is_fresh = on_event, is_fresh
        self.run_id = new_id()
        self.watched = Watched(device=plan.device, is_remote=plan.is_remote)
        self.begun_at, self.begun_s = dt.datetime.now().astimezone(), time.monotonic()
        self.failures: Counter[str] = Counter()

    def run(self) -> Outcome:
        """Measure, and make the result."""
        found, power = self._measure()
        answers = found.generations
        self.failures = Counter(each.error.code for each in answers if each.error is not None)
        if self.failures.total() == len(answers):
            raise AllFailedError(self._all_failed(found))
        known, aged = self._energies(found, power)
        seen = self._doubts(found, power, known)
        result = self._result(found, power, known, aged, seen)
        run = ExperimentRun(
            result=result,
            hardware_id=self.plan.hardware_id,
            run_id=self.run_id,
            precision=assembling.precision_of(self.plan, found),
            model=self.plan.model_name,
            batch=self.plan.keyed_batch,
            power=power,
            doubts=seen,
            energy=known.rows,
            ledger=self._ledger(found),
        )
        return Outcome(
            run_id=self.run_id,
            result=result,
            run=run,
            doubts=tuple(seen),
            why_no_energy=None if known.whole else self._why_no_energy(known, power),
            failures=self.failures,
            cycle=self.plan.cycle,
            baseline=self.baseline,
        )

    def failed(self, reason: str) -> Outcome:
        """Make the outcome of an attempt without a result."""
        return Outcome(
            run_id=self.run_id,
            reason=reason.encode("utf-8", "replace").decode(),  # half a character cannot be kept
            failures=self.failures,
            cycle=self.plan.cycle,
            baseline=self.baseline,
        )

    def write(self, lake: Lake, outcome: Outcome) -> None:
        """Commit the run, and with it the baseline that was taken for it: both or none is seen."""
        runs: list[Any] = [self.baseline] if self.baseline is not None and self.is_fresh else []
        if outcome.run is not None:
            lake.write_many([*runs, outcome.run])
        else:
            lake.write_many([*runs, (self._failed_row(str(outcome.reason)), {})])

    def _measure(self) -> tuple[Found, PowerRecord]:
        """Load, warm up, begin together, and take over what was measured."""
        plan, total = self.plan, len(self.plan.prompts.items)
        loading = "loading the model" if plan.backend == TRANSFORMERS else "opening the endpoint"
        self.on_event(Event(f"{loading} and warming up"))

        def on_done(done: int) -> None:
            if done < total <= 2 * done:  # behind the last one there is no load any more
                self.watched.look()
            self.on_event(Event("measuring", done, total))

        jobs = [job_of(plan, index) for index in range(plan.processes)]
        with Crew.running(jobs, timeout_s=plan.silence_s, on_done=on_done, show_output=plan.show_output) as crew:
            ready = crew.wait_ready()
            refuse_a_dead_endpoint([each for said in ready for each in said.warmup])
            self.watched.begin()
            with PowerWatch(plan.sensors, plan.power_hz) as watch:
                self.on_event(Event("measuring", 0, total))
                begun_at, begun_s = dt.datetime.now().astimezone(), time.perf_counter()
                watch.mark()
                crew.go()
                ended = crew.wait_ended()
                watch.mark()
            # The processes know when they worked: this one had to wake up first.
            start_s, end_s = min(each.started_s for each in ended), max(each.ended_s for each in ended)
            started_at = begun_at + dt.timedelta(seconds=start_s - begun_s)
            watch.narrow(start_s, end_s)
            self.watched.end()
            self.on_event(Event("putting results together", total, total))
            measured = crew.results()
        gpus = [gpu_of(plan, index) for index in range(plan.processes)]
        power = watch.record()
        if plan.is_remote and not power.series:
            power = replace(power, notes=(NOT_HERE,))
        found = Found(ready=ready, ended=ended, measured=measured, gpus=gpus, start_s=start_s, started_at=started_at)
        return found, power

    def _energies(self, found: Found, power: PowerRecord) -> tuple[Energies, Baseline | None]:
        """Ask the view of the lake what the rails took, over exactly the window."""
        plan, idle = self.plan, self.baseline
        row = {
            "kind": KIND,
            "hardware_id": plan.hardware_id,
            "session_id": self.session_id,
            "started_at": found.started_at,
            "started_at_zone_source": "clock",
            **power.ledger_columns(),
        }
        runs = [idle.to_frames()] if idle is not None else []
        rails = ask_unwritten([*runs, (row, {"power_timeseries": power.rows})], RUN_ENERGY, "run_energy")
        uuids = {
            index: uuid
            for index, uuid in power.rows.select("device_index", "device_uuid").unique().iter_rows()
            if index is not None and uuid is not None
        }
        aged = None if idle is None else Baseline(age_s=found.start_s - idle.ended_s, method=self._freshness)
        known = energies(rails, device=self._device, gpus=gpus_used(plan, found), uuids=uuids, baseline=aged)
        return known, aged

    @property
    def _device(self) -> str | None:
        """Kind of the device that works."""
        return None if self.plan.device is None else self.plan.device.split(":", 1)[0]

    @property
    def _freshness(self) -> str:
        return "fresh" if self.is_fresh else "cached"

    def _result(
        self, found: Found, power: PowerRecord, known: Energies, aged: Baseline | None, seen: Sequence[Doubt]
    ) -> ExperimentResult:
        processes = assembling.processes_of(self.plan, found, known, self.run_id)
        worked: dict[str, Any] = {"device": self._device, "gpus": gpus_used(self.plan, found)}
        made = assembling.result_of(self.plan, found, processes, known, aged)
        precision = assembling.precision_of(self.plan, found)
        extra: dict[str, Any] = {
            "effective_config": assembling.settings_of(self.plan, precision),
            "measurement_warnings": [*made.measurement_warnings, *map(str, seen)],
            "environment_snapshot": snapshot(found.ready[0].software, self.watched.settings, self.watched.before),
            "energy_statements": list(known.rows),
            "measurement_doubts": list(seen),
            "thermal_throttle": self.watched.throttle(power.window_s, sensed.heat_of(power, **worked).highest_c),
        }
        return made.model_copy(update=extra).with_timeseries(sensed.sidecar(power, **worked))

    def _doubts(self, found: Found, power: PowerRecord, known: Energies) -> list[Doubt]:
        """Apply the rules to what was seen, behind what was doubtful before."""
        seen = doubting.seen_of(
            self.plan,
            power,
            known,
            self.watched,
            gpus=gpus_used(self.plan, found),
        )
        about = [
            *doubting.about_power(power),
            *doubting.about_prompts(self.plan),
            *doubting.about_answers(found.generations, self.failures),
        ]
        return [*self.doubts, *quality.doubts(seen), *about]

    def _all_failed(self, found: Found) -> str:
        """Reason of an experiment without any answer."""
        said = dict.fromkeys(each.error.message for each in found.generations if each.error is not None)
        lines = "; ".join(list(said)[:SHOWN_FAILURES])
        return f"all {self.failures.total()} requests failed: {doubting.kinds(self.failures)}: {lines}"

    def _why_no_energy(self, known: Energies, power: PowerRecord) -> str:
        if not power.series:
            return "; ".join(" ".join(note.split()) for note in power.notes) or "no power sensor"
        return known.why_not or "not known"

    def _ledger(self, found: Found | None) -> dict[str, Any]:
        """Columns of the ledger that no result holds."""
        plan, watched = self.plan, self.watched
        software = found.ready[0].software if found is not None else software_facts()
        indices = {} if found is None else {gpu.index for gpu in found.gpus if gpu is not None}
        return {
            **software,
            "device": self._device,
            "device_index": next(iter(indices)) if len(indices) == 1 else None,
            "thermal_profile": plan.thermal_profile,
            "tool_version": f"groundlake {__version__}",
            "session_id": self.session_id,
            "run_index": plan.cycle,
            "note": plan.note,
            "system_before": watched.before,
            "system_under_load": watched.under_load,
            "system_after": watched.after,
        }

    def _failed_row(self, reason: str) -> dict[str, Any]:
        """Row of the ledger of an attempt without a result: it has no facts."""
        plan = self.plan
        return self._ledger(None) | {
            "run_id": self.run_id,
            "kind": KIND,
            "status": "failed",
            "error": reason,
            "hardware_id": plan.hardware_id,
            "precision": plan.precision if plan.dtype == "auto" else plan.dtype,
            "model": plan.model_name,
            "batch": plan.keyed_batch,
            "started_at": self.begun_at,
            "started_at_zone_source": "clock",
            "duration_s": time.monotonic() - self.begun_s,
            "config_hash": config_hash(plan),
        }
