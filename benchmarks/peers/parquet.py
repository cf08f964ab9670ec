"""The floor: plain Parquet files and DuckDB, without anything that knows which rows are valid."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq

from peers.questions import KEYS
from peers.store import Rows, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

HIVE = (
    "hive_partitioning = true, hive_types = {hardware_id: VARCHAR, precision: VARCHAR, model: VARCHAR, batch: BIGINT}"
)


class OneFile(Store):
    """One file for each table. Nobody can append to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.connection = duckdb.connect()
        self.connection.execute("SET enable_progress_bar = false")

    @staticmethod
    def software() -> dict[str, str]:
        """DuckDB reads and writes the files."""
        return {"duckdb": duckdb.__version__}

    def load_table(self, table: str, file: Path) -> None:
        """Copy the file: it is in order and compressed with zstd."""
        target = self.folder / f"{table}.parquet"
        target.write_bytes(file.read_bytes())
        self.connection.execute(f"CREATE VIEW {table} AS FROM read_parquet('{target}')")

    def ask(self, sql: str) -> Rows:
        """DuckDB answers."""
        return self.connection.execute(sql).fetchall()

    def make_empty(self, rows: pa.Table) -> None:
        """There is no appending to a file."""
        raise NotImplementedError

    def appender(self) -> Callable[[pa.Table], object]:
        """There is no appending to a file."""
        raise NotImplementedError


class LeafFiles(OneFile):
    """One file for each leaf folder of the lake: its layout, without its ledger."""

    def load_table(self, table: str, file: Path) -> None:
        """Write one file for each value of the partition keys."""
        keys = KEYS if table == "timings" else KEYS[:1]
        write_leaves(self.connection, file, self.folder / table, keys)
        self._bind(table, len(keys))

    def _bind(self, table: str, depth: int) -> None:
        pattern = self.folder / table / "/".join("*" * depth) / "*.parquet"
        hive = HIVE if table == "timings" else "hive_partitioning = true, hive_types = {hardware_id: VARCHAR}"
        self.connection.execute(f"CREATE OR REPLACE VIEW {table} AS FROM read_parquet('{pattern}', {hive})")

    def make_empty(self, rows: pa.Table) -> None:
        """Folders come with the first rows."""

    def appender(self) -> Callable[[pa.Table], object]:
        """Publish each append as a file of its own, synced and then renamed."""
        return self._append

    def _append(self, rows: pa.Table) -> None:
        keys = {name: rows[name][0].as_py() for name in KEYS}
        leaf = self.folder / "timings" / "/".join(f"{name}={value}" for name, value in keys.items())
        leaf.mkdir(parents=True, exist_ok=True)
        final = leaf / f"{uuid.uuid4()}.parquet"
        staged = final.with_suffix(".parquet.tmp")
        pq.write_table(rows.drop_columns(list(KEYS)), staged)
        for path, publish in ((staged, lambda: staged.rename(final)), (leaf, lambda: None)):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
            publish()

    def count(self) -> int:
        """Rows in all files."""
        self._bind("timings", len(KEYS))
        return super().count()


def write_leaves(connection: duckdb.DuckDBPyConnection, file: Path, folder: Path, keys: tuple[str, ...]) -> None:
    """Write the rows of a file as one file for each value of the keys; the keys lie in the path only."""
    connection.execute("SET threads = 1; SET partitioned_write_max_open_files = 100000")  # else several for each value
    connection.execute(
        f"COPY (FROM read_parquet('{file}')) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, "
        f"PARTITION_BY ({', '.join(keys)}))"
    )
    connection.execute("RESET threads")
