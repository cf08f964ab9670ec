"""How alike two lines of code are."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Final

_NO_CODE: Final = ("`", "#", "//")
"""A line with one of these is a fence or a comment; or it has a comment behind the code, and is not taken either."""


def code_similarity(answer: str, gold: str) -> float:
    """Return how alike the first line of code of an answer is to the gold line, in whole hundredths.

    LongBench asks `fuzzywuzzy.fuzz.ratio`, which has two values: with `python-Levenshtein` installed 1 - (insertions
    and deletions) / (both lengths), without it `difflib`'s ratio. LongBench does not ask for that package, so that
    `difflib` made its values; `rapidfuzz` and `thefuzz` give the other one, which is never lower. `difflib` passes over
    letters that stand in more than a hundredth of a gold line of 200 letters or more (its `autojunk`).
    """
    lines = answer.lstrip("\n").split("\n")
    line = next((line for line in lines if not any(mark in line for mark in _NO_CODE)), "")
    if line == gold:
        return 1.0
    if not line or not gold:
        return 0.0
    return round(100 * SequenceMatcher(None, line, gold).ratio()) / 100
