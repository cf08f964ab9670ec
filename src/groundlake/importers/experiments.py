"""Bring results of LLM experiments into a lake: of this project, and of the existing tool in all its layouts."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.errors import ContractViolationError, UsageError
from groundlake.experiment.identity import content_id, processes_id
from groundlake.experiment.rows import OURS
from groundlake.ground_truth.reading import Problem
from groundlake.importers.experiment_files import MALFORMED, PROCESSES, Read, read_experiments
from groundlake.importers.quarantine import known_entries, record
from groundlake.importers.report import MigrationReport, shown_lines
from groundlake.importers.zones import Zones
from groundlake.intake import fact_frame, ledger_frame, prepare, utc_now
from groundlake.layout import encode_key, new_id
from groundlake.ledger import Ledger
from groundlake.schemas import FACT_TABLES, Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from groundlake.importers.foreign import ForeignRun
    from groundlake.importers.quarantine import Entry
    from groundlake.store import Lake

    AnyRead = Read | ForeignRun

    Progress = Callable[[int, int, str], None]

    Frames = tuple[dict[str, Any], dict[str, pl.DataFrame]]


@dataclass
class ExperimentReport(MigrationReport):
    """What an import of experiments found and did; `measurements` are good results."""

    def lines(self) -> list[str]:
        """Return the report for the terminal, one line each."""
        would = "would be " if self.dry_run else ""
        lines = [
            f"{self.files} files in {self.duration_s:.1f} s; {self.measurements} good results",
            f"  experiments {would}imported {self.imported}",
            f"  there already            {self.already_present}",
        ]
        if self.twins:
            lines.append(f"  copies of these          {self.twins}")
        if self.withdrawn:
            lines.append(f"  left out: retracted in the lake {self.withdrawn}")
        if self.skipped:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.skipped.items()))
            lines.append(f"  recognised and skipped   {kinds}")
        for name, counts in sorted(self.by_hardware.items()):
            lines.append(f"  {name}: {counts.imported} imported, {counts.already_present} there already")
        if self.warnings:
            codes = ", ".join(f"{code} {count}" for code, count in sorted(self.warnings.items()))
            lines.append(f"warnings on {would}imported experiments: {codes}")
        said = [f"{entry.uri}: {entry.code}: {entry.reason}; {entry.what_to_do}" for entry in self.quarantined]
        return lines + shown_lines(f"set aside ({self.newly_quarantined} new)", said)


FIGURES = ("experiment_id", "total_tokens", "output_tokens", "inference_time_s", "wall_time_s")
"""What two results with one id of their own have to agree on to be the same experiment."""


@dataclass
class _Known:
    """Run ids in the ledger of any device, those of them that were withdrawn, and what some say.

    Attributes:
        ids: Run id to device.
        withdrawn: Run ids that were withdrawn.
        figures: Run id to what the experiment says, of those with an id of their own that come again.
        wholes: Id of an experiment by its processes to the run id of its whole result.
    """

    ids: dict[str, str] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    figures: dict[str, tuple[object, ...]] = field(default_factory=dict)
    wholes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, lake: Lake, reads: Sequence[AnyRead]) -> _Known:
        if not lake.exists:
            return cls()
        ledger = Ledger(lake.root)
        ids = {run: name for name in ledger.hardware_ids() for run in ledger.all_rows(name)["run_id"]}
        known = cls(ids, ids.keys() - set(lake.runs()["run_id"]))
        own = [read.run_id for read in reads if isinstance(read, Read) and read.has_own_id and read.run_id in ids]
        if own or any(read.layout == PROCESSES for read in reads):
            known.ask(lake)
        return known

    def ask(self, lake: Lake) -> None:
        """Ask the lake what its experiments say of themselves."""
        rows = lake.sql(
            f"SELECT run_id, r.source_measurement_date, e.result_layout, {', '.join(f'e.{name}' for name in FIGURES)} "  # noqa: S608 - names that stand above
            "FROM experiments e JOIN runs r USING (run_id)"
        ).rows()
        for run_id, started, layout, *figures in rows:
            self.figures[run_id] = tuple(figures)
            if layout not in {None, OURS}:
                self.wholes[processes_id(figures[0], started, figures[1])] = run_id

    def id_of(self, read: AnyRead) -> str | None:
        """Run id under which a result is there, whole or as its processes; None where it is new."""
        if read.run_id in self.ids:
            return read.run_id
        as_processes = read.processes_id if isinstance(read, Read) else None
        if as_processes in self.ids:
            return as_processes
        return self.wholes.get(str(as_processes)) if read.layout == PROCESSES else None

    def device_of(self, read: AnyRead) -> str | None:
        """Device of a result that is there already; None where it is new."""
        return self.ids.get(str(self.id_of(read)))

    def conflict(self, read: AnyRead, frames: Frames) -> Problem | None:
        """Whether the run in the lake with the id of this result is another experiment."""
        there = self.figures.get(read.run_id)
        if there is None or not (isinstance(read, Read) and read.has_own_id):
            return None
        here = tuple(frames[1]["experiments"].row(0, named=True).get(name) for name in FIGURES)
        if here == there:
            return None
        name, one, other = next(each for each in zip(FIGURES, here, there, strict=True) if each[1] != each[2])
        return Problem("conflicting_id", "", f"the lake has run {read.run_id} with {name} {other}, here it is {one}")


def import_experiments(
    lake: Lake,
    paths: Sequence[Path],
    *,
    hardware_id: str | None = None,
    zones: Zones | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> ExperimentReport:
    """Import results of experiments; importing them again, from wherever they lie then, adds nothing.

    Args:
        lake: Where to; made when missing.
        paths: `result.json` files, folders of results, or trees of them; also those of the existing tool, with
            `aggregated/`, `raw/<experiment>/process_<i>.json` and `*_v2.0.json` files, of optimum-benchmark, AIPerf.
        hardware_id: Device of all of them; None takes what each result tells of its GPU.
        zones: Zones of times without one; UTC is assumed elsewhere.
        dry_run: Report what would be done, and write nothing.
        on_progress: Called with what is done of a step, its total, and the step ("read", "write").

    Returns:
        What was done. Bad files are in its `quarantined`; they do not stop the import, and are tried again next time.

    Raises:
        UsageError: A path does not exist, or no result says which device it was measured on.
        LakeEnvironmentError: The disk is full, or may not be written.
    """
    started = time.perf_counter()
    tell = on_progress or _tell_nobody
    report = ExperimentReport(dry_run=dry_run, import_id=new_id())
    reading = read_experiments(paths, tell)
    reads: list[AnyRead] = [*reading.results, *reading.foreign]
    report.files, report.measurements = reading.files, len(reads)
    report.skipped = dict(reading.skipped)
    report.quarantined = list(reading.quarantined)
    known = _Known.of(lake, reads)
    named = [(read, hardware_id or read.told_hardware or known.device_of(read)) for read in reads]
    _refuse_all_unknown(named)
    zones = zones or Zones()
    _refuse_idle_zones(zones, {name for _, name in named if name})
    new = _plan(named, zones, known, report)
    report.warnings = Counter(text.split(":")[0] for row, _ in new for text in row["warnings"] or ())
    if dry_run:
        report.newly_quarantined = len({entry.identity for entry in report.quarantined} - known_entries(lake))
    else:
        _write(lake, new, tell)
        report.newly_quarantined = record(lake, report.quarantined, report.import_id, utc_now())
    report.duration_s = time.perf_counter() - started
    return report


def runs_of(paths: Sequence[Path], *, hardware_id: str | None = None) -> tuple[list[Frames], list[Entry]]:
    """Read results as the runs that an import would write, without a lake.

    Args:
        paths: As for `import_experiments`.
        hardware_id: Device of all; None takes what each result tells, else `unknown`.

    Returns:
        The runs, copies of one another once, and what cannot be read.
    """
    reading = read_experiments(paths, _tell_nobody)
    report = ExperimentReport(dry_run=True, import_id="")
    reads: list[AnyRead] = [*reading.results, *reading.foreign]
    named = [(read, hardware_id or read.told_hardware or "unknown") for read in reads]
    return _plan(named, Zones(), _Known(), report), [*reading.quarantined, *report.quarantined]


def _plan(
    named: Iterable[tuple[AnyRead, str | None]], zones: Zones, known: _Known, report: ExperimentReport
) -> list[Frames]:
    """Decide what becomes of each result; those that are new come back as runs."""
    new: list[Frames] = []
    taken: dict[str, AnyRead] = {}
    for read, name in named:
        if name is None:
            what = "it names no GPU, and no hardware_id is given"
            report.quarantined.append(read.set_aside(Problem("unknown_device", "", what)))
            continue
        frames = _frames(read, name, zones)
        there = known.id_of(read)
        if not isinstance(frames, Problem):
            frames = _other_with_its_id(read, taken) or known.conflict(read, frames) or frames
        if isinstance(frames, Problem):
            report.quarantined.append(read.set_aside(frames))
            continue
        if read.run_id in taken:
            report.twins += 1
        elif there in known.withdrawn:
            report.withdrawn += 1
        elif there is not None:
            report.of(known.ids[there]).already_present += 1
            report.already_present += 1
        else:
            new.append(frames)
            report.of(name).imported += 1
            report.imported += 1
        taken[read.run_id] = read
        if isinstance(read, Read) and read.processes_id is not None:
            taken.setdefault(read.processes_id, read)
    return new


def _other_with_its_id(read: AnyRead, taken: Mapping[str, AnyRead]) -> Problem | None:
    """Whether another result of this import has the id that stands in this one, and says something else."""
    first = taken.get(read.run_id)
    if not (isinstance(read, Read) and isinstance(first, Read) and read.has_own_id):
        return None
    if content_id(read.result) == content_id(first.result):
        return None
    text = f"{first.sources[0]['uri']} has the same id, {read.run_id}, and other content"
    return Problem("conflicting_id", "", text)


def _frames(read: AnyRead, hardware_id: str, zones: Zones) -> Frames | Problem:
    """The run of a result, checked against all contracts: one that breaks them must not stop the others."""
    zone = zones.by_hardware.get(hardware_id, zones.default)
    try:
        row, frames = read.frames(hardware_id, zone)
        for name in ("hardware_id", "precision", "model"):
            encode_key(row[name])
    except UsageError as error:
        return Problem("bad_key", "", str(error).replace("\n", "; "))
    except (*MALFORMED, pl.exceptions.PolarsError) as error:
        return _too_large(error)
    try:
        prepared = prepare(row, frames)
        for name in prepared.frames:
            FACT_TABLES[name].check(fact_frame(FACT_TABLES[name], [prepared], "checked"))
        Runs.check(ledger_frame([prepared], "checked"))
    except (ContractViolationError, UsageError) as error:
        return Problem("contract", "", str(error).replace("\n", "; "))
    except (*MALFORMED, pl.exceptions.PolarsError) as error:
        return _too_large(error)
    return row, frames


def _too_large(error: Exception) -> Problem:
    said = str(error).split("\n", 1)[0]
    return Problem("contract", "", f"a figure that no table can hold: {said}")


def _write(lake: Lake, new: list[Frames], tell: Progress) -> None:
    written = 0

    def published(count: int) -> None:
        nonlocal written
        written += count
        tell(written, len(new), "write")

    lake.write_many(new, on_published=published)


def _refuse_all_unknown(named: Sequence[tuple[AnyRead, str | None]]) -> None:
    if named and all(name is None for _, name in named):
        raise UsageError(
            f"no result says on which device it was measured, the first is {named[0][0].sources[0]['uri']}\n"
            "name the device of all of them with --hw ID; `lake hw list` has the ids of known devices"
        )


def _refuse_idle_zones(zones: Zones, found: set[str]) -> None:
    idle = sorted(set(zones.by_hardware) - found)
    if idle:
        raise UsageError(
            f"--tz {idle[0]}=...: no result was measured on {idle[0]!r}\n"
            f"devices that were found: {', '.join(sorted(found)) or 'none'}"
        )


def _tell_nobody(done: int, total: int, step: str) -> None:
    """Progress that nobody asked for."""
