"""The measurement record, schema 2.0: one model measured on one device, subgraph by subgraph.

The classes and their fields are those of the v2.0 JSON schema; files of schema 1.0 are read too.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundlake import __version__
from groundlake.errors import LakeError
from groundlake.ground_truth.columns import from_frame, to_frame, totals
from groundlake.ground_truth.dates import start_in_utc
from groundlake.ground_truth.files import read_limited
from groundlake.ground_truth.layouts import batch_of, plain_name
from groundlake.ground_truth.reading import GROUPS, PLAIN, STATISTICS, Checked, Columns, check_measurement, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

SHOWN_PROBLEMS = 3


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """Latency of one subgraph in ms: mean, sample standard deviation, range, 95 % interval of the mean, samples."""

    mean: float
    std: float
    min: float
    max: float
    ci_lower: float
    ci_upper: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class EfficiencyStats:
    """Share of the theoretical peak that was reached (1 = peak); all 0 with `samples` 0 means not applicable."""

    mean: float
    std: float
    min: float
    max: float
    ci_lower: float
    ci_upper: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class SubgraphMeasurement:
    """One subgraph: its work, its latency (ms), what it achieved (FLOP/s) and the graph nodes it is made of."""

    subgraph_id: int
    fusion_pattern: str
    operation_type: str
    flops: int
    total_bytes: int
    arithmetic_intensity: float
    theoretical_peak_flops: float
    measured_latency: LatencyStats
    achieved_flops: float
    efficiency: EfficiencyStats
    node_names: list[str]
    source_model: str


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """The whole model: sums over the subgraphs (FLOP, byte, ms) and inputs per second."""

    total_flops: int
    total_bytes: int
    total_latency_ms: float
    total_latency_std_ms: float
    num_subgraphs: int
    throughput_fps: float

    @classmethod
    def of(cls, subgraphs: Sequence[SubgraphMeasurement], batch_size: int) -> ModelSummary:
        """Sum up the subgraphs; the standard deviation is the root of the summed variances."""
        return cls(**totals(_to_columns(subgraphs), batch_size))


@dataclass(frozen=True, kw_only=True)
class SystemState:
    """State of the device while it was measured; None where unknown."""

    gpu_clock_mhz: int | None = None
    mem_clock_mhz: int | None = None
    power_mode: str | None = None
    temperature_c: float | None = None
    cpu_freq_mhz: float | None = None
    cpu_governor: str | None = None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


@dataclass(frozen=True, kw_only=True)
class MeasurementRecord:
    """One measurement of one model on one device: the content of one JSON file, and of one run in a lake.

    `model_summary` is computed from the subgraphs when it is not given; `precision` is upper case, as in the files;
    a `theoretical_peak_flops` of 0 is an unknown one.
    """

    model: str
    hardware_id: str
    device: str
    precision: str
    subgraphs: list[SubgraphMeasurement]
    batch_size: int
    theoretical_peak_flops: float = 0.0
    schema_version: str = "2.0"
    measurement_type: str = "efficiency"
    thermal_profile: str | None = None
    measurement_date: str = field(default_factory=_now)
    tool_version: str = f"groundlake {__version__}"
    input_shape: list[int] | None = None
    model_summary: ModelSummary = None  # type: ignore[assignment] # computed in __post_init__ when not given
    system_state: SystemState | None = None
    run_id: str | None = None
    run_index: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", self.precision.upper())
        if self.model_summary is None:
            object.__setattr__(self, "model_summary", ModelSummary.of(self.subgraphs, self.batch_size))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, batch_size: int | None = None) -> MeasurementRecord:
        """Read a parsed JSON measurement of schema 1.0 or 2.0, strictly typed. Unknown keys are left out.

        Args:
            data: The JSON object.
            batch_size: Batch size of a file that does not say it (schema 1.0); 1 when not given.

        Raises:
            LakeError: Naming the key that is missing, of the wrong type, not finite or negative.
        """
        checked, problems = check_measurement(data)
        if checked is None:
            more = f" (and {len(problems) - SHOWN_PROBLEMS} more)" if len(problems) > SHOWN_PROBLEMS else ""
            raise LakeError("not a measurement: " + "; ".join(map(str, problems[:SHOWN_PROBLEMS])) + more)
        return cls.from_checked(checked, batch_size=batch_size)

    @classmethod
    def from_checked(cls, checked: Checked, *, batch_size: int | None = None) -> MeasurementRecord:
        """Build the record of a file whose content was checked by `check_measurement`."""
        head = {**checked.head}
        batch = head.pop("batch_size") or batch_size or 1
        summary = ModelSummary(**checked.summary) if checked.summary is not None else None
        state = SystemState(**checked.system_state) if checked.system_state is not None else None
        return cls(
            **head,
            batch_size=batch,
            subgraphs=_from_columns(checked.subgraphs),
            model_summary=summary,  # type: ignore[arg-type] # None is replaced in __post_init__
            system_state=state,
        )

    @classmethod
    def from_run(cls, run: Mapping[str, Any], timings: pl.DataFrame) -> MeasurementRecord:
        """Build the record of a run in a lake.

        Args:
            run: The run's row of the ledger.
            timings: The run's rows of `subgraph_timings`.
        """
        state = run["system_under_load"] or run["system_before"]
        return cls(
            schema_version=run["schema_version"] or "2.0",
            measurement_type=run["kind"],
            model=run["model"],
            hardware_id=run["hardware_id"],
            device=run["device"] or "",
            precision=run["precision"],
            thermal_profile=run["thermal_profile"],
            theoretical_peak_flops=run["theoretical_peak_flops"] or 0.0,
            measurement_date=date_text(run),
            tool_version=run["tool_version"] or "",
            subgraphs=_from_columns(from_frame(timings, run["model"])),
            batch_size=run["batch"],
            input_shape=run["input_shape"],
            model_summary=summary_of(run),
            system_state=SystemState(**{f.name: state[f.name] for f in fields(SystemState)}) if state else None,
            run_id=run["run_id"],
            run_index=run["run_index"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of schema 2.0; what is None and optional is left out."""
        data: dict[str, Any] = {name: getattr(self, name) for name in _HEAD_ORDER}
        if self.input_shape is not None:
            data["input_shape"] = list(self.input_shape)
        data["subgraphs"] = [asdict(subgraph) for subgraph in self.subgraphs]
        data["model_summary"] = asdict(self.model_summary)
        if self.system_state is not None:
            data["system_state"] = asdict(self.system_state)
        data |= {name: getattr(self, name) for name in ("run_id", "run_index") if getattr(self, name) is not None}
        return data

    def save(self, path: str | Path) -> Path:
        """Write the record as a JSON file: complete or not at all. Folders are created."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f"{target.name}.tmp")
        with staged.open("w", encoding="utf-8") as file:
            json.dump(self.to_dict(), file, indent=2, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(target)
        return target

    @classmethod
    def load(cls, path: str | Path) -> MeasurementRecord:
        """Read a JSON file of schema 1.0 or 2.0. Without `batch_size` in it, the file name says the batch.

        Raises:
            LakeError: Naming the file and what is wrong with it.
            FileNotFoundError: There is no such file.
        """
        source = Path(path)
        if not source.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        raw, problem = read_limited(source)
        data = None
        if problem is None:
            data, problem = parse_json(raw)
        if problem is not None:
            raise LakeError(f"{source}: {problem}")
        checked, problems = check_measurement(data)
        if checked is None:
            raise LakeError(f"{source}: " + "; ".join(map(str, problems[:SHOWN_PROBLEMS])))
        batch, _ = batch_of(plain_name(source.stem), checked.head["model"], checked.head["batch_size"])
        return cls.from_checked(checked, batch_size=batch)

    def to_frames(self) -> tuple[dict[str, object], dict[str, pl.DataFrame]]:
        """Return the run's columns of the ledger and its rows of `subgraph_timings`."""
        run = {
            **ledger_columns(
                {item.name: getattr(self, item.name) for item in fields(self)}, asdict(self.model_summary)
            ),
            "system_under_load": _state(self.system_state),
        }
        return run, {"subgraph_timings": to_frame(_to_columns(self.subgraphs))}


_HEAD_ORDER = (
    "schema_version",
    "measurement_type",
    "model",
    "hardware_id",
    "device",
    "precision",
    "thermal_profile",
    "theoretical_peak_flops",
    "measurement_date",
    "tool_version",
    "batch_size",
)


def ledger_columns(head: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, object]:
    """Return the ledger columns of a measurement.

    The date's exact text is kept beside the UTC time wherever the time alone would not give it back.

    Args:
        head: The record's own fields, `batch_size` filled in.
        summary: The fields of its `ModelSummary`.
    """
    started_at, zone_source = start_in_utc(head["measurement_date"])
    text = head["measurement_date"]
    run = {
        **{name: head[name] for name in _SAME_NAME},
        **summary,
        "kind": head["measurement_type"],
        "precision": head["precision"].lower(),
        "batch": head["batch_size"],
        "started_at": started_at,
        "started_at_zone_source": zone_source,
        "source_measurement_date": None if text == _utc_text(started_at) else text,
        "theoretical_peak_flops": head["theoretical_peak_flops"] or None,
        "theoretical_peak_source": "recorded" if head["theoretical_peak_flops"] else None,
        "timing_method": "node_sync" if head["device"] == "cuda" else "perf_counter",
    }
    if not summary["throughput_fps"]:
        run["throughput_fps"] = None
    if head.get("run_id") is not None:
        run["run_id"] = head["run_id"]
    return run


_SAME_NAME = (
    "schema_version",
    "hardware_id",
    "model",
    "device",
    "thermal_profile",
    "tool_version",
    "input_shape",
    "run_index",
)


def _utc_text(started_at: datetime) -> str:
    return started_at.replace(tzinfo=timezone.utc).isoformat()


def summary_of(run: Mapping[str, Any]) -> ModelSummary:
    """Build the summary in a ledger row; what is NULL there (throughput of no latency) is 0."""
    return ModelSummary(**{item.name: run[item.name] or 0 for item in fields(ModelSummary)})


def date_text(run: Mapping[str, Any]) -> str:
    """Measurement date of a run as text: exactly as it was written in its source, else ISO 8601 with +00:00."""
    if run["source_measurement_date"] is not None:
        return str(run["source_measurement_date"])
    started_at = run["started_at"]
    return _utc_text(started_at) if started_at is not None else ""


def _state(state: SystemState | None) -> dict[str, object] | None:
    return None if state is None else {**asdict(state), "throttle_reasons": None}


def _to_columns(subgraphs: Sequence[SubgraphMeasurement]) -> Columns:
    columns: Columns = {name: [getattr(item, name) for item in subgraphs] for name in (*PLAIN, "node_names")}
    for group, (prefix, suffix) in GROUPS.items():
        objects = [getattr(item, group) for item in subgraphs]
        columns |= {f"{prefix}_{name}{suffix}": [getattr(item, name) for item in objects] for name in STATISTICS}
        columns[f"{prefix}_samples"] = [item.samples for item in objects]
    return columns


def _from_columns(columns: Columns) -> list[SubgraphMeasurement]:
    latency = _statistics(columns, "measured_latency", LatencyStats)
    efficiency = _statistics(columns, "efficiency", EfficiencyStats)
    plain = (*PLAIN, "node_names")
    return [
        SubgraphMeasurement(**dict(zip(plain, values, strict=True)), measured_latency=ms, efficiency=share)
        for *values, ms, share in zip(*(columns[name] for name in plain), latency, efficiency, strict=True)
    ]


def _statistics(columns: Columns, group: str, kind: type) -> list[Any]:
    prefix, suffix = GROUPS[group]
    lists = [columns[f"{prefix}_{name}{suffix}"] for name in STATISTICS] + [columns[f"{prefix}_samples"]]
    names = (*STATISTICS, "samples")
    return [kind(**dict(zip(names, values, strict=True))) for values in zip(*lists, strict=True)]
