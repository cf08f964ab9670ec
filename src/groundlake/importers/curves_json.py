"""Write efficiency curves back as the `efficiency_curves.json` of the v1 trees, for consumers that still read them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake import __version__
from groundlake.commit import write_atomically
from groundlake.errors import LakeError
from groundlake.ground_truth.layouts import PRECISIONS, safe_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from groundlake.store import Lake

FILE = "efficiency_curves.json"
SHOWN_SUBGRAPHS = 5
"""Patterns that a data point of the v1 files names."""

WHAT_TO_DO = "export into an empty folder, or remove the file"

METHODS = ("timing_method", "flops_method")
CURVE = ("precision", "operation_type", *METHODS)


def write_curves(lake: Lake, dest: Path, hardware_id: str) -> tuple[int, int]:
    """Write `<dest>/<hardware>/<precision>/efficiency_curves.json` for each precision measured on a device.

    The figures are those of the view `efficiency_curves`; a breakpoint lies at the centre of its bin by the v1 rule.

    Returns:
        Files written, and curves left out because the file has no place for a second timing or counting method.

    Raises:
        LakeError: A file is there already with other content.
    """
    bins = _of_device(lake, "SELECT * FROM efficiency_curves", hardware_id).sort(*CURVE, "bin_from_flops")
    if bins.is_empty():
        return 0, 0
    runs = _of_device(lake, "SELECT * FROM latest_runs", hardware_id)
    timings = lake.frame("subgraph_timings", hardware_id=hardware_id).filter(pl.col("efficiency_samples") > 0)
    timings = timings.join(runs.select("run_id", *METHODS), on="run_id").join(
        bins.select(*CURVE, "bin_from_flops").with_columns(edge=pl.col("bin_from_flops")),
        on=CURVE,
        nulls_equal=True,
    )
    timings = timings.filter((pl.col("flops") > 0) & (pl.col("edge") <= pl.col("flops"))).filter(
        pl.col("edge") == pl.col("edge").max().over("run_id", "subgraph_id")
    )
    names = _of_device(lake, "SELECT hardware_id, name FROM hardware", hardware_id)["name"].to_list()
    written = left_out = 0
    for (precision,), rows in bins.partition_by("precision", as_dict=True, maintain_order=True).items():
        methods = rows.group_by(METHODS).agg(pl.col("num_observations").sum()).sort("num_observations", *METHODS)
        chosen = rows.join(methods.tail(1).select(METHODS), on=METHODS, how="semi", nulls_equal=True)
        left_out += rows.select(CURVE).n_unique() - chosen.select(CURVE).n_unique()
        measured = runs.join(
            chosen.select("precision", *METHODS).unique(), on=["precision", *METHODS], nulls_equal=True
        )
        content = _head(hardware_id, str(precision), (names or [hardware_id])[0], measured)
        content["curves"] = dict(_curves(chosen, timings))
        folder = str(precision) if precision in PRECISIONS else safe_name(str(precision))
        path = dest / safe_name(hardware_id) / folder / FILE
        written += _save(path, content)
    return written, left_out


def _of_device(lake: Lake, sql: str, hardware_id: str) -> pl.DataFrame:
    return lake.sql(sql).pl().filter(pl.col("hardware_id") == hardware_id)


def _head(hardware_id: str, precision: str, name: str, runs: pl.DataFrame) -> dict[str, Any]:
    newest = runs["started_at"].max()
    return {
        "schema_version": "1.0",
        "hardware_id": hardware_id,
        "hardware_name": name,
        "device_type": "cpu" if runs["device"].first() == "cpu" else "gpu",
        "precision": precision.upper(),
        "calibration_date": None if newest is None else newest.isoformat(),  # type: ignore[union-attr] # a datetime
        "calibration_tool_version": f"groundlake {__version__}",
        "curves": {},
        "bandwidth_curves": {},
        "validation": None,
        "notes": f"Aggregated from {runs.height} measurement files.",
    }


def _curves(bins: pl.DataFrame, timings: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    for (operation,), rows in bins.partition_by("operation_type", as_dict=True, maintain_order=True).items():
        own = timings.join(rows.select(*CURVE, "bin_from_flops"), on=[*CURVE, "bin_from_flops"], nulls_equal=True)
        by_bin = own.sort("subgraph_id", "model", "batch").partition_by("bin_from_flops", as_dict=True)
        models = sorted(set(own["model"]))
        observations = int(rows["num_observations"].sum())
        residual = float(rows["residual_sum_of_squares"].sum())
        total = float(rows["total_sum_of_squares"].sum())
        yield (
            str(operation),
            {
                "operation_type": operation,
                "description": f"Measured efficiency for {operation} operations",
                "data_points": [_point(row, by_bin[(row["bin_from_flops"],)]) for row in rows.iter_rows(named=True)],
                "fitted_curve": {
                    "curve_type": "piecewise_linear",
                    "breakpoints": [
                        [row["flops_bin_centre"], row["efficiency_mean"]]
                        for row in rows.iter_rows(named=True)
                        if row["efficiency_mean"] > 0
                    ],
                    "r_squared": 1 - residual / total if total else 0.0,
                    "residual_std": math.sqrt(residual / (observations - 1)) if observations > 1 else 0.0,
                    "max_residual": rows["largest_residual"].max(),
                },
                "min_flops": rows["min_flops"].min(),
                "max_flops": rows["max_flops"].max(),
                "calibration_models": models,
                "notes": f"Aggregated from {len(models)} models",
            },
        )


def _point(row: dict[str, Any], observations: pl.DataFrame) -> dict[str, Any]:
    return {
        "flops": row["flops_bin_centre"],
        "efficiency_mean": row["efficiency_mean"],
        "efficiency_std": row["efficiency_std"],
        "efficiency_min": row["efficiency_min"],
        "efficiency_max": row["efficiency_max"],
        "ci_lower": row["efficiency_ci_lower"],
        "ci_upper": row["efficiency_ci_upper"],
        "num_observations": row["num_observations"],
        "num_samples": row["num_samples"],
        "source": "measured",
        "source_subgraphs": observations["fusion_pattern"].head(SHOWN_SUBGRAPHS).to_list(),
        "source_models": sorted(set(observations["model"])),
    }


def _same(there: Any, now: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether two contents are equal, numbers up to the last digits: sums in another order differ there."""
    if isinstance(there, dict) and isinstance(now, dict):
        return there.keys() == now.keys() and all(_same(there[key], now[key]) for key in there)
    if isinstance(there, list) and isinstance(now, list):
        return len(there) == len(now) and all(map(_same, there, now))
    if isinstance(there, float) and isinstance(now, float):
        return math.isclose(there, now, rel_tol=1e-9)
    return bool(there == now)


def _save(path: Path, content: dict[str, Any]) -> int:
    if path.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise LakeError(f"{path}: is there already, and is no JSON ({error})\n{WHAT_TO_DO}") from error
        if not _same(there, content):
            raise LakeError(f"{path}: is there already with other content, and is not overwritten\n{WHAT_TO_DO}")
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
    return 1
