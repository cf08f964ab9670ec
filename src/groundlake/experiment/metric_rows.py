"""Figures of a result that have no column of their own, in long form: what each is, its statistic and its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from groundlake.experiment.result import ExperimentResult, RawProcessResult

MIB = 2**20
"""Bytes of what results call MB."""

AS_RECORDED = "as the tool defines it; what it divides by differs between tools"
POOLED = "over the values of all processes at once; percentiles interpolated linearly"
TRIMMED = f"without the first and last interval of each request, {POOLED}"
PIECES = ("mean", "median", "p95", "p99", "min", "max")


@dataclass(frozen=True)
class Figure:
    """How one field of a result is stored: its metric, statistic, unit, what to multiply by, and its definition."""

    metric: str
    statistic: str = "value"
    unit: str = "1"
    factor: float = 1.0
    phase: str = "all"
    definition: str | None = None


def _latencies(prefix: str, metric: str, samples: str, definition: str) -> dict[str, Figure]:
    """Statistics of one latency: `<prefix>_<statistic>_ms`, and the field with the number of samples."""
    of_each = {f"{prefix}_{name}_ms": Figure(metric, name, "ms", definition=definition) for name in PIECES}
    return of_each | {samples: Figure(metric, "count", definition=definition)}


def _memory(metric: str) -> Figure:
    return Figure(metric, unit="byte", factor=MIB)


LATENCY_STATS = (
    _latencies("ttft", "ttft", "ttft_samples", POOLED)
    | _latencies("itl", "itl_trimmed", "itl_samples", TRIMMED)
    | _latencies("itl_full", "itl", "itl_full_samples", POOLED)
)

EXTENDED = {
    "tpot_ms": Figure("tpot", "mean", "ms", definition="mean of the trimmed inter-token latencies"),
    "token_efficiency_index": Figure("token_efficiency_index", definition=AS_RECORDED),
    "memory.total_vram_mb": _memory("device_memory"),
    "memory.model_memory_mb": _memory("model_memory"),
    "memory.peak_memory_mb": _memory("peak_memory"),
    "memory.inference_memory_mb": _memory("inference_memory"),
    "memory.kv_cache_mb": _memory("kv_cache_memory"),
    "memory.tokens_per_gb_vram": Figure("output_tokens_per_memory", unit="1/GiB", definition="of the peak memory"),
    "memory.model_memory_utilisation": Figure("model_memory_share"),
    "memory.kv_cache_memory_ratio": Figure("kv_cache_memory_share"),
    "gpu_utilisation.sm_utilisation_mean": Figure(
        "gpu_utilization", "mean", "%", definition="share of time in which any kernel ran"
    ),
    "gpu_utilisation.sm_utilisation_samples": Figure("gpu_utilization", "count"),
    "gpu_utilisation.memory_bandwidth_utilisation": Figure("memory_bandwidth_utilization", "mean", "%"),
    "batch.effective_batch_size": Figure("effective_batch_size", "mean"),
    "batch.batch_utilisation": Figure("batch_utilization"),
    "batch.padding_overhead": Figure("padding_overhead"),
    "batch.num_batches": Figure("num_batches"),
    "kv_cache.kv_cache_hit_rate": Figure("kv_cache_hit_rate"),
    "kv_cache.kv_cache_blocks_used": Figure("kv_cache_blocks_used"),
    "kv_cache.kv_cache_blocks_total": Figure("kv_cache_blocks_total"),
} | {
    f"request_latency.{name}": each
    for name, each in _latencies("e2e_latency", "e2e", "e2e_latency_samples", POOLED).items()
}

WARMUP = {
    "converged": Figure("converged", phase="warmup", definition="1: latencies settled, 0: they did not"),
    "final_cv": Figure("latency_cv", phase="warmup", definition="standard deviation over mean of the last window"),
    "iterations_completed": Figure("requests", "count", phase="warmup"),
    "target_cv": Figure("target_cv", phase="warmup"),
    "max_prompts": Figure("max_prompts", phase="warmup"),
    "thermal_floor_wait_s": Figure("thermal_floor_wait", unit="s", phase="warmup"),
}

OF_RESULT = {
    "flops_per_output_token": Figure("flops_per_output_token", unit="FLOP"),
    "flops_per_input_token": Figure("flops_per_input_token", unit="FLOP"),
    "flops_per_second": Figure("flops_per_second", unit="FLOP/s"),
    "aggregation.tokens_per_second_sum": Figure("tokens_per_second_sum", unit="1/s"),
    "aggregation.tokens_per_second_mean": Figure("tokens_per_second_mean", unit="1/s"),
    "aggregation.tokens_per_second_wall": Figure("tokens_per_second_wall", unit="1/s"),
    "multi_gpu.num_gpus": Figure("num_gpus", "count"),
    "multi_gpu.energy_per_output_token_j": Figure("energy_per_output_token", unit="J", definition=AS_RECORDED),
    "model_info.num_layers": Figure("num_layers"),
    "model_info.hidden_size": Figure("hidden_size"),
    "model_info.num_attention_heads": Figure("num_attention_heads"),
    "model_info.vocab_size": Figure("vocab_size"),
}

OF_PROCESS = {
    "inference_metrics.latency_per_token_ms": Figure("latency_per_token", "mean", "ms", definition=AS_RECORDED),
    "inference_metrics.time_to_first_token_ms": Figure("ttft", "mean", "ms", definition=AS_RECORDED),
    "energy_metrics.gpu_power_w": Figure("gpu_power", "mean", "W"),
    "energy_metrics.cpu_power_w": Figure("cpu_power", "mean", "W"),
    "energy_metrics.energy_per_token_j": Figure("energy_per_token", unit="J", definition=AS_RECORDED),
    "compute_metrics.flops_per_token": Figure("flops_per_token", unit="FLOP", definition=AS_RECORDED),
    "compute_metrics.flops_per_second": Figure("flops_per_second", unit="FLOP/s"),
    "thermal_throttle.throttle_duration_sec": Figure("throttled", unit="s"),
    "thermal_throttle.max_temperature_c": Figure("temperature", "max", "°C"),
    "inference_metrics.latency_measurements.request_count": Figure("requests", "count"),
    "inference_metrics.latency_measurements.total_output_tokens": Figure("streamed_output_tokens", "count"),
    "inference_metrics.latency_measurements.excluded_tokens": Figure("trimmed_intervals", "count"),
    "inference_metrics.latency_measurements.warmup_requests_excluded": Figure("requests", "count", phase="warmup"),
}


def _below(prefix: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    return {f"{prefix}.{path}": figure for path, figure in figures.items()}


_SHARED = _below("extended_metrics", EXTENDED) | _below("warmup_result", WARMUP)
RESULT_FIGURES = OF_RESULT | _below("latency_stats", LATENCY_STATS) | _SHARED
PROCESS_FIGURES = OF_PROCESS | _SHARED


def metric_rows(result: ExperimentResult) -> list[dict[str, object]]:
    """Rows of `experiment_metrics`: of all processes, then of each."""
    rows = list(_rows(result.model_dump(exclude={"process_results"}), RESULT_FIGURES, None))
    for process in result.process_results:
        rows += _rows(_figures_of(process), PROCESS_FIGURES, process.process_index)
    return rows


def _figures_of(process: RawProcessResult) -> dict[str, Any]:
    return process.model_dump(exclude={"requests", "effective_config"})


def _rows(
    data: Mapping[str, Any], figures: Mapping[str, Figure], process_index: int | None
) -> Iterator[dict[str, object]]:
    for path, figure in figures.items():
        value: Any = data
        for name in path.split("."):
            value = None if value is None else value.get(name)
        if value is None or (value == 0 and figure.statistic == "count" and figure.phase == "all"):
            continue
        yield {
            "process_index": process_index,
            "phase": figure.phase,
            "metric": figure.metric,
            "statistic": figure.statistic,
            "value": float(value) * figure.factor,
            "value_unit": figure.unit,
            "definition": figure.definition,
        }
