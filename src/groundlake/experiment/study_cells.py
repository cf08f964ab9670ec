"""The experiments of a study one by one: what the lake says of each, beside what the file asks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.experiment.study import differences, known_cells, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.experiment.study import Study
    from groundlake.store import Lake

SCHEMA = {
    "study": pl.String,
    "hardware_id": pl.String,
    "position": pl.Int64,
    "configuration": pl.String,
    "cycle": pl.Int64,
    "state": pl.String,
    "num_done": pl.Int64,
    "num_failed": pl.Int64,
    "done_run_id": pl.String,
    "error": pl.String,
    "is_current": pl.Boolean,
    "is_planned": pl.Boolean,
    "config_hash": pl.String,
    "settings_json": pl.String,
}
KEY = ("hardware_id", "config_hash", "cycle")


def told_cells(lake: Lake, name: str) -> pl.DataFrame:
    """Read the experiments of a study from the lake, those of its last plan first; `is_current` tells them.

    Returns:
        One row for each, in the order of the plan; `configuration` says how it differs from the others.
    """
    return _labelled([row | {"is_planned": True} for row in known_cells(lake, name).iter_rows(named=True)])


def cells_beside_file(lake: Lake, study: Study) -> pl.DataFrame:
    """Read the experiments that a file asks for, with what the lake says of each, and those that it has no more.

    Returns:
        Rows as of `told_cells`: `is_current` says whether the file has it, `is_planned` whether the lake does.
    """
    known = {tuple(row[name] for name in KEY): row for row in known_cells(lake, study.name).iter_rows(named=True)}
    rows = []
    for cell in study.cells:
        unknown = {"state": "missing", "num_done": 0, "num_failed": 0, "done_run_id": None, "error": None}
        told = known.pop(cell.key, None)
        rows.append(
            (unknown if told is None else told)
            | dict(zip(KEY, cell.key, strict=True))
            | {
                "study": study.name,
                "position": cell.position,
                "settings_json": json.dumps(settings_of(cell.plan)),
                "is_current": True,
                "is_planned": told is not None,
            }
        )
    dropped = sorted(known.values(), key=lambda row: row["position"])
    return _labelled([*rows, *(row | {"is_current": False, "is_planned": True} for row in dropped)])


def _labelled(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Say of each experiment how its configuration differs from the others."""
    settings = [json.loads(row["settings_json"]) for row in rows]
    labels = [" ".join(f"{name}={value or 'none'}" for name, value in each.items()) for each in differences(settings)]
    only = settings[0].get("model", "the only one") if settings else ""
    told = [row | {"configuration": label or only} for row, label in zip(rows, labels, strict=True)]
    return pl.DataFrame([{name: row[name] for name in SCHEMA} for row in told], schema=SCHEMA)
