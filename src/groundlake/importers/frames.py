"""Subgraph rows of many files: built and checked together, and kept within a bound of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import ContractViolationError, LakeError
from groundlake.ground_truth.columns import to_frame
from groundlake.importers.candidates import Candidate, read_candidate
from groundlake.schemas import SubgraphTimings

if TYPE_CHECKING:
    from groundlake.ground_truth.reading import Columns

ROWS_TOGETHER = 20_000
"""Rows built as one frame: a frame for each file would cost ten times as much."""

KEPT_BYTES = 256 * 2**20
"""Rows are kept up to here; beyond, a file is read a second time when its run is written."""


class FrameStore:
    """Rows of the files that may become runs.

    Args:
        kept_bytes: Memory for rows.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._room = kept_bytes
        self._waiting: list[tuple[Candidate, Columns]] = []
        self._rows = 0
        self._kept: dict[tuple[str, str], pl.DataFrame] = {}
        self.refused: dict[tuple[str, str], str] = {}
        """Content (`Candidate.content`) that breaks the contract, to the reason."""

    def add(self, candidate: Candidate, columns: Columns) -> None:
        """Take the subgraphs of one file."""
        self._waiting.append((candidate, columns))
        self._rows += len(columns["flops"])
        if self._rows >= ROWS_TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Build and check the rows of the files that wait."""
        if not self._waiting:
            return
        names = list(self._waiting[0][1])
        together = to_frame({name: [value for _, file in self._waiting for value in file[name]] for name in names})
        lengths = [len(columns["flops"]) for _, columns in self._waiting]
        owners = pl.Series("run_id", _owners(lengths)).cast(pl.String)
        sound = _broken_rule(together.with_columns(owners)) is None
        keep = together.estimated_size() <= self._room
        self._room -= int(together.estimated_size()) if keep else 0
        start = 0
        for candidate, columns in self._waiting:
            rows = together.slice(start, len(columns["flops"]))
            start += rows.height
            broken = None if sound else _broken_rule(rows)
            if broken is not None:
                self.refused[candidate.content] = broken
            elif keep:
                self._kept[candidate.content] = rows
        self._waiting, self._rows = [], 0

    def take(self, candidate: Candidate) -> pl.DataFrame:
        """Return the rows of a file and forget them.

        Raises:
            LakeError: The file had to be read again, and was changed in between.
        """
        rows = self._kept.pop(candidate.content, None)
        if rows is not None:
            return rows
        again = read_candidate(candidate.found)
        if not isinstance(again, tuple) or again[0].sha256 != candidate.sha256:
            raise LakeError(f"{candidate.found.path}: changed while it was imported; run the command again")
        return to_frame(again[1])


def _owners(lengths: list[int]) -> list[int]:
    """Number of the file that each row is from, for files with so many rows each."""
    return [number for number, length in enumerate(lengths) for _ in range(length)]


def _broken_rule(rows: pl.DataFrame) -> str | None:
    """Say which rules of the contract the rows break; keys and ids are checked elsewhere."""
    schema = SubgraphTimings.polars_schema()
    filled = {"hardware_id": "x", "precision": "x", "model": "x", "batch": 1, "run_id": "x", "part": "x"}
    absent = {name: value for name, value in filled.items() if name not in rows.columns}
    literals = [pl.lit(value, dtype=schema[name]).alias(name) for name, value in absent.items()]
    try:
        SubgraphTimings.check(SubgraphTimings.conform(rows.with_columns(literals)))
    except ContractViolationError as error:
        return "; ".join(line.strip() for line in str(error).splitlines()[1:])
    return None
