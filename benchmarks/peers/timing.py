"""Medians, and appends by many processes at once."""

from __future__ import annotations

import multiprocessing
import re
import statistics
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WRITERS = 8
APPENDS = 20
START_S = 120.0
"""How long writers wait for each other before the first append that counts."""


def medians_ms(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each function; they take turns, so that what is compared is timed in the same minutes."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) * 1000 for name, found in times.items()}


@dataclass
class Appends:
    """What became of appends by several processes.

    Attributes:
        cpu_ms: Processor time of an append, the mean; what it would take at least on a machine without waiting.
        warmed: Appends that went well before the ones that count, one of each process at most.
        errors: First lines of what was refused, with their numbers.
    """

    asked: int
    acknowledged: int
    p50_ms: float | None
    p95_ms: float | None
    cpu_ms: float
    warmed: int
    errors: dict[str, int]

    def result(self, rows_each: int, rows_read: int) -> dict[str, Any]:
        """As it is kept, with the rows that can be read beside those that were acknowledged."""
        return asdict(self) | {
            "rows_acknowledged": (self.acknowledged + self.warmed) * rows_each,
            "rows_read": rows_read,
        }


def append_together(opened: Callable[[], Callable[[], object]], writers: int = WRITERS, each: int = APPENDS) -> Appends:
    """Have several processes append at once, each after one append that is not timed; nothing is tried again.

    Args:
        opened: Opens the store in a process, and returns what makes one append.
        writers: Number of processes.
        each: Appends of each.
    """
    # Spawned, not forked: the threads of the libraries would not come along.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(writers, context, initializer=_meet, initargs=(context.Barrier(writers),)) as pool:
        found = list(pool.map(_write, [opened] * writers, [each] * writers))
    times = sorted(time_s * 1000 for one in found for time_s in one.times_s)
    errors = sum((one.errors for one in found), Counter[str]())
    return Appends(
        asked=writers * each,
        acknowledged=len(times),
        p50_ms=statistics.median(times) if times else None,
        p95_ms=times[int(0.95 * (len(times) - 1))] if times else None,
        cpu_ms=sum(one.cpu_s for one in found) * 1000 / (writers * each),
        warmed=sum(one.warm for one in found),
        errors=dict(errors),
    )


_started: list[Any] = []
"""In a writer's process: where it waits for the others."""


def _meet(barrier: Any) -> None:  # noqa: ANN401 - multiprocessing names no type for it
    _started.append(barrier)


@dataclass
class _Writer:
    """What one process saw: seconds of its appends, what was refused, and whether the first append went well."""

    times_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    warm: bool = False
    cpu_s: float = 0.0


def _write(opened: Callable[[], Callable[[], object]], count: int) -> _Writer:
    found = _Writer()
    append: Callable[[], object] | None = None
    try:
        append = opened()
        append()
        found.warm = True
    except Exception as error:  # noqa: BLE001 - whatever a store refuses with is what is counted
        found.errors[f"at the first: {_first_line(error)}"] += 1
    _started[0].wait(START_S)
    before_s = time.process_time()
    for _ in range(count):
        start = time.perf_counter()
        try:
            append = append or opened()
            append()
            found.times_s.append(time.perf_counter() - start)
        except Exception as error:  # noqa: BLE001 - the same
            found.errors[_first_line(error)] += 1
    found.cpu_s = time.process_time() - before_s
    return found


def _first_line(error: Exception) -> str:
    line = re.sub(r"\d{4,}", "N", str(error).partition("\n")[0])  # ids differ, and the reason is one
    return f"{type(error).__name__}: {line[:60]}"
