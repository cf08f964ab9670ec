"""Results of experiments for tests: one with every field set, and files as the existing tool writes them."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import polars as pl
from processes import START, process

from groundlake.experiment import (
    ComputeMetrics,
    EnergyMetrics,
    ExperimentResult,
    FlopsResult,
    LatencyMeasurements,
    LatencyStatistics,
    ModelInfo,
    QuantizationSpec,
    RawProcessResult,
    aggregate,
)
from groundlake.experiment.extended import (
    BatchMetrics,
    ContainerEnvironment,
    CpuEnvironment,
    CudaEnvironment,
    EnergyBreakdown,
    EnvironmentMetadata,
    EnvironmentSnapshot,
    ExtendedEfficiencyMetrics,
    GpuEnvironment,
    GpuUtilisationMetrics,
    KvCacheMetrics,
    MemoryMetrics,
    MultiGPUMetrics,
    RequestLatencyMetrics,
    ThermalEnvironment,
    ThermalThrottleInfo,
    WarmupResult,
)
from groundlake.experiment.request import RequestRecord

if TYPE_CHECKING:
    from pathlib import Path

LATENCIES = LatencyMeasurements(
    ttft_ms=[101.0, 112.0],
    itl_full_ms=[21.0, 22.0, 23.0, 24.0, 25.0, 26.0],
    itl_trimmed_ms=[22.0, 25.0],
    request_count=2,
    total_output_tokens=8,
    excluded_tokens=4,
    warmup_requests_excluded=3,
)
READINGS = pl.DataFrame(
    {
        "timestamp_s": [-0.05 + 0.1 * number for number in range(102)],
        "gpu_power_w": [80.0 + number % 3 for number in range(102)],
        "gpu_temperature_c": [40.0 + number / 50 for number in range(102)],
        "gpu_index": 0,
    }
)


def extended(shift: float = 0.0) -> ExtendedEfficiencyMetrics:
    """Every figure beside the main ones, each different; `shift` below 1 makes another set."""
    return ExtendedEfficiencyMetrics(
        tpot_ms=23.25 + shift,
        token_efficiency_index=501.5 + shift,
        memory=MemoryMetrics(
            total_vram_mb=16001 + shift,
            model_memory_mb=4003 + shift,
            peak_memory_mb=8005 + shift,
            inference_memory_mb=4007 + shift,
            kv_cache_mb=13.5 + shift,
            tokens_per_gb_vram=128.25 + shift,
            model_memory_utilisation=0.251 + shift / 10,
            kv_cache_memory_ratio=0.0151 + shift / 10,
        ),
        gpu_utilisation=GpuUtilisationMetrics(
            sm_utilisation_mean=70.125 + shift, sm_utilisation_samples=19, memory_bandwidth_utilisation=31.5 + shift
        ),
        batch=BatchMetrics(
            effective_batch_size=3.5 + shift,
            batch_utilisation=0.8751 + shift / 10,
            padding_overhead=0.1251 + shift / 10,
            num_batches=27,
        ),
        kv_cache=KvCacheMetrics(
            kv_cache_hit_rate=0.6651 + shift / 10, kv_cache_blocks_used=331, kv_cache_blocks_total=997
        ),
        request_latency=RequestLatencyMetrics(
            e2e_latency_mean_ms=171.5 + shift,
            e2e_latency_median_ms=172.5 + shift,
            e2e_latency_p95_ms=173.5 + shift,
            e2e_latency_p99_ms=174.5 + shift,
            e2e_latency_samples=29,
        ),
    )


def environment(gpu: str = "NVIDIA A100-SXM4-80GB") -> EnvironmentSnapshot:
    """An environment with a GPU that the registry knows."""
    return EnvironmentSnapshot(
        python_version="3.11.9",
        installed_packages=["numpy==2.2.1", "torch==2.5.0"],
        os="Linux-6.8",
        torch_version="2.5.0",
        driver_version="550.54",
        machine_fingerprint="aaaa",
        software_fingerprint="bbbb",
        tool_version="0.8.0",
        cuda_version="12.4",
        cuda_version_source="torch",
        hardware=EnvironmentMetadata(
            gpu=GpuEnvironment(
                name=gpu, vram_total_mb=81920.0, compute_capability="8.0", pcie_gen=4, mig_enabled=False
            ),
            cuda=CudaEnvironment(version="12.6", driver_version="550.54", cudnn_version="9.1"),
            thermal=ThermalEnvironment(
                temperature_c=38.5, power_limit_w=401.0, default_power_limit_w=402.0, fan_speed_pct=33.0
            ),
            cpu=CpuEnvironment(governor="performance", model="EPYC 7763", platform="Linux-6.8"),
            container=ContainerEnvironment(detected=True, runtime="docker"),
            collected_at=START,
        ),
    )


def throttle(seconds: float) -> ThermalThrottleInfo:
    """Throttling for every reason."""
    return ThermalThrottleInfo(
        detected=True,
        thermal=True,
        power=True,
        sw_thermal=True,
        hw_thermal=True,
        hw_power=True,
        throttle_duration_sec=seconds,
        max_temperature_c=88.0 + seconds,
        throttle_timestamps=[1.75, 2.75],
    )


WARMUP = WarmupResult(
    converged=True,
    final_cv=0.0321,
    iterations_completed=6,
    target_cv=0.0511,
    max_prompts=21,
    latencies_ms=[205.5, 201.5],
    thermal_floor_wait_s=61.5,
)


def full_process(index: int) -> RawProcessResult:
    """A process with every field set; an odd one knows its requests, an even one has lists of latencies."""
    shift = index / 16
    fields: dict[str, Any] = {
        "latencies": LATENCIES.model_copy(update={"ttft_ms": [101.0 + index, 112.0 + index]}),
        "per_request_latencies_ms": [166.5, 187.5],
        "requests": [],
    }
    if index % 2:
        fields = {"latencies": None, "per_request_latencies_ms": [], "requests": [*requests()]}
    made = process(
        index,
        backend="vllm",
        backend_version="0.7.1",
        gpu_uuid=f"GPU-{index}",
        gpu_name="NVIDIA A100-SXM4-80GB",
        gpu_is_mig=True,
        gpu_mig_profile="1g.10gb",
        energy_measurement_warning=f"sensor {index} was read late",
        energy_metrics=EnergyMetrics(
            total_energy_j=151.0 + index,
            gpu_energy_j=140.0 + index,
            cpu_energy_j=8.0,
            ram_energy_j=3.0,
            gpu_power_w=14.25 + index / 8,
            cpu_power_w=0.8,
            duration_sec=9.9,
            emissions_kg_co2=0.00015 + index / 10**6,
            energy_per_token_j=0.375 + shift,
            source="codecarbon",
            method="counter",
        ),
        compute_metrics=ComputeMetrics(
            flops_total=1.5e12,
            flops_per_token=1.5e9 + index,
            flops_per_second=6e11 + index,
            peak_memory_mb=8005.0 + index,
            model_memory_mb=4003.0 + index,
            flops_method="calflops",
            flops_confidence="high",
            compute_precision="bf16",
        ),
        effective_config={"model": "gpt2", "batch_size": 4, "rank": index},
        extended_metrics=extended(shift),
        gpu_utilisation_samples=[66.5 + shift, 77.5 + shift],
        energy_breakdown=EnergyBreakdown(
            raw_j=151.0 + index,
            adjusted_j=51.0 + index,
            baseline_power_w=10.0,
            baseline_method="fresh",
            baseline_timestamp=START,
            baseline_cache_age_sec=87.5 + index,
            baseline_samples=301,
            adjusted_unclamped_j=51.0 + index,
        ),
        thermal_throttle=throttle(1.5 + index),
        warmup_result=WARMUP,
        **fields,
    )
    inference = made.inference_metrics.model_copy(update={"time_to_first_token_ms": 106.5 + index})
    return made.model_copy(update={"inference_metrics": inference})


def requests() -> list[RequestRecord]:
    """A request of the warm-up, one that was answered and one that failed."""
    return [
        RequestRecord(request_index=0, phase="warmup", sent_at_s=-1.5, end_to_end_latency_ms=311.5),
        RequestRecord(
            request_index=0,
            sent_at_s=0.25,
            time_to_first_token_ms=103.5,
            end_to_end_latency_ms=171.0,
            input_tokens=17,
            output_tokens=4,
            inter_token_latencies_ms=[21.5, 22.5, 23.5],
            token_timing="streaming",  # noqa: S106 - no password
        ),
        RequestRecord(request_index=1, status="failed", error="timeout: no answer in 30 s", sent_at_s=0.75),
    ]


def full_result() -> ExperimentResult:
    """A result of two processes with every field set, and a sidecar."""
    processes = [full_process(0), full_process(1)]
    made = aggregate(
        processes,
        experiment_id="gpt2_20260226_140000",
        measurement_config_hash="0123456789abcdef",
        measurement_methodology="steady_state",
        steady_state_window=(1.25, 8.75),
        flops_per_output_token=3.75e9,
        flops_per_input_token=2.5e9,
        flops_per_second=3.01e11,
        flops=[FlopsResult(value=2.9e12, method="palm_formula", confidence="medium", precision="fp16", notes="2NT")],
        baseline_power_w=20.0,
        energy_adjusted_j=103.0,
        energy_per_device_j=[141.5, 142.5],
        multi_gpu=MultiGPUMetrics(
            num_gpus=2, energy_per_gpu_j=[141.25, 142.25], energy_total_j=283.5, energy_per_output_token_j=0.354375
        ),
        environment_snapshot=environment(),
        warmup_excluded_samples=5,
        reproducibility_notes="good to about 5 W",
        effective_config={"model": "gpt2", "batch_size": 4, "precision": "bf16", "sampler": {"top_k": 50, "stop": [1]}},
        latency_stats=LatencyStatistics.of(LATENCIES),
        warmup_result=WARMUP,
        extended_metrics=extended(0.03125),
        model_info=ModelInfo(
            name="openai-community/gpt2",
            revision="abc123",
            num_parameters=124_439_808,
            num_layers=12,
            hidden_size=768,
            num_attention_heads=13,
            vocab_size=50257,
            context_length=1024,
            model_type="gpt2",
            architecture="GPT2LMHeadModel",
            torch_dtype="bfloat16",
            quantization=QuantizationSpec(
                enabled=True, bits=4, method="bitsandbytes", quant_type="nf4", compute_dtype="bfloat16"
            ),
        ),
    )
    return made.with_timeseries(READINGS)


def single(*, energy_j: float | None = 50.0, run: int = 0, **fields: object) -> ExperimentResult:
    """A small result of one process on a GPU that the registry knows; `run` makes further ones that differ."""
    one = process(
        energy_j=energy_j, gpu_name="NVIDIA A100-SXM4-80GB", latencies=LATENCIES, length_s=10.0 + run, flops=1e12
    )
    return aggregate([one], **({"effective_config": {"model": "gpt2", "precision": "fp16", "batch_size": 8}} | fields))


OLD: dict[str, Any] = {
    "schema_version": "2.0",
    "experiment_id": "openai-community/gpt2_20260226_140000",
    "measurement_config_hash": "0123456789abcdef",
    "backend": "pytorch",
    "backend_version": None,
    "measurement_methodology": "total",
    "steady_state_window": None,
    "total_tokens": 1920,
    "total_energy_j": 228.0388,
    "total_inference_time_sec": 4.294966,
    "avg_tokens_per_second": 447.03,
    "avg_energy_per_token_j": 0.356311,
    "total_flops": 477848862720.0,
    "flops_per_output_token": 477848862720.0 / 640,
    "flops_per_input_token": 477848862720.0 / 1280,
    "flops_per_second": 477848862720.0 / 4.294966,
    "baseline_power_w": 35.9478,
    "energy_adjusted_j": 68.9560,
    "energy_breakdown": {
        "raw_j": 228.0388,
        "adjusted_j": 68.9560,
        "baseline_power_w": 35.9478,
        "baseline_method": "cached",
        "baseline_timestamp": "2026-02-26T13:58:37+00:00",
        "baseline_cache_age_sec": 87.9,
    },
    "measurement_warnings": ["short_measurement_duration: 4.4s is short. Measure longer."],
    "start_time": "2026-02-26T14:00:00",
    "end_time": "2026-02-26T14:00:04.425390",
    "effective_config": {"model": "openai-community/gpt2", "precision": "fp16", "pytorch": {"batch_size": 8}},
    "process_results": [],
    "aggregation": {"method": "single_process", "num_processes": 1},
    "timeseries": None,
}
"""A result with the figures of a real one of the existing tool: 1280 tokens in and 640 out, which it does not say."""

SNAPSHOT = environment().model_dump(mode="json")
"""The environment as the existing tool writes it since March 2026."""

OLDER_SNAPSHOT = {name: value for name, value in SNAPSHOT.items() if name != "installed_packages"} | {
    "pip_freeze": "torch==2.5.0\nnumpy==2.2.1\n",
    "conda_list": None,
}
"""The same as it was written before."""


def put(file: Path, content: object) -> Path:
    """Write a file, JSON unless it is a text, and the folders it needs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def old(**fields: object) -> dict[str, Any]:
    """A result of the existing tool with an environment."""
    return OLD | {"environment_snapshot": SNAPSHOT} | fields


def at(seconds: float) -> str:
    """A moment after the start, as the existing tool writes it: local, without a zone."""
    return (START + dt.timedelta(seconds=seconds)).isoformat()
