"""Kill -9 at random moments of everything that changes a lake: nothing is unreadable, lost, doubled or torn.

`make test` meets some moments, `make test-chaos` a thousand and more; its figures stand in docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = Path(__file__).parent / "programs" / "chaos.py"
ACTIONS = ("write", "migrate", "compact", "vacuum", "views")
HARMLESS = {"leftover", "orphan"}
KILLS = int(os.environ.get("CHAOS_KILLS", "15"))
SEED = int(os.environ.get("CHAOS_SEED", "20261122"))


@pytest.fixture
def v1_tree(tmp_path: Path, v2_document: Callable[..., dict[str, Any]]) -> Path:
    """A tree of 40 measurement files."""
    folder = tmp_path / "measurements"
    for number in range(40):
        path = folder / "fp32" / f"net{number}_b1.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(v2_document(model=f"net{number}")))
    return folder


def test_killing_whatever_changes_a_lake_loses_nothing(lake_root: Path, v1_tree: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, lake_root, str(KILLS), str(SEED), *ACTIONS],
        env=os.environ | {"CHAOS_V1": str(v1_tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == KILLS
    counted = Counter(each["action"] for each in rounds)
    assert set(counted) == set(ACTIONS)
    for each in rounds:
        assert (each["unreadable"], each["errors"]) == ("", [])
        assert (each["lost"], each["doubled"], each["torn"], each["disagree"]) == ([], 0, [], False)
        assert set(each["findings"]) <= HARMLESS
    last = rounds[-1]
    assert last["runs"] > 0
    kinds = ", ".join(f"{action} {count}" for action, count in counted.items())
    print(
        f"kill -9 at random moments: {len(rounds)} ({kinds}); unreadable lakes 0, acknowledged runs lost 0, doubled 0, "
        f"torn 0; {last['runs']} runs written and {last['imported']} imported in the end"
    )
