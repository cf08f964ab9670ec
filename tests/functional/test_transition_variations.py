"""Evaluations that vary: bins, examples, limits, what is empty, what fails, what nobody tells; each comes to an end."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from llm_server import LlmServer, Received, Reply, error, events_of, stream, usage

from groundlake.schemas.transition_analysis import ALL_BINS
from groundlake.store import Lake
from groundlake.transition.analysis.analyze import analyze_group
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.data.prepare import prepare
from groundlake.transition.inference.run import run
from groundlake.transition.report import write_report
from groundlake.transition.scoring.score import score_group
from groundlake.transition.verification.sample import sample
from groundlake.transition.verification.verify import NAMES, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import polars as pl

CONFIG = """
dataset: {task: hotpotqa, path: data.jsonl, n_per_bin: 2}
binning: {n_bins: 3}
tokenizer: {name: words}
model: {name: test-model}
engine: {type: openai, concurrency: 4}
kv: {policy: snapkv, budgets: [1.0, 0.5], apply: extra_body, extra_body: {keep: "${budget}"}}
run: {retries: {max_attempts: 2, base_s: 0.0, cap_s: 0.0}}
analysis: {n_bootstrap: 100}
output: {exp_group_id: g}
"""
LENGTHS = (5, 10, 20, 40, 80, 160, 320, 640)
SAID = ("right ", "answer ", "indeed")


class Server(LlmServer):
    """Answers right, unless it `refuses` an example at a budget; `counts` says whether it tells numbers of tokens."""

    def __init__(self, refuses: Callable[[int, float], Reply | None], *, counts: bool) -> None:
        super().__init__()
        self.refuses, self.counts = refuses, counts

    def answer(self, received: Received) -> Reply:
        (message,) = received.body["messages"]
        (number,) = {int(each) for each in re.findall(r"number(\d+)", message["content"])}
        said = list(SAID[: received.body["max_tokens"]])
        counted = usage(len(message["content"].split()), len(said)) if self.counts else None
        finish = "stop" if len(said) == len(SAID) else "length"
        refusal = self.refuses(number, received.body["keep"])
        return refusal or stream(events_of(said, finish=finish, counted=counted))


def answers(_number: int, _budget: float) -> None:
    """Refuse nothing."""


def refuses_some(number: int, _budget: float) -> Reply | None:
    """Refuse one prompt, be broken for another, and say nothing to a third."""
    nothing = stream(events_of([], counted=usage(9, 0)))
    return {1: error(400), 3: nothing, 5: error(500)}.get(number)


def refuses_long_ones(number: int, budget: float) -> Reply | None:
    """Refuse what is long, where the cache is small."""
    return error(400) if budget < 1 and number > 2 else None


def refuses_all(_number: int, _budget: float) -> Reply:
    """Refuse everything."""
    return error(400)


@dataclass(frozen=True, kw_only=True)
class Variation:
    """What is other than usual, and what has to come of it.

    Attributes:
        overrides: Settings.
        lengths: Words of the context of each example.
        refuses: What the server does not answer.
        counts: Whether it tells numbers of tokens.
        bins: Examples that are asked, of each bin.
        budgets: What is kept of the cache, the whole first.
        repeats: How often each example is asked.
        failed: Failures of each budget.
        truncated: Whether every answer ends at the limit.
    """

    overrides: tuple[str, ...] = ()
    lengths: tuple[int, ...] = LENGTHS
    refuses: Callable[[int, float], Reply | None] = answers
    counts: bool = True
    bins: tuple[int, ...] = (2, 2, 2)
    budgets: tuple[float, ...] = (1.0, 0.5)
    repeats: int = 1
    failed: Mapping[float, int] = field(default_factory=dict)
    truncated: bool = False

    @property
    def planned(self) -> int:
        return sum(self.bins) * self.repeats


ONE_BIN, ONE_EACH, ONE_BUDGET = "binning.n_bins=1", "dataset.n_per_bin=1", "kv.budgets=[1.0]"
ONE_TOKEN, TWICE, THREE_EACH = "decoding.max_tokens=1", "decoding.repeats=2", "dataset.n_per_bin=3"
EMPTY = (0, 0, 0, 1, 1, 1, 80, 160)
QUICK = {
    "one of everything": Variation(
        overrides=(ONE_BIN, ONE_EACH, ONE_BUDGET, ONE_TOKEN), lengths=(20,), bins=(1,), budgets=(1.0,), truncated=True
    ),
    "more bins than examples, some of which fail": Variation(
        overrides=("binning.n_bins=11",), refuses=refuses_some, bins=(*[1] * 8, 0, 0, 0), failed={1.0: 3, 0.5: 3}
    ),
    "five bins, empty contexts, no telemetry": Variation(
        overrides=("binning.n_bins=5",), lengths=EMPTY, counts=False, bins=(2, 2, 1, 1, 0)
    ),
}
MORE = {
    "two repeats of which long ones fail where less is kept": Variation(
        overrides=(TWICE, THREE_EACH), refuses=refuses_long_ones, bins=(3, 2, 3), repeats=2, failed={0.5: 10}
    ),
    "one length, and nothing is answered": Variation(
        refuses=refuses_all, lengths=(20,) * 8, bins=(2, 0, 0), failed={1.0: 2, 0.5: 2}
    ),
    "one bin": Variation(overrides=(ONE_BIN,), bins=(2,)),
    "five bins": Variation(overrides=("binning.n_bins=5",), bins=(2, 1, 2, 1, 2)),
    "more bins than examples": Variation(overrides=("binning.n_bins=11",), bins=(*[1] * 8, 0, 0, 0)),
    "one length": Variation(lengths=(20,) * 8, bins=(2, 0, 0)),
    "one example of each bin": Variation(overrides=(ONE_EACH,), bins=(1, 1, 1)),
    "one budget": Variation(overrides=(ONE_BUDGET,), budgets=(1.0,)),
    "one token": Variation(overrides=(ONE_TOKEN,), truncated=True),
    "repeats": Variation(overrides=(TWICE,), repeats=2),
    "empty contexts": Variation(lengths=EMPTY),
    "no telemetry": Variation(counts=False),
    "failures": Variation(overrides=(THREE_EACH,), refuses=refuses_some, bins=(3, 2, 3), failed={1.0: 3, 0.5: 3}),
    "nothing answered": Variation(refuses=refuses_all, failed={1.0: 6, 0.5: 6}),
}


@pytest.mark.parametrize(
    "variation",
    [
        *(pytest.param(each, id=name) for name, each in QUICK.items()),
        *(pytest.param(each, id=name, marks=pytest.mark.slow) for name, each in MORE.items()),
    ],
)
def test_every_variation_goes_through_all_stages_and_is_done(variation: Variation, tmp_path: Path) -> None:
    lines = [
        {"_id": f"e{number}", "input": f"number{number}?", "context": "word " * words, "answers": ["".join(SAID)]}
        for number, words in enumerate(variation.lengths)
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "kv.yaml").write_text(CONFIG)
    lake = Lake(tmp_path / "lake")
    with Server(variation.refuses, counts=variation.counts) as server:
        told = (f"engine.base_url={server.url}", f"output.folder={tmp_path / 'results'}", *variation.overrides)
        settings = load_settings(tmp_path / "kv.yaml", told, {})
        prepared = prepare(settings, lake).prepared
        outcome = run(settings, lake)
    scoring = score_group(settings, lake)
    analyzed = analyze_group(settings, lake)
    report = write_report(settings, lake).read_text()

    assert tuple(prepared.bins["selected"]) == variation.bins
    failed = [variation.failed.get(budget, 0) for budget in variation.budgets]
    assert [each.failed for each in outcome.budgets] == failed
    assert [each.answered for each in outcome.budgets] == [variation.planned - each for each in failed]
    assert scoring.scored == variation.planned * len(variation.budgets) - sum(failed)
    assert analyzed.transitions["is_detected"].to_list() == [_collapses(variation)] * 2
    _keeps_the_invariants(lake, variation)
    assert not re.search(r"\b(nan|None|NaN|inf)\b", report)
    assert "PARTIAL RUN" not in report
    checks = verify(settings, lake)
    assert [check.name for check in checks] == list(NAMES)
    assert [check for check in checks if not check.passed] == []


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a task is asked, and answered with the whole cache and with half of it.

    Attributes:
        question: Its `input`.
        gold: The right answer.
        whole: What is said with the whole cache, which is right.
        half: What is said with half of it.
        score: Of the latter, worked out by hand.
        metric: By what it is scored.
        path: Where the request goes.
        classes: Classes to choose from.
    """

    question: str
    gold: str
    whole: str
    half: str
    score: float
    metric: str
    path: str = "/v1/chat/completions"
    classes: tuple[str, ...] = ()


SUMMARY = "the agency spent two million on roads"
TASKS = {
    # One of three words is there: F1 of precision 1 and recall 1/3.
    "hotpotqa": Asked(
        question="Who?", gold="one two three", whole="One two three.", half="three", score=0.5, metric="qa_f1"
    ),
    # Fixed answers: two classes are named, and one is right. Only the first line counts.
    "trec": Asked(
        question="Question: Who?\nType:",
        gold="Individual",
        whole=" Individual\nQuestion: Where?\nType: Country",
        half=" Individual or Country",
        score=0.5,
        metric="classification",
        path="/v1/completions",
        classes=("Individual", "Country", "Date"),
    ),
    # Free answers, and no question: the longest common sequence has 3 of 7 words, so F is 2 * 3/7 / (1 + 3/7).
    "gov_report": Asked(question="", gold=SUMMARY, whole=SUMMARY, half="the agency spent", score=0.6, metric="rouge_l"),
}


class Speaker(LlmServer):
    """Says what a task says with as much of the cache as it is told to keep."""

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.asked = asked

    def answer(self, received: Received) -> Reply:
        assert received.path == self.asked.path
        said = self.asked.whole if received.body["keep"] == 1 else self.asked.half
        return stream(events_of([said], chat="messages" in received.body, counted=usage(9, 3)))


@pytest.mark.parametrize("task", [pytest.param("hotpotqa", marks=pytest.mark.slow), "trec", "gov_report"])
def test_every_kind_of_task_goes_through_all_stages(task: str, tmp_path: Path) -> None:
    asked = TASKS[task]
    lines = [
        {"_id": f"e{number}", "input": asked.question, "context": f"number{number} {'word ' * words}"}
        | {"answers": [asked.gold], "all_classes": list(asked.classes) or None}
        for number, words in enumerate(LENGTHS)
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "kv.yaml").write_text(CONFIG)
    lake = Lake(tmp_path / "lake")
    with Speaker(asked) as server:
        told = (f"dataset.task={task}", f"engine.base_url={server.url}", f"output.folder={tmp_path / 'results'}")
        settings = load_settings(tmp_path / "kv.yaml", told, {})
        prepare(settings, lake)
        outcome = run(settings, lake)
    score_group(settings, lake)
    analyzed = analyze_group(settings, lake)
    report = write_report(settings, lake).read_text()

    assert [(each.answered, each.failed) for each in outcome.budgets] == [(6, 0), (6, 0)]
    means = lake.sql("SELECT budget, accuracy FROM kv_bin_stats WHERE bin_index = -1").rows()
    assert dict(means) == pytest.approx({1.0: 1.0, 0.5: asked.score})
    for row in analyzed.transitions.to_dicts():
        assert (row["is_detected"], row["drop"]) == (True, pytest.approx(1 - asked.score))
    assert f"scored by `{asked.metric}`" in report
    assert not re.search(r"\b(nan|None|NaN|inf)\b", report)
    shown = sample(settings, lake, n=12)
    assert {(each.question, each.answers, each.metric) for each in shown} == {
        (asked.question, (asked.gold,), asked.metric)
    }
    assert {each.text for each in shown} == {asked.whole, asked.half}
    assert [check for check in verify(settings, lake) if not check.passed] == []


def _collapses(variation: Variation) -> bool:
    """Whether the smaller budget loses answers that the whole cache gives."""
    return variation.failed.get(0.5, 0) > variation.failed.get(1.0, 0)


def _keeps_the_invariants(lake: Lake, variation: Variation) -> None:
    """Every request has one end, every bin a row, and what is not known is NULL and never 0."""
    assert lake.sql("SELECT violation FROM kv_integrity").rows() == []
    summary = lake.sql("SELECT * FROM kv_run_summary ORDER BY budget DESC").pl()
    assert tuple(summary["budget"]) == variation.budgets
    for row in summary.to_dicts():
        failed = variation.failed.get(row["budget"], 0)
        assert row["planned_requests"] == row["num_answered"] + row["num_failed"] == variation.planned
        assert (row["num_failed"], row["is_complete"], row["is_scored"]) == (failed, True, True)
        assert row["num_truncated"] == (row["num_answered"] if variation.truncated else 0)
        knows_tokens = variation.counts and row["num_answered"] > 0
        assert (row["mean_completion_tokens"] is None) == (not knows_tokens)
        assert (row["latency_p50_ms"] is None) == (row["num_answered"] == 0)
    bins = lake.sql("SELECT * FROM kv_bin_stats ORDER BY budget DESC, bin_index").pl()
    _checks_bins(bins, variation)


def _checks_bins(bins: pl.DataFrame, variation: Variation) -> None:
    inside = [sum(variation.bins), *variation.bins]
    numbers = range(ALL_BINS, len(variation.bins))
    assert bins["bin_index"].to_list() == [*numbers] * len(variation.budgets)
    assert bins["num_examples"].to_list() == inside * len(variation.budgets)
    for row in bins.to_dicts():
        assert (row["accuracy"] is None) == (row["num_answered"] == 0)
        assert (row["accuracy_all"] is None) == (row["failure_rate"] is None) == (row["num_requests"] == 0)
        if row["num_answered"] and not variation.truncated:
            assert row["accuracy"] == 1
        if row["num_requests"]:
            right = 0.0 if row["accuracy"] is None else row["accuracy"]
            assert row["failure_rate"] == pytest.approx(row["num_failed"] / row["num_requests"])
            assert row["accuracy_all"] == pytest.approx(right * (1 - row["failure_rate"]))
