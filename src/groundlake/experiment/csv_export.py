"""Experiments as CSV: one row each, the same columns for runs of a lake and for results that are in none."""

from __future__ import annotations

import csv
import datetime as dt
import io
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.commit import environment_error, write_atomically
from groundlake.experiment.rows import ExperimentRun, content_id
from groundlake.experiment.settings import hardware_of
from groundlake.memory import ask_unwritten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from groundlake.experiment.result import ExperimentResult

    Ask = Callable[[str], pl.DataFrame]

VIEWS = (
    "experiment_summary",
    "experiment_processes",
    "experiment_settings",
    "experiment_metrics",
    "energy_estimates",
    "measurement_warnings",
)
"""Views that the questions read."""

ENVIRONMENT = {
    "env_gpu_name": "hardware.gpu.name",
    "env_gpu_vram_mb": "hardware.gpu.vram_total_mb",
    "env_cuda_version": "hardware.cuda.version",
    "env_driver_version": "hardware.cuda.driver_version",
    "env_gpu_temp_c": "hardware.thermal.temperature_c",
    "env_power_limit_w": "hardware.thermal.power_limit_w",
    "env_cpu_model": "hardware.cpu.model",
    "env_cpu_governor": "hardware.cpu.governor",
    "env_in_container": "hardware.container.detected",
    "env_python_version": "python_version",
    "env_tool_version": "tool_version",
}
"""Column to the fact of the environment that it holds."""

_FLAGS = {"true": "True", "false": "False"}

_FACTS = "".join(
    f",\n        max(CASE WHEN name = '{name}' THEN value END) AS {column}" for column, name in ENVIRONMENT.items()
)

ROWS = f"""
    WITH environment AS (
        SELECT hardware_id, run_id{_FACTS}
        FROM experiment_settings
        WHERE kind = 'environment'
        GROUP BY hardware_id, run_id
    ),
    metrics AS (
        SELECT
            hardware_id,
            run_id,
            avg(
                CASE
                    WHEN metric IN ('gpu_utilization', 'nvidia_gpu_utilization') AND statistic IN ('mean', 'value')
                        THEN CASE value_unit WHEN '%' THEN value WHEN '1' THEN 100 * value END
                END
            ) AS gpu_util_mean_pct,
            max(CASE WHEN metric = 'effective_batch_size' THEN value END) AS batch_effective_size,
            max(CASE WHEN metric = 'kv_cache_hit_rate' THEN value END) AS kv_cache_hit_rate
        FROM experiment_metrics
        WHERE process_index IS NULL AND phase = 'all'
        GROUP BY hardware_id, run_id
    )
    SELECT
        s.experiment_id,
        s.run_id,
        s.hardware_id,
        s.backend,
        s.backend_version,
        s.model,
        s.precision,
        s.batch,
        s.quantization_method,
        s.quantization_bits,
        s.study,
        s.cycle,
        s.config_hash AS measurement_config_hash,
        s.measurement_methodology,
        s.started_at AS start_time,
        s.wall_time_s AS duration_sec,
        s.inference_time_s AS total_inference_time_sec,
        s.num_processes,
        s.concurrency,
        s.max_new_tokens,
        s.num_requests,
        s.answered_requests,
        s.failed_requests,
        s.warmup_requests,
        s.input_tokens,
        s.output_tokens,
        s.total_tokens,
        s.output_tokens_per_s,
        s.total_tokens_per_s,
        s.requests_per_s,
        s.output_tokens_per_inference_s,
        s.total_tokens_per_inference_s,
        s.process_tokens_per_s_sum,
        s.process_tokens_per_s_mean,
        s.recorded_tokens_per_second,
        s.recorded_energy_per_token_j,
        s.token_timing,
        s.num_ttft,
        s.ttft_p50_ms,
        s.ttft_p95_ms,
        s.ttft_p99_ms,
        s.num_itl,
        s.itl_p50_ms,
        s.itl_p95_ms,
        s.itl_p99_ms,
        s.num_e2e,
        s.e2e_p50_ms,
        s.e2e_p95_ms,
        s.e2e_p99_ms,
        s.flops AS total_flops,
        s.flops_estimate_method AS flops_method,
        s.flops_confidence,
        s.peak_memory_bytes,
        s.model_memory_bytes,
        m.gpu_util_mean_pct,
        m.batch_effective_size,
        m.kv_cache_hit_rate,
        s.overlap_verified AS temporal_overlap_verified,
        s.devices_verified AS gpu_attribution_verified,
        s.num_warnings,
        s.is_representative,
        s.energy_j AS energy_raw_j,
        s.energy_source,
        s.energy_method,
        s.energy_scope,
        s.energy_window_s,
        CASE WHEN s.energy_above_baseline_j < 0 THEN 0 ELSE s.energy_above_baseline_j END AS energy_adjusted_j,
        s.energy_above_baseline_j,
        s.baseline_power_w AS energy_baseline_w,
        s.baseline_method AS energy_baseline_method,
        s.baseline_age_s AS energy_baseline_age_s,
        s.energy_per_output_token_j,
        s.energy_per_total_token_j,
        s.energy_per_answered_request_j,
        s.throttled AS thermal_throttle_detected,
        s.throttled_s AS thermal_throttle_duration_sec,
        s.max_temperature_c AS thermal_max_temp_c,
        {", ".join(f"e.{column}" for column in ENVIRONMENT)}
    FROM experiment_summary s
    LEFT JOIN environment e ON e.hardware_id = s.hardware_id AND e.run_id = s.run_id
    LEFT JOIN metrics m ON m.hardware_id = s.hardware_id AND m.run_id = s.run_id
    ORDER BY s.started_at, s.run_id
"""  # noqa: S608 - names that stand above

PROCESSES = """
    SELECT
        p.run_id,
        p.process_index,
        p.device_index AS gpu_id,
        p.total_tokens AS tokens,
        p.output_tokens,
        max(e.energy_j) AS energy_j,
        p.recorded_tokens_per_second AS tokens_per_second
    FROM experiment_processes p
    LEFT JOIN energy_estimates e
        ON e.hardware_id = p.hardware_id AND e.run_id = p.run_id AND e.process_index = p.process_index
        AND e.scope = 'process' AND e.phase = 'all'
    GROUP BY
        p.run_id, p.process_index, p.device_index, p.total_tokens, p.output_tokens, p.recorded_tokens_per_second
    ORDER BY p.process_index
"""

WARNINGS = "SELECT run_id, code, message FROM measurement_warnings ORDER BY run_id, code, message"


def csv_table(ask: Ask) -> pl.DataFrame:
    """One row for each good experiment, with columns for each process.

    Args:
        ask: Answers a question about the views of `VIEWS`.
    """
    rows = ask(ROWS)
    texts: dict[str, list[str]] = {}
    for run_id, code, message in ask(WARNINGS).iter_rows():
        texts.setdefault(run_id, []).append(f"{code}: {message}")
    told = [("; ".join(texts[run]) if run in texts else None) for run in rows["run_id"]]
    at = rows.columns.index("num_warnings") + 1
    rows = rows.insert_column(at, pl.Series("warnings", told, dtype=pl.String))
    processes = ask(PROCESSES)
    for (index,), part in processes.group_by("process_index", maintain_order=True):
        figures = part.drop("process_index")
        named = figures.rename({name: f"process_{index}_{name}" for name in figures.columns if name != "run_id"})
        rows = rows.join(named, on="run_id", how="left", maintain_order="left")
    return rows


def csv_text(rows: pl.DataFrame) -> str:
    """Rows as CSV: what is not known is an empty cell; flags are True and False."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.columns)
    writer.writerows([_cell(value) for value in row] for row in rows.iter_rows())
    return text.getvalue()


def export_csv(results: Sequence[ExperimentResult | ExperimentRun], path: Path) -> Path:
    """Write results as CSV, one row each in their order, with what the views of a lake would say of them.

    Args:
        results: What was measured, or the runs as they go into a lake; without any, no file is written.
        path: Where to; its folder is made when missing, and a file that is there is replaced.

    Returns:
        The path.

    Raises:
        LakeEnvironmentError: The disk is full, or may not be written.
    """
    if not results:
        return path
    runs = [
        each if isinstance(each, ExperimentRun) else ExperimentRun.of(each, hardware_of(each) or "unknown")
        for each in results
    ]
    named = [replace(run, run_id=run.identity or content_id(run.result)) for run in runs]
    once = {run.run_id: run.to_frames() for run in named}
    rows = csv_table(partial(_ask, list(once.values())))
    order = pl.DataFrame({"run_id": [run.run_id for run in named]})
    text = csv_text(order.join(rows, on="run_id", how="left", maintain_order="left").select(rows.columns))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise environment_error(error, path) from error
    return path


def unwritten(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, pl.DataFrame]]]) -> pl.DataFrame:
    """The same of runs that are in no lake."""
    return csv_table(partial(_ask, runs))


def _ask(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, pl.DataFrame]]], query: str) -> pl.DataFrame:
    return ask_unwritten(runs, query, *VIEWS)


def _cell(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return _FLAGS.get(value, value) if isinstance(value, str) else value
