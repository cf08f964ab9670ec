"""How much runs scatter, for each of many configurations that were repeated only a few times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIN_FAMILY = 5
"""Repeated configurations from which on something is learnt from one about another."""

MIN_OWN = 2
"""Degrees of freedom from which on a configuration's own repeats are believed without a family."""

_FLOOR = 1e-5
"""Least variance, as a share of what is usual in the family: repeats that agree to the last digit prove nothing."""


@dataclass(frozen=True)
class Scatter:
    """Variance of single runs, and the degrees of freedom it was estimated with.

    Attributes:
        variance: Of the logarithm of a run's latency.
        degrees_of_freedom: Of the variance, those borrowed from other configurations included.
        borrowed: Whether none of them is of the configuration itself.
    """

    variance: float
    degrees_of_freedom: float
    borrowed: bool


def moderated_scatter(variances: Sequence[float], degrees_of_freedom: Sequence[float]) -> list[Scatter | None]:
    """Estimate the variance of each member of a family from its own repeats and those of the others.

    The empirical Bayes estimate of Smyth ("Linear models and empirical Bayes methods", Statistical Applications in
    Genetics and Molecular Biology 3, 2004, section 6.2; in R: limma's squeezeVar): variances of a family scatter about
    a common one, and how much they do beyond chance decides how much a member borrows. Where all configurations are
    equally noisy, few repeats of each are as good as many; where one is noisier, it keeps its own variance.

    With fewer than five repeated members nothing is borrowed that would make a variance smaller: a member keeps its own
    from two degrees of freedom on, else it takes the largest of the family.

    Args:
        variances: Shape (n,): sample variance of each member; ignored where its degrees of freedom are 0.
        degrees_of_freedom: Shape (n,): repeats behind it.

    Returns:
        One for each member; None for all of them where nothing was ever repeated.
    """
    own, freedom = np.asarray(variances, dtype=np.float64), np.asarray(degrees_of_freedom, dtype=np.float64)
    repeated = freedom > 0
    if not repeated.any():
        return [None] * own.size
    if int(repeated.sum()) < MIN_FAMILY:
        return _without_family(own, freedom)
    known, known_freedom = own[repeated], freedom[repeated]
    floor = _FLOOR * max(float(np.median(known)), float(known.mean()))
    common, prior = _prior(np.maximum(known, floor), known_freedom)
    total = float(known_freedom.sum())
    found: list[Scatter | None] = []
    for variance, count in zip(own, freedom, strict=True):
        if count <= 0:
            found.append(Scatter(common, min(prior, total), borrowed=True))
        elif np.isinf(prior):
            found.append(Scatter(common, total, borrowed=False))
        else:
            mixed = (prior * common + count * max(float(variance), floor)) / (prior + count)
            found.append(Scatter(mixed, min(prior + float(count), total), borrowed=False))
    return found


def _without_family(own: NDArray[np.float64], freedom: NDArray[np.float64]) -> list[Scatter | None]:
    candidates = [at for at in range(own.size) if freedom[at] > 0]
    noisiest = max(candidates, key=lambda at: own[at])
    found: list[Scatter | None] = []
    for at in range(own.size):
        taken = at if freedom[at] >= MIN_OWN else noisiest
        found.append(Scatter(float(own[taken]), float(freedom[taken]), borrowed=taken != at))
    return found


def _prior(variances: NDArray[np.float64], freedom: NDArray[np.float64]) -> tuple[float, float]:
    """Common variance and its degrees of freedom, by the moments of the log variances; infinite where they agree."""
    from scipy.special import digamma, polygamma  # imported late: half of the cost of a cold start would be scipy

    if not variances.any():
        return 0.0, float("inf")
    logs = np.log(variances) - digamma(freedom / 2) + np.log(freedom / 2)
    centre = float(logs.mean())
    excess = float(logs.var(ddof=1) - polygamma(1, freedom / 2).mean())
    if excess <= 0:
        return float(np.average(variances, weights=freedom)), float("inf")
    prior = 2 * _inverse_trigamma(excess)
    return float(np.exp(centre + digamma(prior / 2) - np.log(prior / 2))), prior


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value for x > 0 by Newton's method, as in the appendix of Smyth (2004)."""
    from scipy.special import polygamma

    at = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, at))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, at))
        at += step
        if -step / at < 1e-8:  # noqa: PLR2004 - digits that no count of repeats needs
            break
    return at
