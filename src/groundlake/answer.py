"""Run a query on DuckDB in memory, with just the views it names bound."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from groundlake.errors import CorruptLakeError, QueryError
from groundlake.layout import anchor_path
from groundlake.ledger import first_torn, leaf_files, torn_message
from groundlake.places import is_remote, let_read, refuse_link, refuse_unreadable
from groundlake.query_files import quoted
from groundlake.question import single_query
from groundlake.schemas import TABLES, Quarantine
from groundlake.views import all_views, bind, literal, needed_for, raw_views

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection, Iterable

    import polars as pl
    import pyarrow as pa

    from groundlake.query_files import View

Fetched = TypeVar("Fetched")

ATTEMPTS = 4
"""How often a query runs when a part vanishes under it, because a compaction removed a ledger file it had listed."""

REFUSALS = (duckdb.Error, UnicodeDecodeError)
"""What DuckDB raises; the latter where its message has bytes of a damaged file in it, which are no text."""

_UNKNOWN_TABLE = re.compile(r"Table with name (\S+) does not exist")
_LISTS_VIEWS = re.compile(r"^\s*show\b|information_schema|duckdb_(views|columns|tables)|pg_catalog", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_]\w*")
_DAMAGE = re.compile(r"TProtocolException|TTransportException|ZSTD|decompress|corrupt", re.IGNORECASE)
_PARQUET_PATH = re.compile(r"((?:s3:/)?/[^\"\n]*?\.parquet)")


@dataclass(frozen=True)
class Answer:
    """The answer to one query, computed anew each time it is fetched.

    Attributes:
        query: One SELECT.
        root: The lake.
        beside: Views for this query alone.
        as_of: Time (naive UTC) whose state it is of; None for now.
    """

    query: str
    root: Path
    beside: tuple[View, ...] = ()
    as_of: dt.datetime | None = None

    def pl(self) -> pl.DataFrame:
        """Return the answer as a polars frame."""
        from polars.exceptions import PolarsError

        try:
            frame: pl.DataFrame = self._run(lambda answer: answer.pl())
        except PolarsError as error:
            reason = str(error).splitlines()[0][:200]
            raise QueryError(
                f"polars has no type for a column of the answer: {reason}\ncast it, as in x::VARCHAR"
            ) from None
        return frame

    def arrow(self) -> pa.Table:
        """Return the answer as an Arrow table."""
        return self._run(lambda answer: answer.to_arrow_table())

    def df(self) -> Any:  # noqa: ANN401 - pandas is not a dependency
        """Return the answer as a pandas frame; pandas must be installed."""
        return self._run(lambda answer: answer.df())

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the answer as a list of tuples."""
        return self._run(lambda answer: answer.fetchall())

    @property
    def columns(self) -> list[str]:
        """Names of the answer's columns."""
        return self._run(lambda answer: answer.columns)

    def _run(self, fetch: Callable[[duckdb.DuckDBPyRelation], Fetched]) -> Fetched:
        for attempt in range(1, ATTEMPTS + 1):
            # Anew each time: with its last file, a contract version leaves the relation.
            views = self._views()
            try:
                with open_connection(self.root) as connection:
                    confine(connection, self.root)
                    statement = single_query(connection, self.query)
                    names = named_in(statement, views)
                    refuse_hidden(self.root, names)
                    bind(connection, views, names)
                    return fetch(connection.sql(statement))
            except REFUSALS as error:
                if attempt < ATTEMPTS and isinstance(error, duckdb.IOException):
                    continue
                raise self._translated(error, views) from error
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    def _translated(self, error: Exception, views: dict[str, View]) -> Exception:
        """Turn DuckDB's error into ours. Of a damaged footer it may say anything, so the files are looked at then."""
        found = _translate(error, self.query, views, self.root)
        if isinstance(found, CorruptLakeError) or self._is_wrong(error):
            return found
        speaks_of_damage = _DAMAGE.search(str(error)) is not None
        torn = self._torn(views, pages=speaks_of_damage)
        first_line = str(error).splitlines()[0]
        if torn:
            return CorruptLakeError(torn_message(torn, first_line))
        if speaks_of_damage:
            return CorruptLakeError(f"a part of the lake is torn: {first_line}\n`lake check --deep` names it")
        return found

    def _is_wrong(self, error: Exception) -> bool:
        """Whether the query is wrong whatever lies in the lake: it fails on an empty one too."""
        if isinstance(error, (duckdb.ParserException, duckdb.CatalogException, duckdb.PermissionException)):
            return True
        empty = {view.name: view for view in self.beside} | all_views(self.root, looking=False)
        try:
            with open_connection() as connection:
                confine(connection, self.root)
                statement = single_query(connection, self.query)
                bind(connection, empty, named_in(statement, empty))
                connection.sql(statement)
        except (*REFUSALS, QueryError):
            return True
        return False

    def _torn(self, views: dict[str, View], *, pages: bool) -> Path | None:
        """Find a damaged file among those that the query reads: in its footer, or in its pages too."""
        named = set(named_in(self.query, views))
        for name, table in TABLES.items():
            if f"{name}_parts" not in named:
                continue
            paths = [path for _, path in leaf_files(self.root, table, {})]
            anchor = self.root / anchor_path(table)
            torn = first_torn(table, [*paths, anchor]) or self._refused_by_duckdb(paths, pages=pages)
            if torn:
                return torn
        return None

    def _refused_by_duckdb(self, paths: Iterable[Path], *, pages: bool) -> Path | None:
        """Find a file that DuckDB does not read: what polars passes over in a footer, it may not."""
        reading = "SELECT count(COLUMNS(*)) FROM read_parquet({})" if pages else "SELECT 1 FROM parquet_metadata({})"
        with open_connection(self.root) as connection:
            for path in paths:
                try:
                    connection.execute(reading.format(quoted(literal(path)))).fetchall()
                except REFUSALS as error:
                    if "No files found" not in str(error):  # it was moved by a compaction
                        return path
        return None

    def _views(self) -> dict[str, View]:
        """Every view; in object storage, the files of those tables that the query may read, and of no others."""
        remote = is_remote(self.root)
        views = {view.name: view for view in self.beside} | all_views(self.root, self.as_of, looking=not remote)
        if remote:
            named = set(named_in(self.query, views))
            read = [table for name, table in TABLES.items() if f"{name}_parts" in named]
            views |= raw_views(self.root, read + [Quarantine] * (Quarantine.table_name() in named))
        return views


def open_connection(root: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Open DuckDB in memory, quiet (its progress bar would go into captured output), and able to read a lake."""
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    if root is not None:
        let_read(connection, root)
    return connection


def refuse_hidden(root: Path, names: Collection[str]) -> None:
    """Raise where a folder of a table that one of these views reads may not be listed.

    Raises:
        LakeEnvironmentError: One may not be read.
    """
    if not is_remote(root):
        for name, table in TABLES.items():
            if f"{name}_parts" in names:
                refuse_unreadable(root / name, len(table.keys()))


def confine(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Let a connection read the files below this folder, and nothing else: no other file, no variable of Python's.

    DuckDB would let it write there too, so only what `single_query` lets through may run. A query may come from
    anybody. DuckDB follows links before it compares, so the folder is named by its real path too, and as the pattern
    that views name it by.
    """
    names = {str(root)} if is_remote(root) else {str(root), literal(root), os.path.realpath(root)}
    places = ", ".join(map(quoted, names))
    for setting in (
        f"allowed_directories = [{places}]",
        "enable_external_access = false",
        "python_enable_replacements = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def named_in(statement: str, views: dict[str, View]) -> list[str]:
    """Views that a statement may read: every word that is a view's name, since binding one too many does no harm.

    (DuckDB's own list of table names needs the tables to exist.) All of them, where it asks what views there are.
    """
    if _LISTS_VIEWS.search(statement):
        return list(views)
    return needed_for({word.lower() for word in _WORD.findall(statement)}, views)


def _translate(error: Exception, query: str, views: Iterable[str], root: Path) -> Exception:
    """Turn DuckDB's error into ours: torn data, or a query that is wrong."""
    text = str(error)
    path = _PARQUET_PATH.search(text)
    if isinstance(error, duckdb.PermissionException) and path and path[1] not in query:
        for step in (Path(path[1]), *Path(path[1]).parents):
            if root in step.parents:
                refuse_link(step)
    if path and isinstance(error, (duckdb.IOException, duckdb.InvalidInputException)):
        return CorruptLakeError(
            f"{path[1]}: cannot be read ({text.splitlines()[0]})\n`lake check` lists every such file and what to do"
        )
    if isinstance(error, duckdb.PermissionException):
        return QueryError(
            f"a query reads the files of its lake and no others: {text.splitlines()[0]}\n"
            "to join files of your own, open the views with DuckDB: duckdb -readonly lake.db"
        )
    unknown = _UNKNOWN_TABLE.search(text)
    if unknown:
        return QueryError(_no_such_view(unknown[1], views))
    shown = "\n".join(line for line in text.splitlines() if line.strip())[:700]
    return QueryError(shown if query.strip() else "the query is empty")


def _no_such_view(name: str, views: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, [view for view in views if not view.endswith("_parts")], n=3)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    how_to_list = "`select name, one_row_is from help` lists them"
    return f"there is no view {name}{meant}\n{how_to_list}"
