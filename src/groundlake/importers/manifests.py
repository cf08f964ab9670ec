"""Compare manifests with what was imported: a manifest is a copy, and copies go stale."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from groundlake.ground_truth.layouts import plain_name
from groundlake.ground_truth.reading import parse_json
from groundlake.ground_truth.wording import found_text, printable
from groundlake.importers.files import Found, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from groundlake.importers.candidates import Candidate

LATENCY_ROUNDING = 0.5e-4 * (1 + 1e-9)
"""Manifests round total_latency_ms to four decimals."""

_HUGE = 2**63


@dataclass(frozen=True)
class Difference:
    """One thing in which a manifest differs from the files."""

    uri: str
    what: str

    def __str__(self) -> str:
        return f"{self.uri}: {self.what}"


def compare(found: Found, candidates: Iterable[Candidate]) -> list[Difference]:
    """Compare one manifest with the measurements of its device.

    Args:
        found: The manifest; its folder is the device's.
        candidates: Good files of the whole import.
    """
    return [Difference(found.uri, printable(what)) for what in _differences(found, candidates)]


def _differences(found: Found, candidates: Iterable[Candidate]) -> Iterator[str]:
    raw, _, problem = read_bytes(found.path)
    data: Any = None
    if problem is None:
        data, problem = parse_json(raw)
    entries = data.get("measurements") if isinstance(data, dict) else None
    if problem is not None or not isinstance(entries, list):
        yield f"cannot be compared: {problem or 'it has no list of measurements'}"
        return
    hardware_id = plain_name(found.path.parent.name)
    if data.get("hardware_id") != hardware_id:
        yield f"its hardware_id is {found_text(data.get('hardware_id'))}, its folder {hardware_id!r}"
    here = [file for file in candidates if file.hardware_id == hardware_id]
    by_key: dict[tuple[str, str, int], list[Candidate]] = {}
    for file in here:
        by_key.setdefault((file.model, file.precision, file.batch), []).append(file)
    listed = set()
    for entry in entries:
        if not isinstance(entry, dict):
            yield f"an entry is no object: {found_text(entry)}"
            continue
        batch = entry.get("batch_size")
        key = (_said(entry, "model"), _said(entry, "precision").lower(), batch if type(batch) is int else -1)
        listed.add(key)
        yield from _compare_entry(entry, key, by_key.get(key, []))
    below = {
        key for key, files in by_key.items() if any(file.found.path.is_relative_to(found.path.parent) for file in files)
    }
    for model, precision, size in sorted(below - listed):
        yield f"{model} {precision} batch {size} is measured and not listed"


def _compare_entry(entry: dict[str, Any], key: tuple[str, str, int], files: list[Candidate]) -> Iterator[str]:
    name = f"{key[0]} {key[1]} batch {key[2]}"
    same_date = [file for file in files if file.date == entry.get("measurement_date")]
    if not files:
        yield f"{name} is listed as {_said(entry, 'file')}, and there is no good file of it"
        return
    if not same_date:
        dates = ", ".join(sorted({file.date for file in files}))
        yield f"{name}: measurement_date is {_said(entry, 'measurement_date')} in the manifest, {dates} in the file"
    summary = min(same_date or files, key=lambda file: file.rank).summary
    for field in ("total_flops", "num_subgraphs"):
        if entry.get(field) != summary[field]:
            yield f"{name}: {field} is {_said(entry, field)} in the manifest, {summary[field]} in the file"
    latency = entry.get("total_latency_ms")
    rounded = latency if type(latency) is float else inf
    if type(latency) is int and abs(latency) < _HUGE:
        rounded = float(latency)
    if abs(rounded - summary["total_latency_ms"]) > LATENCY_ROUNDING:
        said = _said(entry, "total_latency_ms")
        yield f"{name}: total_latency_ms is {said} in the manifest, {summary['total_latency_ms']:.4f} in the file"


def _said(entry: dict[str, Any], field: str) -> str:
    value = entry.get(field)
    return value if isinstance(value, str) else found_text(value)
