"""Models of an experiment: the document's examples load, contradictions are told, what cannot be is refused."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from processes import START, process, result
from pydantic import ValidationError

from groundlake.experiment import (
    SCHEMA_VERSION,
    AggregatedResult,
    AggregationMetadata,
    CombinedMetrics,
    ComputeMetrics,
    EnergyMetrics,
    ExperimentResult,
    FlopsResult,
    ImplausibleWarning,
    InferenceMetrics,
    LatencyMeasurements,
    LatencyStatistics,
    ModelInfo,
    QuantizationSpec,
    Timestamps,
)
from groundlake.experiment.extended import MultiGPUMetrics
from groundlake.experiment.latency import intervals

INFERENCE = {
    "total_tokens": 1024,
    "input_tokens": 512,
    "output_tokens": 512,
    "inference_time_sec": 2.5,
    "tokens_per_second": 204.8,
    "latency_per_token_ms": 4.88,
}
ENERGY = {"total_energy_j": 150.0, "gpu_energy_j": 140.0, "cpu_energy_j": 10.0, "emissions_kg_co2": 0.00015}
COMPUTE = {"flops_total": 1.5e12, "flops_per_token": 1.5e9, "flops_per_second": 6e11, "peak_memory_mb": 14000}


def test_the_schema_version_is_that_of_the_document() -> None:
    assert SCHEMA_VERSION == result().schema_version == "2.0.0"


def test_the_examples_of_the_document_load() -> None:
    with pytest.warns(ImplausibleWarning, match=r"280.0 W of GPUs for 2.5 s are 700 J, not 140.0 J"):
        energy = EnergyMetrics(**ENERGY, gpu_power_w=280.0, duration_sec=2.5)
    combined = CombinedMetrics(
        inference=InferenceMetrics(**INFERENCE), energy=energy, compute=ComputeMetrics(**COMPUTE)
    )
    assert combined.efficiency_tokens_per_joule == pytest.approx(1024 / 150)
    assert combined.efficiency_flops_per_watt == pytest.approx(6e11 / 280)
    assert FlopsResult(value=1.5e12, method="calflops", confidence="high", precision="fp16").is_valid
    model = ModelInfo(
        name="meta-llama/Llama-2-7b-hf",
        num_parameters=7_000_000_000,
        architecture="LlamaForCausalLM",
        context_length=4096,
        quantization=QuantizationSpec(enabled=True, bits=4, quant_type="nf4"),
    )
    assert (model.parameters_billions, model.is_quantized) == (7.0, True)
    whole = AggregatedResult(
        experiment_id="exp_20240115_123456",
        aggregation=AggregationMetadata(
            method="sum_energy_avg_throughput", num_processes=4, temporal_overlap_verified=True
        ),
        total_tokens=4096,
        total_energy_j=600.0,
        avg_tokens_per_second=819.2,
        total_flops=6e12,
    )
    assert whole.tokens_per_joule == pytest.approx(4096 / 600)


def test_both_spellings_of_latencies_are_read() -> None:
    short = LatencyStatistics.model_validate(
        {
            "mean_ms": 46.5,
            "median_ms": 45.8,
            "p95_ms": 52.1,
            "p99_ms": 58.3,
            "min_ms": 38.2,
            "max_ms": 62.1,
            "sample_count": 95,
        }
    )
    assert (short.ttft_mean_ms, short.mean_ms, short.sample_count) == (46.5, 46.5, 95)
    assert (short.median_ms, short.p95_ms, short.p99_ms, short.min_ms, short.max_ms) == (45.8, 52.1, 58.3, 38.2, 62.1)
    for written, read in (
        ("streaming", "streaming"),
        ("true_streaming", "streaming"),
        ("proportional_estimate", "proportional"),
        ("per_request_batch", "per_request_batch"),
    ):
        for name in ("measurement_method", "measurement_mode"):
            assert LatencyMeasurements.model_validate({name: written}).measurement_method == read


def test_an_unknown_field_nan_and_a_negative_amount_are_refused() -> None:
    for wrong in ({"surprise": 1}, {"total_energy_j": math.nan}, {"total_energy_j": math.inf}, {"total_tokens": -1}):
        with pytest.raises(ValidationError):
            result(**wrong)
    with pytest.raises(ValidationError):
        result(measurement_methodology="invalid")
    with pytest.raises(ValidationError):
        FlopsResult(value=1.0, method="guess", confidence="high", precision="fp16")


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        result().total_tokens = 5  # type: ignore[misc] # that it is refused is the point
    assert AggregatedResult is ExperimentResult


def test_a_clock_that_goes_backwards_is_refused() -> None:
    with pytest.raises(ValueError, match="is before the start"):
        Timestamps.from_times(START, START - dt.timedelta(seconds=1))
    with pytest.raises(ValidationError, match="is before the start"):
        result(end_time=START - dt.timedelta(seconds=1))
    with pytest.raises(ValidationError, match="has a time zone, the other has none"):
        result(end_time=dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc))


def test_a_process_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"a process twice: indices \[0, 0\]"):
        result(process_results=[process(0), process(0)])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"measurement_config_hash": "zzz"}, "not 16 hexadecimal digits"),
        ({"input_tokens": 1, "output_tokens": 2}, "1000 tokens in all are not 1 in and 2 out"),
        ({"measurement_methodology": "steady_state"}, "steady_state_window says nothing"),
    ],
)
def test_contradictions_are_told_and_kept(fields: dict[str, object], said: str) -> None:
    with pytest.warns(ImplausibleWarning, match=said):
        made = result(**fields)
    assert all(getattr(made, name) == value for name, value in fields.items())


def test_metrics_that_contradict_each_other_are_told() -> None:
    with pytest.warns(ImplausibleWarning, match="1024 tokens in all are not 1 in and 512 out"):
        InferenceMetrics(**INFERENCE | {"input_tokens": 1})
    with pytest.warns(ImplausibleWarning, match="neither the output's"):
        InferenceMetrics(**INFERENCE | {"tokens_per_second": 5.0})
    with pytest.warns(ImplausibleWarning, match="are not the sum of the parts, 150 J"):
        EnergyMetrics(**ENERGY | {"total_energy_j": 500.0})
    with pytest.warns(ImplausibleWarning, match="the model takes 20.0 MiB, the peak is 10.0 MiB"):
        ComputeMetrics(flops_total=None, peak_memory_mb=10.0, model_memory_mb=20.0)
    with pytest.warns(ImplausibleWarning, match="the sum of the GPUs is 46 J, not 50.0 J"):
        MultiGPUMetrics(
            num_gpus=4, energy_per_gpu_j=[10, 11, 12, 13], energy_total_j=50.0, energy_per_output_token_j=0.046
        )
    with pytest.warns(ImplausibleWarning, match="are not in order"):
        LatencyStatistics(
            ttft_mean_ms=2, ttft_median_ms=3, ttft_p95_ms=2, ttft_p99_ms=3, ttft_min_ms=1, ttft_max_ms=4, ttft_samples=3
        )


def test_times_and_ratios() -> None:
    assert result().duration_sec == 30.0
    assert result().tokens_per_joule == 20.0
    assert result(total_energy_j=0.0).tokens_per_joule == 0.0
    assert result(total_energy_j=None).tokens_per_joule == 0.0
    assert Timestamps.from_times(START, START + dt.timedelta(seconds=0.5)).duration_sec == 0.5
    energy, compute = EnergyMetrics(total_energy_j=500.0, gpu_power_w=150.0), COMPUTE | {"flops_per_second": 1e11}
    combined = CombinedMetrics(
        inference=InferenceMetrics(**INFERENCE), energy=energy, compute=ComputeMetrics(**compute)
    )
    assert combined.efficiency_flops_per_watt == pytest.approx(6.667e8, rel=1e-4)
    nothing = CombinedMetrics(
        inference=InferenceMetrics(**INFERENCE), energy=EnergyMetrics.placeholder(), compute=ComputeMetrics(**COMPUTE)
    )
    assert (nothing.efficiency_tokens_per_joule, nothing.efficiency_flops_per_watt) == (0.0, 0.0)
    assert nothing.energy.total_power_w is None


def test_quantization_of_bitsandbytes_is_recognised() -> None:
    assert QuantizationSpec().model_dump(exclude={"quant_type"}) == {
        "enabled": False,
        "bits": None,
        "method": "none",
        "compute_dtype": "float16",
    }
    assert QuantizationSpec(enabled=True, bits=8, method="bitsandbytes").is_bnb
    assert not QuantizationSpec(enabled=True, bits=4, method="gptq").is_bnb


@pytest.mark.parametrize(
    ("arrivals", "full", "trimmed", "excluded"),
    [
        ([], [], [], 0),
        ([[100.0]], [], [], 0),
        ([[0.0, 50.0]], [50.0], [], 1),
        ([[0.0, 30.0, 80.0]], [30.0, 50.0], [], 2),
        ([[0.0, 25.0, 55.0, 90.0]], [25.0, 30.0, 35.0], [30.0], 2),
    ],
)
def test_intervals_between_tokens(
    arrivals: list[list[float]], full: list[float], trimmed: list[float], excluded: int
) -> None:
    assert intervals(arrivals) == (full, trimmed, excluded)


@pytest.mark.parametrize(("tokens", "counts"), [((4, 4), (6, 2, 4)), ((1, 2, 5), (5, 2, 3)), ((5, 4, 6), (12, 6, 6))])
def test_intervals_of_several_requests(tokens: tuple[int, ...], counts: tuple[int, int, int]) -> None:
    full, trimmed, excluded = intervals([[float(number) for number in range(count)] for count in tokens])
    assert (len(full), len(trimmed), excluded) == counts


def test_measurements_are_made_of_arrivals() -> None:
    made = LatencyMeasurements.from_arrivals([0.0, 10.0], [[45.0, 57.0, 70.0, 81.0], [50.0]], warmup_requests=5)
    assert (made.ttft_ms, made.itl_full_ms, made.itl_trimmed_ms) == ([45.0, 40.0], [12.0, 13.0, 11.0], [13.0])
    assert (made.request_count, made.total_output_tokens, made.excluded_tokens) == (2, 5, 2)
    assert made.warmup_requests_excluded == 5


def test_statistics_need_a_first_token() -> None:
    assert LatencyStatistics.of(LatencyMeasurements(itl_full_ms=[1.0, 2.0])) is None
    made = LatencyStatistics.of(LatencyMeasurements(ttft_ms=[1.0], itl_full_ms=[1.0, 3.0]))
    assert made is not None
    assert (made.ttft_mean_ms, made.itl_mean_ms, made.itl_full_mean_ms) == (1.0, None, 2.0)
