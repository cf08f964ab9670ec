"""The table contracts: one truth for each table, and `TABLES`, the only list of them.

From a contract are derived its Arrow schema, base view, empty relation, COMMENTs in `lake.db`, Parquet footer and
its section of `docs/tables.md`.
"""

from groundlake.schemas.base import KEYS, NO_KEY, ColumnSpec, Element, Rule, Table
from groundlake.schemas.calibration import (
    CalibrationBuilds,
    CalibrationSamples,
    EvaluationSamples,
    EvaluationSets,
    Quantizations,
)
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
from groundlake.schemas.transition import (
    KvAttempts,
    KvBins,
    KvDatasets,
    KvExamples,
    KvFailures,
    KvRequests,
    KvResponses,
    KvRuns,
    KvScores,
    KvTokenCounts,
)
from groundlake.schemas.transition_analysis import KvDeltas, KvIntervals, KvTransitions

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
        KvDatasets,
        KvExamples,
        KvBins,
        KvTokenCounts,
        KvRuns,
        KvRequests,
        KvAttempts,
        KvResponses,
        KvFailures,
        KvScores,
        KvIntervals,
        KvDeltas,
        KvTransitions,
        CalibrationBuilds,
        CalibrationSamples,
        EvaluationSets,
        EvaluationSamples,
        Quantizations,
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
    "CalibrationBuilds",
    "CalibrationSamples",
    "ColumnSpec",
    "Element",
    "EnergyEstimates",
    "Estimates",
    "EvaluationSamples",
    "EvaluationSets",
    "ExperimentMetrics",
    "ExperimentProcesses",
    "ExperimentRequests",
    "ExperimentSettings",
    "Experiments",
    "FlopsEstimates",
    "Hardware",
    "KvAttempts",
    "KvBins",
    "KvDatasets",
    "KvDeltas",
    "KvExamples",
    "KvFailures",
    "KvIntervals",
    "KvRequests",
    "KvResponses",
    "KvRuns",
    "KvScores",
    "KvTokenCounts",
    "KvTransitions",
    "LatencySamples",
    "MeasurementWarnings",
    "PowerTimeseries",
    "Quantizations",
    "Quarantine",
    "Rule",
    "Runs",
    "StudyPlan",
    "SubgraphTimings",
    "Table",
]
