"""Ground truth as records: the measurement schema 2.0, and the loader that reads it from a lake or a JSON tree.

from groundlake.ground_truth import GroundTruthLoader

loader = GroundTruthLoader("lake")
loader.load("jetson_orin_agx_maxn", "resnet18", "fp32", 1).model_summary.total_latency_ms
"""

from groundlake.ground_truth.loader import GroundTruthLoader
from groundlake.ground_truth.record import (
    EfficiencyStats,
    LatencyStats,
    MeasurementRecord,
    ModelSummary,
    SubgraphMeasurement,
    SystemState,
)

__all__ = [
    "EfficiencyStats",
    "GroundTruthLoader",
    "LatencyStats",
    "MeasurementRecord",
    "ModelSummary",
    "SubgraphMeasurement",
    "SystemState",
]
