"""What the recall model is shown, in an order in which it can learn it: first to copy, then to look up.

A model of two layers that is only shown questions stays at guessing. Copying segments in another order makes it learn
to find where a token stood before and to go on from there; looking up a key is then the same. Each level starts when
the one before is mastered, not at a fixed step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.transition.recall.questions import RECORDS, TOKENS_PER_RECORD, WORDS_EACH
from groundlake.transition.recall.tokenizer import ASK_ID, BEGIN_ID, END_ID, FIRST_WORD_ID

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

BATCH_TOKENS = 2048
COPY_LEVELS = (((8, 24), 1), ((8, 24), 2), ((8, 16), 4), ((6, 10), 8), ((4, 6), 16), ((4, 4), 32))
"""Shortest and longest segment in tokens, and number of segments."""
QUESTIONS = 32
"""Questions about a context, at most, each with its answer, in one sequence."""
FEWEST_RECORDS = 4
EARLIER = 0.3
"""Share of the batches that come from levels up to the present one, so that they are not forgotten."""
SMALLER = 0.5
"""Share of the batches of look-ups with fewer records than the level has."""
COPY_DECAY, COPY_START, COPY_MASTERED = 0.93, 3.0, 0.7
"""A level of copies is mastered when the moving average of its loss, in nats, is below."""
LOOK_UP_DECAY, LOOK_UP_MASTERED = 0.95, 0.9
"""A level of look-ups is mastered when the moving average of the share of right tokens is above."""


@dataclass(frozen=True)
class Batch:
    """Token sequences of one length, of shape (sequences, length), and where the next token can be known.

    Attributes:
        ids: The tokens.
        known: Of shape (sequences, length - 1): whether token t + 1 follows from tokens 0 to t.
    """

    ids: Ids
    known: NDArray[np.bool_]


def copies(random: np.random.Generator, shortest: int, longest: int, segments: int) -> Batch:
    """Return segments of random words, followed by the same segments in another order.

    No word stands twice in the first half, so that what follows a word is known from its second token on.
    """
    length = int(random.integers(shortest, longest + 1))
    total = 1 + 2 * segments * length
    ids = np.empty((BATCH_TOKENS // total, total), dtype=np.int64)
    ids[:, 0] = BEGIN_ID
    for row in ids:
        once = random.permutation(3 * WORDS_EACH)[: segments * length] + FIRST_WORD_ID
        row[1 : 1 + once.size] = once
        row[1 + once.size :] = once.reshape(segments, length)[random.permutation(segments)].ravel()
    known = np.zeros((len(ids), total - 1), dtype=bool)
    again = known[:, segments * length :].reshape(len(ids), segments, length)
    again[:, :, 1:] = True
    known[:, segments * length :] = again.reshape(len(ids), -1)
    return Batch(ids, known)


def look_ups(random: np.random.Generator, records: int) -> Batch:
    """Return contexts of so many records, each followed by questions with their answers."""
    questions = min(records, QUESTIONS)
    start = 1 + TOKENS_PER_RECORD * records
    total = start + (1 + TOKENS_PER_RECORD) * questions
    ids = np.empty((max(1, BATCH_TOKENS // total), total), dtype=np.int64)
    ids[:, 0] = BEGIN_ID
    for row in ids:
        parts = [random.permutation(WORDS_EACH)[:records], random.permutation(WORDS_EACH)[:records]]
        parts.append(random.integers(0, WORDS_EACH, records))
        words = [FIRST_WORD_ID + place * WORDS_EACH + part for place, part in enumerate(parts)]
        table = np.stack([*words, np.full(records, END_ID)], axis=1)
        row[1:start] = table.ravel()
        asked = table[random.permutation(records)[:questions]]
        row[start:] = np.concatenate([np.full((questions, 1), ASK_ID), asked], axis=1).ravel()
    known = np.zeros((len(ids), total - 1), dtype=bool)
    for answer in range(3):  # behind the mark and the key: two words and the end
        known[:, start + 1 + answer :: 1 + TOKENS_PER_RECORD] = True
    return Batch(ids, known)


class Course:
    """Gives batches, and goes on to the next level when one is mastered.

    Args:
        seed: Of all that is drawn.

    Attributes:
        passed: When each level was mastered: its name and the step.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._level = 0
        self._at_level = True
        self._average = COPY_START
        self.passed: list[tuple[str, int]] = []

    @property
    def _copying(self) -> bool:
        return self._level < len(COPY_LEVELS)

    def batch(self) -> Batch:
        """Return the next batch."""
        random = self._random
        self._at_level = bool(random.random() >= EARLIER)
        if self._copying:
            level = self._level if self._at_level else int(random.integers(0, self._level + 1))
            (shortest, longest), segments = COPY_LEVELS[level]
            return copies(random, shortest, longest, segments)
        stage = self._level - len(COPY_LEVELS)
        records = RECORDS[stage if self._at_level else int(random.integers(0, stage + 1))]
        if random.random() < SMALLER:
            records = int(random.integers(FEWEST_RECORDS, records + 1))
        return look_ups(random, records)

    def note(self, step: int, loss: float, accuracy: float) -> None:
        """Take what came of the last batch, and go on where its level is mastered."""
        if not self._at_level:
            return
        if self._copying:
            self._average += (1 - COPY_DECAY) * (loss - self._average)
            mastered = self._average < COPY_MASTERED
        else:
            self._average += (1 - LOOK_UP_DECAY) * (accuracy - self._average)
            mastered = self._average > LOOK_UP_MASTERED
        last = self._level == len(COPY_LEVELS) + len(RECORDS) - 1
        if mastered and not (last and self.passed and self.passed[-1][0] == self._name()):
            self.passed.append((self._name(), step))
            self._level += not last
            self._average = COPY_START if self._copying else 0.0

    def _name(self) -> str:
        if self._copying:
            return f"copies {self._level + 1}"
        return f"look-ups among {RECORDS[self._level - len(COPY_LEVELS)]}"

    def summary(self) -> dict[str, Any]:
        """Return when each level was mastered, by its name."""
        return dict(self.passed)
