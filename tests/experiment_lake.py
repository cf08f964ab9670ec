"""A small lake of LLM inference experiments, written straight to the contracts, to work answers out by hand."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundlake.store import Lake

NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - the lake keeps naive UTC
Rows = list[dict[str, object]]


def experiment(lake: Lake, **columns: Any) -> str:
    """Write a good experiment as `made` makes it, and return the id of its run."""
    ledger, frames = made(**columns)
    return lake.write(ledger, **frames)


def made(
    *,
    hour: float = 0,
    run: Mapping[str, object] | None = None,
    facts: Mapping[str, Rows] | None = None,
    power: pl.DataFrame | None = None,
    **figures: object,
) -> tuple[dict[str, object], dict[str, pl.DataFrame]]:
    """Make a good experiment, `hour` hours after noon of 1 January 2026, as `Lake.write_many` takes it.

    Args:
        hour: When it began.
        run: Columns of the ledger.
        facts: Rows of its other tables, by table.
        power: Readings of power.
        **figures: Columns of `experiments`; 100 tokens in and 50 out in 10 s unless they say otherwise.
    """
    row: dict[str, object] = {
        "experiment_id": "e",
        "result_schema_version": "2.0.0",
        "backend": "transformers",
        "measurement_methodology": "total",
        "num_processes": 1,
        "num_requests": 2,
        "input_tokens": 100,
        "output_tokens": 50,
        "wall_time_s": 10.0,
    } | figures
    ledger: dict[str, object] = {
        "hardware_id": "dev",
        "precision": "fp16",
        "model": "chat",
        "batch": 1,
        "kind": "llm_inference",
        "device": "cuda",
        "timing_method": "none",
        "started_at": NOON + dt.timedelta(hours=hour),
        "started_at_zone_source": "clock",
        "session_id": row.get("study"),
        "run_index": row.get("cycle"),
    } | dict(run or {})
    frames = {name: frame(rows) for name, rows in {"experiments": [row], **(facts or {})}.items()}
    if power is not None:
        frames["power_timeseries"] = power
    return ledger, frames


def frame(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Rows as a frame; a column that a row leaves out is NULL in it."""
    return pl.DataFrame(rows, infer_schema_length=None)


def energy(joules: float, **columns: object) -> dict[str, object]:
    """An energy of all GPUs over the ten seconds of the experiment."""
    return {
        "source": "nvml",
        "method": "counter",
        "scope": "gpu",
        "phase": "all",
        "window_start_s": 0.0,
        "window_s": 10.0,
        "energy_j": joules,
    } | columns


def request(
    index: int,
    first: float | None = None,
    *between: float,
    tokens: tuple[int | None, int | None] = (50, 25),
    **columns: object,
) -> dict[str, object]:
    """An answered request: time to its first token and between the next ones, in ms."""
    return {
        "process_index": 0,
        "request_index": index,
        "phase": "measure",
        "status": "ok",
        "time_to_first_token_ms": first,
        "end_to_end_latency_ms": None if first is None else first + sum(between),
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "inter_token_latencies_ms": list(between) or None,
        "token_timing": "streaming",
    } | columns


def failed(lake: Lake, error: str, **run: object) -> str:
    """Write an experiment that failed, and return the id of its run."""
    keys = {"hardware_id": "dev", "precision": "fp16", "model": "chat", "batch": 1, "kind": "llm_inference"}
    return lake.write(keys | {"status": "failed", "error": error} | run)


def process(index: int, **columns: object) -> dict[str, object]:
    """A process that ran for the ten seconds of the experiment."""
    return {"process_index": index, "started_at": NOON, "ended_at": NOON + dt.timedelta(seconds=10)} | columns


def warned(code: str, **columns: object) -> dict[str, object]:
    """A doubt about the measurement."""
    return {"code": code, "message": "What was seen. What to do."} | columns


def planned(lake: Lake, study: str, *cells: tuple[str, int]) -> str:
    """Write the plan of a study: hashes of configurations and numbers of repeats, in order."""
    rows = [
        {"study": study, "position": place, "config_hash": config, "cycle": cycle, "settings_json": "{}"}
        for place, (config, cycle) in enumerate(cells)
    ]
    keys = {"hardware_id": "dev", "precision": "fp16", "model": "chat", "batch": 1, "kind": "study"}
    return lake.write(keys | {"session_id": study}, study_plan=frame(rows))


def readings(
    watts: Mapping[int | None, float],
    *,
    source: str = "nvml",
    rail: str = "gpu",
    counter: bool = False,
    gap_in: int | None = None,
) -> pl.DataFrame:
    """Steady readings of devices, by their index, every half second around a window of ten seconds.

    Args:
        watts: Power of each device.
        source: Sensor interface.
        rail: Name of the rail.
        counter: Whether the sensor counts energy, and tells no power.
        gap_in: Device whose readings leave out four seconds.
    """
    rows = [
        {
            "phase": "measure",
            "source": source,
            "rail": rail,
            "device_index": device,
            "timestamp_s": number / 2,
            "power_w": None if counter else power,
            "energy_counter_j": power * (number + 100) / 2 if counter else None,
            "averaging_s": None if counter else 0.0,
        }
        for device, power in watts.items()
        for number in range(-2, 23)
        if device != gap_in or gap_in is None or not 4 < number < 12
    ]
    types = {"device_index": pl.Int64, "power_w": pl.Float64, "energy_counter_j": pl.Float64, "averaging_s": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=types)


def series(watts: Sequence[float | None], *, phase: str = "measure") -> pl.DataFrame:
    """Readings of GPU 0, one a second from 0 on; None for one that failed."""
    rows = [
        {"phase": phase, "source": "nvml", "rail": "gpu", "device_index": 0, "timestamp_s": float(at), "power_w": power}
        for at, power in enumerate(watts)
    ]
    return pl.DataFrame(rows, schema_overrides={"power_w": pl.Float64}).with_columns(averaging_s=pl.lit(0.0))


def idle(lake: Lake, watts: Sequence[float | None], **run: object) -> str:
    """Write the baseline of a sitting: readings of the idle GPU 0, and return the id of its run."""
    keys = {"hardware_id": "dev", "kind": "idle_baseline", "model": "idle", "started_at": NOON}
    known = {"started_at_zone_source": "clock", "measured_window_s": float(len(watts) - 1) if watts else None}
    facts = {"power_timeseries": series(watts, phase="baseline")} if watts else {}
    return lake.write(keys | known | run, **facts)


def fill(lake: Lake) -> None:
    """Write experiments with every situation that the views tell apart."""
    planned(lake, "s", ("x", 1), ("x", 2), ("x", 3), ("y", 1), ("z", 1))
    for cycle, (joules, watts) in enumerate([(1234.5, 60.25), (1300.0, 61.5), (1250.25, None)], start=1):
        facts = _measured(joules, watts, first=80.0 + 7 * cycle)
        if cycle > 1:
            facts["measurement_warnings"] = [warned("thermal_drift", observed=11.5, threshold=10.0, value_unit="°C")]
        known = {"config_hash": "x", "measured_window_s": 10.0, "driver_version": f"55{cycle}"}
        both = readings({0: 70.0, 1: 60.0 + cycle}, gap_in=1 if cycle == 3 else None)
        columns = {"study": "s", "cycle": cycle, "num_processes": 2, "concurrency": 4, "overlap_verified": cycle > 1}
        columns |= {"num_requests": 6, "inference_time_s": 18.0}
        experiment(lake, hour=cycle, run=known, facts=facts, power=both, throttled=False, **columns)
    failed(lake, "out of memory", session_id="s", config_hash="y", run_index=1)
    faster = {"energy_estimates": [energy(900.0), energy(2000.0, source="codecarbon", scope="machine")]}
    faster["experiment_requests"] = [request(0, 150.0, 9.0, 8.0, 7.0, 6.0), request(1, 160.0, 5.0)]
    experiment(lake, hour=9, run={"batch": 8, "model": "größer"}, facts=faster, wall_time_s=3.0)
    experiment(lake, hour=10, run={"batch": 4}, facts=faster, wall_time_s=6.0, throttled=True)
    _imported(lake)


def _measured(joules: float, watts: float | None, *, first: float) -> dict[str, Rows]:
    """Facts of two processes on a GPU each, with the power of the idle machine where it is known."""
    own = {"baseline_power_w": watts, "baseline_age_s": joules - 1200, "baseline_method": "fresh"}
    above = None if watts is None else joules - 10 * watts
    requests = [request(number, first + number, 20.1, 30.2 + number, 25.3, sent_at_s=number / 3) for number in range(3)]
    requests += [row | {"process_index": 1} for row in requests[:2]]
    requests += [request(3, status="failed", error="timeout", process_index=1)]
    requests += [request(0, 900.0, 100.0, phase="warmup", sent_at_s=-2.5)]
    shared = {"output_tokens": 25, "recorded_tokens_per_second": 3.1}
    processes = [
        process(index, device_index=index, inference_time_s=8.5 + index, device_uuid=f"GPU-{index}") | shared
        for index in range(2)
    ]
    estimates = [
        energy(joules, energy_above_baseline_j=above, **own),
        energy(joules * 0.45, device_index=0),
        energy(joules * 0.55, device_index=1),
        energy(joules * 0.9, source="zeus", method="reported", window_s=None),
        energy(77.0, phase="warmup", window_s=2.0),
    ]
    operations = [
        {"flops": 3e13, "method": "architecture", "confidence": "high", "compute_precision": "fp16"},
        {"flops": 2e13, "method": "palm_formula", "confidence": "medium"},
        {"flops": 1e13, "method": "unknown", "confidence": "unknown"},
    ]
    settings: Rows = [
        {"kind": "package", "name": "torch", "value": f"2.{joules:.0f}"},
        {"kind": "config", "name": "größe", "value": None},
    ]
    return {
        "energy_estimates": estimates,
        "experiment_processes": processes,
        "experiment_requests": requests,
        "experiment_settings": settings,
        "flops_estimates": operations,
    }


def _imported(lake: Lake) -> None:
    """Write an experiment of another tool: samples without requests, energy by process, a quantized model."""
    samples: Rows = [
        {"process_index": None, "metric": "ttft", "token_timing": "per_request_batch", "samples_ms": [100.5, 110.0]},
        {"process_index": 0, "metric": "itl_trimmed", "token_timing": None, "samples_ms": [1.5, 2.5, 0.0]},
        {"process_index": 0, "metric": "e2e", "token_timing": None, "samples_ms": []},
    ]
    facts = {
        "latency_samples": samples,
        "energy_estimates": [energy(40.0 + index, process_index=index, method="reported") for index in range(2)],
        "experiment_metrics": [
            {"phase": "decode", "metric": "itl", "statistic": "p99", "value": 12.5, "value_unit": "ms"}
        ],
        "flops_estimates": [{"flops": 1e12, "method": "palm_formula", "confidence": "medium"}],
        "measurement_warnings": [warned("short_duration", process_index=0)],
    }
    quantized = {"quantization_method": "bitsandbytes", "quantization_bits": 8, "backend": "pytorch"}
    experiment(
        lake, run={"hardware_id": "other", "started_at": None, "started_at_zone_source": None}, facts=facts, **quantized
    )
