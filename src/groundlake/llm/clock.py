"""The time, and waiting: what a test replaces so that nothing has to wait."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> float:
        """Return the moment in s, as `time.perf_counter` does."""
        ...

    def utc(self) -> dt.datetime:
        """Return the time of day, aware, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> float:
        """Return the moment in s."""
        return time.perf_counter()

    def utc(self) -> dt.datetime:
        """Return the time of day, aware, UTC."""
        return dt.datetime.now(dt.timezone.utc)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        import asyncio

        await asyncio.sleep(seconds)
