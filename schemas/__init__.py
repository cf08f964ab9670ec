"""The table contracts: one truth for each table, and `TABLES`, the only list of them.

From a contract are derived its Arrow schema, base view, empty relation, COMMENTs in `lake.db`, Parquet footer and
its section of `docs/tables.md`.
"""

from groundlake.schemas.base import KEYS, NO_KEY, ColumnSpec, Element, Rule, Table
from groundlake.schemas.estimation import Estimates
from groundlake.schemas.experiment import (
    EnergyEstimates,
    ExperimentMetrics,
    ExperimentProcesses,
    ExperimentRequests,
    Experiments,
    ExperimentSettings,
    FlopsEstimates,
    LatencySamples,
    MeasurementWarnings,
    StudyPlan,
)
from groundlake.schemas.ledger import Runs
from groundlake.schemas.measurement import Hardware, PowerTimeseries, SubgraphTimings
from groundlake.schemas.quarantine import Quarantine

TABLES: dict[str, type[Table]] = {
    table.table_name(): table
    for table in (
        Hardware,
        SubgraphTimings,
        PowerTimeseries,
        Estimates,
        Experiments,
        ExperimentProcesses,
        ExperimentRequests,
        LatencySamples,
        EnergyEstimates,
        FlopsEstimates,
        ExperimentMetrics,
        MeasurementWarnings,
        ExperimentSettings,
        StudyPlan,
        Runs,
    )
}
"""Name to contract, in write order: the ledger comes last, for its row is the commit."""

FACT_TABLES: dict[str, type[Table]] = {name: table for name, table in TABLES.items() if table is not Runs}
"""The tables whose rows are visible only through their run."""

__all__ = [
    "FACT_TABLES",
    "KEYS",
    "NO_KEY",
    "TABLES",
    "ColumnSpec",
    "Element",
    "EnergyEstimates",
    "Estimates",
    "ExperimentMetrics",
    "ExperimentProcesses",
    "ExperimentRequests",
    "ExperimentSettings",
    "Experiments",
    "FlopsEstimates",
    "Hardware",
    "LatencySamples",
    "MeasurementWarnings",
    "PowerTimeseries",
    "Quarantine",
    "Rule",
    "Runs",
    "StudyPlan",
    "SubgraphTimings",
    "Table",
]
