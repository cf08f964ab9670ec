"""The loader of validation scripts: measurements by device, model, precision and batch size."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from groundlake.errors import LakeNotFoundError
from groundlake.ground_truth.json_tree import Configuration, JsonTree
from groundlake.ground_truth.record import MeasurementRecord, ModelSummary, summary_of
from groundlake.ledger import Ledger, latest_good, refuse_lost_rows
from groundlake.places import place_of, reachable
from groundlake.schemas import SubgraphTimings
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

SHOWN_CONFIGURATIONS = 5


class Source(Protocol):
    """Where records come from: a lake, or a tree of JSON files."""

    def hardware_ids(self) -> list[str]:
        """Devices with measurements, sorted."""
        ...

    def configurations(self, hardware_id: str) -> list[Configuration]:
        """Configurations of a device, sorted; empty for an unknown device."""
        ...

    def summary(self, hardware_id: str, configuration: Configuration) -> ModelSummary | None:
        """Summary of a configuration, or None."""
        ...

    def record(self, hardware_id: str, configuration: Configuration) -> MeasurementRecord | None:
        """Record of a configuration, or None."""
        ...

    def records(self, hardware_id: str, configurations: Iterable[Configuration]) -> list[MeasurementRecord]:
        """Records of configurations that exist."""
        ...

    def rebuild(self, hardware_id: str) -> None:
        """Make the derived index anew."""
        ...


@dataclass
class LakeSource:
    """A lake: the latest good run of each configuration, resolved from the ledger without a glob."""

    lake: Lake
    _ledger: Ledger = field(init=False)
    _latest: dict[str, tuple[list[Path], dict[Configuration, dict[str, Any]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ledger = Ledger(self.lake.root, self.lake.as_of)

    def hardware_ids(self) -> list[str]:
        """Devices with at least one good run."""
        return [name for name in self.lake.hardware_ids() if self._index(name)]

    def configurations(self, hardware_id: str) -> list[Configuration]:
        """Configurations with a good run."""
        return sorted(self._index(hardware_id))

    def summary(self, hardware_id: str, configuration: Configuration) -> ModelSummary | None:
        """Summary out of the ledger row: no fact file is opened."""
        run = self._index(hardware_id).get(configuration)
        return summary_of(run) if run else None

    def record(self, hardware_id: str, configuration: Configuration) -> MeasurementRecord | None:
        """Record of the latest good run; its leaf file alone is read."""
        run = self._index(hardware_id).get(configuration)
        if run is None:
            return None
        timings = self.lake.frame(
            "subgraph_timings", hardware_id=hardware_id, **_keys(configuration), run_id=run["run_id"]
        )
        refuse_lost_rows(SubgraphTimings, [run], timings)
        return MeasurementRecord.from_run(run, timings)

    def records(self, hardware_id: str, configurations: Iterable[Configuration]) -> list[MeasurementRecord]:
        """Records of the latest good runs, their timings read together."""
        runs = [self._index(hardware_id)[configuration] for configuration in configurations]
        precisions = {run["precision"] for run in runs}
        keys: dict[str, Any] = {"precision": precisions.pop()} if len(precisions) == 1 else {}
        timings = self.lake.frame("subgraph_timings", hardware_id=hardware_id, **keys)
        refuse_lost_rows(SubgraphTimings, runs, timings)
        by_run = timings.partition_by("run_id", as_dict=True)
        return [MeasurementRecord.from_run(run, by_run.get((run["run_id"],), timings.clear())) for run in runs]

    def rebuild(self, hardware_id: str) -> None:  # noqa: ARG002 - the view file covers all devices
        """Write `lake.db` anew."""
        self.lake.bind_views()

    def _index(self, hardware_id: str) -> dict[Configuration, dict[str, Any]]:
        """Latest good run of each configuration, kept until the ledger of the device changes."""
        names = self._ledger.files(hardware_id)
        kept = self._latest.get(hardware_id)
        if kept is None or kept[0] != names:
            kept = (names, _by_configuration(latest_good(self.lake.runs(hardware_id))))
            self._latest[hardware_id] = kept
        return kept[1]


def _by_configuration(runs: pl.DataFrame) -> dict[Configuration, dict[str, Any]]:
    return {Configuration(run["precision"], run["model"], run["batch"]): run for run in runs.iter_rows(named=True)}


def _keys(configuration: Configuration) -> dict[str, Any]:
    return configuration._asdict()


class GroundTruthLoader:
    """Load and query measurements from a lake, or from a tree of JSON files that was never converted.

    Args:
        data_dir: A lake (a folder with `runs/`), or a JSON tree. Default: the environment variable LAKE_ROOT,
            else `./lake`, else `./calibration_data`.

    Raises:
        LakeNotFoundError: None of them is there.
    """

    def __init__(self, data_dir: str | Path | None = None) -> None:
        self.data_dir = place_of(data_dir) if data_dir is not None else _default_data_dir()
        if not reachable(self.data_dir):
            raise LakeNotFoundError(
                f"no measurements at {self.data_dir}\n"
                "give data_dir, set LAKE_ROOT, or run where ./lake or ./calibration_data lies"
            )
        is_tree = not (self.data_dir / "runs").is_dir() and JsonTree(self.data_dir).has_files()
        self._source: Source = JsonTree(self.data_dir) if is_tree else LakeSource(Lake(self.data_dir))

    def list_hardware(self) -> list[str]:
        """Hardware ids with measurements, sorted."""
        return self._source.hardware_ids()

    def list_models(self, hardware_id: str, precision: str | None = None) -> list[str]:
        """Models measured on a device, sorted; empty for an unknown device."""
        return sorted({found.model for found in self._configurations(hardware_id, precision)})

    def list_configurations(self, hardware_id: str) -> list[dict[str, Any]]:
        """Return `model`, `precision` (lower case) and `batch_size` of each configuration of a device.

        Sorted by precision, model and batch size. Bad files of a JSON tree are left out; `load_all` names them.
        """
        return [
            {"model": found.model, "precision": found.precision, "batch_size": found.batch}
            for found in self._source.configurations(hardware_id)
        ]

    def load(self, hardware_id: str, model: str, precision: str, batch_size: int) -> MeasurementRecord:
        """Load one measurement: the latest good one of its configuration.

        Args:
            hardware_id: Device.
            model: Model.
            precision: In either case.
            batch_size: Batch size.

        Raises:
            FileNotFoundError: There is none; the message names the nearest that exist.
            LakeError: In a JSON tree, the file is bad; the message names it.
        """
        wanted = Configuration(precision.lower(), model, batch_size)
        record = self._source.record(hardware_id, wanted)
        if record is None:
            raise self._not_found(hardware_id, wanted)
        return record

    def load_model_summary(self, hardware_id: str, model: str, precision: str, batch_size: int) -> ModelSummary:
        """Load the summary of one measurement, bytes and standard deviation included; arguments as for `load`."""
        wanted = Configuration(precision.lower(), model, batch_size)
        summary = self._source.summary(hardware_id, wanted)
        if summary is None:
            raise self._not_found(hardware_id, wanted)
        return summary

    def load_all(self, hardware_id: str, precision: str | None = None) -> list[MeasurementRecord]:
        """Load the measurement of every configuration of a device, sorted as `list_configurations`.

        Raises:
            LakeError: In a JSON tree, files are bad; the message names them. A partial answer would look complete.
        """
        return self._source.records(hardware_id, self._configurations(hardware_id, precision))

    def rebuild_manifest(self, hardware_id: str) -> None:
        """Make the derived index anew: `lake.db` of a lake, `manifest.json` of a device in a JSON tree."""
        self._source.rebuild(hardware_id)

    def _configurations(self, hardware_id: str, precision: str | None) -> list[Configuration]:
        found = self._source.configurations(hardware_id)
        return [item for item in found if precision is None or item.precision == precision.lower()]

    def _not_found(self, hardware_id: str, wanted: Configuration) -> FileNotFoundError:
        what = f"no measurement of {_text(wanted)} on {hardware_id} in {self.data_dir}"
        existing = self._source.configurations(hardware_id)
        if not existing:
            known = sorted(self.list_hardware(), key=lambda name: -_similarity(name, hardware_id))
            near = ", ".join(known[:SHOWN_CONFIGURATIONS]) or "none"
            return FileNotFoundError(f"{what}\nthis device has no measurements; nearest devices: {near}")
        existing.sort(key=lambda found: _distance(found, wanted))
        near = ", ".join(_text(found) for found in existing[:SHOWN_CONFIGURATIONS])
        return FileNotFoundError(f"{what}\nnearest: {near}\nlist_configurations({hardware_id!r}) lists all")


def _default_data_dir() -> Path:
    named = os.environ.get("LAKE_ROOT")
    if named:
        return place_of(named)
    lake, tree = Path("lake"), Path("calibration_data")
    # A checkout has an empty ./lake; an unconverted tree beside it is then the better answer.
    return tree if tree.is_dir() and not (lake / "runs").is_dir() else lake


def _text(configuration: Configuration) -> str:
    return f"{configuration.model} {configuration.precision} batch {configuration.batch}"


def _distance(found: Configuration, wanted: Configuration) -> tuple[float, bool, float]:
    batches = abs(log2(max(found.batch, 1)) - log2(max(wanted.batch, 1)))
    return -_similarity(found.model, wanted.model), found.precision != wanted.precision, batches


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, one.lower(), other.lower()).ratio()
