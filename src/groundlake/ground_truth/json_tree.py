"""An unconverted tree of v1 and v2 JSON files, in any of the four layouts, as a source of records."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from groundlake.commit import write_atomically
from groundlake.errors import LakeEnvironmentError, LakeError
from groundlake.ground_truth.columns import settled, totals
from groundlake.ground_truth.dates import start_in_utc
from groundlake.ground_truth.files import read_limited
from groundlake.ground_truth.layouts import KNOWN_BY_NAME, LAYOUTS, Place, batch_of, place_of, plain_name
from groundlake.ground_truth.reading import Checked, check_measurement, parse_json
from groundlake.ground_truth.record import MeasurementRecord, ModelSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHOWN_FILES = 4


class Configuration(NamedTuple):
    """What is measured once on a device: precision (lower case), model, batch size."""

    precision: str
    model: str
    batch: int


@dataclass(frozen=True)
class FileEntry:
    """One good measurement file: what a manifest says about it, without its subgraphs."""

    path: Path
    place: Place
    configuration: Configuration
    device: str
    date: str
    summary: ModelSummary
    schema_version: str = "2.0"

    def precedes(self, other: FileEntry) -> bool:
        """Whether to take this file of a configuration: the latest, then the one that an import would take."""
        mine, theirs = start_in_utc(self.date)[0], start_in_utc(other.date)[0]
        return mine > theirs or (mine == theirs and self._rank < other._rank)

    @property
    def _rank(self) -> tuple[bool, int, str]:
        canonical = self.place.layout == "canonical" and self.schema_version == "2.0"
        return not canonical, LAYOUTS.index(self.place.layout), str(self.path)


@dataclass
class _Folder:
    """The files of one device: the one to take of each configuration, and those that are not measurements."""

    files: dict[Configuration, FileEntry] = field(default_factory=dict)
    bad: dict[Path, str] = field(default_factory=dict)


@dataclass
class JsonTree:
    """A folder with JSON measurements; each device's files are read once, when first asked for.

    Args:
        root: `calibration_data`, `measurements`, a parent of both, or the folder of one device.
    """

    root: Path
    _read: dict[str, _Folder] = field(default_factory=dict)

    def has_files(self) -> bool:
        """Whether any file may be a measurement: a folder without is no tree."""
        return next(_json_files(self.root), None) is not None

    def hardware_ids(self) -> list[str]:
        """Devices with at least one file in the place of a measurement, sorted."""
        return sorted({place.hardware_id for _, place in self._places()})

    def configurations(self, hardware_id: str) -> list[Configuration]:
        """Configurations with a good file, sorted by precision, model and batch; bad files are left out."""
        return sorted(self._folder(hardware_id).files)

    def summary(self, hardware_id: str, configuration: Configuration) -> ModelSummary | None:
        """Summary of a configuration; None where there is no good file of it."""
        found = self._find(hardware_id, configuration)
        return found.summary if found else None

    def record(self, hardware_id: str, configuration: Configuration) -> MeasurementRecord | None:
        """Read the record of a configuration; None where there is no file of it.

        Raises:
            LakeError: There is one, and it is bad.
        """
        found = self._find(hardware_id, configuration)
        return self._record(found) if found else None

    def records(self, hardware_id: str, configurations: Iterable[Configuration]) -> list[MeasurementRecord]:
        """Read several records.

        Raises:
            LakeError: Any file of this device is bad: a partial answer would look complete.
        """
        self._refuse_any_bad(hardware_id)
        return [self._record(self._folder(hardware_id).files[wanted]) for wanted in configurations]

    def rebuild(self, hardware_id: str) -> None:
        """Read the device's files again and write its `manifest.json`.

        Raises:
            LakeError: A file is bad, or there is none.
        """
        self._read.pop(hardware_id, None)
        self._refuse_any_bad(hardware_id)
        entries = list(self._folder(hardware_id).files.values())
        if not entries:
            raise LakeError(f"no measurement of {hardware_id} below {self.root}: there is nothing to list")
        best = min(entries, key=lambda entry: LAYOUTS.index(entry.place.layout))
        folder = device_folder(best.path, best.place)
        write_manifest(folder, hardware_id, entries)

    def _places(self) -> Iterator[tuple[Path, Place]]:
        for path in _json_files(self.root):
            place = place_of(path)
            if place is None or place.layout == "flat":  # the folder may be of a precision that only the file tells
                place = self._place_by_content(path) or place
            if place is not None:
                yield path, place

    def _place_by_content(self, path: Path) -> Place | None:
        """Some precisions are known by the file's content only."""
        data, _ = parse_json(read_limited(path)[0])
        precision = data.get("precision") if isinstance(data, dict) else None
        return place_of(path, precision) if isinstance(precision, str) else None

    def _folder(self, hardware_id: str) -> _Folder:
        if hardware_id not in self._read:
            folder = _Folder()
            for path, place in self._places():
                if place.hardware_id == hardware_id:
                    self._take(folder, path, place)
            self._read[hardware_id] = folder
        return self._read[hardware_id]

    @staticmethod
    def _take(folder: _Folder, path: Path, place: Place) -> None:
        entry = read_entry(path, place)
        if isinstance(entry, str):
            folder.bad[path] = entry
            return
        other = folder.files.get(entry.configuration)
        if other is None or entry.precedes(other):
            folder.files[entry.configuration] = entry

    def _record(self, entry: FileEntry) -> MeasurementRecord:
        record = MeasurementRecord.load(entry.path)
        return replace(
            record,
            hardware_id=entry.place.hardware_id,
            batch_size=entry.configuration.batch,
            model_summary=entry.summary,
        )

    def _find(self, hardware_id: str, wanted: Configuration) -> FileEntry | None:
        """The file of a configuration; where the only one is bad, an error that names it."""
        good = self._folder(hardware_id).files.get(wanted)
        if good is not None:
            return good
        names = {f"{wanted.model}_b{wanted.batch}", *([wanted.model] if wanted.batch == 1 else [])}
        for path, what in self._folder(hardware_id).bad.items():
            place = place_of(path)
            precisions = (None, wanted.precision)
            if plain_name(path.stem) in names and (place is None or place.precision in precisions):
                raise LakeError(f"{path}: {what}")
        return None

    def _refuse_any_bad(self, hardware_id: str) -> None:
        bad = self._folder(hardware_id).bad
        if not bad:
            return
        shown = [f"{path}: {what}" for path, what in list(bad.items())[:SHOWN_FILES]]
        more = [f"and {len(bad) - SHOWN_FILES} more"] if len(bad) > SHOWN_FILES else []
        raise LakeError("\n".join([f"{len(bad)} bad files of {hardware_id}; mend or move them", *shown, *more]))


def read_entry(path: Path, place: Place) -> FileEntry | str:
    """Read one measurement file; a text that says what is wrong where it is bad."""
    checked = _checked(path)
    if isinstance(checked, str):
        return checked
    head = checked.head
    if place.precision not in (None, head["precision"].lower()):
        return f"the folder says {place.precision}, the file {head['precision']}"
    batch, problem = batch_of(plain_name(path.stem), head["model"], head["batch_size"])
    if batch is None:
        return str(problem)
    summary = ModelSummary(**settled(checked.summary, totals(checked.subgraphs, batch)))
    configuration = Configuration(head["precision"].lower(), head["model"], batch)
    return FileEntry(
        path, place, configuration, head["device"], head["measurement_date"], summary, head["schema_version"]
    )


def _checked(path: Path) -> Checked | str:
    raw, problem = read_limited(path)
    data = None
    if problem is None:
        data, problem = parse_json(raw)
    if problem is not None:
        return str(problem)
    checked, problems = check_measurement(data)
    return checked if checked is not None else str(problems[0])


def _json_files(root: Path) -> Iterator[Path]:
    """Files that may be measurements; abspath() takes out `..`, which would hide the names of folders."""
    for folder, folders, names in os.walk(os.path.abspath(root), onerror=_refuse):  # noqa: PTH100 - resolve() follows links
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(".json") and name not in KNOWN_BY_NAME:
                yield Path(folder, name)


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed would make a partial answer look complete."""
    raise LakeEnvironmentError(f"{error.filename}: cannot be listed: {error.strerror}\ngive read permission to it")


def device_folder(path: Path, place: Place) -> Path:
    """Folder of the device that a measurement file belongs to: where its manifest lies."""
    return path.parents[1] if place.layout in ("toplevel", "flat") else path.parents[2]


def write_manifest(folder: Path, hardware_id: str, entries: Iterable[FileEntry]) -> Path:
    """Write `manifest.json` of one device: an index of its files, latencies rounded to four decimals."""
    listed = sorted((os.path.relpath(entry.path, folder).replace(os.sep, "/"), entry) for entry in entries)
    listed.sort(key=lambda pair: (pair[1].configuration.precision, pair[0]))
    kinds = {entry.configuration for _, entry in listed}
    coverage: dict[str, list[Any]] = {
        "models": sorted({kind.model for kind in kinds}),
        "precisions": sorted({kind.precision for kind in kinds}),
        "batch_sizes": sorted({kind.batch for kind in kinds}),
    }
    content = {
        "schema_version": "1.0",
        "hardware_id": hardware_id,
        "device": listed[0][1].device,
        "generated_date": datetime.now(timezone.utc).isoformat(),
        "summary": {
            "num_models": len(coverage["models"]),
            "num_precisions": len(coverage["precisions"]),
            "num_batch_sizes": len(coverage["batch_sizes"]),
            "total_measurements": len(listed),
        },
        "measurements": [_manifest_entry(file, entry) for file, entry in listed],
        "coverage": coverage,
    }
    path = folder / "manifest.json"
    write_atomically(path, json.dumps(content, indent=2).encode())
    return path


def _manifest_entry(file: str, entry: FileEntry) -> dict[str, Any]:
    return {
        "model": entry.configuration.model,
        "precision": entry.configuration.precision,
        "batch_size": entry.configuration.batch,
        "file": file,
        "total_latency_ms": round(entry.summary.total_latency_ms, 4),
        "total_flops": entry.summary.total_flops,
        "num_subgraphs": entry.summary.num_subgraphs,
        "measurement_date": entry.date,
    }
