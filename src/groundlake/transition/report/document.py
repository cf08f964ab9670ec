"""The report in Markdown: all of its sections, in one order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.transition.report.answer import answer
from groundlake.transition.report.banners import banners
from groundlake.transition.report.checks import integrity, sanity
from groundlake.transition.report.efficiency import efficiency
from groundlake.transition.report.markup import code, counted, escaped, joined, moment
from groundlake.transition.report.provenance import limitations, policy_parameters, provenance, terminology
from groundlake.transition.report.quality import budgets, by_length, changes, metric_told, pictures
from groundlake.transition.report.reading import budget_names

if TYPE_CHECKING:
    from groundlake.transition.report.facts import Budget, Content


def title(content: Content) -> str:
    """Return the title, as plain text."""
    return f"KV-cache budgets: {content.exp_group_id}"


def document(content: Content, *, has_pictures: bool) -> str:
    """Write the report in Markdown, from its content alone: equal content, equal text."""
    sections = {
        "Answer": answer(content),
        "Budgets": budgets(content),
        "By prompt length": f"{pictures(has_pictures)}\n\n{by_length(content)}",
        "Paired changes": changes(content),
        "Sanity Validation": sanity(content),
        "Integrity summary": integrity(content),
        "Efficiency profile": efficiency(content),
        "Configuration and provenance": provenance(content),
        "Limitations": limitations(content),
        "Terminology": terminology(content),
    }
    parts = [f"# {escaped(title(content))}", _about(content), banners(content)]
    parts += [f"## {name}\n\n{text}" for name, text in sections.items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _policy(budget: Budget) -> str:
    """Name a policy; one that sees the question is another one."""
    sees = (policy_parameters(budget.policy_json) or {}).get("query_aware") is True
    return f"{code(budget.policy)}{' (which sees the question)' if sees else ''}"


def _about(content: Content) -> str:
    """Say in two lines what was asked, of what, and when."""
    models = joined(sorted({code(each.model) for each in content.budgets}))
    policies = joined(sorted({_policy(each) for each in content.budgets}))
    engines = joined(sorted({code(each.engine) for each in content.budgets}))
    sent = [(each.first_sent_at, each.last_sent_at) for each in content.pieces]
    times = [each for pair in sent for each in pair if each is not None]
    asked = " to ".join(dict.fromkeys(moment(each) for each in (min(times), max(times)))) if times else moment(None)
    examples = counted(content.dataset.selected, "example")
    return (
        f"Model {models} by {engines}, policy {policies}, at "
        f"{'budget' if len(content.budgets) == 1 else 'budgets'} {joined(budget_names(content.budgets))}: {examples} "
        f"of {code(content.dataset.dataset_id)}, scored by {metric_told(content)}. Asked {asked}; analysed "
        f"{moment(content.analysis.started_at)}."
    )
