"""Damaged files end in a clear error or in the right answer: never in a traceback, a hang, or a loss without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = Path(__file__).parent / "programs" / "fuzz.py"
CASES = int(os.environ.get("CHAOS_CASES", "30"))
SEED = int(os.environ.get("CHAOS_SEED", "20261122"))
ALLOWED = {"right", "refused", "found by its checksum", "ended in polars"}


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_a_damaged_file_is_refused_or_read_rightly(
    kind: str, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    command = [sys.executable, PROGRAM, kind, str(CASES), str(SEED), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *others, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert others == []
    counted = last["counted"]
    assert sum(counted.values()) == CASES
    assert set(counted) <= ALLOWED
    assert counted["refused"] > 0, "most damage is noticed"
    assert counted.get("ended in polars", 0) <= 1 + CASES // 1000, "as rare as was found"
    names = {"parquet": "Damaged Parquet files", "json": "Damaged measurement files"}
    said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counted.items()))
    figure(names[kind], f"{CASES} cases: {said}; 0 tracebacks, 0 hangs, 0 losses without a word")
