"""Answers to questions: are they the gold answer, and how many words do they share with it?"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from groundlake.transition.scoring.metrics.normalize import SHORT, normalize

if TYPE_CHECKING:
    from collections.abc import Sequence


def exact_match(answer: str, gold: str) -> float:
    """Return 1 where both are the same once normalised, else 0; two texts of which nothing is left are the same."""
    return float(normalize(answer) == normalize(gold))


def qa_f1(answer: str, gold: str) -> float:
    """Return the F1 of the words of both, as LongBench has it: 0 where nothing is left of one of them, or of both."""
    return token_f1(words(answer), words(gold))


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text, normalised."""
    return _words(text) if len(text) <= SHORT else tuple(normalize(text).split())


@lru_cache(maxsize=16384)  # several metrics ask for those of the same answer, and all budgets for those of gold
def _words(text: str) -> tuple[str, ...]:
    return tuple(normalize(text).split())


def squad_f1(answer: tuple[str, ...], gold: tuple[str, ...]) -> float:
    """Return the F1 of the words of both, as SQuAD 2.0 has it: 1 where there are none on either side.

    Args:
        answer: Its words, normalised.
        gold: Those of the gold answer.
    """
    return token_f1(answer, gold) if answer and gold else float(not answer and not gold)


@lru_cache(maxsize=1024)  # LongBench's F1 and that of SQuAD are mostly of the same words
def token_f1(answer: tuple[str, ...], gold: tuple[str, ...]) -> float:
    """Return the harmonic mean of the shares of the answer and of the gold answer that are in the other.

    A word that stands twice in both is shared twice; one that stands twice in one of them, once.
    """
    there = set(gold)
    common = [token for token in answer if token in there]
    shared = sum((Counter(common) & Counter(gold)).values()) if len(common) > 1 else len(common)
    if shared == 0:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def gold_answers(answers: Sequence[str]) -> list[str]:
    """Return the gold answers of which something is left once they are normalised; [""] where of none.

    The rule of SQuAD 2.0: a question without an answer is answered by nothing.
    """
    return [answer for answer in answers if normalize(answer)] or [""]
