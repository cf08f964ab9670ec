"""What every engine is asked, and what it answers.

A budget is the fraction of the KV cache that is kept, above 0 and at most 1. It is set beside the prompt and never in
it: a prompt that names its budget is another prompt for each budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from groundlake.llm.generation import Failure, Generation

    Setting = str | int | float | bool | None

WHOLE: Final = 1.0
"""The budget at which nothing is taken away."""
SEEDS: Final = 2**63
"""Seeds are below this."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is asked, in the two parts that a policy may treat differently.

    Attributes:
        context: What can be compressed before the question is known: all of the prompt up to the question.
        question: The rest, up to where the answer begins.
        system: What stands before a conversation, where there is one.
    """

    context: str
    question: str
    system: str | None = None

    @property
    def text(self) -> str:
        """The whole prompt, without what stands before it."""
        return self.context + self.question

    def messages(self) -> list[dict[str, str]]:
        """Return the prompt as a conversation."""
        before = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*before, {"role": "user", "content": self.text}]


@dataclass(frozen=True, kw_only=True)
class EngineAnswer:
    """What came of one prompt under one budget.

    Attributes:
        generation: The answer with its tokens and times; `error` where there is none.
        budget_verified: Whether the cache was seen to have the size that was asked for; None where nobody looked.
        evidence: What the verdict rests on, in words.
        compressed_tokens: Entries of the cache, in each layer, of which the budget is a fraction; None: unknown.
        kept_tokens: Entries that each layer kept of them, read back from the cache; None: unknown.
        told_fraction: The fraction kept, where an endpoint tells it in place of the entries; None: it does not.
        peak_memory_bytes: Most memory in use at a time, weights included: of the GPU, or of this process, with all else
            in it, where the model runs on a processor. None where it is not known.
        policy_settings: Settings of the policy as they were for this prompt; they may depend on its length.
    """

    generation: Generation
    budget_verified: bool | None
    evidence: str
    compressed_tokens: int | None = None
    kept_tokens: tuple[int, ...] | None = None
    told_fraction: float | None = None
    peak_memory_bytes: int | None = None
    policy_settings: Mapping[str, Setting] | None = None

    @property
    def text(self) -> str:
        """The answer, as far as it came."""
        return self.generation.text

    @property
    def failure(self) -> Failure | None:
        """Why it is no answer; None for an answer."""
        return self.generation.error

    @property
    def finish_reason(self) -> str | None:
        """What ended the answer: `stop`, `length` or what a server says."""
        return self.generation.finish_reason

    @property
    def arrivals_s(self) -> tuple[float, ...]:
        """When each token, or chunk of tokens, came, in s after the prompt was asked."""
        return tuple(moment_s - self.generation.sent_s for moment_s in self.generation.arrivals_s)

    @property
    def time_to_first_token_s(self) -> float | None:
        """Time until the first token, in s; None where tokens were not timed."""
        return self.arrivals_s[0] if self.generation.arrivals_s else None

    @property
    def latency_s(self) -> float:
        """Time until the answer was complete, or had failed, in s."""
        return self.generation.finished_s - self.generation.sent_s

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt; None where nobody says."""
        return self.generation.input_tokens

    @property
    def completion_tokens(self) -> int | None:
        """Tokens of the answer, with the one that ends it; None where nobody says. Chunks of a stream are no tokens."""
        chunks_only = self.generation.tokens_counted_by == "chunks"
        return None if chunks_only else self.generation.output_tokens

    @property
    def kept_fractions(self) -> tuple[float, ...] | None:
        """The fraction of the entries that each layer kept; None: unknown."""
        if self.kept_tokens is None or not self.compressed_tokens:
            return None
        return tuple(kept / self.compressed_tokens for kept in self.kept_tokens)

    @property
    def kept_fraction(self) -> float | None:
        """The fraction of all entries that was kept, counted or told; None: unknown."""
        if not self.kept_tokens or not self.compressed_tokens:
            return self.told_fraction
        return sum(self.kept_tokens) / (len(self.kept_tokens) * self.compressed_tokens)


class Engine(Protocol):
    """Answers prompts under a policy of its own and the budgets that it can apply."""

    @property
    def name(self) -> str:
        """Name by which the configuration knows it."""
        ...

    @property
    def policy(self) -> str:
        """Name of what chooses the entries that are kept."""
        ...

    def require(self, budgets: Iterable[float]) -> None:
        """Raise unless every budget can be applied.

        Raises:
            UsageError: One cannot; what cannot be applied is never used as a label.
        """
        ...

    def facts(self) -> Mapping[str, Setting]:
        """Return what is recorded of it with a run: the policy, all its settings, versions."""
        ...

    async def answer(self, prompt: Prompt, budget: float, *, repeat: int = 1) -> EngineAnswer:
        """Answer a prompt; whatever fails for this prompt alone is in the answer.

        Args:
            prompt: What is asked.
            budget: Fraction kept.
            repeat: How often it was asked with this one: 1, 2, 3, ... Each has a seed of its own.

        Raises:
            UsageError: The budget cannot be applied.
        """
        ...


def seed_of(seed: int | None, repeat: int) -> int | None:
    """Return the seed of a repeat: with the same one, every repeat would be the same answer.

    Args:
        seed: Of the first one; None leaves all of them to chance.
        repeat: 1, 2, 3, ...
    """
    return None if seed is None else (seed + repeat - 1) % SEEDS


def require_budget(budget: float) -> float:
    """Return a budget.

    Raises:
        UsageError: It is no fraction that can be kept.
    """
    if not 0 < budget <= WHOLE:
        raise UsageError(f"budget: the fraction kept must be above 0 and at most 1, got {budget:g}")
    return float(budget)
