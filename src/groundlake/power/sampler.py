"""What every power sensor is to the rest of the project: rails, readings, and the moment to let go of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

INSTANT = "instant"
AVERAGE_1S = "average_1s"
AVERAGE_UNKNOWN = "average_unknown"
COUNTER = "counter"
SEMANTICS = {
    INSTANT: "power_w is the power at the moment of the read, as far as the sensor resolves it",
    AVERAGE_1S: "power_w is the average of about the last second: it lags behind the work",
    AVERAGE_UNKNOWN: "power_w is an average over a time that the sensor does not tell",
    COUNTER: "energy_counter_j counts energy, and there is no reading of power",
}
"""What a rail's readings mean. An INA3221 names its own averaging time: `average_<milliseconds>ms`."""

_AVERAGE = re.compile(r"average_([\d.]+)(m?)s")


@dataclass(frozen=True, kw_only=True)
class Rail:
    """One thing that a sensor measures.

    Attributes:
        source: Sensor interface: nvml, jetson_ina3221, rapl, replay.
        name: Name of the rail, as the sensor has it.
        semantics: What a reading means: a key of `SEMANTICS`, or `average_<milliseconds>ms`.
        device_index: Index of the device on its bus; None where there is no such number.
        device_uuid: Identity of the device that does not change with its index.
    """

    source: str
    name: str
    semantics: str
    device_index: int | None = None
    device_uuid: str | None = None

    @property
    def averaging_s(self) -> float | None:
        """Time over which a reading of power is an average, in s; 0 for an instant, None where it is not known."""
        if self.semantics == INSTANT:
            return 0.0
        found = _AVERAGE.fullmatch(self.semantics)
        return float(found[1]) / (1000 if found[2] else 1) if found else None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one rail said at one moment; None is what the sensor does not tell.

    Attributes:
        power_w: Power in W.
        energy_counter_j: Energy since some moment in the past in J; it never decreases, a wrap is taken out.
        temperature_c: Temperature in °C.
    """

    rail: Rail
    power_w: float | None = None
    energy_counter_j: float | None = None
    temperature_c: float | None = None


class Sampler(Protocol):
    """An open sensor with one or several rails."""

    @property
    def rails(self) -> Sequence[Rail]:
        """What it measures."""
        ...

    def read(self) -> Iterable[Reading]:
        """Read every rail now, and give each reading as soon as it is made: that is the moment it is stamped with.

        A rail that does not answer is left out.

        Raises:
            OSError: The sensor does not answer at all.
        """
        ...

    def close(self) -> None:
        """Let go of the sensor; reading is over."""
        ...


class Sensor(Sampler, Protocol):
    """A sampler of this machine, which also knows what it could not open."""

    @property
    def notes(self) -> Sequence[str]:
        """Why a part of it gives nothing, beside the rails that do."""
        ...
