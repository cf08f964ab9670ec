"""Bring trees of v1 and v2 JSON measurements into a lake."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from groundlake.errors import UsageError
from groundlake.importers.candidates import Candidate, Skipped, read_candidate
from groundlake.importers.files import Found, Walk, walk
from groundlake.importers.frames import KEPT_BYTES, FrameStore
from groundlake.importers.ledger_state import LedgerState
from groundlake.importers.manifests import compare
from groundlake.importers.metadata import FailedAttempt, read_attempts
from groundlake.importers.quarantine import Entry, known_entries, record
from groundlake.importers.report import MigrationReport
from groundlake.importers.resolve import Plan, resolve
from groundlake.importers.rows import expected_flops, ledger_row
from groundlake.importers.zones import Zones
from groundlake.intake import utc_now
from groundlake.layout import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from groundlake.store import Lake

    Progress = Callable[[int, int, str], None]
    """Called with how many are done, how many there are, and the present step."""


@dataclass
class _Input:
    """Everything that was read, before anything is decided."""

    candidates: list[Candidate] = field(default_factory=list)
    attempts: list[FailedAttempt] = field(default_factory=list)
    quarantined: list[Entry] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    _states: dict[str, LedgerState] = field(default_factory=dict)

    def state(self, lake: Lake, hardware_id: str) -> LedgerState:
        """What the ledger says about a device, read when first asked for."""
        if hardware_id not in self._states:
            self._states[hardware_id] = LedgerState.read(lake, hardware_id)
        return self._states[hardware_id]

    def hardware_ids(self) -> set[str]:
        """Devices with a good file or a failed attempt."""
        return {file.hardware_id for file in self.candidates} | {attempt.hardware_id for attempt in self.attempts}

    def keep_only(self, hardware_id: str, others: set[str]) -> None:
        """Leave out the files of all other devices; some may have been left out unread."""
        if hardware_id not in self.hardware_ids():
            there = ", ".join(sorted(self.hardware_ids() | others)) or "none"
            raise UsageError(f"no measurements of {hardware_id} in these folders; there are {there}")
        before = len(self.candidates)
        self.candidates = [file for file in self.candidates if file.hardware_id == hardware_id]
        self.attempts = [attempt for attempt in self.attempts if attempt.hardware_id == hardware_id]
        self.skipped["other_device"] += before - len(self.candidates)


def migrate_v1(
    lake: Lake,
    roots: Sequence[Path],
    *,
    hardware_id: str | None = None,
    zones: Zones | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
    kept_bytes: int = KEPT_BYTES,
) -> MigrationReport:
    """Import JSON measurements in any of the four layouts; running it again changes nothing.

    Args:
        lake: Where to; made when missing.
        roots: `calibration_data`, `measurements`, a parent of both, or folders of single devices.
        hardware_id: Import only this device; the files of others are counted as skipped.
        zones: Time zones of dates without one; UTC is assumed elsewhere.
        dry_run: Report what would be done, and write nothing.
        on_progress: Called with what is done of a step, its total, and the step ("read", "write").
        kept_bytes: Memory for rows between reading and writing.

    Returns:
        What was done. Bad files are in its `quarantined`; they do not stop the import.

    Raises:
        UsageError: A root does not exist, or `hardware_id` or a zone is of a device that is not there.
    """
    started = time.perf_counter()
    tell = on_progress or _tell_nobody
    zones = zones or Zones()
    report = MigrationReport(dry_run=dry_run, import_id=new_id())
    found = walk(roots)
    others = found.keep_only(hardware_id) if hardware_id is not None else set()
    frames = FrameStore(kept_bytes)
    read = _read(lake, found, zones, frames, tell)
    _refuse_idle_zones(zones, read.hardware_ids() | others)
    if hardware_id is not None:
        read.keep_only(hardware_id, others)
    plans = _plan(lake, read)
    attempts = _new_attempts(lake, read)
    new = [run for plan in plans.values() for run in plan.new]
    usual = expected_flops(lake, read.candidates)
    rows = [ledger_row(run, zones, usual) for run in new]
    report.files = found.total
    report.warnings = Counter(text.split(":")[0] for row in rows for text in row["warnings"] or ())
    report.manifest_differences = [each for file in found.manifests for each in compare(file, read.candidates)]
    _count(report, read, plans, attempts)
    if dry_run:
        report.newly_quarantined = len({entry.identity for entry in report.quarantined} - known_entries(lake))
    else:
        timed = ((row, {"subgraph_timings": frames.take(run.best)}) for run, row in zip(new, rows, strict=True))
        no_frames: dict[str, pl.DataFrame] = {}
        failed = ((attempt.run, no_frames) for attempt in attempts)
        _write(lake, plans, chain(timed, failed), len(new) + len(attempts), tell)
        report.newly_quarantined = record(lake, report.quarantined, report.import_id, utc_now())
    report.duration_s = time.perf_counter() - started
    return report


def _plan(lake: Lake, read: _Input) -> dict[str, Plan]:
    """Decide device by device what becomes of the good files."""
    by_hardware: dict[str, list[Candidate]] = defaultdict(list)
    for file in read.candidates:
        by_hardware[file.hardware_id].append(file)
    return {name: resolve(files, read.state(lake, name)) for name, files in sorted(by_hardware.items())}


def _tell_nobody(done: int, total: int, step: str) -> None:
    """Progress that nobody asked for."""


def _read(lake: Lake, found: Walk, zones: Zones, frames: FrameStore, tell: Progress) -> _Input:
    """Read every file once."""
    read = _Input(skipped=Counter(found.skipped))
    read.quarantined += [Entry.of(folder.uri, None, None, problem) for folder, problem in found.unreadable]
    _read_measurements(lake, found.json, frames, tell, read)
    for file in found.metadata:
        for attempt in read_attempts(file, zones):
            if isinstance(attempt, Entry):
                read.quarantined.append(attempt)
            else:
                read.attempts.append(attempt)
    return read


def _read_measurements(lake: Lake, files: Sequence[Found], frames: FrameStore, tell: Progress, read: _Input) -> None:
    """Sort files into `read`; rows are kept for the first file of each content that the lake does not have."""
    seen: set[tuple[str, str]] = set()
    for done, file in enumerate(sorted(files, key=lambda found: found.uri), start=1):
        result = read_candidate(file)
        if isinstance(result, Entry):
            read.quarantined.append(result)
        elif isinstance(result, Skipped):
            read.skipped[result.kind] += 1
        else:
            candidate, columns = result
            read.candidates.append(candidate)
            known = read.state(lake, candidate.hardware_id).ids
            if candidate.content not in seen and candidate.run_id not in known:
                frames.add(candidate, columns)
            seen.add(candidate.content)
        tell(done, len(files), "read")
    frames.flush()
    refused = [file for file in read.candidates if file.content in frames.refused]
    read.quarantined += [file.refuse("contract", frames.refused[file.content]) for file in refused]
    read.candidates = [file for file in read.candidates if file.content not in frames.refused]


def _refuse_idle_zones(zones: Zones, found: set[str]) -> None:
    """A zone for a device that is not there is a slip of the pen, and its dates would be an hour or six off."""
    idle = sorted(set(zones.by_hardware) - found)
    if idle:
        raise UsageError(
            f"--tz {idle[0]}=...: these folders have no measurements of {idle[0]!r}\n"
            f"devices that were found: {', '.join(sorted(found)) or 'none'}"
        )


def _new_attempts(lake: Lake, read: _Input) -> list[FailedAttempt]:
    """Failed attempts that the lake does not have; one that is listed twice counts once."""
    once = {(attempt.hardware_id, attempt.run_id): attempt for attempt in read.attempts}
    return [attempt for (name, run_id), attempt in sorted(once.items()) if run_id not in read.state(lake, name).ids]


def _count(report: MigrationReport, read: _Input, plans: Mapping[str, Plan], attempts: Sequence[FailedAttempt]) -> None:
    report.measurements = len(read.candidates)
    report.failed_attempts = len(attempts)
    report.skipped = {kind: count for kind, count in read.skipped.items() if count}
    report.quarantined = list(read.quarantined)
    for name, plan in plans.items():
        counts = report.of(name)
        counts.imported, counts.already_present, counts.twins = len(plan.new), plan.present, plan.twins
        report.withdrawn += plan.withdrawn
        report.retracted += len(plan.retractions)
        report.quarantined += plan.quarantined
    for attempt in attempts:
        report.of(attempt.hardware_id).failed_attempts += 1
    report.imported = sum(counts.imported for counts in report.by_hardware.values())
    report.already_present = sum(counts.already_present for counts in report.by_hardware.values())
    report.twins = sum(counts.twins for counts in report.by_hardware.values())


def _write(
    lake: Lake,
    plans: Mapping[str, Plan],
    runs: Iterable[tuple[dict[str, object], dict[str, pl.DataFrame]]],
    total: int,
    tell: Progress,
) -> None:
    """Withdraw what canonical files contradict, then publish the new runs, at most 100 of a device at once."""
    for plan in plans.values():
        for retraction in plan.retractions:
            lake.retract(retraction.run_id, retraction.hardware_id, retraction.why)
    written = 0

    def published(count: int) -> None:
        nonlocal written
        written += count
        tell(written, total, "write")

    lake.write_many(runs, on_published=published)
