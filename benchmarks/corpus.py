"""Generate a v2.0 JSON tree with the shape of a real one: 661 configurations of 11 devices, about 65,000 subgraphs."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBGRAPHS = {
    "resnet18": 32,
    "resnet34": 56,
    "resnet50": 73,
    "resnet101": 141,
    "mobilenet_v2": 66,
    "mobilenet_v3_small": 82,
    "mobilenet_v3_large": 94,
    "efficientnet_b0": 71,
    "efficientnet_b1": 106,
    "vgg11": 18,
    "vgg16": 23,
    "vit_b_16": 156,
    "vit_b_32": 156,
    "vit_l_16": 288,
    "maxvit_t": 1002,
}
TEN_MODELS = {
    "resnet18": (1, 4, 16, 64),
    "mobilenet_v2": (1, 4, 16, 64),
    "mobilenet_v3_small": (1, 4, 16, 64),
    "resnet34": (1, 4, 16),
    "resnet50": (1, 4, 16),
    "mobilenet_v3_large": (1, 4, 16),
    "efficientnet_b0": (1, 4, 16),
    "resnet101": (1, 4),
    "efficientnet_b1": (1, 4),
    "vgg16": (1, 4),
}
HALVES = ("fp32", "fp16", "bf16")
POINT = ("board_maxn", "fp32", "resnet18", 4)
"""The configuration (hardware id, precision, model, batch) that look-ups are timed with: part of every corpus."""

PATTERNS = (
    ("Unfused", "unfused"),
    ("Conv2d_BatchNorm2d_ReLU", "conv2d_batchnorm"),
    ("Linear_Dropout", "matmul"),
    ("add_ReLU", "activation"),
    ("Conv2d_ReLU", "conv2d"),
)


def configurations() -> Iterator[tuple[str, str, str, int]]:
    """Yield (hardware id, precision, model, batch): 661 of them."""
    for mode in ("15w", "30w", "50w", "maxn"):
        for precision in HALVES:
            for model, batches in TEN_MODELS.items():
                yield from ((f"board_{mode}", precision, model, batch) for batch in batches)
            yield from ((f"board_agx_{mode}", precision, model, 1) for model in SUBGRAPHS)
    desktop = [(p, m, b) for p in HALVES for m, batches in TEN_MODELS.items() for b in batches]
    yield from (("desktop_a", *configuration) for configuration in desktop[:85])
    yield from (("desktop_b", "fp32", model, 1) for model in SUBGRAPHS)
    yield from (("desktop_b", "fp16", model, 1) for model in list(SUBGRAPHS)[:6])
    yield from (("laptop", "fp32", model, 1) for model in SUBGRAPHS)


def write(root: Path, limit: int | None = None) -> int:
    """Write the tree in the canonical layout, POINT first, up to this many files; returns their number."""
    count = 0
    for hardware_id, precision, model, batch in sorted(configurations(), key=lambda each: each != POINT)[:limit]:
        path = root / hardware_id / "measurements" / precision / f"{model}_b{batch}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record(hardware_id, precision, model, batch), indent=2), encoding="utf-8")
        count += 1
    return count


def record(hardware_id: str, precision: str, model: str, batch: int) -> dict[str, Any]:
    """Make one measurement, the same for the same arguments."""
    draw = random.Random(f"{hardware_id}/{precision}/{model}/{batch}")  # noqa: S311 - timings, no secrets
    return {
        "schema_version": "2.0",
        "measurement_type": "efficiency",
        "model": model,
        "hardware_id": hardware_id,
        "device": "cuda" if hardware_id.startswith("board") else "cpu",
        "precision": precision.upper(),
        "thermal_profile": None,
        "theoretical_peak_flops": 2.6624e12,
        "measurement_date": "2026-02-07T12:00:00.000000",
        "tool_version": "benchmarks/corpus.py",
        "batch_size": batch,
        "subgraphs": [_subgraph(number, model, batch, draw) for number in range(SUBGRAPHS[model])],
    }


def _subgraph(number: int, model: str, batch: int, draw: random.Random) -> dict[str, Any]:
    pattern, operation = PATTERNS[random.Random(f"{model}/{number}").randrange(len(PATTERNS))]  # noqa: S311 - the same
    flops = 0 if operation == "unfused" else batch * 1_000_000 * (1 + number % 40)
    total_bytes = batch * 100_000 * (1 + number % 7)
    mean = draw.lognormvariate(-1.5, 1.0) * batch**0.8
    std = mean * draw.uniform(0.005, 0.1)
    achieved = flops / (mean / 1000)
    share = achieved / 2.6624e12
    return {
        "subgraph_id": number,
        "fusion_pattern": pattern,
        "operation_type": operation,
        "flops": flops,
        "total_bytes": total_bytes,
        "arithmetic_intensity": flops / total_bytes,
        "theoretical_peak_flops": 2.6624e12,
        "measured_latency": _statistics(mean, std, 50),
        "achieved_flops": achieved,
        "efficiency": _statistics(share, share * 0.05, 50 if flops else 0),
        "node_names": [f"{model}_layer{number}_{part}" for part in range(1 + number % 3)],
        "source_model": model,
    }


def _statistics(mean: float, std: float, samples: int) -> dict[str, float | int]:
    half = 1.96 * std / 50**0.5
    return {
        "mean": mean,
        "std": std,
        "min": mean - std,
        "max": mean + 2 * std,
        "ci_lower": max(0.0, mean - half),
        "ci_upper": mean + half,
        "samples": samples,
    }
