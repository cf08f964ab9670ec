"""The README is run: its Python, its SQL, its links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from groundlake import Lake, MeasurementRecord
from groundlake.stats.timed import timed_subgraph

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SQL = re.findall(r'lake sql "(.*?)"', TEXT, re.DOTALL) + re.findall(r'lake\.db "(.*?)"', TEXT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a lake that has what the README speaks of."""
    lake = Lake(tmp_path / "lake")
    for precision in ("fp32", "fp16"):
        for batch in (1, 4):
            conv = timed_subgraph([1.0, 1.1], model="resnet18", flops=1000, total_bytes=10, theoretical_peak_flops=1e9)
            lake.write_record(
                MeasurementRecord(
                    model="resnet18",
                    hardware_id="jetson_orin_maxn",
                    device="cuda",
                    precision=precision,
                    batch_size=batch,
                    subgraphs=[conv],
                )
            )
    lake.bind_views()
    return tmp_path


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_in_the_readme_runs(folder: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("query", SQL, ids=range(len(SQL)))
def test_sql_in_the_readme_runs(folder: Path, query: str) -> None:
    assert Lake(folder / "lake").sql(query).columns


def test_the_readme_names_code_that_was_found() -> None:
    assert len(PYTHON) == 2
    assert len(SQL) >= 3


def test_links_in_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert targets
    assert [target for target in targets if not (README.parent / target).exists()] == []


def test_commands_in_the_readme_exist(cli) -> None:
    commands = set(re.findall(r"\blake (init|ingest|migrate-v1|sql|ls|show|views|check|compact|export)\b", TEXT))
    assert {"migrate-v1", "sql"} <= commands
    for command in commands:
        cli(command, "--help")
