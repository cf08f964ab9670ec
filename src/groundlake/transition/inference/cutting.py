"""Takes the middle out of prompts that are too long, as LongBench does it: beginnings and ends say most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from groundlake.errors import UsageError
from groundlake.transition.data.tokens import counter_named

if TYPE_CHECKING:
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.prepared import Prepared
    from groundlake.transition.data.tokens import Counter
    from groundlake.transition.scoring.tasks import Task

ROOM_OF_CONVERSATION: Final = 64
"""Tokens kept free for what a model's template of a conversation adds, which the tokenizer alone does not tell."""


def room_of(task: Task) -> int:
    """Return the tokens that are kept free of a prompt of a task."""
    return ROOM_OF_CONVERSATION if task.chat_template else 0


class Cutter:
    """Shortens contexts until the prompt fits.

    Args:
        settings: Names the tokenizer.
        prepared: The data set whose tokens it counted.
        task: Makes the prompt.
        limit: Most tokens of a prompt.

    Raises:
        UsageError: Tokens were counted by an approximation, or the tokenizer is another one than the data set's.
    """

    def __init__(self, settings: Settings, prepared: Prepared, task: Task, limit: int) -> None:
        counter = counter_named(settings.tokenizer_source)
        if counter.is_approximate:
            raise UsageError(
                f"run.truncation: middle cuts prompts by tokens, and {counter.name} cannot tell them\n"
                "  give the tokenizer of the model (tokenizer.path or tokenizer.name), or take error"
            )
        if counter.fingerprint != prepared.tokenizer_fingerprint:
            raise UsageError(
                f"tokenizer {settings.tokenizer_source}: it is another one than counted the data set of group "
                f"{prepared.exp_group_id}\n  lake kv prepare first"
            )
        self._counter: Counter = counter
        self._task = task
        self._limit = limit - room_of(task)

    def cut(self, context: str, question: str) -> str | None:
        """Return the first and the last half of so many tokens of a context as fit; None where nothing does.

        Args:
            context: What is cut.
            question: It stays whole, as does the template.
        """
        spans = self._counter.spans(context)
        kept = min(len(spans) - self._excess(context, question), len(spans) - 1)
        while kept > 0:
            first, last = (kept + 1) // 2, kept // 2
            # Up to where the next token begins: what separates words need not be part of a token.
            shorter = context[: spans[first][0]] + (context[spans[-last][0] :] if last else "")
            excess = self._excess(shorter, question)
            if excess <= 0:
                return shorter
            kept -= excess
        return None

    def _excess(self, context: str, question: str) -> int:
        """Return by how many tokens a prompt is too long."""
        return self._counter.count([self._task.prompt(context, question)])[0] - self._limit
