"""Asks an OpenAI-compatible endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from groundlake.llm.generation import Decoding, Generation

    Prompt = str | Sequence[Mapping[str, str]]


class OpenAiEndpoint:
    """An OpenAI-compatible endpoint, within `async with`."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        max_attempts: int = 1,
        chat: bool = True,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def models(self) -> list[str]:
        """Names of the models that the endpoint offers."""
        raise NotImplementedError

    async def generate(self, prompt: Prompt, decoding: Decoding) -> Generation:
        """Ask; what the server does wrong is the answer's `error`."""
        raise NotImplementedError


async def ask_each(
    endpoint: OpenAiEndpoint,
    prompts: Iterable[Prompt],
    decoding: Decoding,
    *,
    concurrency: int,
    on_done: Callable[[int, Generation], object] | None = None,
) -> list[Generation]:
    """Ask an open endpoint for each prompt, `concurrency` at a time; answers in the order of the prompts."""
    raise NotImplementedError


def ask_all(
    endpoint: OpenAiEndpoint,
    prompts: Iterable[Prompt],
    decoding: Decoding,
    *,
    concurrency: int,
    on_done: Callable[[int, Generation], object] | None = None,
) -> list[Generation]:
    """Open the endpoint and ask it for each prompt, `concurrency` at a time; answers in the order of the prompts."""
    raise NotImplementedError
