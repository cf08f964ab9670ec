"""Power readings around a measured window. Imports no torch."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from typing_extensions import Self

from groundlake.errors import UsageError
from groundlake.power import Recorder, open_sensors

if TYPE_CHECKING:
    from types import TracebackType

    from groundlake.power import Sampler, SeriesFacts

AUTO, NONE = "auto", "none"
TRACE_SUFFIXES = (".csv", ".parquet")
MIN_HZ, MAX_HZ = 0.2, 1000.0


SILENT_PERIODS = 3
"""A rail whose last reading lies this many periods before the end of the window said nothing about the end."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What is missing of one rail's readings.

    Attributes:
        rail: Source and name of the rail.
        failed_reads: Reads without an answer.
        gaps: Pairs of readings too far apart.
        is_silent_at_end: Whether there is none at the end of the window.
    """

    rail: str
    failed_reads: int
    gaps: int
    is_silent_at_end: bool

    def __str__(self) -> str:
        end = ", none at the end of the window" if self.is_silent_at_end else ""
        return f"{self.failed_reads} failed reads, {self.gaps} gaps{end}"


@dataclass(frozen=True, kw_only=True)
class PowerRecord:
    """What the power sensors said about one run.

    Attributes:
        rows: Readings as rows of `power_timeseries`, without keys; timestamp 0 is the start of the window.
        window_s: Length of the window, in s.
        series: What is true of each rail, as the ledger has it.
        notes: Why a sensor, or a part of one, gave nothing, each as `source: reason`.
    """

    rows: pl.DataFrame
    window_s: float
    series: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    def gaps(self) -> list[Gap]:
        """Rails of which readings failed, came late, or ended before the window did."""
        ends = {
            (source, rail, index): last_s
            for source, rail, index, last_s in self.rows.group_by("source", "rail", "device_index")
            .agg(pl.col("timestamp_s").max())
            .iter_rows()
        }
        found = []
        for series in self.series:
            end_s = ends.get((series["source"], series["rail"], series["device_index"]), 0.0)
            gap = Gap(
                rail=f"{series['source']} {series['rail']}",
                failed_reads=series["failed_reads"],
                gaps=series["gaps"],
                is_silent_at_end=end_s < self.window_s - SILENT_PERIODS * series["requested_period_s"],
            )
            found += [gap] if gap.failed_reads or gap.gaps or gap.is_silent_at_end else []
        return found

    def ledger_columns(self) -> dict[str, object]:
        """Columns of the run that say what its power readings are."""
        return {
            "measured_window_s": self.window_s,
            "power_series": list(self.series) or None,
            "power_notes": list(self.notes) or None,
        }


def check_source(source: str, hz: float) -> None:
    """Raise unless this can be asked for.

    Raises:
        UsageError: No such trace, or a rate that no recorder keeps.
    """
    if not MIN_HZ <= hz <= MAX_HZ:
        raise UsageError(f"--power-hz must be between {MIN_HZ:g} and {MAX_HZ:g} reads per second, got {hz:g}")
    if source in (AUTO, NONE):
        return
    if Path(source).suffix not in TRACE_SUFFIXES:
        raise UsageError(
            f"--power must be auto, none, or a recorded trace (.csv or .parquet) to replay, got {source!r}"
        )
    if not Path(source).is_file():
        what = "is no file" if Path(source).exists() else "there is no such file"
        raise UsageError(f"--power {source}: {what}; give auto, none, or a recorded trace to replay (docs/power.md)")


def require_trace(source: str) -> None:
    """Raise unless the trace to replay, if there is one, can be replayed.

    Raises:
        UsageError: It cannot be read, or is no trace.
    """
    if source not in (AUTO, NONE):
        _open(source)


class PowerWatch:
    """Reads the power sensors while a block runs; `mark` is called at both ends of the measured window.

    Args:
        source: `auto` for the sensors of this machine, `none`, or the path of a trace to replay.
        hz: Reads per second of each sensor.
        phase: What goes on in the measured window: measure, or baseline where nothing does.
    """

    def __init__(self, source: str, hz: float, *, phase: str = "measure") -> None:
        samplers, self._notes = _open(source)
        self.has_sensors = bool(samplers)
        self._phase = phase
        self._recorder = Recorder(samplers, hz)
        if phase == "baseline":
            self._recorder.phase = phase  # an idle device does not warm up
        self._marks_s: list[float] = []

    def __enter__(self) -> Self:
        self._recorder.__enter__()
        self._recorder.settle()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._recorder.settle()
        self._recorder.__exit__(kind, error, trace)

    def mark(self) -> None:
        """Note the present moment: called once at the start of the measured window, and once at its end."""
        self._marks_s.append(self._recorder.now())
        self._recorder.phase = self._phase

    def narrow(self, start_s: float, end_s: float) -> None:
        """Take these moments for the ends of the window: other processes know better when their work began and ended.

        Args:
            start_s: On the clock of `time.perf_counter`, which processes of one machine share.
            end_s: The same.
        """
        self._marks_s = [start_s, end_s]

    def record(self) -> PowerRecord:
        """Return what was read, once the block has ended and both ends were marked."""
        start_s, end_s = self._marks_s
        wall_offset_s = time.time() - self._recorder.now() + start_s
        return PowerRecord(
            rows=self._recorder.frame(start_s),
            window_s=end_s - start_s,
            series=tuple(_ledger_entry(facts, wall_offset_s) for facts in self._recorder.facts()),
            notes=tuple(self._notes),
        )


def _open(source: str) -> tuple[list[Sampler], list[str]]:
    if source == NONE:
        return [], ["power: not asked for"]
    if source == AUTO:
        return open_sensors()
    from groundlake.power.replay import ReplaySampler

    return [ReplaySampler.of_file(Path(source))], []


def _ledger_entry(facts: SeriesFacts, wall_offset_s: float) -> dict[str, Any]:
    """Facts of one rail under the names of the ledger's struct."""
    flat = asdict(facts)
    rail = flat.pop("rail")
    del rail["device_uuid"]  # it stands in the rows
    name = rail.pop("name")
    return {**rail, "rail": name, **flat, "wall_offset_s": wall_offset_s}
