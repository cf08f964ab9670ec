"""Results of an experiment: of one process, and of all of them together."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from groundlake.experiment.base import Amount, Count, Model, Percent, differ
from groundlake.experiment.extended import (
    EnergyBreakdown,
    EnvironmentSnapshot,
    ExtendedEfficiencyMetrics,
    MultiGPUMetrics,
    ThermalThrottleInfo,
    WarmupResult,
)
from groundlake.experiment.latency import LatencyStatistics
from groundlake.experiment.metrics import ComputeMetrics, EnergyMetrics, FlopsResult, InferenceMetrics
from groundlake.experiment.model_info import ModelInfo
from groundlake.experiment.quality import Doubt
from groundlake.experiment.request import RequestRecord
from groundlake.experiment.sidecar import FILE, Readings, digest, encoded
from groundlake.experiment.statements import EnergyStatement

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

SCHEMA_VERSION = "2.0.0"
"""Version that `save` writes. Files are told apart by their fields: the same numbers stand for other layouts too."""

_HASH = re.compile(r"[0-9a-f]{16}")


class Timestamps(Model):
    """Start, end and length of a measurement."""

    start: dt.datetime
    end: dt.datetime
    duration_sec: Amount

    @classmethod
    def from_times(cls, start: dt.datetime, end: dt.datetime) -> Timestamps:
        """Make them from start and end.

        Raises:
            ValueError: The end is before the start.
        """
        refuse_backwards(start, end)
        return cls(start=start, end=end, duration_sec=(end - start).total_seconds())

    @model_validator(mode="after")
    def _refuse_a_clock_that_goes_backwards(self) -> Self:
        refuse_backwards(self.start, self.end)
        return self

    def contradictions(self) -> Iterator[str]:
        """A duration that is not the time between start and end."""
        passed = (self.end - self.start).total_seconds()
        if differ(passed, self.duration_sec):
            yield f"from start to end it is {passed} s, the duration says {self.duration_sec} s"


class RawProcessResult(Model):
    """What one process measured on its GPU.

    Attributes:
        schema_version: Version of the layout.
        experiment_id: Experiment it belongs to.
        backend: What ran the model.
        backend_version: Its version.
        process_index: Number of the process, from 0.
        gpu_id: Index of its GPU; None on a processor, and where a server does not say.
        gpu_uuid: Identity of its GPU that does not change with the index.
        gpu_name: Product name of its GPU.
        gpu_is_mig: Whether that is a slice of a GPU.
        gpu_mig_profile: Which, such as 1g.10gb.
        energy_measurement_warning: What is doubtful about its energy.
        config_name: Name of the configuration.
        model_name: Model that answered.
        timestamps: Start, end, length.
        inference_metrics: Tokens and times.
        energy_metrics: Energy.
        compute_metrics: Work and memory.
        effective_config: Settings.
        extended_metrics: Figures beside the main ones.
        per_request_latencies_ms: Latency of each request, in ms.
        gpu_utilisation_samples: Readings of the GPU's use, in per cent.
        energy_breakdown: Energy less the baseline.
        thermal_throttle: Whether the device lowered its clocks.
        warmup_result: What came before.
        requests: Each request, warm-up too, where they were kept.
    """

    schema_version: str = SCHEMA_VERSION
    experiment_id: str
    backend: str = "pytorch"
    backend_version: str | None = None
    process_index: Count
    gpu_id: Count | None
    gpu_uuid: str | None = None
    gpu_name: str = ""
    gpu_is_mig: bool = False
    gpu_mig_profile: str | None = None
    energy_measurement_warning: str | None = None
    config_name: str
    model_name: str
    timestamps: Timestamps
    inference_metrics: InferenceMetrics
    energy_metrics: EnergyMetrics
    compute_metrics: ComputeMetrics
    effective_config: dict[str, Any] = Field(default_factory=dict)
    extended_metrics: ExtendedEfficiencyMetrics | None = None
    per_request_latencies_ms: list[Amount] = Field(default_factory=list)
    gpu_utilisation_samples: list[Percent] = Field(default_factory=list)
    energy_breakdown: EnergyBreakdown | None = None
    thermal_throttle: ThermalThrottleInfo | None = None
    warmup_result: WarmupResult | None = None
    requests: list[RequestRecord] = Field(default_factory=list)


class AggregationRule(Model):
    """How one figure over several processes was made."""

    figure: str
    rule: str


class AggregationMetadata(Model):
    """How the figures over all processes were made.

    Attributes:
        method: Name of the whole.
        num_processes: Processes.
        temporal_overlap_verified: Whether they ran at the same time.
        gpu_attribution_verified: Whether each had GPUs of its own; None where their GPUs are not known.
        warnings: What is doubtful.
        rules: The rule of each figure.
        tokens_per_second_sum: Sum of the processes' throughputs, in 1/s.
        tokens_per_second_mean: Mean of the processes' throughputs, in 1/s.
        tokens_per_second_wall: All tokens over the time from the first start to the last end, in 1/s.
    """

    method: str = "sum_energy_avg_throughput"
    num_processes: Count
    temporal_overlap_verified: bool = False
    gpu_attribution_verified: bool | None = False
    warnings: list[str] = Field(default_factory=list)
    rules: list[AggregationRule] = Field(default_factory=list)
    tokens_per_second_sum: Amount | None = None
    tokens_per_second_mean: Amount | None = None
    tokens_per_second_wall: Amount | None = None


class ExperimentResult(Model):
    """One experiment over all its processes, as `result.json` holds it.

    Attributes:
        schema_version: Version of the layout; `save` writes the present one.
        experiment_id: Identity of the experiment.
        measurement_config_hash: Hash of the settings that decide what is measured, 16 hexadecimal digits.
        backend: What ran the model.
        backend_version: Its version.
        measurement_methodology: What the figures are about.
        steady_state_window: Begin and end of the window, in s from the start.
        total_tokens: Tokens of prompts and answers; None where those of the prompts are not known.
        input_tokens: Tokens of the prompts.
        output_tokens: Tokens of the answers.
        total_energy_j: Energy, in J; None where it was not measured.
        total_inference_time_sec: Time in which processes inferred, summed over them, in s.
        avg_tokens_per_second: Mean of the processes' throughputs, in 1/s; `aggregation` has their sum.
        avg_energy_per_token_j: Energy for each token of prompts and answers, in J.
        total_flops: Operations, in FLOP; None where they are not known.
        flops_per_output_token: For each token of the answers, in FLOP.
        flops_per_input_token: For each token of the prompts, in FLOP.
        flops_per_second: Rate, in FLOP/s.
        flops: Every estimate of the operations, with what it rests on.
        baseline_power_w: Idle power, in W.
        energy_adjusted_j: Energy less the baseline, in J.
        energy_per_device_j: Energy of each device, in J.
        energy_breakdown: The same with its baseline.
        multi_gpu: Energy by GPU.
        environment_snapshot: Hardware and software.
        energy_statements: Every statement about the energy with its source, method, scope and window, where the
            runner of this project made it; a lake takes these, and derives none from the totals.
        measurement_warnings: What is doubtful, each with what to do.
        measurement_doubts: Those of them that a rule raised, with their figures.
        warmup_excluded_samples: Requests before the measurement.
        reproducibility_notes: How exact the sensor is.
        timeseries_file: Name of the sidecar beside `result.json`; `timeseries` in the file.
        timeseries_sha256: Hash of the sidecar's content.
        start_time: First start.
        end_time: Last end.
        effective_config: Settings.
        process_results: What each process measured.
        aggregation: How the figures were made.
        thermal_throttle: Whether a device lowered its clocks.
        warmup_result: What came before.
        latency_stats: Statistics over the raw latencies of all processes.
        extended_metrics: Figures beside the main ones.
        model_info: The model.
    """

    spellings: ClassVar[dict[str, str]] = {"timeseries": "timeseries_file"}

    schema_version: str = SCHEMA_VERSION
    experiment_id: str
    measurement_config_hash: str | None = None
    backend: str = "pytorch"
    backend_version: str | None = None
    measurement_methodology: Literal["total", "steady_state", "windowed"] = "total"
    steady_state_window: tuple[float, float] | None = None
    total_tokens: Count | None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    total_energy_j: Amount | None
    total_inference_time_sec: Amount | None = None
    avg_tokens_per_second: Amount | None
    avg_energy_per_token_j: Amount | None = None
    total_flops: Amount | None
    flops_per_output_token: Amount | None = None
    flops_per_input_token: Amount | None = None
    flops_per_second: Amount | None = None
    flops: list[FlopsResult] = Field(default_factory=list)
    baseline_power_w: Amount | None = None
    energy_adjusted_j: Amount | None = None
    energy_per_device_j: list[Amount] | None = None
    energy_breakdown: EnergyBreakdown | None = None
    multi_gpu: MultiGPUMetrics | None = None
    environment_snapshot: EnvironmentSnapshot | None = None
    energy_statements: list[EnergyStatement] = Field(default_factory=list)
    measurement_warnings: list[str] = Field(default_factory=list)
    measurement_doubts: list[Doubt] = Field(default_factory=list)
    warmup_excluded_samples: Count | None = None
    reproducibility_notes: str = "Accuracy of the energy is that of its sensor: NVML power is good to about 5 W."
    timeseries_file: str | None = Field(default=None, serialization_alias="timeseries")
    timeseries_sha256: str | None = None
    start_time: dt.datetime | None = None
    end_time: dt.datetime | None = None
    effective_config: dict[str, Any] = Field(default_factory=dict)
    process_results: list[RawProcessResult] = Field(default_factory=list)
    aggregation: AggregationMetadata | None = None
    thermal_throttle: ThermalThrottleInfo | None = None
    warmup_result: WarmupResult | None = None
    latency_stats: LatencyStatistics | None = None
    extended_metrics: ExtendedEfficiencyMetrics | None = None
    model_info: ModelInfo | None = None

    _readings: Readings | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _refuse_what_cannot_be(self) -> Self:
        if self.start_time is not None and self.end_time is not None:
            refuse_backwards(self.start_time, self.end_time)
        if self.steady_state_window is not None and self.steady_state_window[0] > self.steady_state_window[1]:
            raise ValueError(f"steady_state_window ends before it begins: {self.steady_state_window}")
        indices = [process.process_index for process in self.process_results]
        if len(indices) != len(set(indices)):
            raise ValueError(f"process_results name a process twice: indices {indices}")
        return self

    def contradictions(self) -> Iterator[str]:
        """Figures that cannot all be true."""
        if self.measurement_methodology == "steady_state" and self.steady_state_window is None:
            yield "measurement_methodology is steady_state, and steady_state_window says nothing"
        if self.measurement_config_hash is not None and not _HASH.fullmatch(self.measurement_config_hash):
            yield f"measurement_config_hash is not 16 hexadecimal digits: {self.measurement_config_hash!r}"
        if self.input_tokens is not None and self.output_tokens is not None and self.total_tokens is not None:
            both = self.input_tokens + self.output_tokens
            if both != self.total_tokens:
                yield f"{self.total_tokens} tokens in all are not {self.input_tokens} in and {self.output_tokens} out"

    @property
    def timeseries(self) -> pl.DataFrame | None:
        """Power readings of all GPUs (timestamp_s, gpu_power_w, gpu_temperature_c, gpu_index), or None."""
        return None if self._readings is None else self._readings.frame

    @property
    def duration_sec(self) -> float | None:
        """Time from the first start to the last end, in s; None where they are not known."""
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()

    @property
    def tokens_per_joule(self) -> float:
        """Tokens of prompts and answers for each J; 0 where no energy is known."""
        return (self.total_tokens or 0) / self.total_energy_j if self.total_energy_j else 0.0

    def with_timeseries(self, readings: pl.DataFrame | None) -> ExperimentResult:
        """Return the same result with these power readings, which `save` writes beside it."""
        kept = Readings.of(readings)
        made = self.model_copy(
            update={
                "timeseries_file": None if kept is None else FILE,
                "timeseries_sha256": None if kept is None else digest(encoded(kept)),
            }
        )
        made._readings = kept  # noqa: SLF001 - of the same class
        return made

    def save(self, output_dir: str | Path) -> Path:
        """Write `<name>_<time>/result.json`, and `timeseries.parquet` where there are readings, whole or not at all.

        Args:
            output_dir: Folder for results; made when missing.

        Returns:
            Path of `result.json`, from which `from_json` reads the same result.

        Raises:
            UsageError: It holds a value that JSON cannot hold, such as NaN in a setting; the message names the field.
            LakeEnvironmentError: The disk is full, or may not be written; nothing is left behind.
        """
        from groundlake.experiment.persistence import save

        return save(self, Path(output_dir))

    @classmethod
    def from_json(cls, path: str | Path) -> ExperimentResult:
        """Read a result that `save` or another tool wrote, with the sidecar beside it.

        Raises:
            UsageError: There is no such file, or it is no result; the message names the fields.
            CorruptLakeError: The sidecar is torn.
        """
        from groundlake.experiment.persistence import load

        return load(Path(path))


AggregatedResult = ExperimentResult


def refuse_backwards(start: dt.datetime, end: dt.datetime) -> None:
    """Raise where an end is before its start, or the two cannot be compared."""
    if (start.tzinfo is None) != (end.tzinfo is None):
        raise ValueError(f"one of start {start} and end {end} has a time zone, the other has none")
    if end < start:
        raise ValueError(f"the end {end.isoformat()} is before the start {start.isoformat()}")
