"""Energy counters of x86 processors: RAPL, read through the kernel's powercap folders."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from groundlake import machine
from groundlake.errors import NoSensorError
from groundlake.power.sampler import COUNTER, Rail, Reading
from groundlake.power.sysfs import NumberFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = "rapl"
MICRO = 1e-6

_POWERCAP = "sys/class/powercap"
_READABLE = "sudo chmod a+r /sys/class/powercap/*/energy_uj   (until the next boot)"


@dataclass(eq=False)
class _Counter:
    """One RAPL domain. The register wraps at `range_uj`; the wraps seen so far are added up.

    Two wraps between two reads cannot be told from one: a package at 200 W wraps after about 20 minutes, reads are
    a fraction of a second apart.
    """

    rail: Rail
    file: NumberFile
    range_uj: float
    _last_uj: float | None = field(default=None)
    _wrapped_uj: float = field(default=0.0)

    def energy_j(self) -> float | None:
        value = self.file.read()
        if value is None:
            return None
        if self._last_uj is not None and value < self._last_uj:
            self._wrapped_uj += self.range_uj
        self._last_uj = value
        return (value + self._wrapped_uj) * MICRO


class RaplSampler:
    """All RAPL domains that may be read: packages, cores, memory, and psys, the whole platform.

    Raises:
        NoSensorError: There is none, or none may be read.
    """

    def __init__(self, root: Path = machine.ROOT) -> None:
        zones = machine.folder(root / _POWERCAP, "*rapl:*")
        if not zones:
            raise NoSensorError(f"no RAPL domain in {root / _POWERCAP} (virtual machines and ARM have none)")
        counters = [counter for zone in zones if (counter := _counter(zone)) is not None]
        self._counters = [counter for counter in counters if counter.energy_j() is not None]
        for counter in counters:
            if counter not in self._counters:
                counter.file.close()
        closed = [counter.rail.name for counter in counters if counter not in self._counters]
        self.notes = [f"{', '.join(closed)} may be read by root only\n  {_READABLE}"] if closed else []
        if not self._counters:
            raise NoSensorError(f"{zones[0] / 'energy_uj'} may be read by root only\n  {_READABLE}")

    @property
    def rails(self) -> list[Rail]:
        """Rails such as package-0, package-0/core and package-0/dram."""
        return [counter.rail for counter in self._counters]

    def read(self) -> Iterator[Reading]:
        """Read every counter, one by one; one that does not answer is left out.

        Raises:
            OSError: No counter answers.
        """
        answered = False
        for counter in self._counters:
            energy_j = counter.energy_j()
            if energy_j is not None:
                answered = True
                yield Reading(rail=counter.rail, energy_counter_j=energy_j)
        if not answered:
            raise OSError("RAPL: no counter answers")

    def close(self) -> None:
        """Let go of the files."""
        for counter in self._counters:
            counter.file.close()


def _counter(zone: Path) -> _Counter | None:
    """Describe a domain; None where it is no counter, as the zone above the packages of some kernels."""
    name = machine.read_text(zone / "name")
    range_uj = machine.read_number(zone / "max_energy_range_uj")
    if name is None or not range_uj:
        return None
    kind, *numbers = zone.name.split(":")
    above = machine.read_text(zone.with_name(f"{kind}:{numbers[0]}") / "name") if len(numbers) > 1 else None
    # The number of a zone only counts the zones: that of psys, the whole platform, is no package's.
    package = re.match(r"package-(\d+)", above or name)
    rail = Rail(
        source=SOURCE,
        name=f"{above}/{name}" if above else name,
        semantics=COUNTER,
        device_index=int(package[1]) if package else None,
    )
    return _Counter(rail, NumberFile(zone / "energy_uj"), range_uj)
