"""LLM inference experiments: what is measured, how it is kept, and how processes are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundlake.experiment.aggregation import aggregate
    from groundlake.experiment.base import ImplausibleWarning
    from groundlake.experiment.latency import LatencyMeasurements, LatencyStatistics
    from groundlake.experiment.metrics import (
        CombinedMetrics,
        ComputeMetrics,
        EnergyMetrics,
        FlopsResult,
        InferenceMetrics,
    )
    from groundlake.experiment.model_info import ModelInfo, QuantizationSpec
    from groundlake.experiment.result import (
        SCHEMA_VERSION,
        AggregatedResult,
        AggregationMetadata,
        ExperimentResult,
        RawProcessResult,
        Timestamps,
    )

_HOME = {
    "aggregate": "aggregation",
    "ImplausibleWarning": "base",
    "LatencyMeasurements": "latency",
    "LatencyStatistics": "latency",
    "CombinedMetrics": "metrics",
    "ComputeMetrics": "metrics",
    "EnergyMetrics": "metrics",
    "FlopsResult": "metrics",
    "InferenceMetrics": "metrics",
    "ModelInfo": "model_info",
    "QuantizationSpec": "model_info",
    "SCHEMA_VERSION": "result",
    "AggregatedResult": "result",
    "AggregationMetadata": "result",
    "ExperimentResult": "result",
    "RawProcessResult": "result",
    "Timestamps": "result",
}

__all__ = [
    "SCHEMA_VERSION",
    "AggregatedResult",
    "AggregationMetadata",
    "CombinedMetrics",
    "ComputeMetrics",
    "EnergyMetrics",
    "ExperimentResult",
    "FlopsResult",
    "ImplausibleWarning",
    "InferenceMetrics",
    "LatencyMeasurements",
    "LatencyStatistics",
    "ModelInfo",
    "QuantizationSpec",
    "RawProcessResult",
    "Timestamps",
    "aggregate",
]


def __getattr__(name: str) -> object:
    """Import the public names on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'groundlake.experiment' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"groundlake.experiment.{_HOME[name]}"), name)
