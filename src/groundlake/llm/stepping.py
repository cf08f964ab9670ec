"""Notes each token of a batch when it is there, and ends each answer where it ends."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

SPARE_TOKENS = 8
"""Tokens that are read besides those in which the text that ends an answer may lie."""


class Steps:
    """Called by transformers behind every step, as a criterion of when to stop, with all tokens so far.

    It alone decides where an answer ends: transformers would fill up a finished answer with padding, or not, depending
    on why it ended, and would not say.

    Args:
        prompt_length: Columns of the prompts, with their padding.
        batch: Number of prompts.
        eos_token_ids: Tokens that end an answer; none where they are to be ignored.
        stop: Texts that end an answer.
        decode: Gives the text of tokens.
        settle: Waits until the device has done its work.

    Attributes:
        arrivals_s: For each prompt, when each token of its answer was there.
        reasons: For each prompt, `stop` where its answer has ended by itself, else None.
    """

    def __init__(
        self,
        *,
        prompt_length: int,
        batch: int,
        eos_token_ids: Collection[int],
        stop: Sequence[str],
        decode: Callable[[Sequence[int]], str],
        settle: Callable[[], None],
    ) -> None:
        self._prompt_length = prompt_length
        self._eos_token_ids = frozenset(eos_token_ids)
        self._stop = tuple(stop)
        # A token is a byte at least, and a character has four bytes at most.
        self._tail = 4 * max(map(len, stop), default=0) + SPARE_TOKENS
        self._decode = decode
        self._settle = settle
        self.arrivals_s: list[list[float]] = [[] for _ in range(batch)]
        self.reasons: list[str | None] = [None] * batch

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        """Note the tokens of this step; return for each row whether its answer has ended, of shape (batch,)."""
        self._settle()
        moment_s = perf_counter()
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self.reasons[row] is not None:
                continue
            self.arrivals_s[row].append(moment_s)
            if token in self._eos_token_ids or self._says_stop(input_ids[row]):
                self.reasons[row] = "stop"
        return torch.tensor([reason is not None for reason in self.reasons], device=input_ids.device)

    def _says_stop(self, row: torch.Tensor) -> bool:
        if not self._stop:
            return False
        tail = self._decode(row[self._prompt_length :][-self._tail :].tolist())
        return any(text in tail for text in self._stop)
