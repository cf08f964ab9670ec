"""An experiment as the lake keeps it: one run, and rows of every table that its result has something for."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.experiment import settings
from groundlake.experiment.energy_rows import energy_rows
from groundlake.experiment.flops_rows import flops_rows
from groundlake.experiment.identity import EXPERIMENTS, content_id, is_uuid
from groundlake.experiment.leftover import leftover, sampled_latencies
from groundlake.experiment.metric_rows import metric_rows
from groundlake.experiment.statements import EnergyStatement
from groundlake.experiment.totals import in_bytes, incomplete, memory_bytes, num_requests, token_totals, warmup_requests
from groundlake.schemas import FACT_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from groundlake.experiment.quality import Doubt
    from groundlake.experiment.result import AggregationMetadata, ExperimentResult, RawProcessResult
    from groundlake.power.watch import PowerRecord

__all__ = ["EXPERIMENTS", "KIND", "ExperimentRun", "content_id"]

KIND = "llm_inference"
OURS = "groundlake"
SIDECAR = "sidecar"
BUCKET_S = 1.0
"""The existing tool writes means over a second, stamped 0, 1, 2, ..., and no readings."""

_CODED = re.compile(r"(?P<code>[a-z][a-z0-9_]*): (?P<text>.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ExperimentRun:
    """One experiment on its way into the lake. Implements `store.Recordable`.

    Attributes:
        result: What was measured.
        hardware_id: Device it ran on.
        precision: Precision of the weights, lower case; `none` where it is not known.
        model: Name of the model.
        batch: Prompts in one batch; 0 where it is not known.
        run_id: Identity; None takes `identity`.
        power: Readings of all rails; None takes those of the sidecar, as source `sidecar`.
        doubts: Warnings with their figures; empty takes those of the result. Its further ones are read from texts.
        energy: Statements about energy; empty takes those of the result, or derives them from its totals.
        ledger: Further columns of the run.
        columns: Further columns of `experiments`, such as study and cycle.
        layout: Layout of an imported file; None where it was measured here.
        zone: Zone of times without one; None takes UTC, and says so.
    """

    result: ExperimentResult
    hardware_id: str
    precision: str
    model: str
    batch: int
    run_id: str | None = None
    power: PowerRecord | None = None
    doubts: Sequence[Doubt] = ()
    energy: Sequence[EnergyStatement] = ()
    ledger: Mapping[str, object] = field(default_factory=dict)
    columns: Mapping[str, object] = field(default_factory=dict)
    layout: str | None = None
    zone: dt.tzinfo | None = None

    @classmethod
    def of(cls, result: ExperimentResult, hardware_id: str, **fields: Any) -> ExperimentRun:  # noqa: ANN401 - further fields
        """Make it of a result that says by itself which model, precision and batch it is about."""
        told: dict[str, Any] = {
            "precision": settings.precision_of(result),
            "model": settings.model_of(result),
            "batch": settings.batch_of(result),
        }
        return cls(result=result, hardware_id=hardware_id, **(told | fields))

    @property
    def identity(self) -> str | None:
        """Id of the run: the given one, that of the result where it is a UUID of ours, else one of its content.

        None where the run was measured here and its result has no UUID: then the lake gives it a fresh one.
        """
        if self.run_id is not None:
            return self.run_id
        if self.layout in {None, OURS} and is_uuid(self.result.experiment_id):
            return self.result.experiment_id
        return None if self.layout is None else content_id(self.result)

    def to_frames(self) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
        """Return the columns of the ledger, and the rows of each table."""
        row = self._ledger_row()
        rows: dict[str, list[dict[str, Any]]] = {
            "experiments": [self._experiment(row)],
            "experiment_processes": [self._process(each, row) for each in self.result.process_results],
            "experiment_requests": [
                {"process_index": process.process_index, **request.model_dump()}
                for process in self.result.process_results
                for request in process.requests
            ],
            "latency_samples": list(_latency_samples(self.result)),
            "energy_estimates": [each.model_dump() for each in self.energy or self._told_energy()],
            "flops_estimates": list(flops_rows(self.result)),
            "experiment_metrics": metric_rows(self.result),
            "measurement_warnings": list(self._warnings()),
            "experiment_settings": settings.setting_rows(self.result),
        }
        frames = {name: _frame(name, each) for name, each in rows.items() if each}
        readings = _sidecar_rows(self.result, self._averaging_s) if self.power is None else self.power.rows
        if readings is not None:
            frames["power_timeseries"] = readings
        return row, frames

    def _told_energy(self) -> list[EnergyStatement]:
        return self.result.energy_statements or energy_rows(self.result, age_at_end=self._is_foreign)

    @property
    def _is_foreign(self) -> bool:
        """Whether another tool wrote the result."""
        return self.layout not in {None, OURS}

    @property
    def _averaging_s(self) -> float | None:
        """Time over which the sidecar's readings are means; None where it is not known."""
        series = self.result.timeseries
        if series is None or not self._is_foreign:
            return None
        return BUCKET_S if (series["timestamp_s"] % 1 == 0).all() else None

    def _ledger_row(self) -> dict[str, Any]:
        result = self.result
        started, source = self._utc(result.start_time)
        row: dict[str, Any] = {
            "run_id": self.identity,
            "kind": KIND,
            "hardware_id": self.hardware_id,
            "precision": self.precision,
            "model": self.model,
            "batch": self.batch,
            "device": settings.device_of(result),
            "thermal_profile": settings.text_setting(result.effective_config, ("thermal_profile",)),
            "schema_version": result.schema_version,
            "started_at": started,
            "started_at_zone_source": source,
            "source_measurement_date": result.start_time.isoformat() if result.start_time and self.layout else None,
            "duration_s": result.duration_sec,
            "config_hash": result.measurement_config_hash,
            "session_id": settings.text_setting(result.effective_config, settings.STUDY_NAMES),
            "run_index": settings.count_setting(result.effective_config, settings.CYCLE_NAMES),
            "warmup_runs": warmup_requests(result),
            "timed_runs": num_requests(result),
            "warnings": self._ledger_warnings(),
            **settings.versions(result.environment_snapshot),
            **(self._sidecar_facts() if self.power is None else self.power.ledger_columns()),
        }
        return row | dict(self.ledger)

    def _ledger_warnings(self) -> list[str] | None:
        texts = [f"{each['code']}: {each['message']}" for each in self._warnings()]
        derived = token_totals(self.result)[2]
        return list(dict.fromkeys([*texts, *([derived] if derived else [])])) or None

    def _sidecar_facts(self) -> dict[str, object]:
        """What the ledger says of the readings of a sidecar."""
        series = self.result.timeseries
        if series is None:
            return {}
        averaging = self._averaging_s
        entries = [
            {
                "source": SIDECAR,
                "rail": "gpu",
                "device_index": index,
                "semantics": "average_1s" if averaging else "average_unknown",
                "observed_period_s": rows["timestamp_s"].diff().median(),
            }
            for (index,), rows in series.group_by("gpu_index", maintain_order=True)
        ]
        note = "sidecar: means over a second, from the first reading on, not from the start of the measurement"
        return {
            "measured_window_s": self.result.duration_sec,
            "power_series": entries,
            "power_notes": [note] if averaging else None,
        }

    def _utc(self, moment: dt.datetime | None) -> tuple[dt.datetime | None, str | None]:
        """A moment in UTC, and how its zone is known."""
        if moment is None:
            return None, None
        if moment.tzinfo is not None:
            return moment.astimezone(dt.timezone.utc).replace(tzinfo=None), "file" if self.layout else "clock"
        if self.zone is None:
            return moment, "assumed_utc"
        return moment.replace(tzinfo=self.zone).astimezone(dt.timezone.utc).replace(tzinfo=None), "option"

    def _experiment(self, row: Mapping[str, Any]) -> dict[str, Any]:
        result, config = self.result, self.result.effective_config
        inputs, outputs, _ = token_totals(result)
        window = result.steady_state_window or (None, None)
        aggregation, throttle, info = result.aggregation, result.thermal_throttle, result.model_info
        processes = (aggregation.num_processes if aggregation else 0) or len(result.process_results) or None
        several = aggregation is not None and (processes or 0) > 1
        told: dict[str, Any] = {
            "experiment_id": result.experiment_id,
            "result_schema_version": result.schema_version,
            "result_layout": self.layout,
            "study": settings.text_setting(config, settings.STUDY_NAMES),
            "cycle": settings.count_setting(config, settings.CYCLE_NAMES),
            "backend": result.backend,
            "backend_version": result.backend_version,
            "measurement_methodology": result.measurement_methodology,
            "window_start_s": window[0],
            "window_end_s": window[1],
            "num_processes": processes,
            "num_requests": row["timed_runs"],
            "warmup_requests": row["warmup_runs"],
            "concurrency": settings.count_setting(config, settings.CONCURRENCY_NAMES),
            "max_new_tokens": settings.count_setting(config, settings.TOKEN_LIMIT_NAMES),
            "input_tokens": inputs,
            "output_tokens": outputs,
            "total_tokens": result.total_tokens,
            "inference_time_s": result.total_inference_time_sec,
            "wall_time_s": result.duration_sec,
            "recorded_tokens_per_second": result.avg_tokens_per_second,
            "recorded_energy_per_token_j": result.avg_energy_per_token_j,
            "peak_memory_bytes": memory_bytes(result, "peak_memory_mb"),
            "model_memory_bytes": memory_bytes(result, "model_memory_mb"),
            "throttled": None if throttle is None else throttle.detected or bool(throttle.reasons),
            "throttled_s": None if throttle is None else throttle.throttle_duration_sec,
            "max_temperature_c": None if throttle is None else throttle.max_temperature_c,
            "overlap_verified": aggregation.temporal_overlap_verified if aggregation and several else None,
            "devices_verified": _own_devices(aggregation, several=several),
            "aggregation_rules": [rule.model_dump() for rule in aggregation.rules] or None if aggregation else None,
            "timeseries_file": result.timeseries_file,
            "other_json": leftover(result, self.model, age_at_end=self._is_foreign),
        }
        if info is not None:
            told |= {
                "num_parameters": info.num_parameters,
                "architecture": info.architecture or info.model_type,
                "context_length": info.context_length or None,
                "quantization_method": info.quantization.method,
                "quantization_bits": info.quantization.bits or None,
            }
        return told | dict(self.columns)

    def _process(self, process: RawProcessResult, row: Mapping[str, Any]) -> dict[str, Any]:
        inference, compute = process.inference_metrics, process.compute_metrics
        return {
            "process_index": process.process_index,
            "device_index": None if row["device"] == "cpu" else process.gpu_id,
            "device_uuid": process.gpu_uuid,
            "device_name": process.gpu_name or None,
            "mig_profile": process.gpu_mig_profile or ("unknown" if process.gpu_is_mig else None),
            "started_at": self._utc(process.timestamps.start)[0],
            "ended_at": self._utc(process.timestamps.end)[0],
            "inference_time_s": inference.inference_time_sec,
            "input_tokens": inference.input_tokens,
            "output_tokens": inference.output_tokens,
            "total_tokens": inference.total_tokens,
            "recorded_tokens_per_second": inference.tokens_per_second,
            "peak_memory_bytes": in_bytes(compute.peak_memory_mb),
            "model_memory_bytes": in_bytes(compute.model_memory_mb),
        }

    def _warnings(self) -> Iterator[dict[str, object]]:
        """The doubts with their figures, then the texts that are none of them."""
        kept = list(self.doubts) or self.result.measurement_doubts
        for doubt in kept:
            yield {
                "process_index": None,
                "code": doubt.code,
                "message": str(doubt).removeprefix(f"{doubt.code}: "),
                "observed": doubt.observed,
                "threshold": doubt.threshold,
                "value_unit": doubt.unit,
                "advice": doubt.advice,
                "rules_version": doubt.rules_version,
            }
        of_processes = {
            f"process {process.process_index}: {process.energy_measurement_warning}": process
            for process in self.result.process_results
            if process.energy_measurement_warning
        }
        known = {str(doubt) for doubt in kept} | of_processes.keys()
        for text in _texts(self.result):
            if text not in known:
                yield _warning(text, None)
        if (why := incomplete(self.result)) is not None:
            yield _warning(f"incomplete: {why}", None)
        for process in of_processes.values():
            yield _warning(str(process.energy_measurement_warning), process.process_index, "energy_measurement")


def _own_devices(told: AggregationMetadata | None, *, several: bool) -> bool | None:
    """Whether no two processes shared a GPU; None where nobody knows. One alone has nobody to share it with."""
    if told is None or told.gpu_attribution_verified is None:
        return None
    return told.gpu_attribution_verified or not several


def _frame(table: str, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows with the columns of their table that they fill; a value of a wrong type is for the contract to name."""
    rows = list(rows)
    types = FACT_TABLES[table].polars_schema()
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame(rows, schema={name: types[name] for name in names}, strict=True)


def _texts(result: ExperimentResult) -> list[str]:
    """Warnings of a result, each once: those of its aggregation stand in both lists."""
    also = [] if result.aggregation is None else result.aggregation.warnings
    return list(dict.fromkeys([*result.measurement_warnings, *also]))


def _warning(text: str, process_index: int | None, code: str = "warning") -> dict[str, object]:
    coded = _CODED.fullmatch(text)
    message = coded["text"] if coded else text
    return {"process_index": process_index, "code": coded["code"] if coded else code, "message": message or text}


def _latency_samples(result: ExperimentResult) -> Iterator[dict[str, object]]:
    for process in result.process_results:
        measured = process.inference_metrics.latency_measurements
        timing = None if measured is None else measured.measurement_method
        for metric, samples in sampled_latencies(process):
            yield {
                "process_index": process.process_index,
                "metric": metric,
                "token_timing": timing,
                "samples_ms": samples,
            }


def _sidecar_rows(result: ExperimentResult, averaging_s: float | None) -> pl.DataFrame | None:
    """Readings of the sidecar as rows of `power_timeseries`."""
    series = result.timeseries
    if series is None:
        return None
    uuids = {each.gpu_id: each.gpu_uuid for each in result.process_results if each.gpu_id is not None}
    return series.select(
        phase=pl.lit("measure"),
        source=pl.lit(SIDECAR),
        rail=pl.lit("gpu"),
        device_index=pl.col("gpu_index"),
        device_uuid=pl.col("gpu_index").replace_strict(uuids, default=None, return_dtype=pl.String),
        timestamp_s=pl.col("timestamp_s"),
        power_w=pl.col("gpu_power_w"),
        temperature_c=pl.col("gpu_temperature_c"),
        averaging_s=pl.lit(averaging_s, dtype=pl.Float64),
    )
