"""Percentile bootstrap of a statistic over clusters of observations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

RESAMPLES = 2000
SEED = 20260207
"""Fixed, so that the same data gives the same interval."""

MIN_CLUSTERS = 5
"""With fewer clusters, resampling them says little: observations are resampled then."""


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.float64],
    clusters: Sequence[str],
    statistic: Callable[[NDArray[np.float64]], float] = lambda drawn: float(np.median(drawn)),
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
        statistic: What the interval is about; the median by default.
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
    groups = [data[member == number] for number in range(names.size)]
    if len(groups) < MIN_CLUSTERS:
        groups = [data[number : number + 1] for number in range(data.size)]
    random = np.random.default_rng(SEED)
    draws = random.integers(0, len(groups), size=(resamples, len(groups)))
    drawn = [statistic(np.concatenate([groups[number] for number in draw])) for draw in draws]
    lower, upper = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(lower), float(upper)
