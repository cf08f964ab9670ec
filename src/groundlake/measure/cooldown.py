"""Let the device cool down between two runs: for a time, or until a temperature. Imports no torch."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake import machine
from groundlake.errors import NoSensorError, UsageError
from groundlake.measure.doubts import Doubt
from groundlake.system import system_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONGEST_S = 600.0
"""A device that is still too warm after this long will not become cooler: the room or its fan is at fault."""

LOOK_PERIOD_S = 1.0


@dataclass(frozen=True)
class Cooldown:
    """What to wait for before a run: `seconds`, or a temperature of at most `below_c`; the other one is None."""

    seconds: float | None = None
    below_c: float | None = None

    @classmethod
    def parse(cls, text: str) -> Cooldown:
        """Read `30s` or `55C`.

        Raises:
            UsageError: Neither a time nor a temperature.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|C|°C)\s*", text)
        if not found:
            raise UsageError(f"--cooldown takes a time such as 30s or a temperature such as 55C, got {text!r}")
        number = float(found[1])
        return cls(seconds=number) if found[2] == "s" else cls(below_c=number)

    def __str__(self) -> str:
        return f"{self.seconds:g} s" if self.seconds is not None else f"{self.below_c:g} C"


def require_sensor(cooldown: Cooldown | None, device: str, root: Path = machine.ROOT) -> None:
    """Raise where a temperature is to be waited for and none can be read.

    Raises:
        NoSensorError: There is no temperature sensor.
    """
    if cooldown and cooldown.below_c is not None and system_state(device, root)["temperature_c"] is None:
        raise NoSensorError(
            f"cooldown {cooldown}: no temperature sensor of {device} can be read here\n  give a time: --cooldown 30s"
        )


def cool_down(
    cooldown: Cooldown,
    device: str,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_wait: Callable[[str], None] = lambda _: None,
    root: Path = machine.ROOT,
    longest_s: float = LONGEST_S,
) -> Doubt | None:
    """Wait until the device is ready for the next run.

    Args:
        cooldown: What to wait for.
        device: cpu, cuda or cuda:1.
        should_stop: Asked about once a second; True ends the wait.
        on_wait: Called about once a second with what is waited for, in words.
        root: Root of the file tree with `/proc` and `/sys`.
        longest_s: Limit of the wait for a temperature.

    Returns:
        What is doubtful about the next run: the device stayed too warm, or its sensor fell silent. None where it is
        ready.
    """
    start_s = time.monotonic()
    limit_s = longest_s if cooldown.seconds is None else cooldown.seconds
    while not should_stop():
        waited_s = time.monotonic() - start_s
        temperature_c = None if cooldown.below_c is None else system_state(device, root)["temperature_c"]
        if cooldown.below_c is not None and temperature_c is not None and temperature_c <= cooldown.below_c:
            return None
        if cooldown.below_c is not None and temperature_c is None:
            return _not_cooled_down("the temperature sensor fell silent", "no temperature", cooldown.below_c)
        if waited_s >= limit_s:
            break
        now = f"{limit_s - waited_s:.0f} s left" if temperature_c is None else f"at {temperature_c:.0f} C"
        on_wait(f"cool-down ({cooldown}), {now}")
        time.sleep(min(LOOK_PERIOD_S, limit_s - waited_s))
    if cooldown.below_c is None or should_stop():
        return None
    return _not_cooled_down(
        f"the device was still warm after {limit_s:.0f} s", f"{temperature_c:.0f} C", cooldown.below_c
    )


def _not_cooled_down(meaning: str, observed: str, below_c: float) -> Doubt:
    return Doubt(
        code="not_cooled_down",
        meaning=meaning,
        observed=observed,
        threshold=f"{below_c:g} C",
        advice="wait for a higher temperature, for a time (--cooldown 30s), or mend the cooling",
    )
