"""The duckdb command line, of another version than the library, finds the same rows in the view file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import parity_lake
from transition_lake import asked, lost, prepared, right

from groundlake.snapshot import Snapshot
from groundlake.store import Lake
from groundlake.views import base_views, written_views

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Shell

EXAMPLES = {f"e{number:03}": number % 4 for number in range(160)}


def resumed(lake: Lake) -> None:
    """Write a group whose budgets were asked in several pieces, with failures that were asked again."""
    prepared(lake, EXAMPLES, bins=4, group="wide", hour=5)
    names = list(EXAMPLES)
    failed = set(names[0:150:5])
    pieces = {
        6: (1.0, {name: right() for name in names[:60]}),
        7: (1.0, {name: right() for name in names[60:]}),
        8: (0.5, {name: lost() if name in failed else right(0.5) for name in names[:150]}),
        9: (0.5, {name: right(0.5) for name in names if name in failed or name in names[150:]}),
    }
    for hour, (budget, outcomes) in pieces.items():
        asked(lake, budget, outcomes, bins=EXAMPLES, group="wide", hour=hour, planned_requests=len(EXAMPLES))


def test_the_command_line_counts_the_same_rows_and_values_in_every_view(lake_root: Path, shell: Shell) -> None:
    parity_lake.fill(lake_root)
    lake = Lake(lake_root)
    resumed(lake)
    lake.compact_runs()  # every view reads the ledger: fewer files are read sooner
    path = lake.bind_views()
    views = sorted({*base_views(), *written_views(), "quarantine", "help"})
    assert len(views) > 100
    asking = {view: f"SELECT '{view}', count(*), count(COLUMNS(*)) FROM {view}" for view in views}
    told = shell("-readonly", path, ";\n".join(["SET parquet_metadata_cache = true", *asking.values()]))
    there = {view: tuple(map(int, counts)) for view, *counts in (line.split(",") for line in told)}
    held = Snapshot(lake, views)
    here = {view: held.ask(query).row(0)[1:] for view, query in asking.items()}
    assert set(there) == set(here)
    assert {view: (counts, here[view]) for view, counts in there.items() if counts != here[view]} == {}
    assert [view for view, counts in here.items() if view.startswith("kv_") and not counts[0]] == []
