"""Estimators beside measurements: hand-checked errors and accuracies, noise, gates, and two versions."""

from __future__ import annotations

import math
import statistics
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
import pytest
from judged import FACTORS, FORCED, KEYS, LATER, MODELS, estimate, run, twelve_models

from groundlake.errors import UsageError
from groundlake.estimate.accuracy import Scope, accuracy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from groundlake.store import Lake


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    return twelve_models(lake_root, timings)


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
