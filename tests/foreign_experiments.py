"""Files of other tools for tests, made here to the formats that optimum-benchmark and AIPerf document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

GPU = "NVIDIA H100 80GB HBM3"
UUID = "GPU-afc3c15a-0000-0000-0000-000000000001"
START_NS = 1_759_813_207_000_000_000
"""2025-10-07T05:00:07 UTC."""

JsonObject = dict[str, Any]


def put_json(path: Path, data: object) -> Path:
    """Write a JSON file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2), encoding="utf-8")
    return path


def put_lines(path: Path, records: list[JsonObject]) -> Path:
    """Write a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


# ---------------------------------------------------------------------- optimum-benchmark


def latency(*values: float) -> JsonObject:
    """Latency of a target, in s; of its statistics those that do not need sorting."""
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return {
        "unit": "s",
        "values": list(values),
        "count": len(values),
        "total": sum(values),
        "mean": mean,
        "stdev": spread,
        "stdev_": 100 * spread / mean if mean else 0.0,
    }


def memory(allocated: float | None = None) -> JsonObject:
    return {
        "unit": "MB",
        "max_ram": 1128.009728,
        "max_global_vram": None if allocated is None else allocated + 1000,
        "max_process_vram": None,
        "max_reserved": None,
        "max_allocated": allocated,
    }


def energy(cpu: float, ram: float, gpu: float) -> JsonObject:
    return {"unit": "kWh", "cpu": cpu, "ram": ram, "gpu": gpu, "total": cpu + ram + gpu}


def benchmark_config(**backend: object) -> JsonObject:
    """A text generation: 2 prompts of 16 tokens in a batch, 5 new ones for each, 3 calls measured."""
    return {
        "name": "gpt2_text_generation",
        "backend": {
            "name": "pytorch",
            "version": "2.4.1",
            "_target_": "optimum_benchmark.backends.pytorch.backend.PyTorchBackend",
            "task": "text-generation",
            "library": "transformers",
            "model_type": "gpt2",
            "model": "openai-community/gpt2",
            "device": "cuda",
            "device_ids": "0",
            "torch_dtype": "float16",
            "quantization_scheme": None,
            "quantization_config": {},
        }
        | backend,
        "scenario": {
            "name": "inference",
            "_target_": "optimum_benchmark.scenarios.inference.scenario.InferenceScenario",
            "iterations": 3,
            "duration": 0,
            "warmup_runs": 10,
            "input_shapes": {"batch_size": 2, "num_choices": 2, "sequence_length": 16},
            "memory": True,
            "latency": True,
            "energy": True,
            "generate_kwargs": {"max_new_tokens": 5, "min_new_tokens": 5},
        },
        "launcher": {
            "name": "process",
            "_target_": "optimum_benchmark.launchers.process.launcher.ProcessLauncher",
            "start_method": "spawn",
        },
        "environment": {
            "cpu": " AMD EPYC 7R32",
            "cpu_count": 16,
            "cpu_ram_mb": 66697.261056,
            "system": "Linux",
            "platform": "Linux-5.10-x86_64-with-glibc2.31",
            "python_version": "3.10.15",
            "gpu": [GPU],
            "gpu_count": 1,
            "gpu_vram_mb": 85520809984,
            "optimum_benchmark_version": "0.5.0",
            "optimum_benchmark_commit": None,
            "transformers_version": "4.47.0",
            "timm_version": None,
        },
    }


def benchmark_report() -> JsonObject:
    """Its report; generate takes less energy for the main memory than prefill did, so decode is negative there."""
    tokens = [0.100 + 0.001 * step for step in range(12)]
    prefill, generate = energy(1e-6, 5e-7, 2e-6), energy(4e-6, 4e-7, 8e-6)
    decode = {name: generate[name] - prefill[name] for name in ("cpu", "ram", "gpu", "total")} | {"unit": "kWh"}
    nothing = dict.fromkeys(("memory", "latency", "throughput", "energy", "efficiency"))
    return {
        "load_model": nothing | {"memory": memory(500.25), "latency": latency(4.5), "energy": energy(7e-5, 3e-6, 0.0)},
        "first_generate": nothing | {"memory": memory(900.0), "latency": latency(0.9)},
        "generate": nothing
        | {
            "memory": memory(1000.5),
            "latency": latency(0.5, 0.7, 0.6),
            "throughput": {"unit": "samples/s", "value": 2 / 0.6},
            "energy": generate,
            "efficiency": {"unit": "samples/kWh", "value": 2 / generate["total"]},
        },
        "prefill": nothing
        | {
            "memory": memory(800.0),
            "latency": latency(0.10, 0.12, 0.11),
            "throughput": {"unit": "samples/s", "value": 2 / 0.11},
            "energy": prefill,
            "efficiency": {"unit": "samples/kWh", "value": 2 / prefill["total"]},
        },
        "decode": nothing
        | {
            "memory": memory(1000.5),
            "latency": latency(0.40, 0.58, 0.49),
            "throughput": {"unit": "tokens/s", "value": 8 / 0.49},
            "energy": decode,
            "efficiency": {"unit": "tokens/kWh", "value": 8 / decode["total"]},
        },
        "per_token": nothing | {"latency": latency(*tokens)},
    }


def benchmark(**backend: object) -> JsonObject:
    return {"config": benchmark_config(**backend), "report": benchmark_report()}


# ---------------------------------------------------------------------- AIPerf


def value(number: object, unit: str) -> JsonObject:
    return {"value": number, "unit": unit}


def record(number: int, sent_s: float, latency_s: float, metrics: JsonObject, **metadata: object) -> JsonObject:
    """One line of `profile_export.jsonl`; `error` is that of the request."""
    error = metadata.pop("error", None)
    start = START_NS + round(sent_s * 1e9)
    return {
        "metadata": {
            "session_num": number,
            "x_request_id": f"7609a2e7-aa53-4ab1-98f4-{number:012d}",
            "conversation_id": f"conversation_{number}",
            "turn_index": 0,
            "request_start_ns": start,
            "request_ack_ns": None,
            "request_end_ns": start + round(latency_s * 1e9),
            "worker_id": "worker_359d423a",
            "record_processor_id": "record_processor_1fa47cd7",
            "benchmark_phase": "profiling",
            "was_cancelled": False,
            "cancellation_time_ns": None,
        }
        | metadata,
        "metrics": metrics,
        "error": error,
    }


def streamed(ttft: float, chunks: list[float], tokens: tuple[int, int, int] = (550, 9, 0)) -> JsonObject:
    """Metrics of a streamed answer, times in ms, tokens of prompt, answer and reasoning."""
    whole, (prompt, answer, reasoning) = ttft + sum(chunks), tokens
    length = answer + reasoning
    told = {
        "input_sequence_length": value(prompt, "tokens"),
        "time_to_first_token": value(ttft, "ms"),
        "request_latency": value(whole, "ms"),
        "output_token_count": value(answer, "tokens"),
        "output_sequence_length": value(length, "tokens"),
    }
    if reasoning:
        told["reasoning_token_count"] = value(reasoning, "tokens")
    if chunks:  # of one chunk, or one token, there is nothing between
        told["inter_chunk_latency"] = value(chunks, "ms")
        told["inter_token_latency"] = value((whole - ttft) / (length - 1), "ms")
        told["output_token_throughput_per_user"] = value(1e3 * (length - 1) / (whole - ttft), "tokens/sec/user")
    return told


def records() -> list[JsonObject]:
    """Five requests of the measurement (three answered, one failed, one cancelled) and one before it.

    They lie in the order in which they ended, as the tool writes them.
    """
    failed = {"code": 503, "type": "ServiceUnavailable", "message": "overloaded"}
    cancelled = {
        "code": 499,
        "type": "RequestCancellationError",
        "message": "Request was cancelled after 0.500 seconds",
    }
    return [
        record(0, -2.0, 0.5, streamed(300.0, [100.0, 100.0]), benchmark_phase="warmup"),
        record(2, 0.2, 0.24, streamed(200.0, [10.0, 30.0], (100, 20, 21))),
        record(1, 0.0, 0.5, streamed(100.0, [20.0] * 20, (50, 20, 0))),
        record(4, 1.5, 0.01, {"error_isl": value(70, "tokens")}, error=failed),
        record(3, 1.0, 0.15, streamed(150.0, [], (60, 1, 0))),
        record(
            *(5, 1.6, 0.4, {"error_isl": value(80, "tokens")}),
            was_cancelled=True,
            cancellation_time_ns=START_NS + 2_000_000_000,
            error=cancelled,
        ),
    ]


def distribution(unit: str, *values: float) -> JsonObject:
    return {
        "unit": unit,
        "avg": sum(values) / len(values),
        "min": min(values),
        "max": max(values),
        "p50": sorted(values)[len(values) // 2],
        "count": len(values),
    }


def summary(**fields: object) -> JsonObject:
    """`profile_export_aiperf.json`, schema 1.5: the counter of the GPU rose by 0.0006 MJ in the measurement."""
    return {
        "schema_version": "1.5",
        "aiperf_version": "0.13.0",
        "benchmark_id": "abc123def456",
        "start_time": "2025-10-07T05:00:07Z",
        "end_time": "2025-10-07T05:00:09Z",
        "was_cancelled": False,
        "input_config": {
            "endpoint": {"model_names": ["Qwen/Qwen3-0.6B"], "type": "chat", "streaming": True},
            "loadgen": {"concurrency": 4, "request_count": 5, "warmup_request_count": 1},
            "output": {"artifact_directory": "artifacts/run_1"},
        },
        "run_info": {
            "benchmark_id": "abc123def456",
            "sweep_id": "8c4f9a2e-1234-4567-89ab-0123456789ab",
            "random_seed": 44,
            "trial": 0,
            "run_label": "run_0001",
            "variation_values": {},
            "cli_command": "aiperf profile --model Qwen/Qwen3-0.6B --concurrency 4",
        },
        "request_latency": distribution("ms", 500.0, 240.0, 150.0),
        "time_to_first_token": distribution("ms", 100.0, 200.0, 150.0),
        "inter_token_latency": distribution("ms", 400 / 19, 1.0),
        "output_token_throughput": {"unit": "tokens/sec", "avg": 31.0},
        "request_count": {"unit": "requests", "avg": 3.0},
        "error_request_count": {"unit": "requests", "avg": 2.0},
        "total_isl": {"unit": "tokens", "avg": 210.0},
        "total_osl": {"unit": "tokens", "avg": 62.0},
        "benchmark_duration": {"unit": "sec", "avg": 2.0},
        "min_request_timestamp": {"unit": "datetime", "avg": "2025-10-07T05:00:07"},
        "energy_per_output_token": {"unit": "mJ/token", "avg": 9677.4},
        "warmup_metrics": {"request_latency": {"unit": "ms", "avg": 500.0, "count": 1}},
        "telemetry_data": telemetry({"unit": "MJ", "avg": 0.0006}),
        "runtime_submission_invalid_reasons": ["context_overflow"],
    } | fields


def telemetry(counter: JsonObject, seconds: int = 2) -> JsonObject:
    """`telemetry_data` with one GPU."""
    return {
        "summary": {
            "endpoints_configured": ["http://localhost:9401/metrics"],
            "start_time": "2025-10-07T05:00:07",
            "end_time": f"2025-10-07T05:00:{7 + seconds:02d}",
        },
        "endpoints": {
            "localhost:9401": {
                "gpus": {
                    "gpu_0": {
                        "gpu_index": 0,
                        "gpu_name": GPU,
                        "gpu_uuid": UUID,
                        "platform": "nvidia",
                        "hostname": "node1",
                        "metrics": {
                            "nvidia_power_usage": {"unit": "W", "avg": 300.0, "min": 120.0, "max": 386.0},
                            "nvidia_energy_consumption": counter,
                            "nvidia_memory_used": {"unit": "GB", "avg": 92.5},
                        },
                    }
                }
            }
        },
    }


def readings(watts: float = 300.0, *, gpus: int = 1) -> list[JsonObject]:
    """Raw readings of GPUs every half second from 1 s before the measurement to 3 s behind its start."""
    return [
        {
            "timestamp_ns": START_NS + round(moment * 1e9),
            "dcgm_url": "http://localhost:9401/metrics",
            "gpu_index": gpu,
            "gpu_uuid": f"{UUID[:-1]}{gpu + 1}",
            "gpu_model_name": GPU,
            "hostname": "node1",
            "telemetry_data": {
                "nvidia_power_usage": watts * (gpu + 1),
                "nvidia_energy_consumption": 0.2 + watts * (gpu + 1) * (moment + 1) / 1e6,
                "nvidia_temperature": 41.0,
                "nvidia_gpu_utilization": 45.0,
            },
        }
        for gpu in range(gpus)
        for moment in (step / 2 for step in range(-2, 7))
    ]


def put_aiperf(folder: Path, *, raw: bool = True, **fields: object) -> Path:
    """A folder as the tool leaves it: summary, records, readings of the GPU, inputs and CSV."""
    put_json(folder / "profile_export_aiperf.json", summary(**fields))
    put_lines(folder / "profile_export.jsonl", records())
    if raw:
        put_lines(folder / "gpu_telemetry_export.jsonl", readings())
    put_json(folder / "inputs.json", {"data": [{"session_id": "a", "payloads": []}]})
    (folder / "profile_export_aiperf.csv").write_text("Metric,avg\nRequest Latency (ms),296.7\n")
    return folder
