"""Read predictions from a file: CSV, Parquet or JSON, one row for each."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.errors import UsageError
from groundlake.estimates import COLUMNS, Origin
from groundlake.schemas import Estimates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LAYOUT = "estimates"
"""What `sources` of the run says about the file."""

MAX_ROWS = 2**40
"""More than any file has."""


def read_estimates(path: Path) -> pl.DataFrame:
    """Read estimates as a frame, for `Lake.write_estimates` to check.

    Args:
        path: `.csv` with a header, `.parquet`, `.json` (an array of objects) or `.jsonl` (an object a line).

    Raises:
        UsageError: There is no such file, its suffix is another, or it cannot be read.
    """
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".csv": _read_csv,
        ".parquet": lambda file: pl.read_parquet(file, hive_partitioning=False),
        ".json": _read_json,
        ".jsonl": _read_json,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: estimates are read from {', '.join(readers)}, got {path.suffix or 'no suffix'}")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    try:
        frame = reader(path)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UsageError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}") from None
    if frame.is_empty():
        raise UsageError(f"{path}: there is no estimate in it")
    return frame


def origin_of(path: Path) -> Origin:
    """Say how messages name the estimates of a file: by line where it has lines, else by row."""
    lines = {".csv": _csv_lines, ".jsonl": _filled_lines}.get(path.suffix.lower())
    return Origin(str(path), "line", partial(lines, path)) if lines else Origin(str(path))


def source_of(path: Path) -> dict[str, str]:
    """Name a file in the form of the ledger's `sources`: its name, SHA-256 and layout."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"uri": path.name, "sha256": digest, "layout": LAYOUT}


def _text(path: Path) -> str:
    """Read a text file, with or without a byte order mark; raise ValueError where it is not UTF-8."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 (byte 0x{content[error.start]:02x}); save it as UTF-8") from None


# ---------------------------------------------------------------------- csv


def _read_csv(path: Path) -> pl.DataFrame:
    """Read CSV; names and versions are texts (version 1.10 is not 1.1), and blank lines are nothing."""
    schema = Estimates.polars_schema()
    texts = {name: pl.String() for name in COLUMNS if schema[name] == pl.String()}
    try:
        frame = pl.read_csv(path, infer_schema_length=None, schema_overrides=texts)
    except pl.exceptions.ComputeError as error:
        raise ValueError(_csv_fault(_text(path)) or str(error)) from None
    if not set(frame.columns) <= set(COLUMNS):
        _text(path)  # polars does not mind a header in another encoding
    filled = [
        pl.col(name) != "" if dtype == pl.String() else pl.col(name).is_not_null()
        for name, dtype in frame.schema.items()
    ]
    return frame.filter(pl.any_horizontal(filled))


def _csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that a row begins in, and its fields; the first is the header. Blank lines are left out."""
    reader = csv.reader(io.StringIO(text, newline=""))
    line = 1
    for fields in reader:
        if any(fields):
            yield line, fields
        line = reader.line_num + 1


def _csv_fault(text: str) -> str:
    """Say which row has more fields than the header; empty where none has."""
    rows = _csv_rows(text)
    _, header = next(rows, (0, []))
    for line, fields in rows:
        if len(fields) > len(header):
            return f"line {line} has {len(fields)} fields, the header {len(header)}"
    return ""


def _csv_lines(path: Path) -> Sequence[int]:
    """Number of the line that each row begins in."""
    try:
        return [line for line, _ in _csv_rows(_text(path))][1:]
    except csv.Error:  # a field beyond what the module takes
        return range(2, MAX_ROWS)


# ---------------------------------------------------------------------- json


def _read_json(path: Path) -> pl.DataFrame:
    """Read JSON; what polars does not take, as NaN, Python reads or says the line of."""
    by_line = path.suffix.lower() == ".jsonl"
    try:
        read = pl.read_ndjson if by_line else pl.read_json
        frame = read(path, infer_schema_length=None)
    except pl.exceptions.PolarsError:
        return _as_frame(list(_objects(path, by_line=by_line)))
    if frame.height == 1 and any(dtype.is_nested() for dtype in frame.dtypes):
        raise ValueError("it is no array of objects, one for each estimate (pandas: orient='records')")
    return frame


def _objects(path: Path, *, by_line: bool) -> Iterator[dict[str, Any]]:
    """Parse JSON in Python, where NaN and Infinity are floats; raise ValueError with the place that is wrong."""
    text = _text(path)
    pieces = [(at, line) for at, line in enumerate(text.split("\n"), 1) if line.strip()] if by_line else [(1, text)]
    for line, piece in pieces:
        try:
            value = json.loads(piece)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {line + error.lineno - 1}, column {error.colno}: {error.msg}") from None
        except RecursionError:
            raise ValueError(f"line {line}: it is nested too deeply") from None
        for row, item in enumerate([value] if by_line else value if isinstance(value, list) else [value], 1):
            if not isinstance(item, dict):
                place = f"line {line}" if by_line else f"row {row}"
                raise ValueError(f"{place} is no object with the columns of an estimate")  # noqa: TRY004 - of the file
            yield item


def _filled_lines(path: Path) -> Sequence[int]:
    """Number of each line that is not blank."""
    return [number for number, line in enumerate(_text(path).split("\n"), 1) if line.strip()]


def _as_frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Make a frame of objects; a column of values of several kinds is one of texts."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame([_column(name, [row.get(name) for row in rows]) for name in names])


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    try:
        column = pl.Series(name, values, strict=False)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        column = pl.Series(name, values, dtype=pl.Object())
    if column.dtype != pl.Object() and not column.dtype.is_nested():
        return column
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String())
