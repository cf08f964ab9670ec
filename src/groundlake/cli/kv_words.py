"""What `lake kv` says of each stage."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING
from unicodedata import category

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from groundlake.transition.analysis.analyze import Analyzed
    from groundlake.transition.data.prepare import Preparation
    from groundlake.transition.inference.outcome import RunOutcome
    from groundlake.transition.report.facts import Verdict
    from groundlake.transition.scoring.score import Scoring
    from groundlake.transition.verification.check import Check
    from groundlake.transition.verification.sample import SampleRow

UNSURE = {
    "false": "NOT APPLIED: the engine itself shows that, so these figures are of another budget",
    "unknown": "NOT VERIFIED: nothing shows that it was applied; the report says what is known",
}
"""States of a budget that a reader has to know of."""

LONGEST = 300
"""Characters of a text in a sample."""

RULES = {"adjacent": "between neighbouring budgets", "baseline": "against the largest budget"}


def preparation_words(done: Preparation) -> Iterator[str]:
    """Say what was prepared."""
    prepared = done.prepared
    bins = prepared.bins.height
    counted = f"{done.counted} prompts counted, {done.known} known" if done.counted else f"{done.known} counts known"
    state = "already prepared" if done.was_current else counted
    chosen = f"{len(prepared.examples)} of {prepared.population} examples in {bins} bin{'s' * (bins != 1)}"
    yield f"prepare: {prepared.dataset_id}: {chosen}, tokens by {prepared.tokenizer} ({state})"
    for remark in done.remarks:
        yield f"  {remark}"
    if done.forced:
        yield f"  --force: {done.forced}"
    yield f"  {done.manifest_path}"


def run_words(outcome: RunOutcome) -> Iterator[str]:
    """Say what was asked, and how it ended."""
    if outcome.forced:
        yield f"run: --force: {outcome.forced}"
    if outcome.remark:
        yield f"run: {outcome.remark}"
    if outcome.brought_in:
        yield f"run: {outcome.brought_in} requests of a process that was killed are in the lake now"
    for each in outcome.budgets:
        known = f", {each.already} had ended before" if each.already else ""
        failed = f", {each.failed} failed ({_counts(each.failures)})" if each.failed else ""
        what = f"{each.asked} asked, {each.answered} answered{failed}" if each.asked else "nothing to ask"
        if outcome.interrupted and each.left:
            what = f"{what}, {each.left} not reached" if each.asked else f"{each.left} not reached"
        yield f"run: budget {each.budget:g}: {what}{known}; {each.planned} planned"
    if outcome.interrupted:
        yield "run: interrupted; what was answered is in the lake, and the same command goes on"


def scoring_words(done: Scoring) -> Iterator[str]:
    """Say what was scored."""
    known = f", {done.known} had a score" if done.known else ""
    failed = f"; {done.failed} failures have none" if done.failed else ""
    yield f"score: {done.scored} answers scored{known} (scorer {done.scorer_version}){failed}"
    for text in done.missing:
        yield f"  missing: {text}"


def analysis_words(done: Analyzed) -> Iterator[str]:
    """Say what the analysis found, by each rule."""
    from groundlake.transition.report.facts import Verdict

    yield "analyze: nothing has changed since the last analysis" if done.was_current else "analyze: done"
    columns = [each.name for each in fields(Verdict)]
    for row in done.transitions.sort("comparison").select(columns).iter_rows(named=True):
        yield f"  {RULES[row['comparison']]}: {_verdict(Verdict(**row))}"
    flags = done.transitions["flags"].explode().drop_nulls().unique(maintain_order=True).to_list()
    for flag in flags:
        yield f"  odd: {flag}"
    for text in done.missing:
        yield f"  missing: {text}"


def budget_words(states: Mapping[float, str]) -> Iterator[str]:
    """Say of which budgets nobody knows whether they were applied, and which were not."""
    for state, what in UNSURE.items():
        budgets = [f"{budget:g}" for budget, found in states.items() if found == state]
        if budgets:
            yield f"  budget {', '.join(budgets)}: {what}"


def check_words(checks: Sequence[Check]) -> Iterator[str]:
    """Say of each check whether it passed."""
    width = max(len(each.name) for each in checks)
    for each in checks:
        yield f"{'ok    ' if each.passed else 'FAILED'} {each.name:<{width}}  {each.detail}"


def sample_words(rows: Sequence[SampleRow]) -> Iterator[str]:
    """Show each row: what was asked, what counts as right, what came, and its score."""
    for number, row in enumerate(rows, start=1):
        repeat = f", repeat {row.repeat}" if row.repeat > 1 else ""
        where = f"budget {row.budget:g}, bin {row.bin_index}, {row.prompt_tokens} tokens{repeat}"
        yield f"{number}. {_escaped(row.example_id)} at {where}"
        yield f"   question: {_one_line(row.question)}"
        yield f"   gold:     {' | '.join(_one_line(each) for each in row.answers)}"
        if row.failure is not None:
            yield f"   failure:  {row.failure}: {_one_line(row.message or 'no message')}"
        if row.text is not None:
            cut = " (cut by the limit of tokens)" if row.is_truncated else ""
            yield f"   answer:   {_one_line(row.text)}{cut}"
        if row.metric is not None:
            yield f"   score:    {row.metric} {row.accuracy:.3f}, exact match {row.exact_match:.0f}, F1 {row.f1:.3f}"


def _one_line(text: str) -> str:
    """Show a text as it is, but in one line, and nothing of a model that a terminal would not show."""
    shown = _escaped(json.dumps(text, ensure_ascii=False))
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}... ({len(text)} characters)"


def _escaped(text: str) -> str:
    """Write letters that are not seen, or turn others round, by their numbers; so too every space but the plain one."""
    return "".join(json.dumps(each)[1:-1] if category(each)[0] in "CZ" and each != " " else each for each in text)


def _verdict(verdict: Verdict) -> str:
    """Say whether quality collapses, by one rule, and where it does not, what was seen and why that is none."""
    from groundlake.transition.report.reading import unfound, with_interval

    if not verdict.is_detected:
        return f"no transition; {unfound(verdict)}"
    drop = with_interval(verdict.drop, verdict.drop_ci_lower, verdict.drop_ci_upper)
    where = f"from budget {verdict.from_budget:g} to {verdict.to_budget:g}"
    worst = "" if verdict.worst_bin is None else f"; bin {verdict.worst_bin} loses most ({verdict.worst_bin_drop:.3f})"
    return f"transition {where}: accuracy loses {drop}{worst}"


def _counts(failures: Mapping[str, int]) -> str:
    """Say how often each failure came, the most frequent first."""
    ordered = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {name}" for name, number in ordered)
