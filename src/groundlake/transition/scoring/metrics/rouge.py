"""ROUGE-L of summaries, with the values of the package `rouge` 1.0.1, which LongBench uses.

That package is not the ROUGE-L of most papers. It splits both texts into sentences at each ".", takes the longest
common subsequence of each gold sentence with each sentence of the answer, and counts the *different* words in all of
them together, against the different words of the whole texts (github.com/pltrdy/rouge, `rouge_l_summary_level` with
`exclusive=True`, which is its default). Case and punctuation count. It is written anew here because that package has
had no release since 2021 and needs time and memory for each pair of words; the same words are chosen among equally
long subsequences, so that values are the same to the last digit.

One thing differs. That package walks each pair of sentences by recursion. Where both together have about 1000 words
it reaches the limit of the interpreter, LongBench catches that and gives 0. This happens in Chinese texts, which have
no ".". Here such a pair gets its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPSILON: Final = 1e-8
"""Of the package: keeps its quotient finite, so that a text equal to the gold one gets 1 - 5e-9."""


def rouge_l(answer: str, gold: str) -> float:
    """Return the F1 of the different words in the longest common subsequences of the sentences of two texts."""
    answered, wanted = _sentences(answer), _sentences(gold)
    if not answered or not wanted:
        return 0.0
    candidates = [(sentence, _places(sentence)) for sentence in answered]
    shared: set[str] = set()
    for sentence in wanted:
        for candidate, places in candidates:
            shared |= _common(sentence, candidate, places)
    precision = len(shared) / len({word for sentence in answered for word in sentence})
    recall = len(shared) / len({word for sentence in wanted for word in sentence})
    return 2.0 * (precision * recall / (precision + recall + _EPSILON))


def _sentences(text: str) -> list[list[str]]:
    """Return the words of what stands between full stops; spaces alone are a sentence of one empty word there."""
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _places(words: Sequence[str]) -> dict[str, int]:
    """Return for each word the places where it stands, as the bits of a number."""
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << place
    return places


def _common(reference: Sequence[str], candidate: Sequence[str], places: dict[str, int]) -> set[str]:
    """Return the words of the longest common subsequence; among equally long ones, those that the package takes.

    The table of lengths is kept as bits (M. Crochemore et al., "A fast and practical bit-vector algorithm for the
    longest common subsequence problem", 2001): a bit of a row is 0 where the length grows by one at that word of the
    candidate. On the way back from the end, a word in common is taken; else the way leads up where the length grows
    here, for then it is already reached without this word of the reference, and else to the left.
    """
    if places.keys().isdisjoint(reference):
        return set()
    full = (1 << len(candidate)) - 1
    row = full
    rows = []
    for word in reference:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & full
        rows.append(row)
    taken: set[str] = set()
    i, j = len(reference) - 1, len(candidate) - 1
    while i >= 0 and j >= 0:
        if reference[i] == candidate[j]:
            taken.add(reference[i])
            i, j = i - 1, j - 1
        elif rows[i] >> j & 1:
            j -= 1
        else:
            i -= 1
    return taken
