"""An OpenAI-compatible server that compresses its cache itself, and is told how much to keep.

An answer proves nothing: servers take fields that they do not know, and ignore them. So the fraction that was really
kept is read from the answer, where the server writes it there. Where it does not, the budget stays unverified.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from groundlake.errors import UsageError
from groundlake.llm.answers import shortened
from groundlake.llm.clock import SystemClock
from groundlake.llm.endpoint import OpenAiEndpoint
from groundlake.llm.generation import Decoding
from groundlake.llm.pacing import Pacing
from groundlake.llm.retry import Backoff
from groundlake.transition.configuration.variables import SECRET_LENGTH, hidden, masked
from groundlake.transition.engines.base import WHOLE, EngineAnswer, require_budget, seed_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from groundlake.llm.clock import Clock
    from groundlake.llm.generation import Failure, Generation
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.engines.base import Prompt, Setting
    from groundlake.transition.scoring.tasks import Task

TOLERANCE: Final = 0.01
"""As far may the fraction that a server tells be from the budget: it rounds to entries, and we know not of how many."""
OF_BUDGET, OF_GAP = 0.1, 0.49
"""But no further than these shares of the budget, and of the way to the nearest other one: those must stay apart."""
UNTOLD: Final = "the endpoint does not show it"


class EndpointEngine:
    """Asks a server for each prompt, under any of the budgets of the settings, within `async with`.

    The budget reaches it by the address (`kv.apply: base_url`) or in fields of the request (`extra_body`), with 1.0 as
    well; where it cannot reach it (`none`), 1.0 alone can be asked. Endpoints of the same server share its limits.
    What goes wrong out there is the answer's failure; the API key and other secrets stand in no message.

    Args:
        settings: Settings of `engine.type: openai`.
        task: How is asked: as a conversation, or as a text that is continued.
        clock: Tells the time and waits.

    Raises:
        UsageError: An address, a key or a header that cannot be meant.
        MissingDependencyError: The HTTP client is not installed.
    """

    name = "openai"

    def __init__(self, settings: Settings, task: Task, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._chat = task.chat_template
        self._decoding = Decoding(
            max_new_tokens=settings.decoding.max_tokens or task.max_new_tokens,
            temperature=settings.decoding.temperature,
            seed=settings.decoding.seed,
        )
        self._clock = clock or SystemClock()
        headers = settings.engine.headers.values()
        self._secrets = (*settings.secrets, *(each for each in headers if len(each) >= SECRET_LENGTH))
        self._paced: dict[str, Pacing] = {}
        self._endpoints = {
            budget: self._endpoint(budget)
            for budget in settings.kv.budgets
            if budget == WHOLE or settings.kv.apply != "none"
        }
        self._open: AsyncExitStack | None = None

    @property
    def policy(self) -> str:
        """Name of the policy that the server is said to have."""
        return self._settings.kv.policy

    def require(self, budgets: Iterable[float]) -> None:
        """Raise unless the server gets to know every budget.

        Raises:
            UsageError: One is no fraction, or it is not among those of the settings, or nothing tells it.
        """
        for budget in budgets:
            if require_budget(budget) in self._endpoints:
                continue
            if self._settings.kv.apply == "none":
                raise UsageError(
                    f"budget {budget:g}: with kv.apply none the endpoint does not get to know it, so that only 1.0 can "
                    "be asked\n  set kv.apply to base_url or extra_body"
                )
            raise UsageError(f"budget {budget:g} is not among kv.budgets: {self._budgets()}")

    def base_url(self, budget: float) -> str:
        """Return the address that is asked under a budget, as it may be shown.

        Raises:
            UsageError: The budget cannot be applied.
        """
        self.require([budget])
        return self._shown(self._endpoints[budget].base_url)

    def facts(self) -> dict[str, Setting]:
        """Return what is recorded with a run; no key and no header is among it."""
        kv = self._settings.kv
        return {
            "engine": self.name,
            "model": str(self._settings.model.name),
            "batch": 0,
            "policy": kv.policy,
            "how_applied": kv.apply,
            "evidence": kv.evidence,
            "asked_as": "conversation" if self._chat else "text",
            **{f"policy.{name}": cast("Setting", value) for name, value in kv.parameters.items()},
        }

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for endpoint in self._endpoints.values():
                await stack.enter_async_context(endpoint)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened.aclose()

    async def answer(self, prompt: Prompt, budget: float, *, repeat: int = 1) -> EngineAnswer:
        """Ask for a prompt, again where that may help; several may be asked at a time.

        Raises:
            UsageError: The budget cannot be applied, or the engine is not open.
        """
        self.require([budget])
        decoding = replace(self._decoding, seed=seed_of(self._decoding.seed, repeat))
        generation = self._without_secrets(await self._endpoints[budget].generate(self._written(prompt), decoding))
        if generation.error is not None:
            return EngineAnswer(
                generation=generation, budget_verified=None, evidence="there is no answer, and nothing in it to look at"
            )
        within = tolerance(budget, self._settings.kv.budgets)
        told, evidence = self._told(generation.told, budget, within)
        return EngineAnswer(
            generation=generation,
            budget_verified=None if told is None else abs(told - budget) <= within,
            evidence=evidence,
            told_fraction=told,
        )

    def _endpoint(self, budget: float) -> OpenAiEndpoint:
        """Make the endpoint that is asked under a budget."""
        settings = self._settings
        kv, retries, limits = settings.kv, settings.run.retries, settings.run.pacing
        url = kv.base_urls[budget] if kv.apply == "base_url" else str(settings.engine.base_url)
        pacing = self._paced.setdefault(
            urlsplit(url).netloc,
            Pacing(
                self._clock,
                requests_per_minute=limits.requests_per_minute,
                tokens_per_minute=limits.tokens_per_minute,
            ),
        )
        return OpenAiEndpoint(
            url,
            str(settings.model.name),
            api_key=settings.api_key,
            timeout_s=settings.engine.timeout_s,
            chat=self._chat,
            extra_body=kv.extra_body_for(budget) if kv.apply == "extra_body" else None,
            headers=settings.engine.headers,
            backoff=Backoff(**retries.model_dump()),
            clock=self._clock,
            seed=_seed(settings, budget),
            pacing=pacing,
            wanted=kv.evidence or "",
        )

    def _written(self, prompt: Prompt) -> str | list[dict[str, str]]:
        """Return what is sent: the same under every budget."""
        if self._chat:
            return prompt.messages()
        return prompt.text if prompt.system is None else f"{prompt.system}\n\n{prompt.text}"

    def _told(self, value: object, budget: float, within: float) -> tuple[float | None, str]:
        """Return the fraction kept, as the server tells it, and what that says of the budget."""
        path = self._settings.kv.evidence
        if path is None or value is None:
            return None, f"{UNTOLD}{'' if path is None else f': its answer has no {path}'}"
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= WHOLE:
            return None, f"{UNTOLD}: {path} is {self._shown(shortened(json.dumps(value)))}, which is no fraction"
        return float(value), f"{path} of the answer is {value:g}; {budget:g} was to be kept, within {within:g}"

    def _budgets(self) -> str:
        return ", ".join(f"{each:g}" for each in self._endpoints)

    def _shown(self, text: str) -> str:
        """Return a text without the secrets of the settings, which an address may hold too."""
        return str(masked(text, self._secrets))

    def _without_secrets(self, generation: Generation) -> Generation:
        """Return what came with no secret in it: messages repeat the address, and a server may repeat a key.

        It may do so over several chunks, in which nobody sees it.
        """

        def shown(failure: Failure | None) -> Failure | None:
            return failure and replace(failure, message=self._shown(failure.message))

        attempts = tuple(replace(each, error=shown(each.error)) for each in generation.attempts)
        return replace(
            generation,
            text=hidden(generation.text, self._secrets),
            reasoning=hidden(generation.reasoning, self._secrets),
            finish_reason=generation.finish_reason and hidden(generation.finish_reason, self._secrets),
            error=shown(generation.error),
            attempts=attempts,
        )


def tolerance(budget: float, budgets: Iterable[float]) -> float:
    """Return how far the fraction that a server tells may be from a budget, to be taken for it.

    Args:
        budget: What was to be kept.
        budgets: All that are asked; none of them may be taken for another.
    """
    gaps = [abs(budget - each) for each in budgets if each != budget]
    return min(TOLERANCE, OF_BUDGET * budget, *(OF_GAP * gap for gap in gaps))


def _seed(settings: Settings, budget: float) -> int:
    """Return the seed of the waits between attempts: the same for a group each time, another one for each budget."""
    told = hashlib.sha256(f"{settings.output.exp_group_id}\0{budget!r}".encode()).digest()
    return int.from_bytes(told[:8], "big")
