"""What the budgets take: tokens, throughput, time, memory and energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from groundlake.transition.report.markup import (
    UNKNOWN,
    code,
    count,
    escaped,
    memory,
    number,
    of_all,
    percent,
    quantity,
    table,
    tokens,
)
from groundlake.transition.report.reading import lengths

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundlake.transition.report.facts import Budget, Content, Energy

    Figures = dict[str, Callable[[Budget], str]]

FIGURES: Final[Figures] = {
    "Mean prompt tokens, answered requests": lambda each: number(each.mean_prompt_tokens, 1),
    "Mean answer tokens": lambda each: number(each.mean_completion_tokens, 1),
    "Prompt tokens in all, answered requests": lambda each: count(each.total_prompt_tokens),
    "Answer tokens in all": lambda each: count(each.total_completion_tokens),
    "**Cost proxy**: prompt + answer tokens, answered requests": lambda each: count(_cost(each)),
    "Wall time [s]": lambda each: quantity(each.wall_s),
    "Requests per minute": lambda each: quantity(each.requests_per_min),
    "Tokens per second, prompts and answers": lambda each: quantity(each.tokens_per_s),
    "Tokens per second, answers": lambda each: quantity(each.output_tokens_per_s),
    "Attempts": lambda each: count(each.num_attempts),
    "Attempts that failed": lambda each: of_all(each.num_failed_attempts, each.num_attempts),
    "Attempts that were rate limited": lambda each: of_all(each.num_rate_limited, each.num_attempts),
    "Waited for retries and pacing [s]": lambda each: quantity(each.waited_s),
    "Latency p50 [ms]": lambda each: quantity(each.latency_p50_ms),
    "Latency p95 [ms]": lambda each: quantity(each.latency_p95_ms),
    "Cache kept, read back": lambda each: percent(each.kept_fraction_mean),
    "Peak memory": lambda each: "N/A" if each.peak_memory_bytes is None else memory(each.peak_memory_bytes),
}


def efficiency(content: Content) -> str:
    """Write the efficiency profile."""
    heads = ("", *(f"Budget {each.budget:g}" for each in content.budgets))
    rows = [(name, *(figure(each) for each in content.budgets)) for name, figure in FIGURES.items()]
    parts = [
        table(heads, rows),
        (
            "Throughput is over the wall clock of a budget's runs, waits and failed attempts included. Tokens are "
            "counted by the engine, of requests that were answered: what failed, and what was sent again, is in no "
            "figure of tokens, though it may have cost some. A total is n/a where the engine leaves one out. Peak "
            "memory is the GPU's, or on a processor what the whole process has resident, and N/A behind an endpoint. "
            "Budgets are asked one after the other, so a machine that warms up or is shared shows in latencies too."
        ),
        "### Trade-off against the largest budget",
        _trade(content),
        "### Prompt tokens by bin",
        _prompts(content),
        "### Energy",
        _energies(content),
    ]
    return "\n\n".join(parts)


def _cost(budget: Budget) -> int | None:
    """Add up the tokens that are paid for; None where the engine does not tell them all."""
    if budget.total_prompt_tokens is None or budget.total_completion_tokens is None:
        return None
    return budget.total_prompt_tokens + budget.total_completion_tokens


def _trade(content: Content) -> str:
    """Write what quality is given for which time and memory."""
    largest = content.budgets[0]
    heads = ("Budget", "Accuracy, failures as 0", "Latency p50", "Latency p95", "Peak memory", "Cache kept")
    rows = [
        (
            f"{budget.budget:g}",
            number(content.bin(budget).accuracy_all),
            _times(budget.latency_p50_ms, largest.latency_p50_ms),
            _times(budget.latency_p95_ms, largest.latency_p95_ms),
            _times(budget.peak_memory_bytes, largest.peak_memory_bytes),
            percent(budget.kept_fraction_mean),
        )
        for budget in content.budgets
    ]
    return table(heads, rows)


def _times(value: float | None, baseline: float | None) -> str:
    """Write a figure as a multiple of the baseline's."""
    return "N/A" if value is None or not baseline else f"{value / baseline:.2f} x"


def _prompts(content: Content) -> str:
    largest = content.budgets[0]
    heads = ("Bin", "Tokens", "Examples of that length", "Asked", "Prompt tokens p50", "p95")
    rows = []
    for bin_index in content.bin_indices:
        row = content.bin(largest, bin_index)
        rows.append(
            (
                str(bin_index),
                lengths(content, bin_index, "") if row.tokens_from is not None else "none",
                count(row.population),
                count(row.selected),
                tokens(row.prompt_tokens_p50),
                tokens(row.prompt_tokens_p95),
            )
        )
    counter = code(content.dataset.tokenizer)
    return f"{table(heads, rows, texts=2)}\n\nCounted by {counter}, of the prompts asked at budget {largest.budget:g}."


def _energies(content: Content) -> str:
    if not content.energies:
        return "N/A: no power sensor was read while these budgets were asked."
    names = {each.budget_id: each.budget for each in content.budgets}
    ordered = sorted(content.energies, key=lambda each: (-names[each.budget_id], each.source, each.rail))
    rows = [
        (
            f"{names[each.budget_id]:g}",
            escaped(each.source),
            escaped(each.rail),
            quantity(each.energy_j),
            _per_request(each),
            escaped(each.reason or ""),
        )
        for each in ordered
    ]
    heads = ("Budget", "Sensor", "Rail", "Energy [J]", "Per request [J]", "Why not")
    note = "Energy is that of the whole rail over the runs' windows, idle power included; rails are never added up."
    return f"{table(heads, rows, texts=3)}\n\n{note}"


def _per_request(energy: Energy) -> str:
    if energy.energy_j is None or not energy.num_requests:
        return UNKNOWN
    return quantity(energy.energy_j / energy.num_requests)
