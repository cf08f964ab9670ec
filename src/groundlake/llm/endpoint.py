"""Asks an OpenAI-compatible endpoint."""

from __future__ import annotations

import random
import ssl
from typing import TYPE_CHECKING, Any

from groundlake.errors import LakeEnvironmentError, MissingDependencyError, UsageError
from groundlake.llm.address import base_address, is_loopback, require_headers
from groundlake.llm.answers import MalformedError, load_object, shortened
from groundlake.llm.asking import ask_all, ask_each
from groundlake.llm.clock import SystemClock
from groundlake.llm.exchange import Exchange
from groundlake.llm.generation import PER_REQUEST_BATCH, STREAMING, Attempt, Failure, Generation
from groundlake.llm.pacing import Pacing
from groundlake.llm.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import httpx2
    from typing_extensions import Self

    from groundlake.llm.asking import Prompt
    from groundlake.llm.clock import Clock
    from groundlake.llm.generation import Decoding

__all__ = ["OpenAiEndpoint", "ask_all", "ask_each"]

CONNECT_S = 10.0
"""As long may it take to be connected."""
KEEP_S = 60.0
"""As long is a connection kept that nobody uses, so that the next request does not wait for a new one."""
SECRET_LENGTH = 8
"""A shorter header is no secret; to hide it would hide words."""
CHARACTERS_PER_TOKEN = 4
"""Of English text, roughly: what a prompt counts against a limit before the server has counted it."""


class OpenAiEndpoint:
    """An OpenAI-compatible endpoint, within `async with`.

    Connections are made when they are first needed and are kept until the block ends, so that requests behind the
    first do not wait for one. Proxies of the environment are used, except for this machine itself.

    Args:
        base_url: Where the API lies; without a path `/v1` is added, a path is taken as it is.
        model: Name of the model, as the server knows it.
        api_key: Sent as a bearer token; it stands in no message.
        timeout_s: Longest time of one attempt, from sending to the end of the answer, in s.
        read_timeout_s: Longest time in which nothing comes, in s; None: no shorter than the whole.
        max_attempts: Sendings of a request where it fails for a reason that may pass.
        chat: Ask for an answer in a conversation; without it, for a continuation of the prompt as it is.
        requests_per_minute: Requests that are sent in a minute at most.
        tokens_per_minute: Tokens of prompts and answers in a minute at most.
        stream: Ask for the answer in chunks, so that its tokens can be timed.
        extra_body: Further fields of each request, over those that are there; None takes a field away.
        headers: Further headers of each request.
        backoff: How long to wait between attempts; its own `max_attempts` counts then.
        clock: Tells the time and waits.
        seed: Of the jitter of the waits; None leaves it to chance.
        pacing: Limits that other endpoints of the same server share; those of this one do not count then.
        wanted: Where in an answer a further value stands, such as `usage.kv_kept`: it becomes `Generation.told`.

    Raises:
        UsageError: An address, a key or a number that cannot be meant.
        MissingDependencyError: The HTTP client is not installed.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        read_timeout_s: float | None = None,
        max_attempts: int = 1,
        chat: bool = True,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        stream: bool = True,
        extra_body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
        pacing: Pacing | None = None,
        wanted: str = "",
    ) -> None:
        require_httpx2()
        for name, limit in (("timeout_s", timeout_s), ("read_timeout_s", read_timeout_s)):
            if limit is not None and not 0 < limit < float("inf"):
                raise UsageError(f"{name} must be above 0 s, got {limit:g}")
        require_headers(api_key, headers or {})
        self.base_url = base_address(base_url)
        self.model = model
        self.chat = chat
        self.stream = stream
        self.timeout_s = timeout_s
        self.backoff = backoff or Backoff(max_attempts=max_attempts)
        self._read_timeout_s = min(read_timeout_s or timeout_s, timeout_s)
        self._api_key = api_key
        self._headers = dict(headers or {})
        self._secrets = [value for value in (api_key, *self._headers.values()) if value and len(value) >= SECRET_LENGTH]
        self._extra_body = dict(extra_body or {})
        self._clock = clock or SystemClock()
        self._pacing = pacing or Pacing(
            self._clock, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute
        )
        self._wanted = wanted
        self._chance = random.Random(seed)  # noqa: S311 - spreads requests in time, no secret
        self._client: httpx2.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"OpenAiEndpoint({self.base_url!r}, {self.model!r})"

    async def __aenter__(self) -> Self:
        import httpx2

        is_local = is_loopback(self.base_url)
        # Reading the certificates of the system takes 0.1 s, and no connection of this client would ever need them.
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_local and self.base_url.startswith("http:") else True
        headers = {"Accept-Encoding": "identity", **self._headers}  # packed chunks would wait for each other
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(self._read_timeout_s, connect=min(CONNECT_S, self._read_timeout_s), pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_S),
            trust_env=not is_local,
            verify=verify,
        )
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(kind, error, trace)

    async def models(self) -> list[str]:
        """Return the names of the models that the endpoint offers.

        Raises:
            LakeEnvironmentError: It does not say; the message tells why.
        """
        url = f"{self.base_url}/models"
        body = await self._exchange().fetch(url, timeout_s=self.timeout_s)
        if isinstance(body, Failure):
            raise LakeEnvironmentError(body.message)
        try:
            return [str(entry["id"]) for entry in load_object(body)["data"]]
        except (MalformedError, KeyError, TypeError):
            raise LakeEnvironmentError(f"{url}: this is no list of models: {shortened(body)}") from None

    async def generate(self, prompt: Prompt, decoding: Decoding) -> Generation:
        """Ask, again where that may help. What goes wrong out there is the answer's `error`, and raises nothing.

        Args:
            prompt: A text, or the messages of a conversation, each with `role` and `content`.
            decoding: How the answer is to be made.

        Raises:
            UsageError: The prompt is no text, and no conversation is asked for.
        """
        url = f"{self.base_url}/{'chat/completions' if self.chat else 'completions'}"
        body = self.request_body(prompt, decoding)
        thought = _characters(prompt) / CHARACTERS_PER_TOKEN + decoding.max_new_tokens
        attempts: list[Attempt] = []
        wait_s: float | None = 0.0
        while wait_s is not None:
            held_s = self._clock.now()
            if wait_s:
                await self._clock.sleep(wait_s)
            await self._pacing.wait(thought)
            exchange = self._exchange()
            failure = await exchange.ask(url, body, timeout_s=self.timeout_s)
            self._settle(exchange, thought)
            attempts.append(_attempt(exchange, failure, held_s))
            wait_s = self.backoff.wait_s(
                failure, attempts=len(attempts), asked_s=exchange.retry_after_s, chance=self._chance
            )
        return _generation(exchange, failure, attempts)

    def request_body(self, prompt: Prompt, decoding: Decoding) -> dict[str, Any]:
        """Return what is sent for a prompt.

        Raises:
            UsageError: The prompt is no text, and no conversation is asked for.
        """
        body: dict[str, Any] = {"model": self.model}
        if self.chat:
            body["messages"] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        elif isinstance(prompt, str):
            body["prompt"] = prompt
        else:
            raise UsageError("messages need a conversation: ask with chat=True, or give the prompt as a text")
        body |= {
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": decoding.seed,
            "stop": list(decoding.stop) or None,
            "ignore_eos": decoding.ignore_eos or None,
            "stream": self.stream,
            "stream_options": {"include_usage": True} if self.stream else None,
            **self._extra_body,
        }
        return {name: value for name, value in body.items() if value is not None}

    def _exchange(self) -> Exchange:
        if self._client is None:
            raise UsageError("the endpoint is not open: ask it within `async with`, or through ask_all")
        return Exchange(self._client, self._clock, self._secrets, self._wanted)

    def _settle(self, exchange: Exchange, thought: float) -> None:
        """Count the tokens that were really used against the limit, where they are known."""
        used = exchange.answer.input_tokens, exchange.answer.tokens()[0]
        if None not in used:
            self._pacing.settle(thought=thought, used=sum(tokens or 0 for tokens in used))


def require_httpx2() -> None:
    """Raise `MissingDependencyError` unless the HTTP client is installed."""
    try:
        import anyio  # noqa: F401 - here, so that the first request does not wait for it; httpx2 brings it
        import httpx2  # noqa: F401 - whether it can be imported is the question
    except ImportError as error:
        raise MissingDependencyError(
            f"asking an endpoint needs httpx2: {error}\n  pip install 'groundlake[experiment]'"
        ) from error


def _attempt(exchange: Exchange, failure: Failure | None, held_s: float) -> Attempt:
    return Attempt(
        started_s=exchange.sent_s,
        ended_s=exchange.ended_s,
        status=exchange.status,
        error=failure,
        waited_s=exchange.sent_s - held_s,
    )


def _generation(exchange: Exchange, failure: Failure | None, attempts: list[Attempt]) -> Generation:
    """Return what came of a request, with the times of its last attempt."""
    answer = exchange.answer
    output_tokens, counted_by = answer.tokens()
    if failure is not None and not answer.arrivals_s and counted_by == "chunks":
        output_tokens, counted_by = None, None  # nothing came, so that nothing can be said of its length
    return Generation(
        text=answer.text(),
        reasoning=answer.reasoning(),
        sent_s=exchange.sent_s,
        arrivals_s=tuple(answer.arrivals_s),
        finished_s=exchange.ended_s,
        input_tokens=answer.input_tokens,
        output_tokens=output_tokens,
        tokens_counted_by=counted_by,
        token_timing=STREAMING if answer.streamed else PER_REQUEST_BATCH,
        finish_reason=answer.finish_reason,
        error=failure,
        attempts=tuple(attempts),
        told=answer.told,
    )


def _characters(prompt: Prompt) -> int:
    """Return the length of a prompt."""
    return len(prompt) if isinstance(prompt, str) else sum(len(str(message.get("content"))) for message in prompt)
