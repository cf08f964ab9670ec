"""Questions for the value of one record among many, in the format of LongBench; the same seed gives the same text.

A context is `bako: limen ferto ; duli: ...`, a question `? bako:`, its answer `limen ferto`. Keys differ within a
context, and so do the first words of the values: nothing but the record itself tells the answer. The answer has two
words, because the first token behind a prompt may have seen more of the cache than was kept; the second has not.

    python -m groundlake.transition.recall.questions FILE [--per-length N] [--records N ...] [--seed N] [--growing]

`data/kv_recall.jsonl` beside this file is what it makes without any option.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TASK = "kv_recall"
WORDS_EACH = 160
"""Keys, first words and second words that there are."""
STRIDE = 1009
"""A prime that divides no number of words, so that none comes twice."""
RECORDS = (16, 32, 64, 127)
"""Records of a context, by default. With a token for the beginning: 65, 129, 257 and 509 tokens."""
TOKENS_PER_RECORD = 4
RECORDS_PER_QUESTION = 16
"""Where longer contexts ask for more: a question for so many records."""


def _words(*places: str) -> tuple[str, ...]:
    """Return words with a letter of each place, spread over all that there are."""
    every = ["".join(letters) for letters in product(*places)]
    return tuple(every[STRIDE * number % len(every)] for number in range(WORDS_EACH))


_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
KEYS = _words(_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS)
FIRST_WORDS = _words(_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, "n")
SECOND_WORDS = _words(_CONSONANTS, _VOWELS, "r", _CONSONANTS, _VOWELS)


def rows(
    *, per_length: int = 40, records: Sequence[int] = RECORDS, seed: int = 0, growing: bool = False
) -> Iterator[dict[str, object]]:
    """Make questions in the format of LongBench.

    Args:
        per_length: Contexts of each length.
        records: Records of a context, for each length.
        seed: Of the contexts and questions. A context does not depend on how many others there are.
        growing: Ask longer contexts for more: one question for each 16 records, each in a row of its own. An item, that
            is a context, is right only where all its questions are (`whole_items`). So accuracy falls with length even
            where every single question is equally hard: that is a property of the question, not of the compression.

    Yields:
        Rows; `length` is the number of words of the context, as LongBench counts English.

    Raises:
        UsageError: No such number of contexts or records.
    """
    if per_length < 1:
        raise UsageError(f"per_length must be at least 1, got {per_length}")
    for count in records:
        if not 1 <= count <= WORDS_EACH:
            raise UsageError(f"records of a context must be 1 to {WORDS_EACH}, got {count}")
        for number in range(per_length):
            yield from _of_context(count, number, seed=seed, growing=growing)


def _of_context(count: int, number: int, *, seed: int, growing: bool) -> Iterator[dict[str, object]]:
    """Make the questions about one context."""
    random = Random(f"recall:{seed}:{count}:{number}")  # noqa: S311 - nothing secret; a text seeds it the same everywhere
    keys = random.sample(KEYS, count)
    values = [f"{word} {random.choice(SECOND_WORDS)}" for word in random.sample(FIRST_WORDS, count)]
    context = " ".join(f"{key}: {value} ;" for key, value in zip(keys, values, strict=True))
    item = f"recall-{count:03d}-{seed}-{number:04d}"
    asked = random.sample(range(count), max(1, count // RECORDS_PER_QUESTION) if growing else 1)
    for place, record in enumerate(asked):
        yield {
            "_id": f"{item}-q{place}" if growing else item,
            "dataset": TASK,
            "input": f"? {keys[record]}:",
            "context": context,
            "answers": [values[record]],
            "length": len(context.split()),
            "language": "en",
            "all_classes": None,
        }


def whole_items(accuracies: Mapping[str, float]) -> dict[str, float]:
    """Return the accuracy of each item of growing data: that of its worst question.

    Args:
        accuracies: Accuracy of each question, by its id.
    """
    items: dict[str, list[float]] = defaultdict(list)
    for example_id, accuracy in accuracies.items():
        items[example_id.rpartition("-q")[0] or example_id].append(accuracy)
    return {item: min(of_item) for item, of_item in items.items()}


def write_rows(path: Path | str, given: Iterator[dict[str, object]]) -> int:
    """Write rows as JSON lines, one after the other; return how many."""
    written = 0
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for row in given:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    return written


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m groundlake.transition.recall.questions", description=__doc__)
    parser.add_argument("file", help="where the JSON lines go")
    parser.add_argument("--per-length", type=int, default=40, help="contexts of each length (default: 40)")
    parser.add_argument("--records", type=int, nargs="+", default=RECORDS, help="records of a context, for each length")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--growing", action="store_true", help="ask longer contexts for more")
    given = parser.parse_args(arguments)
    try:
        made = rows(per_length=given.per_length, records=given.records, seed=given.seed, growing=given.growing)
        written = write_rows(given.file, made)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{given.file}: {written} questions\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
