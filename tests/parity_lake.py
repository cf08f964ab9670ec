"""A small lake with every situation that the views and queries tell apart, so that none of them is empty."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import calibration_lake
import experiment_lake
import polars as pl
import transition_lake

from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.datetime(2026, 3, 8, 2, 30, 0, 123456)  # noqa: DTZ001 - naive UTC; an hour that New York's clocks skip
ZONE = {"started_at_zone_source": "clock"}


def timings(scale: float, *, noisy: bool = False, peak: float | None = 1e9) -> pl.DataFrame:
    rows = [
        {
            "subgraph_id": number,
            "fusion_pattern": "Unfused" if flops == 0 else "Conv2d_BatchNorm2d_ReLU",
            "operation_type": "unfused" if flops == 0 else "conv2d_batchnorm",
            "node_names": [f"conv{number}", "größe"],
            "flops": flops,
            "total_bytes": 0 if flops == 0 else 4096,
            "arithmetic_intensity": flops / 4096,
            "latency_mean_ms": mean * scale,
            "latency_std_ms": mean * scale / (3 if noisy else 30),
            "latency_min_ms": 0.0,
            "latency_max_ms": mean * scale * (20 if noisy else 2),
            "latency_samples": 50,
            "latency_samples_ms": [mean * scale, mean * scale * 1.1],
            "achieved_flops": flops / mean / scale * 1e3 if flops else None,
            "latency_ci_lower_ms": mean * scale * 0.99,
            "latency_ci_upper_ms": mean * scale * 1.01,
            "efficiency_mean": flops / mean / scale / 1e6 if flops and peak else None,
            "efficiency_std": flops / mean / scale / 3e7 if flops and peak else None,
            "efficiency_samples": 50 if flops and peak else None,
            "theoretical_peak_flops": peak,
        }
        for number, (flops, mean) in enumerate([(123_457, 0.1), (0, 0.07), (7_654_321, 3.3), (11, 1 / 3)])
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def run(**columns: object) -> dict[str, object]:
    return {
        "hardware_id": "dev_a",
        "precision": "fp32",
        "model": "net",
        "batch": 1,
        "device": "cpu",
        "timing_method": "perf_counter",
        "flops_method": "counted",
        "theoretical_peak_flops": 1e9,
        "theoretical_peak_source": "recorded",
        "started_at": DAY,
        "started_at_zone_source": "assumed_utc",
        "total_flops": 7_777_789,
        "total_bytes": 12_288,
        "total_latency_ms": 3.8,
        "total_latency_std_ms": 0.1,
        "num_subgraphs": 4,
        "throughput_fps": 263.1,
    } | columns


def power(watts: float) -> pl.DataFrame:
    """Readings of a GPU, of a counter, and of a rail with a gap, around a window of one second."""
    moments = [number / 10 - 0.55 for number in range(22)]
    shared = {"phase": "measure", "timestamp_s": moments}
    gpu = pl.DataFrame(
        shared | {"power_w": [watts + number % 3 for number in range(22)]}, schema_overrides={"power_w": pl.Float64}
    ).with_columns(
        source=pl.lit("nvml"),
        rail=pl.lit("gpu"),
        device_index=pl.lit(0),
        temperature_c=pl.lit(40.5),
        averaging_s=pl.lit(0.1),
        power_w=pl.when(pl.col("timestamp_s") > 1.3).then(None).otherwise("power_w"),
    )
    package = pl.DataFrame(shared | {"energy_counter_j": [watts * moment + 1e3 for moment in moments]})
    gap = gpu.filter((pl.col("timestamp_s") < 0.3) | (pl.col("timestamp_s") > 0.8)).with_columns(device_index=pl.lit(1))
    counters = package.with_columns(source=pl.lit("rapl"), rail=pl.lit("package-0"))
    return pl.concat([gpu, counters, gap], how="diagonal_relaxed")


def fill_conditions(lake: Lake) -> None:
    """Write power modes, a session that drifts and throttles, an odd graph, an old run and imported files."""
    mode = {"device": "cuda", "timing_method": "node_sync"}
    for watts, latency in (("15W", 10.0), ("30W", 6.0), ("50W", 7.0)):
        board = run(hardware_id=f"board_{watts.lower()}", thermal_profile=watts, total_latency_ms=latency, **mode)
        lake.write(board, subgraph_timings=timings(latency / 4))
        lake.write(board | {"precision": "fp16", "total_latency_ms": latency * 1.3}, subgraph_timings=timings(latency))
        whole = {"model": "whole", "total_latency_ms": None, "end_to_end_latency_ms": latency, "num_subgraphs": None}
        lake.write(board | whole)
        lake.write(board | whole | {"batch": 4, "end_to_end_latency_ms": 2 * latency})
        lake.write(board | whole | {"started_at": DAY - dt.timedelta(days=1), "end_to_end_latency_ms": 0.9 * latency})
    lake.write(run(hardware_id="board_maxn", thermal_profile="MAXN", device="cuda"), subgraph_timings=timings(1))
    for number in range(4):
        state = {
            "gpu_clock_mhz": 1200 - 100 * number,
            "mem_clock_mhz": None,
            "power_mode": "MAXN",
            "temperature_c": 60.5 + 10 * number,
            "cpu_freq_mhz": None,
            "cpu_governor": None,
            "throttle_reasons": ["sw_power_cap"] if number == 2 else [],
        }
        warm = run(hardware_id="gpu", model="warm", session_id="s2", run_index=number, total_latency_ms=3.8 + number)
        warm |= {"started_at": DAY + dt.timedelta(hours=number, minutes=7), "device": "cuda"}
        warm |= {"system_under_load": state, "end_to_end_latency_ms": 3.0 + number / 10}
        if number == 1:
            warm["warnings"] = ["throttling: the clocks are held back"]
        odd = {"flops": pl.col("flops") + 7, "fusion_pattern": pl.lit("Linear")} if number == 3 else {}
        lake.write(warm, subgraph_timings=timings(1 + number / 10).with_columns(**odd))
    files = [
        {"uri": uri, "sha256": digest, "layout": "v1"} for uri, digest in ((r'a/"größe"\b.json', "00"), ("c", "ff"))
    ]
    old = run(model="old", started_at=DAY - dt.timedelta(days=100, hours=5), sources=files, tool_version="tool 1")
    lake.write(old, subgraph_timings=timings(4))


def fill_hardware(lake: Lake) -> None:
    """Write two specifications with physical peaks, one with an alias, and three that make a chain of aliases."""
    figures = {"clock_mhz": 1300.5, "peak_fp32_flops": 3e9, "memory_bandwidth_bytes_per_s": 1e8}
    device = pl.DataFrame({"name": ["Device"], "device": ["cpu"], "aliases": [["gerät µ/50 W"]]} | figures)
    lake.write({"hardware_id": "dev_a", "kind": "hardware_spec"}, hardware=device)
    gpu = pl.DataFrame({"name": ["GPU"], "device": ["cuda"], "operation_overhead_s": [5e-6]} | figures)
    lake.write({"hardware_id": "gpu", "kind": "hardware_spec"}, hardware=gpu)
    for number, aliases in ((30, ["board_50w"]), (50, ["never measured"]), (15, ["nobody", "never measured"])):
        board = pl.DataFrame({"name": ["Board"], "device": ["cuda"], "aliases": [aliases]})
        lake.write({"hardware_id": f"board_{number}w", "kind": "hardware_spec"}, hardware=board)


def fill_estimates(lake: Lake) -> None:
    """Write two estimators: of subgraphs in two versions, of whole models with energy and what was not measured."""
    net = {"hardware_id": "dev_a", "precision": "fp32", "model": "net", "batch": 1}
    for version, factor in (("1", 1.5), ("2", 1.1)):
        rows = [
            net | {"subgraph_id": number, "predicted_latency_ms": ms * factor, "extrapolated": number == 2}
            for number, ms in enumerate([0.11, 0.05, 3.0, 0.4])
        ]
        lake.write_estimates(pl.DataFrame(rows), estimator="parts", version=version)
    partly = pl.DataFrame([net | {"batch": 4, "subgraph_id": 1, "predicted_latency_ms": 0.1}])
    lake.write_estimates(partly, estimator="parts", version="2")
    whole = [
        net | {"predicted_latency_ms": 2.5001, "predicted_memory_bytes": 1e6},
        net | {"batch": 4, "predicted_latency_ms": 12.0},
        net | {"batch": 16, "predicted_latency_ms": 20.0, "extrapolated": True},
        net | {"precision": "fp16", "predicted_latency_ms": 5.5},
        net | {"model": "old", "predicted_latency_ms": 3.8},
        net | {"model": "never measured", "predicted_latency_ms": 1.0},
        net | {"hardware_id": "gpu", "predicted_latency_ms": 0.1, "predicted_energy_j": 5.0},
    ]
    frame = pl.DataFrame(whole, infer_schema_length=None)
    lake.write_estimates(frame, estimator="it's whole", version="2026-03", allow_unmeasured=True)


def fill(root: Path) -> None:
    """Write a lake with every situation the views tell apart."""
    lake = Lake(root)
    later = DAY + dt.timedelta(days=1)
    lake.write(run(), subgraph_timings=timings(1))
    whole = {"end_to_end_latency_ms": 2.5, "end_to_end_latency_std_ms": 0.2}
    lake.write(run(started_at=later, **whole), subgraph_timings=timings(1.1, noisy=True))
    lake.write(run(started_at=None, started_at_zone_source=None), subgraph_timings=timings(9))
    gone = lake.write(run(started_at=later + dt.timedelta(days=1)), subgraph_timings=timings(5))
    lake.retract(gone, "dev_a", "throttled")
    lake.write(
        run(precision="fp16", warnings=['a: "quoted", text', "b: größer", r'c: C:\new "\\x"']),
        subgraph_timings=timings(2),
    )
    lake.write(run(precision="bf16", timing_method="node_events", theoretical_peak_flops=3e9, flops_method=None))
    for batch in (4, 16):
        lake.write(run(batch=batch, total_latency_ms=3.8 * batch**0.7), subgraph_timings=timings(batch**0.7))
    other = run(hardware_id="gerät µ/50 W", model="a/b c%=1", total_flops=7_000_000)
    lake.write(other, subgraph_timings=timings(3))
    lake.write(run(hardware_id="gerät µ/50 W", theoretical_peak_flops=2e9), subgraph_timings=timings(0.5, peak=None))
    lake.write(run(hardware_id="gpu", device="cuda", theoretical_peak_flops=None), subgraph_timings=timings(0.01))
    keys = {"hardware_id": "gpu", "precision": "fp32", "model": "big", "device": "cuda"}
    lake.write(keys | {"batch": 64, "status": "failed", "error": "CUDA out of memory"})
    lake.write(keys | {"batch": 64, "status": "failed", "error": "again", "started_at": DAY} | ZONE)
    powered = {"hardware_id": "gpu", "session_id": "s", "measured_window_s": 1.0, "timed_runs": 50, "device_index": 0}
    idle = {"kind": "idle_baseline", "precision": "none", "model": "idle", "batch": 0}
    lake.write(powered | idle, power_timeseries=power(20.0))
    lake.write(run(device="cuda", **powered), subgraph_timings=timings(0.02), power_timeseries=power(300.0))
    earlier = {"started_at": DAY - dt.timedelta(days=1)}
    lake.write(run(device="cuda", **powered | earlier), subgraph_timings=timings(0.03), power_timeseries=power(280.0))
    fill_conditions(lake)
    fill_hardware(lake)
    fill_estimates(lake)
    experiment_lake.fill(lake)
    transition_lake.fill(lake)
    calibration_lake.fill(lake)
    peaks = pl.DataFrame({"name": ["Card"], "device": ["cuda"], "peak_fp16_flops": [1e13]})
    lake.write({"hardware_id": "dev", "kind": "hardware_spec"}, hardware=peaks)
    set_aside = {
        "import_id": "i1",
        "imported_at": "2026-03-08T02:30:00.123456",
        "uri": "x/y.json",
        "code": "not_json",
        "reason": "größe",
        "what_to_do": "mend it",
    }
    folder = root / "_quarantine"
    folder.mkdir()
    (folder / "i1.jsonl").write_text(json.dumps(set_aside) + "\n", encoding="utf-8")
    (folder / "-.jsonl").touch()
