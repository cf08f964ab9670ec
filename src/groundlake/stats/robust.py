"""The typical value of samples with a few outliers, and how well it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLIP = 2.0
"""Standard deviations from which on a sample pulls no harder. At 2 the estimate needs 1 % more normal samples than the
mean does, the median 57 % more."""

ROUNDS = 30
_MAD_TO_STD = 1.482602218505602
_SETTLED = 1e-10
"""Change, in standard deviations, below which another round adds nothing."""


@dataclass(frozen=True)
class Typical:
    """Location of the logarithms of samples.

    Attributes:
        log_value: Natural logarithm of the typical value, shape (...,).
        variance: Of that estimate, from the spread of the samples, shape (...,); NaN with one sample.
        samples: Number of samples.
    """

    log_value: NDArray[np.float64]
    variance: NDArray[np.float64]
    samples: int


def typical(samples: Sequence[float] | NDArray[np.float64]) -> Typical:
    """Estimate the typical value of positive samples as Huber's M-estimate of location of their logarithms.

    Samples far out count as if they lay two standard deviations away (Huber, Annals of Mathematical Statistics 35,
    1964), the standard deviation being the median absolute deviation, scaled. So a pass that another process disturbed
    moves the estimate a little and its spread hardly. On logarithms a change is a factor, whichever side is the first.

    Args:
        samples: Shape (..., n), n >= 1, positive; each row is estimated for itself.

    Raises:
        UsageError: No sample, or one that is not positive and finite.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim == 0 or not values.shape[-1] or not (np.isfinite(values).all() and (values > 0).all()):
        raise UsageError("typical: needs at least one sample, and all of them positive and finite")
    logs = np.log(values)
    count = logs.shape[-1]
    location = np.median(logs, axis=-1)
    spread = np.median(np.abs(logs - location[..., None]), axis=-1) * _MAD_TO_STD
    # More than half of the samples are equal (a coarse clock): the standard deviation, so that the others count.
    spread = np.where(spread > 0, spread, logs.std(axis=-1))
    scale = np.where(spread > 0, spread, 1.0)
    for _ in range(ROUNDS):
        pull = np.clip((logs - location[..., None]) / scale[..., None], -CLIP, CLIP)
        step = pull.mean(axis=-1)
        location = location + step * scale
        if np.abs(step).max() < _SETTLED:
            break
    distance = (logs - location[..., None]) / scale[..., None]
    pull = np.clip(distance, -CLIP, CLIP)
    inside = (np.abs(distance) <= CLIP).mean(axis=-1)
    squares = (pull**2).sum(axis=-1) / max(count - 1, 1)
    variance = scale**2 * squares / inside**2 / count if count > 1 else np.full(location.shape, np.nan)
    return Typical(log_value=location, variance=variance, samples=count)
