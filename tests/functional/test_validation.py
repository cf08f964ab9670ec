"""Estimators beside measurements: hand-checked errors and accuracies, noise, gates, and two versions."""

from __future__ import annotations

import json
import math
import statistics
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.errors import UsageError
from groundlake.estimate.accuracy import Scope, accuracy, compare_versions
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODELS = [f"m{number:02d}" for number in range(12)]
KEYS = {"hardware_id": "dev", "precision": "fp32", "batch": 1}
FORCED = "not_representative: measured with --force although cpu_load (observed 80 %, threshold 20 %); measure again"
LATER = {"started_at": datetime(2026, 1, 2), "started_at_zone_source": "clock"}  # noqa: DTZ001 - UTC


def run(model: str, **columns: object) -> dict[str, object]:
    return (
        KEYS
        | {
            "model": model,
            "device": "cpu",
            "timing_method": "perf_counter",
            "flops_method": "counted",
            "total_latency_ms": 100.0,
            "total_latency_std_ms": 0.0,
            "num_subgraphs": 2,
            "timed_runs": 50,
        }
        | columns
    )


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """Twelve models of 100, 110, ... ms, each of two subgraphs of 60 % and 40 %."""
    lake = Lake(lake_root)
    for number, model in enumerate(MODELS):
        total = 100.0 + 10 * number
        rows = timings(
            2,
            latency_mean_ms=[0.6 * total, 0.4 * total],
            operation_type=["conv2d", "unfused"],
            fusion_pattern=["Conv2d", "Unfused"],
            latency_ci_lower_ms=[0.59 * total, 0.4 * total],
            latency_ci_upper_ms=[0.61 * total, 0.4 * total],
        )
        lake.write(run(model, total_latency_ms=total), subgraph_timings=rows)
    return lake


def estimate(lake: Lake, factors: list[float], version: str = "1", **columns: object) -> None:
    """Predict each model as its measured sum times a factor."""
    rows = [
        KEYS | {"model": model, "predicted_latency_ms": (100.0 + 10 * number) * factor} | columns
        for number, (model, factor) in enumerate(zip(MODELS, factors, strict=False))
    ]
    lake.write_estimates(pl.DataFrame(rows), estimator="mine", version=version)


def error(lake: Lake, **keys: object) -> dict[str, object]:
    rows = lake.sql("select * from estimator_error").pl()
    for name, value in keys.items():
        rows = rows.filter(pl.col(name) == value)
    (row,) = rows.to_dicts()
    return row


def test_an_error_stands_beside_what_was_measured(lake: Lake) -> None:
    estimate(lake, [1.3])
    row = error(lake)
    assert (row["level"], row["quantity"], row["compared_with"]) == ("model", "latency", "total_latency_ms")
    assert (row["predicted"], row["measured"]) == (130.0, 100.0)
    assert (row["signed_error"], row["ape_percent"], row["rating"]) == (30.0, pytest.approx(30.0), "FAIR")
    assert (row["timing_method"], row["flops_method"], row["reason"]) == ("perf_counter", "counted", None)


@pytest.mark.parametrize(
    ("factor", "rating"),
    [
        (1.0, "EXCELLENT"),
        (1.0999, "EXCELLENT"),
        (0.9, "GOOD"),
        (0.7501, "GOOD"),
        (0.75, "FAIR"),
        (1.5, "POOR"),
        (9, "POOR"),
    ],
)
def test_ratings_begin_at_10_25_and_50_percent(lake: Lake, factor: float, rating: str) -> None:
    estimate(lake, [factor])
    assert error(lake)["rating"] == rating


def test_a_whole_model_stands_beside_the_end_to_end_latency_where_it_was_timed(lake: Lake) -> None:
    lake.write(run("whole", end_to_end_latency_ms=80.0, end_to_end_latency_std_ms=0.0))
    rows = pl.DataFrame([KEYS | {"model": "whole", "predicted_latency_ms": 88.0}])
    lake.write_estimates(rows, estimator="mine", version="1")
    row = error(lake)
    assert (row["compared_with"], row["measured"]) == ("end_to_end_latency_ms", 80.0)
    assert row["ape_percent"] == pytest.approx(10.0)


def test_the_sum_of_subgraphs_is_an_estimate_of_the_model_if_none_is_missing(lake: Lake) -> None:
    parts = [KEYS | {"model": "m00", "subgraph_id": number, "predicted_latency_ms": 30.0} for number in (0, 1)]
    alone = [KEYS | {"model": "m01", "subgraph_id": 0, "predicted_latency_ms": 30.0}]
    lake.write_estimates(pl.DataFrame(parts + alone), estimator="mine", version="1")
    assert error(lake, level="model", model="m00")["signed_error_percent"] == pytest.approx(-40.0)
    missing = error(lake, level="model", model="m01")
    assert (missing["ape_percent"], missing["reason"]) == (None, "not all subgraphs of the model are predicted")
    one = error(lake, level="subgraph", model="m01")
    assert (one["measured"], one["operation_type"], one["ape_percent"]) == (66.0, "conv2d", pytest.approx(54.5454545))
    gaps = lake.sql("select * from estimator_gap_share where model = 'm00' order by fusion_pattern").pl().to_dicts()
    assert [(gap["fusion_pattern"], gap["gap_ms"]) for gap in gaps] == [("Conv2d", -30.0), ("Unfused", -10.0)]
    assert [gap["gap_share_percent"] for gap in gaps] == pytest.approx([75.0, 25.0])
    assert [gap["latency_share_percent"] for gap in gaps] == pytest.approx([60.0, 40.0])
    assert [gap["worst_subgraph_id"] for gap in gaps] == [0, 1]


def test_predictions_of_another_graph_judge_nobody(lake: Lake) -> None:
    parts = [KEYS | {"model": "m00", "subgraph_id": number, "predicted_latency_ms": 30.0} for number in (0, 1)]
    lake.write_estimates(pl.DataFrame(parts), estimator="mine", version="1")
    lake.write(run("m00", num_subgraphs=1, **LATER))
    row = error(lake, level="model")
    assert (row["ape_percent"], row["reason"]) == (None, "other subgraphs are predicted than the latest run has")


def test_a_change_of_the_software_is_no_noise(lake: Lake) -> None:
    for fingerprint, value in (("old", 100.0), ("old", 102.0), ("new", 50.0), ("new", 51.0)):
        lake.write(run("m00", total_latency_ms=value, software_fingerprint=fingerprint, **LATER))
    ((noise, repeats),) = lake.sql("select noise_percent, num_repeats from run_noise where model = 'm00'").rows()
    relative = [statistics.stdev(pair) / statistics.fmean(pair) for pair in ((100.0, 102.0), (50.0, 51.0))]
    assert repeats == 2
    assert noise == pytest.approx(200 * math.sqrt(sum(each**2 for each in relative) / 2))


def test_an_error_within_the_noise_of_repeated_runs_is_none(lake: Lake) -> None:
    for value in (98.0, 102.0):
        lake.write(run("m00", total_latency_ms=value, started_at=datetime(2026, 1, 1), started_at_zone_source="clock"))  # noqa: DTZ001 - UTC
    lake.write(run("m00", total_latency_ms=100.0, started_at=datetime(2026, 1, 2), started_at_zone_source="clock"))  # noqa: DTZ001 - UTC
    estimate(lake, [1.03, 1.05])
    spread = math.sqrt((0 + 4 + 4 + 0) / 3)  # of 98, 102, 100 and the fixture's 100
    row = error(lake, model="m00")
    assert row["noise_method"] == "between runs"
    assert row["noise_percent"] == pytest.approx(2 * spread)
    assert (row["within_noise"], row["counted_ape_percent"], row["rating"]) == (True, 0.0, "EXCELLENT")
    assert row["ape_percent"] == pytest.approx(3.0)
    other = error(lake, model="m01")  # measured once: the device's repeats tell its noise
    assert (other["within_noise"], other["counted_ape_percent"]) == (False, pytest.approx(5.0))
    assert other["noise_percent"] == pytest.approx(row["noise_percent"])


def test_forced_runs_are_no_repeats(lake: Lake) -> None:
    lake.write(run("m00", total_latency_ms=900.0, warnings=["drift: slow", FORCED], **LATER))
    assert lake.sql("select measured_ms, noise_method from run_noise where model = 'm01'").rows() == [
        (110.0, "within run")
    ]
    marked = lake.sql("select model from latest_runs where not is_representative").rows()
    assert marked == [("m00",)]


def test_a_measurement_that_scatters_too_much_judges_nobody(lake: Lake) -> None:
    lake.write(run("m00", total_latency_ms=160.0, **LATER))
    estimate(lake, [1.0] * 12)
    row = error(lake, model="m00")
    assert row["noise_percent"] > 25
    assert (row["rating"], row["reason"]) == (None, "the measurement scatters too much to judge")
    with pytest.raises(UsageError, match="no estimate stands beside a measurement"):
        accuracy(lake, Scope())


def test_without_repeats_the_noise_is_the_interval_within_the_run(lake: Lake) -> None:
    lake.write(run("whole", total_latency_std_ms=10.0, timed_runs=25))
    rows = pl.DataFrame([KEYS | {"model": "whole", "predicted_latency_ms": 103.0}])
    lake.write_estimates(rows, estimator="mine", version="1")
    row = error(lake)
    assert (row["noise_method"], row["noise_percent"]) == ("within run", pytest.approx(1.96 * 10 / 5))
    assert row["within_noise"]


def test_a_subgraph_is_within_noise_where_its_interval_says_so(lake: Lake) -> None:
    rows = [KEYS | {"model": "m00", "subgraph_id": 0, "predicted_latency_ms": 60.9}]
    lake.write_estimates(pl.DataFrame(rows), estimator="mine", version="1")
    row = error(lake, level="subgraph")
    assert (row["noise_percent"], row["within_noise"]) == (pytest.approx(1 / 60 * 100), True)


def test_energy_and_memory_have_a_reason_where_nothing_was_measured(lake: Lake) -> None:
    rows = pl.DataFrame([KEYS | {"model": "m00", "predicted_energy_j": 1.0, "predicted_memory_bytes": 1e6}])
    lake.write_estimates(rows, estimator="mine", version="1")
    assert error(lake, quantity="energy")["reason"] == "the run has no energy; run_energy says why"
    assert error(lake, quantity="memory")["reason"] == "the lake has no measured memory"


FACTORS = [1.0, 1.1, 0.8, 1.4, 0.6, 2.0, 1.0, 1.05, 0.95, 1.2, 0.7, 1.3]
"""Errors in %: 0 10 20 40 40 100 0 5 5 20 30 30."""


def test_accuracies_are_hand_checked(lake: Lake) -> None:
    estimate(lake, FACTORS)
    (row,) = lake.sql("select * from estimator_accuracy").pl().to_dicts()
    assert (row["hardware_id"], row["precision"], row["num_configurations"]) == ("dev", "fp32", 12)
    assert row["median_ape"] == pytest.approx(20.0)
    assert row["mean_ape"] == pytest.approx(25.0)
    assert row["p90_ape"] == pytest.approx(40.0)
    assert row["bias"] == pytest.approx(sum(factor - 1 for factor in FACTORS) / 12 * 100)
    shares = [row[f"within_{bound}_percent"] for bound in (10, 25, 50)]
    assert shares == pytest.approx([4 / 12, 7 / 12, 11 / 12])
    errors_ms = [(factor - 1) * (100 + 10 * number) for number, factor in enumerate(FACTORS)]
    assert row["rmse"] == pytest.approx(math.sqrt(sum(each**2 for each in errors_ms) / 12))
    assert row["rating"] == "GOOD"


def test_each_grouping_has_its_members(lake: Lake) -> None:
    estimate(lake, FACTORS)
    assert accuracy(lake, Scope(by="model"))["member"].to_list() == MODELS
    assert accuracy(lake, Scope(by="precision"))["member"].to_list() == ["fp32"]
    assert accuracy(lake, Scope(by="batch"))["member"].to_list() == ["1"]
    assert accuracy(lake, Scope(by="hardware"))["member"].to_list() == ["dev"]
    with pytest.raises(UsageError, match="no estimates of any estimator about subgraphs; there are none"):
        accuracy(lake, Scope(by="operation"))
    with pytest.raises(UsageError, match="no estimates for 'nowhere'; there are some for dev"):
        accuracy(lake, Scope(hardware_id="nowhere"))
    with pytest.raises(UsageError, match="grouped by all, hardware"):
        Scope(by="weather")


def test_extrapolated_predictions_are_reported_separately(lake: Lake) -> None:
    rows = pl.DataFrame(
        [
            KEYS | {"model": model, "predicted_latency_ms": 100.0 + 10 * number, "extrapolated": number > 9}
            for number, model in enumerate(MODELS)
        ]
    )
    lake.write_estimates(rows, estimator="mine", version="1")
    found = accuracy(lake, Scope()).select("extrapolated", "num_configurations").rows()
    assert found == [(False, 10), (True, 2)]


def test_the_interval_of_the_median_holds_it_and_is_the_same_each_time(lake: Lake) -> None:
    estimate(lake, FACTORS)
    first, again = accuracy(lake, Scope()), accuracy(lake, Scope())
    ends = ["median_ape_ci_lower", "median_ape_ci_upper"]
    assert first.select(ends).equals(again.select(ends))
    (row,) = first.to_dicts()
    assert row["median_ape_ci_lower"] < row["median_ape"] < row["median_ape_ci_upper"]


def test_what_an_estimator_leaves_out_shows_beside_its_accuracy(lake: Lake, cli: Callable) -> None:
    estimate(lake, FACTORS[:3])
    (row,) = accuracy(lake, Scope()).to_dicts()
    assert (row["num_configurations"], row["predicted_share"]) == (3, 3 / 12)
    refused = cli("validate", "--gate", "predicted_share>=0.9", "--allow-insufficient", code=1).stderr
    assert "failed: predicted_share>=0.9 for mine 1, all, total_latency_ms (observed 0.25)" in refused
    assert "--allow-insufficient" not in refused
    assert "is a share from 0 to 1" in cli("validate", "--gate", "predicted_share>=90", code=2).stderr


def test_estimates_that_no_measurement_judges_are_counted_and_named(
    lake: Lake, cli: Callable, timings: Callable[..., pl.DataFrame]
) -> None:
    estimate(lake, FACTORS, predicted_memory_bytes=10.0)
    said = cli("validate").stdout
    assert "mine 1: 12 estimates of memory are not judged: the lake has no measured memory" in said
    cli("validate", "--gate", "bias<50")  # what is not measured at all fails no gate
    for model in MODELS:
        lake.write(run(model, total_latency_std_ms=400.0, **LATER), subgraph_timings=timings(2))
    refused = cli("validate", code=2).stderr
    assert "the measurement scatters too much to judge" in refused
    steady = KEYS | {"model": MODELS[0], "precision": "fp16", "predicted_latency_ms": 100.0}
    lake.write(run(MODELS[0], precision="fp16"))
    lake.write_estimates(pl.DataFrame([steady]), estimator="another", version="1")
    said = cli("validate", "--gate", "bias<50", "--allow-insufficient").stderr
    assert "insufficient data: bias<50 for mine 1, latency: the measurement scatters" in said
    assert "--allow-insufficient lets" in cli("validate", "--gate", "bias<50", code=1).stderr


def test_batch_sizes_are_sorted_as_numbers(lake: Lake) -> None:
    lake.write_many((run(model, batch=batch), {}) for model in MODELS[:2] for batch in (4, 16, 64))
    rows = [
        KEYS | {"model": model, "batch": batch, "predicted_latency_ms": 90.0}
        for batch in (16, 64, 1, 4)
        for model in MODELS[:2]
    ]
    lake.write_estimates(pl.DataFrame(rows), estimator="mine", version="1")
    assert accuracy(lake, Scope(by="batch"))["member"].to_list() == ["1", "4", "16", "64"]


def test_ranks_of_figures_that_differ_by_rounding_are_tied(lake: Lake) -> None:
    estimate(lake, [100.0 * (1 + number * 1e-13) / (100.0 + 10 * number) for number in range(12)])
    assert accuracy(lake, Scope())["rank_agreement"].item() is None


def test_the_latest_version_is_looked_at_unless_another_is_named(lake: Lake) -> None:
    estimate(lake, FACTORS)
    estimate(lake, [1.0] * 12, version="2")
    assert accuracy(lake, Scope()).select("estimator_version", "median_ape").rows() == [("2", 0.0)]
    assert accuracy(lake, Scope(version="1"))["estimator_version"].to_list() == ["1"]
    with pytest.raises(UsageError, match="no estimates of mine 3 about models; there are mine 1, mine 2"):
        accuracy(lake, Scope(estimator="mine", version="3"))


@pytest.mark.parametrize(
    ("new", "verdict"), [([1.0] * 12, "better"), ([3.0] * 12, "worse"), (FACTORS[::-1], "insufficient data")]
)
def test_two_versions_have_a_verdict(lake: Lake, new: list[float], verdict: str) -> None:
    estimate(lake, FACTORS)
    estimate(lake, new, version="2")
    (row,) = compare_versions(lake, Scope(estimator="mine"), "1").to_dicts()
    assert (row["old_version"], row["new_version"], row["num_pairs"], row["verdict"]) == ("1", "2", 12, verdict)
    assert row["mean_ape_change_ci_lower"] <= row["mean_ape_change"] <= row["mean_ape_change_ci_upper"]
    assert row["mean_ape_change"] == pytest.approx(row["new_mean_ape"] - row["old_mean_ape"])


def test_few_pairs_are_insufficient_however_large_the_change(lake: Lake) -> None:
    estimate(lake, FACTORS[:9])
    estimate(lake, [9.0] * 9, version="2")
    assert compare_versions(lake, Scope(estimator="mine"), "1")["verdict"].to_list() == ["insufficient data"]


def test_a_verdict_on_one_of_many_groups_needs_more_than_one_alone(lake: Lake) -> None:
    batches = [1, 2, 4, 8]
    lake.write_many((run(model, batch=batch), {}) for model in MODELS for batch in batches[1:])
    slightly_better = [1.205 if number % 2 else 1.175 for number in range(12)]
    for old, new, predicted in (("1", "2", [1]), ("3", "4", batches)):
        for version, factors in ((old, [1.2] * 12), (new, slightly_better)):
            rows = [
                KEYS | {"model": model, "batch": batch, "predicted_latency_ms": measured * factor}
                for batch in predicted
                for number, (model, factor) in enumerate(zip(MODELS, factors, strict=True))
                for measured in (100.0 + 10 * number if batch == 1 else 100.0,)
            ]
            lake.write_estimates(pl.DataFrame(rows), estimator="mine", version=version)
        found = compare_versions(lake, Scope(estimator="mine", version=new, by="batch"), old)
        verdict = "better" if predicted == [1] else "insufficient data"
        assert set(found["verdict"]) == {verdict}
    assert found["member"].to_list() == ["1", "2", "4", "8"]


def test_extrapolated_pairs_have_a_verdict_of_their_own(lake: Lake, cli: Callable) -> None:
    for version, fitted, beyond in (("1", 1.05, 100.0), ("2", 1.2, 50.0)):
        rows = [
            KEYS
            | {"model": model, "extrapolated": number >= 11, "predicted_latency_ms": (100.0 + 10 * number) * factor}
            for number, model in enumerate(MODELS)
            for factor in (beyond if number >= 11 else fitted,)
        ]
        lake.write_estimates(pl.DataFrame(rows), estimator="mine", version=version)
    found = compare_versions(lake, Scope(estimator="mine"), "1").select("extrapolated", "num_pairs", "verdict").rows()
    assert found == [(False, 11, "worse"), (True, 1, "insufficient data")]
    cli("validate", "--estimator", "mine", "--against", "1", "--fail-on-worse", code=1)


def test_a_comparison_needs_two_versions_of_one_estimator(lake: Lake, cli: Callable) -> None:
    estimate(lake, FACTORS)
    assert "name it with --estimator" in cli("validate", "--against", "1", code=2).stderr
    assert "compared with itself" in cli("validate", "--estimator", "mine", "--against", "1", code=2).stderr
    assert "no estimates of mine 0" in cli("validate", "--estimator", "mine", "--against", "0", code=2).stderr
    assert "--against" in cli("validate", "--fail-on-worse", code=2).stderr


@pytest.mark.parametrize(
    ("gates", "code", "said"),
    [
        (["median_ape<=20.001"], 0, "passed: median_ape<=20.001 for mine 1, all, total_latency_ms (observed 20)"),
        (["median_ape<20", "bias<50"], 1, "1 of 2 gates did not pass"),
        (["rank_agreement>=0.99"], 1, "failed: rank_agreement>=0.99"),
        (["median_ape"], 2, "a gate reads 'median_ape<=30'"),
        (["beauty<=30"], 2, "there is no figure 'beauty'"),
    ],
)
def test_gates_set_the_exit_code(lake: Lake, cli: Callable, *, gates: list[str], code: int, said: str) -> None:
    estimate(lake, FACTORS)
    options = [part for gate in gates for part in ("--gate", gate)]
    assert said in cli("validate", *options, code=code).stderr


def test_fewer_than_ten_configurations_do_not_pass_unless_allowed(lake: Lake, cli: Callable) -> None:
    estimate(lake, [1.0] * 9)
    refused = cli("validate", "--gate", "median_ape<=30", code=1).stderr
    assert "insufficient data: median_ape<=30" in refused
    assert "--allow-insufficient" in refused
    cli("validate", "--gate", "median_ape<=30", "--allow-insufficient")


def test_the_command_prints_what_the_view_returns(lake: Lake, cli: Callable, tmp_path: Path) -> None:
    estimate(lake, FACTORS)
    (row,) = json.loads(cli("validate", "--format", "json").stdout)
    (view,) = lake.sql("select * from estimator_accuracy_by where dimension = 'all'").pl().to_dicts()
    assert {name: row[name] for name in view} == pytest.approx(view)
    cli("validate", "--gate", "bias<50", "--summary", "summary.md")
    summary = (tmp_path / "summary.md").read_text()
    assert "| mine | 1 | all | False | 12 | 1 | 20 |" in summary
    assert "- passed: bias<50 for mine 1, all" in summary
    estimate(lake, [9.0] * 12, version="2")
    options = ("validate", "--estimator", "mine", "--against", "1", "--fail-on-worse", "--summary", "summary.md")
    worse = cli(*options, code=1)
    assert "worse" in worse.stdout
    assert "the new version is worse" in worse.stderr
    assert (tmp_path / "summary.md").read_text().count("## Estimators beside measurements") == 2


def test_a_lake_without_estimates_says_how_to_get_some(lake: Lake, cli: Callable) -> None:
    said = cli("validate", code=2).stderr
    assert "lake estimates add FILE" in said
    assert "lake estimates fit roofline" in said
