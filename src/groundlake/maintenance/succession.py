"""Ask whether the part that succeeded another one is there and sound: only then may the other one go."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

from groundlake.ledger import UNREADABLE, leaf_files, live_statements
from groundlake.parts import known_of
from groundlake.schemas import FACT_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TOLD = ("hardware_id", "run_id", "revision", "placement", "part", "status", "fact_rows", "fact_files")
"""Columns of the ledger that tell where the rows of a run lay, and lie."""


def still_needed(root: Path, hardware_id: str, statements: pl.DataFrame, superseded: Iterable[str]) -> dict[str, str]:
    """Name the superseded parts whose rows are not all there where the ledger says that they lie now, each with a why.

    A part counts as sound where its bytes are those that the ledger recorded, and its rows as many.

    Args:
        root: The lake.
        hardware_id: Whose parts.
        statements: Its ledger, with the columns of `TOLD`.
        superseded: Parts that no newest place of a revision points at.

    Raises:
        FileNotFoundError: A part vanished, because somebody else compacted and vacuumed: try again.
    """
    former = statements.filter(pl.col("part").is_in(list(superseded))).select("run_id", "revision", former="part")
    heirs = live_statements(statements).join(former.unique(), on=["run_id", "revision"])
    found, damaged = _look_at(root, hardware_id, heirs)
    needed: dict[str, str] = {}
    for run in heirs.iter_rows(named=True):
        part = run["part"]
        if part in damaged:
            needed.setdefault(run["former"], damaged[part])
        for wrote in run["fact_rows"] or ():
            there = found[wrote["table"], run["run_id"], part]
            if there != wrote["rows"]:
                why = (
                    f"run {run['run_id']}: {there} of {wrote['rows']} rows of {wrote['table']} are there (part {part})"
                )
                needed.setdefault(run["former"], why)
    return needed


def _look_at(root: Path, hardware_id: str, heirs: pl.DataFrame) -> tuple[Counter[tuple[str, str, str]], dict[str, str]]:
    """Count the rows of each (table, run, part) in these parts, and say what is wrong with the bytes of a part."""
    found: Counter[tuple[str, str, str]] = Counter()
    damaged: dict[str, str] = {}
    parts = set(heirs["part"])
    recorded = {file["path"]: file for files in heirs["fact_files"].drop_nulls() for file in files}
    tables = {wrote["table"] for wrotes in heirs["fact_rows"].drop_nulls() for wrote in wrotes}
    for name in sorted(tables & set(FACT_TABLES)):
        for _, path in leaf_files(root, FACT_TABLES[name], {"hardware_id": hardware_id}):
            part = path.name.partition(".")[0]
            if part not in parts:
                continue
            try:
                known = known_of(path, path.relative_to(root).as_posix())
                told = recorded.get(known.path)
                if told and (known.size_bytes, known.sha256) != (told["bytes"], told["sha256"]):
                    damaged[part] = f"{path}: not the bytes that were written"
                    continue
                rows = pl.scan_parquet(path, hive_partitioning=False, glob=False).group_by("run_id", "part")
                counts = rows.len().collect()
            except FileNotFoundError:
                raise
            except UNREADABLE as error:
                damaged[part] = f"{path}: cannot be read ({str(error).splitlines()[0]})"
                continue
            found.update({(name, run_id, row_part): count for run_id, row_part, count in counts.iter_rows()})
    return found, damaged
