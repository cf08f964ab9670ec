"""The idle baseline of a sweep: what the device takes while nothing runs on it. Imports no torch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from groundlake import __version__
from groundlake.machine import gpu_index
from groundlake.power.watch import PowerWatch
from groundlake.system import software_facts, system_state

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from groundlake.measure.plan import SweepSettings
    from groundlake.power.watch import PowerRecord

KIND = "idle_baseline"
MODEL = "idle"


@dataclass(frozen=True, kw_only=True)
class IdleBaseline:
    """Power of the idle device over some seconds: a run of its own. Implements `store.Recordable`.

    Attributes:
        power: The readings, all of the phase `baseline`.
        started_at: Aware, UTC.
    """

    settings: SweepSettings
    power: PowerRecord
    started_at: datetime
    duration_s: float
    system_before: dict[str, Any]
    system_after: dict[str, Any]

    def to_frames(self) -> tuple[dict[str, object], dict[str, pl.DataFrame]]:
        """Return the run's columns of the ledger, and its readings."""
        row: dict[str, object] = {
            **software_facts(),
            **self.power.ledger_columns(),
            "kind": KIND,
            "model": MODEL,
            "hardware_id": self.settings.hardware_id,
            "device": self.settings.device_kind,
            "device_index": gpu_index(self.settings.device),
            "thermal_profile": self.settings.thermal_profile,
            "tool_version": f"groundlake {__version__}",
            "started_at": self.started_at,
            "started_at_zone_source": "clock",
            "duration_s": self.duration_s,
            "session_id": self.settings.session,
            "note": self.settings.note,
            "system_before": self.system_before,
            "system_after": self.system_after,
            "warnings": [str(doubt) for doubt in self.settings.doubts] or None,
        }
        return row, {"power_timeseries": self.power.rows}


def idle_baseline(settings: SweepSettings, on_begin: Callable[[], None] = lambda: None) -> IdleBaseline | None:
    """Read the power sensors for `settings.baseline_s` seconds, with nothing running.

    Args:
        settings: What to read, how often and how long.
        on_begin: Called where there is a sensor, before the wait.

    Returns:
        The baseline; None where there is no sensor, or none is wanted.
    """
    if settings.baseline_s == 0:
        return None
    started_at, start_s = datetime.now(timezone.utc), time.monotonic()
    before = system_state(settings.device)
    with PowerWatch(settings.power, settings.power_hz, phase="baseline") as watch:
        if not watch.has_sensors:
            return None
        on_begin()
        watch.mark()
        time.sleep(settings.baseline_s)
        watch.mark()
    return IdleBaseline(
        settings=settings,
        power=watch.record(),
        started_at=started_at,
        duration_s=time.monotonic() - start_s,
        system_before=before,
        system_after=system_state(settings.device),
    )
