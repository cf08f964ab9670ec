"""How good the answers are: by budget, by length, and how each budget changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from groundlake.schemas.transition_analysis import ALL_BINS
from groundlake.transition.report.facts import ACCURACY, ACCURACY_ALL, EXACT_MATCH, FAILURE_RATE
from groundlake.transition.report.markup import (
    UNKNOWN,
    between,
    code,
    count,
    number,
    percent,
    quantity,
    signed,
    table,
    tokens,
)
from groundlake.transition.report.reading import lengths, mean_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundlake.transition.report.facts import BinAtBudget, Budget, Content, Delta

PLOTS: Final = {
    "acc_by_bin": "Accuracy by bin of prompt lengths, a line for each budget",
    "fail_by_bin": "Failure rate by bin of prompt lengths, a line for each budget",
    "latency_p50_by_bin": "Median latency by bin of prompt lengths, a line for each budget",
}
"""Name of a picture's file, less its ending, and what it shows."""


def budgets(content: Content) -> str:
    """Write the table of budgets."""
    level = _level(content)
    heads = (
        *("Budget", "Applied", "Cache kept", "Requests", "Answered", "Failed"),
        *(f"Accuracy, failures as 0 ({level})", f"Accuracy of answers ({level})", "Exact match", "Failure rate"),
    )
    rows = []
    for budget in content.budgets:
        whole = content.bin(budget)
        rows.append(
            (
                f"**{budget.budget:g}**",
                {"true": "verified", "false": "**no**"}.get(budget.budget_state, "**unknown**"),
                percent(budget.kept_fraction_mean),
                count(whole.num_requests),
                count(whole.num_answered),
                count(whole.num_failed),
                mean_of(content, budget, ACCURACY_ALL),
                mean_of(content, budget, ACCURACY),
                number(whole.exact_match),
                percent(whole.failure_rate),
            )
        )
    return table(heads, rows, texts=2)


def pictures(there: bool) -> str:
    """Show the pictures, or say why they are not there."""
    if not there:
        return (
            "The pictures are missing: they were not drawn, as altair and vl-convert are not installed "
            "(`pip install 'groundlake[plot]'`, then `lake kv report` again). The tables below have all figures."
        )
    return "\n\n".join(f"![{text}](plots/{name}.png)" for name, text in PLOTS.items())


def by_length(content: Content) -> str:
    """Write a table of bins for each budget."""
    empty = [each for each in content.bin_indices if not content.bin(content.budgets[0], each).population]
    told = f" Bins without an example: {', '.join(map(str, empty))}." if empty else ""
    parts = [
        (
            "A bin is a range of prompt lengths; *all* weighs every example the same, whichever bin it is in. Std is "
            f"the sample standard deviation over examples.{told}"
        )
    ]
    parts += [f"### Budget {budget.budget:g}\n\n{_bins(content, budget)}" for budget in content.budgets]
    return "\n\n".join(parts)


def _bins(content: Content, budget: Budget) -> str:
    rows = [content.bin(budget, each) for each in (*content.bin_indices, ALL_BINS)]
    has_first = any(each.ttft_p50_ms is not None for each in rows)
    has_kept = any(each.kept_fraction_mean is not None for each in rows)
    heads = (
        *(
            "Bin",
            "Tokens",
            "n",
            "Accuracy",
            _level(content).capitalize(),
            "Std",
            "EM",
            "Failure rate",
            "Accuracy, failures as 0",
        ),
        *("Latency p50 / p95 [ms]", "Prompt tokens p50 / p95", "Answer tokens p50 / p95"),
        *(("TTFT p50 [ms]",) if has_first else ()),
        *(("Cache kept",) if has_kept else ()),
    )
    return table(heads, (_bin(content, budget, row, first=has_first, kept=has_kept) for row in rows), texts=2)


def _bin(content: Content, budget: Budget, row: BinAtBudget, *, first: bool, kept: bool) -> list[str]:
    interval = content.interval(budget, ACCURACY, row.bin_index)
    cells = [
        "*all*" if row.bin_index == ALL_BINS else str(row.bin_index),
        lengths(content, row.bin_index, "") if row.tokens_from is not None else "none",
        count(row.num_examples),
        number(row.accuracy),
        between(interval.ci_lower, interval.ci_upper) if interval else UNKNOWN,
        number(row.accuracy_std),
        number(row.exact_match),
        percent(row.failure_rate),
        number(row.accuracy_all),
        _pair(row.latency_p50_ms, row.latency_p95_ms, quantity),
        _pair(row.prompt_tokens_p50, row.prompt_tokens_p95, tokens),
        _pair(row.completion_tokens_p50, row.completion_tokens_p95, tokens),
    ]
    cells += [quantity(row.ttft_p50_ms)] if first else []
    cells += [_range(row.kept_fraction_min, row.kept_fraction_max)] if kept else []
    return cells


def _pair(middle: float | None, high: float | None, written: Callable[[float | None], str]) -> str:
    return UNKNOWN if middle is None else f"{written(middle)} / {written(high)}"


def _range(least: float | None, most: float | None) -> str:
    if least is None or percent(least) == percent(most):
        return percent(least)
    return f"{percent(least)} to {percent(most)}"


def changes(content: Content) -> str:
    """Write how each budget changes what a larger one gives, by bin."""
    if not content.deltas:
        return "There is one budget, and nothing to compare it with."
    pairs: dict[tuple[float, float], list[str]] = {}
    for each in content.deltas:
        rules = pairs.setdefault((each.from_budget, each.to_budget), [])
        if each.comparison not in rules:
            rules.append(each.comparison)
    level = _level(content)
    heads = (
        *("Budgets", "Rule", "Bin", "n", f"Accuracy, failures as 0 ({level})", "Share of draws below 0"),
        *(f"Accuracy of answers ({level})", "Exact match", f"Failure rate ({level})"),
    )
    ordered = sorted(pairs, key=lambda pair: (-pair[1], -pair[0]))
    rows = [
        _changed(content, pair, pairs[pair], bin_index)
        for pair in ordered
        for bin_index in (ALL_BINS, *content.bin_indices)
    ]
    intro = (
        "Each row is what the smaller budget changes, over the examples that both have: every draw of the bootstrap "
        "takes an example with both its outcomes, so that easy and hard examples cancel out."
    )
    return f"{intro}\n\n{table(heads, [row for row in rows if row], texts=2)}"


def _changed(content: Content, pair: tuple[float, float], rules: list[str], bin_index: int) -> list[str]:
    judged = content.delta(rules[0], pair, ACCURACY_ALL, bin_index)
    if judged is None:  # an empty bin
        return []
    answered = content.delta(rules[0], pair, ACCURACY, bin_index)
    exact = content.delta(rules[0], pair, EXACT_MATCH, bin_index)
    failing = content.delta(rules[0], pair, FAILURE_RATE, bin_index)
    whole = bin_index == ALL_BINS
    return [
        f"**{pair[0]:g} to {pair[1]:g}**" if whole else f"{pair[0]:g} to {pair[1]:g}",
        rules[0] if len(rules) == 1 else "both",
        "*all*" if whole else str(bin_index),
        count(judged.num_examples),
        _change(judged),
        number(judged.probability_below_zero),
        _change(answered),
        UNKNOWN if exact is None else signed(exact.change),
        _change(failing),
    ]


def _change(delta: Delta | None) -> str:
    if delta is None or delta.change is None:
        return UNKNOWN
    interval = between(delta.ci_lower, delta.ci_upper)
    return signed(delta.change) if interval == UNKNOWN else f"{signed(delta.change)} {interval}"


def _level(content: Content) -> str:
    """Name the intervals of the tables."""
    return "interval" if content.confidence is None else f"{percent(content.confidence)} interval"


def metric_told(content: Content) -> str:
    """Name the metric that accuracy is."""
    return code(content.metric)
