"""Which failures are tried again, and when."""

from __future__ import annotations

import datetime as dt
from random import Random

import pytest

from groundlake.errors import UsageError
from groundlake.llm import Failure
from groundlake.llm.retry import Backoff, retry_after_s

NOW = dt.datetime(2026, 2, 26, 14, 0, tzinfo=dt.timezone.utc)


def wait_s(
    code: str, attempts: int = 1, asked_s: float | None = None, seed: int = 0, **settings: float
) -> float | None:
    backoff = Backoff(**({"max_attempts": 5} | settings))
    failure = Failure(code=code, message="")
    return backoff.wait_s(failure, attempts=attempts, asked_s=asked_s, chance=Random(seed))  # noqa: S311 - jitter


@pytest.mark.parametrize(
    "code",
    ["timeout", "connection", "truncated", "http_408", "http_429", "http_500", "http_503", "http_529"],
)
def test_what_may_pass_is_tried_again(code: str) -> None:
    assert wait_s(code) is not None


@pytest.mark.parametrize(
    "code",
    [
        *("http_400", "http_401", "http_403", "http_404", "http_422"),
        *("tls", "malformed", "empty", "context_length"),
    ],
)
def test_what_stays_wrong_is_not_tried_again(code: str) -> None:
    assert wait_s(code) is None


def test_an_answer_is_not_asked_for_again() -> None:
    assert Backoff(max_attempts=3).wait_s(None, attempts=1, asked_s=None, chance=Random(0)) is None  # noqa: S311 - jitter


def test_attempts_end() -> None:
    assert wait_s("timeout", attempts=4) is not None
    assert wait_s("timeout", attempts=5) is None
    assert wait_s("timeout", max_attempts=1) is None


def test_waits_are_drawn_below_a_bound_that_doubles_up_to_a_cap() -> None:
    bounds = [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    for attempts, bound in enumerate(bounds, 1):
        waits = [wait_s("timeout", attempts, seed=seed, max_attempts=9, cap_s=4.0) for seed in range(200)]
        assert all(0 <= wait <= bound for wait in waits)
        assert max(waits) > 0.9 * bound, "the whole range is drawn from"
        assert min(waits) < 0.1 * bound, "the jitter is full"


def test_very_many_attempts_do_not_overflow() -> None:
    assert wait_s("timeout", attempts=5000, max_attempts=9999) <= 30.0


def test_a_seed_gives_the_same_waits() -> None:
    assert [wait_s("timeout", n, seed=7) for n in range(1, 5)] == [wait_s("timeout", n, seed=7) for n in range(1, 5)]


def test_a_server_that_asks_for_a_wait_gets_at_least_that() -> None:
    assert wait_s("http_429", asked_s=20.0) == 20.0
    assert wait_s("http_429", asked_s=0.0) == wait_s("http_429")


def test_a_server_that_asks_for_hours_is_not_asked_again() -> None:
    assert wait_s("http_429", asked_s=7200.0) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("12", 12.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("Thu, 26 Feb 2026 14:00:30 GMT", 30.0),
        ("Thu, 26 Feb 2026 15:00:30 +0100", 30.0),
        ("Thu, 26 Feb 2026 14:00:30 -0000", 30.0),
        ("Thu, 26 Feb 2026 13:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_the_wait_that_a_header_asks_for(header: str | None, expected: float | None) -> None:
    assert retry_after_s(header, NOW) == expected


def test_there_is_at_least_one_attempt() -> None:
    with pytest.raises(UsageError, match="max_attempts"):
        Backoff(max_attempts=0)
