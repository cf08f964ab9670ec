"""What holds of every analysis, whatever the scores."""

from __future__ import annotations

import os

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from groundlake.transition.analysis.analysis import analyze
from groundlake.transition.configuration.settings import AnalysisSettings

BUDGET = settings(max_examples=12, deadline=None, derandomize="CI" in os.environ)
QUICK = AnalysisSettings(n_bootstrap=100)
SCORES = st.lists(
    st.tuples(
        st.integers(0, 2),
        *[st.one_of(st.none(), st.sampled_from([0.0, 0.1, 1 / 3, 0.7, 1.0]))] * 3,
    ),
    min_size=1,
    max_size=12,
)
Rows = list[tuple[int, float | None, float | None, float | None]]


def requests(rows: Rows, budgets: tuple[float, ...] = (1.0, 0.5, 0.2)) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "budget_id": f"b{budget:g}",
                "budget": budget,
                "example_id": f"e{number:02}",
                "bin_index": row[0],
                "accuracy": score,
                "accuracy_all": score or 0.0,
                "exact_match": None if score is None else float(score == 1),
                "failed": float(score is None),
                "budget_verified": None,
                "latency_ms": None,
            }
            for number, row in enumerate(rows)
            for budget, score in zip(budgets, row[1:], strict=False)
        ],
        schema_overrides={
            "accuracy": pl.Float64,
            "exact_match": pl.Float64,
            "budget_verified": pl.Boolean,
            "latency_ms": pl.Float64,
        },
        infer_schema_length=None,
    )


@BUDGET
@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: Rows, random: object) -> None:
    frame = requests(rows)
    places = list(range(frame.height))
    random.shuffle(places)  # type: ignore[attr-defined] # hypothesis' generator
    one, other = analyze(frame, "g", QUICK), analyze(frame[places], "g", QUICK)
    for left, right in zip(one.frames.values(), other.frames.values(), strict=True):
        assert_frame_equal(left, right, check_exact=True)


@BUDGET
@given(SCORES)
def test_equal_budgets_change_by_nothing(rows: Rows) -> None:
    frame = requests([(row[0], row[1], row[1], row[1]) for row in rows])
    analysis = analyze(frame, "g", QUICK)
    told = analysis.deltas.filter(pl.col("num_examples") > 1)
    assert (told.select("change", "ci_lower", "ci_upper", "probability_below_zero") == 0).to_numpy().all()
    assert not analysis.transitions["is_detected"].any()
    means = analysis.intervals.drop("budget_id").unique()
    assert means.height * 3 == analysis.intervals.height


@BUDGET
@given(SCORES, st.sampled_from([-0.25, 0.125, 2.0]))
def test_a_constant_added_to_all_scores_shifts_means_and_intervals_and_no_change(rows: Rows, shift: float) -> None:
    whole: Rows = [(row[0], *(0.5 if each is None else each for each in row[1:])) for row in rows]  # type: ignore[misc] # three
    frame = requests(whole)
    moved = frame.with_columns(pl.col("accuracy", "accuracy_all") + shift)
    one, other = analyze(frame, "g", QUICK), analyze(moved, "g", QUICK)
    shifted = pl.when(pl.col("subject").is_in(["accuracy", "accuracy_all"])).then(shift).otherwise(0.0)
    expected = one.intervals.with_columns(pl.col("mean", "ci_lower", "ci_upper") + shifted)
    assert_frame_equal(expected, other.intervals, check_exact=False, abs_tol=1e-9)
    changes = ["change", "ci_lower", "ci_upper"]
    assert_frame_equal(one.deltas.select(changes), other.deltas.select(changes), check_exact=False, abs_tol=1e-9)


@BUDGET
@given(SCORES)
def test_an_interval_does_not_depend_on_the_other_budgets(rows: Rows) -> None:
    whole = analyze(requests(rows), "g", QUICK).intervals.filter(budget_id="b1")
    alone = analyze(requests([row[:2] for row in rows], (1.0,)), "g", QUICK).intervals  # type: ignore[misc] # fewer budgets
    assert_frame_equal(whole, alone, check_exact=False, abs_tol=1e-9)


@BUDGET
@given(SCORES)
def test_the_neighbour_of_the_baseline_is_compared_alike_by_both_rules(rows: Rows) -> None:
    deltas = analyze(requests(rows), "g", QUICK).deltas.filter(from_budget_id="b1", to_budget_id="b0.5")
    adjacent, baseline = (deltas.filter(comparison=name).drop("comparison") for name in ("adjacent", "baseline"))
    assert_frame_equal(adjacent, baseline)


@pytest.mark.parametrize("other", [{"seed": 2}, {"n_bootstrap": 101}])
def test_the_seed_and_the_number_of_draws_decide_about_an_interval(other: dict[str, int]) -> None:
    rows: Rows = [(0, number / 30, None, None) for number in range(30)]
    one = analyze(requests(rows, (1.0,)), "g", QUICK).intervals
    two = analyze(requests(rows, (1.0,)), "g", QUICK.model_copy(update=other)).intervals
    assert one["mean"].to_list() == two["mean"].to_list()
    assert one["ci_lower"].to_list() != two["ci_lower"].to_list()
