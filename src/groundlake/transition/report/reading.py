"""How figures of a group are read: names of budgets and bins, and up to which length a budget holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from groundlake.transition.analysis.verdict import ROUNDING
from groundlake.transition.report.facts import ACCURACY_ALL, BASELINE
from groundlake.transition.report.markup import UNKNOWN, between, counted, joined, number, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.transition.report.facts import Budget, Content, Delta, Verdict

EMPTY: Final = "no examples"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """At which lengths a budget holds against the largest one, as indices of bins, short ones first.

    Attributes:
        budget: Which.
        holding: Where less than the threshold is lost.
        failing: Where the threshold is lost, beyond chance if that is asked for.
        undecided: Where nothing is shown either way: the threshold is lost, but not beyond chance, or nothing could be
            compared.
    """

    budget: float
    holding: tuple[int, ...]
    failing: tuple[int, ...]
    undecided: tuple[int, ...]


def bin_name(content: Content, bin_index: int) -> str:
    """Name a bin with its lengths: bin 2 (512 to 1,023 tokens)."""
    return f"bin {bin_index} ({lengths(content, bin_index)})"


def lengths(content: Content, bin_index: int, unit: str = " tokens") -> str:
    """Name the lengths of a bin, in tokens; shorter without a unit."""
    found = next(each for each in content.bins if each.bin_index == bin_index)
    if found.tokens_from is None or found.tokens_to is None:
        return EMPTY
    if found.tokens_from == found.tokens_to:
        return f"{found.tokens_from:,}{unit}"
    return f"{found.tokens_from:,}{' to ' if unit else '-'}{found.tokens_to:,}{unit}"


def with_interval(value: float | None, lower: float | None, upper: float | None) -> str:
    """Write a figure with its interval."""
    return UNKNOWN if value is None else f"{number(value)} {between(lower, upper)}"


def mean_of(content: Content, budget: Budget, subject: str, bin_index: int = -1) -> str:
    """Write a mean with its interval."""
    found = content.interval(budget, subject, bin_index)
    return UNKNOWN if found is None else with_interval(found.mean, found.ci_lower, found.ci_upper)


def largest_fall(content: Content, verdict: Verdict) -> Delta | None:
    """Return the change that a verdict is about: the drop that was found, else the largest that was seen."""
    if verdict.drop_from_budget is None or verdict.drop_to_budget is None:
        return None
    return content.delta(verdict.comparison, (verdict.drop_from_budget, verdict.drop_to_budget), ACCURACY_ALL)


def unfound(verdict: Verdict) -> str:
    """Say what a rule saw that found no transition, and why that is none: in the report and on the terminal."""
    if verdict.drop is None:
        return "nothing could be compared: no example has an outcome at two budgets"
    where = f"from budget {verdict.drop_from_budget:g} to {verdict.drop_to_budget:g}"
    if abs(verdict.drop) <= ROUNDING:
        return "nothing is lost"
    if verdict.drop < 0:
        return f"nothing is lost: the least gain is {signed(-verdict.drop)}, {where}"
    seen = with_interval(verdict.drop, verdict.drop_ci_lower, verdict.drop_ci_upper)
    return f"the largest drop seen is {seen}, {where}: {_why_not(verdict)}"


def _why_not(verdict: Verdict) -> str:
    threshold = number(verdict.drop_threshold, 2)
    if (verdict.drop or 0.0) < verdict.drop_threshold - ROUNDING:
        return f"below the threshold of {threshold}"
    return f"the threshold of {threshold} is reached, but the interval does not exclude 0; more examples would tell"


def holds(delta: Delta, threshold: float) -> bool:
    """Whether less than the threshold is lost. Where it is lost, but not beyond chance, nothing is shown to hold."""
    return delta.change is not None and delta.change > ROUNDING - threshold


def is_fall(content: Content, delta: Delta, threshold: float) -> bool:
    """Whether a change is a drop at or above the threshold, its interval below zero if that is asked for."""
    if delta.change is None or holds(delta, threshold):
        return False
    return content.significance != "interval" or (delta.ci_upper is not None and delta.ci_upper < 0)


def reaches(content: Content) -> list[Reach]:
    """Return at which lengths each smaller budget holds against the largest one, largest first."""
    verdict = content.verdict(BASELINE)
    found = []
    for budget in content.budgets[1:]:
        inside = [
            each
            for each in content.deltas
            if (each.comparison, each.subject, each.to_budget) == (BASELINE, ACCURACY_ALL, budget.budget)
            and each.bin_index >= 0
        ]
        if verdict is None or all(each.change is None for each in inside):
            continue
        indices = sorted(each.bin_index for each in inside)
        threshold = verdict.drop_threshold
        holding = {each.bin_index for each in inside if holds(each, threshold)}
        failing = {each.bin_index for each in inside if is_fall(content, each, threshold)}
        found.append(
            Reach(
                budget=budget.budget,
                holding=tuple(each for each in indices if each in holding),
                failing=tuple(each for each in indices if each in failing),
                undecided=tuple(each for each in indices if each not in holding | failing),
            )
        )
    return found


def bin_names(content: Content, bin_indices: Sequence[int]) -> str:
    """Name bins with their lengths, neighbours together: bin 0 (100 tokens) and bins 2 to 4 (300 to 900 tokens)."""
    filled = [each for each in content.bin_indices if lengths(content, each) != EMPTY]
    groups: list[list[int]] = []
    for each in bin_indices:
        if groups and each in filled and filled.index(each) == filled.index(groups[-1][-1]) + 1:
            groups[-1].append(each)
        else:
            groups.append([each])
    return joined([_span(content, group[0], group[-1]) for group in groups])


def _span(content: Content, first: int, last: int) -> str:
    if first == last:
        return bin_name(content, first)
    least, most = (next(each for each in content.bins if each.bin_index == index) for index in (first, last))
    return f"bins {first} to {last} ({least.tokens_from:,} to {most.tokens_to:,} tokens)"


def budget_names(budgets: tuple[Budget, ...] | list[Budget]) -> list[str]:
    """Name budgets by their numbers."""
    return [f"{each.budget:g}" for each in budgets]


def requests_of(number_of: int) -> str:
    """Name a number of requests."""
    return counted(number_of, "request")
