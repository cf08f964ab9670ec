"""Lance: its own format, with scalar indexes; what it does not compute, DuckDB does over the open dataset."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import duckdb
import lance
import pyarrow.parquet as pq

from peers import questions
from peers.store import Rows, Store, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

INDEXES = {"runs": {"model": "BITMAP"}, "timings": {"run_id": "BTREE"}}
"""Lance has no partitions; these indexes serve the look-up of one configuration."""


class Lance(Store):
    """Two Lance datasets. They stay open: a question does not look for newer commits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.connection = duckdb.connect()
        self.connection.execute("SET enable_progress_bar = false")
        self.tables: dict[str, lance.LanceDataset] = {}

    @staticmethod
    def software() -> dict[str, str]:
        """What scans, and what computes."""
        return {"pylance": lance.__version__, "duckdb": duckdb.__version__}

    def load_table(self, table: str, file: Path) -> None:
        """Write the rows in one commit, then the indexes."""
        written = lance.write_dataset(pq.read_table(file), self._uri(table))
        for column, kind in INDEXES[table].items():
            written.create_scalar_index(column, kind)
        self._open(table)

    def _uri(self, table: str) -> str:
        return str(self.folder / table)

    def _open(self, table: str) -> None:
        self.tables[table] = lance.dataset(self._uri(table))
        self.connection.register(table, self.tables[table])

    def compact(self) -> None:
        """Merge fragments, and remove the versions before."""
        for table, opened in self.tables.items():
            opened.optimize.compact_files()
            opened.optimize.optimize_indices()
            opened.cleanup_old_versions(older_than=dt.timedelta(0))
            self._open(table)

    def ask(self, sql: str) -> Rows:
        """DuckDB computes over the open dataset, of which it reads the columns that it needs."""
        return self.connection.execute(sql).fetchall()

    def one_configuration(self) -> Rows:
        """Look it up by the filters of Lance, which use the indexes."""
        wanted = [*questions.KEYS, "run_id", "started_at", "status", "kind"]
        runs = self.tables["runs"].to_table(columns=wanted, filter=questions.AT_POINT)
        with duckdb.connect() as connection:
            connection.register("runs", runs)
            ((run_id,),) = connection.execute(questions.LATEST_AT_POINT).fetchall()
        point = f"{questions.AT_POINT} AND run_id = '{run_id}'"
        return rows_of(self.tables["timings"].to_table(filter=point))

    def make_empty(self, rows: pa.Table) -> None:
        """Make the dataset with the columns of these rows."""
        lance.write_dataset(rows.slice(0, 0), self._uri("timings"))

    def appender(self) -> Callable[[pa.Table], object]:
        """Append in one commit; Lance tries a conflicting one again."""
        uri = self._uri("timings")
        return lambda rows: lance.write_dataset(rows, uri, mode="append")

    def count(self) -> int:
        """Rows of the dataset as it is now."""
        return int(lance.dataset(self._uri("timings")).count_rows())
