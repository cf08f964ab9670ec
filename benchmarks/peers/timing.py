"""Medians, and appends by many processes at once."""

from __future__ import annotations

import multiprocessing
import re
import statistics
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
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
        warmed: Appends that went well before the ones that count, one of each process at most.
        errors: First lines of what was refused, with their numbers.
    """

    asked: int
    acknowledged: int
    p50_ms: float | None
    p95_ms: float | None
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
    times = sorted(time_s * 1000 for times, _, _ in found for time_s in times)
    errors = sum((refused for _, refused, _ in found), Counter[str]())
    return Appends(
        asked=writers * each,
        acknowledged=len(times),
        p50_ms=statistics.median(times) if times else None,
        p95_ms=times[int(0.95 * (len(times) - 1))] if times else None,
        warmed=sum(warm for _, _, warm in found),
        errors=dict(errors),
    )


_started: list[Any] = []
"""In a writer's process: where it waits for the others."""


def _meet(barrier: Any) -> None:  # noqa: ANN401 - multiprocessing names no type for it
    _started.append(barrier)


def _write(opened: Callable[[], Callable[[], object]], count: int) -> tuple[list[float], Counter[str], bool]:
    """One process: its times in seconds, what was refused, and whether the first append went well."""
    times: list[float] = []
    errors: Counter[str] = Counter()
    append: Callable[[], object] | None = None
    warm = False
    try:
        append = opened()
        append()
        warm = True
    except Exception as error:  # noqa: BLE001 - whatever a store refuses with is what is counted
        errors[f"at the first: {_first_line(error)}"] += 1
    _started[0].wait(START_S)
    for _ in range(count):
        start = time.perf_counter()
        try:
            append = append or opened()
            append()
            times.append(time.perf_counter() - start)
        except Exception as error:  # noqa: BLE001 - the same
            errors[_first_line(error)] += 1
    return times, errors, warm


def _first_line(error: Exception) -> str:
    line = re.sub(r"\d{4,}", "N", str(error).partition("\n")[0])  # ids differ, and the reason is one
    return f"{type(error).__name__}: {line[:60]}"
