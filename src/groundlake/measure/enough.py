"""When the timed passes of a phase may stop: at a fixed number, or as soon as their mean is known well enough."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from groundlake.stats.intervals import relative_half_width

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_PASSES = 10
"""Fewer tell too little of their own scatter to be believed."""

PASSES_BETWEEN_LOOKS = 5
"""A look takes some microseconds between two passes; it is not taken after each."""


def never(samples: Sequence[float]) -> bool:  # noqa: ARG001 - a rule like the others
    """Stop at the fixed number only."""
    return False


class SettledMean:
    """Stop when half the 95 % interval of the mean is at most a share of it, or the time is up.

    Looking again and again finds a narrow interval a little too early now and then (a sequential test without a
    correction); looks are therefore rare, and begin at ten passes.

    Args:
        target: Half the interval over the mean, for example 0.01.
        limit_s: Time after which to stop in any case, warm-up included, once there are ten passes.
    """

    def __init__(self, target: float, limit_s: float) -> None:
        self._target = target
        self._limit_s = limit_s
        self._start_s = monotonic()

    def __call__(self, samples: Sequence[float]) -> bool:
        """Say whether the samples of a phase so far are enough."""
        if len(samples) < LEAST_PASSES or len(samples) % PASSES_BETWEEN_LOOKS:
            return False
        if monotonic() - self._start_s > self._limit_s:
            return True
        width = relative_half_width(samples)
        return width is not None and width <= self._target
