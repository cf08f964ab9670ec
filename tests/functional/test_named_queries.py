"""Named queries about peaks, scaling and latency, over small lakes whose answers can be worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from small_lake import NOON, ask, measured, near, specified, timing

from groundlake.query_files import named_queries
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

PARAMETERISED = sorted(name for name, query in named_queries().items() if query.parameters)


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


@pytest.mark.parametrize("name", PARAMETERISED)
def test_every_parameterised_query_runs_on_an_empty_lake(name: str, lake: Lake) -> None:
    lake.create()
    assert lake.query(name).rows() == []


# ---------------------------------------------------------------- peaks, roofline, efficiency


def test_physical_peaks_stand_beside_recorded_ones_and_say_what_is_missing(lake: Lake) -> None:
    measured(lake)
    measured(lake, precision="fp16", theoretical_peak_flops=3e9)
    measured(lake, precision="fp16", batch=2, theoretical_peak_flops=4e9)
    measured(lake, hardware_id="other", theoretical_peak_flops=None)
    specified(lake, peak_fp32_flops=5e8, memory_bandwidth_bytes_per_s=1e8)
    rows = ask(
        lake,
        "physical_peaks",
        "hardware_id precision physical_peak_flops ridge_intensity num_recorded_peaks recorded_to_physical reason",
    )
    assert rows == [
        ("dev", "fp16", None, None, 2, None, "the specification has no peak in this precision"),
        ("dev", "fp32", 5e8, 5.0, 1, 2.0, None),
        ("other", "fp32", None, None, 0, None, "the table hardware has no specification of this id"),
    ]


def test_peak_consistency_finds_two_recorded_peaks_of_one_machine_under_two_ids(lake: Lake) -> None:
    measured(lake, theoretical_peak_flops=1e9)
    measured(lake, batch=2, theoretical_peak_flops=1e9)
    measured(lake, hardware_id="alias", theoretical_peak_flops=4e9)
    measured(lake, hardware_id="other", theoretical_peak_flops=7e9)
    specified(lake, aliases=["alias"], peak_fp32_flops=2e9)
    columns = "machine recorded_peak_flops num_peaks consistent num_runs hardware_ids recorded_to_physical"
    assert ask(lake, "peak_consistency", columns) == [
        ("alias", 1e9, 2, False, 2, ["dev"], 0.5),
        ("alias", 4e9, 2, False, 1, ["alias"], None),  # the physical peak is known under the other id only
        ("other", 7e9, 1, True, 1, ["other"], None),
    ]


def test_roofline_position_tells_memory_from_compute_by_the_physical_peak(lake: Lake) -> None:
    # Ridge at 5 FLOP/byte. 1000 FLOPs take 1 ms, 100 bytes 0.5 ms; 100 FLOPs take 0.1 ms.
    specified(lake, peak_fp32_flops=1e6, memory_bandwidth_bytes_per_s=2e5)
    rows = [timing(0, mean=4.0), timing(1, flops=100, mean=2.0), timing(2, flops=0, total_bytes=0), timing(3, flops=0)]
    measured(lake, *rows)
    measured(lake, timing(0), hardware_id="unknown")
    columns = (
        "hardware_id subgraph_id bound arithmetic_intensity achieved_flops achieved_bytes_per_s roof_ms share_of_roof"
    )
    assert ask(lake, "roofline_position", columns) == [
        near("dev", 0, "compute", 10.0, 250_000.0, 25_000.0, 1.0, 0.25),
        near("dev", 1, "memory", 1.0, 50_000.0, 50_000.0, 0.5, 0.25),
        near("dev", 2, "none", None, 0.0, 0.0, 0.0, 0.0),
        near("dev", 3, "memory", 0.0, 0.0, 100_000.0, 0.5, 0.5),
        near("unknown", 0, None, 10.0, 1_000_000.0, 100_000.0, None, None),
    ]


def test_memory_bound_share_is_a_share_of_the_latency_and_unknown_without_a_specification(lake: Lake) -> None:
    specified(lake, peak_fp32_flops=1e6, memory_bandwidth_bytes_per_s=2e5)
    rows = [timing(0, mean=4.0), timing(1, flops=100, mean=2.0), timing(2, flops=0, total_bytes=0, mean=2.0)]
    measured(lake, *rows)
    measured(lake, hardware_id="unknown")
    columns = "hardware_id memory_bound_share compute_bound_share no_work_share num_memory_bound share_of_roof reason"
    assert ask(lake, "memory_bound_share", columns) == [
        near("dev", 0.25, 0.5, 0.25, 1, 1.5 / 8, None),
        ("unknown", None, None, None, None, None, "the table hardware has no specification of this id"),
    ]


def test_efficiency_rebased_measures_against_the_physical_peak_or_the_given_one(lake: Lake) -> None:
    # Both in the bin from 3e5: rates 5e8 and 1e9 FLOP/s, weighed 50 to 150.
    rows = [timing(0, flops=500_000), timing(1, flops=500_000, mean=0.5, efficiency_samples=150), timing(2, flops=0)]
    measured(lake, *rows, thermal_profile="30W")
    measured(lake, *rows, batch=2, thermal_profile="MAXN")
    specified(lake, peak_fp32_flops=3.5e9)
    columns = "bin_from_flops num_subgraphs num_samples achieved_flops efficiency recorded_efficiency peak_is"
    assert ask(lake, "efficiency_rebased", columns) == [near(3e5, 4, 400, 8.75e8, 0.25, 0.875, "physical")]
    assert ask(lake, "efficiency_rebased", columns, batch=2, peak_flops=1.75e9) == [
        near(3e5, 2, 200, 8.75e8, 0.5, 0.875, "given")
    ]
    assert ask(lake, "efficiency_rebased", "num_subgraphs", power_mode="30W") == [(2,)]
    # Within the subgraphs there is no spread; between them 50 * 3.75e8^2 + 150 * 1.25e8^2 over 199.
    std = ((50 * 3.75e8**2 + 150 * 1.25e8**2) / 199) ** 0.5
    (row,) = ask(lake, "efficiency_rebased", "achieved_flops_std efficiency_ci_lower efficiency_ci_upper", batch=1)
    half = 1.96 * std / 200**0.5
    assert row == near(std, (8.75e8 - half) / 3.5e9, (8.75e8 + half) / 3.5e9)


def test_zero_flop_overhead_counts_the_latency_that_no_flops_explain(lake: Lake) -> None:
    measured(lake, timing(0, mean=3.0), timing(1, flops=0, mean=0.5), timing(2, flops=0, mean=0.5))
    measured(lake, timing(0), model="busy")
    columns = "model num_zero_flop zero_flop_ms zero_flop_share zero_flop_each_us"
    assert ask(lake, "zero_flop_overhead", columns) == [("busy", 0, 0.0, 0.0, None), ("net", 2, 1.0, 0.25, 500.0)]


# ---------------------------------------------------------------- scaling and comparing


def test_power_mode_scaling_finds_where_more_power_does_not_help(lake: Lake) -> None:
    for mode, ms in (("15W", 12.0), ("30W", 6.0), ("50W", 7.0), ("MAXN", 3.5)):
        measured(lake, hardware_id=f"board_{mode.lower()}", thermal_profile=mode, total_latency_ms=ms)
    measured(lake, hardware_id="other_50w", thermal_profile="50W", total_latency_ms=99.0)  # another device
    measured(lake, hardware_id="board_quiet", thermal_profile="quiet", total_latency_ms=99.0)  # no place in the order
    rows = ask(lake, "power_mode_scaling", "device_name lower_mode power_mode power_ratio speedup verdict")
    assert rows == [
        ("board", "15W", "30W", 2.0, 2.0, "faster"),
        near("board", "30W", "50W", 5 / 3, 6 / 7, "no faster"),
        ("board", "50W", "MAXN", None, 2.0, "faster"),
    ]


def test_power_modes_that_were_timed_differently_have_no_speedup(lake: Lake) -> None:
    measured(lake, hardware_id="board_15w", thermal_profile="15W")
    measured(lake, hardware_id="board_30w", thermal_profile="30W", timing_method="node_events")
    assert ask(lake, "power_mode_scaling", "speedup verdict reason") == [
        (None, "not_comparable", "timed by different methods")
    ]


def test_power_modes_that_were_only_timed_end_to_end_are_compared_by_that(lake: Lake) -> None:
    for mode, total, whole in (("15W", None, 6.0), ("30W", None, 3.0), ("50W", 9.0, 2.0), ("MAXN", 3.0, None)):
        board = {"hardware_id": f"board_{mode.lower()}", "thermal_profile": mode}
        measured(lake, **board, total_latency_ms=total, end_to_end_latency_ms=whole)
    assert ask(lake, "power_mode_scaling", "lower_mode quantity lower_latency_ms latency_ms speedup") == [
        ("15W", "end_to_end_latency_ms", 6.0, 3.0, 2.0),
        ("30W", "end_to_end_latency_ms", 3.0, 2.0, 1.5),
        ("50W", "total_latency_ms", 9.0, 3.0, 3.0),
    ]


def test_two_ids_in_one_power_mode_stand_beside_the_lower_mode_not_beside_each_other(lake: Lake) -> None:
    measured(lake, hardware_id="board_15w", thermal_profile="15W", total_latency_ms=8.0)
    measured(lake, hardware_id="board", thermal_profile="30W", total_latency_ms=4.0)
    measured(lake, hardware_id="board_30w", thermal_profile="30W", total_latency_ms=2.0)
    measured(lake, hardware_id="board_50w", thermal_profile="50W", total_latency_ms=1.0)
    assert ask(lake, "power_mode_scaling", "hardware_id lower_hardware_id power_ratio speedup") == [
        ("board", "board_15w", 2.0, 2.0),
        ("board_30w", "board_15w", 2.0, 4.0),
        near("board_50w", "board", 5 / 3, 4.0),
    ]


def test_the_knee_is_the_smallest_batch_that_reaches_the_share(lake: Lake) -> None:
    for batch, ms in ((1, 10.0), (4, 20.0), (16, 64.0), (64, 260.0)):  # 100, 200, 250 and 246 inputs a second
        measured(lake, batch=batch, total_latency_ms=ms)
    measured(lake, batch=128, total_latency_ms=1.0, timing_method="node_events")
    columns = "knee_batch knee_throughput_fps knee_latency_ms best_batch best_throughput_fps may_grow num_batches"
    assert ask(lake, "batch_knee", columns, share=0.8) == [(4, 200.0, 20.0, 16, 250.0, False, 4)]
    assert ask(lake, "batch_knee", "knee_batch num_not_comparable") == [(16, 1)]
    assert ask(lake, "batch_knee", "knee_batch", share=0.4) == [(1,)]


def test_a_knee_at_the_largest_batch_may_grow(lake: Lake) -> None:
    measured(lake, batch=1, total_latency_ms=10.0)
    measured(lake, batch=8, total_latency_ms=20.0)
    assert ask(lake, "batch_knee", "knee_batch largest_batch may_grow") == [(8, 8, True)]


def test_models_that_were_only_timed_end_to_end_scale_and_have_a_knee(lake: Lake) -> None:
    whole = {"total_latency_ms": None, "timing_method": "end_to_end"}
    for batch, ms in ((1, 10.0), (4, 20.0), (16, 160.0)):
        measured(lake, batch=batch, **whole, end_to_end_latency_ms=ms)
    columns = "batch quantity latency_ms latency_per_input_ms achieved_flops throughput_speedup verdict"
    assert ask(lake, "batch_scaling", columns) == [
        near(1, "end_to_end_latency_ms", 10.0, 10.0, 1e5, 1.0, "comparable"),
        near(16, "end_to_end_latency_ms", 160.0, 10.0, 1e3 / 0.16, 1.0, "comparable"),
        near(4, "end_to_end_latency_ms", 20.0, 5.0, 5e4, 2.0, "comparable"),
    ]
    columns = "quantity knee_batch knee_latency_ms knee_throughput_fps num_batches"
    assert ask(lake, "batch_knee", columns) == [("end_to_end_latency_ms", 4, 20.0, 200.0, 3)]


def test_batch_sizes_of_a_model_are_compared_by_one_latency_never_by_two(lake: Lake) -> None:
    def put(model: str, **latencies: tuple[float | None, float | None]) -> None:
        for batch, (total, whole) in latencies.items():
            measured(lake, model=model, batch=int(batch[1:]), total_latency_ms=total, end_to_end_latency_ms=whole)

    put("both", b1=(8.0, 4.0), b2=(8.0, 4.0))
    put("few cut", b1=(8.0, 4.0), b2=(None, 4.0), b4=(9.0, 4.0))
    put("few whole", b1=(8.0, 4.0), b2=(8.0, None), b4=(8.0, 4.0))
    put("nothing in common", b1=(8.0, None), b2=(None, 4.0), b4=(None, 4.0))
    missing = "a latency is missing"
    assert ask(lake, "batch_scaling", "model batch quantity latency_ms throughput_speedup reason") == [
        ("both", 1, "total_latency_ms", 8.0, 1.0, None),
        ("both", 2, "total_latency_ms", 8.0, 2.0, None),
        ("few cut", 1, "end_to_end_latency_ms", 4.0, 1.0, None),
        ("few cut", 2, "end_to_end_latency_ms", 4.0, 2.0, None),
        ("few cut", 4, "end_to_end_latency_ms", 4.0, 4.0, None),
        ("few whole", 1, "total_latency_ms", 8.0, 1.0, None),
        ("few whole", 2, "total_latency_ms", 8.0, 2.0, None),
        ("few whole", 4, "total_latency_ms", 8.0, 4.0, None),
        ("nothing in common", 1, "total_latency_ms", 8.0, 1.0, None),
        ("nothing in common", 2, "total_latency_ms", None, None, missing),
        ("nothing in common", 4, "total_latency_ms", None, None, missing),
    ]
    assert ask(lake, "batch_knee", "model quantity num_batches num_not_comparable") == [
        ("both", "total_latency_ms", 2, 0),
        ("few cut", "end_to_end_latency_ms", 3, 0),
        ("few whole", "total_latency_ms", 3, 0),
        ("nothing in common", "total_latency_ms", 1, 2),
    ]


def test_best_within_latency_is_the_best_throughput_below_the_limit(lake: Lake) -> None:
    for batch, ms in ((1, 10.0), (4, 20.0), (16, 64.0)):
        measured(lake, batch=batch, total_latency_ms=ms)
    measured(lake, batch=16, model="slow", total_latency_ms=500.0)
    assert ask(lake, "best_within_latency", "model batch throughput_fps") == [("net", 4, 200.0)]
    assert ask(lake, "best_within_latency", "batch throughput_fps", limit_ms=64) == [(16, 250.0)]
    assert ask(lake, "best_within_latency", "batch", limit_ms=9) == []


def test_best_within_latency_judges_each_latency_apart(lake: Lake) -> None:
    measured(lake, batch=1, total_latency_ms=10.0, end_to_end_latency_ms=5.0)
    measured(lake, batch=4, total_latency_ms=40.0, end_to_end_latency_ms=10.0)
    measured(lake, model="whole", batch=2, total_latency_ms=None, end_to_end_latency_ms=10.0)
    assert ask(lake, "best_within_latency", "model quantity batch latency_ms throughput_fps", limit_ms=20) == [
        ("net", "end_to_end_latency_ms", 4, 10.0, 400.0),
        ("net", "total_latency_ms", 1, 10.0, 100.0),
        ("whole", "end_to_end_latency_ms", 2, 10.0, 200.0),
    ]


def test_aliases_of_one_machine_are_compared_and_other_machines_are_not(lake: Lake) -> None:
    specified(lake, aliases=["alias"])
    measured(lake, total_latency_ms=3.0)
    measured(lake, hardware_id="alias", total_latency_ms=6.0)
    measured(lake, hardware_id="other", total_latency_ms=99.0)
    measured(lake, model="b", total_flops=5)
    measured(lake, model="b", hardware_id="alias", flops_method="other_rules")
    columns = "hardware_id other_hardware_id model latency_ratio same_work verdict reason"
    assert ask(lake, "alias_agreement", columns) == [
        ("alias", "dev", "b", None, False, "not_comparable", "counted by different methods"),
        ("alias", "dev", "net", 2.0, True, "comparable", None),
    ]


def test_the_ids_of_a_chain_of_aliases_are_one_machine(lake: Lake) -> None:
    # Each names the next one; the first in the alphabet stands at the end, so all three links must be followed.
    for hardware_id, alias in (("d", "b"), ("b", "c"), ("c", "a")):
        specified(lake, hardware_id, aliases=[alias])
    specified(lake, "p", aliases=["was never measured"])
    specified(lake, "q", aliases=["another", "was never measured"])
    measured(lake, hardware_id="a")
    measured(lake, hardware_id="alone")
    chain = [(hardware_id, "a", 4) for hardware_id in "abcd"]
    expected = [*chain, ("alone", "alone", 1), ("p", "p", 2), ("q", "p", 2)]
    assert ask(lake, "machine_aliases", "hardware_id machine num_ids") == sorted(expected)


def test_aliases_that_were_only_timed_end_to_end_are_compared_by_that(lake: Lake) -> None:
    specified(lake, aliases=["alias"])
    whole = {"total_latency_ms": None, "timing_method": "end_to_end"}
    measured(lake, **whole, end_to_end_latency_ms=2.0)
    measured(lake, hardware_id="alias", **whole, end_to_end_latency_ms=3.0)
    measured(lake, model="both", total_latency_ms=4.0, end_to_end_latency_ms=2.0)
    measured(lake, model="both", hardware_id="alias", total_latency_ms=8.0, end_to_end_latency_ms=2.0)
    measured(lake, model="no common one", total_latency_ms=4.0)
    measured(lake, model="no common one", hardware_id="alias", total_latency_ms=None, end_to_end_latency_ms=2.0)
    assert ask(lake, "alias_agreement", "model quantity latency_ms other_latency_ms latency_ratio reason") == [
        ("both", "total_latency_ms", 8.0, 4.0, 2.0, None),
        ("net", "end_to_end_latency_ms", 3.0, 2.0, 1.5, None),
        ("no common one", None, None, None, None, "the runs have no latency in common"),
    ]


def test_aliases_in_two_power_modes_have_no_ratio(lake: Lake) -> None:
    specified(lake, aliases=["alias"])
    measured(lake, thermal_profile="30W")
    measured(lake, hardware_id="alias", thermal_profile="MAXN")
    assert ask(lake, "alias_agreement", "latency_ratio verdict reason") == [
        (None, "not_comparable", "run in different power modes")
    ]


def test_slower_in_lower_precision_counts_comparable_pairs_only(lake: Lake) -> None:
    for model, fp32, fp16 in (("a", 1.0, 3.0), ("b", 1.0, 0.5), ("c", 2.0, 2.1)):
        measured(lake, model=model, total_latency_ms=fp32)
        measured(lake, model=model, precision="fp16", total_latency_ms=fp16)
    measured(lake, model="d", total_latency_ms=1.0)
    measured(lake, model="d", precision="fp16", total_latency_ms=9.0, timing_method="node_events")
    columns = (
        "precision num_pairs num_slower num_not_comparable median_slowdown largest_slowdown worst_model worst_batch"
    )
    assert ask(lake, "slower_in_lower_precision", columns) == [near("fp16", 3, 2, 1, 1.05, 3.0, "a", 1)]
    assert ask(lake, "slower_in_lower_precision", "num_slower slower_share", slower_than=1.1) == [near(1, 1 / 3)]


def test_cpu_and_gpu_stand_side_by_side_without_a_ratio_where_they_were_timed_differently(lake: Lake) -> None:
    rows = [timing(0, mean=3.0), timing(1, mean=1.0, operation_type="matmul")]
    measured(lake, *rows)
    measured(lake, *rows, model="only on the cpu")
    on_gpu = [timing(0, mean=0.5), timing(1, mean=0.5, operation_type="matmul")]
    measured(lake, *on_gpu, hardware_id="gpu", device="cuda", timing_method="node_events")
    measured(lake, *on_gpu, hardware_id="gpu_2", device="cuda")
    columns = (
        "gpu_hardware_id operation_type num_configurations cpu_latency_ms gpu_latency_ms cpu_latency_share "
        "gpu_latency_share cpu_achieved_flops gpu_speedup reason"
    )
    assert ask(lake, "cpu_against_gpu", columns) == [
        near("gpu", "conv2d", 1, 3.0, 0.5, 0.75, 0.5, 1e6 / 3, None, "timed by different methods"),
        near("gpu", "matmul", 1, 1.0, 0.5, 0.25, 0.5, 1e6, None, "timed by different methods"),
        near("gpu_2", "conv2d", 1, 3.0, 0.5, 0.75, 0.5, 1e6 / 3, 6.0, None),
        near("gpu_2", "matmul", 1, 1.0, 0.5, 0.25, 0.5, 1e6, 2.0, None),
    ]


def test_operation_latency_share_adds_up_to_one_in_each_configuration(lake: Lake) -> None:
    measured(lake, timing(0, mean=1.0), timing(1, mean=1.0), timing(2, flops=0, mean=2.0, operation_type="unfused"))
    measured(lake, timing(0), model="b")
    columns = "model operation_type num_subgraphs latency_ms latency_share flops flops_share"
    assert ask(lake, "operation_latency_share", columns) == [
        ("b", "conv2d", 1, 1.0, 1.0, 1000.0, 1.0),
        ("net", "conv2d", 2, 2.0, 0.5, 2000.0, 1.0),
        ("net", "unfused", 1, 2.0, 0.5, 0.0, 0.0),
    ]


def test_slowest_subgraphs_are_ranked_within_each_configuration(lake: Lake) -> None:
    measured(lake, timing(0, mean=1.0), timing(1, mean=5.0), timing(2, mean=2.0))
    measured(lake, timing(0), batch=2)
    columns = "place subgraph_id latency_share cumulative_share achieved_flops"
    rows = ask(lake, "slowest_subgraphs", columns, top=2, batch=1)
    assert rows == [near(1, 1, 0.625, 0.625, 2e5), near(2, 2, 0.25, 0.875, 5e5)]
    assert len(ask(lake, "slowest_subgraphs", "place", model="net", hardware_id="dev", precision="fp32")) == 4
    assert ask(lake, "slowest_subgraphs", "place", model="nothing like it") == []


def test_energy_is_ranked_within_one_sensor_and_rail(lake: Lake) -> None:
    series = {"phase": "measure", "timestamp_s": [number / 20 for number in range(-1, 22)]}
    for hardware_id, watts, source in (("a", 10.0, "nvml"), ("b", 30.0, "nvml"), ("c", 1.0, "jetson_ina3221")):
        readings = pl.DataFrame(series | {"power_w": [watts] * 23, "source": source, "rail": "gpu", "averaging_s": 0.0})
        readings = readings.with_columns(device_index=pl.lit(0))
        run = {"hardware_id": hardware_id, "precision": "fp32", "model": "net", "batch": 2, "device": "cuda"}
        when = {"started_at": NOON, "started_at_zone_source": "clock", "timing_method": "node_events"}
        lake.write(run | when | {"timed_runs": 5, "measured_window_s": 1.0}, power_timeseries=readings)
    columns = "hardware_id source energy_per_input_j place num_ranked times_best"
    assert ask(lake, "energy_efficiency", columns) == [
        near("a", "nvml", 1.0, 1, 2, 1.0),
        near("b", "nvml", 3.0, 2, 2, 3.0),
        near("c", "jetson_ina3221", 0.1, 1, 1, 1.0),
    ]
