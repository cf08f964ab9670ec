"""The four layouts of v1 and v2 JSON trees, recognised by the end of a file's absolute path.

| layout | path | schema |
|---|---|---|
| canonical | `<hardware>/measurements/<precision>/<model>_b<batch>.json` | 2.0 |
| toplevel | `measurements/<hardware>/<precision>/<model>_b<batch>.json` | 1.0 |
| legacy | `<hardware>/<precision>/measurements/<model>.json` | 1.0 |
| flat | `<hardware>/measurements/<model>.json` | 1.0 |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from groundlake.ground_truth.reading import Problem

if TYPE_CHECKING:
    from pathlib import PurePath

LAYOUTS = ("canonical", "toplevel", "legacy", "flat")
"""In order of preference: where two files disagree, the one of the earlier layout is taken."""

MEASUREMENTS = "measurements"
PRECISIONS = frozenset(
    {
        "fp64",
        "fp32",
        "tf32",
        "fp16",
        "bf16",
        "fp8",
        "fp4",
        "int16",
        "int8",
        "int4",
    }
)
"""Folder names known to be precisions; any other is one when it equals the precision in the file."""

KNOWN_BY_NAME = {
    "manifest.json": "manifest",
    "efficiency_curves.json": "efficiency_curves",
    "curves.json": "efficiency_curves",
    "calibration_metadata.json": "calibration_metadata",
}
"""Files that stand beside measurements and are none: name to kind."""

FOLDERS_READ = 3
MAX_BATCH = 2**63 - 1

_SAFE = re.compile(r"[A-Za-z0-9._+=@,() -]*[A-Za-z0-9_+=@,()-]")


@dataclass(frozen=True)
class Place:
    """What the path of a measurement file says about it; `precision` is None where no folder says it."""

    layout: str
    hardware_id: str
    precision: str | None


def place_of(path: PurePath, precision: str | None = None) -> Place | None:
    """Recognise the layout of a measurement file.

    Args:
        path: Absolute path of the file.
        precision: Precision written in the file, in either case, when it is known.

    Returns:
        The place, or None when the path is none of the four layouts. `measurements` is never a device nor a
        precision.
    """
    upper, middle, lower = ["", "", "", *path.parts[:-1]][-FOLDERS_READ:]
    said = precision.lower() if precision else None

    def is_precision(name: str) -> bool:
        return name.lower() in PRECISIONS or (said is not None and plain_name(name).lower() == said)

    def is_device(folder: str) -> bool:
        return folder not in ("", "/", MEASUREMENTS) and folder.lower() not in PRECISIONS

    if lower == MEASUREMENTS and is_precision(middle):
        layout, device, named = "legacy", upper, middle
    elif lower == MEASUREMENTS:
        layout, device, named = "flat", middle, None
    elif is_precision(lower) and middle == MEASUREMENTS:
        layout, device, named = "canonical", upper, lower
    elif is_precision(lower) and upper == MEASUREMENTS:
        layout, device, named = "toplevel", middle, lower
    else:
        return None
    if not is_device(device):
        return None
    return Place(layout, plain_name(device), plain_name(named).lower() if named else None)


def safe_name(name: str) -> str:
    """Turn a device or model name into a file name: percent-encoded where it holds anything unusual."""
    encoded = name if _SAFE.fullmatch(name) else quote(name, safe="")
    if encoded.startswith(".") or encoded == MEASUREMENTS or encoded.lower() in PRECISIONS:
        return f"%{ord(encoded[0]):02X}{encoded[1:]}"  # not hidden, and not taken for a folder of the layout
    return encoded


def plain_name(file_name: str) -> str:
    """Undo `safe_name`; a name that it did not make is returned as it is."""
    if "%" not in file_name:
        return file_name
    name = unquote(file_name)
    return name if safe_name(name) == file_name else file_name


def batch_of(stem: str, model: str, batch_size: int | None) -> tuple[int | None, Problem | None]:
    """Find the batch size of a measurement: `batch_size` if the file says it, else the end of its name.

    The model named in the file is the authority: `efficientnet_b4.json` of the model `efficientnet_b4` is batch 1.

    Args:
        stem: File name without `.json`.
        model: Model named in the file.
        batch_size: `batch_size` in the file, or None (schema 1.0).

    Returns:
        The batch size, or None where it is unknown; and what is wrong: `contradicting_model` or `batch_unknown`
        (then there is no batch size), or `batch_mismatch` (the name says another number than the file).
    """
    rest = stem[len(model) :]
    if not stem.startswith(model) or (batch_size is not None and not rest.startswith("_") and rest):
        return None, Problem("contradicting_model", "model", f"the file name {stem!r} is not one of model {model!r}")
    digits = rest.removeprefix("_b")
    if rest == "":
        named = 1
    elif rest.startswith("_b") and digits.isascii() and digits.isdigit() and 0 < int(digits) <= MAX_BATCH:
        named = int(digits)
    elif batch_size is not None:
        named = None
    else:
        return None, Problem("batch_unknown", "", f"{stem!r} is not {model!r} nor {model!r} followed by _b<batch>")
    if batch_size is None:
        return named, None
    if rest and named != batch_size:
        return batch_size, Problem(
            "batch_mismatch", "batch_size", f"the file says {batch_size}, its name {rest.lstrip('_')}"
        )
    return batch_size, None
