"""Readers of a lake that is being written: `readers.py NAME ROOT` prints its version and the rows of each run as JSON.

Each opens the lake as its users do. Those that read the folders themselves also see runs that are not committed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS = "select run_id, count(*) as n from subgraph_timings group by run_id"

Found = tuple[str, dict[str, int]]


def view_file(root: Path) -> str:
    return str(root.with_name(root.name + ".db"))


def duckdb_cli(root: Path) -> Found:
    """Ask the command line of DuckDB 1.x, as every printed command says."""
    shell = Path(sys.executable).with_name("duckdb")
    command = [shell, "-readonly", "-csv", "-noheader", view_file(root), COUNTS]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = (line.split(",") for line in said.splitlines())
    return version("duckdb-cli"), {run_id: int(count) for run_id, count in rows}


def duckdb_python(root: Path) -> Found:
    """Open the view file with DuckDB's Python module."""
    import duckdb

    with duckdb.connect(view_file(root), read_only=True) as connection:
        return duckdb.__version__, dict(connection.execute(COUNTS).fetchall())


def lake_sql(root: Path) -> Found:
    """Ask `lake sql`."""
    command = [sys.executable, "-m", "groundlake", "--root", root, "sql", COUNTS, "--format", "json"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return version("groundlake"), {row["run_id"]: row["n"] for row in json.loads(said)}


def polars_frame(root: Path) -> Found:
    """Read a polars frame through the lake."""
    from groundlake import Lake

    return version("polars"), dict(Lake(root).frame("subgraph_timings").group_by("run_id").len().iter_rows())


def polars_folder(root: Path) -> Found:
    """Scan the folder with polars."""
    import polars as pl

    rows = pl.scan_parquet(root / "subgraph_timings" / "**" / "*.parquet", hive_partitioning=True)
    return version("polars"), dict(rows.group_by("run_id").len().collect().iter_rows())


def pyarrow_folder(root: Path) -> Found:
    """Open the folder as a dataset of pyarrow."""
    import pyarrow.dataset as ds

    counted = ds.dataset(root / "subgraph_timings", partitioning="hive").to_table().group_by("run_id")
    rows = counted.aggregate([("subgraph_id", "count")]).to_pylist()
    return version("pyarrow"), {row["run_id"]: row["subgraph_id_count"] for row in rows}


def pandas_folder(root: Path) -> Found:
    """Read the folder with pandas."""
    import pandas as pd

    counts = pd.read_parquet(root / "subgraph_timings", columns=["run_id"]).run_id.value_counts()
    return version("pandas"), {str(run_id): int(count) for run_id, count in counts.items()}


def pandas_frame(root: Path) -> Found:
    """Take a pandas frame of a query."""
    from groundlake import Lake

    frame = Lake(root).sql(COUNTS).df()
    return version("pandas"), {str(run_id): int(count) for run_id, count in zip(frame.run_id, frame.n, strict=True)}


def spark_views(root: Path) -> Found:
    """Bind the views in a session of Spark."""
    from groundlake import spark

    return version("pyspark"), dict(spark.ask(root, COUNTS).iter_rows())


def marimo_notebook(root: Path) -> Found:
    """Run a cell of SQL in a notebook of marimo."""
    import marimo

    app = marimo.App()

    @app.cell
    def _(path: str, query: str) -> tuple[object, ...]:
        import duckdb  # a cell knows what it imports itself
        import marimo as mo

        connection = duckdb.connect(path, read_only=True)
        rows = mo.sql(query, engine=connection, output=False)
        connection.close()
        return (rows,)

    _, defined = app.run(defs={"path": view_file(root), "query": COUNTS})
    return version("marimo"), {row["run_id"]: row["n"] for row in defined["rows"].to_dicts()}


def harlequin_window(root: Path) -> Found:
    """Type the query into Harlequin, the data browser for terminals, and press its key to run it."""
    from harlequin import Harlequin
    from harlequin_duckdb import DuckDbAdapter

    async def asked() -> dict[str, int]:
        app = Harlequin(DuckDbAdapter([view_file(root)], read_only=True), record_history=False)
        async with app.run_test(size=(120, 40)) as pilot:
            while app.editor is None:
                await pilot.pause()
            app.editor.text = COUNTS
            await pilot.press("ctrl+j")
            while (table := app.results_viewer.get_visible_table()) is None:
                await pilot.pause()
            rows = [table.get_row_at(at) for at in range(table.row_count)]
            return {run_id: int(count) for run_id, count in rows}

    return version("harlequin"), asyncio.run(asked())


READERS: dict[str, Callable[[Path], Found]] = {
    name: reader
    for name, reader in list(globals().items())
    if callable(reader) and getattr(reader, "__module__", "") == __name__ and name not in {"view_file", "main"}
}


def main(name: str, root: str) -> None:
    tool, rows = READERS[name](Path(root))
    sys.stdout.write(json.dumps({"version": tool, "rows": rows}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
