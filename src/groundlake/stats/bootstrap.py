"""Percentile bootstrap of a statistic over clusters of observations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 20260207
"""Fixed, so that the same data gives the same interval."""

MOST_DRAWN = 4_000_000
"""Values that are drawn at once."""

MIN_CLUSTERS = 5
"""With fewer clusters, resampling them says little: observations are resampled then."""


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.float64],
    clusters: Sequence[str],
    statistic: Callable[..., NDArray[np.float64]] = np.median,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Interval of a statistic by the percentile method (Efron, Annals of Statistics 7, 1979), clusters drawn whole.

    Errors of one model under several batch sizes or precisions go together; drawing single observations would take them
    for independent and make the interval too narrow.

    Args:
        values: Shape (n,), n >= 1, finite.
        clusters: Shape (n,): the cluster of each value. With fewer than five, single values are drawn.
        statistic: What the interval is about, with a parameter `axis`: `np.median` (the default), `np.mean`.
        confidence: Level.
        resamples: Number of draws.

    Returns:
        Lower and upper end, in the unit of the values.

    Raises:
        UsageError: There are no values, or not as many clusters as values.
    """
    data = np.asarray(values, dtype=np.float64)
    if not data.size or data.size != len(clusters):
        raise UsageError(f"bootstrap: needs a cluster for each of at least one value, got {data.size}, {len(clusters)}")
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    random = np.random.default_rng(SEED)
    if names.size < MIN_CLUSTERS:
        drawn = _of_values(data, statistic, resamples, random)
    else:
        groups = [data[member == number] for number in range(names.size)]
        draws = random.integers(0, len(groups), size=(resamples, len(groups)))
        drawn = [float(statistic(np.concatenate([groups[number] for number in draw]), axis=0)) for draw in draws]
    lower, upper = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(lower), float(upper)


def _of_values(
    data: NDArray[np.float64],
    statistic: Callable[..., NDArray[np.float64]],
    resamples: int,
    random: np.random.Generator,
) -> list[float]:
    """The statistic of single values drawn with replacement, in blocks that fit into memory."""
    rows = max(1, min(resamples, MOST_DRAWN // data.size))
    found: list[float] = []
    while len(found) < resamples:
        draws = random.integers(0, data.size, size=(min(rows, resamples - len(found)), data.size))
        found += statistic(data[draws], axis=1).tolist()
    return found
