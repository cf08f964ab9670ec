"""Iceberg through pyiceberg with its catalog in SQLite; what it cannot compute, DuckDB does over its Arrow rows."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import And, EqualTo

from peers import questions
from peers.store import PARTITION, Rows, Store, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa
    from pyiceberg.table import Table


class Iceberg(Store):
    """Two Iceberg tables. They stay open: a question does not look for newer commits. pyiceberg has no compaction."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        where = {"uri": f"sqlite:///{folder / 'catalog.sqlite'}", "warehouse": folder.as_uri()}
        self.catalog = SqlCatalog("store", **where)
        self.catalog.create_namespace_if_not_exists("store")
        self.tables: dict[str, Table] = {}

    @staticmethod
    def software() -> dict[str, str]:
        """What scans, and what computes."""
        return {"pyiceberg": version("pyiceberg"), "duckdb": duckdb.__version__}

    def load_table(self, table: str, file: Path) -> None:
        """Append the rows in one commit."""
        rows = pq.read_table(file)
        self._create(table, rows.schema).append(rows)

    def _create(self, table: str, schema: pa.Schema) -> Table:
        made = self.catalog.create_table(f"store.{table}", schema)
        with made.update_spec() as spec:
            for name in PARTITION:
                spec.add_identity(name)
        self.tables[table] = made
        return made

    def ask(self, sql: str) -> Rows:
        """Scan what the question needs, and have DuckDB compute over it."""
        raise NotImplementedError

    def all_summaries(self) -> Rows:
        """Scan the columns of the summaries and of their order."""
        wanted = (*questions.SUMMARY_COLUMNS.split(", "), "run_id", "status", "kind")
        runs = self.tables["runs"].scan(selected_fields=wanted).to_arrow()
        return self._compute(questions.ALL_SUMMARIES, runs=runs)

    def one_configuration(self) -> Rows:
        """Scan by the keys, first the runs and then the timings of the latest."""
        point = And(*(EqualTo(name, value) for name, value in questions.POINT.items()))
        wanted = (*questions.KEYS, "run_id", "started_at", "status", "kind")
        runs = self.tables["runs"].scan(point, selected_fields=wanted).to_arrow()
        ((run_id,),) = self._compute(questions.LATEST_AT_POINT, runs=runs)
        return rows_of(self.tables["timings"].scan(And(point, EqualTo("run_id", run_id))).to_arrow())

    def by_operation(self) -> Rows:
        """Scan three columns."""
        wanted = ("hardware_id", "operation_type", "latency_mean_ms")
        return self._compute(questions.BY_OPERATION, timings=self._timings(wanted))

    def one_column(self) -> Rows:
        """Scan one column."""
        return self._compute(questions.ONE_COLUMN, timings=self._timings(("latency_mean_ms",)))

    def full_scan(self) -> Rows:
        """Scan all columns."""
        return self._compute(questions.full_scan(self.columns), timings=self._timings(("*",)))

    def _timings(self, wanted: tuple[str, ...]) -> pa.Table:
        return self.tables["timings"].scan(selected_fields=wanted).to_arrow()

    @staticmethod
    def _compute(sql: str, **tables: pa.Table) -> Rows:
        with duckdb.connect() as connection:
            for name, rows in tables.items():
                connection.register(name, rows)
            return connection.execute(sql).fetchall()

    def make_empty(self, rows: pa.Table) -> None:
        """Make the table with the columns of these rows."""
        self._create("timings", rows.schema)

    def appender(self) -> Callable[[pa.Table], object]:
        """Append in one commit, to the table as it is by then."""
        table = self.catalog.load_table("store.timings")

        def append(rows: pa.Table) -> None:
            table.refresh()
            table.append(rows)

        return append

    def count(self) -> int:
        """Rows of a fresh scan."""
        return int(self.catalog.load_table("store.timings").scan().count())
