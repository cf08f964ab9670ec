"""What has to be known before any figure: that the group is incomplete, a budget not verified, lengths approximate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from groundlake.transition.report.markup import counted, escaped, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.transition.report.facts import Budget, Content

APPROXIMATION: Final = "(approximation)"
"""How the name of a tokenizer that is none says so."""
LONGEST: Final = 300
VERIFIED, REFUTED = "true", "false"
"""States of a budget, besides unknown, as `kv_run_summary` has them."""


def banners(content: Content) -> str:
    """Write all banners that apply; nothing where none does."""
    return "\n\n".join(
        "\n".join(f"> {line}".rstrip() for line in lines)
        for lines in (
            _partial(content),
            _violated(content),
            _refuted(content),
            _unverified(content),
            _several_devices(content),
            _approximate(content),
            _forced(content),
        )
        if lines
    )


def _partial(content: Content) -> list[str]:
    if not content.missing:
        return []
    return [
        "**PARTIAL RUN.** The group is not complete; figures are of what is there, and may change:",
        "",
        *(f"- {escaped(text)}" for text in content.missing),
    ]


def _violated(content: Content) -> list[str]:
    if not content.violations:
        return []
    told = joined([f"{escaped(each.violation)} ({each.num:,})" for each in content.violations])
    return [
        f"**INTEGRITY VIOLATED.** The lake holds what must never be: {told}. The view `kv_integrity` names the rows."
    ]


def _refuted(content: Content) -> list[str]:
    lines = [text for each in content.budgets if each.budget_state == REFUTED for text in _state(content, each)]
    what = "**BUDGET NOT APPLIED.** The engine itself shows that these budgets were not applied to every answer, so "
    return [f"{what}their figures are not those of these budgets:", "", *lines] if lines else []


def _unverified(content: Content) -> list[str]:
    unknown = [each for each in content.budgets if each.budget_state not in (VERIFIED, REFUTED)]
    lines = [text for each in unknown for text in _state(content, each)]
    what = "**BUDGET NOT VERIFIED.** Nothing shows that these budgets were applied to every answer; a status of 200 "
    return [f"{what}proves nothing about a field that a server may ignore:", "", *lines] if lines else []


def _state(content: Content, budget: Budget) -> Iterator[str]:
    if not budget.num_answered:
        yield f"- budget {budget.budget:g}: unknown, as there is no answer"
        return
    word = "not applied" if budget.budget_state == REFUTED else "unknown"
    yield (
        f"- budget {budget.budget:g}: {word}. Of {counted(budget.num_answered, 'answer')}, {budget.num_verified:,} "
        f"verified, {budget.num_refuted:,} refuted, {budget.num_unverified:,} unknown.{_evidence(content, budget)}"
    )


def _evidence(content: Content, budget: Budget) -> str:
    """Quote what the engine said of answers that are not verified."""
    texts = [
        each.example
        for each in content.evidence
        if each.budget_id == budget.budget_id and each.budget_verified is not True and each.example
    ]
    return "".join(f" Evidence: {escaped(text, LONGEST)}." for text in texts[:1])


def _several_devices(content: Content) -> list[str]:
    """Say which budgets were answered where: a resumed run may have gone on elsewhere."""
    if len(content.machines) < 2:  # noqa: PLR2004 - one has nothing to differ from
        return []
    lines = []
    for budget in content.budgets:
        counts: dict[tuple[str, str], int] = {}
        for each in content.devices:
            if each.budget_id == budget.budget_id:
                key = (each.hardware_id, each.precision)
                counts[key] = counts.get(key, 0) + each.num_requests
        told = joined(
            [f"{escaped(name)} in {escaped(precision)} ({num:,})" for (name, precision), num in counts.items()]
        )
        lines.append(f"- budget {budget.budget:g}: {told or 'no request'}")
    return [
        (
            "**SEVERAL DEVICES.** The group was asked on more than one device, or in more than one precision. Times, "
            "memory and energy of a budget are of all of its devices together, and differ for this reason too:"
        ),
        "",
        *lines,
    ]


def _approximate(content: Content) -> list[str]:
    if APPROXIMATION not in content.dataset.tokenizer:
        return []
    return [
        (
            f"**LENGTHS ARE APPROXIMATE.** The prompts' tokens were counted by {escaped(content.dataset.tokenizer)}, "
            "not by a tokenizer; bins are ranges of these counts, and a model sees more tokens."
        )
    ]


def _forced(content: Content) -> list[str]:
    forced = sorted({each.forced for each in content.budgets if each.forced})
    return [
        f"**FORCED.** The group was begun anew by `--force`, because this differed: {escaped(text, LONGEST)}. All that "
        "is counted here was asked under the settings below; answers under others stay in the lake, and are not "
        "counted. The mark tells how the group came to its settings, not that a figure is wrong; going back to earlier "
        "settings by `--force` sets it again. A group of another `output.exp_group_id` has none."
        for text in forced
    ]
