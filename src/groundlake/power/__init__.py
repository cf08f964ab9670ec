"""Power sensors of a machine, one file for each interface, and the recorder that reads them on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake import machine
from groundlake.errors import NoSensorError
from groundlake.power.recorder import DEFAULT_HZ, Recorder, SeriesFacts
from groundlake.power.sampler import Rail, Reading, Sampler, Sensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DEFAULT_HZ", "Rail", "Reading", "Recorder", "Sampler", "Sensor", "SeriesFacts", "open_sensors"]


def open_sensors(root: Path = machine.ROOT) -> tuple[list[Sampler], list[str]]:
    """Open every power sensor of this machine.

    Args:
        root: Root of the file tree with `/proc` and `/sys`.

    Returns:
        The samplers, and why an interface, or a part of one that answers, gives nothing, as `source: reason`.
    """
    from groundlake.power import jetson, nvml, rapl

    found: list[Sampler] = []
    reasons = []
    kinds: tuple[tuple[str, Callable[[Path], Sensor]], ...] = (
        (jetson.SOURCE, jetson.JetsonSampler),
        (nvml.SOURCE, nvml.NvmlSampler),
        (rapl.SOURCE, rapl.RaplSampler),
    )
    for source, kind in kinds:
        try:
            sensor = kind(root)
        except NoSensorError as error:
            reasons.append(f"{source}: {error}")
        else:
            found.append(sensor)
            reasons += [f"{source}: {note}" for note in sensor.notes]
    return found, reasons
