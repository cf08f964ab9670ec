"""Which device is measured or asked, under which id, and against which peaks. Imports no torch."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.errors import UsageError
from groundlake.hardware.detection import SHOWN_IDS, detect, judge, no_id
from groundlake.hardware.registry import find, overlay, registry
from groundlake.layout import encode_key

if TYPE_CHECKING:
    from groundlake.hardware.detection import Detected
    from groundlake.hardware.spec import HardwareSpec
    from groundlake.store import Lake

CLOSE = 0.85
"""Similarity (difflib) from which an unknown id is taken for a misspelt one: one letter in seven."""

ID = re.compile(r"[^\W_]([\w.+-]*[^\W_])?")
"""What a new id looks like; one that is in a lake already may have any letters."""

RESERVED = ("none", "unknown")
"""Words that say that nobody knows the device, so that they name none."""

LIST = "lake hw list shows the ids of registry and lake"
DETECTED = "leave --hw out to take the detected one"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The device of this machine that is measured.

    Attributes:
        hardware_id: Id that the runs carry.
        device: cpu, cuda or cuda:1.
        spec: What is known of the device.
        peak_source: Where its peaks come from: registry, overlay, or the method of an estimate.
        new: Whether the lake does not know the device yet, so that its specification is to be written first.
        new_name: Where the id is a name that neither the registry nor the lake has: what this machine was detected as.
    """

    hardware_id: str
    device: str
    spec: HardwareSpec
    peak_source: str
    new: bool
    new_name: str | None = None

    @property
    def remark(self) -> str | None:
        """That the id was not known before, in case it was meant to be another one; None of a known one."""
        if self.new_name is None:
            return None
        return f"{self.hardware_id} is a new device id; this machine was detected as {self.new_name}"

    def introduce(self, lake: Lake) -> None:
        """Write the specification of a device that neither the registry nor the lake knows."""
        if self.new and find(self.hardware_id, lake) is None:  # another sweep may have written it meanwhile
            lake.write_record(self.spec)


def choose_target(lake: Lake | None, hardware_id: str | None = None, device: str | None = None) -> Target:
    """Decide what to measure on: this machine, under the id that was asked for or the detected one.

    Args:
        lake: Its rows of `hardware` correct and extend the registry; None for the registry alone.
        hardware_id: Id to measure under; None takes the detected one.
        device: cpu or cuda (`cuda:1` for one of several); None takes the best there is.

    Raises:
        UsageError: The id belongs to another device, and the message says how to import its measurements instead; or
            nobody knows it, and it is very close to one that somebody does, or is not written as ids are.
        MissingDependencyError: The device is not there, or it is a slice of a GPU.
    """
    found = detect(device=device)
    name = found.hardware_id if hardware_id is None else hardware_id
    _refuse_unusable(name, DETECTED)
    verdict = judge(name, found)
    if verdict.kind == "other_machine":
        raise UsageError(
            f"{verdict.reason}\n"
            f"to import what was measured there: lake ingest --hw {name} --from DIR (make ingest HW={name} FROM=DIR)\n"
            f"to measure here: leave --hw out ({found.hardware_id}), or give this machine a name of its own"
        )
    known = find(name, lake)
    is_new_name = verdict.kind == "new_name" and known is None and name not in _ids_of(lake)
    if is_new_name:
        if not ID.fullmatch(name):
            raise UsageError(_malformed(name, DETECTED))
        _refuse_slip(name, lake, DETECTED, found)
    # Found here beats the registry: on a Jetson the driver may enforce another clock than the data sheet says.
    standard = None if known is None else registry().get(known.hardware_id)
    spec = known if known is not None and known != standard else found.spec_named(name)
    return Target(
        hardware_id=name,
        device=device or found.device,
        spec=spec,
        peak_source=_peak_source(spec, known),
        new=known is None,
        new_name=found.hardware_id if is_new_name else None,
    )


def require_meant(lake: Lake | None, hardware_id: str, *, left_out: str | None = None) -> str:
    """Return the id of a device that cannot be seen from here, as that of an endpoint, unless it must be a slip.

    Args:
        lake: Knows devices beside those of the registry.
        hardware_id: Id of any machine, or a new one.
        left_out: What is true where --hw is left out, for the message; None where it has to be given.

    Raises:
        UsageError: It is very close to an id that is known, or is not written as ids are.
    """
    _refuse_unusable(hardware_id, left_out)
    if find(hardware_id, lake) is None and hardware_id not in _ids_of(lake):
        if not ID.fullmatch(hardware_id):
            raise UsageError(_malformed(hardware_id, left_out))
        why = no_id(hardware_id)
        if why is not None:
            raise UsageError(f"--hw {hardware_id}: {why}\n  {LIST}")
        _refuse_slip(hardware_id, lake, left_out)
    return hardware_id


def _refuse_unusable(name: str, left_out: str | None) -> None:
    """Raise for what names no device, or has no place in the lake; nothing is looked up under it."""
    if not name:
        raise UsageError(_malformed(name, left_out))
    if name.casefold() in RESERVED:
        raise UsageError(f"--hw {name}: the word is reserved, and names no device\n  {_advice(left_out)}")
    try:
        encode_key(name)
    except UsageError as error:
        raise UsageError(f"--hw: {error}\n  {_advice(left_out)}") from error


def _malformed(name: str, left_out: str | None) -> str:
    """What is said of a new id that is not written as ids are."""
    return (
        f"--hw {name or repr(name)}: an id has letters, digits, and . _ + - within, got {name!r}\n  {_advice(left_out)}"
    )


def _refuse_slip(name: str, lake: Lake | None, left_out: str | None, found: Detected | None = None) -> None:
    """Raise for a new id that is most likely a slip of the keyboard: its runs would stand under a device of their own.

    Machines of a lake that are numbered (node01, node02) are close to each other and are meant.
    """
    ours = _ids_of(lake) | (set() if lake is None else set(overlay(lake)))
    ours -= set(RESERVED)  # as runs of an endpoint have
    theirs = {known for spec in registry().values() for known in (spec.hardware_id, *spec.aliases)}
    if found is not None:
        theirs |= {found.hardware_id, *found.aliases}
    near = _near(name, ours=ours, theirs=theirs)
    if near:
        raise UsageError(
            f"--hw {name}: no device has this id; did you mean {' or '.join(near)}?\n"
            f"  {_advice(left_out)}\n"
            "  a new id all the same? describe the device first: lake hw add FILE (docs/hardware.md)"
        )


def _near(name: str, *, ours: set[str], theirs: set[str]) -> list[str]:
    """Known ids that a new one is most likely meant to be: written alike, without the maker's name, or close to it.

    Args:
        name: The new id.
        ours: Ids of the lake.
        theirs: Ids of the registry, and of this machine.
    """
    folded = _folded(name)
    forms = {known: _folded(known) for known in sorted(ours | theirs)}
    same = [known for known, form in forms.items() if form == folded]
    if same:
        return same
    if "_" in folded:  # a single word may be anybody's
        ends = [known for known, form in forms.items() if form.endswith(f"_{folded}")]
        if ends:
            return ends[:SHOWN_IDS]
    numbered = {known for known in ours - theirs if _without_digits(forms[known]) == _without_digits(folded)}
    candidates = {form: known for known, form in forms.items() if known not in numbered}
    return [candidates[form] for form in difflib.get_close_matches(folded, candidates, cutoff=CLOSE)]


def _folded(name: str) -> str:
    """The id in one case, with one mark for those that are taken for each other."""
    return re.sub(r"[-._]", "_", name.casefold())


def _advice(left_out: str | None) -> str:
    return LIST if left_out is None else f"{LIST}; {left_out}"


def _ids_of(lake: Lake | None) -> set[str]:
    return set(lake.hardware_ids()) if lake is not None and lake.exists else set()


def _without_digits(name: str) -> str:
    return re.sub(r"\d+", "", name)


def _peak_source(spec: HardwareSpec, known: HardwareSpec | None) -> str:
    """Say where the peaks come from, in the words of the ledger."""
    if known is None:
        return spec.peak_source("fp32") or "detected"
    standard = registry().get(known.hardware_id)
    if known != standard:
        return "overlay"
    return "registry" if spec.peaks == known.peaks else "registry, at the clock the driver enforces"
