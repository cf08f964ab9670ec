"""What a caller hands to `Lake.write_estimates`, checked against the contract, the measurements and what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake import __version__
from groundlake.errors import RunExistsError, UsageError
from groundlake.schemas import KEYS, Estimates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IDENTITY = (*KEYS, "subgraph_id")
"""What one version of an estimator predicts once."""

FIGURES = ("predicted_latency_ms", "predicted_energy_j", "predicted_memory_bytes")
FILLED_IN = ("run_id", "part")
COLUMNS = tuple(name for name in Estimates.polars_schema() if name not in FILLED_IN)

MEASURED_SQL = "SELECT hardware_id, precision, model, batch FROM latest_runs"
SUBGRAPHS_SQL = (
    "SELECT s.hardware_id, s.precision, s.model, s.batch, s.subgraph_id FROM latest_runs r "
    "JOIN subgraph_timings s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id"
)

SAME_FIGURE = 1e-9
"""Relative difference up to which two figures are the same."""

SHOWN = 3
"""Examples in a message."""


@dataclass(frozen=True)
class EstimatesWritten:
    """What `Lake.write_estimates` did.

    Attributes:
        run_ids: The runs of kind `estimate`, one for each hardware id.
        rows: Estimates that were written.
        present: Estimates that the lake held already, with the same figures.
    """

    run_ids: tuple[str, ...] = ()
    rows: int = 0
    present: int = 0


def checked(frame: pl.DataFrame, estimator: str | None, version: str | None) -> pl.DataFrame:
    """Return the estimates as rows of the contract, without the columns that the lake fills in.

    Args:
        frame: One row for each estimate; docs/estimates.md lists the columns.
        estimator: Name of the estimator; None where the frame has the column `estimator`.
        version: Its version; None where the frame has the column `estimator_version`.

    Raises:
        UsageError: Columns are missing or unknown, or the name or version is given twice or not at all.
        ContractViolationError: A figure is negative, no number, or a key is given twice; the message lists the rows.
    """
    if not isinstance(frame, pl.DataFrame):
        raise UsageError(f"estimates are given as a polars DataFrame, got {type(frame).__name__}")
    for name, value in (("estimator", estimator), ("estimator_version", version)):
        if (value is None) == (name not in frame.columns):
            raise UsageError(
                f"{name}: give it once, as an argument or as a column of the estimates; "
                f"got {'neither' if value is None else 'both'}"
            )
        if value is not None and not value.strip():
            raise UsageError(f"{name} is empty; give it a name")
        if value is not None:
            frame = frame.with_columns(pl.lit(value).alias(name))
    unknown = [name for name in frame.columns if name not in COLUMNS]
    missing = [name for name in KEYS if name not in frame.columns]
    missing += [] if set(FIGURES) & set(frame.columns) else [f"one of {', '.join(FIGURES)}"]
    if unknown or missing:
        raise UsageError(
            f"unknown columns: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}\n"
            f"estimates have the columns {', '.join(COLUMNS)}"
        )
    if frame.schema["precision"] == pl.String:
        frame = frame.with_columns(pl.col("precision").str.to_lowercase())
    rows = Estimates.conform(frame.with_columns(pl.lit("-").alias(name) for name in FILLED_IN))
    Estimates.check(rows)
    return rows.drop(FILLED_IN)


def refuse_unmeasured(rows: pl.DataFrame, measured: pl.DataFrame, subgraphs: pl.DataFrame) -> None:
    """Raise where an estimate is about something that was never measured: a slip of a name, most of the time.

    Args:
        rows: The estimates.
        measured: Configurations with a good run.
        subgraphs: Their subgraphs.

    Raises:
        UsageError: Naming the first of them.
    """
    lost = rows.select(KEYS).unique().join(measured, on=KEYS, how="anti").sort(KEYS)
    if not lost.is_empty():
        raise UsageError(
            f"{lost.height} of {rows.select(KEYS).n_unique()} configurations were never measured; nothing was written\n"
            f"  {'; '.join(_named(row) for row in lost.head(SHOWN).iter_rows())}\n"
            "`lake ls` lists what was; --allow-unmeasured keeps such estimates for a measurement to come"
        )
    single = rows.filter(pl.col("subgraph_id").is_not_null()).join(subgraphs, on=IDENTITY, how="anti").sort(IDENTITY)
    if not single.is_empty():
        first = single.row(0, named=True)
        raise UsageError(
            f"{single.height} estimates are about subgraphs that the measured models do not have; nothing was written\n"
            f"  first: subgraph {first['subgraph_id']} of {_named([first[key] for key in KEYS])}\n"
            "`lake show HW MODEL --precision P --batch N` lists the subgraphs"
        )


def not_present(rows: pl.DataFrame, present: pl.DataFrame) -> pl.DataFrame:
    """Return the estimates that the lake does not hold yet.

    Args:
        rows: The estimates.
        present: What the lake holds of the same estimators and versions.

    Raises:
        RunExistsError: It holds one with other figures: a version is not overwritten.
    """
    by = (*IDENTITY, "estimator", "estimator_version")
    now, there = _figures(rows, by), _figures(present, by)
    both = now.join(there, on=[*by, "figure"], how="inner", nulls_equal=True, suffix="_there")
    distance = (pl.col("value") - pl.col("value_there")).abs()
    other = both.filter(distance > SAME_FIGURE * pl.max_horizontal("value", "value_there"))
    if not other.is_empty():
        first = other.sort(*IDENTITY, "figure").row(0, named=True)
        raise RunExistsError(
            f"{first['estimator']} {first['estimator_version']} predicts {other.height} of these already, with other"
            f" figures; nothing was written\n  first: {_named([first[key] for key in KEYS])}:"
            f" {first['figure']} {first['value_there']:g}, now {first['value']:g}\n"
            "a version is never overwritten: give this one a name of its own with --version"
        )
    missing = now.join(there, on=[*by, "figure"], how="anti", nulls_equal=True)
    return rows.join(missing, on=by, how="semi", nulls_equal=True)


def _figures(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """One row for each figure that is predicted: its name and value."""
    return rows.unpivot(FIGURES, index=by, variable_name="figure").drop_nulls("value")


def as_runs(
    rows: pl.DataFrame, sources: Sequence[Mapping[str, str]] = ()
) -> list[tuple[dict[str, object], dict[str, pl.DataFrame]]]:
    """Return one run of kind `estimate` for each hardware id, as `Lake.write_many` takes them."""
    shared = {"kind": "estimate", "tool_version": f"groundlake {__version__}", "sources": list(sources) or None}
    return [
        ({"hardware_id": part["hardware_id"][0], **shared}, {"estimates": part})
        for part in rows.partition_by("hardware_id", maintain_order=True)
    ]


def _named(key: Sequence[object]) -> str:
    hardware_id, precision, model, batch = key
    return f"{hardware_id} {precision} {model} batch {batch}"
