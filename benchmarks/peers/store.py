"""The small interface of a store that is timed: load, compact, answer, append."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from peers import questions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

Rows = list[tuple[Any, ...]]
PARTITION = ("hardware_id", "precision")
"""What a store with partitions is divided by: few values, about thirty together, as their manuals advise."""


class Store(ABC):
    """One store in a folder, with the tables `runs` and `timings`."""

    columns: tuple[str, ...] = ()
    """Columns of the timings, known once they are loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    @abstractmethod
    def software() -> dict[str, str]:
        """Versions of what does the work."""

    def load(self, data: Path) -> None:
        """Take in `runs.parquet` and `timings.parquet` of a folder, each in one commit."""
        for table in ("runs", "timings"):
            self.load_table(table, data / f"{table}.parquet")
        self.columns = tuple(pq.read_schema(data / "timings.parquet").names)

    @abstractmethod
    def load_table(self, table: str, file: Path) -> None:
        """Take in a table, its rows in the order of their keys."""

    def compact(self) -> None:  # noqa: B027 - a store may have nothing to do
        """Merge small files by the store's own means, and remove what was superseded; nothing where it has none."""

    @abstractmethod
    def ask(self, sql: str) -> Rows:
        """Answer a question that is SQL."""

    def all_summaries(self) -> Rows:
        """Whole-model figures of the latest run of each configuration."""
        return self.ask(questions.ALL_SUMMARIES)

    def one_configuration(self) -> Rows:
        """Timings of the latest run of one configuration."""
        ((run_id,),) = self.ask(questions.LATEST_AT_POINT)
        return self.ask(questions.one_run(self.columns, run_id))

    def by_operation(self) -> Rows:
        """Mean latency by hardware and operation."""
        return self.ask(questions.BY_OPERATION)

    def one_column(self) -> Rows:
        """One column of all rows."""
        return self.ask(questions.ONE_COLUMN)

    def full_scan(self) -> Rows:
        """All columns of all rows."""
        return self.ask(questions.full_scan(self.columns))

    @abstractmethod
    def make_empty(self, rows: pa.Table) -> None:
        """Make the table `timings` for rows like these, without any."""

    @abstractmethod
    def appender(self) -> Callable[[pa.Table], object]:
        """Open the store for appends to `timings`; each call of what is returned is one commit."""

    def count(self) -> int:
        """Rows of the timings that can be read back."""
        return int(self.ask("SELECT count(*) FROM timings")[0][0])


def rows_of(table: pa.Table) -> Rows:
    """Rows as Python has them."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))
