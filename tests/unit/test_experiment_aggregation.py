"""Several processes put together: raw values first, statistics once, and no sum that leaves something out."""

from __future__ import annotations

import datetime as dt

import pytest
from processes import process

from groundlake.errors import UsageError
from groundlake.experiment import LatencyMeasurements, Timestamps, aggregate
from groundlake.experiment.aggregation import RULES
from groundlake.experiment.extended import EnergyBreakdown, ThermalThrottleInfo
from groundlake.experiment.rows import ExperimentRun

HUGE = {"total_tokens": 10**400}


def test_one_process_keeps_its_figures() -> None:
    made = aggregate([process()])
    assert (made.total_tokens, made.total_energy_j, made.total_flops) == (1000, 25.0, 1e12)
    assert made.aggregation is not None
    assert (made.aggregation.method, made.aggregation.num_processes) == ("single_process", 1)


def test_tokens_energy_and_work_are_added() -> None:
    made = aggregate([process(0, tokens=(300, 200)), process(1, tokens=(400, 200), energy_j=30.0)])
    assert (made.total_tokens, made.input_tokens, made.output_tokens) == (1100, 700, 400)
    assert (made.total_energy_j, made.total_flops, made.total_inference_time_sec) == (55.0, 2e12, 20.0)
    assert (
        aggregate(
            [process(0, energy_j=10.0, tokens=(100, 0)), process(1, energy_j=10.0, tokens=(60, 40))]
        ).avg_energy_per_token_j
        == 0.1
    )


def test_throughput_has_three_names() -> None:
    made = aggregate([process(0, length_s=10.0), process(1, length_s=20.0)])
    told = made.aggregation
    assert told is not None
    assert made.avg_tokens_per_second == told.tokens_per_second_mean == 75.0
    assert told.tokens_per_second_sum == 150.0
    assert told.tokens_per_second_wall == 100.0  # 2000 tokens from the first start to the last end


def test_the_example_of_the_document_is_a_sum() -> None:
    four = [process(index, tokens=(512, 512), energy_j=150.0, flops=1.5e12, length_s=5.0) for index in range(4)]
    made = aggregate(four)
    assert (made.total_tokens, made.total_energy_j, made.total_flops) == (4096, 600.0, 6e12)
    assert made.aggregation is not None
    assert made.aggregation.tokens_per_second_sum == pytest.approx(819.2)
    assert made.aggregation.tokens_per_second_mean == pytest.approx(204.8)


def test_percentiles_are_made_over_all_values_at_once() -> None:
    parts = [[100.0, 110.0, 95.0], [200.0, 210.0, 195.0]]
    made = aggregate([process(index, latencies=LatencyMeasurements(ttft_ms=part)) for index, part in enumerate(parts)])
    stats = made.latency_stats
    assert stats is not None
    assert stats.ttft_samples == 6
    assert stats.ttft_mean_ms == pytest.approx(151.6666667)
    assert (stats.ttft_median_ms, stats.ttft_p95_ms, stats.ttft_p99_ms) == pytest.approx((152.5, 207.5, 209.5))


@pytest.mark.parametrize(("offset_s", "together"), [(0.0, True), (5.0, True), (5.1, False), (15.0, False)])
def test_that_processes_ran_together_is_verified(offset_s: float, *, together: bool) -> None:
    made = aggregate([process(0), process(1, offset_s=offset_s)])
    assert made.aggregation is not None
    assert made.aggregation.temporal_overlap_verified is together
    assert any("concurrent" in warning for warning in made.measurement_warnings) is not together


def test_a_gpu_of_two_processes_is_double_counted() -> None:
    made = aggregate([process(0, gpu_id=0), process(1, gpu_id=0)])
    assert made.aggregation is not None
    assert not made.aggregation.gpu_attribution_verified
    assert any("double-counted" in warning for warning in made.measurement_warnings)
    apart = aggregate([process(0, gpu_id=0, gpu_uuid="GPU-a"), process(1, gpu_id=0, gpu_uuid="GPU-b")])
    assert apart.aggregation is not None
    assert apart.aggregation.gpu_attribution_verified  # GPU 0 of two machines


def test_what_one_process_does_not_know_is_not_known_of_all() -> None:
    half = EnergyBreakdown(raw_j=100.0, adjusted_j=60.0)
    made = aggregate(
        [process(0, energy_breakdown=half), process(1, energy_j=None, energy_breakdown=EnergyBreakdown(raw_j=100.0))]
    )
    assert made.total_energy_j is None
    assert made.avg_energy_per_token_j is None
    assert made.energy_breakdown is not None
    assert (made.energy_breakdown.raw_j, made.energy_breakdown.adjusted_j) == (200.0, None)
    said = " ".join(made.measurement_warnings)
    assert "the energy of processes [1] is not known" in said
    assert "1 of 2 processes have a baseline" in said


def test_latencies_of_some_processes_are_no_statistics() -> None:
    made = aggregate([process(0, latencies=LatencyMeasurements(ttft_ms=[1.0])), process(1)])
    assert made.latency_stats is None
    assert any("partial_latencies" in warning for warning in made.measurement_warnings)
    mixed = [LatencyMeasurements(ttft_ms=[1.0]), LatencyMeasurements(ttft_ms=[1.0], measurement_method="proportional")]
    made = aggregate([process(index, latencies=each) for index, each in enumerate(mixed)])
    assert made.latency_stats is None
    assert any("mixed_timing" in warning for warning in made.measurement_warnings)


def test_throttling_of_any_process_counts() -> None:
    made = aggregate(
        [
            process(0, thermal_throttle=ThermalThrottleInfo(throttle_duration_sec=1.0, max_temperature_c=80.0)),
            process(
                1,
                thermal_throttle=ThermalThrottleInfo(
                    detected=True, thermal=True, throttle_duration_sec=3.0, max_temperature_c=90.0
                ),
            ),
        ]
    )
    seen = made.thermal_throttle
    assert seen is not None
    assert (seen.detected, seen.throttle_duration_sec, seen.max_temperature_c) == (True, 3.0, 90.0)
    assert seen.reasons == ["thermal"]


def test_slices_of_gpus_are_named() -> None:
    made = aggregate([process(0, gpu_is_mig=True, gpu_mig_profile="1g.10gb")])
    assert any("1g.10gb" in warning for warning in made.measurement_warnings)


def test_processes_stay_in_order_and_missing_ones_are_named() -> None:
    made = aggregate([process(2), process(0)])
    assert [each.process_index for each in made.process_results] == [2, 0]
    assert any("processes [1] are missing" in warning for warning in made.measurement_warnings)
    start, end = aggregate([process(0), process(1, offset_s=5.0, length_s=20.0)]), 25.0
    assert start.duration_sec == end


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(UsageError, match="no results of processes"):
        aggregate([])
    with pytest.raises(UsageError, match=r"twice: indices \[0, 0\]"):
        aggregate([process(0), process(0)])
    with pytest.raises(UsageError, match="different models: gpt2, opt"):
        aggregate([process(0), process(1, model_name="opt")])
    with pytest.raises(UsageError, match="different backends: pytorch, vllm"):
        aggregate([process(0), process(1, backend="vllm")])
    made = aggregate([process(0), process(1, backend="vllm")], allow_mixed_backends=True)
    assert any("mixed_backends" in warning for warning in made.measurement_warnings)


def test_zero_tokens_and_zero_energy_end_in_no_exception() -> None:
    made = aggregate([process(0, tokens=(0, 0), energy_j=0.0)])
    assert (made.avg_energy_per_token_j, made.tokens_per_joule) == (None, 0.0)


def test_every_rule_is_named() -> None:
    made = aggregate([process(0), process(1)])
    assert made.aggregation is not None
    assert {each.figure: each.rule for each in made.aggregation.rules} == RULES


def test_figures_of_all_together_are_no_sums_that_can_miss_a_part() -> None:
    """Two processes on one GPU: its sensor gives one energy for both, and none of each."""
    both = [process(index, energy_j=None, gpu_id=0) for index in range(2)]
    both[0] = both[0].model_copy(update={"energy_metrics": process(energy_j=10.0).energy_metrics})
    made = aggregate(both, total_energy_j=25.0)
    assert (made.measurement_warnings, made.total_energy_j) == ([], 25.0)
    assert made.aggregation is not None
    assert made.aggregation.gpu_attribution_verified is False
    codes = {warning.split(":")[0] for warning in aggregate(both).measurement_warnings}
    assert codes == {"shared_gpu", "partial_energy"}


@pytest.mark.parametrize(
    ("gpus", "verified"), [((None, None), None), ((0, None), None), ((0, 0, None), False), ((0, 1), True)]
)
def test_processes_whose_gpus_are_not_known_are_not_verified(gpus: tuple[int | None, ...], verified: object) -> None:
    made = aggregate([process(index, gpu_id=gpu) for index, gpu in enumerate(gpus)])
    assert made.aggregation is not None
    assert made.aggregation.gpu_attribution_verified is verified
    _, frames = ExperimentRun.of(made, "dev").to_frames()
    assert frames["experiments"]["devices_verified"].to_list() == [verified]


def test_figures_that_no_result_can_have_are_refused() -> None:
    with pytest.raises(UsageError, match=r"together make no result\n  total_energy_j: .* finite number, got inf"):
        aggregate([process(0, energy_j=1.5e308), process(1, energy_j=1.5e308)])
    with pytest.raises(UsageError, match="a figure is too large"):
        aggregate([process(0, inference_metrics=process().inference_metrics.model_copy(update=HUGE))])
    zoned = process(1)
    start, end = (moment.replace(tzinfo=dt.timezone.utc) for moment in (zoned.timestamps.start, zoned.timestamps.end))
    zoned = zoned.model_copy(update={"timestamps": Timestamps.from_times(start, end)})
    with pytest.raises(UsageError, match=r"only the times of processes \[1\] of \[0, 1\] have a time zone"):
        aggregate([process(0), zoned])
