"""What `lake kv sample` shows of texts that were written by others."""

from __future__ import annotations

from unicodedata import category

import pytest

from groundlake.cli.kv_words import sample_words
from groundlake.transition.verification.sample import SampleRow

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
