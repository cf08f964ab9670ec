"""The answer in a few sentences: what changed and where, accuracy or failures, at which lengths, at what cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from groundlake.transition.analysis.verdict import ROUNDING
from groundlake.transition.report.facts import ACCURACY, ACCURACY_ALL, ADJACENT, BASELINE, FAILURE_RATE, LOG_LATENCY
from groundlake.transition.report.markup import (
    UNKNOWN,
    counted,
    joined,
    memory,
    number,
    percent,
    quantity,
    signed,
)
from groundlake.transition.report.reading import (
    bin_name,
    bin_names,
    budget_names,
    largest_fall,
    mean_of,
    reaches,
    unfound,
    with_interval,
)

if TYPE_CHECKING:
    from groundlake.transition.report.facts import Budget, Content, Delta, Verdict
    from groundlake.transition.report.reading import Reach

NOT_FOUND: Final = "No transition was found"
HARDLY, MOSTLY = 0.05, 0.95
"""Share of a drop that failures explain: up to here it is accuracy, from there on it is failures."""


def answer(content: Content) -> str:
    """Answer the questions that a report is for."""
    parts = {
        "What changed with the budget?": _changed(content),
        "Where is the transition zone?": _zone(content),
        "Accuracy or failures?": _cause(content),
        "At which lengths?": _where(content),
        "What does it cost or save?": _cost(content),
    }
    told = "\n".join(f"- **{question}** {text}" for question, text in parts.items())
    return f"**{headline(content)}**\n\n{told}"


def headline(content: Content) -> str:
    """Say the verdict in one sentence."""
    adjacent, baseline = (content.verdict(each) for each in (ADJACENT, BASELINE))
    if len(content.budgets) == 1:
        return f"{NOT_FOUND}: there is one budget, and nothing to compare it with."
    if adjacent is not None and adjacent.is_detected:
        before, after = _g(adjacent.from_budget), _g(adjacent.to_budget)
        return f"Quality collapses between budget {before} and {after}: it loses {_drop(adjacent)}."
    if baseline is not None and baseline.is_detected:
        small = adjacent is None or (adjacent.drop or 0.0) < baseline.drop_threshold - ROUNDING
        lost = f"{number(baseline.drop_threshold, 2)}{'' if small else ' beyond chance'}"
        return (
            f"Quality slides: no single step loses {lost}, but budget "
            f"{_g(baseline.to_budget)} loses {_drop(baseline)} against budget {_g(baseline.from_budget)}."
        )
    if not any(each.num_scored for each in content.budgets):
        return f"{NOT_FOUND}: no answer could be scored."
    return f"{NOT_FOUND}."


def _changed(content: Content) -> str:
    largest = content.budgets[0]
    if not any(each.num_answered + each.num_failed for each in content.budgets):
        return "Nothing: no request was asked."
    first = f"Accuracy with failures as 0 is {mean_of(content, largest, ACCURACY_ALL)} at budget {largest.budget:g}"
    steps = []
    for budget in content.budgets[1:]:
        delta = content.delta(BASELINE, (largest.budget, budget.budget), ACCURACY_ALL)
        mean = content.interval(budget, ACCURACY_ALL)
        change = "" if delta is None or delta.change is None else f" ({_change(delta)})"
        steps.append(f"{number(mean.mean if mean else None)} at {budget.budget:g}{change}")
    scored = sum(each.num_scored for each in content.budgets)
    none = (
        ""
        if scored
        else " No request has an answer that could be scored, so every figure of quality is about failures."
    )
    return f"{first}{''.join(f'; {step}' for step in steps)}.{none}"


def _zone(content: Content) -> str:
    if len(content.budgets) == 1:
        return "One budget says nothing about a transition; name more in `kv.budgets`."
    alike = len(content.budgets) == 2  # noqa: PLR2004 - of two budgets, both rules compare the same
    told = [_rule(content, each, alike=alike) for each in content.verdicts[: 1 if alike else None]]
    lead = "" if any(each.is_detected for each in content.verdicts) else f"{NOT_FOUND}. "
    return lead + " ".join(told)


def _rule(content: Content, verdict: Verdict, *, alike: bool) -> str:
    """Say what one rule found, or the largest drop that it saw and why it does not count."""
    nearest = verdict.comparison == ADJACENT and not alike
    against = "the next larger budget" if nearest else f"budget {content.budgets[0].budget:g}"
    name = f"Against {against} ({'both rules' if alike else f'{verdict.comparison} rule'})"
    if verdict.is_detected:
        return (
            f"{name}, budget {_g(verdict.to_budget)} is the first that loses {number(verdict.drop_threshold, 2)} or "
            f"more: {_drop(verdict)}, from budget {_g(verdict.from_budget)}."
        )
    return f"{name}, {unfound(verdict)}."


def _cause(content: Content) -> str:
    """Say whether what is lost are answers or their quality."""
    found = sorted(content.verdicts, key=lambda each: (not each.is_detected, each.comparison != ADJACENT))
    verdict = next((each for each in found if each.drop is not None and each.drop > ROUNDING), None)
    if verdict is None or verdict.failure_share is None:
        return f"Nothing was lost that either could explain. {_failing(content)}"
    seen = largest_fall(content, verdict)
    if seen is None:  # pragma: no cover - a verdict is about a change
        return UNKNOWN
    pair = (seen.from_budget, seen.to_budget)
    answered = content.delta(verdict.comparison, pair, ACCURACY)
    rate = content.delta(verdict.comparison, pair, FAILURE_RATE)
    what = "the drop" if verdict.is_detected else "the largest drop seen"
    details = (
        f"of requests that were answered at both budgets, accuracy changes by {_change(answered)} "
        f"({counted(answered.num_examples if answered else 0, 'example')}); the failure rate goes from "
        f"{percent(rate.from_mean if rate else None)} to {percent(rate.to_mean if rate else None)}"
    )
    blame = f"{_blame(verdict.failure_share, what)}{_at_most(verdict, rate)}"
    return f"{blame}: {details} (budget {pair[0]:g} to {pair[1]:g})."


def _at_most(verdict: Verdict, rate: Delta | None) -> str:
    """Say what failures could explain at most: nobody knows what the answers that are missing would have been."""
    share, drop = verdict.failure_share, verdict.drop
    if share is None or not drop or rate is None or rate.change is None:
        return ""
    most = min(1.0, rate.change / drop)
    if most <= max(share, 0.0) + HARDLY:
        return ""
    return f" as far as answers are there to compare; {percent(most)} of it, were all that failed right"


def _blame(share: float, what: str) -> str:
    if share <= HARDLY:
        fewer = " (fewer requests fail at the smaller budget)" if share < -HARDLY else ""
        return (
            f"Accuracy: failures explain none of {what}{fewer}"
            if share <= ROUNDING
            else (f"Accuracy: failures explain {percent(share)} of {what}")
        )
    if share >= MOSTLY:
        more = " (what is answered is answered better)" if share > 1 + HARDLY else ""
        return f"Failures: they explain {'all' if share >= 1 - ROUNDING else percent(share)} of {what}{more}"
    return f"Both: failures explain {percent(share)} of {what}"


def _failing(content: Content) -> str:
    failing = [each for each in content.budgets if each.num_failed]
    if not failing:
        return "No request failed."
    rates = [f"{percent(content.bin(each).failure_rate)} at budget {each.budget:g}" for each in failing]
    return f"Failure rate: {joined(rates)}."


def _where(content: Content) -> str:
    """Name the bin that loses most, and the lengths at which each budget holds and fails."""
    told = []
    for verdict in content.verdicts:
        if verdict.is_detected and verdict.worst_bin is not None:
            pair = f"from budget {_g(verdict.from_budget)} to {_g(verdict.to_budget)}"
            lost = number(verdict.worst_bin_drop)
            told.append(f"{_capital(bin_name(content, verdict.worst_bin))} loses most {pair}: {lost}.")
    told = list(dict.fromkeys(told)) or ["No bin is named, as no transition was found."]
    if any(flag.startswith("baseline_low: ") for flag in content.flags):
        told.append("What holds cannot be said: the largest budget is too low for a drop to be seen.")
        return " ".join(told)
    told += _holding(content)
    alone = [flag.partition(": ")[2] for flag in content.flags if flag.startswith("bin_falls: ")]
    told += [f"{_capital(text)}." for text in alone]
    return " ".join(told)


def _holding(content: Content) -> list[str]:
    """Say at which lengths each budget holds, fails, or nobody knows, and what these words mean."""
    verdict, found = content.verdict(BASELINE), reaches(content)
    if verdict is None or not found:
        return []
    threshold = number(verdict.drop_threshold, 2)
    beyond = ", beyond chance" if content.significance == "interval" else ""
    told = [
        (
            f"Against budget {content.budgets[0].budget:g}, a budget holds where less than {threshold} is lost, and "
            f"fails where {threshold} or more is lost{beyond}."
        )
    ]
    for each in found:
        sorts = {"holds": each.holding, "fails": each.failing, "undecided": each.undecided}
        where = "; ".join(f"{word} at {_lengths(content, each, bins)}" for word, bins in sorts.items() if bins)
        told.append(f"Budget {each.budget:g}: {where}.")
    if any(each.undecided for each in found):
        told.append(
            f"Undecided: {threshold} or more is lost, but it may be chance, or nothing could be compared; more "
            "examples would tell."
        )
    return told


def _lengths(content: Content, reach: Reach, bins: tuple[int, ...]) -> str:
    everything = len(bins) == len(reach.holding) + len(reach.failing) + len(reach.undecided)
    return "all lengths" if everything else bin_names(content, bins)


def _cost(content: Content) -> str:
    """Say what the budgets take: time, memory, and the cache that is really kept."""
    largest, smallest = content.budgets[0], content.budgets[-1]
    asked = [content.budgets[0]] if len(content.budgets) == 1 else [largest, smallest]
    names = budget_names(asked)
    times = [quantity(each.latency_p50_ms, "ms") for each in asked]
    peaks = [memory(each.peak_memory_bytes) for each in asked]
    kept = [percent(each.kept_fraction_mean) for each in asked]
    latency = _pair("Median latency", times, names, largest.latency_p50_ms, smallest.latency_p50_ms)
    on_processor = {each.device for each in content.devices} == {"cpu"}
    whose = "Peak memory of the whole process" if on_processor else "Peak memory"
    peak = _pair(whose, peaks, names, largest.peak_memory_bytes, smallest.peak_memory_bytes)
    cache = _pair("Cache kept, read back", kept, names, None, None)
    return f"{latency}{_paired(content, largest, smallest)} {peak} {cache}{_of_others(largest, smallest)}"


def _paired(content: Content, largest: Budget, smallest: Budget) -> str:
    """Say how much longer or shorter the same examples take, and whether that is beyond chance."""
    delta = content.delta(BASELINE, (largest.budget, smallest.budget), LOG_LATENCY)
    if delta is None or delta.change is None:
        return ""
    shown = f" Paired by example: {_percent_more(delta.change)} %"
    if delta.ci_lower is None or delta.ci_upper is None:
        return f"{shown}, of one example, which may be chance."
    ends = f"[{_percent_more(delta.ci_lower)} %, {_percent_more(delta.ci_upper)} %]"
    chance = ", which may be chance" if delta.ci_lower <= 0 <= delta.ci_upper else ""
    return f"{shown} {ends}{chance}."


def _percent_more(log_ratio: float) -> str:
    return signed(100 * math.expm1(log_ratio), 1)


def _of_others(largest: Budget, smallest: Budget) -> str:
    """Say where times are of other requests: those that failed have none."""
    if largest.num_answered == smallest.num_answered:
        return ""
    return (
        f" These are of {counted(largest.num_answered, 'answer')} at budget {largest.budget:g} and of "
        f"{smallest.num_answered:,} at {smallest.budget:g}: what failed is left out, and may have been the slowest."
    )


def _pair(what: str, values: list[str], names: list[str], before: float | None, after: float | None) -> str:
    """Write a figure at the largest and at the smallest budget."""
    if all(value == UNKNOWN for value in values):
        return f"{what}: N/A, no answer tells it."
    shown = "; ".join(f"{value} at budget {name}" for value, name in zip(values, names, strict=True))
    if len(values) == 1 or not before or after is None:
        return f"{what}: {shown}."
    return f"{what}: {shown} ({signed(100 * (after / before - 1), 1)} %)."


def _drop(verdict: Verdict) -> str:
    return with_interval(verdict.drop, verdict.drop_ci_lower, verdict.drop_ci_upper)


def _change(delta: Delta | None) -> str:
    if delta is None or delta.change is None:
        return UNKNOWN
    low, high = number(delta.ci_lower), number(delta.ci_upper)
    shown = "" if delta.ci_lower is None else f" [{low}, {high}]"
    return f"{signed(delta.change)}{shown}"


def _g(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:g}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
