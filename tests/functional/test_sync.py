"""`lake sync`: what one lake has comes to another, in a folder, in a bucket, and on another machine over ssh."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import polars as pl
import pytest
from bucket_server import BUCKET
from v1_json import put

from groundlake.errors import CorruptLakeError, LakeNotFoundError, UsageError
from groundlake.importers import migrate_v1
from groundlake.store import Lake
from groundlake.sync import sync, transfer
from groundlake.sync.folder import FolderPlace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net=100% a", "batch": 1}
KINDS = ("folder", "bucket", "ssh")
long = pytest.mark.parametrize(
    "elsewhere", ["folder", "bucket", pytest.param("ssh", marks=pytest.mark.slow)], indirect=True
)


@dataclass
class Elsewhere:
    """A place that is not the workstation: its address, and a lake that shows what is there."""

    address: str
    lake: Lake


@pytest.fixture(params=KINDS)
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Elsewhere:
    """A place of each kind, where no lake is yet."""
    if request.param == "bucket":
        request.getfixturevalue("reached")
        address = f"s3://{BUCKET}/a prefix/{uuid4()}"
        return Elsewhere(address, Lake(address))
    folder = tmp_path / "else where" / "lake"
    folder.parent.mkdir()
    if request.param == "ssh":
        return Elsewhere(request.getfixturevalue("over_ssh").address(folder), Lake(folder))
    return Elsewhere(str(folder), Lake(folder))


@pytest.fixture
def write(timings: Callable[..., pl.DataFrame]) -> Callable[..., str]:
    """Commit one run of two rows."""

    def commit(lake: Lake, run_id: str, **columns: object) -> str:
        return lake.write({**RUN, "run_id": run_id, **columns}, subgraph_timings=timings(2))

    return commit


@pytest.fixture
def device(tmp_path: Path, write: Callable[..., str]) -> Lake:
    """A lake of three runs on two devices."""
    lake = Lake(tmp_path / "device")
    for number, name in enumerate(("dev", "dev", "other")):
        write(lake, f"r{number}", hardware_id=name)
    return lake


def shown(lake: Lake) -> list[tuple[object, ...]]:
    """Every visible row, as SQL and as direct reads see it; they have to agree."""
    question = "select hardware_id, run_id, subgraph_id, latency_mean_ms from subgraph_timings order by all"
    rows = lake.sql(question).rows()
    frame = lake.frame("subgraph_timings").select("hardware_id", "run_id", "subgraph_id", "latency_mean_ms")
    assert sorted(frame.rows()) == rows
    assert sorted(lake.runs()["run_id"]) == sorted({str(row[1]) for row in rows})
    return rows


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each batch have one file."""
    monkeypatch.setattr(transfer, "MOST_FILES", 1)


def damage(lake: Lake, how: str) -> Path:
    """Spoil a fact file of a device."""
    path = next((lake.root / "subgraph_timings/hardware_id=other").rglob("*.parquet"))
    content = path.read_bytes()
    if how == "torn":
        path.write_bytes(content[:-40])
    elif how == "tampered":
        pl.read_parquet(path, hive_partitioning=False).with_columns(latency_mean_ms=0.75).write_parquet(path)
    else:
        path.unlink()
    return path


@long
def test_a_lake_goes_somewhere_and_from_there_to_another(elsewhere: Elsewhere, device: Lake, tmp_path: Path) -> None:
    planned = sync(device.root, elsewhere.address, dry_run=True)
    assert not elsewhere.lake.exists
    sent = sync(device.root, elsewhere.address)
    assert (sent.runs, sent.parts, sent.present) == (planned.runs, planned.parts, planned.present) == (3, 6, 0)
    assert sent.bytes == planned.bytes > 0
    assert shown(elsewhere.lake) == shown(device)
    got = sync(elsewhere.address, tmp_path / "workstation")
    workstation = Lake(tmp_path / "workstation")
    assert (got.runs, got.parts, got.bytes) == (3, 6, sent.bytes)
    assert shown(workstation) == shown(device)
    assert workstation.check() == []
    for pair in ((device.root, elsewhere.address), (elsewhere.address, workstation.root)):
        again = sync(*pair)
        assert (again.runs, again.parts, again.present) == (0, 0, 6)
        assert sync(*reversed(pair)).parts == 0


@long
def test_what_was_withdrawn_compacted_and_vacuumed_on_either_side_ends_equal(
    elsewhere: Elsewhere, device: Lake, write: Callable[..., str], tmp_path: Path
) -> None:
    sync(device.root, elsewhere.address)
    station = Lake(tmp_path / "workstation")
    sync(elsewhere.address, station.root)
    station.compact()
    station.vacuum(older_than_s=0, nobody_writes=True)
    assert sync(elsewhere.address, station.root).parts == 0  # it does not get back what it has merged
    station.retract("r0", "dev", "a cable was loose")
    write(elsewhere.lake, "r3")
    elsewhere.lake.retract("r2", "other", "wrong")
    for _ in range(2):
        sync(station.root, elsewhere.address)
        sync(elsewhere.address, station.root)
    assert shown(station) == shown(elsewhere.lake)
    assert sorted(station.runs()["run_id"]) == ["r1", "r3"]
    assert [sync(station.root, elsewhere.address).parts, sync(elsewhere.address, station.root).parts] == [0, 0]
    assert {finding.code for finding in station.check()} <= {"orphan"}


@long
def test_two_devices_and_a_workstation_end_with_one_lake(
    elsewhere: Elsewhere, write: Callable[..., str], tmp_path: Path
) -> None:
    lakes = [Lake(tmp_path / name) for name in ("first", "second", "workstation")]
    for number, lake in enumerate(lakes):
        write(lake, f"r{number}", hardware_id=f"dev{number}")
        write(lake, f"shared{number}", hardware_id="dev")
    for _ in range(2):
        for lake in lakes:
            sync(lake.root, elsewhere.address)
            sync(elsewhere.address, lake.root)
    assert len(shown(elsewhere.lake)) == 12
    for lake in lakes:
        assert shown(lake) == shown(elsewhere.lake)
        assert sync(lake.root, elsewhere.address).parts == 0
        assert lake.check() == []


@long
@pytest.mark.parametrize("after", [0, 2, 4])
def test_a_sync_that_is_killed_goes_on_where_it_was(
    elsewhere: Elsewhere, device: Lake, after: int, tmp_path: Path
) -> None:
    program = f"""
import os, signal
from groundlake.sync import sync, transfer
transfer.MOST_FILES = 1
def killed(done, total, now):
    if done > {after}:
        os.kill(os.getpid(), signal.SIGKILL)
copy = transfer._Transfer._verify
def verified(self, base, names, plan):
    copy(self, base, names, plan)
    if {after} == 0 and names[0] in plan.facts:
        os.kill(os.getpid(), signal.SIGKILL)
transfer._Transfer._verify = verified
sync({str(device.root)!r}, {elsewhere.address!r}, on_progress=killed)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9
    published = after + 1 if after else 0
    partly = shown(elsewhere.lake)
    assert set(partly) <= set(shown(device))
    assert len(partly) == 2 * max(0, published - 3)
    report = sync(device.root, elsewhere.address)
    assert (report.parts, report.present) == (6 - published, published)
    assert shown(elsewhere.lake) == shown(device)
    assert [path.name for path in elsewhere.lake.root.iterdir() if path.name.endswith(".tmp")] == []


@long
@pytest.mark.parametrize("how", ["torn", "tampered", "gone"])
def test_a_damaged_part_is_named_and_nothing_of_that_lake_is_shown(
    elsewhere: Elsewhere, device: Lake, how: str, tmp_path: Path
) -> None:
    part = damage(device, how)
    with pytest.raises(CorruptLakeError, match=part.name) as refused:
        sync(device.root, elsewhere.address)
    assert str(refused.value).count("\n") < 6
    if elsewhere.lake.exists:
        assert shown(elsewhere.lake) == []
    if how == "gone":  # its run can be withdrawn, and all others come
        device.retract("r2", "other", "its rows were lost")
        assert sync(device.root, elsewhere.address).runs == 2
        assert shown(elsewhere.lake) == shown(device)


def test_a_damaged_part_of_another_place_is_named_by_its_address(
    elsewhere: Elsewhere, device: Lake, tmp_path: Path
) -> None:
    sync(device.root, elsewhere.address)
    path = next(each for each in (elsewhere.lake.root / "subgraph_timings/hardware_id=dev").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptLakeError, match=path.name) as refused:
        sync(elsewhere.address, tmp_path / "station")
    assert str(refused.value).startswith(f"{elsewhere.address}/subgraph_timings/hardware_id=dev/")
    assert Lake(tmp_path / "station").runs().is_empty()
    assert Lake(tmp_path / "station").check() == []


@long
def test_the_same_name_with_another_size_is_refused(elsewhere: Elsewhere, device: Lake) -> None:
    sync(device.root, elsewhere.address)
    path = next((device.root / "subgraph_timings/hardware_id=dev").rglob("*.parquet"))
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(CorruptLakeError, match=r"has \d+ bytes") as refused:
        sync(device.root, elsewhere.address)
    name = path.relative_to(device.root).as_posix()
    assert f"{device.root}/{name}" in str(refused.value)
    assert f"{elsewhere.address}/{name}" in str(refused.value)


@long
def test_the_source_may_be_written_to_compacted_and_vacuumed_meanwhile(
    elsewhere: Elsewhere, device: Lake, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pieces(monkeypatch)
    write(device, "r3")
    done: list[str] = []

    def meanwhile(_done: int, _total: int, _now: str) -> None:
        if len(done) < 2:
            done.append(write(device, f"late{len(done)}"))
            device.compact()
            device.vacuum(older_than_s=0, nobody_writes=True)

    sync(device.root, elsewhere.address, on_progress=meanwhile)
    assert set(shown(elsewhere.lake)) <= set(shown(device))
    assert {f"r{number}" for number in range(4)} <= set(elsewhere.lake.runs()["run_id"])
    sync(device.root, elsewhere.address)
    assert shown(elsewhere.lake) == shown(device)


def test_facts_that_a_vacuum_takes_for_those_of_a_dead_writer_are_copied_again(
    device: Lake, write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pieces(monkeypatch)
    station = Lake(tmp_path / "station")
    write(station, "own")
    removed: list[int] = []

    def meanwhile(done: int, _total: int, _now: str) -> None:
        if done == 2 and not removed:
            removed.append(len(station.vacuum(older_than_s=0, nobody_writes=True).removed))

    sync(device.root, station.root, on_progress=meanwhile)
    assert removed[0] > 0
    assert {f"r{number}" for number in range(3)} < {str(row[1]) for row in shown(station)}
    assert station.check() == []


def test_a_staging_folder_is_removed_once_its_process_is_gone(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "lake")
    dead = tmp_path / "lake" / ".incoming-dead.tmp"
    (dead / "runs").mkdir(parents=True)
    with place.staging() as held:
        assert not dead.exists()
        with place.staging():
            assert held.exists()
    assert list((tmp_path / "lake").iterdir()) == []


def test_a_file_that_rsync_left_behind_is_a_leftover(device: Lake) -> None:
    leaf = next((device.root / "subgraph_timings/hardware_id=dev").rglob("*.parquet")).parent
    (leaf / ".01a1fd3c.v01.parquet.Xy12Zq").write_bytes(b"half")
    assert [finding.code for finding in device.check()] == ["leftover"]
    assert len(shown(device)) == 6
    assert [dead.code for dead in device.vacuum(older_than_s=0, nobody_writes=True).removed] == ["leftover"]


@long
def test_what_was_set_aside_stays_known(elsewhere: Elsewhere, tmp_path: Path) -> None:
    put(tmp_path / "tree/desk/measurements/fp32/resnet18_b1.json", "{")
    device, station = Lake(tmp_path / "device"), Lake(tmp_path / "station")
    migrate_v1(device, [tmp_path / "tree"])
    device.bind_views()
    sync(device.root, elsewhere.address)
    sync(elsewhere.address, station.root)
    for lake in (elsewhere.lake, station):
        assert lake.sql("select code from quarantine").rows() == [("truncated_json",)]


def test_one_device_only(elsewhere: Elsewhere, device: Lake) -> None:
    assert sync(device.root, elsewhere.address, hardware_id="other").runs == 1
    assert elsewhere.lake.hardware_ids() == ["other"]
    with pytest.raises(UsageError, match=r"no runs of third in .*; there are dev, other"):
        sync(device.root, elsewhere.address, hardware_id="third")


def test_where_no_lake_is_nothing_is_copied(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with pytest.raises(LakeNotFoundError, match="no lake at") as refused:
        sync(elsewhere.address, tmp_path / "station")
    assert elsewhere.address in str(refused.value)
    assert not (tmp_path / "station").exists()


def test_a_full_disk_is_told_and_nothing_is_shown(
    device: Lake, timings: Callable[..., pl.DataFrame], disk_of: Callable[[str], Path], cli: Cli
) -> None:
    some = random.Random(7)  # noqa: S311 - numbers that nothing compresses
    samples = [[some.random() for _ in range(30_000)] for _ in range(4)]
    device.write({**RUN, "run_id": "large"}, subgraph_timings=timings(4, latency_samples_ms=samples))
    disk = disk_of("700k")
    full = cli("sync", device.root, disk / "lake", code=5)
    assert "the disk is full" in full.stderr
    assert Lake(disk / "lake").runs().is_empty()
    assert Lake(disk / "lake").check() == []


def test_the_command_says_what_it_did(device: Lake, cli: Cli, tmp_path: Path, duckdb_binary: str) -> None:
    dry = cli("sync", device.root, "station", "--dry-run").stdout
    assert dry.startswith("3 new runs; 6 parts would be copied (")
    assert "dry run: nothing was written" in dry
    assert not (tmp_path / "station").exists()
    assert cli("sync", device.root, "station").stdout.startswith("3 new runs; 6 parts copied (")
    assert cli("sync", device.root, "station").stdout == "0 new runs; 0 parts copied (0 bytes), 6 present\n"
    asked = [duckdb_binary, "-readonly", "-csv", "-noheader", "station.db", "select count(*) from runs"]
    assert subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip() == "3"


def test_a_loose_ledger_is_merged_at_the_end(write: Callable[..., str], cli: Cli, tmp_path: Path) -> None:
    source = Lake(tmp_path / "source")
    for number in range(32):
        write(source, f"r{number}")
    cli("sync", source.root, "station")
    assert len(list((tmp_path / "station/runs/hardware_id=dev").glob("*.parquet"))) == 1
    assert cli("sync", source.root, "station").stdout.startswith("0 new runs; 0 parts copied")


@pytest.mark.parametrize(
    ("source", "destination", "said"),
    [
        ("ssh://a/x", "ssh://b/x", "both on other machines"),
        ("device", "device/", "this lake itself"),
        ("s3://bucket", "station", "s3://bucket/prefix"),
        ("gs://bucket/x", "station", "s3://bucket/prefix"),
        ("ssh://host", "station", "ssh://user@host/path"),
        ("ssh://-oProxyCommand=x/y", "station", "ssh://user@host/path"),
        ("ssh://user@host:port/y", "station", "ssh://user@host/path"),
        ("ada@board:/data/lake", "station", "on another machine it is ssh://ada@board/data/lake"),
        ("ada@board:lake", "station", "on another machine it is ssh://ada@board/~/lake"),
        ("nowhere", "station", "no lake at"),
        (".", "station", "lie in each other"),
    ],
)
def test_wrong_addresses_are_refused(source: str, destination: str, said: str, device: Lake, cli: Cli) -> None:
    assert said in cli("sync", source, destination, code=2).stderr
