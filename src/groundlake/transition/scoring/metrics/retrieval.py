"""Answers that are numbers: which share of the numbers in an answer is the right one?"""

from __future__ import annotations

import re

from groundlake.errors import UsageError


def count(answer: str, gold: str) -> float:
    """Return the share of the numbers in the answer that are the gold one, which is a number; 0 without any."""
    numbers = re.findall(r"\d+", answer)
    return numbers.count(gold) / len(numbers) if numbers else 0.0


def retrieval(answer: str, gold: str) -> float:
    """Return the share of the numbers in the answer that are the one of the gold "Paragraph 7".

    Raises:
        UsageError: The gold answer has another form.
    """
    return count(answer, _number(gold, "Paragraph "))


def retrieval_zh(answer: str, gold: str) -> float:
    """Return the share of the numbers in the answer that are the one of the gold "段落7".

    Raises:
        UsageError: The gold answer has another form.
    """
    return count(answer, _number(gold, "段落"))


def _number(gold: str, word: str) -> str:
    found = re.search(rf"{word}(\d+)", gold)
    if found is None:
        raise UsageError(f"the gold answer of a retrieval task must be like {word + '7'!r}, got {gold[:80]!r}")
    return found[1]
