"""Write runs of a lake back as JSON, in the canonical layout of schema 2.0, for consumers that still read JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import LakeError, UsageError
from groundlake.ground_truth.json_tree import Configuration, FileEntry, write_manifest
from groundlake.ground_truth.layouts import MEASUREMENTS, PRECISIONS, Place, safe_name
from groundlake.ground_truth.reading import parse_json
from groundlake.ground_truth.record import MeasurementRecord, ModelSummary
from groundlake.importers.curves_json import write_curves
from groundlake.ledger import good_runs, latest_good

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from groundlake.store import Lake

CARRIED = frozenset(
    {
        *(item.name for item in fields(MeasurementRecord)),
        *(item.name for item in fields(ModelSummary)),
        "batch",
        "kind",
        "status",
        "started_at",
        "source_measurement_date",
        "system_under_load",
        # Bookkeeping of a lake, which another lake makes anew:
        "part",
        "placement",
        "revision",
        "recorded_at",
        "fact_rows",
    }
)
"""Ledger columns whose values are in the JSON, or mean nothing outside the lake."""

ALWAYS_DERIVED = frozenset({"started_at_zone_source", "theoretical_peak_source", "sources", "source_hardware_id"})
"""Ledger columns that an import of the JSON fills with what is true then."""


@dataclass
class ExportReport:
    """What an export wrote, and what JSON of schema 2.0 cannot carry.

    Attributes:
        written: Files written, manifests left out.
        unchanged: Files that were there with the same content.
        manifests: Manifests written.
        curves: Files of efficiency curves written.
        not_carried: What stays in the lake only, with the number of runs or rows.
    """

    written: int = 0
    unchanged: int = 0
    manifests: int = 0
    curves: int = 0
    not_carried: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Return the report for the terminal, one line each."""
        counts = f"{self.written} files written, {self.unchanged} unchanged, {self.manifests} manifests"
        lines = [f"{counts}, {self.curves} files of efficiency curves"]
        if self.not_carried:
            lines.append("JSON cannot carry, and the lake keeps:")
            lines += [f"  {what}: {count}" for what, count in self.not_carried.items()]
        return lines


def export_v2_json(
    lake: Lake,
    dest: str | Path,
    hardware_id: str | None = None,
    *,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> ExportReport:
    """Write the latest good run of each configuration as a JSON file, manifests, and efficiency curves.

    The files are `<dest>/<hardware>/measurements/<precision>/<model>_b<N>.json`, with a `manifest.json` for each device
    and `<precision>/efficiency_curves.json` beside `measurements`. Migrating them into a fresh lake gives
    the same run ids and every value that schema 2.0 carries. Device and model names that are no safe file names are
    percent-encoded.

    Args:
        lake: Where from.
        dest: Where to; made when missing.
        hardware_id: One device, or None for all.
        on_progress: Called with what is done, the total, and "write".

    Raises:
        UsageError: There is no such device in the lake.
        LakeError: A file is there already with other content; it is not overwritten.
    """
    known = lake.hardware_ids()
    if hardware_id is not None and hardware_id not in known:
        raise UsageError(f"no runs of {hardware_id} in {lake.root}; there are {', '.join(known) or 'none'}")
    names = known if hardware_id is None else [hardware_id]
    latest = {name: latest_good(lake.runs(name)) for name in names}
    report = ExportReport()
    total, done = sum(rows.height for rows in latest.values()), 0
    for name, runs in latest.items():
        entries = []
        for entry in _export(lake, Path(dest), name, runs, report):
            entries += [entry] if entry else []
            done += 1
            if on_progress:
                on_progress(done, total, "write")
        if entries:
            write_manifest(Path(dest) / safe_name(name), name, entries)
            report.manifests += 1
        report.curves += (curves := write_curves(lake, Path(dest), name))[0]
        _count_left_behind(lake, name, runs, report)
        if curves[1]:
            report.not_carried["efficiency curves by another timing or counting method"] += curves[1]
    return report


def _export(
    lake: Lake, dest: Path, hardware_id: str, runs: pl.DataFrame, report: ExportReport
) -> Iterator[FileEntry | None]:
    timings = lake.frame("subgraph_timings", hardware_id=hardware_id)
    by_run = timings.partition_by("run_id", as_dict=True)
    for run in runs.iter_rows(named=True):
        rows = by_run.get((run["run_id"],))
        if rows is None:
            report.not_carried["runs without subgraph timings"] += 1
            yield None
            continue
        record = replace(MeasurementRecord.from_run(run, rows), schema_version="2.0")
        raw = rows["latency_samples_ms"].drop_nulls().len()
        if raw:
            report.not_carried["subgraphs with raw latency samples"] += raw
        yield _save(dest, record, report)


def _save(dest: Path, record: MeasurementRecord, report: ExportReport) -> FileEntry:
    precision = record.precision.lower()
    folder = precision if precision in PRECISIONS else safe_name(precision)
    name = safe_name(f"{record.model}_b{record.batch_size}") + ".json"
    path = dest / safe_name(record.hardware_id) / MEASUREMENTS / folder / name
    if path.exists():
        there, _ = parse_json(path.read_bytes())
        if there != record.to_dict():
            raise LakeError(
                f"{path}: is there already with other content, and is not overwritten\n"
                "export into an empty folder, or remove the file"
            )
        report.unchanged += 1
    else:
        record.save(path)
        report.written += 1
    return FileEntry(
        path=path,
        place=Place("canonical", record.hardware_id, precision),
        configuration=Configuration(precision, record.model, record.batch_size),
        device=record.device,
        date=record.measurement_date,
        summary=record.model_summary,
    )


def _count_left_behind(lake: Lake, hardware_id: str, exported: pl.DataFrame, report: ExportReport) -> None:
    """Count what the lake has about a device and the JSON has not."""
    left = report.not_carried
    runs = lake.runs(hardware_id)
    others = runs.join(exported.select("run_id"), on="run_id", how="anti")
    kinds = {
        "failed runs": others.filter(pl.col("status") == "failed").height,
        "older runs of an exported configuration": good_runs(others).height,
    }
    other_kinds = others.filter((pl.col("status") == "ok") & (pl.col("kind") != "efficiency"))
    for kind, count in other_kinds.group_by("kind").len().sort("kind").rows():
        kinds[f"runs of kind {kind}"] = count
    for rows in runs["fact_rows"].drop_nulls():
        for fact in rows:
            if fact["table"] != "subgraph_timings":
                what = f"rows of {fact['table']}"
                kinds[what] = kinds.get(what, 0) + fact["rows"]
    zoned = exported.filter(pl.col("started_at_zone_source") == "option").height
    kinds["time zones given by --tz; give them again when migrating the files"] = zoned
    for name in exported.columns:
        if name not in CARRIED | ALWAYS_DERIVED:
            count = _count_meant(exported[name])
            kinds[f"runs with {name}"] = count
    kinds["runs with throttle_reasons"] = sum(
        bool(state and state["throttle_reasons"]) for state in exported["system_under_load"]
    )
    left.update({what: count for what, count in kinds.items() if count})


def _count_meant(column: pl.Series) -> int:
    """Number of values that say something; `timing_method` none does not."""
    known = column.drop_nulls()
    return known.len() if known.dtype != pl.String else int((known != "none").sum())
