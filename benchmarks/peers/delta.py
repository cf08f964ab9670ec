"""Delta through delta-rs, asked in SQL by the DataFusion that comes with it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from peers.store import PARTITION, Rows, Store, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Delta(Store):
    """Two Delta tables. They stay open: a question does not look for newer commits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._asked: QueryBuilder | None = None

    @staticmethod
    def software() -> dict[str, str]:
        """DataFusion is built in."""
        return {"deltalake": version("deltalake")}

    def load_table(self, table: str, file: Path) -> None:
        """Write the rows in one commit."""
        write_deltalake(self.folder / table, pq.read_table(file), partition_by=list(PARTITION))
        self._asked = None

    def compact(self) -> None:
        """Merge the files of each partition, and remove what was superseded."""
        for table in ("runs", "timings"):
            opened = DeltaTable(self.folder / table)
            opened.optimize.compact()
            opened.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        self._asked = None

    def ask(self, sql: str) -> Rows:
        """DataFusion answers."""
        if self._asked is None:
            self._asked = QueryBuilder()
            for path in self.folder.iterdir():
                self._asked.register(path.name, DeltaTable(path))
        return rows_of(pa.table(self._asked.execute(sql)))

    def make_empty(self, rows: pa.Table) -> None:
        """Make the table with the columns of these rows."""
        DeltaTable.create(self.folder / "timings", rows.schema, partition_by=list(PARTITION))

    def appender(self) -> Callable[[pa.Table], object]:
        """Append in one commit; delta-rs tries a conflicting one fifteen times."""
        path = self.folder / "timings"
        return lambda rows: write_deltalake(path, rows, mode="append")
