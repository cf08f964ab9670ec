"""Contract of predictions: what an estimator version says about a configuration."""

from __future__ import annotations

import polars as pl

from groundlake.schemas.base import KEYS, Table, column


class Estimates(Table):
    """A prediction by one estimator version for one subgraph, or for a whole model."""

    hardware_id: str = column("Device the prediction is for")
    precision: str = column("Numeric precision, lower case")
    model: str = column("Model the prediction is for")
    batch: int = column("Batch size", unit="1", ge=0)
    run_id: str = column("Run of kind estimate that wrote the row")
    part: str = column("Id of the file the row lies in; a row is visible where its run names the same part")
    estimator: str = column("Name of the estimator")
    estimator_version: str = column("Version of the estimator; a new version never overwrites an old one")
    subgraph_id: int = column("Subgraph the prediction is for; NULL for the whole model", unit="1", nullable=True, ge=0)
    predicted_latency_ms: float = column("Predicted latency", unit="ms", nullable=True, ge=0)
    predicted_energy_j: float = column("Predicted energy of one pass", unit="J", nullable=True, ge=0)
    predicted_memory_bytes: float = column("Predicted peak memory", unit="byte", nullable=True, ge=0)
    extrapolated: bool = column(
        "Whether the prediction lies outside the range the estimator was fitted on", nullable=True
    )

    @classmethod
    def table_name(cls) -> str:
        """Name of the table."""
        return "estimates"

    @classmethod
    def row_rules(cls) -> dict[str, pl.Expr]:
        """A prediction predicts something, and a version predicts each thing once in a run."""
        figures = ("predicted_latency_ms", "predicted_energy_j", "predicted_memory_bytes")
        return {
            "predicts_something": pl.any_horizontal([pl.col(name).is_not_null() for name in figures]),
            "predicted_once": pl.struct(*KEYS, "run_id", "estimator", "estimator_version", "subgraph_id").is_unique(),
        }
