"""From what the measuring process found to the rows of the lake: statistics, efficiencies, warnings, failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake import __version__
from groundlake.ground_truth import MeasurementRecord
from groundlake.layout import new_id
from groundlake.machine import gpu_index
from groundlake.measure.doubts import doubts_about
from groundlake.measure.int8.found import TABLE, quantization_run
from groundlake.measure.int8.settings import INT8
from groundlake.measure.plan import config_hash
from groundlake.stats.intervals import summarize
from groundlake.stats.timed import timed_subgraph

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from groundlake.ground_truth import SubgraphMeasurement
    from groundlake.measure.cut import Subgraph
    from groundlake.measure.doubts import Doubt
    from groundlake.measure.messages import Measured
    from groundlake.measure.plan import PlannedRun, SweepSettings

END_TO_END = "end_to_end"
_OF_PARTS = ("num_subgraphs", "total_bytes", "total_latency_ms", "total_latency_std_ms", "throughput_fps")
"""Columns of a run that nobody knows where parts were not timed singly."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measured run: the record of schema 2.0 and everything that it cannot carry. Implements `store.Recordable`.

    Attributes:
        record: Subgraphs with their statistics, and the model summary.
        measured: Raw samples (ms), conditions and versions, as the measuring process found them.
        warnings: What is doubtful, each as `code: text`.
    """

    run: PlannedRun
    settings: SweepSettings
    measured: Measured
    record: MeasurementRecord
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, run: PlannedRun, settings: SweepSettings, measured: Measured, doubts: Sequence[Doubt] = ()
    ) -> Measurement:
        """Compute the statistics of a measured configuration.

        Args:
            run: What was to be measured.
            settings: How.
            measured: What the measuring process found.
            doubts: What was doubtful about the run before it began.
        """
        record = _record(run, settings, measured)
        every = (*settings.doubts, *doubts, *measured.warnings, *doubts_about(record, measured, settings))
        warnings = tuple(str(doubt) for doubt in every)
        return cls(run=run, settings=settings, measured=measured, record=record, warnings=warnings)

    def int8_in_words(self) -> str | None:
        """Say what a network in int8 was made with and what that came to; None in another precision."""
        found, chosen = self.measured.int8, self.settings.int8
        return None if found is None or chosen is None else found.in_words(chosen)

    def refused(self, reason: str) -> FailedMeasurement:
        """Return the failure that this becomes where it cannot be kept."""
        return FailedMeasurement(
            run=self.run,
            settings=self.settings,
            reason=reason,
            started_at=self.measured.started_at,
            duration_s=self.measured.duration_s,
            software=self.measured.software,
        )

    def to_runs(self) -> list[tuple[dict[str, object], dict[str, pl.DataFrame]]]:
        """Return the run, and beside it that of the quantization its model comes from, if it does."""
        row, frames = self.to_frames()
        found, chosen = self.measured.int8, self.settings.int8
        if found is None or chosen is None:
            return [(row, frames)]
        run_id = new_id()
        attempt = _attempt(
            self.run, self.settings, self.measured.started_at, self.measured.duration_s, self.measured.software
        )
        quantized = quantization_run(attempt, run_id), {TABLE: found.row(chosen, run_id)}
        return [(row | {"run_id": run_id}, frames), quantized]

    def to_frames(self) -> tuple[dict[str, object], dict[str, pl.DataFrame]]:
        """Return the run's columns of the ledger, its subgraph timings with raw samples, and its power readings."""
        row, frames = self.record.to_frames()
        measured = self.measured
        whole = summarize(measured.end_to_end_ms)
        row |= {
            **_attempt(self.run, self.settings, measured.started_at, measured.duration_s, measured.software),
            "status": "ok",
            "source_measurement_date": None,
            "end_to_end_latency_ms": whole["mean"],
            "end_to_end_latency_std_ms": whole["std"],
            "end_to_end_samples_ms": list(measured.end_to_end_ms),
            "timed_runs": len(measured.end_to_end_ms),
            "timing_method": measured.timing_method,
            "flops_method": measured.flops_method,
            "system_before": measured.system_before,
            "system_under_load": measured.system_under_load,
            "system_after": measured.system_after,
            "warnings": list(self.warnings) or None,
        }
        if measured.power is not None:
            row |= measured.power.ledger_columns()
            frames = {**frames, "power_timeseries": measured.power.rows}
        if measured.timing_method == END_TO_END:
            return row | dict.fromkeys(_OF_PARTS) | {"total_flops": measured.total_flops}, _without_timings(frames)
        samples = pl.Series(
            "latency_samples_ms", [list(each) for each in measured.subgraph_ms], dtype=pl.List(pl.Float64)
        )
        timings = frames["subgraph_timings"].with_columns(samples)
        return row, {**frames, "subgraph_timings": timings}


def _without_timings(frames: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    return {name: frame for name, frame in frames.items() if name != "subgraph_timings"}


@dataclass(frozen=True, kw_only=True)
class FailedMeasurement:
    """An attempt without a result, kept so that "failed" and "never tried" differ. Implements `store.Recordable`.

    Attributes:
        reason: Why there is no result.
        started_at: Aware, UTC.
        software: Versions and fingerprints, named as in the ledger.
    """

    run: PlannedRun
    settings: SweepSettings
    reason: str
    started_at: datetime
    duration_s: float
    software: dict[str, Any]

    def to_runs(self) -> list[tuple[dict[str, object], dict[str, pl.DataFrame]]]:
        """Return the run; nothing else came of it."""
        return [self.to_frames()]

    def to_frames(self) -> tuple[dict[str, object], dict[str, pl.DataFrame]]:
        """Return the run's columns of the ledger; there are no fact rows, and no pass of it counts."""
        row = _attempt(self.run, self.settings, self.started_at, self.duration_s, self.software)
        chosen = self.settings.int8 if self.run.configuration.precision == INT8 else None
        error = self.reason if chosen is None else f"{self.reason}\n  {chosen.in_words()}"
        return row | {"status": "failed", "error": error, "timing_method": "none", "warmup_runs": None}, {}


def _attempt(
    run: PlannedRun, settings: SweepSettings, started_at: datetime, duration_s: float, software: dict[str, Any]
) -> dict[str, object]:
    """Columns of the ledger that say what was tried, how, on what and when, whatever came of it."""
    wanted = run.configuration
    peak = settings.peaks.get(wanted.precision) or None
    return {
        **software,
        "kind": "efficiency",
        "schema_version": "2.0",
        "tool_version": f"groundlake {__version__}",
        "hardware_id": settings.hardware_id,
        "precision": wanted.precision,
        "model": wanted.model,
        "batch": wanted.batch,
        "device": settings.device_kind,
        "device_index": gpu_index(settings.device),
        "thermal_profile": settings.thermal_profile,
        "theoretical_peak_flops": peak,
        "theoretical_peak_source": settings.peak_source if peak else None,
        "started_at": started_at,
        "started_at_zone_source": "clock",
        "duration_s": duration_s,
        "run_index": run.run_index,
        "session_id": settings.session,
        "config_hash": config_hash(wanted, settings),
        "warmup_runs": settings.warmup,
        "note": settings.note,
    }


def _record(run: PlannedRun, settings: SweepSettings, measured: Measured) -> MeasurementRecord:
    """Turn raw samples into the record of schema 2.0."""
    wanted = run.configuration
    peak = settings.peaks.get(wanted.precision)
    rows = [
        _subgraph(subgraph, samples, peak, wanted.model)
        for subgraph, samples in zip(measured.subgraphs, measured.subgraph_ms, strict=True)
    ]
    return MeasurementRecord(
        model=wanted.model,
        hardware_id=settings.hardware_id,
        device=settings.device_kind,
        precision=wanted.precision.upper(),
        thermal_profile=settings.thermal_profile,
        theoretical_peak_flops=peak or 0.0,
        measurement_date=measured.started_at.isoformat(),
        subgraphs=rows,
        batch_size=wanted.batch,
        input_shape=list(measured.input_shape),
        run_index=run.run_index,
    )


def _subgraph(subgraph: Subgraph, samples_ms: Sequence[float], peak: float | None, model: str) -> SubgraphMeasurement:
    return timed_subgraph(
        samples_ms,
        model=model,
        subgraph_id=subgraph.subgraph_id,
        flops=subgraph.flops,
        total_bytes=subgraph.total_bytes,
        node_names=subgraph.node_names,
        fusion_pattern=subgraph.fusion_pattern,
        operation_type=subgraph.operation_type,
        theoretical_peak_flops=peak,
    )
