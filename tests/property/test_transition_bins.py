"""Bins and choices keep their promises for whatever lengths there are."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundlake.transition.data.bins import bin_of, quantile_bins
from groundlake.transition.data.selection import Focus, Sampling, select

BUDGET = settings(max_examples=50, deadline=None, derandomize="CI" in os.environ)

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=60)
DISTINCT = st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True)
BINS = st.integers(1, 8)


def named(lengths: list[int]) -> dict[str, int]:
    return {f"example {place}": length for place, length in enumerate(lengths)}


@BUDGET
@given(LENGTHS, BINS)
@example([5, 5, 5, 5, 5, 5], 3)
@example([1] * 90 + list(range(2, 12)), 5)
@example([0], 4)
def test_every_length_is_in_exactly_one_bin_and_equal_lengths_in_the_same(lengths: list[int], n_bins: int) -> None:
    bins = quantile_bins(lengths, n_bins)
    assert [each.index for each in bins] == list(range(n_bins))
    for length in set(lengths):
        inside = [
            each.index for each in bins if each.low <= length < each.high or (each.is_closed and length == each.high)
        ]
        assert inside == [bin_of(bins, length)]
    numbers = Counter(bin_of(bins, length) for length in lengths)
    assert [each.population for each in bins] == [numbers[each.index] for each in bins]


@BUDGET
@given(LENGTHS, BINS)
def test_there_are_as_many_bins_with_examples_as_lengths_allow_and_their_edges_touch(
    lengths: list[int], n_bins: int
) -> None:
    bins = quantile_bins(lengths, n_bins)
    filled = [each for each in bins if each.population]
    assert len(filled) == min(n_bins, len(set(lengths)))
    assert list(bins[: len(filled)]) == filled, "empty bins are the last"
    assert all(one.high == next_.low for one, next_ in pairwise(filled))
    assert [each.is_closed for each in bins] == [each is filled[-1] for each in bins]
    assert (filled[0].low, filled[-1].high) == (min(lengths), max(lengths))


@BUDGET
@given(DISTINCT, BINS)
def test_without_ties_bins_differ_by_at_most_one_example(lengths: list[int], n_bins: int) -> None:
    numbers = [each.population for each in quantile_bins(lengths, n_bins) if each.population]
    assert max(numbers) - min(numbers) <= 1


@BUDGET
@given(LENGTHS, BINS, st.randoms(use_true_random=False))
def test_bins_do_not_depend_on_the_order_of_the_examples(lengths: list[int], n_bins: int, chance: object) -> None:
    shuffled = list(lengths)
    chance.shuffle(shuffled)
    assert quantile_bins(shuffled, n_bins) == quantile_bins(lengths, n_bins)


@BUDGET
@given(LENGTHS, BINS, st.integers(1, 6), st.integers(1, 6), st.integers(0, 3))
def test_a_choice_of_more_contains_the_choice_of_fewer(
    lengths: list[int], n_bins: int, few: int, more: int, seed: int
) -> None:
    named_lengths = named(lengths)
    bins = quantile_bins(lengths, n_bins)
    n, higher = min(few, more), max(few, more)
    smaller = set(select(named_lengths, bins, Sampling(seed=seed, n_per_bin=n)).entries)
    larger = set(select(named_lengths, bins, Sampling(seed=seed, n_per_bin=higher)).entries)
    focused = Sampling(
        seed=seed, strategy="focus_transition", focus=Focus(bins=(0,), radius=1, base_n=n, focus_n=higher)
    )
    assert smaller <= set(select(named_lengths, bins, focused).entries) <= larger
