"""Contracts of what is measured on a device: subgraph timings, power readings, and the device itself."""

from __future__ import annotations

from typing import Annotated

import polars as pl

from groundlake.schemas.base import KEYS, Table, column, in_order


class SubgraphTimings(Table):
    """One subgraph in one run: its work, latency statistics, efficiency and raw samples."""

    hardware_id: str = column("Device the run was made on")
    precision: str = column("Numeric precision, lower case")
    model: str = column("Model the subgraph was cut from")
    batch: int = column("Batch size", unit="1", ge=0)
    run_id: str = column("Run the row belongs to")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")
    subgraph_id: int = column(
        "Position of the subgraph in the model, from 0; the same cut gives the same id", unit="1", ge=0
    )
    fusion_pattern: str = column("Kinds of the first three operations, or Unfused")
    operation_type: str = column("Class of the pattern: conv2d_batchnorm, conv2d, matmul, activation, unfused, ...")
    node_names: Annotated[pl.List, pl.String()] = column("Graph nodes of the subgraph, in order")
    flops: int = column("Floating-point operations of one pass, counted", unit="FLOP", ge=0)
    total_bytes: int = column("Bytes of inputs, outputs and weights of one pass, counted", unit="byte", ge=0)
    arithmetic_intensity: float = column("flops / max(1, total_bytes)", unit="FLOP/byte", ge=0)
    latency_mean_ms: float = column("Mean latency", unit="ms", ge=0)
    latency_std_ms: float = column("Sample standard deviation of the latency", unit="ms", ge=0)
    latency_min_ms: float = column("Smallest latency", unit="ms", ge=0)
    latency_max_ms: float = column("Largest latency", unit="ms", ge=0)
    latency_ci_lower_ms: float = column(
        "Lower end of the 95 % confidence interval of the mean", unit="ms", nullable=True
    )
    latency_ci_upper_ms: float = column(
        "Upper end of the 95 % confidence interval of the mean", unit="ms", nullable=True
    )
    latency_samples: int = column("Number of timed passes behind the latency statistics", unit="1", ge=1)
    latency_samples_ms: Annotated[pl.List, pl.Float64()] = column(
        "Raw latency samples; NULL where the source kept only statistics", unit="ms", nullable=True
    )
    achieved_flops: float = column(
        "Mean of flops / latency over the samples; NULL where flops is 0", unit="FLOP/s", nullable=True, ge=0
    )
    efficiency_mean: float = column(
        "Mean share of the recorded peak; NULL where not applicable; above 1 occurs", unit="1", nullable=True, ge=0
    )
    efficiency_std: float = column("Sample standard deviation of the efficiency", unit="1", nullable=True, ge=0)
    efficiency_min: float = column("Smallest efficiency", unit="1", nullable=True, ge=0)
    efficiency_max: float = column("Largest efficiency", unit="1", nullable=True, ge=0)
    efficiency_ci_lower: float = column(
        "Lower end of the 95 % confidence interval of the mean efficiency", unit="1", nullable=True
    )
    efficiency_ci_upper: float = column(
        "Upper end of the 95 % confidence interval of the mean efficiency", unit="1", nullable=True
    )
    efficiency_samples: int = column(
        "Number of samples behind the efficiency; NULL where not applicable", unit="1", nullable=True, ge=1
    )
    theoretical_peak_flops: float = column(
        "Peak behind the efficiency, as recorded", unit="FLOP/s", nullable=True, ge=0
    )
    source_model: str = column("Model name written beside the subgraph in an imported file", nullable=True)

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "subgraph_timings"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """Statistics are in order; plausibility (efficiency above 1) is a warning on the run, not a rule."""
        return {
            "subgraph_id_once_in_run": pl.struct(*KEYS, "run_id", "subgraph_id").is_unique(),
            "latency_min <= mean <= max": in_order("latency_min_ms", "latency_mean_ms", "latency_max_ms"),
            "latency_samples_ms >= 0": pl.col("latency_samples_ms").list.min() >= 0,
            "latency_ci_lower <= mean <= ci_upper": in_order(
                "latency_ci_lower_ms", "latency_mean_ms", "latency_ci_upper_ms"
            ),
            "efficiency_min <= mean <= max": in_order("efficiency_min", "efficiency_mean", "efficiency_max"),
            "efficiency_ci_lower <= mean <= ci_upper": in_order(
                "efficiency_ci_lower", "efficiency_mean", "efficiency_ci_upper"
            ),
        }


class PowerTimeseries(Table):
    """One reading of one power rail."""

    hardware_id: str = column("Device the run was made on")
    precision: str = column("Numeric precision of the run, lower case; none for an idle baseline")
    model: str = column("Model that was running; idle for an idle baseline")
    batch: int = column("Batch size; 0 for an idle baseline", unit="1", ge=0)
    run_id: str = column("Run the reading belongs to")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")
    phase: str = column(
        "What was going on: baseline, warmup, measure. The last goes on behind the measured window, until the recorder "
        "stops: timestamp_s from 0 to measured_window_s of the run is the window",
        isin=("baseline", "warmup", "measure"),
    )
    source: str = column("Sensor interface that was read: nvml, jetson_ina3221, rapl, replay")
    rail: str = column("Power rail, as the sensor names it")
    device_index: int = column("Index of the device on its bus", unit="1", nullable=True, ge=0)
    device_uuid: str = column("Identity of the device that does not change with its index", nullable=True)
    timestamp_s: float = column(
        "Moment of the read, from the start of the measurement, on the clock of the timings", unit="s"
    )
    power_w: float = column(
        "Power; what a reading means (instant, average) is named by the run", unit="W", nullable=True, ge=0
    )
    energy_counter_j: float = column("Cumulative energy counter at the same moment", unit="J", nullable=True, ge=0)
    temperature_c: float = column("Temperature at the same moment", unit="°C", nullable=True)
    averaging_s: float = column(
        "Time over which the sensor averages power_w: 0 for an instant reading, NULL where it is not known or the rail "
        "has a counter only",
        unit="s",
        nullable=True,
        ge=0,
    )

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "power_timeseries"

    @classmethod
    def version(cls) -> int:
        """Version 2 says over which time a reading is an average."""
        return 2

    @classmethod
    def added(cls) -> dict[str, int]:
        """Columns that version 1 did not have."""
        return {"averaging_s": 2}


class Hardware(Table):
    """One device specification in one power mode, with the source of each figure."""

    hardware_id: str = column("Id the runs of this device carry")
    run_id: str = column("Run of kind hardware_spec that wrote the row")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")
    name: str = column("Product name")
    vendor: str = column("Manufacturer", nullable=True)
    device: str = column("Kind of device the work runs on: cpu, cuda")
    power_mode: str = column("Power mode the figures hold for", nullable=True)
    aliases: Annotated[pl.List, pl.String()] = column(
        "Other ids under which the same device in the same mode was measured", nullable=True
    )
    compute_units: int = column("CUDA cores, or physical CPU cores", unit="1", nullable=True, ge=1)
    clock_mhz: float = column("Clock the peaks are computed for", unit="MHz", nullable=True, ge=0)
    peak_fp32_flops: float = column("Physical peak in fp32 without tensor cores", unit="FLOP/s", nullable=True, ge=0)
    peak_tf32_flops: float = column("Physical dense peak in tf32", unit="FLOP/s", nullable=True, ge=0)
    peak_fp16_flops: float = column("Physical dense peak in fp16", unit="FLOP/s", nullable=True, ge=0)
    peak_bf16_flops: float = column("Physical dense peak in bf16", unit="FLOP/s", nullable=True, ge=0)
    peak_int8_ops: float = column("Physical dense peak in int8 operations", unit="OP/s", nullable=True, ge=0)
    memory_bandwidth_bytes_per_s: float = column("Peak memory bandwidth", unit="byte/s", nullable=True, ge=0)
    memory_bytes: int = column("Memory of the device", unit="byte", nullable=True, ge=0)
    power_limit_w: float = column("Power limit in this mode", unit="W", nullable=True, ge=0)
    figure_sources: Annotated[pl.List, pl.Struct({"figure": pl.String(), "source": pl.String()})] = column(
        "Where each figure comes from: figure, source", nullable=True
    )
    operation_overhead_s: float = column(
        "Fixed cost of one operation, such as the launch of a kernel", unit="s", nullable=True, ge=0
    )

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "hardware"

    @classmethod
    def version(cls) -> int:
        """Version 2 says what an operation costs beside its work."""
        return 2

    @classmethod
    def added(cls) -> dict[str, int]:
        """Columns that version 1 did not have."""
        return {"operation_overhead_s": 2}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """A specification holds for the device, whatever runs on it."""
        return ("hardware_id",)

    @classmethod
    def latest_by(cls) -> tuple[str, ...]:
        """A later specification of a device takes the place of an earlier one."""
        return ("hardware_id",)
