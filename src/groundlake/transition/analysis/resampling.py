"""Bootstrap of many means over the same examples at once.

The percentile method (Efron, Annals of Statistics 7, 1979): examples are drawn with replacement, as many as there are,
and the interval holds the middle of the means of such draws. An example is drawn whole, with all its budgets and
subjects, which is what pairs a change. How often each example was drawn is one matrix; its product with the values of
all subjects gives their means, so that a draw is paid for once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

DIGITS: Final = 12
"""Digits behind the point that are kept: later ones depend on the order in which a library adds."""

DRAWN_AT_ONCE: Final = 400_000
"""Examples that are drawn in one block: few enough for the processor's cache, many enough for one product."""
ENOUGH: Final = 2
"""Examples that an interval needs: one says nothing about what others would do."""


class Resampled(NamedTuple):
    """A mean and its interval; None where there is none. `below_zero` is the share of draws with a mean below 0."""

    examples: int
    mean: float | None
    lower: float | None = None
    upper: float | None = None
    below_zero: float | None = None


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How means are resampled: seed of the analysis, name of the group, number of draws, level of the intervals."""

    seed: int
    group: str
    resamples: int
    confidence: float

    def intervals(self, values: Values, asked: NDArray[np.bool_], bin_index: int) -> list[Resampled]:
        """Return mean and interval of each column of one bin.

        A draw is one of the examples that were asked; the mean of a draw is over those in it that have a value. So
        whether an example is answered is left to chance, as it is. Draws without any value are left out.

        Columns with the same examples share their draws. The interval of a column depends on nothing but its own
        values in the order of their examples, the seed, the group and the bin.

        Args:
            values: Shape (examples, columns), the examples in a fixed order; NaN where an example has no value.
            asked: Shape (examples, columns): whether a column is about the example; where it is not, there is no value.
            bin_index: Bin of these examples.
        """
        found: list[Resampled] = [Resampled(0, None)] * values.shape[1]
        alike: dict[bytes, list[int]] = {}
        for place in range(values.shape[1]):
            alike.setdefault(asked[:, place].tobytes(), []).append(place)
        for columns in alike.values():
            inside = values[asked[:, columns[0]]][:, columns]
            if inside.size:
                figures = self._of(inside, generator(self.seed, self.group, bin_index))
                for place, each in zip(columns, figures, strict=True):
                    found[place] = each
        return found

    def _of(self, inside: Values, random: np.random.Generator) -> Iterator[Resampled]:
        """Yield the figures of columns that are about the same examples."""
        counts = (~np.isnan(inside)).sum(axis=0)
        drawn = None
        if counts.max() >= ENOUGH:
            # Blocks are small: where anything else runs, threads would wait for each other longer than they work.
            with threadpool_limits(1, "blas"):
                drawn = np.concatenate([*_drawn(inside, self.resamples, random)])
        for number, count in enumerate(counts.tolist()):
            column = inside[:, number]
            mean = float(column[~np.isnan(column)].mean().round(DIGITS)) if count else None
            if drawn is None or count < ENOUGH:
                yield Resampled(count, mean)
                continue
            means = drawn[:, number]
            means = np.sort(means[~np.isnan(means)].round(DIGITS))
            ends = np.quantile(means, [(1 - self.confidence) / 2, (1 + self.confidence) / 2]).round(DIGITS) + 0.0
            yield Resampled(count, mean, float(ends[0]), float(ends[1]), float((means < 0).mean()))


def generator(seed: int, group: str, bin_index: int) -> np.random.Generator:
    """Return the generator of a bin: the same in every machine, whatever else is analysed."""
    told = hashlib.sha256(f"{seed}\0{group}\0{bin_index}".encode()).digest()
    return np.random.default_rng(np.frombuffer(told, dtype="<u4"))


def _drawn(inside: Values, resamples: int, random: np.random.Generator) -> Iterator[Values]:
    """Means of the columns over each draw, in blocks; NaN where a draw has no value."""
    count = inside.shape[0]
    present = ~np.isnan(inside)
    gaps = np.flatnonzero(~present.all(axis=0))
    summed = np.column_stack([np.where(present, inside, 0.0), present[:, gaps]])
    rows = max(1, min(resamples, DRAWN_AT_ONCE // count))
    for first in range(0, resamples, rows):
        many = min(rows, resamples - first)
        draws = random.integers(0, count, size=(many, count), dtype=np.int64)
        draws += np.arange(many)[:, None] * count
        times = np.bincount(draws.ravel(), minlength=many * count).reshape(many, count)
        sums = times.astype(np.float64) @ summed
        sizes = np.full((many, inside.shape[1]), float(count))
        sizes[:, gaps] = sums[:, inside.shape[1] :]
        yield np.divide(sums[:, : inside.shape[1]], sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)
