"""Why a frame fails its contract: the slow form of the checks, which can say what is wrong and where."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaError, SchemaErrors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from groundlake.schemas.base import Rule, Table

MAX_EXAMPLES = 3
"""Example values shown for each broken rule."""

MAX_SHOWN = 40
"""Characters of a value in a message."""

_ODD_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


@cache
def per_column_schema(contract: type[Table]) -> pa.DataFrameSchema:
    """The contract in Pandera's ordinary form, one check for each rule: slow, and able to say what is wrong.

    It is for frames as `readable` makes them.
    """
    schema = contract.to_schema()
    columns = dict(schema.columns)
    for name, column in columns.items():
        if column.dtype.type == pl.Binary:
            columns[name] = pa.Column(pl.String, checks=column.checks, nullable=column.nullable)
    row_checks = []
    for rule in contract.rules():
        if rule.name in ("finite", "key"):
            checked = columns[rule.column]
            columns[rule.column] = pa.Column(
                checked.dtype, checks=[*checked.checks, _as_check(rule)], nullable=checked.nullable
            )
        elif rule.column == "row":
            row_checks.append(_as_check(rule))
    return pa.DataFrameSchema(columns, checks=row_checks, strict=True)


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with bytes as text: Pandera writes what failed as JSON, and polars has none of bytes."""
    return frame.with_columns(pl.col(pl.Binary).bin.encode("hex"))


def _as_check(rule: Rule) -> pa.Check:
    holds = rule.holds.fill_null(value=True).alias(rule.name)
    return pa.Check(lambda data: data.lazyframe.select(holds), name=rule.name, error=rule.name)


def explain(contract: type[Table], frame: pl.DataFrame) -> str:
    """Describe every broken rule of a frame that failed its contract, one line each."""
    lines = [
        f"{contract.table_name()}: the contract (version {contract.version()}) refuses this frame; nothing was written"
    ]
    schema = contract.polars_schema()
    lines += [f"  {name}: column is missing ({dtype})" for name, dtype in schema.items() if name not in frame.columns]
    lines += [f"  {name}: column is not in the contract" for name in frame.columns if name not in schema]
    mistyped = {name for name, got in frame.schema.items() if name in schema and got != schema[name]}
    lines += [f"  {name}: type is {frame.schema[name]}, the contract says {schema[name]}" for name in sorted(mistyped)]
    judged = frame.select(name for name in schema if name in frame.columns and name not in mistyped)
    broken = broken_rules(contract, judged)
    lines += [_describe(rule, judged) for rule in contract.rules() if (rule.column, rule.name) in broken]
    return "\n".join(lines)


def broken_rules(contract: type[Table], frame: pl.DataFrame) -> set[tuple[str, str]]:
    """Run the per-column form over the columns that are there: (column or "row", rule) of each broken rule."""
    there = set(frame.columns)
    full = per_column_schema(contract)
    judged = pa.DataFrameSchema(
        {name: column for name, column in full.columns.items() if name in there},
        checks=[
            _as_check(rule) for rule in contract.rules() if rule.column == "row" and set(_columns_read(rule)) <= there
        ],
    )
    try:
        judged.validate(readable(frame), lazy=True)
    except SchemaErrors as error:
        found = {(_column_of(broken), _rule_of(broken)) for broken in error.schema_errors}
        # Pandera takes NaN for a null; the rule `finite` names it.
        return {(name, rule) for name, rule in found if rule != "not_nullable" or frame[name].null_count()}
    return set()


def _column_of(error: SchemaError) -> str:
    return error.schema.name if isinstance(error.schema, pa.Column) and error.schema.name else "row"


def _rule_of(error: SchemaError) -> str:
    check = error.check
    return str(check if isinstance(check, str) else check.name) if check is not None else ""


def _describe(rule: Rule, frame: pl.DataFrame) -> str:
    bad = frame.with_row_index("row_number").filter(~rule.holds)
    keep = ["row_number", *([rule.column] if rule.column != "row" else _columns_read(rule))]
    examples = "; ".join(
        ", ".join(f"{name.replace('row_number', 'row')}={value!r}" for name, value in row.items())
        for row in bad.select(keep).head(MAX_EXAMPLES).to_dicts()
    )
    where = "" if rule.column == "row" else f"{rule.column}: "
    return f"  {where}{rule.words}; {bad.height} of {frame.height} rows break this ({examples})"


def first_broken(rules: Iterable[Rule], frame: pl.DataFrame) -> dict[int, str]:
    """Say of each row that breaks a rule of one column what the first such rule asks for, and what the row has.

    Args:
        rules: Rules, of which those over several columns are passed over.
        frame: A frame of the contract's types.

    Returns:
        Position of the row, from 0, to a sentence about it.
    """
    found: dict[int, str] = {}
    numbered = frame.with_row_index("row_number")
    for rule in rules:
        if rule.column == "row":
            continue
        bad = numbered.filter(~rule.holds).select("row_number", rule.column)
        for row, value in bad.iter_rows():
            found.setdefault(row, f"{rule.column} {_asked(rule)}, got {shown(value)}")
    return found


def shown(value: object) -> str:
    """Write a value for a message: an empty one in words, odd numbers as files have them, a long one cut."""
    if value is None:
        return "nothing"
    text = repr(value)
    text = _ODD_NUMBERS.get(text, text)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _asked(rule: Rule) -> str:
    return "is needed" if rule.name == "not_nullable" else rule.words


def _columns_read(rule: Rule) -> list[str]:
    return sorted(set(rule.holds.meta.root_names()))
