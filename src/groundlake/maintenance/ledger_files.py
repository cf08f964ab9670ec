"""Merge the ledger's loose files: thousands of small ledger files are what makes a lake slow."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import polars as pl

from groundlake.commit import Commit
from groundlake.intake import leaves
from groundlake.layout import new_id
from groundlake.schemas import Runs

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from groundlake.ledger import Ledger


def compact_ledger(
    root: Path, ledger: Ledger, hardware_id: str, at_least: int, *, gone: Container[str] | None = None
) -> int:
    """Merge the ledger files of one hardware id into one, rows unchanged, then remove the merged files.

    Between the two steps every row stands twice; readers keep one of them. A reader that listed a file before it was
    removed fails loudly and `Lake` reads again.

    Args:
        root: The lake.
        ledger: Reader of the lake's ledger.
        hardware_id: Whose files to merge.
        at_least: Do nothing below this number of files.
        gone: Tells of a part whether its files are gone. Statements that point at such a part are left out where the
            same revision has a later place.

    Returns:
        How many files were merged; 0 where there was nothing to do.
    """
    merged = ledger.files(hardware_id)
    if len(merged) < (max(2, at_least) if gone is None else 1):
        return 0
    # A compaction that was killed leaves rows twice; they are equal in every column that identifies a statement.
    rows = ledger.all_rows(hardware_id).unique(
        subset=["run_id", "revision", "placement", "part", "recorded_at", "status"], keep="first", maintain_order=True
    )
    if gone is not None:
        before = rows.height
        rows = _without_superseded(rows, gone)
        if rows.height == before and len(merged) < max(2, at_least):
            return 0
    with Commit(root) as commit:
        commit.stage(Runs, new_id(), leaves(Runs, rows.sort("run_id", "revision", "placement")))
        commit.publish()
    for path in merged:
        with suppress(FileNotFoundError):
            path.unlink()
    return len(merged)


def _without_superseded(rows: pl.DataFrame, gone: Container[str]) -> pl.DataFrame:
    """Leave out the statements of an earlier place of a revision, where nothing lies there any more."""
    newest = pl.col("placement") == pl.col("placement").max().over("run_id", "revision")
    there = pl.Series([part not in gone for part in rows["part"]], dtype=pl.Boolean)
    return rows.filter(newest | there)
