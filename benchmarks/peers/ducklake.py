"""DuckLake: Parquet files with a catalog in a database, asked through DuckDB."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from peers.store import PARTITION, Rows, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

EXTENSIONS = ("sqlite_scanner", "ducklake")


def _extension(name: str) -> Path:
    """Path of an extension out of its package: nothing is downloaded."""
    (package,) = import_module(f"duckdb_extension_{name}").__path__
    return next(Path(package).rglob(f"{name}.duckdb_extension"))


class DuckLake(Store):
    """Tables in DuckLake, its catalog in SQLite: the local one that several processes may write to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
        self.connection.execute("SET enable_progress_bar = false")
        for name in EXTENSIONS:
            self.connection.execute(f"LOAD '{_extension(name)}'")
        catalog = f"ducklake:sqlite:{folder / 'catalog.sqlite'}"
        self.connection.execute(f"ATTACH '{catalog}' AS store (DATA_PATH '{folder / 'data'}')")
        self.connection.execute("USE store")

    @staticmethod
    def software() -> dict[str, str]:
        """The extension has the version of the DuckDB that it fits."""
        return {"duckdb": duckdb.__version__}

    def load_table(self, table: str, file: Path) -> None:
        """Insert the rows in one statement."""
        self.connection.execute(f"CREATE TABLE {table} AS FROM read_parquet('{file}') LIMIT 0")
        self._partition(table)
        self.connection.execute(f"INSERT INTO {table} FROM read_parquet('{file}')")

    def _partition(self, table: str) -> None:
        self.connection.execute(f"ALTER TABLE {table} SET PARTITIONED BY ({', '.join(PARTITION)})")

    def compact(self) -> None:
        """Merge adjacent files, forget the past, and remove the files that it needed."""
        self.connection.execute("CALL ducklake_merge_adjacent_files('store')")
        self.connection.execute("CALL ducklake_expire_snapshots('store', older_than => TIMESTAMP '2100-01-01')")
        self.connection.execute("CALL ducklake_cleanup_old_files('store', cleanup_all => true)")

    def ask(self, sql: str) -> Rows:
        """DuckDB answers."""
        return self.connection.execute(sql).fetchall()

    def make_empty(self, rows: pa.Table) -> None:
        """Make the table with the columns of these rows."""
        self.connection.register("given", rows)
        self.connection.execute("CREATE TABLE timings AS FROM given LIMIT 0")
        self._partition("timings")

    def appender(self) -> Callable[[pa.Table], object]:
        """Insert; DuckLake tries a conflicting commit ten times."""

        def append(rows: pa.Table) -> None:
            self.connection.register("given", rows)
            self.connection.execute("INSERT INTO timings FROM given")

        return append
