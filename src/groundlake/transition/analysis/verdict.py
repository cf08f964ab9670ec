"""Whether quality collapses between two budgets, by which rule, in which bin, and how much of it failures explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from groundlake.schemas.transition_analysis import ALL_BINS, COMPARISONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from groundlake.transition.analysis.resampling import Resampled

ADJACENT, BASELINE = COMPARISONS
JUDGED: Final = "accuracy_all"
"""A drop is one of accuracy with failures as 0: whoever asks gets no answer, whatever the reason."""
ROUNDING: Final = 1e-9
"""0.80 less 0.65 is a drop of 0.15, although their difference in binary is less."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """How a mean changes from a larger to a smaller budget, over the examples that both have.

    Attributes:
        before: Place of the larger budget.
        after: Place of the smaller one.
        bin_index: Bin; -1 over all.
        subject: What changes.
        from_mean: Mean before; None where the budgets have no example in common.
        to_mean: Mean after.
        figures: Change, interval, and the share of draws in which it is below 0.
    """

    before: int
    after: int
    bin_index: int
    subject: str
    from_mean: float | None
    to_mean: float | None
    figures: Resampled

    @property
    def comparisons(self) -> list[str]:
        """Rules that look at it: the first smaller budget is compared with its neighbour, which is the largest."""
        looks = {ADJACENT: self.before == self.after - 1, BASELINE: self.before == 0}
        return [name for name in COMPARISONS if looks[name]]

    @property
    def drop(self) -> float | None:
        """What is lost; None where the budgets have no example in common."""
        return None if self.figures.mean is None else 0.0 - self.figures.mean

    def is_drop(self, threshold: float, *, significant: bool) -> bool:
        """Whether it is a loss at or above the threshold, its interval below zero if that is asked for.

        One example has no interval, so its drop is never significant.
        """
        if self.drop is None or self.drop < threshold - ROUNDING:
            return False
        return not significant or (self.figures.upper is not None and self.figures.upper < 0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one rule says about a group.

    Attributes:
        comparison: The rule. `adjacent` looks for the first budget that loses the threshold against the next larger
            one; `baseline` for the first that loses it against the largest, which finds a slope of small steps.
        found: The drop; None where there is none.
        largest: The largest loss that was seen, whatever it means; None where nothing could be compared.
        worst: The bin that loses most between the two budgets; None where none was found.
        failure_share: Share of the drop that failures explain; None where nothing was lost.
    """

    comparison: str
    found: Change | None
    largest: Change | None
    worst: Change | None
    failure_share: float | None


def judge(changes: Sequence[Change], threshold: float, *, significant: bool) -> list[Verdict]:
    """Return the verdict of each rule."""
    return [_judged(comparison, changes, threshold, significant=significant) for comparison in COMPARISONS]


def _judged(comparison: str, changes: Sequence[Change], threshold: float, *, significant: bool) -> Verdict:
    looked_at = [each for each in changes if comparison in each.comparisons]
    judged = [each for each in looked_at if each.subject == JUDGED]
    overall = sorted((each for each in judged if each.bin_index == ALL_BINS), key=lambda each: each.after)
    found = next((each for each in overall if each.is_drop(threshold, significant=significant)), None)
    largest = found or _most(overall)
    inside = [each for each in judged if found and each.bin_index != ALL_BINS and _same(each, found)]
    return Verdict(
        comparison=comparison,
        found=found,
        largest=largest,
        worst=_most(inside),
        failure_share=_failure_share(largest, looked_at) if largest else None,
    )


def _most(changes: Iterable[Change]) -> Change | None:
    """Return the largest loss; of equal ones the first."""
    told = [each for each in changes if each.drop is not None]
    return max(told, key=lambda each: each.drop or 0.0, default=None)


def _same(one: Change, other: Change) -> bool:
    return (one.before, one.after) == (other.before, other.after)


def _failure_share(lost: Change, changes: Iterable[Change]) -> float | None:
    """Return `(drop of accuracy_all - drop of accuracy) / drop of accuracy_all`.

    It may lie outside 0 to 1: below 0 where fewer requests fail at the smaller budget; above 1 where those that are
    answered are answered better. Where no example is answered at both budgets, failures are all that is left.
    """
    if lost.drop is None or lost.drop <= ROUNDING:
        return None
    answered = next(
        each for each in changes if _same(each, lost) and each.bin_index == ALL_BINS and each.subject == "accuracy"
    )
    return 1.0 if answered.drop is None else (lost.drop - answered.drop) / lost.drop
