"""Statistics of a comparison, against scipy and against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, polygamma

from groundlake.errors import UsageError
from groundlake.stats.change import (
    IMPROVED,
    INSUFFICIENT,
    REGRESSED,
    UNCHANGED,
    Change,
    adjusted,
    combined,
    decide,
    decide_blind,
)
from groundlake.stats.pooled import moderated_scatter
from groundlake.stats.ranks import mann_whitney
from groundlake.stats.robust import typical


@pytest.mark.parametrize(("count_a", "count_b"), [(1, 1), (3, 4), (8, 20), (8, 100), (9, 9), (50, 50), (250, 40)])
def test_mann_whitney_is_that_of_scipy(count_a: int, count_b: int):
    random = np.random.default_rng([count_a, count_b])
    a, b = random.normal(size=count_a), random.normal(0.4, size=count_b)
    ours, theirs = mann_whitney(a, b), stats.mannwhitneyu(a, b)
    assert ours.u == theirs.statistic
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert ours.larger_share == pytest.approx(np.mean(b[None, :] > a[:, None]))


def test_mann_whitney_with_ties_is_that_of_scipy():
    random = np.random.default_rng(7)
    a, b = random.integers(0, 5, 30), random.integers(0, 6, 40)
    assert mann_whitney(a, b).p_value == pytest.approx(stats.mannwhitneyu(a, b).pvalue, rel=1e-9)
    assert mann_whitney([2.0, 2.0], [2.0, 2.0, 2.0]).p_value == 1.0


def test_mann_whitney_counts_orders_of_few_samples():
    # Of the 20 orders of 3 + 3 samples, one has every a below every b; two-sided: 2 / 20.
    assert mann_whitney([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).p_value == pytest.approx(0.1)


@pytest.mark.parametrize("side", [[], [math.nan], [1.0, math.inf]])
def test_mann_whitney_refuses_what_is_no_sample(side: list[float]):
    with pytest.raises(UsageError, match="finite samples"):
        mann_whitney(side, [1.0])


def test_the_typical_value_of_even_samples_is_their_geometric_mean():
    assert math.exp(typical([1.0, 2.0, 4.0]).log_value) == pytest.approx(2.0)
    many = typical(np.exp(np.random.default_rng(1).normal(0.0, 0.05, (4000, 50))))
    assert many.log_value.var() == pytest.approx(0.05**2 / 50, rel=0.1)
    assert many.variance.mean() == pytest.approx(0.05**2 / 50, rel=0.05)


def test_an_outlier_moves_the_typical_value_little_whatever_its_size():
    quiet = [10.0 + 0.01 * at for at in range(-20, 21)]
    far, farther = typical([*quiet, 20.0]).log_value, typical([*quiet, 20000.0]).log_value
    assert far == pytest.approx(farther, rel=1e-9)
    assert math.exp(far) == pytest.approx(10.0, rel=1e-3)
    assert np.mean([*quiet, 20.0]) > 10.2


def test_equal_and_single_samples_have_a_typical_value():
    same = typical([3.0, 3.0, 3.0])
    assert math.exp(same.log_value) == pytest.approx(3.0)
    assert same.variance == 0.0
    assert math.isnan(typical([3.0]).variance)
    coarse = typical([1.0] * 6 + [1.1] * 4)
    assert 1.0 < math.exp(coarse.log_value) < 1.1
    with pytest.raises(UsageError, match="positive"):
        typical([1.0, 0.0])


def test_adjusted_p_values_are_those_of_scipy():
    p_values = [0.01, 0.04, 0.03, 0.2, 0.0001]
    assert adjusted(p_values) == pytest.approx(stats.false_discovery_control(p_values).tolist())
    assert adjusted([0.03]) == [0.03]
    assert adjusted([]) == []


def test_the_interval_and_the_p_value_are_those_of_students_t():
    change = Change(0.05, 0.02**2, 8.0)
    t = stats.t(8)
    assert change.p_value() == pytest.approx(2 * t.sf(2.5))
    assert change.log_interval() == pytest.approx((0.05 - t.ppf(0.975) * 0.02, 0.05 + t.ppf(0.975) * 0.02))
    assert Change(0.05, 0.02**2, math.inf).p_value() == pytest.approx(2 * stats.norm.sf(2.5))
    assert change.percent == pytest.approx(100 * (math.exp(0.05) - 1))
    assert Change(0.05, None, 8.0).log_interval() is None
    assert Change(0.05, None, 8.0).p_value() is None
    assert Change(0.0, 0.0, 8.0).p_value() == 1.0


def test_variances_are_combined_as_in_welchs_test():
    random = np.random.default_rng(3)
    a, b = random.normal(size=12), random.normal(size=7) * 4
    parts = [(side.var(ddof=1) / side.size, side.size - 1.0) for side in (a, b)]
    variance, freedom = combined(parts)
    theirs = stats.ttest_ind(a, b, equal_var=False)
    assert freedom == pytest.approx(theirs.df)
    assert (a.mean() - b.mean()) / math.sqrt(variance) == pytest.approx(theirs.statistic)
    assert combined([(1.0, math.inf)]) == (1.0, math.inf)


@pytest.mark.parametrize(
    ("change", "error", "verdict"),
    [
        (0.05, 0.005, REGRESSED),
        (-0.05, 0.005, IMPROVED),
        (0.001, 0.002, UNCHANGED),
        (0.05, 0.03, INSUFFICIENT),
        (0.001, 0.02, INSUFFICIENT),
        (0.009, 0.002, INSUFFICIENT),  # beyond noise, but less than what matters, and perhaps more
        (0.005, 0.001, UNCHANGED),  # beyond noise, and certainly less than what matters
    ],
)
def test_the_verdict_follows_from_change_noise_and_threshold(change: float, error: float, verdict: str):
    found = Change(change, error**2, 50.0)
    assert decide(found, found.p_value(), threshold=0.01) == verdict


def test_an_adjusted_p_value_and_the_threshold_can_hold_a_verdict_back():
    found = Change(0.05, 0.005**2, 50.0)
    assert decide(found, 0.02) == INSUFFICIENT
    assert decide(found, 0.01) == REGRESSED
    assert decide(found, 0.001, threshold=0.2) == UNCHANGED
    assert decide(found, None) == INSUFFICIENT


def test_without_repeats_only_what_no_noise_explains_is_called():
    assert decide_blind(Change(math.log(2), 0.01**2, 50.0), 1e-9) == REGRESSED
    assert decide_blind(Change(-math.log(2), 0.01**2, 50.0), None) == IMPROVED
    assert decide_blind(Change(math.log(2), 0.01**2, 50.0), 0.3) == INSUFFICIENT
    assert decide_blind(Change(math.log(2), 0.4**2, 50.0), None) == INSUFFICIENT
    assert decide_blind(Change(math.log(1.3), 0.001**2, 50.0), 1e-9) == INSUFFICIENT


def test_nothing_repeated_tells_no_scatter():
    assert moderated_scatter([0.0, 0.0], [0, 0]) == [None, None]


def test_few_members_keep_their_own_scatter_or_take_the_largest():
    own, few, none = moderated_scatter([4.0, 1.0, 0.0], [3, 1, 0])
    assert own is not None
    assert few is not None
    assert none is not None
    assert (own.variance, own.degrees_of_freedom, own.borrowed) == (4.0, 3, False)
    assert (few.variance, few.degrees_of_freedom, few.borrowed) == (4.0, 3, True)
    assert (none.variance, none.degrees_of_freedom, none.borrowed) == (4.0, 3, True)


def test_members_that_are_equally_noisy_share_their_repeats():
    found = moderated_scatter([2.0] * 10 + [0.0], [4] * 10 + [0])
    assert [each.variance for each in found if each] == pytest.approx([2.0] * 11)
    assert {each.degrees_of_freedom for each in found if each} == {40.0}
    assert [each.borrowed for each in found if each] == [False] * 10 + [True]


def test_a_noisy_member_keeps_most_of_its_own_scatter():
    variances, freedom = [0.01, 0.03, 1.0, 0.02, 30.0, 0.2, 4.0, 0.005], 8.0
    logs = np.log(variances) - digamma(freedom / 2) + math.log(freedom / 2)
    excess = logs.var(ddof=1) - polygamma(1, freedom / 2)
    found = moderated_scatter(variances, [freedom] * len(variances))
    prior = {each.degrees_of_freedom - freedom for each in found if each}
    assert len(prior) == 1
    assert polygamma(1, prior.pop() / 2) == pytest.approx(excess)
    loud, quiet = found[4], found[7]
    assert loud is not None
    assert quiet is not None
    assert loud.variance > 20
    assert quiet.variance < 0.2


def test_repeats_that_agree_to_the_last_digit_do_not_break_the_family():
    found = moderated_scatter([0.0, 1.0, 2.0, 1.0, 1.5, 0.5], [2] * 6)
    assert all(each is not None and each.variance > 0 for each in found)
    still = moderated_scatter([0.0] * 6, [2] * 6)
    assert all(each is not None and each.variance == 0 for each in still)
