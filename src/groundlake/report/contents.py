"""The tables of the report: each a query, with headings that name units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.report.figure import where
from groundlake.report.tables import Table

if TYPE_CHECKING:
    from groundlake.report.figure import Ask, Wanted

PLACE = {"hardware_id": "Hardware", "precision": "Precision", "model": "Model", "batch": "Batch"}


@dataclass(frozen=True, kw_only=True)
class TableOf:
    """A table before it is asked for: `{given}` in its SQL takes the condition on hardware ids."""

    title: str
    sql: str
    heads: dict[str, str]
    conditions: tuple[str, ...] = ()
    column: str = "hardware_id"

    def read(self, ask: Ask, wanted: Wanted) -> Table:
        """Ask for the rows."""
        prefix = self.column.removesuffix("hardware_id")
        about = [f"{prefix}{each}" for each in wanted.conditions("hardware_id")]
        sql = self.sql.format(given=where([*self.conditions, *about]))
        return Table(title=self.title, sql=sql, rows=ask(sql), heads=self.heads)


FAILED = TableOf(
    title="Tried, and never measured",
    sql="SELECT hardware_id, precision, model, batch, failed_runs, last_failed_at, last_error\nFROM coverage{given}\n"
    "ORDER BY hardware_id, precision, model, batch",
    conditions=("state = 'failed'",),
    heads=PLACE | {"failed_runs": "Failed runs", "last_failed_at": "Last (UTC)", "last_error": "Why"},
)

LATENCIES = TableOf(
    title="Latest good run of each configuration",
    sql="SELECT l.hardware_id, l.precision, l.model, l.batch, l.total_latency_ms, n.noise_percent,\n"
    "    l.end_to_end_latency_ms, l.throughput_fps,\n"
    "    l.total_flops / NULLIF(l.total_latency_ms, 0) / 1e9 AS achieved_tflops,\n"
    "    l.timing_method, n.noise_method, l.is_representative, l.started_at\n"
    "FROM latest_runs l\nLEFT JOIN run_noise n\n"
    "    ON n.hardware_id = l.hardware_id AND n.run_id = l.run_id AND n.quantity = 'total_latency_ms'{given}\n"
    "ORDER BY l.hardware_id, l.precision, l.model, l.batch",
    column="l.hardware_id",
    heads=PLACE
    | {
        "total_latency_ms": "Sum of subgraphs [ms]",
        "noise_percent": "Noise [%]",
        "noise_method": "Noise known",
        "end_to_end_latency_ms": "End to end [ms]",
        "throughput_fps": "Throughput [1/s]",
        "achieved_tflops": "Achieved [TFLOP/s]",
        "timing_method": "Timed by",
        "is_representative": "Machine fit",
        "started_at": "Started (UTC)",
    },
)

SPEEDUPS = TableOf(
    title="Speed-up of each lower precision beside fp32",
    sql="SELECT hardware_id, precision, model, batch, speedup, fp32_latency_ms, latency_ms,\n"
    "    end_to_end_speedup, verdict, reason, timing_method\n"
    "FROM precision_speedup{given}\nORDER BY hardware_id, precision, model, batch",
    heads=PLACE
    | {
        "speedup": "Speed-up [1]",
        "fp32_latency_ms": "fp32 [ms]",
        "latency_ms": "Latency [ms]",
        "end_to_end_speedup": "End-to-end speed-up [1]",
        "verdict": "Verdict",
        "reason": "Why",
        "timing_method": "Timed by",
    },
)

MODES = TableOf(
    title="Speed-up of each power mode beside the next lower one",
    sql="SELECT device_name, precision, model, batch, lower_mode, power_mode, speedup, power_ratio, lower_latency_ms,\n"
    "    latency_ms, verdict, reason, timing_method\nFROM power_mode_scaling{given}\n"
    "ORDER BY device_name, precision, model, batch, power_mode",
    heads=PLACE
    | {
        "device_name": "Device",
        "lower_mode": "Lower mode",
        "power_mode": "Mode",
        "speedup": "Speed-up [1]",
        "power_ratio": "Power ratio [1]",
        "lower_latency_ms": "Lower mode [ms]",
        "latency_ms": "Latency [ms]",
        "verdict": "Verdict",
        "reason": "Why",
        "timing_method": "Timed by",
    },
)

ENERGIES = TableOf(
    title="Energy of each rail over the measured window",
    sql="SELECT hardware_id, precision, model, batch, source, rail, energy_j, mean_power_w, window_s, usual_step_s,\n"
    "    counter_energy_j, baseline_power_w, reason\nFROM run_energy{given}\n"
    "ORDER BY hardware_id, precision, model, batch, source, rail, run_id",
    conditions=("kind = 'efficiency'",),
    heads=PLACE
    | {
        "source": "Sensor",
        "rail": "Rail",
        "energy_j": "Energy [J]",
        "mean_power_w": "Mean power [W]",
        "window_s": "Window [s]",
        "usual_step_s": "Sampling period [s]",
        "counter_energy_j": "Counter [J]",
        "baseline_power_w": "Idle [W]",
        "reason": "Why there is none",
    },
)

ACCURACIES = TableOf(
    title="Accuracy by estimator, hardware id and precision",
    sql="SELECT a.estimator, a.hardware_id, a.precision, a.extrapolated, a.num_configurations, a.rating,\n"
    "    a.median_ape, a.p90_ape, a.bias, a.within_25_percent, a.rank_agreement, a.quantity, a.compared_with,\n"
    "    a.estimator_version\n"
    "FROM estimator_accuracy a\nJOIN estimator_versions v\n"
    "    ON v.estimator = a.estimator AND v.estimator_version = a.estimator_version{given}\n"
    "ORDER BY a.estimator, a.hardware_id, a.precision, a.quantity, a.compared_with, a.extrapolated",
    conditions=("v.is_latest",),
    column="a.hardware_id",
    heads=PLACE
    | {
        "estimator": "Estimator",
        "estimator_version": "Version",
        "quantity": "Quantity",
        "compared_with": "Compared with",
        "extrapolated": "Extrapolated",
        "num_configurations": "Configs",
        "median_ape": "Median APE [%]",
        "p90_ape": "p90 APE [%]",
        "bias": "Bias [%]",
        "within_25_percent": "Within 25 % [1]",
        "rank_agreement": "Rank agreement [1]",
        "rating": "Rating",
    },
)

FINDINGS = TableOf(
    title="Findings",
    sql="SELECT finding, hardware_id, count(*) AS times,\n"
    "    CASE WHEN finding = 'warning' THEN split_part(explanation, ':', 1) ELSE explanation END AS meaning,\n"
    "    min(value) AS smallest_value, max(value) AS largest_value, count(DISTINCT model) AS models\n"
    "FROM data_quality{given}\n"
    "GROUP BY finding, hardware_id,\n"
    "    CASE WHEN finding = 'warning' THEN split_part(explanation, ':', 1) ELSE explanation END\n"
    "ORDER BY finding, hardware_id, meaning",
    heads={
        "finding": "Finding",
        "hardware_id": "Hardware",
        "times": "Times",
        "models": "Models",
        "smallest_value": "Smallest value",
        "largest_value": "Largest value",
        "meaning": "What it means",
    },
)

RUNS = TableOf(
    title="Where the good runs come from",
    sql="SELECT hardware_id, coalesce(tool_version, 'not known') AS tool, timing_method, flops_method,\n"
    "    theoretical_peak_source, torch_version, cuda_version, driver_version, count(*) AS runs,\n"
    "    min(started_at) AS first_started_at, max(started_at) AS last_started_at\nFROM runs{given}\n"
    "GROUP BY hardware_id, tool_version, timing_method, flops_method, theoretical_peak_source, torch_version,\n"
    "    cuda_version, driver_version\nORDER BY hardware_id, tool, timing_method, first_started_at",
    conditions=("status = 'ok'", "kind = 'efficiency'"),
    heads={
        "hardware_id": "Hardware",
        "tool": "Tool",
        "timing_method": "Timed by",
        "flops_method": "Counted by",
        "theoretical_peak_source": "Peak from",
        "torch_version": "PyTorch",
        "cuda_version": "CUDA",
        "driver_version": "Driver",
        "runs": "Runs",
        "first_started_at": "First (UTC)",
        "last_started_at": "Last (UTC)",
    },
)
