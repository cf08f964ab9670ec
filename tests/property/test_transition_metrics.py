"""Metrics on generated texts: beside plain computations, and by what must hold for any text."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundlake.llm import Failure
from groundlake.transition.scoring.answer import score_answer
from groundlake.transition.scoring.failures import FAILURES, classify, strip_reasoning
from groundlake.transition.scoring.metrics.code import code_similarity
from groundlake.transition.scoring.metrics.normalize import normalize, normalize_zh
from groundlake.transition.scoring.metrics.qa import qa_f1
from groundlake.transition.scoring.metrics.rouge import rouge_l
from groundlake.transition.scoring.tasks import TASKS

WORDS = st.lists(st.sampled_from(["cat", "dog", "saw", "the", "A", "1999", "U.S.", "été"]), max_size=8).map(" ".join)
LETTERS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=7)
ENGLISH = sorted(name for name, task in TASKS.items() if task.metric in {"qa_f1", "rouge_l", "code_similarity"})


@given(WORDS, WORDS)
def test_f1_is_that_of_the_two_bags_of_words(answer: str, gold: str) -> None:
    bags = Counter(normalize(answer).split()), Counter(normalize(gold).split())
    sizes = bags[0].total() if hasattr(bags[0], "total") else sum(bags[0].values()), sum(bags[1].values())
    shared = sum(min(bags[0][word], bags[1][word]) for word in bags[0])
    expected = 2 * shared / sum(sizes) if shared else 0.0
    assert qa_f1(answer, gold) == pytest.approx(expected, abs=1e-12)
    assert qa_f1(gold, answer) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(LETTERS, LETTERS)
@example(list("aab"), list("aba"))
def test_rouge_takes_the_words_of_a_longest_common_subsequence(answer: list[str], gold: list[str]) -> None:
    value = rouge_l(" ".join(answer), " ".join(gold))
    possible = set()
    for length in range(min(len(answer), len(gold)), 0, -1):
        common = set(combinations(answer, length)) & set(combinations(gold, length))
        if common:
            possible = {len(set(sequence)) for sequence in common}
            break
    values = [2 * words / (len(set(answer)) + len(set(gold))) for words in possible] or [0.0]
    assert min(abs(value - other) for other in values) < 1e-7


@given(st.text(max_size=60), st.text(min_size=1, max_size=60))
def test_values_are_between_0_and_1_for_any_text(answer: str, gold: str) -> None:
    for metric in (qa_f1, rouge_l, code_similarity):
        assert 0 <= metric(answer, gold) <= 1


@given(st.text(max_size=60))
def test_to_normalise_again_changes_nothing(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)
    assert normalize_zh(normalize_zh(text)) == normalize_zh(text)


@given(st.sampled_from(ENGLISH), WORDS, st.lists(WORDS, min_size=1, max_size=4), WORDS)
def test_more_gold_answers_never_lower_a_score(name: str, answer: str, golds: list[str], more: str) -> None:
    scored, wider = (score_answer(TASKS[name], answer, each) for each in (golds, [*golds, more]))
    assert wider.accuracy >= scored.accuracy
    assert score_answer(TASKS[name], answer, golds[::-1]).accuracy == scored.accuracy


@given(WORDS.filter(normalize), st.lists(WORDS.filter(normalize), max_size=3))
def test_the_gold_answer_itself_is_exact(gold: str, others: list[str]) -> None:
    scored = score_answer(TASKS["hotpotqa"], gold, [*others, gold])
    assert (scored.accuracy, scored.exact_match, scored.f1) == (1, 1, 1)


PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<thinking>", "</thinking>", "<", "x", "\n"]), max_size=10)


@given(PIECES.map("".join))
def test_thoughts_are_taken_out_of_any_text_and_nothing_is_lost(text: str) -> None:
    spoken = strip_reasoning(text)
    assert len(spoken.text) + len(spoken.reasoning) == len(text)
    assert "think>" not in spoken.text or spoken.text == text
    assert strip_reasoning(spoken.text).text == spoken.text


@given(st.text(max_size=20), st.text(max_size=80), st.none() | st.integers(100, 599), st.text(max_size=40))
def test_every_failure_has_a_word(code: str, message: str, status: int | None, text: str) -> None:
    assert classify(Failure(code=code, message=message, status=status), text, None) in FAILURES
    assert classify(None, text, None) in {None, *FAILURES}
