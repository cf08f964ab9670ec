"""Print rows: a table for people, csv and json for programs, parquet into a file."""

from __future__ import annotations

import datetime as dt
import html
import json
import math
import re
import shutil
import sys
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from unicodedata import category

import typer

from groundlake.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

SIGNIFICANT_DIGITS = 5
"""Digits of a number in a table; csv, json and parquet always carry full precision."""

ROWS_ON_A_TERMINAL = 200
"""More rows than anybody reads scroll the answer away."""

MAX_CELL = 60
"""Characters of a text cell in a table."""


_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that a terminal obeys instead of showing them: values come from files of others."""

_MARKS = re.compile(r"([\\`*\[\]|])")


class Format(str, Enum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


FormatOption = Annotated[Format, typer.Option("--format", help="How rows are printed; parquet needs -o.")]
OutOption = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead of stdout.")]


def print_rows(frame: pl.DataFrame, form: Format = Format.TABLE, output: Path | None = None) -> None:
    """Print a frame, or write it to a file.

    Raises:
        UsageError: Parquet without a file.
    """
    if form is Format.PARQUET:
        if output is None:
            raise UsageError("parquet is no text: name a file with -o FILE")
        frame.write_parquet(output)
        return
    terminal = output is None and sys.stdout.isatty()
    text = {Format.CSV: as_csv, Format.JSON: as_json}.get(form, lambda rows: as_table(rows, terminal=terminal))(frame)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


def as_csv(frame: pl.DataFrame) -> str:
    """Render rows as csv with a header and LF line ends; lists and structs as JSON text, bytes in hex."""
    import polars as pl

    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    flat = frame.with_columns(pl.col(pl.Binary).bin.encode("hex")).with_columns(
        pl.Series(name, [None if value is None else _json(value) for value in frame[name].to_list()], dtype=pl.String)
        for name in nested
    )
    return flat.write_csv(line_terminator="\n")


def as_json(frame: pl.DataFrame) -> str:
    """Render rows as a JSON array of objects, one a line, in full precision."""
    rows = ",\n".join(_json(row) for row in frame.iter_rows(named=True))
    return f"[\n{rows}\n]\n" if rows else "[]\n"


def as_table(frame: pl.DataFrame, *, terminal: bool) -> str:
    """Render rows as an aligned table; on a terminal it is cut to the width and to 200 rows, and says so."""
    shown = frame.head(ROWS_ON_A_TERMINAL) if terminal else frame
    columns = [[_cell(name), *(_cell(value) for value in shown[name].to_list())] for name in frame.columns]
    widths = [max(map(len, column)) for column in columns]
    kept = _columns_that_fit(widths, shutil.get_terminal_size().columns) if terminal else list(range(len(columns)))
    lines = []
    for row in range(shown.height + 1):
        cells = [
            columns[at][row].rjust(widths[at]) if frame.dtypes[at].is_numeric() else columns[at][row].ljust(widths[at])
            for at in kept
        ]
        lines.append("  ".join(cells).rstrip())
        if row == 0:
            lines.append("  ".join("─" * widths[at] for at in kept))
    hidden = [frame.columns[at] for at in range(len(columns)) if at not in kept]
    if hidden:
        names = ", ".join(map(_cell, hidden))
        lines.append(f"({len(hidden)} more columns: {names}; a wider terminal or --format csv shows them)")
    if shown.height < frame.height:
        lines.append(f"({frame.height - shown.height} more rows; --format csv -o FILE writes them all)")
    if frame.is_empty():
        lines.append("(no rows)")
    return "\n".join(lines) + "\n"


def as_markdown(frame: pl.DataFrame) -> str:
    """Render rows as a Markdown table, for a job summary."""
    numeric = [dtype.is_numeric() for dtype in frame.dtypes]
    lines = [frame.columns, ["---:" if each else "---" for each in numeric]]
    lines += [[plain_in_markdown(_cell(value)) for value in row] for row in frame.iter_rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain_in_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, as names of models and devices come from files of others."""
    return _MARKS.sub(r"\\\1", html.escape(text, quote=False))


def _columns_that_fit(widths: list[int], available: int) -> list[int]:
    kept: list[int] = []
    used = 0
    for at, width in enumerate(widths):
        used += width + (2 if kept else 0)
        if used > available and kept:
            break
        kept.append(at)
    return kept


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{SIGNIFICANT_DIGITS}g}" if abs(value) < 10**SIGNIFICANT_DIGITS else f"{value:.0f}"
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, bytes):
        value = value.hex()
    text = (_json(value) if isinstance(value, (list, dict)) else str(value)).replace("\n", " ")
    if not text.isprintable():
        text = "".join(repr(each)[1:-1] if category(each) in _OBEYED else each for each in text)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _json(value: Any) -> str:  # noqa: ANN401 - whatever a cell holds
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> object:  # noqa: ANN401 - whatever a cell holds
    """Say a value in JSON's own types; JSON has no NaN or infinity, so they become null, as in other writers."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):  # DuckDB's sum of integers, and literals such as 1.5
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        value = value.hex()
    return value.isoformat() if isinstance(value, (dt.datetime, dt.date, dt.time)) else str(value)
