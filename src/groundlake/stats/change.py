"""What a change is beside its noise: its interval, how unlikely it is by chance, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from groundlake.stats.intervals import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

REGRESSED, IMPROVED, UNCHANGED = "regressed", "improved", "unchanged"
INSUFFICIENT, NOT_COMPARABLE = "insufficient data", "not comparable"

SIGNIFICANCE = 0.01
"""Chance of a false regression or improvement that is accepted, over all configurations of a comparison together."""

THRESHOLD = 0.01
"""Smallest change that matters, as a share, unless the user says otherwise."""

NOISE_CEILING = 1.5
"""Factor that no noise between runs explained so far. The largest seen between two of one configuration with nothing
changed was 1.40 (a Jetson AGX Orin, 84 minutes apart). Only beyond it is a change called one without any repeats."""


@dataclass(frozen=True)
class Change:
    """A change between two sides, on the scale of natural logarithms.

    Attributes:
        log_change: ln(b / a); above 0 where b is larger.
        variance: Of that estimate; None where nothing is known of it.
        degrees_of_freedom: Of the variance; infinite where it is given and not estimated.
    """

    log_change: float
    variance: float | None
    degrees_of_freedom: float

    @property
    def percent(self) -> float:
        """The change in percent of a."""
        return as_percent(self.log_change)

    def log_interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Ends of Student's interval of the change, as logarithms."""
        if self.variance is None:
            return None
        half = _quantile(self.degrees_of_freedom, confidence) * math.sqrt(self.variance) if self.variance > 0 else 0.0
        return self.log_change - half, self.log_change + half

    def p_value(self) -> float | None:
        """Two-sided chance of a change at least this large by noise alone (Student's t)."""
        from scipy.special import ndtr, stdtr  # imported late: half of the cost of a cold start would be scipy

        if self.variance is None:
            return None
        if self.variance <= 0:
            return 0.0 if self.log_change else 1.0
        distance = abs(self.log_change) / math.sqrt(self.variance)
        lower = ndtr(-distance) if math.isinf(self.degrees_of_freedom) else stdtr(self.degrees_of_freedom, -distance)
        return float(2 * lower)


def _quantile(degrees_of_freedom: float, confidence: float) -> float:
    from scipy.special import ndtri, stdtrit

    upper = 1 - (1 - confidence) / 2
    return float(ndtri(upper) if math.isinf(degrees_of_freedom) else stdtrit(degrees_of_freedom, upper))


def as_percent(log_change: float) -> float:
    """Turn ln(b / a) into the change in percent of a."""
    return 100 * math.expm1(log_change)


def combined(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Variance of a sum or difference of independent estimates, and its degrees of freedom.

    By Satterthwaite (Biometrics Bulletin 2, 1946), as in Welch's test.

    Args:
        parts: Variance and degrees of freedom of each.
    """
    variance = sum(each for each, _ in parts)
    below = sum(each**2 / freedom for each, freedom in parts if not math.isinf(freedom))
    return variance, variance**2 / below if below > 0 else math.inf


def adjusted(p_values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """Adjust p values of many comparisons made at once (Benjamini and Hochberg, J. R. Statist. Soc. B 57, 1995).

    Calling what is at most q keeps the expected share of false ones among those called below q; where nothing changed
    at all, so does the chance that anything is called. One p value stays as it is.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)[::-1]
    scaled = values[order] * values.size / np.arange(values.size, 0, -1)
    found = np.empty_like(values)
    found[order] = np.minimum(1.0, np.minimum.accumulate(scaled))
    return [float(each) for each in found]


def decide(change: Change, p_value: float | None, *, threshold: float = THRESHOLD) -> str:
    """Say what a change is, where the noise between runs is known.

    Regressed or improved: the change is at least the threshold, and noise explains it with a chance of at most 1 %.
    Unchanged: its whole 95 % interval lies within the threshold, which is the test of equivalence of Schuirmann
    (Journal of Pharmacokinetics and Biopharmaceutics 15, 1987) at 2.5 % a side. Else there is too little data.

    Args:
        change: The change; below 0 is quicker, or less energy.
        p_value: Its p value, adjusted where several configurations are compared; None where it is not known.
        threshold: Smallest change that matters, as a share: 0.01 stands for the factors 1.01 and 1 / 1.01, so that the
            verdict is mirrored when the sides are swapped.
    """
    least = math.log1p(threshold)
    interval = change.log_interval()
    if interval is None or p_value is None:
        return INSUFFICIENT
    if abs(change.log_change) >= least and p_value <= SIGNIFICANCE:
        return REGRESSED if change.log_change > 0 else IMPROVED
    if -least < interval[0] and interval[1] < least:
        return UNCHANGED
    return INSUFFICIENT


def decide_blind(change: Change, rank_p_value: float | None) -> str:
    """Say what a change is where the noise between runs is not known: only a very large one is called.

    Args:
        change: The change, with the noise within the runs if that is known.
        rank_p_value: Of the raw samples, where both sides have them.
    """
    low, high = change.log_interval() or (change.log_change, change.log_change)
    if rank_p_value is not None and rank_p_value > SIGNIFICANCE:
        return INSUFFICIENT
    if low > math.log(NOISE_CEILING):
        return REGRESSED
    return IMPROVED if high < -math.log(NOISE_CEILING) else INSUFFICIENT
