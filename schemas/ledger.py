"""Contract of the ledger: every run of any kind is one row, and a fact row is visible only through its run."""

from __future__ import annotations

from typing import Annotated

import polars as pl

from groundlake.schemas.base import Table, column

STATUSES = ("ok", "failed", "retracted")
TIMING_METHODS = ("node_sync", "node_events", "perf_counter", "end_to_end", "none")
ZONE_SOURCES = ("clock", "file", "option", "assumed_utc")

UtcTime = Annotated[pl.Datetime, "us", None]
"""Naive UTC with microseconds: DuckDB's Python client needs another package for zoned timestamps."""

SystemStruct = Annotated[
    pl.Struct,
    {
        "gpu_clock_mhz": pl.Int64(),
        "mem_clock_mhz": pl.Int64(),
        "power_mode": pl.String(),
        "temperature_c": pl.Float64(),
        "cpu_freq_mhz": pl.Float64(),
        "cpu_governor": pl.String(),
        "throttle_reasons": pl.List(pl.String()),
    },
]
SYSTEM_FIELDS = "gpu_clock_mhz, mem_clock_mhz, power_mode, temperature_c, cpu_freq_mhz, cpu_governor, throttle_reasons"

PowerSeriesStruct = pl.Struct(
    {
        "source": pl.String(),
        "rail": pl.String(),
        "device_index": pl.Int64(),
        "semantics": pl.String(),
        "requested_period_s": pl.Float64(),
        "observed_period_s": pl.Float64(),
        "value_period_s": pl.Float64(),
        "distinct_share": pl.Float64(),
        "failed_reads": pl.Int64(),
        "gaps": pl.Int64(),
        "wall_offset_s": pl.Float64(),
    }
)
POWER_SERIES_FIELDS = (
    "source, rail, device_index, semantics (instant, average_1s, average_<n>ms, average_unknown, counter), requested "
    "and observed period between reads, value_period_s between changes of the value, distinct_share of the values, "
    "failed_reads, gaps, and wall_offset_s (Unix time of timestamp 0)"
)


class Runs(Table):
    """A run of any kind: its identity, conditions, status, whole-run summary and provenance."""

    hardware_id: str = column("Device the run was made on; the folder name for imported runs")
    run_id: str = column(
        "Identity of the run: a time-ordered UUID, the imported file's own id, or a UUIDv5 of its content",
        str_matches=r"^\S+$",
    )
    revision: int = column(
        "Number of the statement about the run: 0 first, +1 for a correction or a retraction", unit="1", ge=0
    )
    placement: int = column(
        "Number of the place where the run's rows lie: +1 each time they are merged into another file", unit="1", ge=0
    )
    part: str = column(
        "Id of the files that hold the run's fact rows, the same in every fact table", str_matches=r"^[0-9A-Za-z_-]+$"
    )
    recorded_at: UtcTime = column("When this statement was committed, by the writer's clock (UTC)")
    status: str = column("ok, failed (attempted without a result; see error) or retracted", isin=STATUSES)
    kind: str = column(
        "What was done: efficiency, idle_baseline, hardware_spec, estimate, llm_inference, ...",
        str_matches=r"^[a-z][a-z0-9_]*$",
    )
    parent_run_id: str = column("Run that this one continues or scores", nullable=True)
    schema_version: str = column("Schema version of the measurement record, for example 2.0", nullable=True)
    precision: str = column(
        "Numeric precision of the run, lower case; none where it does not apply", str_matches=r"^[^A-Z]+$"
    )
    model: str = column("Model that was run; none where it does not apply")
    batch: int = column("Batch size; 0 where it does not apply", unit="1", ge=0)
    device: str = column("Kind of device the work ran on: cpu, cuda", nullable=True)
    thermal_profile: str = column("Power mode under which the device was measured, for example MAXN", nullable=True)
    theoretical_peak_flops: float = column(
        "Peak used for the run's efficiencies, as recorded", unit="FLOP/s", nullable=True, ge=0
    )
    theoretical_peak_source: str = column(
        "Where that peak comes from: recorded (imported), registry, overlay, or the method of an estimate",
        nullable=True,
    )
    started_at: UtcTime = column("Start of the measurement in UTC", nullable=True)
    started_at_zone_source: str = column(
        "How the time zone of started_at is known: clock, file, option, assumed_utc", nullable=True, isin=ZONE_SOURCES
    )
    duration_s: float = column("Wall time of the whole run", unit="s", nullable=True, ge=0)
    tool_version: str = column("Program that measured", nullable=True)
    input_shape: Annotated[pl.List, pl.Int64()] = column(
        "Shape of the model's input, batch first", unit="1", nullable=True
    )
    run_index: int = column("1, 2, 3, ... of a repeated sweep", unit="1", nullable=True, ge=0)
    session_id: str = column("Name or id of the sweep the run belongs to", nullable=True)
    config_hash: str = column("Hash of the settings that decide what is measured and how", nullable=True)
    warmup_runs: int = column("Passes before timing", unit="1", nullable=True, ge=0)
    timed_runs: int = column("Timed passes", unit="1", nullable=True, ge=0)
    total_flops: int = column(
        "Floating-point operations of one pass, counted by flops_method", unit="FLOP", nullable=True, ge=0
    )
    total_bytes: int = column(
        "Bytes read and written by all subgraphs of one pass, counted", unit="byte", nullable=True, ge=0
    )
    total_latency_ms: float = column("Sum of the subgraphs' mean latencies", unit="ms", nullable=True, ge=0)
    total_latency_std_ms: float = column("Root of the sum of the subgraphs' variances", unit="ms", nullable=True, ge=0)
    num_subgraphs: int = column("Number of subgraphs", unit="1", nullable=True, ge=0)
    throughput_fps: float = column("Inputs per second: batch / total_latency", unit="1/s", nullable=True, ge=0)
    end_to_end_latency_ms: float = column(
        "Mean latency of the whole model, timed without instrumentation", unit="ms", nullable=True, ge=0
    )
    end_to_end_latency_std_ms: float = column(
        "Sample standard deviation of the end-to-end latency", unit="ms", nullable=True, ge=0
    )
    end_to_end_samples_ms: Annotated[pl.List, pl.Float64()] = column(
        "Raw samples of the end-to-end latency", unit="ms", nullable=True
    )
    timing_method: str = column(
        "How subgraphs were timed: node_sync (a device sync at each node), node_events (device events), "
        "perf_counter, end_to_end, none",
        isin=TIMING_METHODS,
    )
    flops_method: str = column("Counting rules of flops and bytes; see docs/counting.md", nullable=True)
    system_before: SystemStruct = column(f"System state before the run: {SYSTEM_FIELDS}", nullable=True)
    system_under_load: SystemStruct = column(f"System state while the run was busy: {SYSTEM_FIELDS}", nullable=True)
    system_after: SystemStruct = column(f"System state after the run: {SYSTEM_FIELDS}", nullable=True)
    os: str = column("Operating system and kernel", nullable=True)
    python_version: str = column("Python that measured", nullable=True)
    torch_version: str = column("PyTorch that measured", nullable=True)
    cuda_version: str = column("CUDA that PyTorch was built for", nullable=True)
    driver_version: str = column("Driver of the device", nullable=True)
    machine_fingerprint: str = column("Hash of the machine's fixed properties", nullable=True)
    software_fingerprint: str = column("Hash of the versions that can change a timing", nullable=True)
    sources: Annotated[pl.List, pl.Struct({"uri": pl.String(), "sha256": pl.String(), "layout": pl.String()})] = column(
        "Files an imported run was read from: uri, sha256, layout", nullable=True
    )
    source_hardware_id: str = column("Hardware id written in the imported file", nullable=True)
    source_measurement_date: str = column("Date exactly as written in the imported file", nullable=True)
    fact_rows: Annotated[pl.List, pl.Struct({"table": pl.String(), "rows": pl.Int64()})] = column(
        "Fact tables the run wrote to, and how many rows: table, rows", nullable=True
    )
    warnings: Annotated[pl.List, pl.String()] = column(
        "What is doubtful about the run, each as code: text; NULL when nothing is", nullable=True
    )
    note: str = column("Free text of whoever measured", nullable=True)
    error: str = column("Why a failed run has no result, or a retracted one was withdrawn", nullable=True)
    measured_window_s: float = column(
        "Length of the window that the run's power readings belong to; it begins at their timestamp 0 and spans the "
        "timed passes of the whole model",
        unit="s",
        nullable=True,
        ge=0,
    )
    power_series: Annotated[pl.List, PowerSeriesStruct] = column(
        f"What is true of each rail's power series: {POWER_SERIES_FIELDS}", nullable=True
    )
    power_notes: Annotated[pl.List, pl.String()] = column(
        "Why a power sensor gave nothing, each as source: reason", nullable=True
    )

    device_index: int = column(
        "Index that NVML gives to the GPU the work ran on; NULL on a processor or a Jetson",
        unit="1",
        nullable=True,
        ge=0,
    )

    fact_files: Annotated[pl.List, pl.Struct({"path": pl.String(), "bytes": pl.Int64(), "sha256": pl.String()})] = (
        column(
            "Files that hold the run's rows: path below the lake's folder, bytes, and sha256 of the content",
            nullable=True,
        )
    )

    @classmethod
    def table_name(cls) -> str:
        """Name of the ledger."""
        return "runs"

    @classmethod
    def version(cls) -> int:
        """Version 2 says what power series a run has, 3 on which GPU it ran, 4 which files hold its rows."""
        return 4

    @classmethod
    def added(cls) -> dict[str, int]:
        """Columns that version 1 did not have."""
        return {"measured_window_s": 2, "power_series": 2, "power_notes": 2, "device_index": 3, "fact_files": 4}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Partitioned by device only: look-ups never need more, and loose files stay few."""
        return ("hardware_id",)

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A failure has a reason; a zone is known wherever a time is."""
        return {
            "failed_run_names_its_error": (pl.col("status") != "failed") | pl.col("error").is_not_null(),
            "started_at_has_zone_source": pl.col("started_at").is_null() == pl.col("started_at_zone_source").is_null(),
            "end_to_end_samples_ms >= 0": pl.col("end_to_end_samples_ms").list.min() >= 0,
            "end_to_end_std_needs_mean": pl.col("end_to_end_latency_std_ms").is_null()
            | pl.col("end_to_end_latency_ms").is_not_null(),
        }
