"""What a result says that no column of the lake holds: found by taking away all that one does hold."""

from __future__ import annotations

import json
from math import isclose
from typing import TYPE_CHECKING, Any

from groundlake.experiment.metric_rows import PROCESS_FIGURES, RESULT_FIGURES
from groundlake.experiment.totals import warmup_requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.experiment.extended import EnergyBreakdown
    from groundlake.experiment.result import ExperimentResult, RawProcessResult

SAME_MS = 1e-6
"""Difference, in ms, up to which two latencies are the same: one was computed from moments of a clock."""

RESULT_COLUMNS = (
    *("schema_version", "experiment_id", "measurement_config_hash", "backend", "backend_version"),
    *("measurement_methodology", "steady_state_window", "total_tokens", "input_tokens", "output_tokens"),
    *("total_energy_j", "total_inference_time_sec", "avg_tokens_per_second", "avg_energy_per_token_j"),
    *("total_flops", "flops", "energy_per_device_j", "environment_snapshot"),
    *("measurement_warnings", "timeseries", "start_time", "end_time", "effective_config"),
    *("energy_statements", "measurement_doubts"),
    *("energy_breakdown.raw_j", "energy_breakdown.baseline_power_w", "energy_breakdown.baseline_method"),
    *("energy_breakdown.adjusted_unclamped_j",),
    *("aggregation.num_processes", "aggregation.temporal_overlap_verified", "aggregation.gpu_attribution_verified"),
    *("aggregation.warnings", "aggregation.rules", "multi_gpu.energy_per_gpu_j"),
    *("thermal_throttle.throttle_duration_sec", "thermal_throttle.max_temperature_c"),
    *("model_info.num_parameters", "model_info.architecture", "model_info.context_length"),
    *("model_info.quantization.method", "model_info.quantization.bits"),
)
"""Fields of a result that are columns, rows or parts of them."""

PROCESS_COLUMNS = (
    *("process_index", "gpu_id", "gpu_uuid", "gpu_name", "gpu_mig_profile", "energy_measurement_warning"),
    *("timestamps.start", "timestamps.end", "requests"),
    *(f"inference_metrics.{name}" for name in ("total_tokens", "input_tokens", "output_tokens")),
    *("inference_metrics.inference_time_sec", "inference_metrics.tokens_per_second"),
    *(f"energy_metrics.{part}_energy_j" for part in ("total", "gpu", "cpu", "ram")),
    *("energy_breakdown.raw_j", "energy_breakdown.baseline_power_w"),
    *("energy_breakdown.baseline_method", "energy_breakdown.adjusted_unclamped_j"),
    *("compute_metrics.flops_total", "compute_metrics.flops_method", "compute_metrics.flops_confidence"),
    *("compute_metrics.compute_precision", "compute_metrics.peak_memory_mb", "compute_metrics.model_memory_mb"),
)
"""Fields of a process that are columns, rows or parts of them."""

BASELINE_AGE = "energy_breakdown.baseline_cache_age_sec"

SHARED = ("experiment_id", "schema_version", "backend", "backend_version", "effective_config")
"""Fields of a process that mostly repeat those of the result."""

LATENCY_LISTS = {"ttft_ms": "ttft", "itl_full_ms": "itl", "itl_trimmed_ms": "itl_trimmed"}
"""List of a process to the metric of `latency_samples`."""


def leftover(result: ExperimentResult, model: str, *, age_at_end: bool = False) -> str | None:
    """As JSON, what no column holds; None where that is nothing.

    Args:
        result: The result.
        model: Name of the model in the lake.
        age_at_end: Whether the ages of its baselines are those at the end of the measurement: columns have others.
    """
    whole = result.model_dump(mode="json", by_alias=True, exclude={"process_results"})
    shared = {name: whole[name] for name in SHARED}
    data = dict(whole)
    age = () if age_at_end else (BASELINE_AGE,)
    for path in (*RESULT_COLUMNS, *RESULT_FIGURES, *age, "timeseries_sha256"):
        _take(data, path)
    if result.multi_gpu is not None and result.total_energy_j in {None, result.multi_gpu.energy_total_j}:
        _take(data, "multi_gpu.energy_total_j")
    if result.warmup_excluded_samples == warmup_requests(result):
        _take(data, "warmup_excluded_samples")
    _take_baseline(data, result)
    _take_flags(data)
    if data["reproducibility_notes"] == type(result).model_fields["reproducibility_notes"].default:
        del data["reproducibility_notes"]
    if result.model_info is not None and result.model_info.name == model:
        _take(data, "model_info.name")
    data["process_results"] = {
        str(process.process_index): _of_process(process, shared, model, age) for process in result.process_results
    }
    kept = _pruned(data)
    return json.dumps(kept, ensure_ascii=False, sort_keys=True) if kept else None


def _of_process(process: RawProcessResult, shared: dict[str, Any], model: str, age: tuple[str, ...]) -> dict[str, Any]:
    data = process.model_dump(mode="json")
    for path in (*PROCESS_COLUMNS, *PROCESS_FIGURES, *age):
        _take(data, path)
    for name, value in shared.items():
        if data[name] == value:
            del data[name]
    if data["model_name"] == model:
        del data["model_name"]
    times = process.timestamps
    if times.duration_sec == (times.end - times.start).total_seconds():
        _take(data, "timestamps.duration_sec")
    if process.gpu_mig_profile is not None or not process.gpu_is_mig:
        del data["gpu_is_mig"]
    if sampled_latencies(process) or latencies_are_of_requests(process):
        del data["per_request_latencies_ms"]
        for name in (*LATENCY_LISTS, "measurement_method", "streaming_mode"):
            _take(data, f"inference_metrics.latency_measurements.{name}")
    _take_of_energy(data, process)
    _take_flags(data)
    return data


def _take_of_energy(data: dict[str, Any], process: RawProcessResult) -> None:
    """What goes along with an energy is told where there is one."""
    told = process.energy_metrics
    if told.total_energy_j is not None:
        _take(data, "energy_metrics.emissions_kg_co2")
    if any(part is not None for part in (told.total_energy_j, told.gpu_energy_j, told.cpu_energy_j, told.ram_energy_j)):
        for name in ("duration_sec", "source", "method"):
            _take(data, f"energy_metrics.{name}")
    if process.energy_breakdown is not None and _is_told(process.energy_breakdown):
        _take(data, "energy_breakdown.adjusted_j")


def _take_baseline(data: dict[str, Any], result: ExperimentResult) -> None:
    """What the result says beside its breakdown is told where both agree, or where there is no breakdown."""
    breakdown = result.energy_breakdown
    adjusted, power = result.energy_adjusted_j, result.baseline_power_w
    if breakdown is not None and _is_told(breakdown):
        _take(data, "energy_breakdown.adjusted_j")
    first = breakdown is None and result.total_energy_j is not None
    if (first and adjusted) or (breakdown is not None and breakdown.adjusted_j == adjusted):
        _take(data, "energy_adjusted_j")
    if first or (breakdown is not None and breakdown.baseline_power_w == power):
        _take(data, "baseline_power_w")


def _is_told(breakdown: EnergyBreakdown) -> bool:
    """Whether the difference that the lake holds tells the adjusted energy, which is that, or 0 where that is less."""
    if breakdown.adjusted_unclamped_j is None:
        return bool(breakdown.adjusted_j)
    return breakdown.adjusted_j == max(0.0, breakdown.adjusted_unclamped_j)


def _take_flags(data: dict[str, Any]) -> None:
    """Reasons of throttling that were not seen are not named; that it was, is a column."""
    flags = data.get("thermal_throttle")
    if flags is not None:
        data["thermal_throttle"] = {
            name: value for name, value in flags.items() if value is not False and name != "detected"
        }


def sampled_latencies(process: RawProcessResult) -> list[tuple[str, list[float]]]:
    """Latencies of a process that does not know its requests: metric and samples, in ms."""
    if process.requests:
        return []
    measured = process.inference_metrics.latency_measurements
    lists = {"e2e": process.per_request_latencies_ms}
    if measured is not None:
        lists |= {metric: getattr(measured, name) for name, metric in LATENCY_LISTS.items()}
    return [(metric, samples) for metric, samples in lists.items() if samples]


def latencies_are_of_requests(process: RawProcessResult) -> bool:
    """Whether all latencies of a process are those of its requests, which the lake has one by one."""
    answered = [each for each in process.requests if each.phase == "measure" and each.status == "ok"]
    measured = process.inference_metrics.latency_measurements
    steps = [each.inter_token_latencies_ms or [] for each in answered]
    of_requests = {
        "ttft_ms": [each.time_to_first_token_ms for each in answered if each.time_to_first_token_ms is not None],
        "itl_full_ms": [step for each in steps for step in each],
        "itl_trimmed_ms": [step for each in steps for step in each[1:-1]],
    }
    whole = [each.end_to_end_latency_ms for each in answered if each.end_to_end_latency_ms is not None]
    pairs = [(process.per_request_latencies_ms, whole)]
    if measured is not None:
        pairs += [(getattr(measured, name), values) for name, values in of_requests.items()]
    return bool(process.requests) and all(not told or _same(told, known) for told, known in pairs)


def _same(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(
        isclose(a, b, rel_tol=1e-9, abs_tol=SAME_MS) for a, b in zip(sorted(one), sorted(other), strict=True)
    )


def _take(data: dict[str, Any], path: str) -> None:
    """Remove what lies at a path, where anything does."""
    *way, name = path.split(".")
    inner: Any = data
    for step in way:
        inner = inner.get(step)
        if inner is None:
            return
    inner.pop(name, None)


def _pruned(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The same without nulls and without what is empty then."""
    if isinstance(value, dict):
        inner = {name: _pruned(each) for name, each in value.items()}
        return {name: each for name, each in inner.items() if each not in (None, {}, [])}
    if isinstance(value, list):
        return [_pruned(each) for each in value]
    return value
