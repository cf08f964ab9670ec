"""docs/readers.md has a row for every reader that is tried, and says of each what the test demands of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "readers.md").read_text(encoding="utf-8")
PROGRAM = (ROOT / "tests" / "functional" / "programs" / "readers.py").read_text(encoding="utf-8")
TEST = (ROOT / "tests" / "functional" / "test_readers.py").read_text(encoding="utf-8")
ROWS = {
    cells[-1].strip("`"): cells for cells in (line[2:-2].split(" | ") for line in PAGE.splitlines() if "` |" in line)
}


def test_every_reader_has_a_row() -> None:
    assert set(ROWS) == set(re.findall(r"^def (\w+)\(root: Path\) -> Found", PROGRAM, re.MULTILINE))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_promises_what_is_tested(name: str) -> None:
    tested_whole = name not in re.search(r"^FOLDERS = \(([^)]*)\)", TEST, re.MULTILINE)[1]  # type: ignore[index] # it is there
    assert (ROWS[name][2] == "yes") == tested_whole
    assert re.fullmatch(r"\d+\.\d+[\w.]*", ROWS[name][1]), "make test-readers writes the version"
