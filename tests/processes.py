"""Results of processes, for tests of experiments: 1000 tokens in 10 s on a GPU of its own."""

from __future__ import annotations

import datetime as dt

from groundlake.experiment import (
    ComputeMetrics,
    EnergyMetrics,
    ExperimentResult,
    InferenceMetrics,
    LatencyMeasurements,
    RawProcessResult,
    Timestamps,
)

START = dt.datetime(2026, 2, 26, 14, 0)  # noqa: DTZ001 - results are written in local time without a zone


def process(
    index: int = 0,
    *,
    tokens: tuple[int, int] = (600, 400),
    energy_j: float | None = 25.0,
    flops: float | None = 1e12,
    offset_s: float = 0.0,
    length_s: float = 10.0,
    latencies: LatencyMeasurements | None = None,
    **fields: object,
) -> RawProcessResult:
    """Result of one process; its throughput is of all tokens."""
    start = START + dt.timedelta(seconds=offset_s)
    return RawProcessResult(
        **{
            "experiment_id": "exp",
            "process_index": index,
            "gpu_id": index,
            "config_name": "base",
            "model_name": "gpt2",
            "timestamps": Timestamps.from_times(start, start + dt.timedelta(seconds=length_s)),
            "inference_metrics": InferenceMetrics(
                total_tokens=sum(tokens),
                input_tokens=tokens[0],
                output_tokens=tokens[1],
                inference_time_sec=length_s,
                tokens_per_second=sum(tokens) / length_s,
                latency_per_token_ms=length_s * 1000 / sum(tokens) if sum(tokens) else 0.0,
                latency_measurements=latencies,
            ),
            "energy_metrics": EnergyMetrics(total_energy_j=energy_j),
            "compute_metrics": ComputeMetrics(flops_total=flops),
        }
        | fields
    )


def result(**fields: object) -> ExperimentResult:
    """Result of an experiment without processes."""
    return ExperimentResult(
        **{
            "experiment_id": "exp_20260226",
            "measurement_config_hash": "0123456789abcdef",
            "measurement_methodology": "total",
            "total_tokens": 1000,
            "total_energy_j": 50.0,
            "total_inference_time_sec": 30.0,
            "avg_tokens_per_second": 33.3,
            "avg_energy_per_token_j": 0.05,
            "total_flops": 1e12,
            "start_time": START,
            "end_time": START + dt.timedelta(seconds=30),
            "effective_config": {"model": "gpt2", "n": 100},
        }
        | fields
    )
