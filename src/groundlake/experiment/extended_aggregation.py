"""Figures beside the main ones over several processes: sums of parts, raw values put together, statistics once."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from groundlake.experiment.extended import (
    BatchMetrics,
    ExtendedEfficiencyMetrics,
    GpuUtilisationMetrics,
    KvCacheMetrics,
    MemoryMetrics,
    RequestLatencyMetrics,
)
from groundlake.experiment.settings import BATCH_NAMES, count_setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from groundlake.experiment.result import RawProcessResult

MIB_OF_GIB = 1024.0

PRECISION_FACTOR = 1.0
"""Weight of a precision in the token efficiency index: none, for quantized weights do not make fewer operations."""

EXTENDED_RULES = {
    "extended_metrics.token_efficiency_index": "avg_tokens_per_second times output tokens for each J, factor 1.0",
    "extended_metrics.memory.peak_memory_mb": "highest of the processes",
    "extended_metrics.memory.total_vram_mb": "sum over processes, None where one is not known",
    "extended_metrics.memory.model_memory_mb": "sum over processes, None where one is not known",
    "extended_metrics.memory.inference_memory_mb": "highest of the processes: the peak of each less its model, from 0",
    "extended_metrics.memory.kv_cache_mb": "that of the first process that knows it",
    "extended_metrics.memory.tokens_per_gb_vram": "output tokens of all for each GiB of the highest peak",
    "extended_metrics.memory.model_memory_utilisation": "memory of the models over that of the devices",
    "extended_metrics.gpu_utilisation": "readings of all processes put together, None where one has none",
    "extended_metrics.batch": "means over processes; number of batches: sum; None where one is not known",
    "extended_metrics.kv_cache": "that of the first process that knows it",
    "extended_metrics.request_latency": "latencies of all processes put together, statistics made once",
}
"""What is done with each of these figures, as in `aggregation.RULES`."""


def extended_over(
    processes: Sequence[RawProcessResult],
    *,
    energy_j: float | None,
    tokens_per_second: float | None,
    tpot_ms: float | None = None,
) -> ExtendedEfficiencyMetrics | None:
    """Make the figures beside the main ones from all processes; None where nothing is known.

    Args:
        processes: At least one.
        energy_j: Energy of all, in J.
        tokens_per_second: Throughput, in 1/s.
        tpot_ms: Mean of the trimmed times between two tokens of all, in ms.
    """
    counted = [process.inference_metrics.output_tokens for process in processes]
    known = [tokens for tokens in counted if tokens is not None]
    tokens = sum(known) if len(known) == len(counted) else None
    parts = [process.extended_metrics or ExtendedEfficiencyMetrics() for process in processes]
    made = ExtendedEfficiencyMetrics(
        tpot_ms=tpot_ms,
        token_efficiency_index=token_efficiency_index(tokens, energy_j, tokens_per_second),
        memory=_memory(processes, tokens),
        gpu_utilisation=_utilisation(processes, parts),
        batch=_batch(processes, parts),
        kv_cache=next((part.kv_cache for part in parts if part.kv_cache != KvCacheMetrics()), KvCacheMetrics()),
        request_latency=request_latency(_all_values([each.per_request_latencies_ms for each in processes])),
    )
    if len(parts) == 1:
        made = _filled(made, parts[0])
    # The index is a product of figures that stand elsewhere: alone it says nothing new.
    alone = ExtendedEfficiencyMetrics(token_efficiency_index=made.token_efficiency_index)
    return None if made == alone else made


def token_efficiency_index(
    output_tokens: int | None, energy_j: float | None, tokens_per_second: float | None, factor: float = PRECISION_FACTOR
) -> float | None:
    """Throughput times output tokens for each J; None without tokens, energy or throughput.

    Args:
        output_tokens: Tokens of the answers.
        energy_j: Energy, in J.
        tokens_per_second: Throughput, in 1/s.
        factor: Weight of the precision.
    """
    if not (output_tokens and energy_j and tokens_per_second):
        return None
    return tokens_per_second * (output_tokens / energy_j) * factor


def request_latency(whole_ms: Sequence[float]) -> RequestLatencyMetrics:
    """Statistics of whole requests, in ms; percentiles are interpolated linearly."""
    if not whole_ms:
        return RequestLatencyMetrics()
    median, p95, p99 = np.percentile(whole_ms, [50, 95, 99])
    return RequestLatencyMetrics(
        e2e_latency_mean_ms=fmean(whole_ms),
        e2e_latency_median_ms=float(median),
        e2e_latency_p95_ms=float(p95),
        e2e_latency_p99_ms=float(p99),
        e2e_latency_samples=len(whole_ms),
    )


def _filled(made: ExtendedEfficiencyMetrics, told: ExtendedEfficiencyMetrics) -> ExtendedEfficiencyMetrics:
    """What was made of raw values, and beside it what the only process tells by itself."""
    own = made.model_dump(exclude_defaults=True)
    both = {
        name: value | own.get(name, {}) if isinstance(value, dict) else own.get(name, value)
        for name, value in told.model_dump().items()
    }
    return ExtendedEfficiencyMetrics(**both)


def _memory(processes: Sequence[RawProcessResult], tokens: int | None) -> MemoryMetrics:
    """Memory in MiB: the fullest device bounds what fits, the weights lie on all devices together."""
    told = [each.extended_metrics.memory if each.extended_metrics else MemoryMetrics() for each in processes]
    compute = [process.compute_metrics for process in processes]
    peaks = [one.peak_memory_mb or other.peak_memory_mb for one, other in zip(told, compute, strict=True)]
    models = [one.model_memory_mb or other.model_memory_mb for one, other in zip(told, compute, strict=True)]
    used = [
        max(0.0, peak - model)
        for peak, model in zip(peaks, models, strict=True)
        if peak is not None and model is not None
    ]
    peak = max((each for each in peaks if each is not None), default=None)
    vram, model = _sum([each.total_vram_mb for each in told]), _sum(models)
    return MemoryMetrics(
        total_vram_mb=vram,
        model_memory_mb=model,
        peak_memory_mb=peak,
        inference_memory_mb=max(used) if len(used) == len(processes) else None,
        kv_cache_mb=_first(each.kv_cache_mb for each in told),
        tokens_per_gb_vram=tokens / (peak / MIB_OF_GIB) if tokens and peak else None,
        model_memory_utilisation=model / vram if model and vram and model <= vram else None,
        kv_cache_memory_ratio=_first(each.kv_cache_memory_ratio for each in told),
    )


def _utilisation(
    processes: Sequence[RawProcessResult], parts: Sequence[ExtendedEfficiencyMetrics]
) -> GpuUtilisationMetrics:
    samples = _all_values([process.gpu_utilisation_samples for process in processes])
    return GpuUtilisationMetrics(
        sm_utilisation_mean=fmean(samples) if samples else None,
        sm_utilisation_samples=len(samples),
        memory_bandwidth_utilisation=_mean([part.gpu_utilisation.memory_bandwidth_utilisation for part in parts]),
    )


def _batch(processes: Sequence[RawProcessResult], parts: Sequence[ExtendedEfficiencyMetrics]) -> BatchMetrics:
    told = [part.batch for part in parts]
    limits = {count_setting(process.effective_config, BATCH_NAMES) for process in processes}
    limit = limits.pop() if len(limits) == 1 else None
    effective, share = _mean([each.effective_batch_size for each in told]), _mean([e.batch_utilisation for e in told])
    if share is None and effective is not None and limit and effective <= limit:
        share = effective / limit
    batches = [each.num_batches for each in told]
    known = [number for number in batches if number is not None]
    return BatchMetrics(
        effective_batch_size=effective,
        batch_utilisation=share,
        padding_overhead=_mean([each.padding_overhead for each in told]),
        num_batches=sum(known) if len(known) == len(batches) else None,
    )


def _all_values(lists: Sequence[Sequence[float]]) -> list[float]:
    """Values of all processes together; none where one process has none, for they would be those of some only."""
    return [value for values in lists for value in values] if all(lists) else []


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    total = _sum(values)
    return None if total is None else total / len(values)
