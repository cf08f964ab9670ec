"""What every table contract is made of: keys, version, rules with units, and everything derived from them.

A contract is a Pandera (polars) model. Its checks run in two forms with one verdict:

* `Table.check` runs all rules as ONE fused Pandera check (Pandera costs about 0.5 ms a check, whatever the rows);
* only when that fails, the ordinary per-column form runs once, to say which column broke which rule and where.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaError, SchemaErrors

from groundlake.errors import ContractViolationError

if TYPE_CHECKING:
    from pyarrow import Schema as ArrowSchema
    from pyarrow import Table as ArrowTable

KEYS = ("hardware_id", "precision", "model", "batch")
"""The Hive partition keys, in the order of the folders."""

NO_KEY = "none"
"""Value of a text key that does not apply to a row."""

ANCHOR_KEY = "~"
"""Key value reserved for the zero-row anchor of each table. It sorts behind every other: DuckDB takes the rows of the
first file of a glob for those of each, and would think of an empty one that the whole table is as good as empty."""

FORMER_ANCHOR_KEY = "-"
"""The anchors of lakes that were begun before that; reserved too."""

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive writes for NULL in a path; every engine reads it back as NULL."""

MAX_ENCODED_BYTES = 120
"""Longest encoded key: four of them and a part name stay far below the path limits of all file systems."""

ULP_TOLERANCE = 8 * 2.0**-52
"""Relative slack of order rules: statistics of one observation differ from it by a rounding or two."""

_CHECK_WORDS: dict[str, Any] = {
    "greater_than_or_equal_to": lambda s: f"must be at least {s['min_value']}",
    "greater_than": lambda s: f"must be more than {s['min_value']}",
    "less_than_or_equal_to": lambda s: f"must be at most {s['max_value']}",
    "isin": lambda s: f"must be one of {', '.join(map(str, s['allowed_values']))}",
    "str_matches": lambda s: f"must match {getattr(s['pattern'], 'pattern', s['pattern'])}",
}
"""The same checks as a message says them."""

_CHECK_EXPRESSIONS: dict[str, Any] = {
    "greater_than_or_equal_to": lambda column, s: column >= s["min_value"],
    "greater_than": lambda column, s: column > s["min_value"],
    "less_than_or_equal_to": lambda column, s: column <= s["max_value"],
    "isin": lambda column, s: column.is_in(list(s["allowed_values"])),
    "str_matches": lambda column, s: column.str.contains(
        s["pattern"] if isinstance(s["pattern"], str) else s["pattern"].pattern
    ),
}
"""Pandera's built-in checks that contracts use, as polars expressions for the fused form."""


def column(description: str, *, unit: str | None = None, nullable: bool = False, **checks: Any) -> Any:  # noqa: ANN401 - pandera types Field as Any
    """Declare one column of a contract.

    Args:
        description: What a value means; becomes the COMMENT in `lake.db` and the line in `docs/tables.md`.
        unit: Unit of a numeric column, "1" for a pure number ("FLOP" and "FLOP/s" differ).
        nullable: Whether NULL (unknown or not applicable) is allowed.
        **checks: Pandera's built-in checks, for example `ge=0` or `isin=[...]`.
    """
    return pa.Field(description=description, metadata={"unit": unit}, nullable=nullable, **checks)


@dataclass(frozen=True)
class ColumnSpec:
    """One column as the rest of the project sees it."""

    name: str
    dtype: pl.DataType
    description: str
    unit: str | None
    nullable: bool


@dataclass(frozen=True)
class Element:
    """A list column that SQL can take apart: the view with one row for each element, and the column of its values.

    Engines have no common text for this, so the binder of each makes the view; hand-written SQL reads it.
    """

    column: str
    view: str
    value: str


@dataclass(frozen=True)
class Rule:
    """A named condition that every row of a contract meets: `holds` is a boolean expression per row; NULL passes."""

    name: str
    column: str
    holds: pl.Expr
    wanted: str = ""

    @property
    def words(self) -> str:
        """What the condition asks for, as a message says it."""
        return self.wanted or self.name


def in_order(*columns: str) -> pl.Expr:
    """Return an expression: the columns do not decrease from left to right, up to a few ulp; NULL passes."""
    steps = [
        (pl.col(low) <= pl.col(high) + ULP_TOLERANCE * pl.max_horizontal(pl.col(low).abs(), pl.col(high).abs()))
        for low, high in pairwise(columns)
    ]
    return pl.all_horizontal(steps)


class Table(pa.DataFrameModel):
    """Base of all table contracts: a Pandera model that knows its partition keys, version and derived forms."""

    class Config:
        """Pandera settings: exactly these columns, and no silent conversion of values."""

        strict = True
        coerce = False

    @classmethod
    def table_name(cls) -> str:
        """Name of the table, of its folder and of its view."""
        raise NotImplementedError(f"{cls.__name__} is a base of contracts; a contract names its table")

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Partition keys in folder order; they live in the path, never in the file."""
        return KEYS

    @classmethod
    def version(cls) -> int:
        """Contract version; it grows when nullable columns are added, and older parts stay readable."""
        return 1

    @classmethod
    def added(cls) -> dict[str, int]:
        """Contract version in which a column was added, for columns that version 1 did not have."""
        return {}

    @classmethod
    def latest_by(cls) -> tuple[str, ...]:
        """Columns of which only the latest recorded row is shown; none where every visible row is."""
        return ()

    @classmethod
    def elements(cls) -> tuple[Element, ...]:
        """List columns of which a view has one row for each element."""
        return ()

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """Structural rules over several columns: name of the rule to a boolean expression per row."""
        return {}

    @classmethod
    def documentation(cls) -> str:
        """What one row is: the contract's docstring in one line."""
        return " ".join((cls.__doc__ or "").split())

    @classmethod
    @cache
    def columns(cls) -> tuple[ColumnSpec, ...]:
        """All columns, partition keys included, in the order of the contract."""
        return tuple(
            ColumnSpec(
                name=name,
                dtype=field.dtype.type() if isinstance(field.dtype.type, type) else field.dtype.type,
                description=field.description or "",
                unit=(field.metadata or {}).get("unit"),
                nullable=field.nullable,
            )
            for name, field in cls.to_schema().columns.items()
        )

    @classmethod
    @cache
    def polars_schema(cls) -> pl.Schema:
        """Column names and polars types, partition keys included."""
        return pl.Schema({spec.name: spec.dtype for spec in cls.columns()})

    @classmethod
    def empty_frame(cls) -> pl.DataFrame:
        """Return a frame of zero rows with the columns and types of the contract."""
        return cls._empty_frame().clone()  # cheap, and what a caller does to it stays with the caller

    @classmethod
    @cache
    def _empty_frame(cls) -> pl.DataFrame:
        return pl.DataFrame(schema=cls.polars_schema())

    @classmethod
    @cache
    def arrow_schema(cls) -> ArrowSchema:
        """Arrow schema of the contract's files: no partition keys, the contract named in the metadata."""
        from groundlake import __version__

        stored = cls.empty_frame().drop(cls.keys())
        schema = stored.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        return schema.with_metadata(
            {
                "groundlake.contract": cls.table_name(),
                "groundlake.contract_version": str(cls.version()),
                "groundlake.writer": f"groundlake {__version__}",
            }
        )

    @classmethod
    def to_arrow(cls, rows: pl.DataFrame) -> ArrowTable:
        """Convert rows that met the contract to what its files hold: the Arrow schema, without partition keys."""
        from pyarrow import Table as ArrowTable

        schema = cls.arrow_schema()
        stored = rows[schema.names].to_arrow(compat_level=pl.CompatLevel.oldest())
        # The types are equal by construction: this only puts the contract's name into the metadata.
        return ArrowTable.from_arrays(stored.columns, schema=schema)

    @classmethod
    @cache
    def rules(cls) -> tuple[Rule, ...]:
        """Every rule of the contract as one flat list: nulls, declared checks, finite numbers, row rules."""
        found = []
        for name, field in cls.to_schema().columns.items():
            value = pl.col(name)
            if not field.nullable:
                found.append(Rule("not_nullable", name, value.is_not_null(), "must not be NULL"))
            found += [
                Rule(
                    check.name,
                    name,
                    _CHECK_EXPRESSIONS[check.name](value, check.statistics),
                    _CHECK_WORDS[check.name](check.statistics),
                )
                for check in field.checks
            ]
            finite = _finite(name, field.dtype.type)
            if finite is not None:
                found.append(Rule("finite", name, finite, "must be a finite number"))
        folder = "must be a name for a folder: not empty, a number, reserved, or too long"
        found += [
            Rule("key", key, _valid_key(key), folder) for key in KEYS if key != "batch" and key in cls.polars_schema()
        ]
        found += [Rule(name, "row", holds) for name, holds in cls.row_rules().items()]
        return tuple(found)

    @classmethod
    def conform(cls, frame: pl.DataFrame) -> pl.DataFrame:
        """Add the nullable columns that are missing, widen types without loss, and order the columns.

        What cannot be made to fit is left as it is, for `check` to name.
        """
        wanted, got = cls.polars_schema(), frame.schema
        if got == wanted:
            return frame
        absent = [
            pl.lit(None, dtype=spec.dtype).alias(spec.name)
            for spec in cls.columns()
            if spec.nullable and spec.name not in got
        ]
        widened = [
            pl.col(name).cast(dtype)
            for name, dtype in wanted.items()
            if name in got and got[name] != dtype and _widens(got[name], dtype)
        ]
        frame = frame.with_columns(*absent, *widened)
        present = set(frame.columns)
        return frame.select(
            *(name for name in wanted if name in present), *(name for name in frame.columns if name not in wanted)
        )

    @classmethod
    def check(cls, frame: pl.DataFrame) -> None:
        """Raise unless every row meets every rule.

        Args:
            frame: An eager frame; a LazyFrame would silently skip the checks of values.

        Raises:
            ContractViolationError: Naming each failing column, rule, number of rows and example rows.
        """
        if dict(frame.schema) != dict(cls.polars_schema()):
            raise ContractViolationError(_explained(cls, frame))
        try:
            _fused_schema(cls).validate(frame)
        except (SchemaError, SchemaErrors):
            raise ContractViolationError(_explained(cls, frame)) from None


@cache
def _fused_schema(contract: type[Table]) -> pa.DataFrameSchema:
    """All rules of the contract as one check on the frame; `Table.check` has compared columns and types before."""
    # One output column for each rule: polars takes three times as long to fold them into a single expression. all()
    # passes over NULL.
    verdicts = [rule.holds.all().alias(str(number)) for number, rule in enumerate(contract.rules())]

    def meets_contract(data: pa.PolarsData) -> bool:
        return all(data.lazyframe.select(verdicts).collect().row(0))

    return pa.DataFrameSchema(checks=pa.Check(meets_contract, name="contract"))


def _explained(contract: type[Table], frame: pl.DataFrame) -> str:
    from groundlake.schemas.explaining import explain  # only a frame that failed needs it

    return explain(contract, frame)


def _finite(name: str, dtype: pl.DataType) -> pl.Expr | None:
    """Every number is finite: NaN and infinity are never measurements."""
    if dtype == pl.Float64:
        return pl.col(name).is_finite()
    if dtype == pl.List(pl.Float64):
        return pl.col(name).list.eval(pl.element().is_finite()).list.all()
    return None


_UNENCODED = "[A-Za-z0-9_.~-]"
"""Characters that stand for themselves in a path; any other byte takes three."""


def _valid_key(name: str) -> pl.Expr:
    """What any engine reads back as the same text: not empty or reserved, not a number, no stray spaces, not long."""
    value = pl.col(name)
    valid = (
        value.str.contains(r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$")
        & ~value.str.contains(r"^[0-9]+$")
        & ~value.is_in([ANCHOR_KEY, FORMER_ANCHOR_KEY, HIVE_NULL])
        & (value.str.len_bytes() * 3 - value.str.count_matches(_UNENCODED) * 2 <= MAX_ENCODED_BYTES)
    )
    if name == "precision":
        valid &= value == value.str.to_lowercase()
    return valid


_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)


def _widens(got: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether every value of `got` is a value of `wanted`."""
    if got == pl.Null:
        return True
    if isinstance(got, pl.List) and isinstance(wanted, pl.List):
        return got.inner == wanted.inner or _widens(got.inner, wanted.inner)  # type: ignore[arg-type] # inner is a type
    if wanted == pl.Int64:
        return got in _INTEGERS
    if wanted == pl.Float64:
        return got in _INTEGERS or got == pl.Float32
    return (
        isinstance(got, pl.Datetime)
        and isinstance(wanted, pl.Datetime)
        and got.time_zone == wanted.time_zone
        and (got.time_unit == "ms")
    )
