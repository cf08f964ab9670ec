"""Of the rows that an import reads it keeps as many in memory as it may, and reads the others again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from v1_json import measurement, put

pytestmark = pytest.mark.slow  # four imports, each in a process of its own

PROGRAM = Path(__file__).parent / "programs" / "migrating.py"
FEW, MANY, ROWS = 100, 300, 200
NAMES = [f"features.block{number}.branch.conv.weight" for number in range(40)]
KEPT_BYTES = 2**20


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a device whose rows are wide, each with another latency."""
    folder = tmp_path_factory.mktemp("tree") / "desk" / "measurements" / "fp32"
    for number in range(MANY):
        content = measurement(f"net{number}", mean=2.0 + number / 1000)
        row = content["subgraphs"][0] | {"node_names": NAMES}
        content["subgraphs"] = [row | {"subgraph_id": place} for place in range(ROWS)]
        put(folder / f"net{number}_b1.json", content)
    return folder.parents[2]


def peak_bytes(root: Path, tree: Path, files: int, kept_bytes: int) -> int:
    """Import so many of the files in a process of its own."""
    part = root / "part"
    for path in sorted(tree.rglob("*.json"))[:files]:
        link = part / path.relative_to(tree)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(path)
    command = [sys.executable, PROGRAM, root / "lake", part, str(kept_bytes)]
    imported, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(imported) == files
    return int(peak)


def test_the_memory_of_an_import_is_bounded_by_what_it_may_keep(tree: Path, tmp_path: Path) -> None:
    grown = {}
    for name, kept_bytes in (("bounded", KEPT_BYTES), ("unbounded", 2**40)):
        few, many = (peak_bytes(tmp_path / name / str(files), tree, files, kept_bytes) for files in (FEW, MANY))
        grown[name] = many - few
    assert grown["unbounded"] > 50 * 2**20, "the rows are seen where they are kept"
    assert grown["bounded"] < grown["unbounded"] / 3, "what is noted of each file, and what allocators do not give back"
