"""Ctrl-C in long work, and the end of a session: the first ends it behind the current step, the second at once."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a batch system or service manager, and a terminal that went away."""


@contextmanager
def stops_behind_the_current_run(under_way: Callable[[], str] = str) -> Iterator[Callable[[], bool]]:
    """Yield whether somebody asked this process to stop; asking again raises `KeyboardInterrupt`.

    Args:
        under_way: Says what is waited for; an empty text where nothing is under way.
    """
    asked = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Not print: a handler that runs inside another print would break it. Ctrl-C ends the reader of a pipe, too.
        with suppress(OSError):
            run = under_way()
            what = f"stopping behind the current run: {run}; Ctrl-C again stops at once and loses it"
            os.write(2, f"\n{what if run else 'stopping before the next run; Ctrl-C again stops at once'}\n".encode())

    # What the shell told this process to ignore (a job in the background, nohup) stays ignored.
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
