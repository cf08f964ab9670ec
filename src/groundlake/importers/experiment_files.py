"""Find results of LLM experiments below folders, and read them: of this project and of the existing tool."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from groundlake.errors import CorruptLakeError, UsageError
from groundlake.experiment.aggregation import aggregate
from groundlake.experiment.base import ImplausibleWarning
from groundlake.experiment.identity import processes_id
from groundlake.experiment.reading import layout_of, result_of
from groundlake.experiment.result import ExperimentResult
from groundlake.experiment.rows import OURS, ExperimentRun
from groundlake.experiment.settings import hardware_of
from groundlake.ground_truth.reading import Problem, parse_json
from groundlake.importers.files import Found, read_bytes, walk
from groundlake.importers.foreign_files import ForeignFiles, is_records
from groundlake.importers.quarantine import Entry

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import polars as pl

    from groundlake.experiment.result import RawProcessResult
    from groundlake.importers.foreign import ForeignRun

PROCESSES = "processes"
"""Layout of results of single processes that were put together here."""

MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What code raises on values of kinds that it did not foresee: one such file must not stop the import of others."""

_PROCESS_FILE = re.compile(r"process_\d+\.json")
_RESULT_FILE = re.compile(r"result\.json|.*_v\d+(\.\d+)*\.json")
_EMPTY: dict[str, Any] = dict.fromkeys(("total_tokens", "total_energy_j", "avg_tokens_per_second", "total_flops"))


@dataclass(frozen=True, kw_only=True)
class Read:
    """One result that was read.

    Attributes:
        result: The result.
        layout: Its layout, told by its fields.
        sources: Files it was read from: uri, sha256, layout.
        path: The first of them.
        run_id: Id of its run: of what its file says by itself, whatever lies beside it.
        doubts: What is doubtful about the files, each as `code: text`.
    """

    result: ExperimentResult
    layout: str
    sources: list[dict[str, str]]
    path: Path
    run_id: str
    doubts: list[str] = field(default_factory=list)

    @property
    def told_hardware(self) -> str | None:
        """Id of the device that the result names."""
        return hardware_of(self.result)

    @property
    def has_own_id(self) -> bool:
        """Whether the id stands in the file, and is not made of what it says."""
        return self.run_id == self.result.experiment_id

    @property
    def processes_id(self) -> str | None:
        """Id of the same experiment where only the results of its processes are there; None for one of ours."""
        if self.layout == OURS:
            return None
        started = None if self.result.start_time is None else self.result.start_time.isoformat()
        return processes_id(self.result.experiment_id, started, self.result.total_tokens)

    def frames(self, hardware_id: str, zone: dt.tzinfo | None) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
        """Columns of the ledger, and the rows of each table."""
        run = ExperimentRun.of(self.result, hardware_id, run_id=self.run_id, layout=self.layout, zone=zone)
        row, frames = run.to_frames()
        return row | {"sources": self.sources, "warnings": [*(row["warnings"] or ()), *self.doubts] or None}, frames

    def set_aside(self, problem: Problem) -> Entry:
        """Entry of the quarantine for a result that cannot be imported."""
        first = self.sources[0]
        return Entry.of(first["uri"], first["sha256"], self.layout, problem)


@dataclass
class Reading:
    """Everything below the given paths."""

    results: list[Read] = field(default_factory=list)
    foreign: list[ForeignRun] = field(default_factory=list)
    quarantined: list[Entry] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    files: int = 0


@dataclass(frozen=True)
class _Process:
    found: Found
    sha256: str
    data: dict[str, Any]

    @property
    def source(self) -> dict[str, str]:
        return {"uri": self.found.uri, "sha256": self.sha256, "layout": layout_of(self.data)}


@dataclass
class _Folder:
    """Results of the processes of one experiment, and whether one of its files is bad."""

    processes: list[_Process] = field(default_factory=list)
    broken: Found | None = None


def read_experiments(paths: Iterable[Path], tell: Callable[[int, int, str], None]) -> Reading:
    """Read every result below the paths; a bad file is set aside, and the others are read.

    Args:
        paths: Files, folders of results, or trees of them.
        tell: Called with the files done, their number, and "read".

    Raises:
        UsageError: A path does not exist.
    """
    found, reading, named = _found(list(paths))
    folders: dict[Path, _Folder] = defaultdict(_Folder)
    others = ForeignFiles()
    for done, file in enumerate(found, start=1):
        if file.path.suffix.lower() == ".jsonl":
            others.lines.append(file)
        else:
            _read_file(file, reading, folders, others, is_named=file.path in named)
        tell(done, len(found), "read")
    for folder in folders.values():
        _put_together(folder, reading)
    for each in others.read(reading.skipped):
        if isinstance(each, Entry):
            reading.quarantined.append(each)
        else:
            reading.foreign.append(each)
    return reading


def _found(paths: list[Path]) -> tuple[list[Found], Reading, set[Path]]:
    """Files that may be results, and those that the user named."""
    reading = Reading()
    files = [path.absolute() for path in paths if path.is_file()]
    folders = [path for path in paths if not path.is_file()]
    for path in folders:
        if not path.exists():
            raise UsageError(f"nothing to import at {path}: there is no such file or folder")
    below = walk(folders)
    reading.skipped = Counter({kind: count for kind, count in below.skipped.items() if count})
    reading.quarantined = [Entry.of(folder.uri, None, None, problem) for folder, problem in below.unreadable]
    by_path = {file: Found(file, f"{file.parent.name}/{file.name}") for file in files}
    lines = [file for file in below.lines if is_records(file)]
    reading.skipped -= Counter(other=len(lines))
    by_path |= {file.path: file for file in (*below.json, *lines)}
    reading.files = len(by_path) + sum(reading.skipped.values())
    return sorted(by_path.values(), key=lambda file: file.uri), reading, set(files)


def _read_file(
    file: Found, reading: Reading, folders: dict[Path, _Folder], others: ForeignFiles, *, is_named: bool
) -> None:
    """Sort one file in: a result, the result of a process, something else, or set aside."""
    raw, sha256, problem = read_bytes(file.path)
    data: Any = None
    if problem is None:
        data, problem = parse_json(raw)
    is_process = bool(_PROCESS_FILE.fullmatch(file.path.name))
    if problem is None and not _is_experiment(data):
        if others.takes(file, str(sha256), data):
            return
        if not (is_named or is_process or _RESULT_FILE.fullmatch(file.path.name)):
            reading.skipped["other_json"] += 1
            return
        problem = Problem("no_experiment", "", "it has none of the fields of a result")
    if problem is not None:
        reading.quarantined.append(Entry.of(file.uri, sha256, None, problem))
        if is_process:
            folders[file.path.parent].broken = file
    elif "process_index" in data:
        folders[file.path.parent].processes.append(_Process(file, str(sha256), data))
    else:
        read = _read_result(file, str(sha256), layout_of(data))
        if isinstance(read, Entry):
            reading.quarantined.append(read)
        else:
            reading.results.append(read)


def _is_experiment(data: object) -> bool:
    """Whether the fields are those of an experiment, or of one process of it."""
    if not isinstance(data, dict) or "experiment_id" not in data:
        return False
    return "inference_metrics" in data or "total_tokens" in data or "process_results" in data


def _read_result(file: Found, sha256: str, layout: str) -> Read | Entry:
    """Read a result with the sidecar beside it."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            result = ExperimentResult.from_json(file.path)
            run_id = str(ExperimentRun.of(result, "", layout=layout).identity)
    except CorruptLakeError as error:
        return Entry.of(file.uri, sha256, layout, Problem("torn_sidecar", "", _without_path(error, file)))
    except UsageError as error:
        return Entry.of(file.uri, sha256, layout, Problem("contract", "", _without_path(error, file)))
    except MALFORMED as error:
        return Entry.of(file.uri, sha256, layout, malformed(error))
    source = {"uri": file.uri, "sha256": sha256, "layout": layout}
    return Read(
        result=result, layout=layout, sources=[source], path=file.path, run_id=run_id, doubts=_doubts(told, file)
    )


def malformed(error: Exception) -> Problem:
    """Problem of a file whose values are of kinds that no reader foresaw."""
    said = str(error).split("\n", 1)[0]
    return Problem("contract", "", f"a value that no result can have: {type(error).__name__}: {said}")


def _doubts(told: Iterable[warnings.WarningMessage], file: Found) -> list[str]:
    """Warnings of the reader as `code: text`."""
    found = []
    for each in told:
        text = str(each.message).replace(f"{file.path.parent}/", "")
        if issubclass(each.category, ImplausibleWarning):
            found.append(f"implausible: {text}")
        else:
            code = "sidecar_missing" if "missing" in text else "sidecar_changed"
            found.append(f"{code}: {text}")
    return list(dict.fromkeys(found))


def _without_path(error: Exception, file: Found) -> str:
    """A message without the place of the file on this machine: the entry names it."""
    return str(error).replace(f"{file.path}: ", "").replace(f"{file.path.parent}/", "").replace("\n", ";")


def _put_together(folder: _Folder, reading: Reading) -> None:
    """Make one result of those of the processes of an experiment, unless the whole result is there with them."""
    by_experiment: dict[str, list[_Process]] = defaultdict(list)
    for process in folder.processes:
        by_experiment[str(process.data["experiment_id"])].append(process)
    for experiment_id, processes in by_experiment.items():
        processes.sort(key=lambda each: (str(each.data["process_index"]).zfill(9), each.found.uri))
        made = _of_processes(folder, processes)
        same = [at for at, read in enumerate(reading.results) if read.result.experiment_id == experiment_id]
        beside = [at for at in same if _is_beside(reading.results[at].path, processes[0].found.path)]
        if isinstance(made, Read) and any(_holds(reading.results[at].result, made.result) for at in same):
            reading.skipped["process_of_a_result"] += len(processes)
        elif isinstance(made, Read):
            _add(made, beside, reading)
        elif any(reading.results[at].result.process_results for at in beside):
            reading.skipped["process_of_a_result"] += len(processes)
        else:
            reading.quarantined.append(made)


def _add(made: Read, beside: list[int], reading: Reading) -> None:
    """Put processes into the results without any that lie beside them; without one they are a result by themselves."""
    empty = [at for at in beside if not reading.results[at].result.process_results]
    if not empty:
        reading.results.append(made)
    for at in empty:
        whole = reading.results[at]
        why = _contradiction(whole.result, made.result)
        if why is not None:
            name = whole.sources[0]["uri"]
            reading.quarantined.append(made.set_aside(Problem("conflicting_id", "", f"{name} has the same id, {why}")))
            continue
        embedded = whole.result.model_copy(update={"process_results": made.result.process_results})
        sources, doubts = [*whole.sources, *made.sources], [*whole.doubts, *made.doubts]
        reading.results[at] = replace(whole, result=embedded, sources=sources, doubts=doubts)


def _holds(whole: ExperimentResult, made: ExperimentResult) -> bool:
    """Whether a result holds all these processes; ids alone are not unique between machines."""

    def said(process: RawProcessResult) -> tuple[object, ...]:
        inference, energy = process.inference_metrics, process.energy_metrics
        return process.process_index, process.timestamps.start, inference.total_tokens, energy.total_energy_j

    return {said(each) for each in made.process_results} <= {said(each) for each in whole.process_results}


def _is_beside(file: Path, process: Path) -> bool:
    """Whether a result lies in the tree of a process: `aggregated/X.json` for `raw/X/process_0.json`."""
    folder = process.parent
    tree = folder.parent.parent if folder.parent.name == "raw" else folder
    return file.parent in {tree, tree / "aggregated"} or file.parent.parent == tree


def _contradiction(whole: ExperimentResult, made: ExperimentResult) -> str | None:
    """Why processes cannot be those of a result; some may be missing, and then they are less."""
    told, found = whole.aggregation, len(made.process_results)
    is_all = told is None or told.num_processes <= found
    tokens = made.total_tokens, whole.total_tokens
    if None not in tokens and (tokens[0] != tokens[1] if is_all else tokens[0] > tokens[1]):  # type: ignore[operator] # both are known
        return f"and {tokens[1]} tokens, the {found} processes have {tokens[0]}"
    starts = made.start_time, whole.start_time
    if starts[0] is None or starts[1] is None:
        return None
    if (starts[0].tzinfo is None) != (starts[1].tzinfo is None):
        return "and only one of them has times with a zone"
    if starts[0] != starts[1] if is_all else starts[0] < starts[1]:
        return f"and began at {starts[1].isoformat()}, the processes at {starts[0].isoformat()}"
    return None


def _of_processes(folder: _Folder, processes: list[_Process]) -> Read | Entry:
    first = processes[0]
    if folder.broken is not None:
        problem = Problem("incomplete", "", f"{folder.broken.path.name} beside it was set aside")
        return Entry.of(first.found.uri, first.sha256, PROCESSES, problem)
    together = _EMPTY | {"experiment_id": "processes", "process_results": [each.data for each in processes]}
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            result = aggregate(result_of(together, first.found.path).process_results)
    except UsageError as error:
        problem = Problem("contract", "", _without_path(error, first.found))
        return Entry.of(first.found.uri, first.sha256, PROCESSES, problem)
    except MALFORMED as error:
        return Entry.of(first.found.uri, first.sha256, PROCESSES, malformed(error))
    sources = [each.source for each in processes]
    doubts = _doubts(told, first.found)
    made = Read(result=result, layout=PROCESSES, sources=sources, path=first.found.path, run_id="", doubts=doubts)
    return replace(made, run_id=str(made.processes_id))
