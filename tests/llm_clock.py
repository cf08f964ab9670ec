"""A clock that a test moves: nothing waits, and every wait is known."""

from __future__ import annotations

import datetime as dt

START = dt.datetime(2026, 2, 26, 14, 0, tzinfo=dt.timezone.utc)


class SetClock:
    """Stands still, except that a sleep moves it.

    Attributes:
        sleeps: What was slept, in s.
    """

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.now_s

    def utc(self) -> dt.datetime:
        return START + dt.timedelta(seconds=self.now_s - 100.0)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_s += seconds
