"""Which device a sweep measures, under which id, and against which peaks. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.errors import UsageError
from groundlake.hardware import HardwareSpec, detect, find, judge, registry

if TYPE_CHECKING:
    from groundlake.store import Lake


@dataclass(frozen=True, kw_only=True)
class Target:
    """The device that a sweep measures.

    Attributes:
        hardware_id: Id that the runs carry.
        device: cpu, cuda or cuda:1.
        spec: What is known of the device.
        peak_source: Where its peaks come from: registry, overlay, or the method of an estimate.
        new: Whether the lake does not know the device yet, so that its specification is to be written first.
    """

    hardware_id: str
    device: str
    spec: HardwareSpec
    peak_source: str
    new: bool

    def introduce(self, lake: Lake) -> None:
        """Write the specification of a device that neither the registry nor the lake knows."""
        if self.new and find(self.hardware_id, lake) is None:  # another sweep may have written it meanwhile
            lake.write_record(self.spec)


def choose_target(lake: Lake, hardware_id: str | None = None, device: str | None = None) -> Target:
    """Decide what to measure on: this machine, under the id that was asked for or the detected one.

    Args:
        lake: Its rows of `hardware` correct and extend the registry.
        hardware_id: Id to measure under; None takes the detected one.
        device: cpu or cuda (`cuda:1` for one of several); None takes the best there is.

    Raises:
        UsageError: The id belongs to another device; the message says how to import its measurements instead.
        MissingDependencyError: The device is not there, or it is a slice of a GPU.
    """
    found = detect(device=device)
    name = hardware_id or found.hardware_id
    verdict = judge(name, found)
    if verdict.kind == "other_machine":
        raise UsageError(
            f"{verdict.reason}\n"
            f"to import what was measured there: lake ingest --hw {name} --from DIR (make ingest HW={name} FROM=DIR)\n"
            f"to measure here: leave --hw out ({found.hardware_id}), or give this machine a name of its own"
        )
    known = find(name, lake)
    # Found here beats the registry: on a Jetson the driver may enforce another clock than the data sheet says.
    standard = None if known is None else registry().get(known.hardware_id)
    spec = known if known is not None and known != standard else found.spec_named(name)
    return Target(
        hardware_id=name,
        device=device or found.device,
        spec=spec,
        peak_source=_peak_source(spec, known),
        new=known is None,
    )


def _peak_source(spec: HardwareSpec, known: HardwareSpec | None) -> str:
    """Say where the peaks come from, in the words of the ledger."""
    if known is None:
        return spec.peak_source("fp32") or "detected"
    standard = registry().get(known.hardware_id)
    if known != standard:
        return "overlay"
    return "registry" if spec.peaks == known.peaks else "registry, at the clock the driver enforces"
