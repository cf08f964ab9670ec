"""A lake on another machine, over a real ssh: what can be in the way, and what `lake ingest --from` brings from it."""

from __future__ import annotations

import random
import shutil
import socket
from typing import TYPE_CHECKING

import pytest
from v1_json import measurement, put

from groundlake.errors import CorruptLakeError, LakeEnvironmentError, UsageError
from groundlake.importers import MigrationReport, import_folder
from groundlake.store import Lake
from groundlake.sync import sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl
    from conftest import Cli
    from ssh_server import SshServer

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def device(tmp_path: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """A lake of one run, on a device with a name that a shell would misread."""
    lake = Lake(tmp_path / "a device; $(touch hacked)" / "lake")
    lake.write(RUN | {"run_id": "r0"}, subgraph_timings=timings(2))
    return lake


def test_a_device_is_ingested_from_over_ssh(over_ssh: SshServer, device: Lake, cli: Cli, tmp_path: Path) -> None:
    address = over_ssh.address(device.root)
    assert cli("ingest", "--from", address, "--hw", "dev").stdout.startswith("1 new runs; 2 parts copied")
    assert cli("ingest", "--from", address).stdout.startswith("0 new runs; 0 parts copied")
    assert cli("sql", "select run_id from runs", "--format", "csv").stdout.split() == ["run_id", "r0"]
    assert "times are UTC already" in cli("ingest", "--from", address, "--tz", "UTC", code=2).stderr
    assert "there is no such folder" in cli("ingest", "--from", f"{address}/none", code=2).stderr
    assert not list(tmp_path.rglob("hacked"))


def test_json_files_are_imported_from_over_ssh_as_from_a_folder(over_ssh: SshServer, tmp_path: Path) -> None:
    tree = tmp_path / "calibration_data"
    put(tree / "desk/fp32/measurements/resnet18.json", measurement())
    put(tree / "desk/fp32/measurements/cut.json", '{"schema_version": "1.0", ')
    lakes = [Lake(tmp_path / name) for name in ("over_ssh", "from_folder")]
    for lake, place in zip(lakes, (over_ssh.address(tree), tree), strict=True):
        report = import_folder(lake, place)
        assert isinstance(report, MigrationReport)
        assert (report.imported, report.set_aside) == (1, 1)
    first, second = (lake.runs().select("run_id", "sources").rows() for lake in lakes)
    assert first == second
    assert first[0][1][0]["uri"] == "calibration_data/desk/fp32/measurements/resnet18.json"


@pytest.mark.parametrize(
    ("key", "known", "said"),
    [
        ("stranger", "known", "no key of yours is accepted there"),
        ("user", "nothing_known", "its key is not known"),
        ("without_rsync", "known", "rsync is missing on that machine"),
    ],
)
def test_what_keeps_one_out_is_told(
    over_ssh: SshServer, monkeypatch: pytest.MonkeyPatch, key: str, known: str, said: str
) -> None:
    monkeypatch.setenv("LAKE_SSH", over_ssh.command(key, known))
    address = over_ssh.address("/lake")
    with pytest.raises(LakeEnvironmentError, match=said) as refused:
        sync(address, "station")
    assert str(refused.value).startswith(f"{address}: ")


def test_a_machine_that_does_not_answer_is_told(over_ssh: SshServer, device: Lake, cli: Cli) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        silent = f"ssh://127.0.0.1:{closed.getsockname()[1]}/lake"
        assert "the machine does not answer" in cli("sync", silent, "station", code=5).stderr
        assert "the machine does not answer" in cli("sync", device.root, silent, code=5).stderr
    assert "check the name" in cli("sync", "ssh://no-such-host.invalid/lake", "station", code=5).stderr


def test_without_rsync_here_the_message_says_what_to_install(device: Lake, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    missing = cli("sync", device.root, "ssh://board/lake", code=3, PATH=str(tmp_path / "bin"))
    assert "rsync is not installed here" in missing.stderr


def test_what_keeps_one_from_writing_there_is_told(
    over_ssh: SshServer, timings: Callable[..., pl.DataFrame], device: Lake, disk_of: Callable[[str], Path]
) -> None:
    with pytest.raises(LakeEnvironmentError, match="the folder above it is missing there"):
        sync(device.root, over_ssh.address("/nowhere/at/all/lake"))
    some = random.Random(7)  # noqa: S311 - numbers that nothing compresses
    samples = [[some.random() for _ in range(30_000)] for _ in range(4)]
    device.write(RUN | {"run_id": "large"}, subgraph_timings=timings(4, latency_samples_ms=samples))
    disk = disk_of("700k")
    with pytest.raises(LakeEnvironmentError, match="the disk is full"):
        sync(device.root, over_ssh.address(disk / "lake"))
    assert Lake(disk / "lake").runs().is_empty()
    assert {finding.code for finding in Lake(disk / "lake").check()} <= {"orphan"}


@pytest.mark.parametrize("below", ["runs", "subgraph_timings/hardware_id=dev"])
def test_no_link_is_followed_there(over_ssh: SshServer, device: Lake, below: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(device.root / below, outside)
    (device.root / below).symlink_to(outside)
    address = over_ssh.address(device.root)
    for pair in ((address, tmp_path / "station"), (tmp_path / "station", address)):
        Lake(tmp_path / "station").create()
        with pytest.raises(CorruptLakeError, match="a link, which is not followed") as refused:
            sync(*pair)
        assert str(refused.value).startswith(f"{address}/{below}: ")


def test_one_connection_serves_a_whole_sync(
    over_ssh: SshServer, device: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counting = tmp_path / "counting"
    counting.write_text(f'#!/bin/sh\necho >> {tmp_path}/asked\nexec {over_ssh.command()} -v -E {tmp_path}/log "$@"\n')
    counting.chmod(0o755)
    monkeypatch.setenv("LAKE_SSH", str(counting))
    sync(over_ssh.address(device.root), tmp_path / "station")
    assert len((tmp_path / "asked").read_text().splitlines()) > 2
    assert (tmp_path / "log").read_text().count("Authenticated to") == 1


def test_a_lake_on_another_machine_is_not_asked(cli: Cli) -> None:
    with pytest.raises(UsageError, match="lake sync"):
        Lake("ssh://board/lake")
    assert "lake sync" in cli("sql", "select 1", "--root", "ssh://board/lake", code=2).stderr
