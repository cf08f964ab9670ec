"""What importers of other tools' results have in common: checked fields, units, and the run that they make."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.experiment.rows import EXPERIMENTS, KIND
from groundlake.experiment.settings import flattened, hardware_named
from groundlake.ground_truth.reading import Problem
from groundlake.importers.quarantine import Entry
from groundlake.schemas import FACT_TABLES, NO_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from groundlake.importers.files import Found

MS, BYTE, JOULE, ONE = "ms", "byte", "J", "1"
INCOMPLETE = "incomplete"
INT64 = 2**63
LARGEST = 1e60
"""What no measurement exceeds in any unit: products with the factor of a unit stay finite."""

_ATOMS: dict[str, tuple[float, str]] = {
    **dict.fromkeys(("ns", "nanoseconds"), (1e-9, "s")),
    **dict.fromkeys(("us", "µs", "microseconds"), (1e-6, "s")),
    **dict.fromkeys(("ms", "milliseconds"), (1e-3, "s")),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), (1.0, "s")),
    **dict.fromkeys(("min", "minute", "minutes"), (60.0, "s")),
    **dict.fromkeys(("h", "hour", "hours"), (3600.0, "s")),
    **dict.fromkeys(("J", "joule", "joules"), (1.0, "J")),
    "mJ": (1e-3, "J"),
    "kJ": (1e3, "J"),
    "MJ": (1e6, "J"),
    "Wh": (3600.0, "J"),
    "kWh": (3.6e6, "J"),
    "W": (1.0, "W"),
    "mW": (1e-3, "W"),
    "kW": (1e3, "W"),
    **dict.fromkeys(("B", "byte", "bytes"), (1.0, "byte")),
    "KB": (1e3, "byte"),
    "kB": (1e3, "byte"),
    "MB": (1e6, "byte"),
    "GB": (1e9, "byte"),
    "TB": (1e12, "byte"),
    "KiB": (2.0**10, "byte"),
    "MiB": (2.0**20, "byte"),
    "GiB": (2.0**30, "byte"),
    "TiB": (2.0**40, "byte"),
    "Hz": (1.0, "Hz"),
    "MHz": (1e6, "Hz"),
    "GHz": (1e9, "Hz"),
    **dict.fromkeys(("°C", "C", "celsius"), (1.0, "°C")),
    **dict.fromkeys(("%", "percent"), (0.01, "")),
    **dict.fromkeys(("1", "count", "ratio", "token", "tokens", "request", "requests", "req", "good-req"), (1.0, "")),
    **dict.fromkeys(("user", "users", "sample", "samples", "step", "steps", "chunk", "chunks"), (1.0, "")),
    **dict.fromkeys(("image", "images", "video", "videos", "error", "errors", "turn", "turns", "bool"), (1.0, "")),
}
"""Parts of units that are read: the factor to the base unit, and that; what is counted has none."""


@dataclass(frozen=True)
class Unit:
    """A unit of a file: what to multiply its values by, and the unit they have then."""

    factor: float
    name: str

    @classmethod
    def parse(cls, text: str) -> Unit | None:
        """Read `ms`, `MB`, `tokens/sec/user`, `J*s`, ...; None where a part of it is not known.

        Things that are counted have no unit: tokens/sec is 1/s. A time alone is in ms, everything else in SI units.
        """
        factor = 1.0
        over: list[str] = []
        under: list[str] = []
        for place, part in enumerate(text.split("/")):
            for atom in part.split("*"):
                known = _ATOMS.get(atom.strip())
                if known is None:
                    return None
                factor = factor * known[0] if place == 0 else factor / known[0]
                if known[1]:
                    (over if place == 0 else under).append(known[1])
        if (over, under) == (["s"], []):
            return cls(factor * 1e3, MS)
        return cls(factor, "/".join(["*".join(over) or ONE, *under]))


@dataclass
class Checker:
    """Takes values out of parsed JSON, and remembers everything that is wrong with them.

    Attributes:
        problems: What is wrong, each with its place; a value that is wrong was taken for None.
    """

    problems: list[Problem] = field(default_factory=list)

    def refuse(self, code: str, where: str, what: str) -> None:
        """Remember a problem."""
        self.problems.append(Problem(code, where, what))

    def mapping(self, value: object, where: str) -> dict[str, Any]:
        """Take an object; an empty one for null."""
        if isinstance(value, dict):
            return value
        self._wrong(value, where, "an object")
        return {}

    def items(self, value: object, where: str) -> list[Any]:
        """Take a list; an empty one for null."""
        if isinstance(value, list):
            return value
        self._wrong(value, where, "a list")
        return []

    def text(self, value: object, where: str) -> str | None:
        """Take a text, or null."""
        if isinstance(value, str):
            return value
        self._wrong(value, where, "a text")
        return None

    def whole(self, value: object, where: str) -> int | None:
        """Take a whole number of at least 0, or null."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if self.number(value, where, least=0) is None:
            return None
        if isinstance(value, int) and value < INT64:
            return value
        self._wrong(value, where, "a whole number of 64 bits")
        return None

    def number(self, value: object, where: str, *, least: float | None = None) -> float | None:
        """Take a finite number that is not below the least, or null."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong(value, where, "a number")
            return None
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if not isfinite(number):
            self.refuse("not_finite", where, f"{number} is not a finite number")
        elif abs(number) > LARGEST:
            self.refuse("contract", where, f"{number} is larger than any figure")
        elif least is not None and number < least:
            self.refuse("contract", where, f"{value} is below {least:g}")
        else:
            return number
        return None

    def unit(self, value: object, where: str, wanted: str | None = None) -> Unit | None:
        """Take a unit; one that is not known, or not the wanted one, is a problem."""
        text = self.text(value, where)
        found = None if text is None else Unit.parse(text)
        if found is None or (wanted is not None and found.name != wanted):
            what = f"{value!r} is no unit that is read" if found is None else f"{value!r} is no unit of {wanted}"
            self.refuse("unknown_unit", where, what)
            return None
        return found

    def amounts(self, values: object, where: str, unit: Unit | None) -> list[float]:
        """Take a list of amounts that are not negative, in the unit of the lake."""
        numbers = [self.number(each, f"{where}[{at}]", least=0) for at, each in enumerate(self.items(values, where))]
        return [number * unit.factor for number in numbers if number is not None] if unit else []

    def _wrong(self, value: object, where: str, wanted: str) -> None:
        if value is not None:
            self.refuse("wrong_type", where, f"{type(value).__name__} where {wanted} belongs")


@dataclass(frozen=True)
class Taken:
    """A file that was read: where it lies, the hash of its bytes, and what it says."""

    found: Found
    sha256: str
    data: Any

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.found.path.name

    def source(self, layout: str) -> dict[str, str]:
        """Entry of the ledger's sources."""
        return {"uri": self.found.uri, "sha256": self.sha256, "layout": layout}

    def set_aside(self, layout: str, problems: Iterable[Problem]) -> Entry:
        """Entry of the quarantine, for the first problem; the others are counted."""
        first, *others = problems
        more = f" (and {len(others)} more)" if others else ""
        return Entry.of(self.found.uri, self.sha256, layout, Problem(first.code, first.where, f"{first.what}{more}"))


@dataclass(frozen=True, kw_only=True)
class ForeignRun:
    """One result of another tool on its way into the lake.

    Attributes:
        layout: Tool and kind of export.
        sources: Files it was read from: uri, sha256, layout.
        content: All that the files say; the run id is made of it.
        ledger: Columns of the run.
        experiment: Columns of `experiments`; experiment_id may be left out.
        rows: Rows of the other tables, without keys.
        device_name: Product name of the device, where the result has it.
        started_at: When it started, with or without a zone.
        doubts: What is doubtful, each as `code: text`.
        other: What no column holds.
    """

    layout: str
    sources: list[dict[str, str]]
    content: Any
    ledger: Mapping[str, Any]
    experiment: Mapping[str, Any]
    rows: Mapping[str, list[dict[str, Any]]]
    device_name: str | None = None
    started_at: dt.datetime | None = None
    doubts: list[str] = field(default_factory=list)
    other: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """UUIDv5 of the content, wherever the files lie and however they are indented."""
        return str(uuid.uuid5(EXPERIMENTS, f"{self.layout} {canonical(self.content)}"))

    @property
    def told_hardware(self) -> str | None:
        """Id of the device that the result names."""
        return None if self.device_name is None else hardware_named(self.device_name)

    def set_aside(self, problem: Problem) -> Entry:
        """Entry of the quarantine for a result that cannot be imported."""
        return Entry.of(self.sources[0]["uri"], self.sources[0]["sha256"], self.layout, problem)

    def frames(self, hardware_id: str, zone: dt.tzinfo | None) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
        """Columns of the ledger, and the rows of each table."""
        started, source = _utc(self.started_at, zone)
        row = {
            "run_id": self.run_id,
            "kind": KIND,
            "hardware_id": hardware_id,
            "precision": NO_KEY,
            "model": NO_KEY,
            "batch": 0,
            "started_at": started,
            "started_at_zone_source": source,
            "source_measurement_date": self.started_at.isoformat() if self.started_at else None,
            "sources": self.sources,
            "warnings": self.doubts or None,
            **self.ledger,
        }
        told = {"experiment_id": self.run_id, **self.experiment, "result_layout": self.layout}
        kept = {name: value for name, value in self.other.items() if value not in (None, {}, [])}
        told["other_json"] = json.dumps(kept, ensure_ascii=False, sort_keys=True) if kept else None
        rows = {"experiments": [told], **self.rows, "measurement_warnings": list(map(_warning, self.doubts))}
        return row, {name: _frame(name, each) for name, each in rows.items() if each}


def canonical(value: object) -> str:
    """JSON of a value, the same whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def setting_rows(kind: str, data: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    """Rows of `experiment_settings`; a path that is there twice keeps its first value."""
    seen: set[str] = set()
    for name, value in flattened(data):
        if name not in seen:
            seen.add(name)
            yield {"kind": kind, "name": name, "value": value}


def without(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The same without these keys."""
    left_out = set(names)
    return {name: value for name, value in data.items() if name not in left_out}


def by_folder(files: Iterable[Taken], name_of: Callable[[Taken], str]) -> dict[Any, dict[str, Taken]]:
    """Files by their folder, and there by their name."""
    folders: dict[Any, dict[str, Taken]] = {}
    for file in files:
        folders.setdefault(file.found.path.parent, {})[name_of(file)] = file
    return folders


def _utc(moment: dt.datetime | None, zone: dt.tzinfo | None) -> tuple[dt.datetime | None, str | None]:
    """A moment in UTC, and how its zone is known."""
    if moment is None:
        return None, None
    if moment.tzinfo is not None:
        return moment.astimezone(dt.timezone.utc).replace(tzinfo=None), "file"
    if zone is None:
        return moment, "assumed_utc"
    return moment.replace(tzinfo=zone).astimezone(dt.timezone.utc).replace(tzinfo=None), "option"


def _warning(text: str) -> dict[str, object]:
    code, _, message = text.partition(": ")
    return {"code": code, "message": message}


def _frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows with the columns of their table that they fill."""
    types = FACT_TABLES[table].polars_schema()
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame(rows, schema={name: types[name] for name in names}, strict=True)
