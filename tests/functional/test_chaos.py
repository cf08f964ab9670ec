"""Kill -9 at random moments of everything that changes a lake: nothing is unreadable, lost, doubled or torn.

`make test` meets some moments, `make test-chaos` a thousand and more; its figures stand in docs/reliability.md.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from groundlake.importers import export_v2_json
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

PROGRAM = Path(__file__).parent / "programs" / "chaos.py"
ACTIONS = ("write", "ingest", "migrate", "compact", "vacuum", "views")
HARMLESS = {"leftover", "orphan"}
KILLS_PER_LAKE = 100
KILLS = int(os.environ.get("CHAOS_KILLS", "18"))
SEED = int(os.environ.get("CHAOS_SEED", "20261122"))


@pytest.fixture
def v1_tree(tmp_path: Path, timings: Callable[..., pl.DataFrame]) -> Path:
    """A tree of 40 measurement files, as a device left them."""
    there = Lake(tmp_path / "there")
    run = {"hardware_id": "dev", "precision": "fp32", "batch": 1, "num_subgraphs": 3, "started_at_zone_source": "clock"}
    started = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - naive UTC, as the lake has it
    there.write_many(
        (run | {"model": f"net{number}", "started_at": started}, {"subgraph_timings": timings(3)})
        for number in range(40)
    )
    report = export_v2_json(there, tmp_path / "measurements")
    assert len(list((tmp_path / "measurements").rglob("net*.json"))) == 40, report.lines()
    return tmp_path / "measurements"


def killed(root: Path, v1_tree: Path, kills: int, seed: int) -> list[dict[str, Any]]:
    """Kill so many times over one lake; what was seen after each kill."""
    done = subprocess.run(
        [sys.executable, PROGRAM, root, str(kills), str(seed), *ACTIONS],
        env=os.environ | {"CHAOS_V1": str(v1_tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_killing_whatever_changes_a_lake_loses_nothing(
    tmp_path: Path, v1_tree: Path, figure: Callable[[str, str], None]
) -> None:
    lakes = []  # a new one now and then: each import makes a device, and looking at all of them takes longer and longer
    for number, first in enumerate(range(0, KILLS, KILLS_PER_LAKE)):
        root = tmp_path / f"lakes-{number}" / "lake"
        root.parent.mkdir()
        lakes.append(killed(root, v1_tree, min(KILLS_PER_LAKE, KILLS - first), SEED + number))
        shutil.rmtree(root.parent)
    rounds = [each for lake in lakes for each in lake]
    assert len(rounds) == KILLS
    counted = Counter(each["action"] for each in rounds)
    assert set(counted) == set(ACTIONS)
    for each in rounds:
        assert (each["unreadable"], each["errors"]) == ("", [])
        assert (each["lost"], each["doubled"], each["torn"], each["disagree"]) == ([], 0, [], False)
        assert set(each["findings"]) <= HARMLESS
        assert each["view_file"] in (None, "agrees")
    assert any(each["view_file"] for each in rounds)
    assert any(each["imported"] for each in rounds)
    runs, imported = (sum(lake[-1][what] for lake in lakes) for what in ("runs", "imported"))
    assert runs > 0
    kinds = ", ".join(f"{action} {count}" for action, count in sorted(counted.items()))
    figure(
        "`kill -9` at random moments",
        f"{len(rounds)} kills ({kinds}): 0 lakes unreadable, 0 acknowledged runs lost, 0 doubled, 0 torn, "
        f"0 view files unreadable; {runs} runs written and {imported} imported in the end, in {len(lakes)} lakes",
    )
