"""Asks for many prompts at once, a bounded number at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from groundlake.llm.endpoint import OpenAiEndpoint
    from groundlake.llm.generation import Decoding, Generation

    Prompt = str | Sequence[Mapping[str, str]]
    OnDone = Callable[[int, Generation], object]

LOOK_S = 0.1
"""So often is looked whether the caller's task was cancelled, where it waits for a thread."""


async def ask_each(
    endpoint: OpenAiEndpoint,
    prompts: Iterable[Prompt],
    decoding: Decoding,
    *,
    concurrency: int,
    on_done: OnDone | None = None,
) -> list[Generation]:
    """Ask an open endpoint for each prompt, `concurrency` at a time.

    A prompt is taken when it can be sent, so that any number of them waits without costing anything.

    Args:
        endpoint: An endpoint, within its `async with`.
        prompts: The prompts, in the order in which they are sent.
        decoding: How the answers are to be made.
        concurrency: So many requests are on their way at a time.
        on_done: Called with the number of the prompt, from 0, and its answer, as each comes. Requests that are on
            their way are not timed meanwhile: it should return at once. An error in it ends everything.

    Returns:
        The answers, in the order of the prompts.

    Raises:
        UsageError: No such concurrency.
    """
    if concurrency < 1:
        raise UsageError(f"concurrency must be at least 1, got {concurrency}")
    answers: dict[int, Generation] = {}
    numbered = iter(enumerate(prompts))

    async def work() -> None:
        for number, prompt in numbered:
            answers[number] = await endpoint.generate(prompt, decoding)
            if on_done is not None:
                on_done(number, answers[number])

    workers = [asyncio.ensure_future(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [answers[number] for number in sorted(answers)]


def ask_all(
    endpoint: OpenAiEndpoint,
    prompts: Iterable[Prompt],
    decoding: Decoding,
    *,
    concurrency: int,
    on_done: OnDone | None = None,
) -> list[Generation]:
    """Open an endpoint, ask it for each prompt, `concurrency` at a time, and close it.

    Where an event loop runs in this thread already (a notebook), the requests are made in a thread of their own, and
    `on_done` is called there. Ctrl-C closes the connections before it is raised.

    Args:
        endpoint: An endpoint that is not open; it can be asked again afterwards.
        prompts: As for `ask_each`, like the other arguments.
        decoding: How the answers are to be made.
        concurrency: So many requests are on their way at a time.
        on_done: Called with the number of each prompt, from 0, and its answer, as it comes.

    Returns:
        The answers, in the order of the prompts.

    Raises:
        UsageError: No such concurrency.
    """

    async def opened() -> list[Generation]:
        async with endpoint:
            return await ask_each(endpoint, prompts, decoding, concurrency=concurrency, on_done=on_done)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(opened())
    return _in_own_thread(opened)


def _in_own_thread(opened: Callable[[], Coroutine[None, None, list[Generation]]]) -> list[Generation]:
    """Run a coroutine in a loop and a thread of its own; what interrupts the wait for it cancels it."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(opened())

    def run() -> list[Generation]:
        try:
            return loop.run_until_complete(task)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    with ThreadPoolExecutor(1, thread_name_prefix="ask_all") as thread:
        running = thread.submit(run)
        try:
            while not wait([running], timeout=LOOK_S).done:
                _raise_if_cancelled()
            return running.result()
        except BaseException:
            with suppress(RuntimeError):  # it has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)
            raise


def _raise_if_cancelled() -> None:
    """Raise where the task that waits here was cancelled: asyncio answers the first Ctrl-C so from Python 3.11 on."""
    outer = asyncio.current_task()
    if outer is not None and getattr(outer, "cancelling", int)():
        raise asyncio.CancelledError
