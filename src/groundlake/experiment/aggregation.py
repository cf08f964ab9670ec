"""Late aggregation: raw values of all processes first, statistics once; every rule is named in the result."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from groundlake.errors import UsageError
from groundlake.experiment.extended import EnergyBreakdown, ThermalThrottleInfo
from groundlake.experiment.extended_aggregation import EXTENDED_RULES, extended_over
from groundlake.experiment.latency import LatencyMeasurements, LatencyStatistics
from groundlake.experiment.reading import problems_of
from groundlake.experiment.result import AggregationMetadata, AggregationRule, ExperimentResult, RawProcessResult

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

LEAST_OVERLAP = 0.5
"""Share of the shortest process during which all have to run, to count as running together."""

RULES = {
    "total_tokens": "sum over processes",
    "total_energy_j": "sum over processes, None where one is not known",
    "total_flops": "sum over processes, None where one is not known",
    "total_inference_time_sec": "sum over processes: not the time that passed",
    "avg_tokens_per_second": "mean of the processes' own throughputs; aggregation has their sum and the wall-clock one",
    "tokens_per_second_wall": "tokens of all processes over the time from the first start to the last end",
    "avg_energy_per_token_j": "sum of energies over sum of tokens of prompts and answers",
    "latency_stats": "values of all processes put together, statistics made once; percentiles interpolated linearly",
    "energy_breakdown": "sum over processes, None where one is not known; baseline: sum of the processes' powers",
    "thermal_throttle": "any process; the longest duration; the highest temperature",
    "start_time": "first start",
    "end_time": "last end",
} | EXTENDED_RULES
"""What is done with each figure; it stands in every result that was aggregated."""


def aggregate(
    processes: Sequence[RawProcessResult],
    *,
    experiment_id: str | None = None,
    allow_mixed_backends: bool = False,
    **fields: Any,  # noqa: ANN401 - further fields of the result
) -> ExperimentResult:
    """Put the results of all processes of an experiment together.

    Args:
        processes: At least one; they stay in this order in the result.
        experiment_id: Identity; None takes that of the first process.
        allow_mixed_backends: Whether processes of several backends may be put together, with a warning.
        **fields: Further fields of the result, such as `measurement_config_hash`.

    Returns:
        The result. What is not known of one process is not known of all: a partial sum is never given.

    Raises:
        UsageError: There are none, one is there twice, they ran different backends or models, only some of their
            times have a zone, or a figure of all of them is none that a result can have.
    """
    _refuse(processes, allow_mixed_backends=allow_mixed_backends)
    try:
        return _put_together(processes, experiment_id, fields)
    except ValidationError as error:
        raise UsageError(f"the processes together make no result\n{problems_of(error)}") from error
    except OverflowError as error:
        raise UsageError(f"the processes together make no result: a figure is too large ({error})") from error


def _put_together(
    processes: Sequence[RawProcessResult], experiment_id: str | None, fields: dict[str, Any]
) -> ExperimentResult:
    doubts = list(_doubts(processes, fields))
    inference = [process.inference_metrics for process in processes]
    total_tokens = _sum([each.total_tokens for each in inference])
    energy = _sum([process.energy_metrics.total_energy_j for process in processes])
    start = min(process.timestamps.start for process in processes)
    end = max(process.timestamps.end for process in processes)
    wall = (end - start).total_seconds()
    rates = [each.tokens_per_second for each in inference]
    rate = _sum(rates)
    measured = [each.latency_measurements for each in inference if each.latency_measurements is not None]
    pooled, why = _pooled(measured, len(processes))
    doubts += [why] if why else []
    metadata = AggregationMetadata(
        method="single_process" if len(processes) == 1 else "sum_energy_avg_throughput",
        num_processes=len(processes),
        temporal_overlap_verified=len(processes) > 1 and overlap(processes),
        gpu_attribution_verified=own_devices(processes),
        warnings=doubts,
        rules=[AggregationRule(figure=figure, rule=rule) for figure, rule in RULES.items()],
        tokens_per_second_sum=rate,
        tokens_per_second_mean=None if rate is None else rate / len(rates),
        tokens_per_second_wall=total_tokens / wall if wall and total_tokens is not None else None,
    )
    first = processes[0]
    latency = LatencyStatistics.of(pooled) if pooled is not None else None
    made = ExperimentResult(
        **{
            "experiment_id": experiment_id or first.experiment_id,
            "backend": first.backend,
            "backend_version": _same([process.backend_version for process in processes]),
            "total_tokens": total_tokens,
            "input_tokens": _sum([each.input_tokens for each in inference]),
            "output_tokens": _sum([each.output_tokens for each in inference]),
            "total_energy_j": energy,
            "total_inference_time_sec": sum(each.inference_time_sec for each in inference),
            "avg_tokens_per_second": None if rate is None else rate / len(rates),
            "avg_energy_per_token_j": energy / total_tokens if energy is not None and total_tokens else None,
            "total_flops": _sum([process.compute_metrics.flops_total for process in processes]),
            "energy_breakdown": _breakdown(processes),
            "start_time": start,
            "end_time": end,
            "effective_config": first.effective_config,
            "process_results": list(processes),
            "aggregation": metadata,
            "thermal_throttle": _throttle(processes),
            "warmup_result": first.warmup_result,
            "latency_stats": latency,
            "measurement_warnings": doubts,
        }
        | fields
    )
    if "extended_metrics" in fields:
        return made
    extended = extended_over(
        processes,
        energy_j=made.total_energy_j,
        tokens_per_second=made.avg_tokens_per_second,
        tpot_ms=None if latency is None else latency.itl_mean_ms,
    )
    return made.model_copy(update={"extended_metrics": extended})


def overlap(processes: Sequence[RawProcessResult]) -> bool:
    """Whether all processes ran at the same time for at least half of the shortest one."""
    spans = [process.timestamps for process in processes]
    together = (min(span.end for span in spans) - max(span.start for span in spans)).total_seconds()
    shortest = min((span.end - span.start).total_seconds() for span in spans)
    return together > 0 and together >= LEAST_OVERLAP * shortest


def own_devices(processes: Sequence[RawProcessResult]) -> bool | None:
    """Whether no GPU is named by two processes: by its identity where all know one, else by its index.

    None where the GPU of one is not known, and no two of the others share theirs.
    """
    devices: list[object] = [process.gpu_uuid for process in processes]
    if None in devices:
        devices = [process.gpu_id for process in processes]
    known = [device for device in devices if device is not None]
    if len(known) != len(set(known)):
        return False
    return True if len(known) == len(devices) else None


def _refuse(processes: Sequence[RawProcessResult], *, allow_mixed_backends: bool) -> None:
    if not processes:
        raise UsageError("there are no results of processes to put together")
    indices = [process.process_index for process in processes]
    if len(indices) != len(set(indices)):
        raise UsageError(f"a process is there twice: indices {indices}")
    backends = sorted({process.backend for process in processes})
    if len(backends) > 1 and not allow_mixed_backends:
        raise UsageError(
            f"processes ran different backends: {', '.join(backends)}; allow_mixed_backends puts them together"
        )
    models = sorted({process.model_name for process in processes})
    if len(models) > 1:
        raise UsageError(f"processes ran different models: {', '.join(models)}")
    zoned = [process.process_index for process in processes if process.timestamps.start.tzinfo is not None]
    if zoned and len(zoned) < len(processes):
        raise UsageError(f"only the times of processes {zoned} of {indices} have a time zone: they cannot be compared")


def _doubts(processes: Sequence[RawProcessResult], fields: Collection[str]) -> list[str]:
    """What is doubtful about the processes together.

    Args:
        processes: All of them.
        fields: Figures of all together that are given: they are no sums, so no part of them can be missing.
    """
    found = []
    is_sum = "total_energy_j" not in fields
    if len(processes) > 1 and not overlap(processes):
        found.append("not_concurrent: the processes did not run concurrently; their throughputs do not add up")
    if is_sum and own_devices(processes) is False:
        ids = [process.gpu_id for process in processes]
        found.append(f"shared_gpu: GPUs {ids} are named by several processes; their energy may be double-counted")
    slices = sorted({process.gpu_mig_profile or "unknown" for process in processes if process.gpu_is_mig})
    if slices:
        number = sum(process.gpu_is_mig for process in processes)
        found.append(
            f"mig: {number} processes ran on slices of GPUs ({', '.join(slices)}); their energy is the whole GPU's"
        )
    if len({process.backend for process in processes}) > 1:
        found.append("mixed_backends: processes of several backends were put together")
    missing = sorted(set(range(len(processes))) - {process.process_index for process in processes})
    if missing:
        found.append(f"incomplete: processes {missing} are missing; sums are over those that are there")
    unknown = [process.process_index for process in processes if process.energy_metrics.total_energy_j is None]
    if is_sum and unknown and len(unknown) < len(processes):
        found.append(f"partial_energy: the energy of processes {unknown} is not known, so that of all is not")
    adjusted = [part.adjusted_j for p in processes if (part := p.energy_breakdown) is not None]
    if "energy_breakdown" not in fields and None in adjusted and any(value is not None for value in adjusted):
        known = sum(value is not None for value in adjusted)
        found.append(
            f"partial_baseline: {known} of {len(processes)} processes have a baseline; the adjusted energy is unknown"
        )
    found += [
        f"process {p.process_index}: {p.energy_measurement_warning}" for p in processes if p.energy_measurement_warning
    ]
    return found


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _same(values: Sequence[str | None]) -> str | None:
    return values[0] if len(set(values)) == 1 else None


def _pooled(measured: Sequence[LatencyMeasurements], processes: int) -> tuple[LatencyMeasurements | None, str | None]:
    """All raw latencies together, or why there are none."""
    if not measured:
        return None, None
    if len(measured) < processes:
        return (
            None,
            f"partial_latencies: {len(measured)} of {processes} processes have latencies; no statistics are made",
        )
    if any(one.measurement_method != other.measurement_method for one, other in pairwise(measured)):
        return None, "mixed_timing: tokens were timed in different ways; no statistics are made"
    return LatencyMeasurements.pooled(measured), None


def _breakdown(processes: Sequence[RawProcessResult]) -> EnergyBreakdown | None:
    parts = [process.energy_breakdown for process in processes if process.energy_breakdown is not None]
    if len(parts) < len(processes):
        return None
    methods = [part.baseline_method for part in parts]
    return EnergyBreakdown(
        raw_j=sum(part.raw_j for part in parts),
        adjusted_j=_sum([part.adjusted_j for part in parts]),
        baseline_power_w=_sum([part.baseline_power_w for part in parts]),
        baseline_method=methods[0] if len(set(methods)) == 1 else None,
        baseline_timestamp=parts[0].baseline_timestamp if len(parts) == 1 else None,
        baseline_cache_age_sec=_extreme([part.baseline_cache_age_sec for part in parts], max),
        adjusted_unclamped_j=_sum([part.adjusted_unclamped_j for part in parts]),
    )


def _throttle(processes: Sequence[RawProcessResult]) -> ThermalThrottleInfo | None:
    seen = [process.thermal_throttle for process in processes if process.thermal_throttle is not None]
    if not seen:
        return None
    flags = ("detected", "thermal", "power", "sw_thermal", "hw_thermal", "hw_power")
    return ThermalThrottleInfo(
        **{flag: any(getattr(each, flag) for each in seen) for flag in flags},
        throttle_duration_sec=max(each.throttle_duration_sec for each in seen),
        max_temperature_c=_extreme([each.max_temperature_c for each in seen], max),
        throttle_timestamps=sorted(moment for each in seen for moment in each.throttle_timestamps),
    )


def _extreme(values: Sequence[float | None], choose: Callable[[list[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None
