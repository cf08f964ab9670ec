"""What a figure is: the rows of one query, a chart over exactly these rows, and what is said beside it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.query_files import quoted

if TYPE_CHECKING:
    from types import ModuleType

    import polars as pl

Ask = Callable[[str], "pl.DataFrame"]
"""Runs a query and returns its rows; of a lake, or of a copy of its state that a report is made from."""

NAMED_DEVICES = 3
"""More hardware ids than this are counted in a heading."""

ROWS = "rows"
"""Name of the data of a chart, beside which there are only lines such as a roof."""

SHOWN_NAMES = 12
"""Names that an error lists."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What pictures are asked about; nothing named means everything."""

    hardware: tuple[str, ...] = ()
    precision: str | None = None
    models: tuple[str, ...] = ()
    batch: int | None = None
    estimator: str | None = None
    version: str | None = None

    @property
    def told(self) -> str:
        """Models and batch size that were asked for, as a part of a heading."""
        parts = [", ".join(self.models), "" if self.batch is None else f"batch {self.batch}"]
        return "".join(f" · {part}" for part in parts if part)

    def conditions(self, *columns: str) -> list[str]:
        """Write as SQL conditions what was asked of these columns, of any query that has them."""
        values: dict[str, tuple[object, ...]] = {
            "hardware_id": self.hardware,
            "precision": _one(self.precision),
            "model": self.models,
            "batch": _one(self.batch),
            "estimator": _one(self.estimator),
            "estimator_version": _one(self.version),
        }
        return [is_in(column, values[column]) for column in columns if values[column]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One picture.

    Attributes:
        title: What it shows.
        scope: Hardware, precision and methods that it holds for.
        alt: What a reader who cannot see it is told.
        sql: The query; run on the lake, it returns `rows`.
        rows: The rows of the query: the data of the chart.
        chart: The altair chart, without a title, a width and colours of a theme.
        least_width: What it needs to be read [px]; on a narrower screen it scrolls in a box of its own.
        notes: What has to be known beside it, such as what is left out.
    """

    title: str
    scope: str
    alt: str
    sql: str
    rows: pl.DataFrame
    chart: Any
    least_width: int = 0
    notes: tuple[str, ...] = ()

    def spec(self) -> dict[str, Any]:
        """Vega-Lite specification of the chart with its data."""
        found: dict[str, Any] = self.chart.to_dict(validate=False)
        for name in ("config", "$schema"):  # altair's own theme; who draws it sets both
            found.pop(name, None)
        return found


def load_altair() -> ModuleType:
    """Import altair.

    Raises:
        MissingDependencyError: The extra `plot` is not installed.
    """
    try:
        import altair as alt
    except ImportError as error:
        raise _missing(error) from error
    return alt


def load_converter() -> ModuleType:
    """Import vl_convert, which draws Vega-Lite without a browser and carries Vega's JavaScript.

    Raises:
        MissingDependencyError: The extra `plot` is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise _missing(error) from error
    return vl_convert


def vegalite_version() -> str:
    """Version of Vega-Lite that altair writes, as vl_convert names it: 6.4."""
    return ".".join(str(load_altair().SCHEMA_VERSION).lstrip("v").split(".")[:2])


def _missing(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(f"pictures need altair and vl-convert ({error})\n  pip install 'groundlake[plot]'")


def data(rows: pl.DataFrame) -> Any:  # noqa: ANN401 - an altair object
    """Return rows as the data of a chart."""
    return load_altair().Data(values=records(rows), name=ROWS)


def records(rows: pl.DataFrame) -> list[dict[str, object]]:
    """Return rows in JSON's types: moments as ISO 8601 in UTC, NaN and infinity as null."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows.iter_rows(named=True)]


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dt.datetime):
        return value.isoformat() + "Z"
    return value


def methods_told(timing: str, counting: str | None) -> str:
    """Name the methods of runs, as a part of a heading."""
    return f"timed by {timing} · counted by {counting or 'an unknown method'}"


def devices(rows: pl.DataFrame, wanted: Wanted) -> str:
    """Name the hardware ids of rows, or say how many there are where they are many and were not asked for."""
    names = rows["hardware_id"].unique().sort().to_list()
    return ", ".join(names) if wanted.hardware or len(names) <= NAMED_DEVICES else f"{len(names)} hardware ids"


def is_in(column: str, values: tuple[object, ...]) -> str:
    """Write the condition that a column has one of these values."""
    if len(values) == 1:
        return f"{column} = {literal(values[0])}"
    return f"{column} IN ({', '.join(map(literal, values))})"


def equals(**columns: object) -> list[str]:
    """Write the conditions that columns have these values; NULL is one, as a method may be unknown."""
    return [f"{name} IS NULL" if value is None else f"{name} = {literal(value)}" for name, value in columns.items()]


def literal(value: object) -> str:
    """Write a value as SQL."""
    return quoted(value) if isinstance(value, str) else str(value)


def where(conditions: list[str], prefix: str = "WHERE") -> str:
    """Write conditions as a clause of a query; nothing without any."""
    return f"\n{prefix} " + "\n    AND ".join(conditions) if conditions else ""


def check_names(ask: Ask, wanted: Wanted) -> None:
    """Refuse a hardware id, precision, model, batch size, estimator or version that the lake does not have.

    Raises:
        UsageError: Naming what there is.
    """
    asked = {
        "hardware_id": ("hardware id", wanted.hardware, "coverage"),
        "precision": ("precision", _one(wanted.precision), "coverage"),
        "model": ("model", wanted.models, "coverage"),
        "batch": ("batch size", _one(wanted.batch), "coverage"),
        "estimator": ("estimator", _one(wanted.estimator), "estimator_versions"),
        "estimator_version": ("estimator version", _one(wanted.version), "estimator_versions"),
    }
    for column, (noun, values, view) in asked.items():
        if not values:
            continue
        sql = f"SELECT DISTINCT {column} FROM {view} ORDER BY {column}"  # noqa: S608 - our own names
        there = ask(sql)[column].to_list()
        for value in values:
            if value not in there:
                listed = ", ".join(map(str, there[:SHOWN_NAMES])) + (", ..." if len(there) > SHOWN_NAMES else "")
                raise UsageError(f"the lake has no {noun} {value!r}\nthere are: {listed or 'none'}")


def _one(value: object) -> tuple[object, ...]:
    return () if value is None else (value,)
