"""The rank test of Mann and Whitney: do samples of one side tend to be larger than those of the other?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EXACT_UP_TO = (8, 100)
"""Where the sides have at most this many samples and there are no ties, the distribution of U is counted out."""


@dataclass(frozen=True)
class RankTest:
    """What the test found.

    Attributes:
        u: Pairs in which the sample of `a` is the larger one, ties counted half.
        p_value: Two-sided: chance of a U at least as far from its mean, if both sides have the same distribution.
        larger_share: Share of all pairs in which the sample of `b` is the larger one; 0.5 where neither is.
    """

    u: float
    p_value: float
    larger_share: float


def mann_whitney(a: Sequence[float] | NDArray[np.float64], b: Sequence[float] | NDArray[np.float64]) -> RankTest:
    """Compare two sets of samples by their ranks (Mann and Whitney, Annals of Mathematical Statistics 18, 1947).

    Counted out exactly for few samples without ties; else by the normal approximation with corrections for continuity
    and ties (Hollander, Wolfe and Chicken, "Nonparametric statistical methods", 3rd edition, section 4.1). It takes
    all samples for independent, so samples of one run say nothing about another run.

    Args:
        a: Shape (n,), n >= 1, finite.
        b: Shape (m,), m >= 1, finite.

    Raises:
        UsageError: A side has no samples, or one is not finite.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    for side in (first, second):
        if side.ndim != 1 or not side.size or not np.isfinite(side).all():
            raise UsageError(f"mann_whitney: each side needs finite samples in one dimension, got shape {side.shape}")
    count_a, count_b = int(first.size), int(second.size)
    ranks, ties = _ranks(np.concatenate([first, second]))
    u = float(ranks[:count_a].sum()) - count_a * (count_a + 1) / 2
    pairs = count_a * count_b
    few, many = sorted((count_a, count_b))
    if not ties.size and few <= EXACT_UP_TO[0] and many <= EXACT_UP_TO[1]:
        p_value = _exact(u, count_a, count_b)
    else:
        p_value = _approximate(u, count_a, count_b, ties)
    return RankTest(u=u, p_value=p_value, larger_share=1 - u / pairs)


def _ranks(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ranks from 1, tied values sharing their mean rank, and the sizes of the groups of ties."""
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[position], counts[counts > 1]


def _exact(u: float, count_a: int, count_b: int) -> float:
    """Two-sided p value from the number of orders of the samples that give each U."""
    orders = np.zeros(count_a * count_b + 1)
    orders[0] = 1.0
    # The generating function of U is the Gaussian binomial: the product of (1 - q^(m+k)) / (1 - q^k).
    few, many = sorted((count_a, count_b))
    for k in range(1, few + 1):
        step = many + k
        orders[step:] -= orders[:-step].copy() if step < orders.size else 0
        for at in range(k, orders.size):
            orders[at] += orders[at - k]
    tail = int(min(u, count_a * count_b - u))
    return float(min(1.0, 2 * orders[: tail + 1].sum() / math.comb(count_a + count_b, count_a)))


def _approximate(u: float, count_a: int, count_b: int, ties: NDArray[np.int64]) -> float:
    """Two-sided p value by the normal approximation; 1 where every sample is the same."""
    from scipy.special import ndtr  # imported late: half of the cost of a cold start would be scipy

    total = count_a + count_b
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (total * (total - 1))
    variance = count_a * count_b / 12 * (total + 1 - tied)
    if variance <= 0:
        return 1.0
    distance = max(0.0, abs(u - count_a * count_b / 2) - 0.5)  # 0.5 corrects for continuity
    return float(min(1.0, 2 * ndtr(-distance / math.sqrt(variance))))
