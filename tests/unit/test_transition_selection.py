"""Which examples are asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from groundlake.errors import UsageError
from groundlake.transition.data.bins import quantile_bins
from groundlake.transition.data.selection import Chosen, Focus, Sampling, Selection, Slice, in_order, select

LENGTHS = {f"e{tokens:03}": tokens for tokens in range(1, 101)}
BINS = quantile_bins(LENGTHS.values(), 5)


def chosen(**sampling: object) -> Selection:
    return select(LENGTHS, BINS, Sampling(**sampling))


def by_bin(selection: Selection) -> list[int]:
    return [sum(entry.bin_index == each.index for entry in selection.entries) for each in BINS]


def test_each_bin_gives_as_many_and_not_its_shortest() -> None:
    selection = chosen(n_per_bin=4, seed=1337)
    assert by_bin(selection) == [4, 4, 4, 4, 4]
    shortest = [low + step for low in (1, 21, 41, 61, 81) for step in range(4)]
    assert [entry.tokens for entry in selection.entries] != shortest
    assert [entry.tokens for entry in selection.entries] == sorted(entry.tokens for entry in selection.entries)
    places = [(entry.tokens - 1) % 20 for seed in range(20) for entry in chosen(n_per_bin=4, seed=seed).entries]
    assert 8 < sum(places) / len(places) < 11, "about the middle of each bin"


def test_the_same_seed_chooses_the_same_and_another_one_others() -> None:
    assert chosen(n_per_bin=3, seed=7) == chosen(n_per_bin=3, seed=7)
    assert chosen(n_per_bin=3, seed=7) != chosen(n_per_bin=3, seed=8)


def test_the_order_of_choice_is_that_of_the_hash_of_seed_and_id_in_every_process() -> None:
    code = "from groundlake.transition.data.selection import in_order; print(*in_order('abcdefgh', 5))"
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.split() == in_order("hgfedcba", 5) == ["g", "b", "f", "c", "e", "h", "a", "d"]


def test_without_a_seed_the_shortest_come_first_of_bins_and_of_slices() -> None:
    selection = chosen(n_per_bin=2, seed=None)
    assert [entry.tokens for entry in selection.entries] == [1, 2, 21, 22, 41, 42, 61, 62, 81, 82]
    assert set(selection.entries) < set(chosen(n_per_bin=3, seed=None).entries)
    assert select({"b": 5, "a": 5, "c": 4}, quantile_bins([4, 5, 5], 1), Sampling(n_per_bin=2, seed=None)).entries == (
        *(Chosen(example_id=name, bin_index=0, tokens=tokens) for name, tokens in (("c", 4), ("a", 5))),
    )
    sliced = chosen(slices=(Slice(name="long", n=2, tokens=(90, None)),), seed=None)
    assert [entry.tokens for entry in sliced.entries] == [90, 91]


def test_a_bin_with_too_few_gives_all_it_has_and_that_is_said() -> None:
    lengths = {"a": 1, "b": 2, "c": 2, "d": 2}
    selection = select(lengths, quantile_bins(lengths.values(), 2), Sampling(n_per_bin=2))
    assert [entry.bin_index for entry in selection.entries] == [0, 1, 1]
    assert selection.remarks == ("bin 0 [1, 2): wanted 2 examples, there are only 1",)


def test_pinned_ids_win_over_everything_else() -> None:
    slices = (Slice(name="short", n=1, tokens=(1, 5)),)
    selection = chosen(pinned=("e090", "e003"), slices=slices, n_per_bin=9)
    assert [(entry.example_id, entry.bin_index, entry.slice_name) for entry in selection.entries] == [
        ("e003", 0, None),
        ("e090", 4, None),
    ]


def test_unknown_pinned_ids_are_named() -> None:
    with pytest.raises(UsageError, match=r"2 of 3 are not in the data set: e0033, zzz; did you mean e033\?") as raised:
        chosen(pinned=("e0033", "e002", "zzz"))
    assert raised.value.exit_code == 2


def test_a_pinned_example_that_a_filter_left_out_is_not_called_unknown() -> None:
    with pytest.raises(UsageError, match=r"filters leave out long \(9000 tokens\)"):
        select(LENGTHS, BINS, Sampling(pinned=("e001", "long")), dropped={"long": 9000})


def test_slices_take_ranges_of_tokens_or_of_percentiles_and_name_what_they_take() -> None:
    slices = (
        Slice(name="short", n=3, percentiles=(0, 20)),
        Slice(name="medium", n=3, tokens=(45, 55)),
        Slice(name="long", n=4, tokens=(90, None)),
    )
    selection = chosen(slices=slices, n_per_bin=50)
    taken = [(entry.slice_name, entry.tokens) for entry in selection.entries]
    assert [name for name, _ in taken] == ["short"] * 3 + ["medium"] * 3 + ["long"] * 4
    ranges = {"short": (1, 20), "medium": (45, 55), "long": (90, 100)}
    assert all(ranges[name][0] <= tokens <= ranges[name][1] for name, tokens in taken)
    assert [tokens for _, tokens in taken[:3]] != [1, 2, 3]


def test_slices_that_overlap_take_each_example_once() -> None:
    slices = (Slice(name="a", n=2, tokens=(1, 3)), Slice(name="b", n=1, tokens=(1, 3)))
    assert len({entry.example_id for entry in chosen(slices=slices).entries}) == 3


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        (
            [Slice(name="long", n=6, tokens=(96, 200))],
            "slice long (96 to 200 tokens): wanted 6, there are 5\n  the 100 examples have 1 to 100 tokens",
        ),
        (
            [Slice(name="a", n=2, tokens=(99, 100)), Slice(name="b", n=1, tokens=(99, None))],
            "slice b (at least 99 tokens): wanted 1, there are 2, of which slices before it took 2",
        ),
        ([Slice(name="p", n=3, percentiles=(99, 100))], "slice p (percentile 99 to 100): wanted 3, there are 2"),
    ],
)
def test_a_slice_with_too_few_examples_is_an_error_with_the_numbers(slices: list[Slice], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        chosen(slices=tuple(slices))
    assert said in str(raised.value)


def test_focus_takes_more_near_the_bins_in_question() -> None:
    focus = Focus(bins=(4,), radius=1, base_n=1, focus_n=6)
    assert by_bin(chosen(strategy="focus_transition", focus=focus)) == [1, 1, 1, 6, 6]
    far = Focus(bins=(0, 3), base_n=2, focus_n=3)
    assert by_bin(chosen(strategy="focus_transition", focus=far)) == [3, 2, 2, 3, 2]


def test_a_wider_focus_keeps_what_was_chosen_before() -> None:
    before = set(chosen(n_per_bin=2, seed=3).entries)
    focus = Focus(bins=(2,), base_n=2, focus_n=10)
    after = set(chosen(strategy="focus_transition", focus=focus, seed=3).entries)
    assert before < after


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "greedy"}, "wanted one of uniform, focus_transition"),
        ({"strategy": "focus_transition"}, "needs focus bins"),
        ({"n_per_bin": 0}, "n_per_bin must be at least 1"),
        ({"pinned": ("a", "a")}, "pinned ids: a stands there twice"),
        ({"strategy": "focus_transition", "focus": Focus(bins=(5,), base_n=1, focus_n=1)}, "bins go from 0 to 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        chosen(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n": 0, "tokens": (1, 2)}, "n must be at least 1"),
        ({"n": 1}, "not both"),
        ({"n": 1, "tokens": (1, 2), "percentiles": (0, 5)}, "not both"),
        ({"n": 1, "tokens": (5, 2)}, "5 to 2 tokens is no range"),
        ({"n": 1, "percentiles": (0, 101)}, "no range"),
    ],
)
def test_slices_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Slice(name="s", **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bins": (), "base_n": 1, "focus_n": 1}, "at least one bin"),
        ({"bins": (0,), "radius": -1, "base_n": 1, "focus_n": 1}, "radius must be at least 0"),
        ({"bins": (0,), "base_n": 3, "focus_n": 2}, "base_n 3 and focus_n 2"),
    ],
)
def test_a_focus_that_makes_no_sense_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Focus(**settings)
