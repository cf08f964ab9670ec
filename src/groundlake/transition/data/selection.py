"""Chooses the examples that are asked: the same ones every time, and the shortest only where that is asked for.

The order of choice is that of sha256 of seed and id, which no version of a random generator changes; without a seed it
is that of lengths. A choice of more examples contains the choice of fewer, so that answers to the fewer are kept.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.errors import UsageError
from groundlake.transition.data.bins import bin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from groundlake.transition.data.bins import Bin

UNIFORM, FOCUS_TRANSITION = "uniform", "focus_transition"
STRATEGIES = (UNIFORM, FOCUS_TRANSITION)
SHOWN = 10
PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A few examples of a range of lengths, for a quick test that all is sane.

    Attributes:
        name: For example short.
        n: How many.
        percentiles: Lowest and highest percentile of the lengths, 0 to 100, both included; or
        tokens: lowest and highest number of tokens, both included; None as the highest is no limit.
    """

    name: str
    n: int
    percentiles: tuple[float, float] | None = None
    tokens: tuple[int, int | None] | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"sanity slice {self.name}: n must be at least 1, got {self.n}")
        if (self.percentiles is None) == (self.tokens is None):
            raise UsageError(f"sanity slice {self.name}: give a range of percentiles or one of tokens, not both")
        low, high = self.range
        most = PERCENT if self.percentiles else math.inf
        if not 0 <= low <= high <= most:
            raise UsageError(f"sanity slice {self.name}: {self.said} is no range")

    @property
    def range(self) -> tuple[float, float]:
        """Both ends, whatever they are."""
        low, high = self.percentiles or self.tokens or (0, 0)
        return low, math.inf if high is None else high

    @property
    def said(self) -> str:
        """The range in words."""
        low, high = self.range
        if self.percentiles:
            return f"percentile {low:g} to {high:g}"
        return f"at least {low} tokens" if high == math.inf else f"{low} to {high} tokens"


@dataclass(frozen=True, kw_only=True)
class Focus:
    """More examples where the transition is thought to be.

    Attributes:
        bins: Indices of the bins in question.
        radius: Bins on each side that get as many.
        base_n: Examples of every other bin.
        focus_n: Examples of these bins.
    """

    bins: tuple[int, ...]
    radius: int = 0
    base_n: int
    focus_n: int

    def __post_init__(self) -> None:
        if not self.bins:
            raise UsageError("sampling.focus: name at least one bin")
        if self.radius < 0:
            raise UsageError(f"sampling.focus: the radius must be at least 0, got {self.radius}")
        if not 1 <= self.base_n <= self.focus_n:
            raise UsageError(
                f"sampling.focus: wanted 1 <= base_n <= focus_n, got base_n {self.base_n} and focus_n {self.focus_n}"
            )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What to choose. Pinned ids come before slices, slices before the strategy.

    Attributes:
        seed: Of the order of choice; None takes the shortest first.
        n_per_bin: Examples of each bin, when uniform.
        strategy: `uniform` or `focus_transition`.
        focus: What the second needs.
        pinned: Ids of exactly the examples to ask.
        slices: Ranges of lengths to ask from.
    """

    seed: int | None = 0
    n_per_bin: int = 1
    strategy: str = UNIFORM
    focus: Focus | None = None
    pinned: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = ()

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UsageError(f"sampling.strategy: got {self.strategy!r}, wanted one of {', '.join(STRATEGIES)}")
        if self.n_per_bin < 1:
            raise UsageError(f"dataset.n_per_bin must be at least 1, got {self.n_per_bin}")
        if self.strategy == FOCUS_TRANSITION and self.focus is None:
            raise UsageError(f"sampling.focus: {FOCUS_TRANSITION} needs focus bins, base_n and focus_n")
        for what, names in (("pinned ids", self.pinned), ("sanity slices", [each.name for each in self.slices])):
            twice = [name for name, number in Counter(names).items() if number > 1]
            if twice:
                raise UsageError(f"{what}: {_listed(twice)} stands there twice")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """An example that is asked.

    Attributes:
        example_id: Which.
        bin_index: Bin of its length.
        tokens: Length of its prompt.
        slice_name: Sanity slice that chose it; None where none did.
    """

    example_id: str
    bin_index: int
    tokens: int
    slice_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is asked, short ones first, and how it falls short of what was wanted."""

    entries: tuple[Chosen, ...]
    remarks: tuple[str, ...] = ()


def select(
    lengths: Mapping[str, int], bins: Sequence[Bin], sampling: Sampling, *, dropped: Mapping[str, int] | None = None
) -> Selection:
    """Choose examples.

    Args:
        lengths: Tokens of each example that filters left, by id.
        bins: Made of these lengths.
        sampling: What to choose.
        dropped: Tokens of the examples that filters left out, to tell a pinned one of them from an unknown one.

    Returns:
        The examples, ordered by length and id.

    Raises:
        UsageError: A pinned id is unknown, a slice has too few examples, or a focus bin is not there.
    """
    remarks: tuple[str, ...] = ()
    if sampling.pinned:
        names = dict.fromkeys(_pinned(lengths, sampling.pinned, dropped or {}))
    elif sampling.slices:
        names = _sliced(lengths, sampling)
    else:
        wanted = _wanted(bins, sampling)
        taken = _by_bin(lengths, bins, sampling.seed)
        names = dict.fromkeys(each for index, number in wanted.items() for each in taken[index][:number])
        remarks = tuple(_shortfalls(bins, wanted))
    entries = [
        Chosen(example_id=each, bin_index=bin_of(bins, lengths[each]), tokens=lengths[each], slice_name=name)
        for each, name in names.items()
    ]
    entries.sort(key=lambda entry: (entry.tokens, entry.example_id))
    return Selection(entries=tuple(entries), remarks=remarks)


def in_order(example_ids: Iterable[str], seed: int) -> list[str]:
    """Bring ids into the order in which they are chosen; it depends on nothing but the seed and the ids."""
    return sorted(example_ids, key=lambda each: (hashlib.sha256(f"{seed}:{each}".encode()).digest(), each))


def _pinned(lengths: Mapping[str, int], pinned: Sequence[str], dropped: Mapping[str, int]) -> Sequence[str]:
    too_long = [f"{each} ({dropped[each]} tokens)" for each in pinned if each in dropped]
    unknown = [each for each in pinned if each not in lengths and each not in dropped]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(lengths), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"pinned ids: {len(unknown)} of {len(pinned)} are not in the data set: {_listed(unknown)}{hint}\n"
            "  ids are those of the field _id, id or example_id, else the task and a hash of the content"
        )
    if too_long:
        raise UsageError(f"pinned ids: filters leave out {_listed(too_long)}\n  raise the limits, or pin other ones")
    return pinned


def _sliced(lengths: Mapping[str, int], sampling: Sampling) -> dict[str, str | None]:
    """Choose for each slice in turn, each example once."""
    pool = sorted(lengths, key=lambda each: (lengths[each], each))
    chosen: dict[str, str | None] = {}
    for wanted in sampling.slices:
        inside = _inside(pool, lengths, wanted)
        free = [each for each in inside if each not in chosen]
        if len(free) < wanted.n:
            taken = f", of which slices before it took {len(inside) - len(free)}" if len(inside) > len(free) else ""
            raise UsageError(
                f"sanity slice {wanted.name} ({wanted.said}): wanted {wanted.n}, there are {len(inside)}{taken}\n"
                f"  the {len(pool)} examples have {lengths[pool[0]]} to {lengths[pool[-1]]} tokens"
            )
        ordered = _in_order(free, lengths, sampling.seed)
        chosen.update(dict.fromkeys(ordered[: wanted.n], wanted.name))
    return chosen


def _inside(pool: Sequence[str], lengths: Mapping[str, int], wanted: Slice) -> Sequence[str]:
    """Examples of a slice, out of those in the order of their lengths."""
    low, high = wanted.range
    if wanted.tokens:
        return [each for each in pool if low <= lengths[each] <= high]
    last = len(pool) - 1
    first, final = (min(last, int(last * percentile / PERCENT)) for percentile in (low, high))
    return pool[first : final + 1]


def _wanted(bins: Sequence[Bin], sampling: Sampling) -> dict[int, int]:
    """How many examples each bin is to give."""
    focus = sampling.focus
    if sampling.strategy == UNIFORM or focus is None:
        return {each.index: sampling.n_per_bin for each in bins}
    missing = [str(index) for index in focus.bins if not 0 <= index < len(bins)]
    if missing:
        raise UsageError(f"sampling.focus: there is no bin {_listed(missing)}; bins go from 0 to {len(bins) - 1}")
    near = {each.index for each in bins if any(abs(each.index - index) <= focus.radius for index in focus.bins)}
    return {each.index: focus.focus_n if each.index in near else focus.base_n for each in bins}


def _in_order(example_ids: Iterable[str], lengths: Mapping[str, int], seed: int | None) -> list[str]:
    """Bring ids into the order in which they are chosen; without a seed, the shortest come first."""
    if seed is None:
        return sorted(example_ids, key=lambda each: (lengths[each], each))
    return in_order(example_ids, seed)


def _by_bin(lengths: Mapping[str, int], bins: Sequence[Bin], seed: int | None) -> dict[int, list[str]]:
    """Ids of each bin, in the order of choice."""
    taken: dict[int, list[str]] = {each.index: [] for each in bins}
    for each in _in_order(lengths, lengths, seed):
        taken[bin_of(bins, lengths[each])].append(each)
    return taken


def _shortfalls(bins: Sequence[Bin], wanted: Mapping[int, int]) -> Iterable[str]:
    for each in bins:
        number = wanted[each.index]
        if 0 < each.population < number:
            yield f"bin {each.index} {each.interval}: wanted {number} examples, there are only {each.population}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
