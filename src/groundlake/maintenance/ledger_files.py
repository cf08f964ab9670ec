"""Merge the ledger's loose files: thousands of small ledger files are what makes a lake slow."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake.commit import Commit
from groundlake.intake import leaves
from groundlake.layout import new_id
from groundlake.schemas import Runs

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from pathlib import Path

    from groundlake.ledger import Ledger


@dataclass(frozen=True)
class Forgotten:
    """Statements about empty places that left the ledger of one hardware id, or would.

    Attributes:
        hardware_id: Whose ledger.
        statements: How many.
        files: Ledger files that it had; what is left is one file.
    """

    hardware_id: str
    statements: int
    files: int


def compact_ledger(root: Path, ledger: Ledger, hardware_id: str, at_least: int) -> int:
    """Merge the ledger files of one hardware id into one, rows unchanged, then remove the merged files.

    Between the two steps every row stands twice; readers keep one of them. A reader that listed a file before it was
    removed fails loudly and `Lake` reads again.

    Args:
        root: The lake.
        ledger: Reader of the lake's ledger.
        hardware_id: Whose files to merge.
        at_least: Do nothing below this number of files.

    Returns:
        How many files were merged; 0 where there was nothing to do.
    """
    merged = ledger.files(hardware_id)
    if len(merged) < max(2, at_least):
        return 0
    _replace(root, merged, _each_once(ledger.all_rows(hardware_id)))
    return len(merged)


def forget_places(
    root: Path, ledger: Ledger, hardware_id: str, gone: Container[str], *, dry_run: bool = False
) -> Forgotten | None:
    """Leave out of the ledger the earlier places of a revision where nothing lies any more; the rest becomes one file.

    Where there is none, the ledger files stay as they are.

    Args:
        root: The lake.
        ledger: Reader of the lake's ledger.
        hardware_id: Whose ledger.
        gone: Tells of a part whether its files are gone.
        dry_run: Write nothing.
    """
    files = ledger.files(hardware_id)
    rows = _each_once(ledger.all_rows(hardware_id))
    kept = _without_superseded(rows, gone)
    if kept.height == rows.height:
        return None
    if not dry_run:
        _replace(root, files, kept)
    return Forgotten(hardware_id, rows.height - kept.height, len(files))


def _each_once(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep one of rows that are equal in every column that identifies a statement: a killed merge leaves them twice."""
    statement = ["run_id", "revision", "placement", "part", "recorded_at", "status"]
    return rows.unique(subset=statement, keep="first", maintain_order=True)


def _replace(root: Path, files: Iterable[Path], rows: pl.DataFrame) -> None:
    """Publish one ledger file with these rows, then remove those that it stands for."""
    with Commit(root) as commit:
        commit.stage(Runs, new_id(), leaves(Runs, rows.sort("run_id", "revision", "placement")))
        commit.publish()
    for path in files:
        with suppress(FileNotFoundError):
            path.unlink()


def _without_superseded(rows: pl.DataFrame, gone: Container[str]) -> pl.DataFrame:
    """Leave out the statements of an earlier place of a revision, where nothing lies there any more."""
    newest = pl.col("placement") == pl.col("placement").max().over("run_id", "revision")
    there = pl.Series([part not in gone for part in rows["part"]], dtype=pl.Boolean)
    return rows.filter(newest | there)
