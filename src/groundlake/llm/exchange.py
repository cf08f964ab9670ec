"""One sending of a request to an endpoint, and what came of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from groundlake.llm.answers import Answer, MalformedError, ServerSaysError, shortened
from groundlake.llm.faults import malformed_failure, said_failure, status_failure, transport_failure
from groundlake.llm.generation import TIMEOUT, Failure
from groundlake.llm.retry import retry_after_s
from groundlake.llm.streams import EventStream, EventTooLongError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    import httpx2

    from groundlake.llm.clock import Clock

WHOLE = ("application/json", "text/html")
"""Content types of what is no stream. All others are read as one: some servers do not say what they send."""
BEGINS_STREAM = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
"""How a stream of events begins: with a field, or with a comment."""
FIRST_BYTES = 2**10
MAX_ERROR_BYTES = 64 * 2**10
MAX_ANSWER_BYTES = 64 * 2**20
"""A longer answer, whole or in chunks, is none: without a limit a server could fill the memory."""
HIDDEN = "***"
DRAIN_S = 0.25
"""As long is waited for the end of a stream behind its last event, so that the connection can be used again."""


class Exchange:
    """One sending of a request.

    Args:
        client: An open client.
        clock: Tells the time.
        secrets: What no text may show, whatever a server repeats.
        wanted: Where in the answer a further value stands; "" for none.

    Attributes:
        answer: What came, also of an answer that was cut off.
        status: Status of the HTTP answer; None where none came.
        retry_after_s: How long the server asks to wait before the next, in s; None where it does not.
        sent_s: When it was sent.
        ended_s: When its answer was complete, or failed.
    """

    def __init__(self, client: httpx2.AsyncClient, clock: Clock, secrets: Sequence[str] = (), wanted: str = "") -> None:
        self._client = client
        self._clock = clock
        self._secrets = secrets
        self._kept = ""
        self._type = ""
        self.answer = Answer(wanted=wanted)
        self.status: int | None = None
        self.retry_after_s: float | None = None
        self.sent_s = self.ended_s = clock.now()

    async def ask(self, url: str, body: Mapping[str, object], *, timeout_s: float) -> Failure | None:
        """Send a request for an answer and take that in; return what went wrong.

        Args:
            url: What is asked.
            body: The request.
            timeout_s: Longest time until the answer is complete, in s.
        """
        content = json.dumps(body).encode("ascii")
        failure = await self._within(timeout_s, url, self._ask(url, content))
        if self.answer.finish_reason is not None:  # it had its end, whatever became of the connection behind that
            return self.answer.failure(self.status)
        if failure is None:
            failure = self.answer.failure(self.status)
        if failure is not None:
            self.ended_s = self._clock.now()
        return failure

    async def fetch(self, url: str, *, timeout_s: float) -> str | Failure:
        """Return what lies at an address, or why there is nothing."""
        return await self._within(timeout_s, url, self._fetch(url)) or self._kept

    async def _within(self, timeout_s: float, url: str, work: Coroutine[None, None, Failure | None]) -> Failure | None:
        """Do the work and return what went wrong."""
        import anyio
        import httpx2

        with anyio.move_on_after(timeout_s):
            try:
                return await work
            except httpx2.HTTPError as error:
                return transport_failure(error, url, self.status)
            except (MalformedError, EventTooLongError) as error:
                return malformed_failure(error, self.status, self._type, url)
            except ServerSaysError as error:
                return said_failure(error, self.status, url)
        return Failure(
            code=TIMEOUT,
            message=f"{url}: no complete answer within {timeout_s:g} s ({len(self.answer.arrivals_s)} chunks came)",
            status=self.status,
        )

    async def _ask(self, url: str, content: bytes) -> Failure | None:
        headers = {"Content-Type": "application/json"}
        self.sent_s = self._clock.now()
        async with self._client.stream("POST", url, content=content, headers=headers) as response:
            failure = await self._begun(response, url)
            if failure is not None:
                return failure
            if self._type.startswith(WHOLE):
                self.answer.take_whole(await self._text(response, MAX_ANSWER_BYTES, is_wanted_whole=True))
                self.ended_s = self._clock.now()
            else:
                await self._read_stream(response)
        return None

    async def _fetch(self, url: str) -> Failure | None:
        async with self._client.stream("GET", url) as response:
            failure = await self._begun(response, url)
            if failure is None:
                self._kept = await self._text(response, MAX_ANSWER_BYTES, is_wanted_whole=True)
        return failure

    async def _begun(self, response: httpx2.Response, url: str) -> Failure | None:
        """Take in the status, and what the server says where it is none of success."""
        self.status = response.status_code
        self._type = shortened(self._hide(response.headers.get("Content-Type", "")))
        if response.is_success:
            return None
        self.retry_after_s = retry_after_s(response.headers.get("Retry-After"), self._clock.utc())
        said = await self._text(response, MAX_ERROR_BYTES)
        return status_failure(response.status_code, response.reason_phrase, said, url)

    async def _read_stream(self, response: httpx2.Response) -> None:
        """Take in the events of a stream; those that come in one piece have the same moment."""
        import anyio

        events = EventStream()
        pieces = response.aiter_bytes()
        first, came, is_stream = b"", 0, False
        async for piece in pieces:
            moment_s = self._clock.now()
            first += piece[: FIRST_BYTES - len(first)]
            came += len(piece)
            if came > MAX_ANSWER_BYTES:
                raise _too_long()
            for data in events.feed(piece):
                is_stream = True
                self.answer.take_event(self._hide(data), moment_s)
                self.ended_s = moment_s
            if self.answer.done:
                break
        if came and not (is_stream or BEGINS_STREAM.match(first)):
            raise MalformedError(f"no stream of events: {shortened(self._hide(first.decode('utf-8', 'replace')))}")
        with anyio.move_on_after(DRAIN_S):
            async for _ in pieces:
                pass

    async def _text(self, response: httpx2.Response, limit: int, *, is_wanted_whole: bool = False) -> str:
        """Return the body, as much of it as the limit allows.

        Raises:
            MalformedError: The limit ends it, and its end is wanted.
        """
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > limit:
                if is_wanted_whole:
                    raise _too_long()
                break
        return self._hide(body[:limit].decode("utf-8", "replace"))

    def _hide(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def _too_long() -> MalformedError:
    return MalformedError(f"it is longer than {MAX_ANSWER_BYTES // 2**20} MiB, and the rest was not read")
