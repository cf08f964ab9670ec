"""What the machine does around an experiment: its idle power before, its state before, during and after."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from groundlake import __version__
from groundlake.experiment.extended import ThermalThrottleInfo
from groundlake.machine import gpu_index
from groundlake.power.watch import PowerWatch
from groundlake.system import (
    THROTTLES,
    gpu_settings,
    held_back_s,
    software_facts,
    system_state,
    throttle_events,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.power.watch import PowerRecord

KIND, MODEL = "idle_baseline", "idle"

HELD_SHARE = 0.01
"""Share of the measurement: the driver counts in steps of its own, and a single one means little."""

THERMAL = ("sw_thermal_slowdown", "hw_thermal_slowdown")


@dataclass(frozen=True, kw_only=True)
class IdleBaseline:
    """Power of the idle device before a model is loaded: a run of its own. Implements `store.Recordable`.

    Attributes:
        plan: The experiment it was taken for.
        session_id: Sitting that it belongs to.
        power: The readings, all of the phase `baseline`.
        started_at: Aware, UTC.
        ended_s: When it ended, by `time.perf_counter`.
        duration_s: Its length, in s.
        system_before: State of the machine before.
        system_after: State of the machine after.
    """

    plan: ExperimentPlan
    session_id: str
    power: PowerRecord
    started_at: datetime
    ended_s: float
    duration_s: float
    system_before: dict[str, Any] | None
    system_after: dict[str, Any] | None

    def to_frames(self) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
        """Return the run's columns of the ledger, and its readings."""
        device = self.plan.device
        row: dict[str, Any] = {
            **software_facts(),
            **self.power.ledger_columns(),
            "kind": KIND,
            "model": MODEL,
            "hardware_id": self.plan.hardware_id,
            "device": None if device is None else device.split(":", 1)[0],
            "device_index": None if device is None else gpu_index(device),
            "thermal_profile": self.plan.thermal_profile,
            "tool_version": f"groundlake {__version__}",
            "started_at": self.started_at,
            "started_at_zone_source": "clock",
            "duration_s": self.duration_s,
            "session_id": self.session_id,
            "note": self.plan.note,
            "system_before": self.system_before,
            "system_after": self.system_after,
        }
        return row, {"power_timeseries": self.power.rows}


def idle_baseline(
    plan: ExperimentPlan, session_id: str, on_begin: Callable[[], None] = lambda: None
) -> IdleBaseline | None:
    """Read the power sensors for `plan.baseline_s` seconds, with nothing running.

    Args:
        plan: What to read, how often and how long.
        session_id: Sitting that it belongs to.
        on_begin: Called where there is a sensor, before the wait.

    Returns:
        The baseline; None where there is no sensor, or none is wanted.
    """
    if plan.baseline_s == 0:
        return None
    started_at, start_s = datetime.now(timezone.utc), time.monotonic()
    before = _state(plan.device, is_remote=plan.is_remote)
    with PowerWatch(plan.sensors, plan.power_hz, phase="baseline") as watch:
        if not watch.has_sensors:
            return None
        on_begin()
        watch.mark()
        time.sleep(plan.baseline_s)
        watch.mark()
    return IdleBaseline(
        plan=plan,
        session_id=session_id,
        power=watch.record(),
        started_at=started_at,
        ended_s=time.perf_counter(),
        duration_s=time.monotonic() - start_s,
        system_before=before,
        system_after=_state(plan.device, is_remote=plan.is_remote),
    )


@dataclass
class Watched:
    """State of the machine around a measured window; of another machine nothing is known.

    Attributes:
        device: Device that works; None where it is not known.
        is_remote: Whether another machine works.
    """

    device: str | None
    is_remote: bool
    before: dict[str, Any] | None = None
    under_load: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    held_s: dict[str, float] = field(default_factory=dict)
    events: int | None = None
    _held_before_s: dict[str, float] = field(default_factory=dict)
    _events_before: int | None = None

    def begin(self) -> None:
        """Look before the window."""
        self.before = _state(self.device, is_remote=self.is_remote)
        if not self.is_remote and self.device is not None:
            self.settings = gpu_settings(self.device)
            self._held_before_s, self._events_before = held_back_s(self.device), throttle_events()

    def look(self) -> None:
        """Look while the device is busy; once is enough."""
        if self.under_load is None:
            self.under_load = _state(self.device, is_remote=self.is_remote)

    def end(self) -> None:
        """Look behind the window."""
        self.after = _state(self.device, is_remote=self.is_remote)
        if not self.is_remote and self.device is not None:
            now_s, events = held_back_s(self.device), throttle_events()
            self.held_s = {cause: now_s[cause] - self._held_before_s.get(cause, now_s[cause]) for cause in now_s}
            if events is not None and self._events_before is not None:
                self.events = events - self._events_before

    def throttle(self, window_s: float, max_temperature_c: float | None) -> ThermalThrottleInfo | None:
        """Say whether the device lowered its clocks in the window; None where nobody can tell.

        Args:
            window_s: Length of the window, in s.
            max_temperature_c: Highest temperature that was read in it, in degrees C.
        """
        seen = {} if self.under_load is None else self.under_load
        told = seen.get("throttle_reasons")
        if told is None and not self.held_s and self.events is None:
            return None
        reasons = [reason for reason in told or () if reason in THROTTLES]
        counted = {cause: held for cause, held in self.held_s.items() if held > HELD_SHARE * window_s}
        is_thermal = any(reason in reasons for reason in THERMAL) or "thermal" in counted
        return ThermalThrottleInfo(
            detected=bool(reasons or counted or self.events),
            thermal=is_thermal,
            power="sw_power_cap" in reasons or "power" in counted,
            sw_thermal="sw_thermal_slowdown" in reasons,
            hw_thermal="hw_thermal_slowdown" in reasons,
            hw_power="hw_power_brake_slowdown" in reasons,
            throttle_duration_sec=max(counted.values(), default=0.0),
            max_temperature_c=max_temperature_c,
        )

    def throttle_reasons(self, throttle: ThermalThrottleInfo | None) -> tuple[str, ...]:
        """Name the reasons, for a warning."""
        if throttle is None or not throttle.detected:
            return ()
        counted = (f"{self.events} throttle events of the kernel",) if self.events else ()
        return (*throttle.reasons, *counted) or ("hw_slowdown",)


def _state(device: str | None, *, is_remote: bool) -> dict[str, Any] | None:
    """State of this machine; None where another one works."""
    return None if is_remote else system_state(device or "cpu")
