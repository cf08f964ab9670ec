"""One state of a lake, held in memory: the figures of a report agree with each other while somebody measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from groundlake.answer import open_connection
from groundlake.errors import LakeEnvironmentError, LakeNotFoundError, QueryError
from groundlake.schemas import TABLES
from groundlake.views import all_views, needed_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import polars as pl

    from groundlake.store import Lake

ATTEMPTS = 4
"""How often the state is read when a part vanishes meanwhile, because a compaction merged it."""


class Snapshot:
    """A copy of a lake's tables in DuckDB's memory, with views above it.

    Args:
        lake: The lake.
        names: Tables and views that will be asked.
        held: Views that are worked out once, because several others or several questions read them.
        left_out: Columns of tables that are not copied, because nothing asks for them.
        only: Conditions, in SQL, on the rows of views: other rows are not there, for the views above them neither.

    Raises:
        LakeNotFoundError: There is no lake.
        LakeEnvironmentError: It changed again and again while it was read.
    """

    def __init__(
        self,
        lake: Lake,
        names: Iterable[str],
        *,
        held: Iterable[str] = (),
        left_out: Mapping[str, Sequence[str]] | None = None,
        only: Mapping[str, str] | None = None,
    ) -> None:
        if not lake.exists:
            raise LakeNotFoundError(f"there is no lake at {lake.root}\ncreate it with `lake init`, or name it: --root")
        self._held = {*TABLES, *held}
        self._left_out = left_out or {}
        self._only = only or {}
        self._connection = self._read(lake, tuple(names))

    def ask(self, sql: str) -> pl.DataFrame:
        """Run a query on this state."""
        frame: pl.DataFrame = self._connection.sql(sql).pl()
        return frame

    def _read(self, lake: Lake, names: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._copied(lake, names)
            except duckdb.IOException:
                if attempt == ATTEMPTS:
                    break
            except duckdb.Error as error:
                raise QueryError(str(error)[:500]) from error
        for name in TABLES:
            lake.sql(f"SELECT count(*) FROM {name}").rows()  # noqa: S608 - our own names; it names the file that is torn
        raise LakeEnvironmentError(f"{lake.root}: the lake changed while it was read, {ATTEMPTS} times; try again")

    def _copied(self, lake: Lake, names: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
        """Copy the tables and make the views that these names need, in an order in which each can be made."""
        connection = open_connection(lake.root)
        views = all_views(lake.root, lake.as_of)
        for name in needed_for(names, views):
            sql = views[name].sql
            if name in self._only:
                sql = f"SELECT * FROM (\n{sql}\n) WHERE {self._only[name]}"  # noqa: S608 - our own SQL
            if name not in self._held:
                connection.execute(f"CREATE VIEW {name} AS\n{sql}")
                continue
            without = self._left_out.get(name, ())
            chosen = f"* EXCLUDE ({', '.join(without)})" if without else "*"
            connection.execute(f"CREATE TABLE {name} AS SELECT {chosen} FROM (\n{sql}\n)")  # noqa: S608 - our own SQL
        return connection
