"""The registry of known devices, and the user's overlay on it: rows of the table `hardware` in a lake."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundlake.errors import UsageError
from groundlake.hardware.spec import HardwareSpec, parse_entry, read_mapping
from groundlake.layout import encode_key

if TYPE_CHECKING:
    from groundlake.store import Lake

REGISTRY_FILES = ("cpu.yaml", "gpu.yaml", "jetson.yaml")


@lru_cache(maxsize=1)
def _read_registry() -> dict[str, HardwareSpec]:
    found: dict[str, HardwareSpec] = {}
    for name in REGISTRY_FILES:
        for hardware_id, entry in read_mapping(Path(__file__).with_name(name)).items():
            if hardware_id in found:
                raise UsageError(f"the hardware id {hardware_id} is in the registry twice, the second time in {name}")
            found[hardware_id] = parse_entry(entry, hardware_id, f"{name}: {hardware_id}")
    return found


def registry() -> dict[str, HardwareSpec]:
    """All devices that come with groundlake, by id. The dictionary is the caller's own."""
    return dict(_read_registry())


def find(hardware_id: str, lake: Lake | None = None) -> HardwareSpec | None:
    """Specification of a device: the lake's overlay wins over the registry, and an alias finds what it stands for.

    Args:
        hardware_id: Id or alias, in its own case.
        lake: Where to look for an overlay; None, or a lake that does not exist yet, for the registry alone.

    Returns:
        The specification, or None for an id that neither knows.
    """
    known = _read_registry()
    standard = known.get(hardware_id) or next((s for s in known.values() if hardware_id in s.aliases), None)
    if lake is not None and lake.exists:
        names = (hardware_id, *((standard.hardware_id, *standard.aliases) if standard else ()))
        for name in dict.fromkeys(names):
            overlaid = _latest(lake, name)
            if overlaid is not None:
                return overlaid
        if standard is None:
            return next((spec for spec in overlay(lake).values() if hardware_id in spec.aliases), None)
    return standard


def register_known(lake: Lake) -> list[str]:
    """Copy what the registry knows of the devices in a lake into its table `hardware`, where it has no row yet.

    Queries see the table, not the registry. An alias gets a row of its own, under its own id; where the lake corrects
    one of the names of a machine, that is what its other names get.

    Returns:
        The hardware ids that got a row.
    """
    there = overlay(lake)
    added = []
    for name in lake.hardware_ids():
        spec = None if name in there else find(name, lake)
        if spec is not None:
            others = {spec.hardware_id, *spec.aliases} - {name}
            lake.write_record(replace(spec, hardware_id=name, aliases=tuple(sorted(others))))
            added.append(name)
    return added


def overlay(lake: Lake) -> dict[str, HardwareSpec]:
    """The latest specification that a lake holds of each device, by id."""
    if not lake.exists:
        return {}
    found = {name: _latest(lake, name) for name in lake.hardware_ids()}
    return {name: spec for name, spec in found.items() if spec is not None}


def _latest(lake: Lake, hardware_id: str) -> HardwareSpec | None:
    """Row of the device that was recorded last; equal times are decided by the run id, which grows with time."""
    rows = lake.frame("hardware", hardware_id=hardware_id)
    if rows.is_empty():
        return None
    when = lake.runs(hardware_id).select("run_id", "recorded_at")
    latest: dict[str, Any] = rows.join(when, on="run_id").sort("recorded_at", "run_id").row(-1, named=True)
    return HardwareSpec.from_row(latest)


def load_spec(path: str | Path) -> HardwareSpec:
    """Read the specification of one device from a YAML or JSON file, as `lake hw add` takes it.

    Args:
        path: A mapping with `hardware_id` and the keys of a registry entry; docs/hardware.md has an example.

    Raises:
        UsageError: The file cannot be read or breaks the rules; the message names the file and the key.
    """
    path = Path(path)
    entry = read_mapping(path)
    hardware_id = entry.pop("hardware_id", None)
    if not isinstance(hardware_id, str) or not hardware_id:
        raise UsageError(
            f"bad hardware specification\nwhere: {path}: hardware_id\ngot: {hardware_id!r}\n"
            "what to do: write the id that runs of this device carry, as a text, for example my_board_15w"
        )
    encode_key(hardware_id)
    return parse_entry(entry, hardware_id, str(path))
