"""Summary, energies and latencies of LLM experiments, over small lakes whose answers can be worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from experiment_lake import energy, experiment, failed, process, readings, request
from small_lake import ask, near

from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


# ---------------------------------------------------------------- summary


def test_ratios_name_what_they_divide_by(lake: Lake) -> None:
    figures = {"input_tokens": 1280, "output_tokens": 640, "num_requests": 10, "wall_time_s": 4.0}
    experiment(lake, facts={"energy_estimates": [energy(228.0)]}, **figures)
    columns = (
        "total_tokens energy_per_output_token_j energy_per_total_token_j energy_per_request_j output_tokens_per_j "
        "total_tokens_per_j output_tokens_per_s total_tokens_per_s"
    )
    expected = near(1920, 228 / 640, 228 / 1920, 22.8, 640 / 228, 1920 / 228, 160.0, 480.0)
    assert ask(lake, "experiment_summary", columns) == [expected]


def test_a_recorded_total_of_tokens_is_kept_and_unknown_ones_give_no_ratio(lake: Lake) -> None:
    joules = {"energy_estimates": [energy(10.0)]}
    experiment(lake, facts=joules, total_tokens=200)
    experiment(lake, facts=joules, experiment_id="zero", input_tokens=0, output_tokens=0, wall_time_s=0.0)
    experiment(lake, facts=joules, experiment_id="unknown", input_tokens=None)
    columns = "experiment_id total_tokens energy_per_total_token_j energy_per_output_token_j output_tokens_per_s"
    assert ask(lake, "experiment_summary", columns) == [
        near("e", 200, 0.05, 0.2, 5.0),
        ("unknown", None, None, 0.2, 5.0),
        ("zero", 0, None, None, None),
    ]


def test_only_good_experiments_are_summed_up(lake: Lake) -> None:
    experiment(lake, run={"run_id": "good"})
    failed(lake, "out of memory")
    lake.retract(experiment(lake), "dev", "wrong model")
    assert ask(lake, "experiment_summary", "run_id energy_j num_energy_estimates num_warnings failed_requests") == [
        ("good", None, 0, 0, None)
    ]


def test_throughputs_of_processes_are_a_sum_and_a_mean_and_never_partial(lake: Lake) -> None:
    rows = [process(0, recorded_tokens_per_second=50.0), process(1, recorded_tokens_per_second=50.0)]
    experiment(lake, num_processes=2, output_tokens=600, facts={"experiment_processes": rows})
    experiment(lake, num_processes=3, experiment_id="one missing", facts={"experiment_processes": rows})
    columns = "experiment_id process_tokens_per_s_sum process_tokens_per_s_mean output_tokens_per_s"
    assert ask(lake, "experiment_summary", columns) == [("e", 100.0, 50.0, 60.0), ("one missing", None, None, 5.0)]


def test_failed_and_warm_up_requests_are_counted_and_in_no_figure(lake: Lake) -> None:
    rows = [
        request(0, 100.0, 10.0),
        request(1, 300.0, 30.0),
        request(2, status="failed", error="timeout"),
        request(3, 9.0, status="cancelled"),
        request(0, 5000.0, 500.0, phase="warmup", sent_at_s=-6.0),
    ]
    experiment(lake, num_requests=4, facts={"experiment_requests": rows})
    columns = "num_requests failed_requests requests_per_s num_ttft ttft_p50_ms num_itl itl_p50_ms num_e2e e2e_p50_ms"
    assert ask(lake, "experiment_summary", columns) == [near(4, 2, 0.2, 2, 200.0, 2, 20.0, 2, 220.0)]


def test_the_most_confident_estimate_of_operations_stands_in_the_summary(lake: Lake) -> None:
    rows = [
        {"flops": 1.0, "method": "calflops", "confidence": "unknown"},
        {"flops": 2.0, "method": "palm_formula", "confidence": "medium"},
        {"flops": 3.0, "method": "architecture", "confidence": "low"},
        {"flops": 4.0, "method": "calflops", "confidence": "high", "process_index": 0},
    ]
    experiment(lake, facts={"flops_estimates": rows})
    assert ask(lake, "experiment_summary", "flops flops_estimate_method flops_confidence") == [
        (2.0, "palm_formula", "medium")
    ]


# ---------------------------------------------------------------- energy


@pytest.mark.parametrize(
    ("device", "estimates", "chosen"),
    [
        ("cuda", [energy(1.0, scope="machine"), energy(2.0), energy(3.0, scope="cpu")], (2.0, "gpu", "counter")),
        ("cuda", [energy(1.0, scope="cpu"), energy(2.0, scope="machine")], (2.0, "machine", "counter")),
        ("cuda", [energy(1.0, scope="machine"), energy(2.0, scope="soc")], (2.0, "soc", "counter")),
        ("cpu", [energy(1.0), energy(2.0, scope="machine"), energy(3.0, scope="cpu")], (3.0, "cpu", "counter")),
        ("cpu", [energy(1.0), energy(2.0, scope="ram")], (2.0, "ram", "counter")),
        (None, [energy(1.0, scope="cpu"), energy(2.0)], (2.0, "gpu", "counter")),
        (
            "cuda",
            [
                energy(1.0, method="reported"),
                energy(2.0, method="sum_of_processes"),
                energy(3.0, method="power_integral"),
            ],
            (3.0, "gpu", "power_integral"),
        ),
        (
            "cuda",
            [energy(1.0, method="reported"), energy(2.0, method="sum_of_processes")],
            (2.0, "gpu", "sum_of_processes"),
        ),
        (
            "cuda",
            [energy(1.0, window_s=5.0), energy(2.0, window_s=9.0), energy(3.0, window_s=None)],
            (2.0, "gpu", "counter"),
        ),
        ("cuda", [energy(1.0, window_s=9.0, note="odd"), energy(2.0, window_s=1.0)], (2.0, "gpu", "counter")),
        ("cuda", [energy(1.0, source="zeus"), energy(2.0)], (2.0, "gpu", "counter")),
        ("cuda", [energy(1.0, process_index=0), energy(2.0, device_index=0), energy(3.0, phase="decode")], None),
    ],
)
def test_one_estimate_stands_for_the_energy_of_a_run(
    device: str | None, estimates: list[dict[str, object]], chosen: tuple[object, ...] | None, lake: Lake
) -> None:
    experiment(lake, run={"device": device}, facts={"energy_estimates": estimates})
    rows = ask(lake, "experiment_energy", "energy_j energy_scope energy_method num_estimates")
    assert rows == ([] if chosen is None else [(*chosen, len(estimates))])
    assert ask(lake, "experiment_summary", "energy_j energy_scope energy_method") == [chosen or (None, None, None)]


def test_energies_stand_beside_those_made_from_raw_readings(lake: Lake) -> None:
    estimates = [
        energy(1000.0),
        energy(800.0, source="zeus", method="reported"),
        energy(999.0, scope="machine"),
        energy(500.0, device_index=1),
        energy(1.0, device_uuid="GPU-x"),
        energy(700.0, scope="process", method="reported"),
    ]
    power = readings({0: 100.0, 1: 40.0, 2: 7.0})
    processes = [process(0, device_index=0), process(1, device_index=1)]
    facts = {"energy_estimates": estimates, "experiment_processes": processes}
    experiment(lake, run={"measured_window_s": 10.0}, facts=facts, power=power)
    columns = (
        "source scope device_index energy_j readings_scope num_rails integral_j integral_difference_percent reason"
    )
    none = "no power readings belong to it"
    assert ask(lake, "energy_recomputed", columns) == [
        near("nvml", "gpu", 1, 500.0, "gpu", 1, 400.0, -20.0, None),
        near("nvml", "gpu", None, 1.0, None, 0, None, None, none),
        near("nvml", "gpu", None, 1000.0, "gpu", 2, 1400.0, 40.0, None),
        near("nvml", "machine", None, 999.0, None, 0, None, None, none),
        near("nvml", "process", None, 700.0, "gpu", 2, 1400.0, 100.0, None),
        near("zeus", "gpu", None, 800.0, "gpu", 2, 1400.0, 75.0, None),
    ]


def test_all_devices_that_were_read_count_where_processes_name_none_and_a_gap_leaves_no_sum(lake: Lake) -> None:
    stored = {"energy_estimates": [energy(100.0, method="power_integral")]}
    window = {"measured_window_s": 10.0}
    experiment(lake, run=window | {"model": "all"}, facts=stored, power=readings({0: 10.0, 1: 20.0}))
    gap = readings({0: 10.0, 1: 20.0}, gap_in=1)
    experiment(lake, run=window | {"model": "gap"}, facts=stored, power=gap)
    assert ask(lake, "energy_recomputed", "model num_rails integral_j counter_j reason") == [
        near("all", 2, 300.0, None, None),
        ("gap", 2, None, None, "the readings leave a gap in the window"),
    ]


def test_a_counter_and_the_scopes_of_rails_are_told_apart(lake: Lake) -> None:
    stored = [energy(450.0, source="rapl", scope="cpu"), energy(30.0, source="rapl", scope="ram")]
    power = readings({None: 50.0}, source="rapl", rail="package-0", counter=True).vstack(
        readings({None: 5.0}, source="rapl", rail="package-0/dram", counter=True)
    )
    experiment(lake, run={"measured_window_s": 10.0, "device": "cpu"}, facts={"energy_estimates": stored}, power=power)
    columns = "scope integral_j counter_j counter_difference_percent reason"
    no_power = "the sensor tells no power"
    assert ask(lake, "energy_recomputed", columns) == [
        near("cpu", None, 500.0, 100 / 9, no_power),
        near("ram", None, 50.0, 200 / 3, no_power),
    ]


def test_another_baseline_is_taken_off_and_an_old_one_is_not(lake: Lake) -> None:
    # Baselines of 10, 20 and 60 W; that of 60 W is an hour old. Each run took 1000 J in 10 s.
    for cycle, (watts, age) in enumerate([(10.0, 5.0), (20.0, 600.0), (60.0, 3600.0)], start=1):
        own = {"baseline_power_w": watts, "baseline_age_s": age, "energy_above_baseline_j": 1000 - 10 * watts}
        experiment(lake, study="s", cycle=cycle, facts={"energy_estimates": [energy(1000.0, **own)]})
    columns = "cycle new_baseline_power_w num_baselines rebaselined_energy_j change_j reason"
    assert ask(lake, "energy_rebaselined", columns) == [
        near(1, 15.0, 2, 850.0, -50.0, None),
        near(2, 15.0, 2, 850.0, 50.0, None),
        near(3, 15.0, 2, 850.0, 450.0, None),
    ]
    assert ask(lake, "energy_rebaselined", columns, baseline="own") == [
        near(1, 10.0, 2, 900.0, 0.0, None),
        near(2, 20.0, 2, 800.0, 0.0, None),
        (3, None, 2, None, None, "the baseline is too old"),
    ]
    (last,) = ask(lake, "energy_rebaselined", columns, max_age_s=1)[-1:]
    assert last == (3, None, 0, None, None, "no run of the study has a baseline that is young enough")
    assert ask(lake, "energy_rebaselined", columns, max_age_s=3600)[0] == near(1, 20.0, 3, 800.0, -100.0, None)


def test_a_baseline_is_taken_off_over_the_wall_time_and_below_zero_where_nothing_else_is_known(lake: Lake) -> None:
    own = {"baseline_power_w": 10.0, "baseline_age_s": 0.0}
    experiment(lake, run={"model": "a"}, facts={"energy_estimates": [energy(60.0, window_s=None, **own)]})
    experiment(lake, run={"model": "b"}, facts={"energy_estimates": [energy(60.0)]})
    timeless = {"energy_estimates": [energy(60.0, window_s=None, **own)]}
    experiment(lake, run={"model": "c"}, facts=timeless, wall_time_s=None)
    ageless = {"energy_estimates": [energy(60.0, baseline_power_w=10.0)]}
    experiment(lake, run={"model": "d"}, facts=ageless)
    columns = "model window_is rebaselined_energy_j rebaselined_energy_per_output_token_j reason"
    assert ask(lake, "energy_rebaselined", columns, baseline="own") == [
        near("a", "wall", -40.0, -0.8, None),
        ("b", "energy", None, None, "the run has no baseline"),
        ("c", None, None, None, "nobody tells what time the energy covers"),
        ("d", "energy", None, None, "the age of the baseline is not known"),
    ]
    assert {row[-1] for row in ask(lake, "energy_rebaselined", columns)} == {"the run belongs to no study"}


# ---------------------------------------------------------------- latencies


def test_values_of_all_processes_are_put_together_before_percentiles_are_made(lake: Lake) -> None:
    rows = [
        {"process_index": number, "metric": "ttft", "token_timing": "streaming", "samples_ms": values}
        for number, values in enumerate([[100.0, 110.0, 95.0], [200.0, 210.0, 195.0]])
    ]
    experiment(lake, num_processes=2, facts={"latency_samples": rows})
    columns = "metric num_values mean_ms p50_ms p95_ms p99_ms min_ms max_ms"
    expected = near("ttft", 6, 910 / 6, 152.5, 207.5, 209.5, 95.0, 210.0)
    assert ask(lake, "experiment_latency_summary", columns) == [expected]
    assert ask(lake, "latency_percentiles", columns) == [expected]
    assert ask(lake, "experiment_summary", "ttft_p50_ms ttft_p95_ms ttft_p99_ms") == [near(152.5, 207.5, 209.5)]


def test_trimmed_inter_token_latencies_leave_out_the_first_and_last_of_each_request(lake: Lake) -> None:
    rows = [request(0, 1.0, 25.0, 30.0, 35.0), request(1, 1.0, 30.0, 50.0), request(2, 1.0, 7.0), request(3, 1.0)]
    rows += [request(0, 1.0, 1.0, 2.0, 3.0, 4.0, process_index=1)]
    experiment(lake, num_processes=2, facts={"experiment_requests": rows})
    found = ask(lake, "experiment_latencies", "metric process_index request_index latency_ms")
    itl = [(row[1], row[2], row[3]) for row in found if row[0] == "itl"]
    trimmed = [(row[1], row[2], row[3]) for row in found if row[0] == "itl_trimmed"]
    assert sorted(itl) == [
        (0, 0, 25.0), (0, 0, 30.0), (0, 0, 35.0), (0, 1, 30.0), (0, 1, 50.0), (0, 2, 7.0),
        (1, 0, 1.0), (1, 0, 2.0), (1, 0, 3.0), (1, 0, 4.0),
    ]  # fmt: skip
    assert sorted(trimmed) == [(0, 0, 30.0), (1, 0, 2.0), (1, 0, 3.0)]


def test_values_that_were_timed_differently_are_never_put_together(lake: Lake) -> None:
    rows = [
        request(0, 10.0, 1.0),
        request(1, 20.0, 2.0) | {"token_timing": "proportional"},
        request(2, 30.0, token_timing=None),
    ]
    experiment(lake, facts={"experiment_requests": rows})
    expected = [("proportional", 1, 20.0), ("streaming", 1, 10.0), ("unknown", 1, 30.0)]
    assert ask(lake, "latency_percentiles", "token_timing num_values p50_ms") == expected
    assert ask(lake, "experiment_summary", "num_ttft ttft_p50_ms itl_p50_ms token_timing") == [(None,) * 4]


def test_percentiles_are_made_over_runs_batches_backends_or_models(lake: Lake) -> None:
    def asked(first: float, **columns: object) -> None:
        backend = columns.pop("backend", "transformers")
        facts = {"experiment_requests": [request(0, first, first, 2 * first, first)]}
        experiment(lake, facts=facts, run=columns, backend=backend)

    asked(10.0, run_id="a")
    asked(20.0, run_id="b")
    asked(30.0, run_id="c", batch=4)
    asked(40.0, run_id="d", backend="openai")
    asked(50.0, run_id="e", hardware_id="other")
    columns = "hardware_id backend batch run_id num_runs num_values p50_ms"
    assert ask(lake, "latency_percentiles", columns) == [
        ("dev", "openai", None, None, 1, 1, 40.0),
        ("dev", "transformers", None, None, 3, 3, 20.0),
        ("other", "transformers", None, None, 1, 1, 50.0),
    ]
    assert ask(lake, "latency_percentiles", columns, level="model") == [(None, None, None, None, 5, 5, 30.0)]
    assert ("dev", "transformers", 1, None, 2, 2, 15.0) in ask(lake, "latency_percentiles", columns, level="batch")
    runs = ask(lake, "latency_percentiles", columns, level="run")
    assert [(row[3], row[-1]) for row in runs if row[0] == "dev"] == [
        ("d", 40.0),
        ("a", 10.0),
        ("b", 20.0),
        ("c", 30.0),
    ]
    of_model = {"level": "model", "metric": "itl"}
    assert ask(lake, "latency_percentiles", "metric num_values p50_ms max_ms", **of_model) == [("itl", 15, 40.0, 100.0)]
    trimmed = ask(lake, "latency_percentiles", "num_values p50_ms", level="model", metric="itl_trimmed")
    assert trimmed == [(5, 60.0)]
    assert ask(lake, "latency_percentiles", "num_values p50_ms", level="model", metric="e2e") == [(5, 150.0)]
