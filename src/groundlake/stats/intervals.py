"""Summary statistics of repeated observations, with a confidence interval of their mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
"""Level of every interval that groundlake computes."""


class Summary(TypedDict):
    """Statistics in the unit of the samples; the keys are the fields of `LatencyStats` and `EfficiencyStats`."""

    mean: float
    std: float
    min: float
    max: float
    ci_lower: float
    ci_upper: float
    samples: int


def summarize(samples: Sequence[float]) -> Summary:
    """Describe repeated observations of one quantity.

    The interval is the one of Student's t for the mean, `mean -/+ t(1 - (1 - c) / 2, n - 1) * std / sqrt(n)`
    (Student, "The probable error of a mean", Biometrika 6, 1908). It is not cut off at zero.

    Args:
        samples: Shape (n,), n >= 1, in any unit; all finite.

    Returns:
        Mean, sample standard deviation (n - 1), extremes, 95 % interval and n. One observation says nothing about
        its spread: then std is 0 and both ends of the interval are the mean.

    Raises:
        UsageError: No sample was given, or one is not finite.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise UsageError(f"summarize: needs at least one sample in one dimension, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise UsageError(f"summarize: sample {int(np.argmin(np.isfinite(values)))} is not finite")
    count = int(values.size)
    mean = float(values.mean())
    std = float(values.std(ddof=1)) if count > 1 else 0.0
    half = student_quantile(count - 1) * std / math.sqrt(count) if count > 1 else 0.0
    return Summary(
        mean=mean,
        std=std,
        min=float(values.min()),
        max=float(values.max()),
        ci_lower=mean - half,
        ci_upper=mean + half,
        samples=count,
    )


def relative_half_width(samples: Sequence[float]) -> float | None:
    """Half the 95 % interval of the mean, as a share of the mean; None where there is no mean above zero to relate to.

    One sample has no interval: None.
    """
    if len(samples) < 2:  # noqa: PLR2004 - a spread needs two
        return None
    summary = summarize(samples)
    half = (summary["ci_upper"] - summary["ci_lower"]) / 2
    return half / summary["mean"] if summary["mean"] > 0 else None


def student_quantile(degrees_of_freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return the two-sided quantile of Student's t, for example 2.0096 at 49 degrees of freedom and 95 %."""
    from scipy.special import stdtrit  # imported late: half of the cost of a cold start would be scipy

    return float(stdtrit(degrees_of_freedom, 1.0 - (1.0 - confidence) / 2.0))
