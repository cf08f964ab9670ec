"""What `lake kv analyze` says of its verdicts, and `lake kv sample` shows of texts that were written by others."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unicodedata import category

import polars as pl
import pytest

from groundlake.cli.kv_words import analysis_words, run_words, sample_words
from groundlake.transition.analysis.analysis import analyze
from groundlake.transition.analysis.analyze import Analyzed
from groundlake.transition.configuration.settings import AnalysisSettings
from groundlake.transition.inference.outcome import RunOutcome
from groundlake.transition.verification.sample import SampleRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEEN = "Ein Fluß: 水火, naïve, 100 %, e\u0301, 😀"


def shown(text: str) -> list[str]:
    """The lines of a sample in which everything is this text."""
    row = SampleRow(
        request_id="r",
        example_id=text,
        budget=1.0,
        bin_index=0,
        prompt_tokens=9,
        state="failed",
        repeat=1,
        question=text,
        answers=(text,),
        failure="ENGINE_ERROR",
        message=text,
        text=text,
        is_truncated=False,
        metric=None,
        accuracy=None,
        exact_match=None,
        f1=None,
        normalized_answer=None,
        normalized_gold=None,
        finish_reason=None,
    )
    return list(sample_words([row]))


def found(scores: Mapping[float, Sequence[float | None]], significance: str = "interval") -> list[str]:
    """What is said of an analysis of these scores by budget; None is a request that has no outcome."""
    rows = [
        {"budget_id": f"b{budget:g}", "budget": budget, "example_id": f"e{number}", "bin_index": 0}
        | {"accuracy": score, "accuracy_all": score, "exact_match": None, "failed": None if score is None else 0.0}
        | {"budget_verified": True, "latency_ms": None}
        for budget, those in scores.items()
        for number, score in enumerate(those)
    ]
    settings = AnalysisSettings.model_validate({"significance": significance})
    transitions = analyze(pl.DataFrame(rows, infer_schema_length=None), "g", settings).transitions
    done = Analyzed(run_id="r", was_current=False, transitions=transitions, states={}, missing=())
    return [line.strip() for line in analysis_words(done) if not line.startswith(("analyze", "  odd"))]


HALF, NONE = [1.0, 0.0] * 10, [0.0] * 20


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (
            {1.0: [1.0, 1.0, 0.0, 1.0], 0.5: [0.0, 1.0, 0.5, 0.5]},
            (
                "the largest drop seen is 0.250 [-0.250, 0.750], from budget 1 to 0.5: the threshold of 0.15 is "
                "reached, but the interval does not exclude 0; more examples would tell"
            ),
        ),
        (
            {1.0: [0.5] * 20, 0.5: [0.4] * 20},
            "the largest drop seen is 0.100 [0.100, 0.100], from budget 1 to 0.5: below the threshold of 0.15",
        ),
        ({1.0: HALF, 0.5: HALF}, "nothing is lost"),
        ({1.0: [0.4] * 20, 0.5: [0.45] * 20}, "nothing is lost: the least gain is +0.050, from budget 1 to 0.5"),
        ({1.0: [1.0, None], 0.5: [None, 1.0]}, "nothing could be compared: no example has an outcome at two budgets"),
    ],
    ids=["within chance", "below the threshold", "equal", "a gain", "nothing in common"],
)
def test_where_no_transition_is_found_the_reason_is_said(
    scores: Mapping[float, Sequence[float | None]], told: str
) -> None:
    assert found(scores) == [
        f"between neighbouring budgets: no transition; {told}",
        f"against the largest budget: no transition; {told}",
    ]


def test_a_transition_is_said_with_its_budgets_its_interval_and_its_bin() -> None:
    told = "transition from budget 1 to 0.5: accuracy loses 0.500 [0.300, 0.700]; bin 0 loses most (0.500)"
    assert found({1.0: HALF, 0.5: NONE})[0] == f"between neighbouring budgets: {told}"


def test_letters_that_are_seen_are_shown_as_they_are() -> None:
    assert all(SEEN in line for line in shown(SEEN))


@pytest.mark.parametrize(
    "letter",
    [
        *("\x1b", "\x7f", "\x9b", "\u00ad", "\u202e", "\u2066", "\ufeff", "\u2028", "\u2029", "\u00a0", "\u3000"),
        *("\ue000", "\U000e0041", "\U000effff", "\ud800", "\n", "\t"),
    ],
    ids=ascii,
)
def test_letters_that_are_not_seen_are_written_by_their_numbers(letter: str) -> None:
    lines = shown(f"before{letter}after")
    assert len(lines) == 5
    for line in lines:
        assert all(each == " " or category(each)[0] not in "CZ" for each in line), ascii(line)
        assert "before\\" in line


def test_a_device_that_was_not_known_before_is_told_with_the_answers() -> None:
    outcome = RunOutcome(budgets=(), interrupted=False, brought_in=0, forced=None, remark="bench is a new device id")
    assert list(run_words(outcome)) == ["run: bench is a new device id"]
