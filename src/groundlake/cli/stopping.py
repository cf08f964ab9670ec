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
def stops_behind_the_current_run() -> Iterator[Callable[[], bool]]:
    """Yield whether somebody asked this process to stop; asking again raises `KeyboardInterrupt`."""
    asked = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Not print: a handler that runs inside another print would break it. Ctrl-C ends the reader of a pipe, too.
        with suppress(OSError):
            os.write(2, b"\nstopping behind the current run; Ctrl-C again stops at once and loses it\n")

    # What the shell told this process to ignore (a job in the background, nohup) stays ignored.
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
