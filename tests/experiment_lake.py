"""A small lake of LLM inference experiments, written straight to the contracts, to work answers out by hand."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundlake.store import Lake

NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - the lake keeps naive UTC
Rows = list[dict[str, object]]


def experiment(
    lake: Lake,
    *,
    hour: float = 0,
    run: Mapping[str, object] | None = None,
    facts: Mapping[str, Rows] | None = None,
    power: pl.DataFrame | None = None,
    **figures: object,
) -> str:
    """Write a good experiment, `hour` hours after noon of 1 January 2026, and return the id of its run.

    Args:
        lake: Where it goes.
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
    return lake.write(ledger, **frames)


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
