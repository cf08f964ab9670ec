"""The questions about experiments that compare runs, over small lakes whose answers can be worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from experiment_lake import energy, experiment, failed, planned, process, request, warned
from small_lake import ask, near, specified

from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


# ---------------------------------------------------------------- configurations and their repeats


def repeat(lake: Lake, joules: float, *, hash_: str | None = "h", **columns: object) -> str:
    """Write one repeat with this energy for its 50 tokens out in 10 s."""
    run = {
        name: columns.pop(name) for name in ("hardware_id", "precision", "model", "batch", "run_id") if name in columns
    }
    facts = columns.pop("facts", {})
    assert isinstance(facts, dict)
    return experiment(
        lake, run=run | {"config_hash": hash_}, facts={"energy_estimates": [energy(joules)], **facts}, **columns
    )


def test_repeats_have_a_mean_a_deviation_and_a_sign_that_there_are_enough(lake: Lake) -> None:
    for joules, wall in ((100.0, 10.0), (150.0, 12.5), (200.0, 10.0)):
        repeat(lake, joules, wall_time_s=wall)
    repeat(lake, 400.0, batch=4)
    repeat(lake, 500.0, hash_="other")
    columns = (
        "batch config_hash energy_per_output_token_j energy_per_output_token_std_j energy_per_output_token_cv "
        "output_tokens_per_s"
    )
    assert ask(lake, "experiment_repeats", columns) == [
        near(1, "h", 3.0, 1.0, 1 / 3, 14 / 3),
        near(1, "other", 10.0, None, None, 5.0),
        near(4, "h", 8.0, None, None, 5.0),
    ]
    assert ask(lake, "experiment_repeats", "batch config_hash num_runs has_enough_runs") == [
        (1, "h", 3, True),
        (1, "other", 1, False),
        (4, "h", 1, False),
    ]


def test_runs_that_may_differ_are_no_repeats(lake: Lake) -> None:
    repeat(lake, 100.0, hash_=None)
    repeat(lake, 100.0, hash_=None)
    repeat(lake, 100.0)
    repeat(lake, 100.0, concurrency=8)
    repeat(lake, 100.0, backend_version="2")
    repeat(lake, 100.0, measurement_methodology="steady_state")
    repeat(lake, 100.0, hardware_id="other")
    experiment(lake, run={"config_hash": "h"}, facts={"energy_estimates": [energy(100.0, scope="machine")]})
    assert [row[0] for row in ask(lake, "experiment_repeats", "num_runs")] == [1] * 8


def test_the_cheapest_configuration_meets_the_objective_in_every_repeat(lake: Lake) -> None:
    def served(joules: float, first: float, between: float, **columns: object) -> None:
        rows = {"experiment_requests": [request(0, first, between)]}
        repeat(lake, joules, facts=rows, **columns)

    served(50.0, 100.0, 80.0, batch=1)  # too slow between tokens
    served(60.0, 100.0, 20.0, batch=2, throttled=True)
    served(70.0, 100.0, 20.0, batch=3)
    served(70.0, 900.0, 20.0, batch=3)  # a repeat whose first token is late
    served(100.0, 150.0, 50.0, batch=4)
    served(110.0, 150.0, 50.0, batch=4, throttled=False)
    served(200.0, 10.0, 10.0, batch=8)
    repeat(lake, 10.0, batch=16)  # nobody knows its latencies
    columns = (
        "batch energy_per_output_token_j worst_ttft_p95_ms worst_itl_p99_ms num_runs throttling_unknown_runs num_within"
    )
    assert ask(lake, "cheapest_within_slo", columns) == [near(4, 2.1, 150.0, 50.0, 2, 1, 2)]
    assert ask(lake, "cheapest_within_slo", columns, itl_p99_ms=0) == [near(1, 1.0, 100.0, 80.0, 1, 1, 3)]
    assert ask(lake, "cheapest_within_slo", columns, ttft_p95_ms=10) == [near(8, 4.0, 10.0, 10.0, 1, 1, 1)]
    assert ask(lake, "cheapest_within_slo", "batch num_within", ttft_p95_ms=0, itl_p99_ms=0) == [(16, 5)]
    assert ask(lake, "cheapest_within_slo", columns, ttft_p95_ms=1) == []


def test_a_repeat_without_an_energy_can_break_the_objective(lake: Lake) -> None:
    repeat(lake, 100.0, facts={"experiment_requests": [request(0, 100.0, 20.0)]})
    assert ask(lake, "cheapest_within_slo", "batch num_runs") == [(1, 1)]
    late = {"experiment_requests": [request(0, 900.0, 20.0)], "energy_estimates": []}
    repeat(lake, 100.0, facts=late)
    assert ask(lake, "cheapest_within_slo", "batch") == []


def test_energies_of_two_scopes_or_models_are_never_ranked_together(lake: Lake) -> None:
    for scope, joules in (("gpu", 100.0), ("machine", 200.0)):
        experiment(lake, facts={"energy_estimates": [energy(joules, scope=scope)]})
    repeat(lake, 300.0, model="other")
    none = {"ttft_p95_ms": 0, "itl_p99_ms": 0}
    rows = ask(lake, "cheapest_within_slo", "model energy_scope energy_per_output_token_j num_within", **none)
    assert rows == [("chat", "gpu", 2.0, 1), ("chat", "machine", 4.0, 1), ("other", "gpu", 6.0, 1)]
    front = ask(lake, "energy_pareto_front", "model energy_scope num_better is_on_front_of_model")
    assert front == [("chat", "gpu", 0, True), ("chat", "machine", 0, True), ("other", "gpu", 0, True)]


def test_the_front_holds_what_nothing_beats_in_both_energy_and_speed(lake: Lake) -> None:
    # Batch 4 is beaten by batch 2 in both, batch 16 by batch 8 in speed at the same energy.
    for batch, joules, wall in ((1, 100.0, 10.0), (2, 150.0, 5.0), (4, 200.0, 8.0), (8, 250.0, 1.0), (16, 250.0, 2.0)):
        repeat(lake, joules, wall_time_s=wall, batch=batch)
    repeat(lake, 50.0, wall_time_s=2.0, batch=2, hardware_id="other")
    repeat(lake, 1.0, batch=32, throttled=True)
    columns = "hardware_id batch num_better_on_hardware num_better is_on_front is_on_front_of_model"
    assert ask(lake, "energy_pareto_front", columns) == [
        ("dev", 1, 0, 1, True, False),
        ("dev", 16, 1, 2, False, False),
        ("dev", 2, 0, 1, True, False),
        ("dev", 4, 1, 2, False, False),
        ("dev", 8, 0, 0, True, True),
        ("other", 2, 0, 0, True, True),
    ]


def test_the_scatter_of_repeats_with_a_warning_stands_beside_that_without(lake: Lake) -> None:
    drift = {"measurement_warnings": [warned("thermal_drift"), warned("thermal_drift", process_index=1)]}
    for joules in (100.0, 300.0):
        repeat(lake, joules, facts=drift)
    for joules in (200.0, 200.0, 200.0):
        repeat(lake, joules)
    repeat(lake, 100.0, facts={"measurement_warnings": [warned("few_prompts")]}, batch=2)
    repeat(lake, 100.0, hardware_id="other")
    columns = (
        "code num_runs num_runs_with share_of_runs energy_cv_with energy_repeats_with energy_cv_without "
        "energy_repeats_without throughput_cv_with"
    )
    rows = ask(lake, "warning_effects", columns)
    # With thermal_drift: 100 and 300, deviation sqrt(20000).
    assert rows[1] == near("thermal_drift", 6, 2, 1 / 3, 20000**0.5 / 200, 1, 0.0, 2, 0.0)
    # Without few_prompts: 100, 300 and three times 200, four degrees of freedom, deviation sqrt(20000 / 4).
    assert rows[0] == near("few_prompts", 6, 1, 1 / 6, None, 0, 5000**0.5 / 200, 4, None)


# ---------------------------------------------------------------- what changed


def test_what_changed_between_two_runs_is_listed_with_both_values(lake: Lake) -> None:
    def run(number: int, name: str, packages: dict[str, str | None], **columns: object) -> None:
        rows = [{"kind": "package", "name": package, "value": value} for package, value in packages.items()]
        settings = {"experiment_settings": [*rows, {"kind": "config", "name": "dataset.n", "value": str(number)}]}
        experiment(lake, hour=number, run={"run_id": name} | columns, facts=settings, concurrency=2)

    run(1, "a", {"torch": "2.1", "numpy": "2.0", "gone": "1", "odd": None}, driver_version="550")
    run(2, "b", {"torch": "2.2", "numpy": "2.0", "new": "1", "odd": "x"}, driver_version="560")
    run(3, "c", {"torch": "2.1"}, model="other")
    columns = "kind name change other_value value run_id other_run_id"
    forward = [
        ("config", "dataset.n", "changed", "1", "2", "b", "a"),
        ("package", "gone", "removed", "1", None, "b", "a"),
        ("package", "new", "added", None, "1", "b", "a"),
        ("package", "odd", "changed", None, "x", "b", "a"),
        ("package", "torch", "changed", "2.1", "2.2", "b", "a"),
        ("run", "driver_version", "changed", "550", "560", "b", "a"),
    ]
    assert ask(lake, "experiment_differences", columns, run_id="b", other_run_id="a") == forward
    assert ask(lake, "experiment_differences", columns, run_id="b") == forward
    assert ask(lake, "experiment_differences", columns) == []  # the newest has none before it of its model
    newest = ask(lake, "experiment_differences", "name change run_id", other_run_id="b")
    assert ("model", "changed", "c") in newest
    assert ("new", "removed", "c") in newest
    assert ask(lake, "experiment_differences", columns, run_id="b", other_run_id="b") == []


# ---------------------------------------------------------------- parallel runs, operations


def test_parallel_efficiency_sets_the_wall_clock_against_the_sum_of_processes(lake: Lake) -> None:
    rows = [
        process(0, output_tokens=400, inference_time_s=4.0, recorded_tokens_per_second=90.0),
        process(1, output_tokens=400, inference_time_s=8.0, recorded_tokens_per_second=60.0),
    ]
    estimates = [energy(400.0), energy(100.0, device_index=0), energy(300.0, device_index=1)]
    estimates += [energy(310.0, device_index=1, note="told twice"), energy(5.0, device_index=1, phase="decode")]
    facts = {"experiment_processes": rows, "energy_estimates": estimates}
    verified = {"overlap_verified": False, "devices_verified": True}
    experiment(lake, num_processes=2, output_tokens=800, wall_time_s=10.0, facts=facts, **verified)
    per_process = [energy(50.0, process_index=number, method="reported") for number in range(2)]
    facts = {"experiment_processes": rows[:1], "energy_estimates": per_process}
    experiment(lake, num_processes=2, run={"batch": 2}, facts=facts)
    experiment(lake, run={"batch": 3}, facts={"experiment_processes": rows[:1]})
    columns = (
        "batch output_tokens_per_s process_output_tokens_per_s_sum process_output_tokens_per_s_mean wall_share "
        "process_tokens_per_s_sum process_tokens_per_s_mean time_imbalance"
    )
    assert ask(lake, "parallel_efficiency", columns) == [
        near(1, 80.0, 150.0, 75.0, 80 / 150, 150.0, 75.0, 4 / 3),
        near(2, 5.0, None, None, None, None, None, None),
    ]
    columns = "batch energy_of num_energies largest_energy_j energy_imbalance overlap_verified devices_verified"
    assert ask(lake, "parallel_efficiency", columns) == [
        (1, "devices", 2, 300.0, 1.5, False, True),
        (2, "processes", 2, 50.0, 1.0, None, None),
    ]


def test_operations_of_low_confidence_have_no_efficiency_and_methods_are_never_mixed(lake: Lake) -> None:
    specified(lake, device="cuda", peak_fp16_flops=1e12, peak_int8_ops=4e12)
    rows = [
        {"flops": 2e12, "method": "palm_formula", "confidence": "medium"},
        {"flops": 1e12, "method": "palm_formula", "confidence": "high"},
        {"flops": 4e12, "method": "architecture", "confidence": "medium"},
        {"flops": 9e12, "method": "calflops", "confidence": "low"},
        {"flops": 9e12, "method": "unknown", "confidence": "unknown"},
    ]
    two = [process(0, device_index=0), process(1, device_index=1)]
    facts = {"flops_estimates": rows, "energy_estimates": [energy(100.0)], "experiment_processes": two}
    experiment(lake, num_processes=2, facts=facts)
    columns = "flops_estimate_method flops_confidence flops_per_j achieved_flops num_devices mfu reason"
    assert ask(lake, "flops_efficiency", columns) == [
        near("architecture", "medium", 4e10, 4e11, 2, 0.2, None),
        near("palm_formula", "high", 1e10, 1e11, 2, 0.05, None),
    ]


def test_a_quantized_run_is_flagged_and_measured_against_the_precision_of_its_operations(lake: Lake) -> None:
    specified(lake, device="cuda", peak_fp16_flops=1e12, peak_int8_ops=4e12)
    known = {"flops": 1e12, "method": "architecture", "confidence": "high"}
    bits = {"quantization_method": "bitsandbytes", "quantization_bits": 4}
    half = {"flops_estimates": [known | {"compute_precision": "fp16"}]}
    experiment(lake, run={"model": "a", "precision": "int8"}, facts=half, **bits)
    experiment(lake, run={"model": "b", "precision": "int8"}, facts={"flops_estimates": [known]}, **bits)
    experiment(lake, run={"model": "c"}, facts={"flops_estimates": [known]}, quantization_method="none")
    experiment(lake, run={"model": "d", "precision": "fp32"}, facts={"flops_estimates": [known]})
    experiment(lake, run={"model": "e", "hardware_id": "x"}, facts={"flops_estimates": [known]}, wall_time_s=None)
    experiment(lake, run={"model": "f"}, facts={"flops_estimates": [known]}, num_processes=2)
    experiment(lake, run={"model": "g"}, facts={"flops_estimates": [known]}, wall_time_s=None)
    columns = "model is_quantized operand_precision mfu reason"
    assert ask(lake, "flops_efficiency", columns) == [
        ("a", True, "fp16", pytest.approx(0.1), None),
        ("b", True, None, None, "the precision of the operations is not known"),
        ("c", False, "fp16", pytest.approx(0.1), None),
        ("d", None, "fp32", None, "the specification has no peak in this precision"),
        ("e", None, "fp16", None, "the table hardware has no specification of this id"),
        ("f", None, "fp16", None, "nobody tells how many devices took part"),
        ("g", None, "fp16", None, "the wall time is not known"),
    ]


# ---------------------------------------------------------------- studies, warm-up


def test_a_study_says_what_is_done_failed_and_missing(lake: Lake) -> None:
    planned(lake, "s", ("x", 1), ("y", 1), ("x", 2), ("y", 2))
    of = {"study": "s"}
    experiment(lake, cycle=1, run={"config_hash": "x", "run_id": "first"}, **of)
    failed(lake, "out of memory", session_id="s", config_hash="y", run_index=1)
    failed(lake, "again", session_id="s", config_hash="y", run_index=1, started_at=None)
    failed(lake, "timeout", session_id="s", config_hash="x", run_index=2)
    experiment(lake, cycle=2, run={"config_hash": "x", "run_id": "second"}, **of)
    experiment(lake, study="another", cycle=2, run={"config_hash": "y"})
    columns = "position config_hash cycle state num_done num_failed done_run_id error"
    assert ask(lake, "study_cells", columns) == [
        (0, "x", 1, "done", 1, 0, "first", None),
        (1, "y", 1, "failed", 0, 2, None, "again"),
        (2, "x", 2, "done", 1, 1, "second", None),
        (3, "y", 2, "missing", 0, 0, None, None),
    ]
    columns = "num_planned num_configurations num_cycles num_done num_failed num_missing is_complete next_position"
    assert ask(lake, "study_progress", columns) == [(4, 2, 2, 2, 1, 1, False, 1)]


def test_a_study_that_was_planned_again_has_each_experiment_once(lake: Lake) -> None:
    planned(lake, "s", ("x", 1), ("y", 1))
    planned(lake, "s", ("y", 1), ("x", 1), ("z", 1))
    assert ask(lake, "study_cells", "position config_hash state") == [
        (0, "y", "missing"),
        (1, "x", "missing"),
        (2, "z", "missing"),
    ]


def test_what_warming_up_cost_is_not_the_sum_of_latencies(lake: Lake) -> None:
    rows = [
        request(0, 1000.0, 500.0, phase="warmup", sent_at_s=-4.0),
        request(1, 1000.0, 500.0, phase="warmup", sent_at_s=-3.0),
        request(2, phase="warmup", sent_at_s=-2.0, status="failed", error="timeout", tokens=(50, None)),
        request(0, 1.0, sent_at_s=0.0),
    ]
    facts = {
        "experiment_requests": rows,
        "energy_estimates": [energy(100.0), energy(30.0, phase="warmup", window_s=4.0)],
    }
    experiment(lake, facts=facts, wall_time_s=7.5)
    experiment(lake, run={"batch": 2}, facts={"experiment_requests": rows[-1:]})
    untimed = [request(0, phase="warmup", tokens=(50, None)), rows[0] | {"request_index": 1}]
    experiment(lake, run={"batch": 4}, facts={"experiment_requests": untimed})
    columns = (
        "batch warmup_requests failed_warmup_requests warmup_s warmup_share warmup_input_tokens warmup_output_tokens "
        "warmup_energy_j"
    )
    assert ask(lake, "warmup_cost", columns) == [
        near(1, 3, 1, 2.5, 0.25, 150, 50, 30.0),
        near(4, 2, 0, None, None, 100, None, None),
    ]
