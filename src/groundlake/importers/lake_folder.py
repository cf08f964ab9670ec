"""Bring in a folder from a device: another lake, whose parts are copied, or JSON measurements."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from groundlake.commit import environment_error, publish, sync_folders, write_atomically
from groundlake.errors import ContractViolationError, CorruptLakeError, UsageError
from groundlake.importers.v1_tree import migrate_v1
from groundlake.layout import STAGED_SUFFIX, PartName, anchor_folders, decode_key
from groundlake.ledger import Ledger, leaf_files, read_parts
from groundlake.maintenance.integrity import inspect_file
from groundlake.parts import Staged
from groundlake.schemas import FACT_TABLES, TABLES, Runs
from groundlake.store import Lake
from groundlake.views import QUARANTINE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from groundlake.importers.report import MigrationReport
    from groundlake.importers.zones import Zones

    Progress = Callable[[int, int, str], None]

STATEMENT = ("run_id", "revision", "placement", "part")
"""What identifies a row of the ledger."""


@dataclass
class ImportReport:
    """What a merge of another lake copied.

    Attributes:
        parts: Parquet files copied, ledger files included.
        present: Parquet files that were there before.
        runs: Runs that this lake did not show before.
        bytes: Size of the copied files in bytes.
    """

    dry_run: bool
    parts: int = 0
    present: int = 0
    runs: int = 0
    bytes: int = 0

    @property
    def set_aside(self) -> int:
        """Always 0: what cannot be copied raises."""
        return 0

    def lines(self) -> list[str]:
        """Return the report for the terminal, one line each."""
        would = "would be " if self.dry_run else ""
        return [f"{self.runs} new runs; {self.parts} parts {would}copied ({self.bytes} bytes), {self.present} present"]


def import_folder(
    lake: Lake,
    folder: str | Path,
    *,
    hardware_id: str | None = None,
    zones: Zones | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> MigrationReport | ImportReport:
    """Import whatever a device brought: a lake folder (it has `runs/`), or v1 and v2 JSON measurements.

    Args:
        lake: Where to; made when missing.
        folder: Where from.
        hardware_id: Import only this device.
        zones: Time zones of dates in JSON files that have none.
        dry_run: Report what would be done, and write nothing.
        on_progress: Called with what is done, the total, and the present step.

    Raises:
        UsageError: The folder does not exist, or has nothing of the device.
        CorruptLakeError: A part of the other lake is torn, or breaks its contract; no run of it was published.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UsageError(f"nothing to import at {path}: it is not a folder")
    if (path / "runs").is_dir():
        return merge_lake(lake, Lake(path), hardware_id=hardware_id, dry_run=dry_run, on_progress=on_progress)
    return migrate_v1(lake, [path], hardware_id=hardware_id, zones=zones, dry_run=dry_run, on_progress=on_progress)


def merge_lake(
    lake: Lake,
    other: Lake,
    *,
    hardware_id: str | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> ImportReport:
    """Copy the parts of another lake that this one lacks: fact tables first, the ledger last.

    A kill on the way leaves invisible parts only, and the next merge takes up there. The other lake may be written
    to meanwhile: its ledger is listed before its facts, so that no run arrives without its rows.

    Args:
        lake: Where to; made when missing.
        other: Where from; it is only read.
        hardware_id: Copy only this device.
        dry_run: Count, and write nothing.
        on_progress: Called with the parts done, the total, and "copy".
    """
    if os.path.realpath(lake.root) == os.path.realpath(other.root):
        raise UsageError(f"{other.root} is this lake itself: nothing to import")
    report, facts, ledger = _plan(lake, other, hardware_id, dry_run=dry_run)
    if dry_run:
        return report
    lake.create()
    try:
        _copy(_missing_anchors(lake, other), lake, other, lambda _: None)
        for group in (facts, ledger):
            _copy(group, lake, other, lambda done: on_progress(done, report.parts, "copy") if on_progress else None)
        _copy_quarantine(lake, other)
    except OSError as error:
        raise environment_error(error, lake.root) from error
    return report


def _plan(
    lake: Lake, other: Lake, hardware_id: str | None, *, dry_run: bool
) -> tuple[ImportReport, list[Path], list[Path]]:
    """Compare two lakes: the report, and the fact and ledger files that the first one lacks."""
    ledger = Ledger(other.root)
    names = ledger.hardware_ids()
    if hardware_id is not None and hardware_id not in names:
        raise UsageError(f"no runs of {hardware_id} in {other.root}; there are {', '.join(names) or 'none'}")
    names = names if hardware_id is None else [hardware_id]
    ledger_files = [path for name in names for path in ledger.files(name)]
    known = _statements(Ledger(lake.root))
    wanted = {part for name in names for part in ledger.all_rows(name)["part"]}
    facts = [path for path in _fact_files(other.root) if _part(path) in wanted]
    missing_facts = [path for path in facts if not _is_there(lake, other, path)]
    missing_ledger = [path for path in ledger_files if not _is_there(lake, other, path) and not _says(path) <= known]
    missing = [*missing_facts, *missing_ledger]
    report = ImportReport(
        dry_run=dry_run,
        parts=len(missing),
        present=len(facts) + len(ledger_files) - len(missing),
        runs=len({run for run in _shown(other) - _shown(lake) if run[0] in names}),
        bytes=sum(path.stat().st_size for path in missing),
    )
    return report, missing_facts, missing_ledger


def _statements(ledger: Ledger) -> set[tuple[str, int, int, str]]:
    """Every statement of a ledger: a compaction moves them to other files, unchanged."""
    rows = [ledger.all_rows(name).select(STATEMENT).rows() for name in ledger.hardware_ids()]
    return {row for group in rows for row in group}


def _says(path: Path) -> set[tuple[str, int, int, str]]:
    return set(read_parts(Runs, [path], {"hardware_id": ""}).select(STATEMENT).rows())


def _fact_files(root: Path) -> Iterator[Path]:
    for table in FACT_TABLES.values():
        yield from (path for _, path in leaf_files(root, table, {}))


def _missing_anchors(lake: Lake, other: Lake) -> list[Path]:
    """Anchors of contract versions that this lake has no parts of yet: they keep a version's glob from emptying."""
    folders = [other.root / folder for table in TABLES.values() for folder in anchor_folders(table)]
    anchors = [path for folder in folders for path in sorted(folder.glob("anchor.v*.parquet"))]
    return [path for path in anchors if not (lake.root / path.relative_to(other.root)).exists()]


def _part(path: Path) -> str:
    name = PartName.parse(path.name)
    return name.part if name else ""


def _shown(lake: Lake) -> set[tuple[str, str]]:
    if not lake.exists:
        return set()
    return set(lake.runs().select("hardware_id", "run_id").iter_rows())


def _is_there(lake: Lake, other: Lake, path: Path) -> bool:
    """Whether this lake has the part; parts never change, so a size that differs means a damaged copy."""
    mine = lake.root / path.relative_to(other.root)
    if not mine.exists():
        return False
    if mine.stat().st_size != path.stat().st_size:
        raise CorruptLakeError(
            f"{mine} and {path} have the same name and different sizes: one of them is damaged\n"
            "`lake check` on both lakes says which"
        )
    return True


def _copy(paths: list[Path], lake: Lake, other: Lake, on_copied: Callable[[int], None]) -> None:
    """Check parts against their contracts, copy them under temporary names, then give them their names."""
    staged: list[Staged] = []
    try:
        for done, path in enumerate(paths, start=1):
            _verify(other.root, path)
            final = lake.root / path.relative_to(other.root)
            final.parent.mkdir(parents=True, exist_ok=True)
            staged.append(Staged(final.with_name(f"{final.name}.{os.getpid()}{STAGED_SUFFIX}"), final))
            _copy_file(path, staged[-1].temporary)
            on_copied(done)
        for part in staged:
            publish(part)
    finally:
        for part in staged:
            part.temporary.unlink(missing_ok=True)
    sync_folders((part.final.parent for part in staged), lake.root)


def _copy_file(source: Path, target: Path) -> None:
    content = source.read_bytes()
    with target.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _verify(root: Path, path: Path) -> None:
    """Refuse a part that is torn or foreign, or whose rows break the contract: every write is checked, a copy too."""
    table = TABLES[path.relative_to(root).parts[0]]
    finding = inspect_file(root, table, path)
    if finding is not None:
        raise CorruptLakeError(
            f"{path}: {finding.what}\ncopy it again from the device; no run of that lake was published"
        )
    keys = {
        name: decode_key(value)
        for name, value in (part.split("=", 1) for part in path.parent.parts[-len(table.keys()) :])
    }
    typed = {name: int(value) if name == "batch" else value for name, value in keys.items()}
    try:
        table.check(read_parts(table, [path], typed))
    except ContractViolationError as error:
        raise CorruptLakeError(
            f"{path}: its rows break the contract, so no run of that lake was published\n{error}"
        ) from error


def _copy_quarantine(lake: Lake, other: Lake) -> None:
    """What the other lake set aside stays known."""
    for path in sorted((other.root / QUARANTINE_FOLDER).glob("*.jsonl")):
        mine = lake.root / QUARANTINE_FOLDER / path.name
        if not mine.exists():
            mine.parent.mkdir(exist_ok=True)
            write_atomically(mine, path.read_bytes())
