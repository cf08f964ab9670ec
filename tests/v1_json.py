"""A small measurement file of schema 1.0, for the tests that read, load and migrate JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

DATE = "2026-02-05T10:00:00.123456"


def measurement(model: str = "resnet18", mean: float = 2.0, **changes: object) -> dict[str, Any]:
    """The content of a file of the device `desk`: one subgraph of `mean` milliseconds; changes are top-level keys."""
    latency = {
        "mean": mean,
        "std": 0.1,
        "min": mean - 0.1,
        "max": mean + 0.2,
        "ci_lower": mean - 0.05,
        "ci_upper": mean + 0.05,
        "samples": 20,
    }
    row = {
        "subgraph_id": 0,
        "fusion_pattern": "Linear",
        "operation_type": "matmul",
        "flops": 1000,
        "total_bytes": 10,
        "arithmetic_intensity": 100.0,
        "theoretical_peak_flops": 1e9,
        "measured_latency": latency,
        "achieved_flops": 5e5,
        "efficiency": dict.fromkeys(latency, 0.0005) | {"samples": 20},
        "node_names": ["fc"],
        "source_model": model,
    }
    return {
        "schema_version": "1.0",
        "measurement_type": "efficiency",
        "model": model,
        "hardware_id": "desk",
        "device": "cpu",
        "precision": "FP32",
        "thermal_profile": None,
        "theoretical_peak_flops": 1e9,
        "measurement_date": DATE,
        "tool_version": "measure_efficiency.py v1.0",
        "subgraphs": [row],
    } | changes


def put(path: Path, content: object) -> Path:
    """Write a file and the folders above it: bytes and text as they are, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    return path
