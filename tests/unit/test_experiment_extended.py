"""Figures beside the main ones over several processes, and the worked figures of the documents."""

from __future__ import annotations

from typing import Any

import pytest
from processes import process
from pydantic import ValidationError

from groundlake.experiment import ComputeMetrics, FlopsResult, LatencyMeasurements, aggregate
from groundlake.experiment.aggregation import RULES
from groundlake.experiment.extended import (
    BatchMetrics,
    ExtendedEfficiencyMetrics,
    GpuUtilisationMetrics,
    KvCacheMetrics,
    MemoryMetrics,
    RequestLatencyMetrics,
)
from groundlake.experiment.extended_aggregation import token_efficiency_index


def made_of(*processes: Any) -> ExtendedEfficiencyMetrics:
    made = aggregate(list(processes)).extended_metrics
    assert made is not None
    return made


def of_memory(**fields: float) -> ExtendedEfficiencyMetrics:
    return ExtendedEfficiencyMetrics(memory=MemoryMetrics(**fields))


def test_the_token_efficiency_index_is_throughput_times_output_tokens_for_each_joule() -> None:
    assert token_efficiency_index(1000, 100.0, 50.0) == 500.0
    assert token_efficiency_index(1000, 100.0, 50.0, factor=2.0) == 1000.0
    one = process(tokens=(0, 1000), energy_j=100.0, length_s=20.0, per_request_latencies_ms=[1.0])
    assert made_of(one).token_efficiency_index == 500.0


@pytest.mark.parametrize(("tokens", "energy_j"), [((600, 0), 100.0), ((600, 400), 0.0), ((600, 400), None)])
def test_no_tokens_and_no_energy_are_no_index(tokens: tuple[int, int], energy_j: float | None) -> None:
    memory = of_memory(total_vram_mb=0.0, peak_memory_mb=0.0)
    told = made_of(process(tokens=tokens, energy_j=energy_j, per_request_latencies_ms=[1.0], extended_metrics=memory))
    assert told.token_efficiency_index is None
    assert (told.memory.tokens_per_gb_vram, told.memory.model_memory_utilisation) == (None, None)


def test_memory_ratios_are_of_the_peak_and_of_the_device() -> None:
    memory = of_memory(total_vram_mb=16000, model_memory_mb=4000, peak_memory_mb=8000)
    told = made_of(process(tokens=(0, 1000), extended_metrics=memory)).memory
    assert (told.model_memory_utilisation, told.tokens_per_gb_vram) == (0.25, 128.0)


@pytest.mark.parametrize(("peak", "inference"), [(1024.0, 512.0), (400.0, 0.0)])
def test_memory_of_the_inference_is_the_peak_less_the_model_and_never_below_0(peak: float, inference: float) -> None:
    memory = of_memory(peak_memory_mb=peak, model_memory_mb=512.0)
    assert made_of(process(extended_metrics=memory)).memory.inference_memory_mb == inference


def test_memory_that_only_the_work_of_a_process_tells_is_taken_too() -> None:
    compute = ComputeMetrics(flops_total=None, peak_memory_mb=1024.0, model_memory_mb=512.0)
    assert made_of(process(compute_metrics=compute)).memory.inference_memory_mb == 512.0


def test_memory_of_several_devices_is_added_and_the_peak_is_the_highest() -> None:
    first = of_memory(total_vram_mb=1000, model_memory_mb=60, peak_memory_mb=100)
    second = of_memory(total_vram_mb=1000, model_memory_mb=60, peak_memory_mb=200, kv_cache_mb=10)
    told = made_of(process(0, extended_metrics=first), process(1, extended_metrics=second)).memory
    assert (told.peak_memory_mb, told.total_vram_mb, told.model_memory_mb, told.kv_cache_mb) == (200, 2000, 120, 10)
    assert told.inference_memory_mb == 140
    partial = made_of(process(0, extended_metrics=first), process(1, extended_metrics=of_memory(peak_memory_mb=1)))
    assert (partial.memory.total_vram_mb, partial.memory.inference_memory_mb) == (None, None)


def test_latencies_and_utilisation_are_put_together_before_statistics() -> None:
    one = made_of(process(per_request_latencies_ms=[100.0, 110.0, 120.0, 130.0, 140.0]))
    assert (one.request_latency.e2e_latency_mean_ms, one.request_latency.e2e_latency_samples) == (120.0, 5)
    assert made_of(process(gpu_utilisation_samples=[50.0, 60.0, 70.0, 80.0, 90.0])).gpu_utilisation == (
        GpuUtilisationMetrics(sm_utilisation_mean=70.0, sm_utilisation_samples=5)
    )
    two = made_of(
        process(0, per_request_latencies_ms=[100.0, 120.0], gpu_utilisation_samples=[50.0, 60.0, 70.0]),
        process(1, per_request_latencies_ms=[110.0, 130.0], gpu_utilisation_samples=[80.0]),
    )
    assert (two.request_latency.e2e_latency_mean_ms, two.request_latency.e2e_latency_median_ms) == (115.0, 115.0)
    assert (two.gpu_utilisation.sm_utilisation_mean, two.gpu_utilisation.sm_utilisation_samples) == (65.0, 4)


def test_values_of_some_processes_only_are_no_figures_of_all() -> None:
    some = process(0, per_request_latencies_ms=[100.0], gpu_utilisation_samples=[50.0])
    assert aggregate([some, process(1)]).extended_metrics is None


def test_the_batch_is_compared_with_its_limit() -> None:
    def batches(size: float, number: int) -> ExtendedEfficiencyMetrics:
        return ExtendedEfficiencyMetrics(batch=BatchMetrics(effective_batch_size=size, num_batches=number))

    config = {"batch_size": 4}
    told = made_of(
        process(0, extended_metrics=batches(3.0, 2), effective_config=config),
        process(1, extended_metrics=batches(4.0, 3), effective_config=config),
    ).batch
    assert told == BatchMetrics(effective_batch_size=3.5, batch_utilisation=0.875, num_batches=5)


def test_what_the_only_process_tells_by_itself_is_kept() -> None:
    told = ExtendedEfficiencyMetrics(
        tpot_ms=20.0,
        kv_cache=KvCacheMetrics(kv_cache_hit_rate=0.5),
        request_latency=RequestLatencyMetrics(e2e_latency_mean_ms=1.5),
    )
    made = made_of(process(extended_metrics=told, gpu_utilisation_samples=[40.0]))
    assert (made.tpot_ms, made.kv_cache, made.request_latency) == (20.0, told.kv_cache, told.request_latency)
    assert made.gpu_utilisation.sm_utilisation_mean == 40.0


def test_figures_that_are_given_are_not_made_again_and_without_any_there_are_none() -> None:
    given = ExtendedEfficiencyMetrics(tpot_ms=1.0)
    assert aggregate([process(per_request_latencies_ms=[1.0])], extended_metrics=given).extended_metrics == given
    assert aggregate([process()]).extended_metrics is None
    assert {name for name in RULES if name.startswith("extended_metrics.memory.")} == {
        f"extended_metrics.memory.{name}" for name in MemoryMetrics.model_fields if name != "kv_cache_memory_ratio"
    }


def test_the_time_for_each_token_is_that_of_all_intervals() -> None:
    parts = [[10.0, 20.0, 30.0], [40.0]]
    latencies = [LatencyMeasurements(ttft_ms=[1.0], itl_full_ms=each, itl_trimmed_ms=each) for each in parts]
    assert made_of(*(process(index, latencies=each) for index, each in enumerate(latencies))).tpot_ms == 25.0


def test_the_example_of_the_document_has_its_ratios() -> None:
    """Four processes of 1024 tokens and 150 J."""
    made = aggregate([process(index, tokens=(512, 512), energy_j=150.0) for index in range(4)])
    assert made.avg_energy_per_token_j == pytest.approx(0.146, abs=5e-4)
    assert made.tokens_per_joule == pytest.approx(6.83, abs=5e-3)


def test_95_streamed_requests_exclude_190_intervals() -> None:
    arrivals = [[100.0 + 10.0 * token for token in range(20)]] * 95
    assert LatencyMeasurements.from_arrivals([0.0] * 95, arrivals).excluded_tokens == 190


@pytest.mark.parametrize("method", ["calflops", "architecture", "parameter_estimate", "palm_formula"])
def test_operations_name_one_of_four_methods(method: str) -> None:
    told: dict[str, Any] = {"method": method, "confidence": "high", "precision": "fp16"}
    assert FlopsResult(value=1.0, **told).is_valid
    assert not FlopsResult(value=0.0, **told).is_valid


@pytest.mark.parametrize("method", ["ptflops", "unknown", "", None])
def test_another_method_is_rejected(method: str | None) -> None:
    with pytest.raises(ValidationError, match="method"):
        FlopsResult(value=1.0, method=method, confidence="high", precision="fp16")  # type: ignore[arg-type] # the test
