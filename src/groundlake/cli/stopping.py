"""Ctrl-C in long work: the first one ends it behind the current step, the second at once."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextmanager
def stops_behind_the_current_run() -> Iterator[Callable[[], bool]]:
    """Yield whether the user has pressed Ctrl-C; a second Ctrl-C raises `KeyboardInterrupt`."""
    asked = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Not print: a handler that runs inside another print would break it.
        os.write(2, b"\nstopping behind the current run; Ctrl-C again stops at once and loses it\n")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
