"""A small lake that has something for every picture: precisions, batches, power modes, repeats, power and estimates."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

NASTY = 'a<b>&"c'
"""A model's name that would break a page that does not escape it."""

SCRIPT = "</script><b>x"
"""Another one, which would end a script."""

KINDS = ("conv2d_batchnorm", "matmul", "activation")
FIRST = dt.datetime(2026, 3, 1, 8, 0)  # noqa: DTZ001 - naive UTC, as in the ledger
PEAK = 1e12


def timings(scale: float) -> pl.DataFrame:
    """Rows of subgraph_timings: three kinds of work in two sizes, the last one with nothing counted."""
    rows = []
    for number in range(7):
        flops = 0 if number == 6 else 10 ** (5 + number) * 3
        mean = scale * (1 + number) / 7
        efficiency = flops / (mean / 1000) / PEAK if flops else None
        rows.append(
            {
                "subgraph_id": number,
                "fusion_pattern": "Conv2d" if number < 6 else "Unfused",
                "operation_type": KINDS[number % 3] if number < 6 else "unfused",
                "node_names": ["n"],
                "flops": flops,
                "total_bytes": 0 if number == 6 else 10**5,
                "arithmetic_intensity": float(flops) if number == 6 else flops / 1e5,
                "latency_mean_ms": mean,
                "latency_std_ms": 0.05 * mean,
                "latency_min_ms": 0.9 * mean,
                "latency_max_ms": 1.2 * mean,
                "latency_ci_lower_ms": 0.98 * mean,
                "latency_ci_upper_ms": 1.02 * mean,
                "latency_samples": 30,
                "efficiency_mean": efficiency,
                "efficiency_std": 0.05 * efficiency if efficiency else None,
                "efficiency_samples": 30 if flops else None,
                "theoretical_peak_flops": PEAK,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def power(watts: float) -> pl.DataFrame:
    """Readings of two rails, 20 a second, from before the measured window of two seconds to behind it."""
    moments = [number / 20 - 1 for number in range(81)]
    rails = [
        pl.DataFrame(
            {
                "phase": ["warmup" if moment < 0 else "measure" for moment in moments],
                "source": "nvml",
                "rail": rail,
                "device_index": 0,
                "timestamp_s": moments,
                "power_w": [level + (0.5 if number % 2 else -0.5) for number in range(81)],
                "averaging_s": 0.0,
            }
        )
        for rail, level in (("board", watts), ("module <1>", watts / 3))
    ]
    return pl.concat(rails)


def run(hardware: str, precision: str, model: str, batch: int, scale: float, **more: Any) -> dict[str, Any]:
    """Ledger columns of a good run whose subgraphs take `scale` x 4 ms in all."""
    total = sum(timings(scale)["latency_mean_ms"])
    return {
        "hardware_id": hardware,
        "precision": precision,
        "model": model,
        "batch": batch,
        "device": "cuda",
        "timing_method": "node_sync",
        "flops_method": "counted",
        "theoretical_peak_flops": PEAK,
        "theoretical_peak_source": "registry",
        "started_at": FIRST,
        "started_at_zone_source": "clock",
        "tool_version": "tool 1",
        "timed_runs": 30,
        "num_subgraphs": 7,
        "total_flops": int(timings(scale)["flops"].sum()),
        "total_bytes": 6 * 10**5,
        "total_latency_ms": total,
        "total_latency_std_ms": 0.05 * total,
        "end_to_end_latency_ms": 0.8 * total,
        "end_to_end_latency_std_ms": 0.02 * total,
        "throughput_fps": batch / total * 1000,
        **more,
    }


def specification(hardware: str) -> pl.DataFrame:
    """A device whose roof has a ridge at 10 FLOP/byte."""
    return pl.DataFrame(
        {
            "hardware_id": hardware,
            "name": "Board",
            "device": "cuda",
            "peak_fp32_flops": PEAK,
            "peak_fp16_flops": 4 * PEAK,
            "memory_bandwidth_bytes_per_s": PEAK / 10,
            "operation_overhead_s": 1e-6,
        }
    )


def write(root: Path) -> Lake:
    """Write the lake."""
    lake = Lake(root)
    for hardware, slow, mode in (("board_30w", 2.0, "30W"), ("board_maxn", 1.0, "MAXN")):
        lake.write({"hardware_id": hardware, "kind": "hardware_spec"}, hardware=specification(hardware))
        for number, model in enumerate(("net", NASTY, SCRIPT)):
            for precision, gain in (("fp32", 1.0), ("fp16", 0.6)):
                for batch in (1, 8):
                    scale = slow * gain * (1 + number) * batch**0.5
                    made = run(hardware, precision, model, batch, scale, thermal_profile=mode)
                    lake.write(made, subgraph_timings=timings(scale))
    for repeat in (1, 2):
        later = {"started_at": FIRST + dt.timedelta(days=repeat), "run_index": repeat + 1, "thermal_profile": "MAXN"}
        scale = 1 + repeat / 50
        lake.write(run("board_maxn", "fp32", "net", 1, scale, **later), subgraph_timings=timings(scale))
    made = run("board_maxn", "fp32", NASTY, 1, 2.1, started_at=FIRST + dt.timedelta(days=3), measured_window_s=2.0)
    made["thermal_profile"] = "MAXN"
    lake.write(made, subgraph_timings=timings(2.1), power_timeseries=power(30.0))
    odd = run("board_maxn", "fp16", "net", 32, 4.0, thermal_profile="MAXN", timing_method="node_events")
    lake.write(odd, subgraph_timings=timings(4.0))
    forced = run("board_30w", "fp32", "net", 32, 9.0, thermal_profile="30W", warnings=["not_representative: busy"])
    lake.write(forced, subgraph_timings=timings(9.0))
    failed = {"hardware_id": "board_30w", "precision": "bf16", "model": NASTY, "batch": 8}
    lake.write(failed | {"status": "failed", "error": f"no {NASTY} here"})
    lake.write_estimates(predictions(), estimator="guess", version="1 <beta>", sources=[])
    return lake


def predictions() -> pl.DataFrame:
    """Predictions of whole models, one of them extrapolated."""
    rows = [
        {"hardware_id": hardware, "precision": "fp32", "model": model, "batch": batch, "predicted_latency_ms": value,
         "extrapolated": model == SCRIPT}
        for hardware in ("board_30w", "board_maxn")
        for model, value in (("net", 3.0), (NASTY, 9.0), (SCRIPT, 40.0))
        for batch in (1, 8)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def alike(value: object, other: object) -> bool:
    """Whether two cells are the same; the last digits of a sum depend on which thread was first."""
    if isinstance(value, float) and isinstance(other, (int, float)):
        return math.isclose(value, other, rel_tol=1e-12)
    return value == other


def assert_alike(rows: list[dict[str, object]], others: list[dict[str, object]]) -> None:
    """Compare rows cell by cell."""
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        assert all(alike(row[name], other[name]) for name in row), (row, other)
