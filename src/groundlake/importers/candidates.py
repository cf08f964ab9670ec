"""From one JSON file to a candidate run: what it says, what it is called, and what is doubtful about it."""

from __future__ import annotations

import json
import sys
import uuid
from array import array
from dataclasses import dataclass, field
from functools import lru_cache
from math import isclose
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.errors import UsageError
from groundlake.ground_truth.columns import SUMMARY_TOLERANCE, same_summary, settled, totals
from groundlake.ground_truth.layouts import LAYOUTS, batch_of, place_of, plain_name
from groundlake.ground_truth.reading import Checked, Columns, Problem, check_measurement, parse_json
from groundlake.importers.files import Found, read_bytes
from groundlake.importers.quarantine import Entry
from groundlake.layout import encode_key
from groundlake.schemas import SubgraphTimings

if TYPE_CHECKING:
    from groundlake.ground_truth.layouts import Place

RUN_NAMESPACE = uuid.UUID("7f0b5f5e-2c57-5d0c-9d0b-6b1a5b5f6c11")
"""Namespace of run ids derived from content. Changing it, or `content_id`, would double every import."""

SHOWN_KEYS = 5


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A good measurement file, without its subgraphs: everything needed to decide what becomes of it."""

    found: Found
    sha256: str
    layout: str
    hardware_id: str
    precision: str
    model: str
    batch: int
    date: str
    content_id: str
    head: dict[str, Any]
    summary: dict[str, Any]
    system_state: dict[str, Any] | None
    warnings: tuple[str, ...] = field(default=())

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What is measured once: two files with this key hold the same run, or contradict each other."""
        return self.hardware_id, self.precision, self.model, self.batch, self.date

    @property
    def content(self) -> tuple[str, str]:
        """Equal for twins, and for them only."""
        return self.hardware_id, self.content_id

    @property
    def run_id(self) -> str:
        """The file's own run id, else the one derived from its content."""
        return str(self.head["run_id"] or self.content_id)

    @property
    def is_canonical(self) -> bool:
        """Whether this is a v2.0 file in its place, which wins over a contradicting one."""
        return self.layout == "canonical" and self.head["schema_version"] == "2.0"

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Smallest for the file to trust most."""
        return not self.is_canonical, LAYOUTS.index(self.layout), self.found.uri

    @property
    def source(self) -> dict[str, str]:
        """Entry of the run's `sources`."""
        return {"uri": self.found.uri, "sha256": self.sha256, "layout": self.layout}

    def refuse(self, code: str, what: str) -> Entry:
        """Set this file aside after all."""
        return Entry.of(self.found.uri, self.sha256, self.layout, Problem(code, "", what))


@dataclass(frozen=True)
class Skipped:
    """A JSON file that is recognised as something else than a measurement."""

    kind: str


def read_candidate(found: Found) -> tuple[Candidate, Columns] | Skipped | Entry:
    """Read one JSON file.

    Returns:
        The candidate and its subgraphs; or what else the file is; or why it is set aside.
    """
    raw, sha256, problem = read_bytes(found.path)
    data: Any = None
    if problem is None:
        data, problem = parse_json(raw)
    del raw
    place = place_of(found.path)
    if problem is not None or sha256 is None:
        return Entry.of(found.uri, sha256, place.layout if place else None, problem or Problem("unreadable", "", ""))
    if isinstance(data, dict) and "measurement_type" not in data and "subgraphs" not in data:
        for key, kind in (("runs", "sqlite_export"), ("curves", "efficiency_curves")):
            if key in data and place is None:
                return Skipped(kind)
    precision = data.get("precision") if isinstance(data, dict) else None
    place = place_of(found.path, precision if isinstance(precision, str) else None)
    if place is None:
        text = "neither its folders nor its content are those of a measurement"
        return Entry.of(found.uri, sha256, None, Problem("unknown_layout", "", text))
    checked, problems = check_measurement(data)
    if checked is None:
        return Entry.of(found.uri, sha256, place.layout, problems[0])
    return _candidate(found, sha256, place, checked)


def _candidate(found: Found, sha256: str, place: Place, checked: Checked) -> tuple[Candidate, Columns] | Entry:
    head = checked.head
    precision = head["precision"].lower()
    batch, named = batch_of(plain_name(found.path.stem), head["model"], head["batch_size"])
    problem = _problem_of_keys(place, precision, head)
    if batch is None or problem is not None:
        wrong = problem or named or Problem("batch_unknown", "", "")
        return Entry.of(found.uri, sha256, place.layout, wrong)
    recomputed = totals(checked.subgraphs, batch)
    same = checked.summary is not None and same_summary(checked.summary, recomputed)
    candidate = Candidate(
        found=found,
        sha256=sha256,
        layout=place.layout,
        hardware_id=place.hardware_id,
        precision=precision,
        model=head["model"],
        batch=batch,
        date=head["measurement_date"],
        content_id=content_id(
            (place.hardware_id, precision, head["model"], batch, head["measurement_date"]), checked.subgraphs
        ),
        head=head,
        summary=settled(checked.summary, recomputed),
        system_state=checked.system_state,
        warnings=tuple(_warnings(place, checked, named, same=same, recomputed=recomputed)),
    )
    return candidate, checked.subgraphs


def content_id(key: tuple[str, str, str, int, str], subgraphs: Columns) -> str:
    """Derive a run id from what was measured: a UUIDv5 of the canonical JSON of key and subgraphs.

    The JSON is built from the typed values, so that `0` and `0.0` and other spellings of a number are the same. A
    column of floats is spelled as the hexadecimal of its IEEE 754 bytes, little-endian: exact, and far faster to
    write than digits.

    Args:
        key: Device (folder), precision, model, batch and date.
        subgraphs: Checked columns, named as in the contract.
    """
    spelled = {name: _spelled(values) for name, values in subgraphs.items()}
    return str(uuid.uuid5(RUN_NAMESPACE, json.dumps([key, spelled], sort_keys=True, separators=(",", ":"))))


def _spelled(values: list[Any]) -> object:
    if type(values[0]) is not float:
        return values
    packed = array("d", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes().hex()


def _problem_of_keys(place: Place, precision: str, head: dict[str, Any]) -> Problem | None:
    if place.precision not in (None, precision):
        what = f"the folder says {place.precision}, the file {head['precision']}"
        return Problem("contradicting_precision", "precision", what)
    for name, value in (("hardware_id", place.hardware_id), ("precision", precision), ("model", head["model"])):
        wrong = key_problem(name, value)
        if wrong is not None:
            return Problem("bad_key", name, wrong)
    run_id = head["run_id"]
    if run_id is not None and (not run_id or run_id.split() != [run_id]):
        return Problem("contract", "run_id", f"{run_id!r} holds spaces, or nothing")
    return None


@lru_cache(maxsize=4096)
def key_problem(name: str, value: str) -> str | None:
    """Say why a value cannot be a partition key; None where it can."""
    try:
        encode_key(value)
    except UsageError as error:
        return str(error)
    except UnicodeError:
        return f"{value!r} is not valid Unicode"
    rule = next(rule for rule in SubgraphTimings.rules() if rule.name == "key" and rule.column == name)
    holds = pl.DataFrame({name: [value]}).select(rule.holds).item()
    return None if holds else f"{value!r} has spaces at its ends, control characters, or the wrong case"


def _warnings(
    place: Place, checked: Checked, named: Problem | None, *, same: bool, recomputed: dict[str, Any]
) -> list[str]:
    found = []
    if named is not None:
        found.append(f"{named.code}: {named.what}")
    if checked.head["hardware_id"] != place.hardware_id:
        found.append(f"hardware_id_mismatch: the file says {checked.head['hardware_id']!r}")
    if checked.summary is not None and not same:
        wrong = [
            f"{name} {checked.summary[name]} (recomputed {value})"
            for name, value in recomputed.items()
            if not isclose(checked.summary[name], value, rel_tol=SUMMARY_TOLERANCE)
        ]
        found.append(f"summary_mismatch: the file says {', '.join(wrong)}")
    if checked.unknown:
        more = ", ..." if len(checked.unknown) > SHOWN_KEYS else ""
        found.append(f"unknown_keys: not imported: {', '.join(checked.unknown[:SHOWN_KEYS])}{more}")
    means = checked.subgraphs["efficiency_mean"]
    above = sum(mean > 1 for mean in means)
    if above:
        at = means.index(max(means))
        found.append(f"efficiency_above_one: {above} of {len(means)} subgraphs, up to {means[at]:.4g} in row {at}")
    return found
