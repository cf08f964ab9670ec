"""Which failures are tried again, and after how long."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from groundlake.errors import UsageError
from groundlake.llm.generation import CONNECTION, TIMEOUT, TRUNCATED

if TYPE_CHECKING:
    from random import Random

    from groundlake.llm.generation import Failure

TRANSIENT = frozenset(
    {TIMEOUT, CONNECTION, TRUNCATED, *(f"http_{status}" for status in (408, 409, 429, *range(500, 600)))}
)
"""Codes of failures that may pass: gateways have numbers of their own above 500, such as 529 for "overloaded". An
answer without its end is one whose connection ended early. A request that is wrong stays wrong: 400, 401, 403, 404, 422
are not among them, nor is a certificate that nobody trusts."""


def is_transient(failure: Failure) -> bool:
    """Whether the same request may succeed later."""
    return failure.code in TRANSIENT


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait between attempts: exponential with full jitter.

    The wait after the n-th failure is drawn evenly between 0 and `min(cap_s, base_s * 2**(n - 1))` (M. Brooker,
    "Exponential Backoff And Jitter", 2015), so that clients that failed together do not come back together. A server
    that says how long to wait is obeyed: the wait is then at least that long.

    Attributes:
        max_attempts: Sendings of a request, with the first.
        base_s: Longest wait after the first failure, in s.
        cap_s: Longest wait after any, in s.
        longest_s: What a server may ask for at most, in s; one that asks for more is not asked again.
    """

    max_attempts: int = 1
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_s: float = 300.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise UsageError(f"max_attempts must be at least 1, got {self.max_attempts}")

    def wait_s(self, failure: Failure | None, *, attempts: int, asked_s: float | None, chance: Random) -> float | None:
        """Return how long to wait before the request is sent again, in s; None where it is not.

        Args:
            failure: What became of it; None for an answer.
            attempts: How often it was sent.
            asked_s: How long the server asks to wait, in s; None where it does not say.
            chance: Draws the jitter.
        """
        if failure is None or not is_transient(failure):
            return None
        if attempts >= self.max_attempts or (asked_s or 0.0) > self.longest_s:
            return None
        # The exponent is bounded: the largest float is about 2**1024.
        jittered = chance.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(attempts - 1, 64)))
        return max(jittered, asked_s or 0.0)


def retry_after_s(value: str | None, now: dt.datetime) -> float | None:
    """Return the wait that a `Retry-After` header asks for, in s: a number, or a date (RFC 9110, section 10.2.3).

    Args:
        value: The header; None where there is none.
        now: The time of day, aware.

    Returns:
        None where the header is absent or says nothing that can be read; 0 for a date in the past.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:  # "-0000": UTC of a machine whose zone is not known
            date = date.replace(tzinfo=dt.timezone.utc)
        seconds = (date - now).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
