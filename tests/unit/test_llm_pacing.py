"""Limits per minute."""

from __future__ import annotations

import asyncio

import pytest
from llm_clock import SetClock

from groundlake.errors import UsageError
from groundlake.llm.pacing import Pacing


def starts(pacing: Pacing, clock: SetClock, costs: list[float], used: list[float] | None = None) -> list[float]:
    """When each request begins, in s from now; `used` are the tokens that each turned out to need."""
    before_s = clock.now()

    async def ask() -> list[float]:
        moments = []
        for number, cost in enumerate(costs):
            await pacing.wait(cost)
            moments.append(clock.now() - before_s)
            if used is not None:
                pacing.settle(thought=cost, used=used[number])
        return moments

    return asyncio.run(ask())


def test_without_limits_nothing_waits() -> None:
    clock = SetClock()
    assert starts(Pacing(clock), clock, [1e9] * 5) == [0.0] * 5
    assert clock.sleeps == []


def test_requests_are_spread_over_the_minute() -> None:
    clock = SetClock()
    assert starts(Pacing(clock, requests_per_minute=30), clock, [100] * 4) == [0.0, 2.0, 4.0, 6.0]


def test_tokens_have_to_flow_in_before_the_next_request() -> None:
    clock = SetClock()
    assert starts(Pacing(clock, tokens_per_minute=600), clock, [100, 50, 10]) == [0.0, 10.0, 15.0]


def test_of_two_limits_the_tighter_one_holds_back() -> None:
    clock = SetClock()
    pacing = Pacing(clock, requests_per_minute=60, tokens_per_minute=600)
    assert starts(pacing, clock, [100, 1, 1]) == [0.0, 10.0, 11.0]


def test_tokens_that_were_not_used_are_given_back_and_more_are_owed() -> None:
    clock = SetClock()
    pacing = Pacing(clock, tokens_per_minute=600)
    assert starts(pacing, clock, [100, 100, 100], used=[50, 200, 0]) == [0.0, 5.0, 25.0]


def test_nothing_is_saved_up_while_nobody_asks() -> None:
    clock = SetClock()
    pacing = Pacing(clock, requests_per_minute=60)
    assert starts(pacing, clock, [1]) == [0.0]
    clock.now_s += 3600
    assert starts(pacing, clock, [1, 1, 1]) == [0.0, 1.0, 2.0]


def test_a_request_that_is_larger_than_the_limit_is_sent_and_the_next_waits_for_it() -> None:
    clock = SetClock()
    assert starts(Pacing(clock, tokens_per_minute=60), clock, [300, 1]) == [0.0, 300.0]


def test_those_that_ask_at_the_same_time_get_their_turns_in_order() -> None:
    clock = SetClock()
    pacing = Pacing(clock, requests_per_minute=60)

    async def ask() -> list[float]:
        await asyncio.gather(*(pacing.wait(1) for _ in range(4)))
        return clock.sleeps

    clock.sleep = _unmoved(clock)  # the clock stands still while all of them ask
    assert asyncio.run(ask()) == [1.0, 2.0, 3.0]


def _unmoved(clock: SetClock):
    async def sleep(seconds: float) -> None:
        clock.sleeps.append(seconds)

    return sleep


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute"])
def test_a_limit_is_above_zero(name: str, limit: float) -> None:
    with pytest.raises(UsageError, match=name):
        Pacing(SetClock(), **{name: limit})
