"""What is odd about a group, so that a verdict is not believed too soon. Each flag is `code: text`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from groundlake.schemas.transition_analysis import ALL_BINS
from groundlake.transition.analysis.tables import NOT_KNOWN, REFUTED, STATES, VERIFIED
from groundlake.transition.analysis.verdict import BASELINE, JUDGED, ROUNDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from groundlake.transition.analysis.tables import Group
    from groundlake.transition.analysis.verdict import Change
    from groundlake.transition.configuration.settings import AnalysisSettings

FEW: Final = 10
"""Examples below which intervals of the percentile bootstrap are clearly too narrow."""
UNEVEN: Final = 2
"""So many times the examples of the smallest bin in the largest: the mean over all is mostly about that one."""
WHOLE: Final = 1.0


def flags(group: Group, changes: Sequence[Change], settings: AnalysisSettings) -> list[str]:
    """Return what is odd, in a fixed order; empty where nothing is."""
    threshold, significant = settings.drop_threshold, settings.significance == "interval"
    return [
        *_rises(group, changes, settings.confidence),
        *_short_failures(group, changes),
        *_low_baseline(group, threshold),
        *_no_effect(group),
        *_single_bins(group, changes, threshold, significant=significant),
        *_few(group),
        *_gaps(group),
    ]


def _rises(group: Group, changes: Sequence[Change], confidence: float) -> Iterator[str]:
    """Less cache cannot know more: a rise beyond chance is about the metric, the task, or what was really asked.

    Of single bins it is said where the whole does not rise, as of those that fall. There are many of them, of which
    some rise by chance: a rise of one has to be that much less likely.
    """
    rising = [each for each in changes if each.subject == "accuracy" and (each.figures.lower or 0.0) > 0]
    whole = [each for each in rising if each.bin_index == ALL_BINS]
    looks = (len(group.bin_indices) - 1) * len(group.pairs())
    for each in whole or rising:
        if whole or _chance(group, each) <= (1 - confidence) / 2 / looks:
            where = "" if each.bin_index == ALL_BINS else f"in bin {each.bin_index} "
            yield (
                f"scores_rise: accuracy rises by {_interval(each)} {where}{_between(group, each)}: "
                f"{_causes(group.states[each.after])}"
            )


def _chance(group: Group, change: Change) -> float:
    """Return how likely so many examples rise if each that changes rises as likely as it falls: the sign test."""
    both = group.values[change.subject][group.members(change.bin_index)][:, [change.before, change.after]]
    changes = both[:, 1] - both[:, 0]
    rises, falls = int((changes > ROUNDING).sum()), int((changes < -ROUNDING).sum())
    ways = total = 1
    for number in range(1, falls + 1):
        ways = ways * (rises + falls - number + 1) // number
        total += ways
    return float(total / (1 << (rises + falls)))


def _causes(state: str) -> str:
    """Name what may be behind a rise; a budget that was read back from the cache was applied."""
    if state == REFUTED:
        return "the budget was not applied, as read back"
    doubt = "" if state == VERIFIED else ", the budget may not be applied"
    return f"metric and task may not match{doubt}, or the prompts may give the answer away"


def _short_failures(group: Group, changes: Sequence[Change]) -> Iterator[str]:
    """Short prompts fit whatever the budget is: new failures there come from elsewhere. One bin has long ones, too."""
    shortest = int(group.bins.min())
    if shortest == group.bins.max():
        return
    for each in changes:
        if each.subject != "failure_rate" or each.bin_index != shortest or BASELINE not in each.comparisons:
            continue
        rates = group.values["failure_rate"][group.members(shortest)]
        more = int((rates[:, each.after] > rates[:, each.before]).sum())
        if more:
            yield (
                f"short_context_failures: {more} of {each.figures.examples} examples of the shortest bin ({shortest}) "
                f"fail more often {_between(group, each)}: engine or task, rather than the budget"
            )


def _low_baseline(group: Group, threshold: float) -> Iterator[str]:
    if group.budgets[0] < WHOLE:
        yield f"baseline_compressed: the largest budget is {group.budgets[0]:g}; the whole cache was not asked"
    known = group.values[JUDGED][:, 0]
    mean = float(np.nanmean(known)) if not np.isnan(known).all() else None
    if mean is not None and mean < threshold:
        yield (
            f"baseline_low: accuracy is {mean:.3f} at budget {group.budgets[0]:g}, so no drop of {threshold:g} can be "
            "seen: model, prompt or metric do not suit the task"
        )


def _no_effect(group: Group) -> Iterator[str]:
    if len(group.budgets) == 1:
        yield "one_budget: there is nothing to compare"
        return
    table = group.values[JUDGED]
    if len(table) > 1 and bool((table == table[:, :1]).all()):
        yield f"no_effect: every example scores the same at all budgets: {_without_effect(group)}"


def _without_effect(group: Group) -> str:
    """Say why budgets may change nothing; those that were read back from the cache were applied."""
    states = list(zip(group.budgets, group.states, strict=True))
    named = {state: ", ".join(f"{budget:g}" for budget, told in states if told == state) for state in STATES}
    if named[REFUTED]:
        return f"budget {named[REFUTED]} was not applied, as read back"
    if named[NOT_KNOWN]:
        return f"the budget may not be applied, as nothing shows it of {named[NOT_KNOWN]}"
    return "all were applied, as read back, so the task may not need what is thrown away"


def _single_bins(group: Group, changes: Sequence[Change], threshold: float, *, significant: bool) -> Iterator[str]:
    """A collapse of a single bin can be too small a part of the mean over all."""
    against = [each for each in changes if each.subject == JUDGED and BASELINE in each.comparisons]
    if any(each.bin_index == ALL_BINS and each.is_drop(threshold, significant=significant) for each in against):
        return
    for each in sorted(against, key=lambda change: (change.bin_index, change.after)):
        if each.bin_index != ALL_BINS and each.is_drop(threshold, significant=significant):
            lost = _interval(each, sign=-1)
            yield f"bin_falls: bin {each.bin_index} loses {lost} {_between(group, each)}, the whole less"


def _few(group: Group) -> Iterator[str]:
    count = len(group.examples)
    if count < FEW:
        yield f"few_examples: there are {count}: intervals of so few are too narrow"
    _, sizes = np.unique(group.bins, return_counts=True)
    if sizes.max() > UNEVEN * sizes.min():
        yield (
            f"uneven_bins: bins have {sizes.min()} to {sizes.max()} examples: in means over all bins, those with more "
            "weigh more"
        )


def _gaps(group: Group) -> Iterator[str]:
    complete = int((~np.isnan(group.values[JUDGED])).all(axis=1).sum())
    if complete < len(group.examples):
        yield (
            f"incomplete: {complete} of {len(group.examples)} examples have a score or a failure at every budget; "
            "means are over those that a budget has, changes over those that both have"
        )


def _between(group: Group, change: Change) -> str:
    return f"from budget {group.budgets[change.before]:g} to {group.budgets[change.after]:g}"


def _interval(change: Change, *, sign: int = 1) -> str:
    figures = change.figures
    mean = sign * (figures.mean or 0.0)
    if figures.lower is None or figures.upper is None:
        return f"{mean:.3f}"
    low, high = sorted((sign * figures.lower, sign * figures.upper))
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"
