"""Show long work: a bar with rate and remaining time on a terminal, plain lines in a log, nothing for short work."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS_BETWEEN_LINES = 10.0
"""A log gets a line this often, and none when the work is done before the first is due."""


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function `(done, total, now)` that shows how far the work is.

    Args:
        what: Name of the work, at the left of the bar.
        quiet: Show nothing.
    """
    if quiet:
        yield lambda _done, _total, _now: None
    elif sys.stderr.isatty():
        with _bar(what) as update:
            yield update
    else:
        yield _lines(what)


@contextmanager
def counted(what: str, total: int, now: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many more are done.

    Args:
        what: Name of the work, at the left of the bar.
        total: How many there are; 0 where it is not known.
        now: What is counted.
        quiet: Show nothing.
    """
    with progress(what, quiet=quiet) as show:
        done = 0

        def more(number: int) -> None:
            nonlocal done
            done += number
            show(done, total, now)

        yield more


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int, str], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None, rate="", now="")
        started = time.monotonic()

        def update(done: int, total: int, now: str) -> None:
            nonlocal started
            started = started if done else time.monotonic()  # what comes before the first is no part of the rate
            bars.update(task, completed=done, total=total or None, now=now, rate=_rate(done, started))

        yield update


def _lines(what: str) -> Callable[[int, int, str], None]:
    started = last = time.monotonic()

    def update(done: int, total: int, now: str) -> None:
        nonlocal last, started
        started = started if done else time.monotonic()
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            rest = f", about {(last - started) / done * (total - done):.0f} s left" if done else ""
            with suppress(OSError):  # whoever read this is gone; the work goes on
                text = f"{what}: {f'{done}/{total} ' if total else ''}{_rate(done, started)}{rest} {now}"
                print(" ".join(text.split()), file=sys.stderr, flush=True)

    return update


def _rate(done: int, started: float) -> str:
    elapsed = time.monotonic() - started
    if not done or not elapsed:
        return ""
    return f"{done / elapsed:.0f}/s" if done >= elapsed else f"{elapsed / done:.1f} s each"
