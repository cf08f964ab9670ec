"""Bind views to an engine: base views made from the contracts, and the hand-written ones in `queries/`.

Paths appear in the raw relations (`runs_parts`, `subgraph_timings_parts`, ...) only. Everything above them is text
that DuckDB and Spark run unchanged.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import polars as pl

from groundlake.layout import PartName, anchor_folders, anchor_path, parts_glob
from groundlake.places import is_remote, names_in
from groundlake.query_files import View, quoted, written_views
from groundlake.schemas import FACT_TABLES, TABLES, Quarantine, Runs

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb

    from groundlake.schemas import Element, Table

QUARANTINE_FOLDER = "_quarantine"

REQUESTS_AT_ONCE = 16

_SQL_TYPES = {
    pl.String: "VARCHAR",
    pl.Int64: "BIGINT",
    pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN",
    pl.Datetime: "TIMESTAMP",
    pl.Binary: "BLOB",
}


def sql_type(dtype: pl.DataType) -> str:
    """DuckDB type of a contract's polars type."""
    if isinstance(dtype, pl.List):
        return f"{sql_type(dtype.inner)}[]"  # type: ignore[arg-type] # inner is an instance in a contract
    if isinstance(dtype, pl.Struct):
        inner = ", ".join(f'"{part.name}" {sql_type(part.dtype)}' for part in dtype.fields)  # type: ignore[arg-type] # the same
        return f"STRUCT({inner})"
    return _SQL_TYPES[type(dtype)]


def ledger_view_sql(as_of: dt.datetime | None = None) -> str:
    """The current row of each run: highest revision, then placement, then part; retracted runs are not shown.

    The window partitions by hardware_id and run_id, exactly: a filter on hardware_id then prunes the ledger's files.

    Args:
        as_of: Look at what was recorded by then (naive UTC): the highest revision of that time, where its rows lie now.
    """
    columns = ", ".join(spec.name for spec in Runs.columns())
    source = "runs_parts"
    if as_of is not None:
        source = (
            "runs_parts\nJOIN (\n    SELECT hardware_id, run_id, max(revision) AS revision\n    FROM runs_parts\n"
            f"    WHERE recorded_at <= TIMESTAMP '{as_of.isoformat(sep=' ')}'\n    GROUP BY hardware_id, run_id\n"
            ") AS known USING (hardware_id, run_id, revision)"
        )
    return (
        f"SELECT {columns}\nFROM {source}\n"
        "QUALIFY row_number() OVER (PARTITION BY hardware_id, run_id "
        "ORDER BY revision DESC, placement DESC, part DESC) = 1\n    AND status <> 'retracted'"
    )


def fact_view_sql(table: type[Table]) -> str:
    """The rows of a fact table that a current run points at.

    The ledger stands FIRST in FROM: engines list files in that order, and facts listed first can lose rows while a
    compaction commits.
    """
    columns = ", ".join(f"t.{spec.name}" for spec in table.columns())
    sql = (
        f"SELECT {columns}\nFROM runs r\nJOIN {table.table_name()}_parts t\n"
        "    ON t.hardware_id = r.hardware_id AND t.run_id = r.run_id AND t.part = r.part"
    )
    if not table.latest_by():
        return sql
    groups = ", ".join(f"t.{name}" for name in table.latest_by())
    latest = f"row_number() OVER (PARTITION BY {groups} ORDER BY r.recorded_at DESC, r.run_id DESC)"
    return f"{sql}\nQUALIFY {latest} = 1"


def element_view_sql(table: type[Table], element: Element) -> str:
    """DuckDB's text of a view with one row for each element of a list column."""
    columns = ", ".join(scalar_columns(table))
    return (
        f"SELECT {columns},\n    generate_subscripts({element.column}, 1) - 1 AS position,\n"
        f"    unnest({element.column}) AS {element.value}\nFROM {table.table_name()}"
    )


def scalar_columns(table: type[Table]) -> list[str]:
    """Names of the columns that are no lists."""
    return [spec.name for spec in table.columns() if not isinstance(spec.dtype, pl.List)]


def parts_sql(table: type[Table], root: Path) -> str:
    """DuckDB's raw relation over the parts of a table: one glob for each contract version, columns explicit.

    The newest version's anchor is there from the first write on, so that its glob is never empty; before it, a lake
    that older software wrote has older parts only.
    """
    hive_types = ", ".join(f"{key}: {sql_type(table.polars_schema()[key])}" for key in table.keys())
    selects = []
    for version in _versions(table, root):
        pattern = quoted(f"{literal(root)}/{parts_glob(table, version)}")
        columns = ", ".join(
            f"CAST(NULL AS {sql_type(spec.dtype)}) AS {spec.name}"
            if table.added().get(spec.name, 1) > version
            else spec.name
            for spec in table.columns()
        )
        selects.append(
            f"SELECT {columns}\nFROM read_parquet({pattern}, hive_partitioning = true, hive_types = {{{hive_types}}})"
        )
    return "\nUNION ALL\n".join(selects) or empty_sql(table)


def _versions(table: type[Table], root: Path) -> Iterator[int]:
    """Contract versions that a table has parts of; a glob without files would be an error.

    In object storage the anchors tell: whoever writes a version there writes its anchor first.
    """
    if is_remote(root):
        names = [name for folder in anchor_folders(table) for name in names_in(root / folder)]
        found = {anchor.version for anchor in map(PartName.parse, names) if anchor}
        yield from sorted({min(version, table.version()) for version in found}, reverse=True)
        return
    for version in range(table.version(), 0, -1):
        has_anchor = version == table.version() and (root / anchor_path(table)).exists()
        if has_anchor or any(path.is_file() for path in root.glob(parts_glob(table, version))):
            yield version


def quarantine_sql(root: Path) -> str:
    """DuckDB's relation over the quarantine's JSON lines; empty where nothing was ever set aside."""
    if not any(name.endswith(".jsonl") for name in names_in(root / QUARANTINE_FOLDER)):
        return empty_sql(Quarantine)
    types = ", ".join(f"{spec.name}: '{sql_type(spec.dtype)}'" for spec in Quarantine.columns())
    columns = ", ".join(spec.name for spec in Quarantine.columns())
    path = quoted(f"{literal(root)}/{QUARANTINE_FOLDER}/*.jsonl")
    return f"SELECT {columns}\nFROM read_json({path}, format = 'newline_delimited', columns = {{{types}}})"


def empty_sql(table: type[Table]) -> str:
    """Return a typed relation of zero rows."""
    columns = ", ".join(f"CAST(NULL AS {sql_type(spec.dtype)}) AS {spec.name}" for spec in table.columns())
    return f"SELECT {columns}\nWHERE false"


def column_comment(name: str, tables: Iterable[type[Table]]) -> str | None:
    """Comment of a column as the first of these contracts that has it describes it."""
    for table in tables:
        for spec in table.columns():
            if spec.name == name:
                return spec.description + (f" [{spec.unit}]" if spec.unit else "")
    return None


def base_views(as_of: dt.datetime | None = None) -> dict[str, View]:
    """Views made from the contracts alone: the ledger, now or as of a time, and each fact table's visible rows."""
    ledger = View("runs", ledger_view_sql(as_of), Runs.documentation(), "select run_id, kind, status from runs")
    facts = {
        name: View(name, fact_view_sql(table), table.documentation(), f"select count(*) from {name}")
        for name, table in FACT_TABLES.items()
    }
    return {"runs": ledger} | facts | element_views()


def element_views() -> dict[str, View]:
    """Views with one row for each element of a list column, in DuckDB's text; Spark has its own."""
    found = {}
    for table in FACT_TABLES.values():
        for element in table.elements():
            (spec,) = (spec for spec in table.columns() if spec.name == element.column)
            columns = {name: str(column_comment(name, [table])) for name in scalar_columns(table)} | {
                "position": "Place of the value in the list, from 0 [1]",
                element.value: f"One value. The list: {spec.description}" + (f" [{spec.unit}]" if spec.unit else ""),
            }
            found[element.view] = View(
                element.view,
                element_view_sql(table, element),
                f"One value of the list {element.column}, of which {table.table_name()} has one a row.",
                f"select count(*) from {element.view}",
                columns,
            )
    return found


def all_views(root: Path, as_of: dt.datetime | None = None, *, looking: bool = True) -> dict[str, View]:
    """Every view of a lake in an order in which each can be created: what it reads comes first.

    Args:
        root: The lake.
        as_of: Time (naive UTC) whose state the views show; None for now.
        looking: Whether to look for the files of each table; raw relations are empty otherwise.
    """
    tables: list[type[Table]] = [Runs, *FACT_TABLES.values(), Quarantine]
    raw = raw_views(root, tables) if looking else {name: view for each in tables for name, view in [_raw(each)]}
    views = raw | base_views(as_of) | written_views()
    views["help"] = help_view([view for view in views.values() if not view.name.endswith("_parts")])
    return {name: views[name] for name in creation_order(views)}


def raw_views(root: Path, tables: Iterable[type[Table]]) -> dict[str, View]:
    """Views that name files: all rows of these tables, the ledger's as given first.

    In object storage each takes a request or two, so they are asked at once.
    """
    asked = list(tables)
    if not is_remote(root):
        return dict(_raw(table, _files_sql(table, root)) for table in asked)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        relations = list(threads.map(lambda table: _files_sql(table, root), asked))
    return dict(_raw(table, relation) for table, relation in zip(asked, relations, strict=True))


def _files_sql(table: type[Table], root: Path) -> str:
    return quarantine_sql(root) if table is Quarantine else parts_sql(table, root)


def _raw(table: type[Table], relation: str | None = None) -> tuple[str, View]:
    """Name and view of a table's raw relation; it is empty where none is given."""
    sql, name = relation or empty_sql(table), table.table_name()
    if table is Quarantine:
        return name, View(name, sql, table.documentation(), "select code, uri, reason from quarantine")
    shown = f"Every row ever written to {name}, visible or not. For maintenance: ask {name} instead."
    return f"{name}_parts", View(f"{name}_parts", sql, shown, f"select count(*) from {name}_parts")


def is_raw(view: View) -> bool:
    """Whether a view names files: it is of one lake, and all others are the same in each."""
    return view.name.endswith("_parts") or view.name == "quarantine"


def help_view(views: Iterable[View]) -> View:
    """View that lists the others."""
    columns = {
        "name": "Name of the view",
        "one_row_is": "What one row of it is",
        "example_sql": "A query to start from",
    }
    own = View("help", "", "One row is a view you can ask", "select name, one_row_is from help", columns)
    rows = ",\n    ".join(
        f"({quoted(view.name)}, {quoted(view.one_row_is)}, {quoted(view.example)})"
        for view in sorted([*views, own], key=lambda view: view.name)
    )
    sql = f"SELECT name, one_row_is, example_sql\nFROM (VALUES\n    {rows}\n) AS v (name, one_row_is, example_sql)"
    return View(own.name, sql, own.documentation, own.example, columns)


def needed_for(names: Iterable[str], views: dict[str, View]) -> list[str]:
    """Names of the views that must exist so that these can be asked, in creation order."""
    wanted: set[str] = set()
    waiting = [name.lower() for name in names]
    while waiting:
        name = waiting.pop()
        if name in views and name not in wanted:
            wanted.add(name)
            waiting += views[name].reads()
    return [name for name in views if name in wanted]


def bind(connection: duckdb.DuckDBPyConnection, views: dict[str, View], names: Iterable[str]) -> None:
    """Create views in a DuckDB connection, in the order given."""
    for name in names:
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS\n{views[name].sql}")


def comment_statements(view: View, columns: Iterable[str]) -> list[str]:
    """COMMENT statements for a view and each of its columns; a column without a description is left out."""
    by_name: dict[str, type[Table]] = {**TABLES, "quarantine": Quarantine}
    table = by_name.get(view.name.removesuffix("_parts"))
    contracts: list[type[Table]] = [table] if table else [Runs, *FACT_TABLES.values()]
    statements = [f"COMMENT ON VIEW {view.name} IS {quoted(view.documentation)}"]
    for name in columns:
        comment = view.columns.get(name) or column_comment(name, contracts)
        if comment:
            statements.append(f'COMMENT ON COLUMN {view.name}."{name}" IS {quoted(comment)}')
    return statements


def creation_order(views: dict[str, View]) -> list[str]:
    """Names of views in an order in which each can be created; raw relations keep their order, the ledger's first."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in order:
            return
        for read in sorted(views[name].reads() - {name}):
            if read in views:
                visit(read)
        order[name] = None

    for name in views:
        visit(name)
    return list(order)


def literal(path: Path) -> str:
    """Return a path as a pattern that matches just itself, whatever glob characters the folder's name has."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path))
