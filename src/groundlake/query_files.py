"""Read the hand-written SQL in `queries/`: one statement a file, its documentation in the leading comment.

    -- One row for each configuration that scatters. More of what a user should know.
    -- example: select model, cv from scattered
    -- param: threshold DOUBLE = 0.15 (0..); coefficient of variation from which a configuration is shown
    -- param: level STRING = 'model' (model|subgraph); what is looked at; other texts are refused
    -- column cv [1]: Standard deviation / mean
    SELECT ...

In the parentheses stands what a parameter may be: one of some texts, or a number in a range, which reads 0..1, or 1..
where it has no upper end, or >0..1 where it begins above 0.

A file without parameters is a view in `lake.db`; one with parameters is asked by its name (`lake query`), and reads
them from the one-row view `params`: no marker for a parameter works in both dialects.
"""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

from groundlake.errors import UsageError
from groundlake.schemas import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Number = TypeVar("Number", int, float)

FOLDERS = ("views", "experiments", "transition", "calibration", "estimators", "validation", "reports")
"""Folders of `queries/`: the lake's own views, LLM experiments, KV-cache budgets, calibration sets, estimators,
estimators beside measurements, further questions."""

PARAMS = "params"
"""Name of the one-row view with a query's parameters."""

NAMES = {
    "hardware_id": ("runs", "hardware_id", ""),
    "precision": ("runs", "precision", "kind = 'efficiency'"),
    "model": ("runs", "model", "kind = 'efficiency'"),
    "batch": ("runs", "batch", "kind = 'efficiency'"),
    "power_mode": ("runs", "thermal_profile", "kind = 'efficiency'"),
    "estimator": ("estimates", "estimator", ""),
    "version": ("estimates", "estimator_version", ""),
    "run_id": ("runs", "run_id", "kind = 'llm_inference'"),
    "other_run_id": ("runs", "run_id", "kind = 'llm_inference'"),
}
"""Parameters that name something in the lake: relation and column where the names are, and which rows count."""

_NOT_SQL = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
"""Comments, and texts in quotes: `help` quotes a query of every view."""

_REFERENCE = re.compile(r"\b(?:from|join)\s+([a-z_][a-z0-9_]*)", re.IGNORECASE)
_COLUMN_LINE = re.compile(r"^column\s+(?P<name>\w+)(?:\s*\[(?P<unit>[^\]]+)\])?:\s*(?P<text>.+)$")
_PARAM_LINE = re.compile(
    r"^param:\s+(?P<name>[a-z]\w*)\s+(?P<kind>[A-Z]+)\s*=\s*(?P<default>'[^']*'|[^;\s]+)"
    r"(?:\s+\((?P<values>[^()]+)\))?(?:\s*;\s*(?P<text>.+))?$"
)
_RANGE = re.compile(r"(?P<open>>?)(?P<least>-?[\d.]+?)?\.\.(?P<most>-?[\d.]+)?")
_NO_CODE = re.compile(r"--[^\n]*|'[^']*'")
_INNERMOST = re.compile(r"\([^()]*\)")
_TRUTHS = {"true": True, "false": False}
_WHAT_FITS = {"DOUBLE": "a number", "BIGINT": "a whole number", "BOOLEAN": "true or false", "STRING": "text"}
_LARGEST = 2**63 - 1
A_DATE = "YYYY-MM-DD"
"""Among the allowed values of a text parameter: any date that there is, written so."""


@dataclass(frozen=True)
class Range:
    """The numbers that a parameter takes, ends included; the lower end is not where the range is `above` it."""

    text: str
    least: float = -math.inf
    most: float = math.inf
    above: bool = False

    @classmethod
    def of(cls, text: str) -> Range:
        """Read `0..1`, `1..`, `..1` or `>0..1`.

        Raises:
            UsageError: The text is no range.
        """
        found = _RANGE.fullmatch(text)
        try:
            least, most = (math.nan, math.nan) if found is None else _ends(found)
        except ValueError:
            least = most = math.nan
        if found is None or not least <= most:
            raise UsageError(f"the range of a number reads 0..1, 1.. or >0..1, got {text!r}")
        return cls(text, least, most, bool(found["open"]))

    def __contains__(self, number: float) -> bool:
        return (self.least < number if self.above else self.least <= number) and number <= self.most

    def __str__(self) -> str:
        lower = f"{'above' if self.above else 'at least'} {self.least:g}" if self.least > -math.inf else ""
        upper = f"at most {self.most:g}" if self.most < math.inf else ""
        return " and ".join(part for part in (lower, upper) if part)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a query: its name, SQL type (DOUBLE, BIGINT, BOOLEAN, STRING), default and meaning.

    Only texts have `values`: those that are allowed; none where any text is. Only numbers have a `range`.
    """

    name: str
    kind: str
    default: str
    description: str = ""
    values: tuple[str, ...] = ()
    range: Range | None = None

    @classmethod
    def of(cls, name: str, kind: str, default: str, allowed: str, description: str) -> Parameter:
        """Make a parameter from the parts of its line; `allowed` is what stands in the parentheses."""
        if kind == "STRING":
            values = tuple(value.strip() for value in allowed.split("|") if value.strip())
            return cls(name, kind, default, description, values)
        return cls(name, kind, default, description, range=Range.of(allowed.strip()) if allowed else None)

    def literal(self, text: str) -> str:
        """Write a value as SQL of the parameter's type.

        Raises:
            UsageError: The text is no such value, or none of those that are allowed.
        """
        if self.kind == "STRING":
            return f"CAST({quoted(self._allowed(text))} AS STRING)"
        try:
            if self.kind == "BIGINT":
                return f"CAST({self._within(self._whole(text), text)} AS BIGINT)"
            if self.kind == "BOOLEAN":
                return str(_TRUTHS[text.lower()]).lower()
            number = float(text)
        except (ValueError, KeyError):
            raise UsageError(f"parameter {self.name} is {_WHAT_FITS[self.kind]}, got {text!r}") from None
        if not math.isfinite(number):
            raise UsageError(f"parameter {self.name} is a number, got {text!r}")
        return f"CAST({self._within(number, text)!r} AS DOUBLE)"

    def _allowed(self, text: str) -> str:
        if "\\" in text:  # Spark reads it as the beginning of an escape, DuckDB as itself
            raise UsageError(f"parameter {self.name} cannot hold a backslash, got {text!r}")
        if not self.values or text in self.values or (A_DATE in self.values and _is_date(text)):
            return text
        near = difflib.get_close_matches(text.lower(), self.values, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"parameter {self.name} is one of {', '.join(self.values)}, got {text!r}{meant}")

    def _within(self, number: Number, text: str) -> Number:
        if self.range is not None and number not in self.range:
            raise UsageError(f"parameter {self.name} is {self.range}, got {text!r}")
        return number

    def _whole(self, text: str) -> int:
        number = int(text)
        if abs(number) > _LARGEST:
            raise UsageError(f"parameter {self.name} is a whole number of 64 bits, got {text!r}")
        return number

    @property
    def setting(self) -> str:
        """Default, and behind it what is allowed, if not all is: `model (model|subgraph)`, `0.9 (0..1)`."""
        allowed = self.range.text if self.range else "|".join(self.values)
        return self.default + (f" ({allowed})" if allowed else "")

    def __str__(self) -> str:
        return f"{self.name} {self.kind} = {self.setting}" + (f"; {self.description}" if self.description else "")


@dataclass(frozen=True)
class View:
    """One query: its SQL, what one row is, an example, its columns (name to meaning) and its parameters."""

    name: str
    sql: str
    documentation: str
    example: str
    columns: dict[str, str] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()

    @property
    def one_row_is(self) -> str:
        """First sentence of the documentation."""
        return self.documentation.split(". ")[0].rstrip(".")

    @property
    def ordered(self) -> str:
        """The SQL with an order of its rows: its own, else by all columns from left to right."""
        return self.sql if self._has_order else f"{self.sql}\nORDER BY ALL NULLS LAST"

    @property
    def _has_order(self) -> bool:
        """Whether the statement ends in an ORDER BY; those of windows and subqueries stand in parentheses."""
        text, fewer = "", _NO_CODE.sub(" ", self.sql)
        while text != fewer:
            text, fewer = fewer, _INNERMOST.sub(" ", fewer)
        return re.search(r"\border\s+by\b", text, re.IGNORECASE) is not None

    def reads(self) -> set[str]:
        """Names that the SQL reads from, views and common table expressions alike."""
        return {name.lower() for name in _REFERENCE.findall(_NOT_SQL.sub(" ", self.sql))}

    def params(self, given: Mapping[str, object]) -> View:
        """Return the view `params` with these values, and defaults for the others.

        Raises:
            UsageError: The query has no such parameter, or a value of another type.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                declared = "\n".join(f"  {parameter}" for parameter in self.parameters) or "  none"
                raise UsageError(f"query {self.name} has no parameter {name!r}; it has\n{declared}")
        values = [
            f"{parameter.literal(str(given.get(parameter.name, parameter.default)))} AS {parameter.name}"
            for parameter in self.parameters
        ]
        return View(PARAMS, "SELECT " + (", ".join(values) or "1 AS nothing"), "The parameters of a query", "")


@lru_cache(maxsize=1)
def named_queries() -> dict[str, View]:
    """Every hand-written query by name, in alphabetical order."""
    top = files("groundlake") / "queries"
    found = {
        entry.name.removesuffix(".sql"): entry.read_text("utf-8")
        for folder in FOLDERS
        for entry in (top / folder).iterdir()
        if entry.name.endswith(".sql")
    }
    return {name: parse_view(name, found[name]) for name in sorted(found)}


@lru_cache(maxsize=1)
def written_views() -> dict[str, View]:
    """The queries without parameters, which are views of every lake."""
    return {name: query for name, query in named_queries().items() if not query.parameters}


def named_query(name: str) -> View:
    """Return the query of this name.

    Raises:
        UsageError: There is none; of a table the message says how to read it, else similar names are listed.
    """
    queries = named_queries()
    if name not in queries and _is_relation(name):
        raise UsageError(
            f'{name} is a table, not a query; read it with lake sql "select * from {name}"\n'  # noqa: S608 - a message
            "`lake query` lists the queries"
        )
    if name not in queries:
        near = difflib.get_close_matches(name, queries, n=3)
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"there is no query {name!r}{meant}\n`lake query` lists them")
    return queries[name]


def _is_relation(name: str) -> bool:
    """Whether every lake has something of this name to be read in SQL beside the queries."""
    elements = {element.view for table in TABLES.values() for element in table.elements()}
    return name.removesuffix("_parts") in TABLES or name in elements or name in ("help", "quarantine")


def parse_view(name: str, text: str) -> View:
    """Read one query file: its leading comment (documentation, example, parameters, columns) and its SQL."""
    lines = text.strip().splitlines()
    length = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    head = _Head.of(line.removeprefix("--").strip() for line in lines[:length])
    sql = "\n".join(lines[length:]).strip().rstrip(";")
    described = {column: content + head.units[column] for column, content in head.columns.items()}
    return View(name, sql, " ".join(head.documentation), head.example, described, tuple(head.parameters))


@dataclass
class _Head:
    """The leading comment of a query file, taken apart."""

    documentation: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    parameters: list[Parameter] = field(default_factory=list)
    example: str = ""

    @classmethod
    def of(cls, lines: Iterable[str]) -> _Head:
        head, last = cls(), ""
        for line in lines:
            last = head._take(line, last)
        return head

    def _take(self, line: str, last: str) -> str:
        """Add one line; returns what a line after it goes on with."""
        column, param = _COLUMN_LINE.match(line), _PARAM_LINE.match(line)
        if column:
            name = column["name"]
            self.columns[name] = column["text"]
            self.units[name] = f" [{column['unit']}]" if column["unit"] else ""
            return name
        if param:
            default = param["default"].strip("'")
            parts = param["name"], param["kind"], default, param["values"] or "", param["text"] or ""
            self.parameters.append(Parameter.of(*parts))
            return "param:"
        if line.startswith("example:"):
            self.example = line.removeprefix("example:").strip()
            return "example:"
        if last == "example:":
            self.example = f"{self.example} {line}".strip()
        elif last == "param:":
            longer = f"{self.parameters[-1].description} {line}".strip()
            self.parameters[-1] = replace(self.parameters[-1], description=longer)
        elif last:
            self.columns[last] = f"{self.columns[last]} {line}"
        else:
            self.documentation.append(line)
        return last


def _ends(found: re.Match[str]) -> tuple[float, float]:
    return float(found["least"] or -math.inf), float(found["most"] or math.inf)


def _is_date(text: str) -> bool:
    """Whether a text is a date that there is, as YYYY-MM-DD; a year has four digits in it."""
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def quoted(text: str) -> str:
    """Write a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
