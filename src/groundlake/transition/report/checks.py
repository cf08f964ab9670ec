"""Whether the figures can be believed: what was looked for and found odd, and how requests ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from groundlake.schemas.transition_analysis import ALL_BINS
from groundlake.transition.analysis.verdict import ROUNDING
from groundlake.transition.data.longbench import base_task
from groundlake.transition.inference.recording import MAY_PASS
from groundlake.transition.report.facts import ACCURACY, ACCURACY_ALL, ADJACENT
from groundlake.transition.report.markup import (
    code,
    count,
    counted,
    escaped,
    joined,
    of_all,
    percent,
    table,
)
from groundlake.transition.scoring.failures import FAILURES
from groundlake.transition.scoring.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.transition.report.facts import Budget, Content

CHECKS: Final = {
    "scores_rise": ("Scores do not rise as the budget falls", "no rise beyond chance"),
    "short_context_failures": ("No new failures in the shortest bin", "no example there fails more often"),
    "no_effect": ("Budgets change answers", "scores differ between budgets"),
    "baseline_low": ("The baseline leaves room for a drop", "accuracy of the largest budget is above the threshold"),
    "baseline_compressed": ("The baseline is the whole cache", "the largest budget is 1"),
    "bin_falls": ("No bin falls while the whole does not", "none does"),
    "few_examples": ("There are enough examples for intervals", "at least 10"),
    "uneven_bins": ("Bins weigh about the same", "no bin has more than twice the examples of another"),
    "incomplete": ("Every example has an outcome at every budget", "all have"),
    "one_budget": ("There is something to compare", "more than one budget"),
}
"""Flag of the analysis, what its absence shows, and in which words."""

COMPARING: Final = ("scores_rise", "short_context_failures", "no_effect", "bin_falls")
"""Checks that one budget cannot pass."""

USUAL: Final = ("EMPTY_OUTPUT", "REFUSAL", "TIMEOUT", "FORMAT_ERROR", "ENGINE_ERROR", "RATE_LIMITED")
"""Failures that have a column even where none happened."""

ENOUGH: Final = 2
"""Bins that have to have examples: one has nothing to be compared with."""
HIGH, MODERATE = 0.10, 0.05
TWICE: Final = 2
"""So many times the shortest bin's median prompt should the longest bin's be, for an effect of length to show."""
CUT: Final = 0.10
"""Share of a budget's answers that the limit of tokens ended from which on a fall may be one of lengths of answers."""
POINTS: Final = 0.10
"""Loss of accuracy from which on a bin counts as falling."""
READINGS: Final = {
    "RATE_LIMITED": "the engine, not the budget: ask again, slower",
    "TIMEOUT": "long prompts time out first, which looks like a collapse at long contexts",
    "CONTEXT_LENGTH_EXCEEDED": "the same at every budget: filter by length",
    "CONNECTION": "the engine, not the budget",
    "ENGINE_ERROR": "the engine, unless it grows as the budget falls",
    "EMPTY_OUTPUT": "where it grows as the budget falls, it is the compression",
    "REFUSAL": "where it grows as the budget falls, the model no longer sees what it is asked about",
    "FORMAT_ERROR": "a server's error in place of an answer, or a compression that breaks sentences",
    "UNKNOWN_FAILURE": "not known: its message is all there is",
}
LONGEST: Final = 160


def sanity(content: Content) -> str:
    """Write what the analysis and the lake were checked for."""
    found: dict[str, list[str]] = {}
    for flag in content.flags:
        name, _, text = flag.partition(": ")
        found.setdefault(name, []).append(text)
    rows = [(title, *_verdict(content, name, found.pop(name, []), passed)) for name, (title, passed) in CHECKS.items()]
    rows += [(escaped(name), "**FLAG**", escaped("; ".join(texts))) for name, texts in found.items()]
    rows += list(_of_lake(content))
    flagged = sum(row[1] == "**FLAG**" for row in rows)
    untested = sum(row[1] == "not tested" for row in rows)
    numbers = f"{len(rows) - flagged - untested} passed, {flagged} flagged, {untested} not tested"
    told = "A flag is no error: it says what to look at before the verdict is believed."
    lead = f"{counted(len(rows), 'check')}: {numbers}. {told}"
    return f"{lead}\n\n{table(('Check', 'Result', 'What was found'), rows, texts=3)}"


def _verdict(content: Content, name: str, texts: list[str], passed: str) -> tuple[str, str]:
    if texts:
        return "**FLAG**", escaped("; ".join(texts))
    if name in COMPARING and len(content.budgets) == 1:
        return "not tested", "there is one budget"
    if name == "short_context_failures" and len(_medians(content)) < ENOUGH:
        return "not tested", "fewer than two bins have examples"
    if name == "scores_rise" and not any(
        each.subject == ACCURACY and each.bin_index == ALL_BINS and each.ci_lower is not None for each in content.deltas
    ):
        return "not tested", "too few examples are answered at two budgets"
    return "passed", passed


def _of_lake(content: Content) -> Iterator[tuple[str, str, str]]:
    """Check what views tell without an analysis."""
    title = "Budgets were applied, as read back"
    states = {each.budget_state for each in content.budgets}
    if states == {"true"}:
        yield title, "passed", "to every answer"
    else:
        off = [f"{each.budget:g} ({each.budget_state})" for each in content.budgets if each.budget_state != "true"]
        yield title, "**FLAG**", f"not shown for budget {joined(off)}"
    title = "Answers + failures = requests, none both"
    if content.violations:
        yield title, "**FLAG**", escaped("; ".join(f"{each.violation}: {each.num:,}" for each in content.violations))
    else:
        yield title, "passed", "`kv_integrity` has no rows"
    title = "One device answered, in one precision"
    if len(content.machines) > 1:
        names = [f"{escaped(name)} ({escaped(precision)})" for name, precision in content.machines]
        yield title, "**FLAG**", f"{joined(names)}: their times are pooled"
    else:
        yield title, "passed", "times are of one kind"
    yield "Answers end by themselves", *_ends(content)
    yield "Lengths differ enough to compare", *_range(content)
    yield "A drop is seen at several lengths", *_spread(content)


def _ends(content: Content) -> tuple[str, str]:
    """Look whether many answers of a budget were ended by the limit of tokens: what they lack is not scored."""
    task = TASKS.get(base_task(content.dataset.task))
    if task is not None and task.first_line_only:
        return "not tested", "only the first line of an answer is scored"
    budgets = [each for each in content.budgets if each.num_answered]
    if not budgets:
        return "not tested", "there is no answer"
    cut = [
        f"{of_all(each.num_truncated, each.num_answered)} of budget {each.budget:g}"
        for each in budgets
        if each.num_truncated / each.num_answered >= CUT
    ]
    if cut:
        told = f"{joined(cut)} reached the limit of tokens, from {percent(CUT)} on a flag: see `decoding.max_tokens`"
        return "**FLAG**", told
    return "passed", f"fewer than {percent(CUT)} of any budget's answers reached the limit of tokens"


def _medians(content: Content) -> list[tuple[int, float]]:
    """Return each bin that has examples with the median of its prompts, short ones first."""
    rows = [content.bin(content.budgets[0], each) for each in content.bin_indices]
    return [(row.bin_index, row.prompt_tokens_p50) for row in rows if row.prompt_tokens_p50 is not None]


def _range(content: Content) -> tuple[str, str]:
    """Look whether the longest bin's median prompt is at least twice the shortest bin's."""
    medians = _medians(content)
    if len(medians) < ENOUGH:
        return "not tested", "fewer than two bins have examples"
    (short, least), (long, most) = medians[0], medians[-1]
    told = f"median prompts of {least:,.0f} tokens in bin {short} and {most:,.0f} in bin {long}"
    if most >= TWICE * least:
        return "passed", told
    return "**FLAG**", f"{told}: less than twice as long, so an effect of length can hardly be seen"


def _spread(content: Content) -> tuple[str, str]:
    """Look in how many bins the drop is one beyond chance; a single bin may be a matter of its examples."""
    verdict = next((each for each in content.verdicts if each.is_detected), None)
    if verdict is None:
        return "not tested", "no transition was found"
    pair = (verdict.comparison, verdict.from_budget, verdict.to_budget, ACCURACY_ALL)
    known = [
        (each.change, each.ci_upper)
        for each in content.deltas
        if (each.comparison, each.from_budget, each.to_budget, each.subject) == pair
        and each.bin_index != ALL_BINS
        and each.change is not None
    ]
    if len(known) < ENOUGH:
        return "not tested", "fewer than two bins have examples"
    falling = [upper for change, upper in known if change <= ROUNDING - POINTS]
    beyond = sum(upper is not None and upper < 0 for upper in falling)
    told = f"{len(falling)} of {len(known)} bins lose {POINTS:.2f} or more, {beyond} of them beyond chance"
    return ("passed" if beyond > 1 else "**FLAG**"), told


def integrity(content: Content) -> str:
    """Write how requests ended, by budget and bin."""
    return "\n\n".join(
        part
        for part in (_lead(content), _outcomes(content), _reading(content), _kinds(content), _doubts(content))
        if part
    )


def _lead(content: Content) -> str:
    told = []
    for budget in content.budgets:
        whole = content.bin(budget)
        rate = whole.failure_rate
        if rate is None:
            told.append(f"budget {budget.budget:g}: no request")
            continue
        level = "high" if rate > HIGH else "moderate" if rate > MODERATE else "low"
        told.append(f"budget {budget.budget:g}: {percent(rate)} ({level})")
    return (
        f"Failure rates: {'; '.join(told)}. Above {percent(HIGH)} is high, above {percent(MODERATE)} moderate. "
        f"{_explained(content)}"
    )


def _explained(content: Content) -> str:
    """Say how much of the drop failures explain, by the rule that found it."""
    verdicts = sorted(content.verdicts, key=lambda each: (not each.is_detected, each.comparison != ADJACENT))
    verdict = next((each for each in verdicts if each.failure_share is not None), None)
    if verdict is None:
        return "Nothing was lost between budgets that failures could explain."
    what = "drop" if verdict.is_detected else "largest drop seen"
    return f"Failures explain **{percent(verdict.failure_share)}** of the {what} ({verdict.comparison} rule)."


def _outcomes(content: Content) -> str:
    there = {each.failure for each in content.failures}
    names = (*USUAL, *(each for each in FAILURES if each in there and each not in USUAL))
    heads = ("Budget", "Bin", "Requests", "Answered", "Failed", *(_spoken(name) for name in names), "Truncated", "Sum")
    rows = [
        _outcome(content, budget, bin_index, names)
        for budget in content.budgets
        for bin_index in (ALL_BINS, *content.bin_indices)
    ]
    note = "A truncated answer reached the limit of tokens; it is an answer, and is scored. Shares are of requests."
    return f"{table(heads, rows, texts=2)}\n\n{note}"


def _outcome(content: Content, budget: Budget, bin_index: int, names: tuple[str, ...]) -> list[str]:
    row = content.bin(budget, bin_index)
    failed = {
        each.failure: each.num_failed
        for each in content.failures
        if (each.budget_id, each.bin_index) == (budget.budget_id, bin_index)
    }
    whole = bin_index == ALL_BINS
    return [
        f"**{budget.budget:g}**" if whole else f"{budget.budget:g}",
        "*all*" if whole else str(bin_index),
        count(row.num_requests),
        count(row.num_answered),
        of_all(row.num_failed, row.num_requests),
        *(of_all(failed.get(name, 0), row.num_requests) for name in names),
        of_all(row.num_truncated, row.num_requests),
        "holds" if row.num_answered + row.num_failed == row.num_requests else "**does not hold**",
    ]


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _reading(content: Content) -> str:
    general = (
        "**How to read failures.** A failure is a request without an answer that can be scored. It counts as 0 in "
        "*accuracy, failures as 0*, which is what the transition is judged by, and is left out of *accuracy of "
        "answers*. Where both fall alike, answers got worse; where only the first falls, answers are missing. Failures "
        "that also grow with length but not as the budget falls are about the engine: timeouts, memory, limits."
    )
    return general if content.messages else f"{general} No request failed here."


def _kinds(content: Content) -> str:
    if not content.messages:
        return ""
    rows = [
        (
            code(each.failure),
            count(each.total),
            FAILURES[each.failure],
            READINGS[each.failure],
            escaped(each.message or "none", LONGEST),
        )
        for each in content.messages
    ]
    heads = ("Failure", "Requests", "What it is", "How to read it", "Most frequent message")
    again = sum(each.total for each in content.messages if each.failure in MAY_PASS)
    may = (
        f"\n\n{counted(again, 'failure')} of these may pass: `lake kv run` asks such requests again."
        if again
        else "\n\nNone of these may pass: they are not asked again."
    )
    return f"{table(heads, rows, texts=len(heads))}{may}"


def _doubts(content: Content) -> str:
    """List what else touches what the figures mean: cut prompts, missing telemetry, warnings of runs."""
    lines = []
    numbers = {each.budget_id: each.num for each in content.cut}
    for budget in content.budgets:
        if numbers.get(budget.budget_id):
            lines.append(
                f"- budget {budget.budget:g}: {counted(numbers[budget.budget_id], 'prompt')} lost the middle, to fit"
            )
        lacking = {
            "latency": budget.num_without_latency,
            "time to first token": budget.num_without_ttft,
            "tokens": budget.num_without_tokens,
        }
        told = [f"{name} of {of_all(number, budget.num_answered)}" for name, number in lacking.items() if number]
        if told:
            lines.append(f"- budget {budget.budget:g}: {joined(told)} answers is missing")
    seen = dict.fromkeys((each.budget, each.warning) for each in content.warnings)
    lines += [f"- budget {budget:g}: {escaped(warning, LONGEST)}" for budget, warning in seen]
    return "**Also to know:**\n\n" + "\n".join(lines) if lines else ""
