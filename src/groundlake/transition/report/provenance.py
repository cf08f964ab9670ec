"""Where the figures come from, what they do not show, and what the words mean."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import yaml

from groundlake.schemas.transition_analysis import ALL_BINS
from groundlake.transition.report.banners import APPROXIMATION
from groundlake.transition.report.markup import (
    UNKNOWN,
    code,
    count,
    counted,
    escaped,
    fenced,
    joined,
    moment,
    number,
    percent,
    table,
    told,
)
from groundlake.transition.report.quality import metric_told
from groundlake.transition.report.reading import lengths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from groundlake.transition.report.facts import Budget, Content, Device

FEW: Final = 30
"""Examples of a bin below which its interval is wide, and says little."""


METRIC: Final = (
    "compares texts, not meaning: a right answer in other words scores low, and a long one that contains the answer is "
    "not always right. `lake kv sample` shows answers beside the right ones."
)
ALWAYS: Final = (
    "One model, one task, one policy and one serving stack: another of any of these may turn at another budget.",
    (
        "Bins are ranges of length. Longer examples may also be harder, so a difference between bins is not one of "
        "length alone; a change between budgets compares each example with itself."
    ),
    (
        "A budget is a share of the cache of what is compressed (see the policy's parameters), not of the device's "
        "memory: weights and activations stay, and a library may hold the whole cache while it compresses."
    ),
    "Latencies are those of this serving stack and its load, compressing included; they are no benchmark of kernels.",
    (
        "Intervals are about the choice of examples. That a model may answer otherwise when asked again is in them "
        "only as far as examples were asked several times."
    ),
)
"""What is so of every report."""


def provenance(content: Content) -> str:
    """Write all that decides what the figures are."""
    settings = list(dict.fromkeys(_without_analysis(each.settings_json) for each in content.budgets))
    several = (
        ""
        if len(settings) == 1
        else (
            f"\n\nThe budgets were run with {len(settings)} settings that do not change what an answer is; all are "
            "shown."
        )
    )
    blocks = "\n\n".join(fenced(_yaml(text), "yaml") for text in settings)
    return "\n\n".join(
        (
            table(("What", "Value"), _facts(content), texts=2),
            "### Runs",
            _runs(content),
            "### Settings, as stored with the runs",
            f"Secrets are never stored. The settings of the analysis are above, as they were in force for it.{several}",
            blocks,
        )
    )


def _facts(content: Content) -> list[tuple[str, str]]:
    data, analysis = content.dataset, content.analysis
    budget = content.budgets[0]
    drawn = content.intervals[0] if content.intervals else None
    threshold = content.verdicts[0].drop_threshold if content.verdicts else None
    edges = "; ".join(f"{each}: {lengths(content, each, '')}" for each in content.bin_indices)
    scorers = sorted({each.scorer_version for each in content.scored if each.scorer_version})
    return [
        ("Group", code(content.exp_group_id)),
        ("Data set", code(data.dataset_id)),
        ("Task", code(data.task)),
        ("Metric", metric_told(content)),
        ("Scoring rules", joined([code(each) for each in scorers]) or UNKNOWN),
        ("Source", told(data.source_uri)),
        ("Source, SHA-256", told(data.source_sha256)),
        ("Manifest, SHA-256", code(data.manifest_sha256)),
        (
            "Examples",
            f"{count(data.selected)} asked of {count(data.population)}; {count(data.left_out)} left out by length",
        ),
        ("Bins, in tokens", edges),
        ("Remarks of preparing", "; ".join(escaped(each) for each in _remarks(data.selection_json)) or "none"),
        ("Tokenizer", escaped(data.tokenizer)),
        ("Tokenizer, fingerprint", code(data.tokenizer_fingerprint)),
        ("Prompt template, hash", code(budget.prompt_hash)),
        ("Prepared", f"{moment(data.started_at)}, run {code(data.run_id)}"),
        ("Model", _each(content, lambda each: each.model)),
        ("Precision", _each(content, lambda each: _answered_by(content, each, lambda device: device.precision))),
        (
            "Device",
            _each(
                content,
                lambda each: _answered_by(
                    content, each, lambda device: f"{device.hardware_id} {device.device or ''}".strip()
                ),
            ),
        ),
        ("Engine", _each(content, lambda each: f"{each.engine} {each.engine_version or ''}".strip())),
        ("Address", _each(content, lambda each: each.base_url)),
        ("Policy", _each(content, lambda each: each.policy)),
        ("Policy, parameters", _each(content, lambda each: _parameters(each.policy_json))),
        ("How the budget is applied", _each(content, lambda each: each.how_applied)),
        ("Decoding", _decoding(budget)),
        ("Settings of the runs, hash", _each(content, lambda each: each.settings_hash)),
        ("Analysed", f"{moment(analysis.started_at)}, run {code(analysis.run_id)}"),
        ("Analysis, hash of its input", told(analysis.config_hash)),
        ("Bootstrap", _bootstrap(content) if drawn else UNKNOWN),
        ("A drop counts", f"from {number(threshold, 3)}, {_significance(content)}"),
        ("Versions", _each(content, _versions)),
        ("Forced", _each(content, lambda each: each.forced, nothing="no")),
    ]


def _each(content: Content, value: Any, nothing: str = UNKNOWN) -> str:  # noqa: ANN401 - a function of a budget
    """Write a value of the budgets: once where all have the same, else with the budgets that have it."""
    found: dict[str | None, list[Budget]] = {}
    for budget in content.budgets:
        found.setdefault(value(budget), []).append(budget)
    if len(found) == 1:
        only = next(iter(found))
        return nothing if not only else code(only)
    return "; ".join(f"{joined(_names(those))}: {nothing if not each else code(each)}" for each, those in found.items())


def _answered_by(content: Content, budget: Budget, value: Callable[[Device], str]) -> str:
    """Name what answered the requests of a budget: all of it, where work was resumed elsewhere."""
    return joined(list(dict.fromkeys(value(each) for each in content.devices if each.budget_id == budget.budget_id)))


def _names(budgets: Iterable[Budget]) -> list[str]:
    return [f"{each.budget:g}" for each in budgets]


def policy_parameters(text: str) -> dict[str, Any] | None:
    """Read what is stored of a policy; None where that is no object: a lake may come from anywhere."""
    try:
        values = json.loads(text)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _parameters(text: str) -> str:
    """Write the parameters of a policy as name=value; the text as it is where it is no object."""
    values = policy_parameters(text)
    if values is None:
        return text
    return (
        ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(values.items())) or "none"
    )


def _remarks(text: str) -> list[str]:
    """Return what preparing the data set merged, left out or fell short of."""
    try:
        values = json.loads(text)
    except ValueError:
        return [text]
    remarks = values.get("remarks", []) if isinstance(values, dict) else values
    return [str(each) for each in remarks] if isinstance(remarks, list) else [str(remarks)]


def _decoding(budget: Budget) -> str:
    seed = "" if budget.seed is None else f", seed {budget.seed}"
    return (
        f"temperature {budget.temperature:g}, at most {counted(budget.max_tokens, 'token')}{seed}, each example asked "
        f"{counted(budget.repeats, 'time')}"
    )


def _bootstrap(content: Content) -> str:
    drawn = content.intervals[0]
    return (
        f"{drawn.resamples:,} resamples, seed {drawn.seed}, {percent(drawn.confidence)} intervals (percentile, paired)"
    )


def _significance(content: Content) -> str:
    return "with its whole interval below 0" if content.significance == "interval" else "whatever its interval"


def _versions(budget: Budget) -> str:
    named = {
        "": budget.tool_version,  # which names the tool
        "Python ": budget.python_version,
        "torch ": budget.torch_version,
        "OS ": budget.os,
    }
    return ", ".join(f"{name}{value}" for name, value in named.items() if value)


def _runs(content: Content) -> str:
    """Name the runs whose requests count, with when these were sent; a run that asked nothing is none of them."""
    rows = [
        (
            f"{budget.budget:g}",
            code(budget.budget_id),
            code(each.run_id),
            moment(each.first_sent_at),
            moment(each.last_sent_at),
            count(each.num_requests),
        )
        for budget in content.budgets
        for each in content.pieces
        if each.budget_id == budget.budget_id
    ]
    return table(("Budget", "Identity", "Run", "First sent", "Last sent", "Requests that count"), rows, texts=5)


def _without_analysis(text: str) -> str:
    """Leave out how answers were to be analysed when they were asked: that may have changed since.

    The text is left as it is where it is no JSON: a lake may come from anywhere.
    """
    try:
        values = json.loads(text)
    except ValueError:
        return text
    if isinstance(values, dict):
        values.pop("analysis", None)
    return json.dumps(values, ensure_ascii=False)


def _yaml(text: str) -> str:
    """Write stored settings as YAML; the text as it is where it is no JSON."""
    try:
        return yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True, width=120)
    except (ValueError, yaml.YAMLError):
        return text


def limitations(content: Content) -> str:
    """Write what the figures do not show: what is always so, and what is so here."""
    sizes = [content.bin(content.budgets[0], each).selected for each in content.bin_indices]
    least = min((size for size in sizes if size), default=0)
    lines = [f"The metric ({metric_told(content)}) {METRIC}", *ALWAYS]
    if least and least < FEW:
        lines.append(
            f"The smallest bin has {counted(least, 'example')}: figures of single bins are uncertain, and percentile "
            "intervals of so few are too narrow."
        )
    if len(content.budgets) > 1:
        lines.append(
            "A transition lies somewhere between two budgets that were asked; budgets between them would say where."
        )
    if APPROXIMATION in content.dataset.tokenizer:
        lines.append("Lengths are approximate, as tokens were counted without the model's tokenizer.")
    if content.cut:
        lines.append("Prompts that lost their middle are easier or impossible to answer, whatever the budget is.")
    if any(content.bin(each, ALL_BINS).num_truncated for each in content.budgets):
        lines.append("Some answers end at the limit of tokens; what they would have said is not scored.")
    return "\n".join(f"- {line}" for line in lines)


def terminology(content: Content) -> str:
    """Say what the words mean."""
    threshold = number(content.verdicts[0].drop_threshold, 2) if content.verdicts else UNKNOWN
    return "\n".join(
        (
            (
                "- **Budget**: the fraction of the KV cache that is kept, as asked for; 1 is the whole cache. *Cache "
                "kept* is what was read back."
            ),
            (
                f"- **Accuracy**: the mean of the task's own metric ({metric_told(content)}), from 0 to 1, over "
                "examples; of an example that was asked several times, first the mean over these. *Accuracy of "
                "answers* is of what was answered; *accuracy, failures as 0* counts a failure as 0. *Exact match* is "
                "the share of answers that equal a right one, after normalising."
            ),
            (
                "- **Failure rate**: the share of requests without an answer that can be scored. Answers + failures = "
                "requests."
            ),
            (
                "- **Transition detector**: budgets from the largest down; the first whose accuracy, failures as 0, is "
                f"at least {threshold} lower, {_significance(content)} ({percent(content.confidence)}, paired by "
                "example). The *adjacent* rule compares with the next larger budget, the *baseline* rule with the "
                "largest, which finds a slope of small steps."
            ),
            (
                "- **What failures explain**: the loss of accuracy with failures as 0 beyond that of accuracy of "
                "answers, as a share of the former."
            ),
        )
    )
