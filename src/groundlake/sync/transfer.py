"""Move what one lake has and another lacks: facts first, in batches that are checked, and the ledger last."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from groundlake.commit import ensure_anchor
from groundlake.errors import CorruptLakeError, LakeNotFoundError, UsageError
from groundlake.ledger import READ_ATTEMPTS
from groundlake.maintenance.deep import broken, tampered
from groundlake.maintenance.integrity import inspect_file
from groundlake.places import names_in
from groundlake.schemas import TABLES
from groundlake.sync.folder import STAGING_PREFIX
from groundlake.sync.places import SSH, open_place
from groundlake.sync.plan import LEDGER_FOLDER, OTHER_FOLDERS, Listing, PartPath, Plan, Statements, compare
from groundlake.views import QUARANTINE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from groundlake.maintenance.integrity import Finding
    from groundlake.sync.places import Place

    Progress = Callable[[int, int, str], None]

MOST_BYTES = 64 * 2**20
MOST_FILES = 1000
"""A batch is published as a whole before the next is fetched: what a kill can make a sync fetch again."""


@dataclass
class SyncReport:
    """What a sync copied.

    Attributes:
        parts: Parquet files copied, ledger files included.
        present: Parquet files that were there before, or say nothing that is not known there.
        runs: Runs that the destination did not show before.
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


def sync(
    source: str | Path,
    destination: str | Path,
    *,
    hardware_id: str | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> SyncReport:
    """Copy to one lake what another has and it lacks; nothing is ever overwritten or removed.

    Whatever moment it is stopped at, readers of the destination see no run without its rows, and the next sync goes on.
    Both lakes may be written to, and compacted, meanwhile.

    Args:
        source: A folder, `s3://bucket/prefix` or `ssh://user@host/path`; it is only read.
        destination: One of the same; made when missing. Not both are on other machines.
        hardware_id: Copy only this device.
        dry_run: Count, and write nothing.
        on_progress: Called with the parts done, the total, and "copy".

    Raises:
        UsageError: An address cannot be a lake, there is none at the source, or it has nothing of the device.
        CorruptLakeError: A part of the source is torn, tampered with, gone, or breaks its contract; no run of it was
            published.
        LakeEnvironmentError: A place cannot be reached, read or written.
    """
    _refuse_pair(str(source), str(destination))
    transfer = _Transfer(open_place(source), open_place(destination), hardware_id, on_progress or _tell_nobody)
    report = SyncReport(dry_run=dry_run)
    for _ in range(READ_ATTEMPTS):
        try:
            transfer.run(report)
        except FileNotFoundError as error:
            gone = str(error.filename or error).splitlines()[0]  # merged by a compaction: the next plan knows where to
        else:
            return report
    raise CorruptLakeError(
        f"{source}: runs of its ledger lie in a file that is not at its place: {gone}\n"
        "`lake check` there names it: put it back, restore it from a copy, or withdraw its runs; "
        "no run of that lake was published"
    )


def _refuse_pair(source: str, destination: str) -> None:
    for place, what in ((source, "source"), (destination, "destination")):
        if not place.strip():
            raise UsageError(f"the {what} is empty; name a folder, s3://bucket/prefix or ssh://user@host/path")
    if all(place.lower().startswith(SSH) for place in (source, destination)):
        raise UsageError(f"{source} and {destination} are both on other machines; run `lake sync` on one of them")
    same = source.rstrip("/") == destination.rstrip("/")
    if same or ("://" not in source + destination and os.path.realpath(source) == os.path.realpath(destination)):
        raise UsageError(f"{source} is this lake itself: nothing to copy")
    if "://" not in source + destination:
        _refuse_folders(Path(os.path.realpath(source)), Path(os.path.realpath(destination)))


def _refuse_folders(source: Path, destination: Path) -> None:
    if source in destination.parents or destination in source.parents:
        raise UsageError(f"{source} and {destination} lie in each other; give a folder beside the other")
    there = names_in(destination)
    if there and not any(name in TABLES or name.startswith((QUARANTINE_FOLDER, STAGING_PREFIX)) for name in there):
        raise UsageError(f"{destination} is a folder with other files, and no lake; give an empty or a new folder")


def _tell_nobody(done: int, total: int, step: str) -> None:
    """Progress that nobody asked for."""


@dataclass
class _Transfer:
    """One sync: two places, and how far it is."""

    source: Place
    destination: Place
    hardware_id: str | None
    tell: Progress

    def run(self, report: SyncReport) -> None:
        """Plan and move.

        Raises:
            FileNotFoundError: A file of the source is gone since it was listed; nothing of the ledger was moved.
        """
        with TemporaryDirectory(prefix="groundlake-") as here:
            plan = self._plan(Path(here))
            report.present, report.runs = plan.present - report.parts, plan.runs
            if report.dry_run:
                report.parts, report.bytes = len(plan.facts) + len(plan.ledger), plan.size_bytes
                return
        self._move(plan, report)

    def _plan(self, here: Path) -> Plan:
        """Compare both lakes: the ledger of the source is read before its facts are listed."""
        theirs, mine = _listed(self.source, [LEDGER_FOLDER]), self._destination([LEDGER_FOLDER])
        if not theirs.sizes:
            raise LakeNotFoundError(f"no lake at {self.source}: it has no folder {LEDGER_FOLDER}")
        ledgers = (
            _ledger(self.source, theirs, self.destination, mine, here / "source"),
            _ledger(self.destination, mine, self.source, theirs, here / "destination"),
        )
        listings = (
            Listing.of({**theirs.sizes, **self.source.files(OTHER_FOLDERS)}),
            Listing.of({**mine.sizes, **self._destination(OTHER_FOLDERS).sizes}),
        )
        plan = compare(self.source, self.destination, self.hardware_id, ledgers, listings)
        gone = plan.missing_in(*listings)
        if gone:
            raise FileNotFoundError(f"{self.source}/{gone[0]}")
        return plan

    def _destination(self, folders: Sequence[str]) -> Listing:
        """List files there; a lake that is not there yet has none."""
        try:
            return _listed(self.destination, folders)
        except LakeNotFoundError:
            return Listing({}, ())

    def _move(self, plan: Plan, report: SyncReport) -> None:
        total = report.parts + len(plan.facts) + len(plan.ledger)
        self._make(plan)
        for names in (plan.facts, plan.ledger):
            if names is plan.ledger and plan.facts:
                self._require_facts(plan)
            for batch in _batches(names, plan.sizes):
                self._copy(batch, plan)
                report.parts += len(batch)
                report.bytes += sum(plan.sizes[name] for name in batch)
                self.tell(report.parts, total, "copy")

    def _make(self, plan: Plan) -> None:
        """Give the destination what every lake has: anchors, of all contract versions that come."""
        if plan.anchors:
            with self.destination.staging() as staging:
                for table in plan.anchors.values():
                    ensure_anchor(staging, table)
                self.destination.put([*plan.anchors], staging)
        for batch in _batches(plan.others, plan.sizes):
            self._copy(batch, plan)

    def _require_facts(self, plan: Plan) -> None:
        """Look once more whether all facts are there: a vacuum may have taken them for those of a dead writer."""
        lost = plan.missing_in(self._destination(OTHER_FOLDERS))
        if lost:
            raise FileNotFoundError(f"{self.destination}/{lost[0]}")

    def _copy(self, names: Sequence[str], plan: Plan) -> None:
        """Fetch, check and publish some files."""
        if self.source.local and not self.destination.local:
            self._verify(self.source.local, names, plan)
            self.destination.put(names, self.source.local)
            return
        with self.destination.staging() as staging:
            self.source.fetch(names, staging)
            self._verify(staging, names, plan)
            self.destination.put(names, staging)

    def _verify(self, base: Path, names: Sequence[str], plan: Plan) -> None:
        """Refuse a part that is torn or foreign, that is not what was written, or whose rows break the contract."""
        for part in filter(None, map(PartPath.parse, names)):
            found = _look_at(base, part, plan.recorded.get(part.name))
            if found is not None:
                raise CorruptLakeError(
                    f"{self.source}/{part.name}: {found.what.replace(f'{base}/', '')}\n"
                    "restore it there from a copy, or set it aside with `lake check --deep --repair`; "
                    "no run of that lake was published"
                )


def _look_at(base: Path, part: PartPath, recorded: tuple[int, str] | None) -> Finding | None:
    path = base / part.name
    if not path.exists():
        raise FileNotFoundError(part.name)
    found = inspect_file(base, part.table, path)
    if found is None:
        found = next(iter(broken(part.table, part.keys, path) or tampered(path, recorded)), None)
    return found


def _listed(place: Place, folders: Sequence[str]) -> Listing:
    return Listing.of(place.files(folders))


def _ledger(place: Place, listing: Listing, other: Place, others: Listing, here: Path) -> Statements:
    """Read a ledger. Files of it that lie in the other lake on this machine are not fetched: parts never change."""
    sizes = {part.name: listing.sizes[part.name] for part in listing.of_device(None)}
    if place.local:
        return Statements.read({name: place.local / name for name in sizes})
    files = {name: other.local / name for name in sizes if other.local and others.sizes.get(name) == sizes[name]}
    lacking = [name for name in sizes if name not in files]
    if lacking:
        place.fetch(lacking, here)
    try:
        return Statements.read({**files, **{name: here / name for name in lacking}})
    except CorruptLakeError as error:
        raise CorruptLakeError(str(error).replace(str(here), str(place))) from error


def _batches(names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Cut a list of files into batches of a bounded size; a larger file is one alone."""
    batch: list[str] = []
    size = 0
    for name in names:
        if batch and (size + sizes[name] > MOST_BYTES or len(batch) == MOST_FILES):
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += sizes[name]
    if batch:
        yield batch
