"""Edges of bins, and what filters leave before there are any."""

from __future__ import annotations

import pytest

from groundlake.errors import UsageError
from groundlake.transition.data.bins import bin_of, bin_remarks, quantile_bins, with_selected, within_limits


def shown(lengths: list[int], n_bins: int) -> list[tuple[str, int]]:
    return [(each.interval, each.population) for each in quantile_bins(lengths, n_bins)]


def test_bins_are_half_open_and_the_last_is_closed() -> None:
    assert shown([10, 20, 30, 40, 50, 60], 3) == [("[10, 30)", 2), ("[30, 50)", 2), ("[50, 60]", 2)]
    bins = quantile_bins([10, 20, 30, 40, 50, 60], 3)
    assert [bin_of(bins, tokens) for tokens in (10, 29, 30, 49, 50, 60)] == [0, 0, 1, 1, 2, 2]
    assert [each.longest for each in bins] == [20, 40, 60]


def test_equal_lengths_are_one_bin_and_the_others_are_empty_and_that_is_said() -> None:
    assert shown([5, 5, 5, 5, 5], 3) == [("[5, 5]", 5), ("[5, 5)", 0), ("[5, 5)", 0)]
    bins = quantile_bins([5, 5, 5, 5, 5], 3)
    assert bin_of(bins, 5) == 0
    assert bin_remarks(bins) == ("2 of 3 bins are empty (1, 2): the examples have only 1 length",)
    assert [each.longest for each in bins] == [5, None, None]


def test_a_length_that_most_examples_have_takes_one_bin_and_leaves_the_others_even() -> None:
    lengths = [1] * 90 + list(range(2, 12))
    assert [number for _, number in shown(lengths, 5)] == [90, 2, 3, 2, 3]
    assert bin_remarks(quantile_bins(lengths, 5)) == ()


def test_one_bin_holds_everything() -> None:
    assert shown([3, 1, 2], 1) == [("[1, 3]", 3)]


def test_a_length_of_zero_is_a_length() -> None:
    assert shown([0, 0, 7], 2) == [("[0, 7)", 2), ("[7, 7]", 1)]


@pytest.mark.parametrize("tokens", [9, 61])
def test_a_length_outside_of_all_bins_is_refused(tokens: int) -> None:
    with pytest.raises(UsageError, match=f"{tokens} tokens are in none of the bins, which go from 10 to 60"):
        bin_of(quantile_bins([10, 60], 2), tokens)


def test_no_bins_and_no_examples_are_refused() -> None:
    with pytest.raises(UsageError, match="n_bins must be at least 1, got 0"):
        quantile_bins([1], 0)
    with pytest.raises(UsageError, match="no examples"):
        quantile_bins([], 3)


def test_filters_come_before_the_edges_so_that_the_last_bins_keep_their_examples() -> None:
    lengths = {str(tokens): tokens for tokens in range(1, 101)}
    kept = within_limits(lengths, max_token_len=60, max_prompt_tokens=40)
    assert (max(kept.lengths.values()), len(kept.dropped)) == (40, 60)
    assert kept.dropped_by == {"max_token_len": 40, "max_prompt_tokens": 20}
    assert [each.population for each in quantile_bins(kept.lengths.values(), 4)] == [10, 10, 10, 10]


def test_without_limits_nothing_is_left_out() -> None:
    kept = within_limits({"a": 10**9})
    assert (kept.lengths, kept.dropped, kept.dropped_by) == ({"a": 10**9}, {}, {})


def test_limits_that_leave_nothing_say_how_short_the_shortest_is() -> None:
    with pytest.raises(UsageError, match="all 2 are longer than max_prompt_tokens 5; the shortest has 6 tokens"):
        within_limits({"a": 6, "b": 8}, max_prompt_tokens=5)


def test_selected_examples_are_counted_by_bin_beside_the_population() -> None:
    bins = with_selected(quantile_bins([1, 2, 3, 4], 2), [1, 1])
    assert [(each.population, each.selected) for each in bins] == [(2, 0), (2, 2)]
