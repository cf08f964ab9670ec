"""Summary statistics against values worked out by hand and against published tables."""

import math

import pytest

from groundlake.errors import UsageError
from groundlake.stats.intervals import student_quantile, summarize


def test_five_samples_give_the_statistics_worked_out_by_hand() -> None:
    found = summarize([2.0, 4.0, 4.0, 4.0, 6.0])
    assert found["mean"] == 4.0
    assert found["std"] == pytest.approx(math.sqrt(2.0))  # squares 4 + 0 + 0 + 0 + 4 over n - 1 = 4
    assert (found["min"], found["max"], found["samples"]) == (2.0, 6.0, 5)
    half = 2.7764451 * math.sqrt(2.0) / math.sqrt(5)
    assert found["ci_lower"] == pytest.approx(4.0 - half, rel=1e-7)
    assert found["ci_upper"] == pytest.approx(4.0 + half, rel=1e-7)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062047), (4, 2.7764451), (19, 2.0930241), (49, 2.0095752)])
def test_quantiles_are_those_of_the_published_table(freedom: int, quantile: float) -> None:
    assert student_quantile(freedom) == pytest.approx(quantile, rel=1e-7)


def test_one_sample_has_no_spread_and_is_its_own_interval() -> None:
    found = summarize([3.5])
    assert found == {
        "mean": 3.5, "std": 0.0, "min": 3.5, "max": 3.5, "ci_lower": 3.5, "ci_upper": 3.5, "samples": 1,
    }  # fmt: skip


def test_the_interval_is_not_cut_off_at_zero() -> None:
    assert summarize([0.1, 0.1, 10.0])["ci_lower"] < 0


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf]])
def test_what_is_no_observation_is_refused(samples: list[float]) -> None:
    with pytest.raises(UsageError, match="summarize"):
        summarize(samples)
