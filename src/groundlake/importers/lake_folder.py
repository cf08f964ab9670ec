"""Bring in what a device recorded: another lake, whose parts are copied, or JSON measurements."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from groundlake.errors import LakeNotFoundError, UsageError
from groundlake.importers.v1_tree import migrate_v1
from groundlake.sync import sync
from groundlake.sync.places import SSH
from groundlake.sync.ssh import SshPlace

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundlake.importers.report import MigrationReport
    from groundlake.importers.zones import Zones
    from groundlake.store import Lake
    from groundlake.sync import SyncReport

    Progress = Callable[[int, int, str], None]


def import_folder(
    lake: Lake,
    folder: str | Path,
    *,
    hardware_id: str | None = None,
    zones: Zones | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> MigrationReport | SyncReport:
    """Import whatever a device recorded: a lake (it has `runs/`), or v1 and v2 JSON measurements.

    Args:
        lake: Where to; made when missing.
        folder: Where from: a folder here, or one on another machine, `ssh://user@host/path`; or a lake in object
            storage, `s3://bucket/prefix`.
        hardware_id: Import only this device.
        zones: Time zones of dates in JSON files that have none.
        dry_run: Report what would be done, and write nothing.
        on_progress: Called with what is done, the total, and the present step.

    Raises:
        UsageError: The folder does not exist, or has nothing of the device; or zones are given for a lake.
        CorruptLakeError: A part of the other lake is torn, or breaks its contract; no run of it was published.
        LakeEnvironmentError: The other machine cannot be reached.
    """
    if not is_lake(folder):
        with TemporaryDirectory(prefix="groundlake-") as here:
            tree = _fetched(str(folder), Path(here)) if _is_elsewhere(folder) else Path(folder)
            return migrate_v1(
                lake, [tree], hardware_id=hardware_id, zones=zones, dry_run=dry_run, on_progress=on_progress
            )
    if zones:
        raise UsageError(f"--tz: {folder} is a lake, whose times are UTC already; leave it out")
    return sync(folder, lake.root, hardware_id=hardware_id, dry_run=dry_run, on_progress=on_progress)


def is_lake(folder: str | Path) -> bool:
    """Whether a lake lies there, rather than a tree of JSON files.

    Raises:
        UsageError: There is no such folder.
        LakeEnvironmentError: The other machine cannot be reached.
    """
    if _is_elsewhere(folder):
        try:
            return bool(SshPlace(str(folder)).files(["runs"]))
        except LakeNotFoundError as error:
            raise UsageError(f"nothing to import at {folder}: there is no such folder") from error
    if "://" in str(folder):
        return True
    if not Path(folder).is_dir():
        raise UsageError(f"nothing to import at {folder}: it is not a folder")
    return (Path(folder) / "runs").is_dir()


def _is_elsewhere(folder: str | Path) -> bool:
    return str(folder).lower().startswith(SSH)


def _fetched(address: str, here: Path) -> Path:
    """Copy the JSON files of a folder on another machine, below its name: that is what their runs remember."""
    place = SshPlace(address)
    tree = here / place.name
    tree.mkdir()
    place.fetch_tree("*.json", tree)
    return tree
