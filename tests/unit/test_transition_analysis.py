"""The analysis of an evaluation against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from groundlake.errors import UsageError
from groundlake.schemas.transition_analysis import KvDeltas, KvIntervals, KvTransitions
from groundlake.transition.analysis.analysis import FILLED_IN, Analysis, analyze
from groundlake.transition.analysis.tables import budget_states
from groundlake.transition.configuration.settings import AnalysisSettings
from groundlake.transition.data.focus import focus_bins

Scores = Mapping[float, Sequence[float | None]]


def requests(scores: Scores, bins: list[int] | None = None, repeats: int = 1) -> pl.DataFrame:
    """Requests of examples e00, e01, ... by budget; None is a failure."""
    rows = [
        {
            "budget_id": f"b{budget:g}",
            "budget": budget,
            "example_id": f"e{number // repeats:02}",
            "bin_index": bins[number // repeats] if bins else 0,
            "accuracy": score,
            "accuracy_all": score or 0.0,
            "exact_match": None if score is None else float(score == 1),
            "failed": float(score is None),
            "budget_verified": None,
            "latency_ms": None,
        }
        for budget, those in scores.items()
        for number, score in enumerate(those)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def found(scores: Scores, bins: list[int] | None = None, **settings: Any) -> Analysis:
    return analyze(requests(scores, bins), "g", AnalysisSettings(**settings))


def cell(frame: pl.DataFrame, **keys: object) -> dict[str, Any]:
    """The one row with these values."""
    (row,) = frame.filter(pl.col(name) == value for name, value in keys.items()).rows(named=True)
    return row


def verdicts(analysis: Analysis) -> dict[str, dict[str, Any]]:
    return {row["comparison"]: row for row in analysis.transitions.rows(named=True)}


def flag(analysis: Analysis, code: str) -> str | None:
    """What the analysis says under this code; None where it does not."""
    flags = analysis.transitions["flags"].to_list()[0] or ()
    return next((each.partition(": ")[2] for each in flags if each.startswith(f"{code}: ")), None)


def codes(analysis: Analysis) -> set[str]:
    return {flag.split(":")[0] for flag in analysis.transitions["flags"].to_list()[0] or ()}


def ones(count: int, of: int = 50) -> list[float]:
    return [1.0] * count + [0.0] * (of - count)


def test_means_and_changes_are_those_of_the_hand() -> None:
    analysis = found({1.0: [1.0, 0.5, 0.9, None], 0.5: [0.5, 0.5, None, None]}, bins=[0, 0, 1, 1])
    both = {"budget_id": "b1", "bin_index": -1}
    assert cell(analysis.intervals, subject="accuracy", **both)["mean"] == pytest.approx(0.8)
    assert cell(analysis.intervals, subject="accuracy_all", **both)["mean"] == pytest.approx(0.6)
    assert cell(analysis.intervals, subject="exact_match", **both)["mean"] == pytest.approx(1 / 3)
    assert cell(analysis.intervals, subject="failure_rate", **both)["mean"] == 0.25
    assert cell(analysis.intervals, subject="accuracy", **both)["num_examples"] == 3
    change = cell(analysis.deltas, comparison="adjacent", bin_index=-1, subject="accuracy")
    assert (change["num_examples"], change["from_mean"], change["to_mean"]) == (2, 0.75, 0.5)
    assert change["change"] == pytest.approx(-0.25)
    change = cell(analysis.deltas, comparison="baseline", bin_index=1, subject="accuracy_all")
    assert (change["num_examples"], change["from_mean"], change["to_mean"]) == (2, 0.45, 0.0)
    change = cell(analysis.deltas, comparison="baseline", bin_index=1, subject="failure_rate")
    assert (change["from_mean"], change["to_mean"], change["change"]) == (0.5, 1.0, 0.5)


def test_the_mean_over_all_is_over_examples_not_over_bins() -> None:
    analysis = found({1.0: [1.0, 0.0, 0.0, 0.0]}, bins=[0, 1, 1, 1])
    assert cell(analysis.intervals, subject="accuracy", bin_index=-1)["mean"] == 0.25


def test_repeats_of_an_example_are_put_together_first() -> None:
    rows = pl.concat([requests({1.0: [1.0, 0.0, None]}, repeats=3), requests({1.0: [1.0, 1.0]})[1:]])
    analysis = analyze(rows, "g", AnalysisSettings())
    accuracy = cell(analysis.intervals, subject="accuracy", bin_index=-1)
    assert (accuracy["num_examples"], accuracy["mean"]) == (2, 0.75)
    assert cell(analysis.intervals, subject="accuracy_all", bin_index=-1)["mean"] == pytest.approx((1 / 3 + 1) / 2)
    assert cell(analysis.intervals, subject="failure_rate", bin_index=-1)["mean"] == pytest.approx(1 / 6)


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    analysis = found({1.0: ones(50, of=100)}, n_bootstrap=20_000)
    interval = cell(analysis.intervals, subject="exact_match", bin_index=-1)
    # Drawing 100 of 50 ones and 50 zeros is binomial(100, 1/2), whose 2.5 % and 97.5 % quantiles are 40 and 60.
    assert (interval["ci_lower"], interval["ci_upper"]) == (0.40, 0.60)


def test_the_interval_belongs_to_the_mean_beside_it() -> None:
    analysis = found({1.0: [0.4, 0.6] * 10})
    match = cell(analysis.intervals, subject="exact_match", bin_index=-1)
    assert (match["mean"], match["ci_lower"], match["ci_upper"]) == (0.0, 0.0, 0.0)
    accuracy = cell(analysis.intervals, subject="accuracy", bin_index=-1)
    assert 0.4 < accuracy["ci_lower"] < accuracy["mean"] < accuracy["ci_upper"] < 0.6


def test_pairing_makes_the_interval_of_a_steady_loss_narrow() -> None:
    before: Sequence[float | None] = [number / 20 for number in range(5, 21)]
    after = [(score or 0) - 0.2 for score in before]
    change = cell(found({1.0: before, 0.5: after}).deltas, comparison="adjacent", bin_index=-1, subject="accuracy")
    assert change["ci_lower"] == pytest.approx(-0.2)
    assert change["ci_upper"] == pytest.approx(-0.2)
    assert change["probability_below_zero"] == 1.0


def test_one_example_has_a_mean_and_no_interval() -> None:
    analysis = found({1.0: [1.0], 0.5: [0.0]})
    interval = cell(analysis.intervals, budget_id="b1", subject="accuracy", bin_index=0)
    assert (interval["mean"], interval["ci_lower"], interval["ci_upper"]) == (1.0, None, None)
    assert not verdicts(analysis)["adjacent"]["is_detected"]
    assert verdicts(analysis)["adjacent"]["drop"] == 1.0


def test_the_frames_meet_their_contracts() -> None:
    analysis = found({1.0: ones(40), 0.5: ones(20), 0.2: [None] * 50}, bins=[number % 3 for number in range(50)])
    keys = {"hardware_id": "dev", "precision": "fp32", "model": "m", "batch": 1, "run_id": "r", "part": "p"}
    for table, frame in (
        (KvIntervals, analysis.intervals),
        (KvDeltas, analysis.deltas),
        (KvTransitions, analysis.transitions),
    ):
        filled = frame.with_columns(pl.lit(keys[name]).alias(name) for name in FILLED_IN).with_columns(
            pl.col("batch").cast(pl.Int64)
        )
        table.validate(filled.select(table.polars_schema().names()))


def test_a_cliff_is_found_by_both_rules_with_its_bin() -> None:
    bins = [number % 2 for number in range(50)]
    late: Sequence[float | None] = [0.0 if bins[number] else 1.0 for number in range(50)]
    analysis = found({1.0: ones(50), 0.5: ones(50), 0.2: late}, bins=bins)
    for verdict in verdicts(analysis).values():
        assert verdict["is_detected"]
        assert (verdict["to_budget"], verdict["drop"], verdict["worst_bin"]) == (0.2, 0.5, 1)
        assert verdict["worst_bin_drop"] == 1.0
        assert 0.3 < verdict["drop_ci_lower"] < 0.5 < verdict["drop_ci_upper"] < 0.7
        assert verdict["failure_share"] == 0.0
    assert verdicts(analysis)["adjacent"]["from_budget"] == 0.5
    assert verdicts(analysis)["baseline"]["from_budget"] == 1.0


def test_a_slope_of_small_steps_is_found_against_the_baseline() -> None:
    analysis = found({1.0: ones(40), 0.5: ones(34), 0.2: ones(28)})  # .80, .68, .56
    adjacent, baseline = verdicts(analysis)["adjacent"], verdicts(analysis)["baseline"]
    assert not adjacent["is_detected"]
    assert adjacent["drop"] == pytest.approx(0.12)
    assert (adjacent["from_budget"], adjacent["to_budget"], adjacent["worst_bin"]) == (None, None, None)
    assert (adjacent["drop_from_budget"], adjacent["drop_to_budget"]) == (1.0, 0.5)
    assert baseline["is_detected"]
    assert (baseline["from_budget"], baseline["to_budget"]) == (1.0, 0.2)
    assert (baseline["drop_from_budget"], baseline["drop_to_budget"]) == (1.0, 0.2)
    assert {row["significance"] for row in (adjacent, baseline)} == {"interval"}
    assert baseline["drop"] == pytest.approx(0.24)


def test_a_drop_of_exactly_the_threshold_counts() -> None:
    before: Sequence[float | None] = [0.80] * 20
    after: Sequence[float | None] = [0.65] * 20
    assert 0.80 - 0.65 < 0.15 or math.isclose(0.80 - 0.65, 0.15)
    assert verdicts(found({1.0: before, 0.5: after}))["adjacent"]["is_detected"]


def test_a_drop_that_chance_explains_is_none_unless_asked_for() -> None:
    scores: Scores = {1.0: [1.0, 0.0, 1.0, 1.0, 0.0], 0.5: [0.0, 1.0, 1.0, 0.0, 0.0]}
    assert not verdicts(found(scores))["adjacent"]["is_detected"]
    assert verdicts(found(scores, significance="none"))["adjacent"]["is_detected"]


def test_a_collapse_of_failures_is_told_from_one_of_accuracy() -> None:
    analysis = found({1.0: [0.8] * 20, 0.5: [0.8] * 10 + [None] * 10})
    assert verdicts(analysis)["adjacent"]["failure_share"] == pytest.approx(1.0)
    half = found({1.0: [0.8] * 20, 0.5: [0.6] * 10 + [None] * 10})
    # 0.8 becomes 0.3 with failures as 0, of which 0.2 were lost among those that are answered.
    assert verdicts(half)["adjacent"]["failure_share"] == pytest.approx(0.6)
    nothing = found({1.0: [0.8] * 20, 0.5: [None] * 20})
    assert verdicts(nothing)["adjacent"]["failure_share"] == 1.0


def test_scores_that_rise_as_the_budget_falls_are_flagged() -> None:
    assert "scores_rise" in codes(found({1.0: ones(20), 0.2: ones(40)}))
    assert "scores_rise" not in codes(found({1.0: ones(20), 0.2: ones(21)}))


def test_a_rise_of_one_bin_is_flagged_though_the_others_fall_and_is_not_where_few_examples_rise() -> None:
    bins = [number // 10 for number in range(50)]
    whole = [*ones(20, of=40), *[0.0] * 10]
    told = flag(found({1.0: whole, 0.5: [0.0] * 40 + [1.0] * 10}, bins=bins), "scores_rise")
    assert told is not None
    assert told.startswith("accuracy rises by 1.000 [1.000, 1.000] in bin 4 from budget 1 to 0.5: ")
    few: Scores = {1.0: whole, 0.5: [0.0] * 40 + [1.0] * 6 + [0.0] * 4}
    assert cell(found(few, bins=bins).deltas, comparison="baseline", bin_index=4, subject="accuracy")["ci_lower"] > 0
    assert flag(found(few, bins=bins), "scores_rise") is None, "six of ten in one of five bins may be chance"


def test_bins_that_rise_by_chance_are_not_flagged() -> None:
    random = np.random.default_rng(20261122)
    bins = [number // 12 for number in range(60)]
    flagged = beyond = 0
    for _ in range(100):
        budgets = {budget: random.integers(0, 2, 60).astype(float).tolist() for budget in (1.0, 0.5, 0.2)}
        analysis = found(budgets, bins=bins, n_bootstrap=100)
        flagged += " in bin " in (flag(analysis, "scores_rise") or "")
        inside = analysis.deltas.filter(pl.col("bin_index") >= 0, subject="accuracy")
        beyond += inside.filter(pl.col("ci_lower") > 0).height > 0
    assert beyond > 10, "looked at one by one, some bins do rise"
    assert flagged <= 2


@pytest.mark.parametrize(
    ("applied", "rises", "without_effect"),
    [
        (True, "metric and task may not match, or the prompts", "all were applied, as read back"),
        (None, "metric and task may not match, the budget may not be applied, or", "nothing shows it of 1, 0.2"),
        (False, "the budget was not applied, as read back", "budget 1, 0.2 was not applied, as read back"),
    ],
)
def test_what_was_read_back_of_a_budget_decides_what_may_be_behind_it(
    applied: bool | None, rises: str, without_effect: str
) -> None:
    def said(scores: Scores, code: str) -> str:
        told = requests(scores).with_columns(budget_verified=pl.lit(applied, dtype=pl.Boolean))
        return flag(analyze(told, "g", AnalysisSettings()), code) or ""

    assert rises in said({1.0: ones(20), 0.2: ones(40)}, "scores_rise")
    assert without_effect in said({1.0: ones(20), 0.2: ones(20)}, "no_effect")
    assert ("may not be applied" in said({1.0: ones(20), 0.2: ones(20)}, "no_effect")) == (applied is None)


def test_one_answer_decides_whether_a_budget_is_known_to_be_applied() -> None:
    rows = requests({1.0: [1.0, 1.0, None], 0.5: [1.0, 1.0], 0.2: [1.0, 1.0], 0.1: [None]})
    told = [True, True, None, True, None, True, False, None]
    states = budget_states(rows.with_columns(budget_verified=pl.Series(told)))
    assert states == {"b1": "true", "b0.5": "unknown", "b0.2": "false", "b0.1": "unknown"}


def test_new_failures_in_the_shortest_bin_are_flagged_and_others_are_not() -> None:
    bins = [0] * 10 + [1] * 10
    right: Sequence[float | None] = [1.0] * 20
    assert "short_context_failures" in codes(found({1.0: right, 0.5: [None, *right[1:]]}, bins=bins))
    assert "short_context_failures" not in codes(found({1.0: right, 0.5: [*right[:-1], None]}, bins=bins))
    old: Sequence[float | None] = [None, *right[1:]]
    assert "short_context_failures" not in codes(found({1.0: old, 0.5: old}, bins=bins))
    # One bin has the long prompts, too.
    assert "short_context_failures" not in codes(found({1.0: right, 0.5: [None, *right[1:]]}))


def test_a_baseline_too_low_to_fall_is_flagged() -> None:
    assert "baseline_low" in codes(found({1.0: ones(5), 0.5: ones(0)}))
    assert "baseline_low" not in codes(found({1.0: ones(8), 0.5: ones(0)}))


def test_a_collapse_of_one_bin_alone_is_flagged() -> None:
    bins = [number // 10 for number in range(100)]
    last: Sequence[float | None] = [0.0 if each == 9 else 1.0 for each in bins]
    analysis = found({1.0: ones(100, of=100), 0.5: last}, bins=bins)
    assert not verdicts(analysis)["baseline"]["is_detected"]
    assert "bin_falls" in codes(analysis)
    assert focus_bins(analysis.transitions, analysis.deltas) == (9,)


def test_equal_scores_few_and_uneven_and_missing_examples_are_flagged() -> None:
    same = found({1.0: [1.0, 0.5, 0.0, 0.5], 0.5: [1.0, 0.5, 0.0, 0.5]}, bins=[0, 1, 1, 1])
    assert codes(same) == {"no_effect", "few_examples", "uneven_bins"}
    assert "incomplete" in codes(found({1.0: ones(20, of=40), 0.5: ones(20, of=30)}))
    assert codes(found({0.5: ones(40)})) == {"baseline_compressed", "one_budget"}


def test_a_group_of_one_budget_has_intervals_and_no_transition() -> None:
    analysis = found({1.0: ones(40)})
    assert analysis.deltas.is_empty()
    assert set(analysis.frames) == {"kv_intervals", "kv_transitions"}
    assert [row["is_detected"] for row in analysis.transitions.rows(named=True)] == [False, False]
    assert verdicts(analysis)["adjacent"]["drop"] is None


def test_focus_is_on_the_bins_that_lose_most_by_either_rule() -> None:
    bins = [number % 5 for number in range(50)]
    late: Sequence[float | None] = [0.0 if each >= 3 else 1.0 for each in bins]
    analysis = found({1.0: ones(50), 0.5: late}, bins=bins)
    assert focus_bins(analysis.transitions, analysis.deltas) == (3,)
    quiet = found({1.0: ones(50), 0.5: ones(50)}, bins=bins)
    assert focus_bins(quiet.transitions, quiet.deltas) == ()


def test_what_cannot_be_analysed_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="no requests"):
        analyze(requests({1.0: [1.0]}).clear(), "g", AnalysisSettings())
    with pytest.raises(UsageError, match="no column failed"):
        analyze(requests({1.0: [1.0]}).drop("failed"), "g", AnalysisSettings())
    two = pl.concat([requests({0.5: [1.0]}), requests({0.5: [0.0]}).with_columns(budget_id=pl.lit("other"))])
    with pytest.raises(UsageError, match="two policies are two groups"):
        analyze(two, "g", AnalysisSettings())
    moved = pl.concat([requests({1.0: [1.0]}), requests({0.5: [1.0]}, bins=[1])])
    with pytest.raises(UsageError, match="e00 is in several bins"):
        analyze(moved, "g", AnalysisSettings())


def test_latencies_are_compared_example_by_example_as_ratios() -> None:
    told = requests({1.0: [1.0] * 4 + [None], 0.5: [1.0] * 4 + [0.0]})
    ms = [10.0, 20.0, 400.0, 0.0, None, 5.0, 10.0, 200.0, 7.0, 3.0]
    analysis = analyze(told.with_columns(latency_ms=pl.Series(ms)), "g", AnalysisSettings())
    (row,) = analysis.deltas.filter(subject="log_latency", bin_index=-1, comparison="baseline").to_dicts()
    assert row["num_examples"] == 3, "what has no latency at one of both budgets is not compared"
    assert [row[name] for name in ("change", "ci_lower", "ci_upper")] == [pytest.approx(math.log(0.5))] * 3
    quality = analysis.deltas.filter(pl.col("subject") != "log_latency")
    assert quality.equals(analyze(told, "g", AnalysisSettings()).deltas.filter(pl.col("subject") != "log_latency"))
    assert set(analysis.intervals["subject"]) == {"accuracy", "accuracy_all", "exact_match", "failure_rate"}
