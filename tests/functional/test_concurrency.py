"""Writers, readers, compactions, vacuums and a plain duckdb shell at once: nothing lost, doubled or torn."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITERS, COMMITS = int(os.environ.get("CHAOS_WRITERS", "8")), int(os.environ.get("CHAOS_COMMITS", "20"))
GRACE_S = 20
"""No writer here takes so long between publishing its facts and its ledger row."""

ROWS = {"subgraph_timings": 5, "power_timeseries": 2}  # of each run that programs/writer.py commits


@pytest.fixture
def shell_holding_lake_db(lake_root: Path, duckdb_binary: str) -> Iterator[subprocess.Popen[str]]:
    """A plain, read-write `duckdb lake.db` that has answered once and waits for the next question."""
    lake = Lake(lake_root)
    lake.create()
    view_file = lake.bind_views()
    holder = subprocess.Popen(
        [duckdb_binary, "-csv", "-noheader", view_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("select 'open', count(*) from runs;\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "open,0\n"
    yield holder
    holder.stdin.close()
    holder.stdout.close()
    holder.wait()


class Reader(threading.Thread):
    """Asks in a loop, and keeps what it saw of the runs and their rows."""

    def __init__(self, lake: Lake, stop: threading.Event) -> None:
        super().__init__()
        self.lake, self.stop, self.seen, self.wrong = lake, stop, [], []

    def run(self) -> None:
        while not self.stop.is_set():
            for table, rows in ROWS.items():
                by_sql = dict(self.lake.sql(f"select run_id, count(*) from {table} group by run_id").rows())
                direct = dict(self.lake.frame(table).group_by("run_id").len().iter_rows())
                for found in (by_sql, direct):
                    self.seen.append(len(found))
                    self.wrong += [item for item in found.items() if item[1] != rows]


class Keeper(threading.Thread):
    """Merges parts and ledger in a loop through the command line, and removes what is dead."""

    def __init__(self, cli, lake: Lake, stop: threading.Event) -> None:
        super().__init__()
        self.cli, self.lake, self.stop, self.merged, self.removed = cli, lake, stop, 0, 0

    def run(self) -> None:
        while not self.stop.is_set():
            self.merged += "merged into" in self.cli("compact", "--root", self.lake.root).stdout
            self.removed += len(self.lake.vacuum(older_than_s=GRACE_S, nobody_writes=True).removed)


def test_writers_lose_nothing_while_others_read_compact_vacuum_and_hold_the_view_file(
    shell_holding_lake_db, writers, lake_root: Path, cli, figure
) -> None:
    lake, stop = Lake(lake_root), threading.Event()
    others = [Reader(lake, stop), Keeper(cli, lake, stop)]
    for thread in others:
        thread.start()
    try:
        for number in range(WRITERS):
            writers.command(f"count {COMMITS} dev{number % 2}")
        while writers.finished < WRITERS:
            writers.next()
    finally:
        stop.set()
        for thread in others:
            thread.join()
    writers.end()
    reader, keeper = others
    assert reader.wrong == []
    assert max(reader.seen) > 0
    assert keeper.merged > 0

    assert len(set(writers.acknowledged)) == WRITERS * COMMITS
    assert sorted(lake.sql("select run_id from runs").pl()["run_id"]) == sorted(writers.acknowledged)
    assert sorted(lake.runs()["run_id"]) == sorted(writers.acknowledged)
    for table, rows in ROWS.items():
        counts = dict(lake.sql(f"select run_id, count(*) from {table} group by run_id").rows())
        assert counts == dict.fromkeys(writers.acknowledged, rows)
    assert {finding.code for finding in lake.check()} <= {"orphan"}, "a compaction that another one overtook"
    figure(
        "Writers at once, with compactions, vacuums and readers",
        f"{WRITERS} processes, {len(writers.acknowledged)} of {WRITERS * COMMITS} commits there, once and whole; "
        f"{len(reader.seen)} reads, each consistent; {keeper.merged} compactions, {keeper.removed} files removed",
    )

    shell_holding_lake_db.stdin.write("select 'still', count(*) from runs;\n")
    shell_holding_lake_db.stdin.flush()
    assert shell_holding_lake_db.stdout.readline() == f"still,{WRITERS * COMMITS}\n"


def test_the_view_file_is_replaced_under_a_shell_that_holds_it_open(shell_holding_lake_db, lake_root: Path) -> None:
    lake = Lake(lake_root)
    lake.write({"hardware_id": "dev"})
    before = lake.view_file.stat().st_ino
    lake.bind_views()
    assert lake.view_file.stat().st_ino != before
    shell_holding_lake_db.stdin.write("select 'old', count(*) from runs;\n")
    shell_holding_lake_db.stdin.flush()
    assert shell_holding_lake_db.stdout.readline() == "old,1\n"
