"""What an accuracy leaves out, gates that set the exit code, and a verdict on two versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest
from judged import FACTORS, KEYS, LATER, MODELS, estimate, run, twelve_models

from groundlake.errors import UsageError
from groundlake.estimate.accuracy import Scope, accuracy, compare_versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from groundlake.store import Lake


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    return twelve_models(lake_root, timings)


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
