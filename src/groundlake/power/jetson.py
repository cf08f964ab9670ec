"""Power rails of a Jetson: the INA3221 monitors on its module, read from sysfs.

Two layouts of the kernel are known: hwmon (JetPack 5 and later: `in<N>_label`, `in<N>_input` in mV, `curr<N>_input` in
mA, `power<N>_input` in uW on some) and iio (JetPack 4: `rail_name_<N>`, `in_power<N>_input` in mW).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake import machine
from groundlake.errors import NoSensorError
from groundlake.power.sampler import AVERAGE_UNKNOWN, Rail, Reading
from groundlake.power.sysfs import NumberFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = "jetson_ina3221"
MILLI = 1e-3
MICRO = 1e-6
UNCONNECTED = ("NC", "")

_HWMON = "sys/class/hwmon"
_IIO = "sys/bus/i2c/drivers/ina3221x"


@dataclass(frozen=True)
class _Channel:
    """One rail and the files whose product is its power: each with its factor to the SI unit."""

    rail: Rail
    factors: tuple[tuple[NumberFile, float], ...]

    def power_w(self) -> float | None:
        power = 1.0
        for file, unit in self.factors:
            value = file.read()
            if value is None:
                return None
            power *= value * unit
        return power

    def close(self) -> None:
        for file, _ in self.factors:
            file.close()


class JetsonSampler:
    """All connected rails of all INA3221 monitors.

    Raises:
        NoSensorError: There is none, or none may be read.
    """

    def __init__(self, root: Path = machine.ROOT) -> None:
        every = [*_hwmon_channels(root), *_iio_channels(root)]
        if not every:
            raise NoSensorError(f"no INA3221 power monitor in {root / _HWMON} or {root / _IIO}")
        answering = {channel.rail: channel for channel in reversed(every) if channel.power_w() is not None}
        self._channels = list(answering.values())[::-1]
        silent = dict.fromkeys(channel.rail.name for channel in every if channel.rail not in answering)
        self.notes = [f"{name} does not answer" for name in silent]
        for channel in every:
            if channel not in self._channels:
                channel.close()
        if not self._channels:
            path = every[0].factors[0][0].path
            raise NoSensorError(f"{path} cannot be read: give your user read permission on the files beside it")

    @property
    def rails(self) -> list[Rail]:
        """Rails by the names on the board, for example VDD_GPU_SOC; VDD_IN, where there is one, is the whole module."""
        return [channel.rail for channel in self._channels]

    def read(self) -> Iterator[Reading]:
        """Read every rail, one by one; one that does not answer is left out.

        Raises:
            OSError: No rail answers.
        """
        answered = False
        for channel in self._channels:
            power_w = channel.power_w()
            if power_w is not None:
                answered = True
                yield Reading(rail=channel.rail, power_w=max(power_w, 0.0))
        if not answered:
            raise OSError("INA3221: no rail answers")

    def close(self) -> None:
        """Let go of the files."""
        for channel in self._channels:
            channel.close()


def _hwmon_channels(root: Path) -> list[_Channel]:
    found = []
    entries = machine.folder(root / _HWMON, "hwmon*")
    # Older kernels keep the files in the folder of the device that the entry links to.
    for monitor in [place for entry in entries for place in (entry, entry / "device")]:
        if machine.read_text(monitor / "name") != "ina3221":
            continue
        semantics = _averaging(monitor)
        for label in machine.folder(monitor, "in[0-9]*_label"):
            number = re.sub(r"\D", "", label.name)
            name = machine.read_text(label) or ""
            if name in UNCONNECTED or machine.read_number(monitor / f"in{number}_enable") == 0:
                continue
            power = monitor / f"power{number}_input"
            volts, amperes = monitor / f"in{number}_input", monitor / f"curr{number}_input"
            if power.exists():
                factors: tuple[tuple[NumberFile, float], ...] = ((NumberFile(power), MICRO),)
            elif amperes.exists():
                factors = ((NumberFile(volts), MILLI), (NumberFile(amperes), MILLI))
            else:  # the monitor's sum of several shunts has a label, and no current of its own
                continue
            found.append(_Channel(Rail(source=SOURCE, name=name, semantics=semantics), factors))
    return found


def _averaging(monitor: Path) -> str:
    """Time over which the monitor averages on its own chip, where it tells: its update interval covers all samples."""
    interval_ms = machine.read_number(monitor / "update_interval")
    return f"average_{interval_ms:g}ms" if interval_ms else AVERAGE_UNKNOWN


def _iio_channels(root: Path) -> list[_Channel]:
    found = []
    for device in machine.folder(root / _IIO, "*/iio:device*"):
        for label in machine.folder(device, "rail_name_[0-9]*"):
            number = re.sub(r"\D", "", label.name)
            name = machine.read_text(label) or ""
            power = device / f"in_power{number}_input"
            if name not in UNCONNECTED and power.exists():
                rail = Rail(source=SOURCE, name=name, semantics=AVERAGE_UNKNOWN)
                found.append(_Channel(rail, ((NumberFile(power), MILLI),)))
    return found
