"""What keeps a lake, on a full or read-only disk, with a clock that is set back, and while files vanish.

Each ends in its work or in an error that says what to do, and readers see the same before and after.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from groundlake import intake
from groundlake.errors import CorruptLakeError, LakeEnvironmentError
from groundlake.maintenance import retraction
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl
    from conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}
RUNS, ROWS = 4, 4
SAMPLES = [[number / 7 + shift for number in range(3000)] for shift in range(ROWS)]

KEEPING: dict[str, Callable[[Lake], object]] = {
    "compact": lambda lake: lake.compact(),
    "compact_runs": lambda lake: lake.compact_runs(),
    "retract": lambda lake: lake.retract("r1", "dev", "wrong"),
    "views": lambda lake: lake.bind_views(),
    "repair": lambda lake: lake.repair(lake.check()),
    "vacuum": lambda lake: lake.vacuum(older_than_s=0, nobody_writes=True),
}


@pytest.fixture
def written(timings: Callable[..., pl.DataFrame]) -> Callable[[Path], Lake]:
    """Make a lake of four runs, with parts and ledger files to merge."""

    def make(root: Path) -> Lake:
        lake = Lake(root)
        for number in range(RUNS):
            lake.write(RUN | {"run_id": f"r{number}"}, subgraph_timings=timings(ROWS, latency_samples_ms=SAMPLES))
        return lake

    return make


@pytest.fixture
def lake(lake_root: Path, written: Callable[[Path], Lake]) -> Lake:
    return written(lake_root)


def parts(lake: Lake) -> list[Path]:
    return sorted((lake.root / "subgraph_timings" / "hardware_id=dev").rglob("*.parquet"))


def orphaned(lake: Lake) -> Path:
    """A part whose writer was killed before its commit."""
    orphan = parts(lake)[0].with_name("nobody.v01.parquet")
    orphan.write_bytes(parts(lake)[0].read_bytes())
    return orphan


def seen(lake: Lake) -> tuple[object, ...]:
    """What readers see, through both doors."""
    anew = Lake(lake.root)
    by_sql = anew.sql("select run_id, count(*) from subgraph_timings group by run_id order by run_id").rows()
    direct = anew.frame("subgraph_timings").group_by("run_id").len().sort("run_id").rows()
    assert by_sql == direct
    return by_sql, anew.runs()["run_id"].to_list()


def fill(disk: Path, but_bytes: int = 0) -> Path:
    """Use up what is free, but for so much."""
    filling = disk / f"filling{len(list(disk.iterdir()))}"
    filling.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - but_bytes)))
    return filling


@pytest.mark.parametrize("left_bytes", [0, 4096, 65536])
def test_a_full_disk_changes_no_answer_and_leaves_no_rubbish(
    left_bytes: int, disk_of: Callable[[str], Path], written: Callable[[Path], Lake]
) -> None:
    disk = disk_of("8m")
    lake = written(disk / "lake")
    filling = fill(disk, left_bytes)
    before, refused = seen(lake), {}
    for name in ("compact", "views", "compact_runs", "retract", "vacuum"):
        try:
            KEEPING[name](Lake(lake.root))
        except LakeEnvironmentError as error:
            refused[name] = str(error)
        before = seen(lake) if name == "retract" and name not in refused else before
        assert seen(lake) == before
        assert lake.check() == []
    assert all("No space left" in told for told in refused.values())
    assert set(refused) >= {"compact", "views"}
    if left_bytes == 0:
        assert set(refused) == {"compact", "views", "compact_runs", "retract"}
    filling.unlink()
    assert [done.files_after for done in lake.compact()] == [1]
    assert seen(lake) == before


def test_a_vacuum_makes_room_on_a_full_disk(disk_of: Callable[[str], Path], written: Callable[[Path], Lake]) -> None:
    disk = disk_of("8m")
    lake = written(disk / "lake")
    lake.compact()
    orphaned(lake)
    lake.retract("r1", "dev", "two ledger files again")
    fill(disk)
    before = seen(lake)
    removed = lake.vacuum(older_than_s=0, nobody_writes=True).removed
    assert sorted({each.code for each in removed}) == ["orphan", "superseded"]
    assert shutil.disk_usage(disk).free > 0
    assert seen(lake) == before
    assert lake.check() == []


def test_a_read_only_disk_is_said_and_nothing_is_changed(
    disk_of: Callable[[str], Path], written: Callable[[Path], Lake], cli: Cli
) -> None:
    disk = disk_of("8m")
    lake = written(disk / "lake")
    orphaned(lake)
    torn = parts(lake)[0]
    copy = torn.with_name("copied.v01.parquet")  # a foreign file, for the repair
    copy.write_bytes(torn.read_bytes()[:-9])
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    there = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    frame = lake.frame("subgraph_timings")
    for name, keep in KEEPING.items():
        with pytest.raises(LakeEnvironmentError, match="the file system is read-only: choose another --root"):
            keep(Lake(lake.root))
        assert lake.frame("subgraph_timings").equals(frame), name
    for words in ("compact", "vacuum --older-than 0s --nobody-writes", "retract r1 --why x", "views", "check --repair"):
        told = cli(*words.split(), "--root", lake.root, code=5).stderr
        assert "the file system is read-only" in told, words
    assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == there


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock of this process: all that the lake asks for the time."""
    real_s, real_ns, real_now = time.time, time.time_ns, intake.utc_now

    def shift(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real_s() + seconds)
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(seconds * 1e9))
        for module in (intake, retraction):
            monkeypatch.setattr(module, "utc_now", lambda: real_now() + dt.timedelta(seconds=seconds))

    return shift


@pytest.mark.parametrize("back_s", [60, 366 * 24 * 3600])
def test_a_clock_that_is_set_back_changes_no_answer(
    back_s: float, lake: Lake, clock: Callable[[float], None], timings: Callable[..., pl.DataFrame]
) -> None:
    lake.compact()
    clock(-back_s)  # from here on ids and times are smaller than those that are there
    lake.write(RUN | {"run_id": "later"}, subgraph_timings=timings(ROWS))
    lake.retract("r1", "dev", "wrong")
    expected = seen(lake)
    assert expected[1] == ["later", "r0", "r2", "r3"]
    assert lake.compact()[0].files_after == 1
    assert seen(lake) == expected
    kept = lake.vacuum(older_than_s=7 * 24 * 3600)
    assert kept.removed == ()
    assert {each.age_s for each in kept.kept} == {0.0}, "files of the future are not old"
    lake.write(RUN | {"run_id": "last"}, subgraph_timings=timings(ROWS))
    lake.vacuum(older_than_s=0, nobody_writes=True)
    assert seen(lake)[1] == ["last", *expected[1]]  # type: ignore[misc] # a list
    assert lake.check() == []
    clock(0)
    lake.compact()
    assert lake.vacuum(older_than_s=0, nobody_writes=True).kept == ()
    assert seen(lake)[1] == ["last", *expected[1]]  # type: ignore[misc] # a list
    assert lake.check() == []


def test_what_a_file_of_the_future_holds_is_removed_where_nobody_writes(lake: Lake) -> None:
    orphan = orphaned(lake)
    os.utime(orphan, (time.time() + 1e6, time.time() + 1e6))  # as after a clock that was set back
    assert lake.vacuum(older_than_s=600).removed == ()
    assert [each.path for each in lake.vacuum(older_than_s=0, nobody_writes=True).removed] == [orphan]


@pytest.fixture
def two_leaves(lake: Lake, timings: Callable[..., pl.DataFrame]) -> Lake:
    """A second leaf folder with parts to merge, which a compaction reaches after the first."""
    for number in range(3):
        lake.write(RUN | {"run_id": f"x{number}", "model": "other"}, subgraph_timings=timings(ROWS))
    return lake


def test_a_part_that_vanishes_under_a_compaction_is_missed_and_the_others_are_merged(two_leaves: Lake) -> None:
    victim = parts(two_leaves)[-1]
    done = two_leaves.compact(on_progress=lambda _done, _total: victim.unlink(missing_ok=True))
    assert [(each.runs, each.files_before, each.files_after) for each in done] == [(RUNS + 2, RUNS + 2, 2)]
    (finding,) = (each for each in two_leaves.check() if each.code != "orphan")
    assert (finding.code, finding.where) == ("missing_rows", "dev run x2")
    assert len(two_leaves.runs()) == RUNS + 3
    with pytest.raises(CorruptLakeError, match=f"run x2 of dev has 0 of its {ROWS} rows"):
        two_leaves.frame("subgraph_timings")


def test_a_compaction_that_another_one_overtakes_ends_in_peace(two_leaves: Lake) -> None:
    before, old = seen(two_leaves), parts(two_leaves)

    def overtake(_done: int, _total: int) -> None:
        if old[0].exists():
            Lake(two_leaves.root).compact()
            for path in old:  # as a vacuum does once they are old enough
                path.unlink()

    assert two_leaves.compact(on_progress=overtake) == []
    assert seen(two_leaves) == before
    assert two_leaves.check() == []


def test_what_vanishes_under_a_deep_check_is_named(lake: Lake) -> None:
    victim = parts(lake)[-1]
    looked = lake.check_deep([], on_progress=lambda _done, _total: victim.unlink(missing_ok=True))
    assert [(finding.code, finding.where) for finding in looked.findings] == [("missing", str(victim))]


def test_what_vanished_before_a_repair_is_passed_over(lake: Lake) -> None:
    for path in parts(lake)[:2]:
        path.write_bytes(path.read_bytes()[:-9])
    findings = lake.check()
    parts(lake)[0].unlink()
    assert [moved.was.name for moved in lake.repair(findings)] == [
        finding.where.rpartition("/")[2] for finding in findings if finding.code == "torn"
    ][1:]


@pytest.mark.parametrize("name", ["vacuum", "compact", "repair", "retract"])
def test_several_that_do_the_same_at_once_do_not_stumble(name: str, lake: Lake) -> None:
    if name == "vacuum":
        lake.compact()
        part = parts(lake)[0]
        for number in range(300):
            part.with_name(f"nobody{number}.v01.parquet").write_bytes(part.read_bytes())
    if name == "repair":
        part = parts(lake)[0]
        for number in range(300):
            part.with_name(f"copy{number}.v01.parquet").write_bytes(b"PAR1")
    begin = threading.Barrier(4)
    runs = lake.runs()["run_id"].to_list()

    def work(number: int) -> None:
        own = Lake(lake.root)
        findings = own.check() if name == "repair" else []
        begin.wait()
        if name == "retract":
            own.retract(f"r{number}", "dev", "wrong")
        elif name == "repair":
            own.repair(findings)
        else:
            KEEPING[name](own)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, number) for number in range(4)]:
            done.result()
    assert lake.runs()["run_id"].to_list() == ([] if name == "retract" else runs)
    assert {finding.code for finding in lake.check()} <= {"orphan"}, "a compaction that another one overtook"
    seen(lake)
