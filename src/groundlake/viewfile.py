"""Write the view file (`lake.db`): views and COMMENTs and nothing else, replaced atomically."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb

from groundlake.answer import open_connection
from groundlake.commit import environment_error, write_atomically
from groundlake.errors import CorruptLakeError, LakeEnvironmentError, LakeError
from groundlake.layout import STAGED_SUFFIX, new_id
from groundlake.views import QUARANTINE_FOLDER, all_views, bind, comment_statements

if TYPE_CHECKING:
    from pathlib import Path

STORAGE_VERSION = "v1.0.0"
"""DuckDB 1.x command lines cannot open the default storage of DuckDB 2."""

COLUMNS_SQL = """
    SELECT table_name, list(column_name ORDER BY column_index)
    FROM duckdb_columns() WHERE database_name = 'lake' GROUP BY table_name
"""
"""What the catalogue knows already; DESCRIBE would plan each view, and those below it, once more."""


def write_view_file(root: Path, path: Path) -> Path:
    """Build the view file beside its final place and swap it in; a shell that has the old one open keeps it."""
    ensure_quarantine(root)
    temporary = path.with_name(f"{path.name}.{new_id()}{STAGED_SUFFIX}")
    views = all_views(root)
    try:
        with open_connection() as connection:
            connection.execute(
                f"ATTACH '{str(temporary).replace(chr(39), chr(39) * 2)}' AS lake (STORAGE_VERSION '{STORAGE_VERSION}')"
            )
            connection.execute("USE lake")
            connection.execute("BEGIN")
            bind(connection, views, views)
            for name, columns in connection.execute(COLUMNS_SQL).fetchall():
                for statement in comment_statements(views[name], columns):
                    connection.execute(statement)
            connection.execute("COMMIT")
            connection.execute("USE memory")
            connection.execute("DETACH lake")
        temporary.replace(path)
    except OSError as error:
        raise environment_error(error, path) from error
    except duckdb.IOException as error:
        raise _unwritable(path, error) from error
    finally:
        for leftover in (temporary, temporary.with_name(temporary.name + ".wal")):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)
    return path


def _unwritable(path: Path, error: duckdb.IOException) -> LakeError:
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
        anchor.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(anchor, b"")
