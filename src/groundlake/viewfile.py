"""Write the view file (`lake.db`): views and COMMENTs and nothing else, replaced atomically."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb

from groundlake import __version__
from groundlake.answer import open_connection
from groundlake.commit import environment_error, write_atomically
from groundlake.errors import CorruptLakeError, LakeEnvironmentError, LakeError
from groundlake.layout import STAGED_SUFFIX, new_id
from groundlake.query_files import quoted
from groundlake.schemas import TABLES, Quarantine
from groundlake.viewcache import KeptViews
from groundlake.views import QUARANTINE_FOLDER, all_views, bind, comment_statements, is_raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from groundlake.query_files import View
    from groundlake.schemas import Table

STORAGE_VERSION = "v1.0.0"
"""DuckDB 1.x command lines cannot open the default storage of DuckDB 2."""

COLUMNS_SQL = """
    SELECT table_name, list(column_name ORDER BY column_index)
    FROM duckdb_columns() WHERE database_name = 'lake' GROUP BY table_name
"""
"""What the catalogue knows already; DESCRIBE would plan each view, and those below it, once more."""


def write_view_file(root: Path, path: Path, *, only_if_stale: bool = False) -> Path:
    """Build the view file beside its final place and swap it in; a shell that has the old one open keeps it.

    Args:
        root: Where the lake is.
        path: The view file.
        only_if_stale: Leave a file alone that holds what would be written. It is looked at as bytes, never opened: an
            opener would lock others out.

    Raises:
        LakeEnvironmentError: It cannot be written.
        CorruptLakeError: A part cannot be read.
    """
    ensure_quarantine(root)
    views = all_views(root)
    mark = stamp(views)
    if only_if_stale and _holds(path, mark):
        return path
    temporary = path.with_name(f"{path.name}.{new_id()}{STAGED_SUFFIX}")
    try:
        _build(views, temporary, mark)
        temporary.replace(path)
    except OSError as error:
        raise environment_error(error, path) from error
    except (duckdb.IOException, duckdb.TransactionException) as error:  # the second where a full disk ends a commit
        raise _unwritable(path, error) from error
    finally:
        for leftover in (temporary, temporary.with_name(temporary.name + ".wal")):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)
    return path


def _build(views: dict[str, View], path: Path, mark: str) -> None:
    """Write a view file: into a copy of a kept one, if there is one, what is of this lake alone."""
    of_all = {name: view for name, view in views.items() if not is_raw(view)}
    of_one = [name for name in views if name not in of_all]
    kept = KeptViews.of(stamp(of_all).rpartition(" ")[2])
    if kept.copy_to(path):
        try:
            _write(views, of_one, path, mark)
        except duckdb.Error:
            kept.forget()
            path.unlink(missing_ok=True)
        else:
            return
    _write(views, views, path)
    kept.keep(path)  # without a stamp: no other lake's file may hold this one's
    _write(views, of_one, path, mark)


def _write(views: dict[str, View], names: Iterable[str], path: Path, mark: str | None = None) -> None:
    """Put views with their comments into a file, in this order; raw relations have no comments on columns."""
    with open_connection() as connection:
        connection.execute(f"ATTACH {quoted(str(path))} AS lake (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("USE lake")
        connection.execute("BEGIN")
        bind(connection, views, names)
        columns = dict(connection.execute(COLUMNS_SQL).fetchall())
        for name in names:
            for statement in comment_statements(views[name], () if name.endswith("_parts") else columns[name]):
                connection.execute(statement)
        if mark is not None:
            comment = quoted(f"{views['help'].documentation} [{mark}]")
            connection.execute(f"COMMENT ON VIEW help IS {comment}")
        connection.execute("COMMIT")
        connection.execute("USE memory")
        connection.execute("DETACH lake")


def stamp(views: Mapping[str, View]) -> str:
    """Name what a view file of these views holds: the version, and a hash of all that goes into it."""
    digest = hashlib.sha256(f"{duckdb.__version__} {STORAGE_VERSION}".encode())
    for view in views.values():
        digest.update(repr((view.name, view.sql, view.documentation, sorted(view.columns.items()))).encode())
    contracts: dict[str, type[Table]] = {**TABLES, "quarantine": Quarantine}
    for name, table in contracts.items():
        digest.update(repr((name, [(spec.name, spec.description, spec.unit) for spec in table.columns()])).encode())
    return f"groundlake {__version__}, views {digest.hexdigest()[:16]}"


def _holds(path: Path, mark: str) -> bool:
    """Whether a view file has this stamp in it. A text that lies across two blocks is not found: it is written anew."""
    try:
        return mark.encode() in path.read_bytes()
    except OSError:
        return False


def _unwritable(path: Path, error: duckdb.Error) -> LakeError:
    """Tell a place that cannot be written from a part that cannot be read: views are bound over the lake's files."""
    reason = str(error).splitlines()[0]
    if ".parquet" in reason:
        return CorruptLakeError(f"{reason}\n`lake check` lists every such file and what to do")
    return LakeEnvironmentError(
        f"cannot write the views {path}: {reason}\nthe data is not affected; mend the cause, then run `lake views`"
    )


def ensure_quarantine(root: Path) -> None:
    """Keep the quarantine's glob from being empty, so that the view sees the first entry without being made anew."""
    anchor = root / QUARANTINE_FOLDER / "-.jsonl"
    if not anchor.exists():
        try:
            anchor.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise environment_error(error, root) from error
        write_atomically(anchor, b"")
