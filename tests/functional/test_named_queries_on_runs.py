"""Named queries about runs and estimates, over small lakes whose answers can be worked out by hand."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import polars as pl
import pytest
from small_lake import NOON, STATE, ask, estimated, failed, measured, near, specified, timing

from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


# ---------------------------------------------------------------- age, provenance, history


def test_stale_measurements_are_older_than_some_days_before_the_newest_run(lake: Lake) -> None:
    measured(lake, model="newest", day=50)
    measured(lake, model="old", day=9.5)
    measured(lake, model="fresh", day=45)
    measured(lake, model="again", day=0)
    measured(lake, model="again", day=49)
    measured(lake, model="undated", day=None)
    columns = "model verdict age_days reference_at"
    newest = NOON + dt.timedelta(days=50)
    undated = ("undated", "unknown", None)
    assert ask(lake, "stale_measurements", columns) == [("old", "stale", 40.5, newest), (*undated, newest)]
    assert ask(lake, "stale_measurements", "model", days=4) == [("fresh",), ("old",), ("undated",)]
    midnight = dt.datetime(2026, 2, 15)  # noqa: DTZ001 - the lake keeps naive UTC
    rows = ask(lake, "stale_measurements", columns, days=30, reference="2026-02-15")
    assert rows == [("old", "stale", 35.0, midnight), (*undated, midnight)]


def test_provenance_has_a_row_for_each_file_and_one_for_a_run_measured_here(lake: Lake) -> None:
    files = [('data/größe "1" \\ 2.json', "0a"), ("data/b.json", "0b")]
    sources = [{"uri": uri, "sha256": digest, "layout": "canonical"} for uri, digest in files]
    measured(lake, day=0, tool_version="old tool", sources=[{"uri": "superseded", "sha256": "x", "layout": "L3"}])
    measured(lake, day=1, tool_version="tool 2", sources=sources, schema_version="2.0", source_hardware_id="Dev")
    measured(lake, model="here", tool_version="groundlake", torch_version="2.13")
    columns = "model file_number num_files file sha256 layout tool_version schema_version torch_version"
    assert ask(lake, "provenance", columns) == [
        ("here", None, 0, None, None, None, "groundlake", None, "2.13"),
        ("net", 1, 2, files[0][0], "0a", "canonical", "tool 2", "2.0", None),
        ("net", 2, 2, files[1][0], "0b", "canonical", "tool 2", "2.0", None),
    ]


def test_run_history_shows_each_change_from_the_good_run_before(lake: Lake) -> None:
    measured(lake, day=0, run_id="a", total_latency_ms=10.0, end_to_end_latency_ms=4.0)
    measured(lake, day=1, run_id="b", total_latency_ms=20.0, end_to_end_latency_ms=5.0)
    failed(lake, "out of memory", run_id="c")
    measured(lake, day=3, run_id="d", total_latency_ms=20.5)
    measured(lake, day=-1, run_id="0", total_latency_ms=1.0, timing_method="node_events")
    measured(lake, day=5, model="other", run_id="f")
    columns = "run_id place previous_run_id change_percent end_to_end_change_percent verdict reason"
    # Twice the relative deviation of 10, 20 and 20.5 ms is 70 %.
    assert ask(lake, "run_history", columns, model="net") == [
        ("0", 1, None, None, None, "first", None),
        ("a", 2, "0", None, None, "not_comparable", "timed by different methods"),
        ("b", 3, "a", 100.0, 25.0, "slower", None),
        ("c", 1, None, None, None, "failed", "out of memory"),
        near("d", 4, "b", 2.499999999999991, None, "within noise", None),
    ]
    assert len(ask(lake, "run_history", "run_id")) == 6
    assert ask(lake, "run_history", "run_id", hardware_id="dev", precision="fp32", model="other", batch=1) == [("f",)]
    assert ask(lake, "run_history", "run_id", batch=7) == []


def test_runs_that_were_only_timed_end_to_end_have_a_history_by_that(lake: Lake) -> None:
    for run_id, total, whole in (("a", None, 10.0), ("b", None, 20.0), ("c", 30.0, 21.0), ("d", 60.0, None)):
        measured(lake, day=ord(run_id), run_id=run_id, total_latency_ms=total, end_to_end_latency_ms=whole)
    measured(lake, day=ord("e"), run_id="e", total_latency_ms=None, end_to_end_latency_ms=22.0)
    columns = "run_id quantity previous_latency_ms change_percent end_to_end_change_percent verdict reason"
    nothing = "the runs have no latency in common"
    rows = ask(lake, "run_history", columns)
    assert rows == [
        ("a", None, None, None, None, "first", None),
        ("b", "end_to_end_latency_ms", 10.0, 100.0, 100.0, "slower", None),
        near("c", "end_to_end_latency_ms", 20.0, 5.000000000000004, 5.000000000000004, "within noise", None),
        ("d", "total_latency_ms", 30.0, 100.0, None, "slower", None),
        ("e", None, None, None, None, "not_comparable", nothing),
    ]


def test_a_run_on_another_kind_of_device_is_no_change(lake: Lake) -> None:
    measured(lake, day=0, run_id="a", total_latency_ms=10.0, session_id="s")
    measured(lake, day=1, run_id="b", total_latency_ms=2.0, session_id="s", device="cuda")
    measured(lake, day=2, run_id="c", total_latency_ms=1.0, session_id="s", device="cuda")
    assert ask(lake, "run_history", "run_id change_percent reason") == [
        ("a", None, None),
        ("b", None, "run on different kinds of device"),
        ("c", -50.0, None),
    ]
    assert ask(lake, "session_drift", "run_id first_run_id change_percent") == [("c", "b", -50.0)]


def test_good_runs_are_the_measurements_that_succeeded_forced_ones_marked(lake: Lake) -> None:
    measured(lake, day=0, run_id="old", system_under_load={**STATE, "temperature_c": 60.0})
    measured(lake, day=2, run_id="forced", warnings=["not_representative: the governor is powersave"])
    measured(lake, day=1, run_id="warned", warnings=["high_variance: x"])
    failed(lake, "out of memory")
    specified(lake)
    lake.retract(measured(lake, day=3), "dev", "wrong device")
    assert ask(lake, "good_runs", "run_id is_representative temperature_c") == [
        ("forced", False, None),
        ("old", True, 60.0),
        ("warned", True, None),
    ]
    assert ask(lake, "latest_runs", "run_id is_representative") == [("forced", False)]


def test_failed_runs_are_grouped_by_the_first_line_of_the_error(lake: Lake) -> None:
    failed(lake, "CUDA out of memory\nat conv2d", model="b")
    failed(lake, "CUDA out of memory", model="a")
    failed(lake, "CUDA out of memory", model="a")
    failed(lake, "no such model", model="c", kind="llm_inference")
    measured(lake, model="a")
    columns = "kind reason num_runs num_configurations num_measured models"
    assert ask(lake, "failed_runs", columns) == [
        ("efficiency", "CUDA out of memory", 3, 2, 1, ["a", "b"]),
        ("llm_inference", "no such model", 1, 1, 0, ["c"]),
    ]


def test_graph_differences_finds_the_one_run_whose_subgraphs_are_not_those_of_the_others(lake: Lake) -> None:
    usual = [timing(0), timing(1, flops=0), timing(2)]
    for number in range(3):
        measured(lake, *usual, hardware_id=f"dev_{number}")
        halved = [row | {"total_bytes": 50} for row in usual]
        measured(lake, *halved, hardware_id=f"dev_{number}", precision="fp16")  # fewer bytes are usual in fp16
    odd = [timing(0), timing(1, flops=13, total_bytes=104, fusion_pattern="Linear"), timing(2)]
    measured(lake, *odd, hardware_id="odd")
    measured(lake, *usual[:2], hardware_id="short")
    measured(lake, *odd, hardware_id="other_rules", flops_method="other")
    columns = (
        "hardware_id num_runs num_flops_differ num_bytes_differ num_patterns_differ num_subgraphs usual_num_subgraphs "
        "first_subgraph_id extra_flops"
    )
    assert ask(lake, "graph_differences", columns) == [
        ("odd", 8, 1, 1, 1, 3, 3, 1, 13.0),
        ("short", 8, 0, 0, 0, 2, 3, None, 0.0),
    ]


def test_of_two_graphs_that_are_equally_frequent_none_is_different(lake: Lake) -> None:
    measured(lake, timing(0))
    measured(lake, timing(0, flops=7), hardware_id="other")
    assert ask(lake, "graph_differences", "run_id") == []


# ---------------------------------------------------------------- noise, drift, throttling


def test_session_drift_follows_each_configuration_from_its_first_run_of_the_session(lake: Lake) -> None:
    hour = 1 / 24
    warm = {**STATE, "gpu_clock_mhz": 900, "temperature_c": 71.5}
    measured(lake, model="start", session_id="s", day=0)
    measured(lake, session_id="s", day=hour, total_latency_ms=10.0, end_to_end_latency_ms=4.0)
    late = {"session_id": "s", "day": 27 * hour, "system_under_load": warm}
    measured(lake, **late, total_latency_ms=12.0, end_to_end_latency_ms=5.0)
    measured(lake, session_id="s", day=28 * hour, total_latency_ms=1.0, timing_method="node_events")
    measured(lake, session_id="t", day=2, total_latency_ms=99.0)
    columns = "session place minutes change_percent end_to_end_change_percent gpu_clock_mhz temperature_c"
    assert ask(lake, "session_drift", columns) == [near("s", 2, 1620.0, 20.0, 25.0, 900, 71.5)]


def test_runs_without_a_session_drift_within_their_day(lake: Lake) -> None:
    measured(lake, day=0, total_latency_ms=10.0)
    measured(lake, day=0.25, total_latency_ms=9.0)
    measured(lake, day=1, total_latency_ms=99.0)
    assert ask(lake, "session_drift", "session change_percent minutes") == [near("2026-01-01", -10.0, 360.0)]


def test_scattered_weighs_the_subgraphs_beyond_the_limits_by_their_latency(lake: Lake) -> None:
    spread = timing(0, mean=3.0, latency_std_ms=0.6, latency_max_ms=4.0)
    outlier = timing(1, mean=1.0, latency_std_ms=0.05, latency_max_ms=20.0)
    measured(lake, spread, outlier, timing(2, mean=4.0))
    measured(lake, timing(0), model="calm")
    columns = "model num_scattered scattered_share largest_cv largest_max_to_mean worst_subgraph_id"
    assert ask(lake, "scattered", columns) == [near("net", 2, 0.5, 0.2, 20.0, 0)]
    assert ask(lake, "scattered", "num_scattered scattered_share", cv=0.3) == [(1, 0.125)]
    assert ask(lake, "scattered", "num_scattered", cv=0.3, max_to_mean=30) == []
    assert ask(lake, "scattered", "num_scattered", least_share=0.6) == []


def test_throttled_runs_names_every_sign(lake: Lake) -> None:
    specified(lake, clock_mhz=1000.0, device="cuda")
    states = {
        "driver": {"throttle_reasons": ["gpu_idle", "sw_power_cap"]},
        "clock": {"gpu_clock_mhz": 850, "throttle_reasons": []},
        "heat": {"temperature_c": 95.0},
        "idle": {"throttle_reasons": ["gpu_idle"], "gpu_clock_mhz": 950, "temperature_c": 60.0},
    }
    for model, state in states.items():
        measured(lake, model=model, device="cuda", system_under_load=STATE | state)
    measured(lake, model="warned", warnings=["high_variance: x", "throttling: the clocks are held back"])
    measured(lake, model="unknown")
    assert ask(lake, "throttled_runs", "model signs held_back clock_share") == [
        ("clock", "clock", None, 0.85),
        ("driver", "driver", '["gpu_idle","sw_power_cap"]', None),
        ("heat", "heat", None, None),
        ("warned", "warning", None, None),
    ]
    assert ask(lake, "throttled_runs", "model", least_clock_share=0.8, hottest_c=96) == [("driver",), ("warned",)]


# ---------------------------------------------------------------- estimates


def test_worst_estimates_come_first_and_what_is_within_the_noise_last(lake: Lake) -> None:
    for model, ms in (("a", 10.0), ("b", 10.0), ("c", 10.0)):
        measured(lake, model=model, total_latency_ms=ms)
    guesses = [{"model": model, "predicted_latency_ms": ms} for model, ms in (("a", 12.0), ("b", 4.0), ("c", 10.5))]
    estimated(lake, *guesses, {"model": "never measured", "predicted_latency_ms": 1.0})
    columns = "place model signed_error_percent rating"
    assert ask(lake, "worst_estimates", columns, top=2) == [
        near(1, "b", -60.0, "POOR"),
        near(2, "a", 20.0, "GOOD"),
    ]
    assert len(ask(lake, "worst_estimates", columns, estimator="guess", version="1", hardware_id="dev")) == 3
    assert ask(lake, "worst_estimates", columns, version="2") == []
    assert ask(lake, "worst_estimates", columns, level="subgraph") == []


def test_estimate_coverage_and_gaps_tell_whole_from_partly_predicted(lake: Lake) -> None:
    for model in ("whole", "cut", "partly", "left out"):
        measured(lake, timing(0), timing(1), model=model)
    estimated(
        lake,
        {"model": "whole", "predicted_latency_ms": 1.0, "extrapolated": True},
        {"model": "cut", "subgraph_id": 0, "predicted_latency_ms": 1.0},
        {"model": "cut", "subgraph_id": 1, "predicted_latency_ms": 1.0},
        {"model": "partly", "subgraph_id": 1, "predicted_latency_ms": 1.0},
        {"model": "left out", "predicted_memory_bytes": 1.0},
        {"model": "never measured", "predicted_latency_ms": 1.0},
    )
    columns = (
        "num_measured num_predicted num_partly_predicted num_extrapolated predicted_share num_not_measured estimator"
    )
    assert ask(lake, "estimate_coverage", columns) == [(4, 2, 1, 1, 0.5, 1, "guess")]
    gaps = [("left out", "not predicted", 0, 2), ("partly", "partly predicted", 1, 2)]
    assert ask(lake, "estimate_gaps", "model state num_predicted_subgraphs num_subgraphs") == gaps
    assert ask(lake, "estimate_gaps", "model", estimator="another") == []


def test_subgraphs_predicted_of_a_run_that_was_not_cut_are_a_part_and_a_gap(lake: Lake) -> None:
    measured(lake, num_subgraphs=None, total_latency_ms=None, end_to_end_latency_ms=3.0, timing_method="end_to_end")
    estimated(lake, {"subgraph_id": 0, "predicted_latency_ms": 1.0})
    assert ask(lake, "estimate_coverage", "num_measured num_predicted num_partly_predicted") == [(1, 0, 1)]
    assert ask(lake, "estimate_gaps", "state num_predicted_subgraphs num_subgraphs") == [("partly predicted", 1, None)]


def powered(lake: Lake, *rails: tuple[str, str, int | None, float], **run: object) -> None:
    """Write a run of 5 passes in a second with rails (source, name, index of the device, steady power in W)."""
    seconds = [number / 20 for number in range(-1, 22)]
    series = [
        pl.DataFrame({"timestamp_s": seconds}).with_columns(
            phase=pl.lit("measure"),
            source=pl.lit(source),
            rail=pl.lit(rail),
            device_index=pl.lit(index, pl.Int64),
            power_w=pl.lit(watts),
            averaging_s=pl.lit(0.0),
        )
        for source, rail, index, watts in rails
    ]
    keys = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "device": "cuda"}
    when = {"started_at": NOON, "started_at_zone_source": "clock", "timed_runs": 5, "measured_window_s": 1.0}
    lake.write(keys | when | run, power_timeseries=pl.concat(series))


INA = "jetson_ina3221"


@pytest.mark.parametrize(
    ("device", "rails", "compared_with", "joules"),
    [
        ("cuda", [(INA, "VDD_IN", None, 10.0), (INA, "VDD_GPU_SOC", None, 30.0)], f"{INA}/VDD_IN", 2.0),
        ("cuda", [("nvml", "gpu", 0, 20.0), ("rapl", "package-0", 0, 30.0)], "nvml/gpu", 4.0),
        ("cpu", [("nvml", "gpu", 0, 90.0), ("rapl", "package-0", 0, 20.0)], "rapl/package-0", 4.0),
        ("cpu", [("rapl", "package-0/core", 0, 30.0), ("rapl", "package-0", 0, 20.0)], "rapl/package-0", 4.0),
        ("cpu", [("rapl", "psys", None, 30.0), ("rapl", "package-0", 0, 20.0)], "rapl/package-0", 4.0),
        ("cpu", [("rapl", "package-0", 0, 10.0), ("rapl", "package-1", 1, 20.0)], "rapl/package-1", 4.0),
        ("cuda", [(INA, "VDD_CPU_CV", None, 10.0), (INA, "VDD_GPU_SOC", None, 30.0)], f"{INA}/VDD_GPU_SOC", 6.0),
        ("cuda", [("nvml", "gpu", 0, 20.0), ("nvml", "gpu", 1, 30.0)], "nvml/gpu 1", 6.0),
    ],
)
def test_an_estimate_of_the_energy_stands_beside_the_rail_of_the_whole(
    device: str, rails: list[tuple[str, str, int | None, float]], compared_with: str, joules: float, lake: Lake
) -> None:
    powered(lake, *rails, device=device, device_index=1 if rails[-1][:2] == ("nvml", "gpu") else None)
    estimated(lake, {"predicted_energy_j": 4.0})
    (row,) = ask(lake, "estimator_error", "compared_with measured reason")
    assert row == near(compared_with, joules, None)


def test_the_noise_of_an_energy_is_known_between_runs_only(lake: Lake) -> None:
    def put(model: str, day: float, *rails: tuple[str, str, int | None, float], **run: object) -> None:
        powered(lake, *rails, model=model, started_at=NOON + dt.timedelta(days=day), **run)

    def package(watts: float) -> tuple[str, str, int | None, float]:
        return ("rapl", "package-0", 0, watts)

    put("again", 0, ("nvml", "gpu", 0, 9.0), package(50.0), device_index=0)
    put("again", 1, ("nvml", "gpu", 0, 11.0), device_index=0)
    put("forced", 0, ("nvml", "gpu", 0, 90.0), device_index=0)
    forced = {"warnings": ["not_representative: the governor is powersave"]}
    put("forced", 1, ("nvml", "gpu", 0, 10.0), device_index=0, **forced)
    put("once", 0, ("nvml", "gpu", 0, 20.0), device_index=0)
    put("other way", 0, package(30.0), device="cpu")
    put("two", 0, ("nvml", "gpu", 0, 20.0), ("nvml", "gpu", 1, 30.0), device_index=1)
    columns = "model quantity measured_j measured_ms num_runs num_repeats noise_percent noise_method"
    noise = 200 * 2**0.5 / 10  # twice the deviation of 9 and 11 beside their mean
    energies = [row for row in ask(lake, "run_noise", columns) if "/" in row[1]]
    assert energies == [
        near("again", "nvml/gpu", 2.2, None, 2, 1, noise, "between runs"),
        near("once", "nvml/gpu", 4.0, None, 1, 1, noise, "between runs"),
        near("other way", "rapl/package-0", 6.0, None, 1, 0, None, None),
        near("two", "nvml/gpu 1", 6.0, None, 1, 0, None, None),
    ]


def test_an_energy_within_its_noise_is_no_error_and_one_that_scatters_judges_nobody(lake: Lake) -> None:
    for model, watts in (("calm", (10.0, 10.2)), ("wild", (10.0, 30.0))):
        for day, each in enumerate(watts):
            run = {"model": model, "precision": "fp32" if model == "calm" else "fp16"}
            powered(lake, ("nvml", "gpu", 0, each), started_at=NOON + dt.timedelta(days=day), device_index=0, **run)
    powered(lake, ("rapl", "package-0", 0, 10.0), model="once", device="cpu")
    estimated(
        lake,
        {"model": "calm", "predicted_energy_j": 2.09},
        {"model": "wild", "precision": "fp16", "predicted_energy_j": 6.0},
        {"model": "once", "predicted_energy_j": 2.1},
    )
    columns = "model compared_with within_noise counted_ape_percent noise_method rating reason"
    assert ask(lake, "estimator_error", columns) == [
        ("calm", "nvml/gpu", True, 0.0, "between runs", "EXCELLENT", None),
        ("once", "rapl/package-0", None, pytest.approx(5.0), None, "EXCELLENT", None),
        ("wild", "nvml/gpu", True, 0.0, "between runs", None, "the measurement scatters too much to judge"),
    ]


def test_the_energy_of_every_good_run_stands_beside_that_of_the_latest(lake: Lake) -> None:
    for day, watts in enumerate((10.0, 20.0)):
        powered(lake, ("rapl", "psys", None, watts), device="cpu", started_at=NOON + dt.timedelta(days=day))
    powered(lake, ("rapl", "psys", None, 99.0), device="cpu", kind="idle_baseline", model="idle", batch=0)
    columns = "model started_at energy_per_pass_j compared_with"
    latest = near("net", NOON + dt.timedelta(days=1), 4.0, "rapl/psys")
    assert ask(lake, "energy_per_pass", columns) == [near("net", NOON, 2.0, "rapl/psys"), latest]
    assert ask(lake, "energy_per_inference", "energy_per_pass_j compared_with") == [near(4.0, "rapl/psys")]


def test_holdout_leakage_counts_estimates_that_equal_what_they_are_judged_on(lake: Lake) -> None:
    specified(lake, aliases=["alias"])
    measured(lake, model="copied", total_latency_ms=10.0)
    measured(lake, model="blind", total_latency_ms=10.0, day=365 * 100)  # begins after any estimate of today
    measured(lake, model="under two ids", total_latency_ms=10.0)
    measured(lake, model="under two ids", hardware_id="alias")
    models = {"copied": 10.0, "blind": 12.0, "under two ids": 11.0}
    estimated(lake, *({"model": model, "predicted_latency_ms": ms} for model, ms in models.items()))
    estimated(lake, {"model": "copied", "predicted_latency_ms": 11.0}, version="2")
    columns = (
        "estimator_version num_compared num_blind num_identical identical_share num_alias_measured median_ape_percent"
    )
    assert ask(lake, "holdout_leakage", columns) == [
        near("1", 3, 1, 1, 1 / 3, 1, 10.000000000000009),
        near("2", 1, 0, 0, 0.0, 0, 10.000000000000009),
    ]
