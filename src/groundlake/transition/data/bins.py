"""Sorts examples into bins of about equal numbers by the length of their prompts."""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LIMITS = ("max_token_len", "max_prompt_tokens")


@dataclass(frozen=True, kw_only=True)
class Bin:
    """A range of lengths, in tokens.

    Attributes:
        index: Place among the bins, from 0, short ones first.
        low: Shortest length that belongs to it.
        high: Where it ends; the first length of the next bin, or the longest length of all.
        is_closed: Whether `high` belongs to it: so in the last bin that has examples, and in no other.
        longest: Longest length that there is in it; None where it is empty. The shortest is `low`.
        population: Examples of these lengths, after the filters.
        selected: Those that are asked.
    """

    index: int
    low: int
    high: int
    is_closed: bool
    longest: int | None
    population: int
    selected: int = 0

    @property
    def interval(self) -> str:
        """The range as one writes it: `[120, 480)`."""
        return f"[{self.low}, {self.high}{']' if self.is_closed else ')'}"

    @property
    def is_empty(self) -> bool:
        """Whether no example has such a length."""
        return self.population == 0


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What filters leave.

    Attributes:
        lengths: Tokens by id of the examples that are left.
        dropped: Tokens by id of the others.
        dropped_by: How many each limit dropped; one that is over both counts for the first.
    """

    lengths: dict[str, int]
    dropped: dict[str, int]
    dropped_by: dict[str, int]


def within_limits(
    lengths: Mapping[str, int], *, max_token_len: int | None = None, max_prompt_tokens: int | None = None
) -> Kept:
    """Leave out what is too long. This comes before the edges, or the last bins would lose their examples.

    Args:
        lengths: Tokens of the prompt, by id.
        max_token_len: Longest that is of interest.
        max_prompt_tokens: Longest that the model can be asked.

    Raises:
        UsageError: Nothing is left.
    """
    limits = [(name, most) for name, most in zip(LIMITS, (max_token_len, max_prompt_tokens), strict=True) if most]
    dropped_by = {name: 0 for name, _ in limits}
    dropped = {}
    for example_id, tokens in lengths.items():
        over = next((name for name, most in limits if tokens > most), None)
        if over is not None:
            dropped_by[over] += 1
            dropped[example_id] = tokens
    if lengths and len(dropped) == len(lengths):
        said = ", ".join(f"{name} {most}" for name, most in limits)
        raise UsageError(
            f"no example is left: all {len(lengths)} are longer than {said};"
            f" the shortest has {min(lengths.values())} tokens"
        )
    left = {example_id: tokens for example_id, tokens in lengths.items() if example_id not in dropped}
    return Kept(lengths=left, dropped=dropped, dropped_by=dropped_by)


def quantile_bins(lengths: Iterable[int], n_bins: int) -> tuple[Bin, ...]:
    """Cut lengths into bins of about equal numbers; equal lengths are never in two bins.

    From the shortest up, each bin takes the whole lengths that bring it nearest to an equal share of what is left (the
    fewer of two equally near), and leaves at least one length to each bin after it. Without repeated lengths, numbers
    of examples differ by at most one. Where there are fewer lengths than bins, the last bins are empty.

    Args:
        lengths: Of all examples, in tokens, in any order.
        n_bins: How many bins.

    Returns:
        Exactly `n_bins` bins.

    Raises:
        UsageError: There are no lengths, or fewer than one bin is wanted.
    """
    numbers = sorted(Counter(lengths).items())
    if n_bins < 1:
        raise UsageError(f"binning.n_bins must be at least 1, got {n_bins}")
    if not numbers:
        raise UsageError("there are no examples to sort into bins")
    distinct = [length for length, _ in numbers]
    cuts = _cuts([number for _, number in numbers], min(n_bins, len(distinct)))
    below = [0, *accumulate(number for _, number in numbers)]
    bins = [
        Bin(
            index=index,
            low=distinct[start],
            high=distinct[end] if end < len(distinct) else distinct[-1],
            is_closed=end == len(distinct),
            longest=distinct[end - 1],
            population=below[end] - below[start],
        )
        for index, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(distinct)], strict=True))
    ]
    empty = (
        Bin(index=index, low=distinct[-1], high=distinct[-1], is_closed=False, longest=None, population=0)
        for index in range(len(bins), n_bins)
    )
    return (*bins, *empty)


def bin_of(bins: Sequence[Bin], tokens: int) -> int:
    """Index of the bin of a length.

    Raises:
        UsageError: It is outside of all bins.
    """
    filled = [each for each in bins if not each.is_empty]
    place = bisect.bisect_right([each.low for each in filled], tokens) - 1
    if place < 0 or tokens > filled[-1].high:
        raise UsageError(f"{tokens} tokens are in none of the bins, which go from {filled[0].low} to {filled[-1].high}")
    return filled[place].index


def with_selected(bins: Sequence[Bin], indices: Iterable[int]) -> tuple[Bin, ...]:
    """Note how many examples of each bin were selected, given the bin of each."""
    numbers = Counter(indices)
    return tuple(replace(each, selected=numbers[each.index]) for each in bins)


def bin_remarks(bins: Sequence[Bin]) -> tuple[str, ...]:
    """Say that bins are empty, and why."""
    empty = [each.index for each in bins if each.is_empty]
    if not empty:
        return ()
    filled = len(bins) - len(empty)
    lengths = "only 1 length" if filled == 1 else f"only {filled} different lengths"
    return (f"{len(empty)} of {len(bins)} bins are empty ({', '.join(map(str, empty))}): the examples have {lengths}",)


def _cuts(numbers: Sequence[int], n_bins: int) -> list[int]:
    """Places between lengths where a new bin begins; `numbers` has how many examples each length has."""
    below = [0, *accumulate(numbers)]
    cuts: list[int] = []
    start = 0
    for left in range(n_bins, 1, -1):
        rest = below[-1] - below[start]
        # An equal share is rest / left; multiplied out, so that no rounding decides.
        ends = range(start + 1, len(numbers) - left + 2)
        start = min(ends, key=lambda end: abs((below[end] - below[start]) * left - rest))
        cuts.append(start)
    return cuts
