"""Read sensors on a schedule, in a thread of their own, on the clock that the timings use."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import polars as pl
from typing_extensions import Self

from groundlake.power.sampler import COUNTER
from groundlake.schemas import PowerTimeseries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from groundlake.power.sampler import Rail, Reading, Sampler

DEFAULT_HZ = 20.0
GAP_PERIODS = 3.0
"""Two reads further apart than this many periods are a gap: nothing is known of the time between them."""

TICKS_PER_S = 2**20
"""Moments are kept on a grid of about 1 us, far below what a read takes, so that long series take half the bytes."""

STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """What is true of one rail's series: enough to refuse an energy that the sensor could not resolve.

    All of it is about one quantity: the readings of power, or those of the counter where the rail is one.

    Attributes:
        rail: What was measured, and what a reading means.
        requested_period_s: Time between two reads, as asked for.
        observed_period_s: Median time between two reads; None below two readings.
        value_period_s: Length of the series over the changes of the value, as in the view `run_energy`: how often the
            sensor really measures; None where it never changed.
        distinct_share: Share of the readings that differ from the one before.
        failed_reads: Reads that this rail did not answer with this quantity.
        gaps: Pairs of readings further apart than three requested periods.
    """

    rail: Rail
    requested_period_s: float
    observed_period_s: float | None
    value_period_s: float | None
    distinct_share: float | None
    failed_reads: int
    gaps: int


@dataclass
class _Series:
    phases: list[str] = field(default_factory=list)
    moments_s: list[float] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)


class Recorder:
    """Reads samplers at a steady rate while a block runs.

    A read that is late is not made up for: the schedule goes on with the next moment that is still to come. A sensor
    that fails leaves a gap, which is counted and never filled, and is asked again at the next moment.

    Args:
        samplers: Open sensors; they are closed when the block ends.
        hz: Reads per second.
        clock: Seconds, monotonic: the clock of the timings.
    """

    def __init__(
        self, samplers: Sequence[Sampler], hz: float = DEFAULT_HZ, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.phase = "warmup"
        self._samplers = list(samplers)
        self._period_s = 1.0 / hz
        self._clock = clock
        self._series: dict[Rail, _Series] = {rail: _Series() for sampler in samplers for rail in sampler.rails}
        self._asked: dict[Rail, int] = dict.fromkeys(self._series, 0)
        self._stop = threading.Event()
        self._round = threading.Event()
        self._thread = threading.Thread(target=self._run, name="groundlake-power", daemon=True)

    def __enter__(self) -> Self:
        if self._samplers:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._samplers:
            self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            return  # it hangs in a driver: what it reads must not be closed under it
        for sampler in self._samplers:
            sampler.close()

    def settle(self) -> None:
        """Wait until every sensor was read from here on, so that the present moment lies between two readings."""
        if not self._samplers:
            return
        for _ in range(2):  # the first round may have begun before this moment
            self._round.clear()
            self._round.wait(self._period_s + STOP_TIMEOUT_S)

    def now(self) -> float:
        """Read the clock that readings are stamped with, in s."""
        return self._clock()

    def frame(self, start_s: float) -> pl.DataFrame:
        """Return the readings so far as rows of `power_timeseries`, without keys.

        Args:
            start_s: Moment of the clock that becomes timestamp 0: the start of the measurement.
        """
        rows = [
            {
                "phase": phase,
                "source": rail.source,
                "rail": rail.name,
                "device_index": rail.device_index,
                "device_uuid": rail.device_uuid,
                "timestamp_s": round((moment - start_s) * TICKS_PER_S) / TICKS_PER_S,
                "power_w": reading.power_w,
                "energy_counter_j": reading.energy_counter_j,
                "temperature_c": reading.temperature_c,
                "averaging_s": rail.averaging_s,
            }
            for rail, series in self._series.items()
            for phase, moment, reading in zip(series.phases, series.moments_s, series.readings, strict=True)
        ]
        schema = PowerTimeseries.polars_schema()
        return pl.DataFrame(rows, schema={name: schema[name] for name in COLUMNS})

    def facts(self) -> list[SeriesFacts]:
        """Say what is true of each rail's series."""
        return [self._facts(rail, series) for rail, series in self._series.items()]

    def _facts(self, rail: Rail, series: _Series) -> SeriesFacts:
        told = [
            (moment, value)
            for moment, reading in zip(series.moments_s, series.readings, strict=True)
            if (value := reading.energy_counter_j if rail.semantics == COUNTER else reading.power_w) is not None
        ]
        steps = [later - earlier for (earlier, _), (later, _) in pairwise(told)]
        changes = sum(one != other for (_, one), (_, other) in pairwise(told))
        return SeriesFacts(
            rail=rail,
            requested_period_s=self._period_s,
            observed_period_s=median(steps) if steps else None,
            value_period_s=(told[-1][0] - told[0][0]) / changes if changes else None,
            distinct_share=(changes + 1) / len(told) if told else None,
            failed_reads=self._asked[rail] - len(told),
            gaps=sum(step > GAP_PERIODS * self._period_s for step in steps),
        )

    def _run(self) -> None:
        due_s = self._clock()
        while not self._stop.wait(max(0.0, due_s - self._clock())):
            for sampler in self._samplers:
                self._read(sampler)
            self._round.set()
            due_s += self._period_s
            late_s = self._clock() - due_s
            if late_s > 0:
                due_s += self._period_s * -(-late_s // self._period_s)

    def _read(self, sampler: Sampler) -> None:
        for rail in sampler.rails:
            self._asked[rail] += 1
        phase, before_s = self.phase, self._clock()
        with suppress(Exception):  # whatever a driver does, the next read comes; what is missing counts as failed
            for reading in sampler.read():
                after_s = self._clock()
                series = self._series[reading.rail]
                series.phases.append(phase)
                series.readings.append(reading)
                # The reading took from here to there: the middle errs the least.
                series.moments_s.append((before_s + after_s) / 2)
                phase, before_s = self.phase, after_s


COLUMNS = (
    "phase",
    "source",
    "rail",
    "device_index",
    "device_uuid",
    "timestamp_s",
    "power_w",
    "energy_counter_j",
    "temperature_c",
    "averaging_s",
)
"""Columns of `power_timeseries` that a recorder knows; the keys are the run's."""
