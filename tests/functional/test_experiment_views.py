"""Summary and latencies of LLM experiments, over small lakes whose answers can be worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from experiment_lake import energy, experiment, failed, process, request, warned
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
        "total_tokens energy_per_output_token_j energy_per_total_token_j output_tokens_per_j total_tokens_per_j "
        "output_tokens_per_s total_tokens_per_s"
    )
    expected = near(1920, 228 / 640, 228 / 1920, 640 / 228, 1920 / 228, 160.0, 480.0)
    assert ask(lake, "experiment_summary", columns) == [expected]


def test_throughputs_over_the_time_of_inference_are_columns_of_their_own(lake: Lake) -> None:
    """The figures of a real result of the existing tool, which divides by that time."""
    figures = {"input_tokens": 1280, "output_tokens": 640, "inference_time_s": 4.294966, "wall_time_s": 4.42539}
    experiment(lake, **figures)
    experiment(lake, experiment_id="unknown", inference_time_s=0.0)
    columns = "experiment_id output_tokens_per_inference_s total_tokens_per_inference_s output_tokens_per_s"
    assert ask(lake, "experiment_summary", columns) == [
        ("e", *(pytest.approx(value, abs=5e-3) for value in (149.01, 447.03, 144.62))),
        ("unknown", None, None, 5.0),
    ]


def test_energy_over_tokens_of_answers_is_that_of_the_quotient(lake: Lake) -> None:
    experiment(lake, facts={"energy_estimates": [energy(42.5)]})
    assert ask(lake, "experiment_summary", "energy_per_output_token_j") == [near(0.85)]


def test_a_run_that_was_forced_on_an_unfit_machine_is_told_apart(lake: Lake) -> None:
    forced = {"measurement_warnings": [warned("not_representative")]}
    experiment(lake, run={"model": "a"}, facts=forced)
    experiment(lake, run={"model": "b", "warnings": ["few_prompts: 2", "not_representative: the load is 10; wait"]})
    other = {"measurement_warnings": [warned("few_prompts", observed=2.0)]}
    experiment(lake, run={"model": "c", "warnings": ["few_prompts: not_representative: of 2 prompts"]}, facts=other)
    experiment(lake, run={"model": "d"})
    rows = [("a", False), ("b", False), ("c", True), ("d", True)]
    assert ask(lake, "experiment_summary", "model is_representative") == rows


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


def test_what_is_divided_by_requests_is_divided_by_those_that_were_answered(lake: Lake) -> None:
    """100 J and two requests of 25 tokens each, whether or not two more failed; of some requests nothing is made."""
    answered = [request(number, 10.0, 5.0, tokens=(100, 25)) for number in range(2)]
    lost = [request(number, status="failed", error="timeout: 30 s", tokens=(None, None)) for number in (2, 3)]
    cases = {"all": (2, answered), "failed": (4, [*answered, *lost]), "partial": (5, answered), "unknown": (2, [])}
    for name, (number, rows) in cases.items():
        facts = {"energy_estimates": [energy(100.0)], **({"experiment_requests": rows} if rows else {})}
        experiment(lake, run={"model": name}, facts=facts, num_requests=number, input_tokens=200)
    columns = "model answered_requests failed_requests energy_per_answered_request_j requests_per_s"
    assert ask(lake, "experiment_summary", columns) == [
        near("all", 2, 0, 50.0, 0.2),
        near("failed", 2, 2, 50.0, 0.2),
        ("partial", None, None, None, None),
        ("unknown", None, None, None, None),
    ]
    columns = "model input_tokens_per_request output_tokens_per_request failed_requests"
    assert ask(lake, "experiment_repeats", columns) == [
        near("all", 100.0, 25.0, 0),
        near("failed", 100.0, 25.0, 2),
        ("partial", None, None, None),
        ("unknown", None, None, None),
    ]


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
