"""Limits by requests and by tokens per minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from groundlake.llm.clock import Clock

MINUTE_S = 60.0


class Pace:
    """A token bucket that holds one request: what a request costs has to have flowed in before the next begins.

    Nothing is saved up while nobody asks, so that no minute has more than the limit and one request. A deeper bucket
    would let a whole minute's worth go at once, and servers that count in fixed windows refuse that.

    Args:
        per_minute: What flows in, in units per minute.
    """

    def __init__(self, per_minute: float) -> None:
        self._per_s = per_minute / MINUTE_S
        self._free_at_s = float("-inf")

    def starts_at_s(self, now_s: float) -> float:
        """Return when the next request may begin."""
        return max(now_s, self._free_at_s)

    def take(self, start_s: float, cost: float) -> None:
        """Let a request begin at `start_s`; it costs `cost` units."""
        self._free_at_s = start_s + cost / self._per_s

    def settle(self, difference: float) -> None:
        """Correct what a request was thought to cost, by `difference` units."""
        self._free_at_s += difference / self._per_s


class Pacing:
    """Both limits of an endpoint. A limit that is None does not hold anything back.

    Args:
        clock: Tells the time and waits.
        requests_per_minute: Requests that may be sent in a minute, with those that are tried again.
        tokens_per_minute: Tokens of prompts and answers in a minute.
    """

    def __init__(
        self, clock: Clock, *, requests_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        for name, limit in (("requests_per_minute", requests_per_minute), ("tokens_per_minute", tokens_per_minute)):
            if limit is not None and not 0 < limit < float("inf"):
                raise UsageError(f"{name} must be above 0, got {limit:g}; leave it out for no limit")
        self._clock = clock
        self._requests = Pace(requests_per_minute) if requests_per_minute else None
        self._tokens = Pace(tokens_per_minute) if tokens_per_minute else None

    async def wait(self, tokens: float) -> None:
        """Wait for the turn of a request. Turns are given in the order of the calls.

        Args:
            tokens: What it will cost, as far as one can tell.
        """
        now_s = self._clock.now()
        paces = [(pace, cost) for pace, cost in ((self._requests, 1.0), (self._tokens, tokens)) if pace is not None]
        start_s = max((pace.starts_at_s(now_s) for pace, _ in paces), default=now_s)
        for pace, cost in paces:
            pace.take(start_s, cost)
        if start_s > now_s:
            await self._clock.sleep(start_s - now_s)

    def settle(self, *, thought: float, used: float) -> None:
        """Count the tokens that a request really used in place of those it was thought to."""
        if self._tokens is not None:
            self._tokens.settle(used - thought)
