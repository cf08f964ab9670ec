"""What reads a lake while runs are written to it: each reader is run, as its users run it, between commits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from groundlake import Lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = Path(__file__).parent / "programs" / "readers.py"
ROWS = 5  # of each run that programs/writer.py commits
ASKED = 3
NEEDS = {"pandas_folder": "pandas", "pandas_frame": "pandas", "spark_views": "pyspark", "marimo_notebook": "marimo"}
NEEDS |= {"harlequin_window": "harlequin"}
WINDOWS = ("marimo_notebook", "harlequin_window")
"""These need other versions of our packages: READERS_PYTHON is of an environment of their own."""

WHOLE = ("duckdb_cli", "duckdb_python", "lake_sql", "polars_frame", "pandas_frame", "spark_views", "marimo_notebook")
WHOLE += ("harlequin_window",)
FOLDERS = ("polars_folder", "pyarrow_folder", "pandas_folder")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Write the version into the table of docs/readers.md, where READERS_PAGE names that page (`make test-readers`)."""

    def write(version: str) -> None:
        page, name = os.environ.get("READERS_PAGE"), request.node.callspec.params["name"]
        if page is not None:
            lines = Path(page).read_text(encoding="utf-8").splitlines()
            (at,) = (at for at, line in enumerate(lines) if line.endswith(f"| `{name}` |"))
            cells = lines[at].split(" | ")
            lines[at] = " | ".join([cells[0], version, *cells[2:]])
            Path(page).write_text("\n".join(lines) + "\n", encoding="utf-8")

    return write


@pytest.fixture
def written(lake_root: Path, writers) -> Iterator[Lake]:
    """A lake that a process writes to until the test ends, with its view file."""
    lake, stop = Lake(lake_root), threading.Event()
    lake.create()
    lake.bind_views()
    writers.command("loop board")
    writers.started()
    for _ in range(3):
        writers.next()

    def hear() -> None:  # a writer whose news nobody hears would wait
        while not stop.is_set():
            writers.next()

    listener = threading.Thread(target=hear)
    listener.start()
    yield lake
    stop.set()
    listener.join()


def ask(python: str, name: str, root: Path) -> tuple[str, dict[str, int]]:
    """Run a reader; its version, and the rows it saw of each run."""
    done = subprocess.run([python, PROGRAM, name, root], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    return told["version"], told["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*WHOLE, *FOLDERS])
def test_a_reader_sees_what_was_committed_before_it_asked(name: str, written: Lake, figure, need) -> None:
    python = os.environ.get("READERS_PYTHON", sys.executable) if name in WINDOWS else sys.executable
    module = NEEDS.get(name, "groundlake")
    found = subprocess.run([python, "-c", f"import {module}"], check=False, capture_output=True)
    need("readers", present=found.returncode == 0, reason=f"{module} is not installed; make test-readers installs it")
    if name == "spark_views":
        need("spark", present=shutil.which("java") is not None, reason="Java is not installed")
    for _ in range(1 if name == "spark_views" else ASKED):
        before = set(written.runs()["run_id"])
        version, rows = ask(python, name, written.root)
        assert before <= set(rows)
        assert {rows[run_id] for run_id in before} == {ROWS}
        if name in WHOLE:
            assert set(rows.values()) == {ROWS}
            assert set(rows) <= set(written.runs()["run_id"])
    figure(version)
