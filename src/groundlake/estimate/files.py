"""Read predictions from a file: CSV, Parquet or JSON, one row for each."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = "estimates"
"""What `sources` of the run says about the file."""


def read_estimates(path: Path) -> pl.DataFrame:
    """Read estimates as a frame, for `Lake.write_estimates` to check.

    Args:
        path: `.csv` with a header, `.parquet`, `.json` (an array of objects) or `.jsonl` (an object a line).

    Raises:
        UsageError: There is no such file, its suffix is another, or it cannot be read.
    """
    readers = {
        ".csv": lambda: pl.read_csv(path, infer_schema_length=None),
        ".parquet": lambda: pl.read_parquet(path, hive_partitioning=False),
        ".json": lambda: pl.read_json(path, infer_schema_length=None),
        ".jsonl": lambda: pl.read_ndjson(path, infer_schema_length=None),
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: estimates are read from {', '.join(readers)}, got {path.suffix or 'no suffix'}")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    try:
        frame = reader()
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UsageError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}") from None
    if frame.is_empty():
        raise UsageError(f"{path}: there is no estimate in it")
    return frame


def source_of(path: Path) -> dict[str, str]:
    """Name a file in the form of the ledger's `sources`: its name, SHA-256 and layout."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"uri": path.name, "sha256": digest, "layout": LAYOUT}
