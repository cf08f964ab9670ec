"""What every store is asked, as SQL that DuckDB and DataFusion run unchanged over the tables `runs` and `timings`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

QUESTIONS = ("all_summaries", "one_configuration", "by_operation", "one_column", "full_scan")
KEYS = ("hardware_id", "precision", "model", "batch")
POINT = {"hardware_id": "board_15w", "precision": "fp32", "model": "resnet18", "batch": 4}
"""The configuration that look-ups are timed with: part of every lake that is measured."""

SUMMARY_COLUMNS = (
    "hardware_id, precision, model, batch, total_latency_ms, total_latency_std_ms, end_to_end_latency_ms, "
    "throughput_fps, total_flops, total_bytes, num_subgraphs, started_at"
)
ALL_SUMMARIES = f"""
SELECT {SUMMARY_COLUMNS}
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY hardware_id, precision, model, batch ORDER BY started_at DESC NULLS LAST, run_id DESC
    ) AS place
    FROM runs
    WHERE status = 'ok' AND kind = 'efficiency'
) AS ranked
WHERE place = 1
ORDER BY hardware_id, precision, model, batch
"""  # noqa: S608 - the columns are ours
SUMMARY_LATENCY = SUMMARY_COLUMNS.split(", ").index("total_latency_ms")

AT_POINT = " AND ".join(f"{name} = {value!r}" for name, value in POINT.items())
LATEST_AT_POINT = f"""
SELECT run_id FROM runs WHERE {AT_POINT} AND status = 'ok' AND kind = 'efficiency'
ORDER BY started_at DESC NULLS LAST, run_id DESC LIMIT 1
"""  # noqa: S608 - the keys are ours
BY_OPERATION = """
SELECT hardware_id, operation_type, count(*), avg(latency_mean_ms)
FROM timings GROUP BY hardware_id, operation_type ORDER BY hardware_id, operation_type
"""
ONE_COLUMN = "SELECT count(*), sum(latency_mean_ms) FROM timings"


def one_run(columns: Iterable[str], run_id: str) -> str:
    """These columns of the timings of one run of the configuration."""
    return f"SELECT {', '.join(columns)} FROM timings WHERE {AT_POINT} AND run_id = '{run_id}'"  # noqa: S608 - our names


def full_scan(columns: Iterable[str]) -> str:
    """Every value of these columns of every row of the timings, as the greatest of each column."""
    return f"SELECT count(*), {', '.join(f'max({name})' for name in columns)} FROM timings"  # noqa: S608 - the contract's


def digest(question: str, rows: Sequence[Sequence[Any]], latency: int = 0) -> tuple[int, float]:
    """Number of rows and one number of an answer, so that answers of different stores can be held to each other.

    Args:
        question: One of QUESTIONS.
        rows: Its answer.
        latency: Position of latency_mean_ms in the rows of one_configuration.
    """
    if question in ("one_column", "full_scan"):
        ((count, *values),) = rows
        return int(count), math.fsum(value for value in values if isinstance(value, (int, float)))
    position = {"all_summaries": SUMMARY_LATENCY, "one_configuration": latency, "by_operation": -1}[question]
    return len(rows), math.fsum(row[position] or 0.0 for row in rows)


def differences(ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]) -> list[str]:
    """Questions that two stores answered differently, with both answers."""
    return [
        f"{question}: {tuple(ours[question])} and {tuple(theirs[question])}"
        for question in QUESTIONS
        if ours[question][0] != theirs[question][0]
        or not math.isclose(ours[question][1], theirs[question][1], rel_tol=1e-9)
    ]
