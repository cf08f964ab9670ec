"""What a lake of a size costs, before and after compaction, through the doors a user takes."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import commits
import corpus
import duckdb
import many_runs
from peers import questions
from peers.parquet import HIVE
from peers.timing import append_together, medians_ms

from groundlake import Lake
from groundlake.ground_truth import GroundTruthLoader
from groundlake.layout import parts_glob
from groundlake.schemas import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CORPUS = 661
"""This many runs are the configurations of the corpus, each measured once; any other number is synthetic."""
OWN_COLUMNS = {"part", "placement", "revision"}
"""Columns by which the lake knows where rows are valid; other stores have no use for them."""


def fill(root: Path, runs: int) -> float:
    """Make a lake of this many runs; returns the seconds."""
    tree = root.with_name("json")
    if runs == CORPUS:
        corpus.write(tree)
    start = time.perf_counter()
    if runs == CORPUS:
        command = [sys.executable, "-m", "groundlake", "--root", str(root), "--quiet", "migrate-v1", str(tree)]
        subprocess.run(command, check=True, capture_output=True)
    else:
        many_runs.fill(Lake(root), runs)
    return time.perf_counter() - start


@contextmanager
def opened(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """`lake.db`, opened to be read, with the timings under the name that the questions have."""
    with duckdb.connect(str(Lake(root).bind_views()), read_only=True) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute("CREATE TEMP VIEW timings AS FROM subgraph_timings")
        yield connection


def timing_columns() -> list[str]:
    """Columns of the timings that every store has."""
    return [spec.name for spec in TABLES["subgraph_timings"].columns() if spec.name not in OWN_COLUMNS]


@dataclass
class Doors:
    """The questions to one lake."""

    root: Path
    connection: duckdb.DuckDBPyConnection

    def __post_init__(self) -> None:
        self.loader = GroundTruthLoader(self.root)

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def all_summaries(self) -> list[tuple[Any, ...]]:
        """The view, on `lake.db`."""
        return self._ask("select * from model_summary")

    def one_configuration(self) -> list[tuple[Any, ...]]:
        """The loader of validation scripts, open."""
        return [(each.measured_latency.mean,) for each in self._load(self.loader)]

    def first_look_up(self) -> object:
        """The same through a loader that was just made: it reads the ledger of the device first."""
        return self._load(GroundTruthLoader(self.root))

    @staticmethod
    def _load(loader: GroundTruthLoader) -> list[Any]:
        point = questions.POINT
        found = loader.load(point["hardware_id"], point["model"], point["precision"], point["batch"])
        return list(found.subgraphs)

    def one_configuration_by_view(self) -> object:
        """The view, on `lake.db`, which has to list every leaf folder."""
        return self._ask(f"select * from timings where {questions.AT_POINT}")  # noqa: S608 - our keys

    def by_operation(self) -> list[tuple[Any, ...]]:
        """Mean latency by hardware and operation, on `lake.db`."""
        return self._ask(questions.BY_OPERATION)

    def one_column(self) -> list[tuple[Any, ...]]:
        """One column of all rows, on `lake.db`."""
        return self._ask(questions.ONE_COLUMN)

    def full_scan(self) -> list[tuple[Any, ...]]:
        """All columns of all rows, on `lake.db`."""
        return self._ask(questions.full_scan(timing_columns()))

    def listing(self) -> object:
        """List the files of the timings, as every query on their view does."""
        table = TABLES["subgraph_timings"]
        pattern = self.root / parts_glob(table, table.version())
        return self._ask(f"select count(*) from glob('{pattern}')")  # noqa: S608 - our path


TIMED = (*questions.QUESTIONS, "first_look_up", "one_configuration_by_view", "listing")


def state(root: Path, repeats: int) -> dict[str, Any]:
    """Files, bytes and times of a lake as it is."""
    with opened(root) as connection:
        doors = Doors(root, connection)
        ms = {name: medians_ms({name: getattr(doors, name)}, repeats)[name] for name in TIMED}
        answers = {name: questions.digest(name, getattr(doors, name)()) for name in questions.QUESTIONS}
    files = [path for path in root.rglob("*.parquet") if path.stat().st_size]
    ledger = [path for path in files if path.is_relative_to(root / "runs")]
    return {
        "files": len(files),
        "ledger_files": len(ledger),
        "bytes": sum(path.stat().st_size for path in files),
        "ledger_bytes": sum(path.stat().st_size for path in ledger),
        "ms": ms,
        "answers": answers,
    }


def compact(root: Path) -> dict[str, float]:
    """Merge the parts and remove the old ones; returns the seconds of both."""
    lake, start = Lake(root), time.perf_counter()
    lake.compact()
    compacted = time.perf_counter()
    lake.vacuum(older_than_s=0, nobody_writes=True)
    return {"compact_s": compacted - start, "vacuum_s": time.perf_counter() - compacted}


def export(root: Path, data: Path) -> dict[str, int]:
    """Write the visible rows for the other stores, in the order of their keys; returns what there is."""
    data.mkdir(parents=True, exist_ok=True)
    run_columns = [spec.name for spec in TABLES["runs"].columns() if spec.name not in OWN_COLUMNS]
    wanted = {
        "runs": (run_columns, "runs", "started_at, run_id"),
        "timings": (timing_columns(), "subgraph_timings", "run_id, subgraph_id"),
    }
    keys = ", ".join(questions.KEYS)
    with opened(root) as connection:
        for name, (columns, view, order) in wanted.items():
            connection.execute(
                f"COPY (SELECT {', '.join(columns)} FROM {view} ORDER BY {keys}, {order}) "  # noqa: S608 - our names
                f"TO '{data / name}.parquet' (FORMAT parquet, COMPRESSION zstd)"
            )
        counted = {"runs": "runs", "rows": "timings", "configurations": "model_summary"}
        asked = ", ".join(f"(select count(*) from {view})" for view in counted.values())  # noqa: S608 - our names
        (counts,) = connection.execute(f"select {asked}").fetchall()
    return dict(zip(counted, counts, strict=True))


def beside_leaves(root: Path, leaves: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Scans of the lake and of the same rows as one plain file for each leaf folder, in turns on one connection."""
    with opened(root) as connection:
        doors = Doors(root, connection)
        source = f"read_parquet('{leaves}/*/*/*/*/*.parquet', {HIVE})"
        found = {}
        for name, sql in (("one_column", questions.ONE_COLUMN), ("full_scan", questions.full_scan(timing_columns()))):
            plain = sql.replace("FROM timings", f"FROM {source}")
            ask = {"lake": getattr(doors, name), "leaves": lambda plain=plain: connection.execute(plain).fetchall()}
            times = medians_ms(ask, repeats)
            found[name] = times | {"ratio": times["lake"] / times["leaves"]}
    return found


def appends(root: Path, data: Path) -> dict[str, Any]:
    """Commit runs of 71 rows by several processes, and write the rows of one for the other stores."""
    found = append_together(partial(_writer, root))
    data.mkdir(parents=True, exist_ok=True)
    lake = Lake(root)
    columns = ", ".join(timing_columns())
    with lake.connect() as connection:
        connection.execute(
            f"COPY (SELECT {columns} FROM subgraph_timings "  # noqa: S608 - our columns
            "WHERE run_id = (SELECT min(run_id) FROM runs) ORDER BY subgraph_id) "
            f"TO '{data / 'append.parquet'}' (FORMAT parquet)"
        )
    ((rows,),) = lake.sql("select count(*) from subgraph_timings").rows()
    return found.result(commits.SUBGRAPHS, rows)


def _writer(root: Path) -> Callable[[], object]:
    lake, rows = Lake(root), commits.timings()
    return lambda: lake.write(commits.RUN, subgraph_timings=rows)
