"""The fitted estimator on real measurements, beside an independent computation in NumPy."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from groundlake.estimate import fit
from groundlake.estimate.accuracy import Scope, accuracy
from groundlake.importers import migrate_v1
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

EDGES = [0.0, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10]


@pytest.fixture(scope="module")
def lake(v1_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("fit") / "lake")
    migrate_v1(lake, [v1_data / "calibration_data"])
    fit(lake, "efficiency-curve", version="1")
    return lake


def curves(rows: pl.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Operation type to the logarithm of the FLOPs and the efficiency of each bin; `any` over all types."""
    bins: dict[str, dict[int, list[tuple[float, float, int]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows.filter((pl.col("flops") > 0) & (pl.col("efficiency_samples") > 0)).iter_rows(named=True):
        place = int(np.searchsorted(EDGES, row["flops"], side="right"))
        for kind in (row["operation_type"], "any"):
            bins[kind][place].append((math.log(row["flops"]), row["efficiency_mean"], row["efficiency_samples"]))
    found = {}
    for kind, by_place in bins.items():
        points = sorted(
            (
                float(np.mean([each[0] for each in group])),
                float(np.average([each[1] for each in group], weights=[each[2] for each in group])),
            )
            for group in by_place.values()
        )
        found[kind] = (np.array([x for x, _ in points]), np.array([y for _, y in points]))
    return found


@pytest.mark.parametrize(("hardware_id", "precision"), [("jetson_orin_maxn", "fp16"), ("ryzen_9_8945hs", "fp32")])
def test_predictions_equal_those_of_numpy_with_the_model_left_out(lake: Lake, hardware_id: str, precision: str) -> None:
    rows = lake.sql(
        "select s.*, r.theoretical_peak_flops as peak from latest_runs r join subgraph_timings s"
        " on s.hardware_id = r.hardware_id and s.run_id = r.run_id"
    ).pl().filter((pl.col("hardware_id") == hardware_id) & (pl.col("precision") == precision))  # fmt: skip
    kept = lake.frame("estimates", hardware_id=hardware_id, precision=precision)
    known = {
        (row["model"], row["batch"], row["subgraph_id"]): row["predicted_latency_ms"]
        for row in kept.iter_rows(named=True)
    }
    assert len(known) == rows.height
    for model in sorted(set(rows["model"])):
        others = rows.filter(pl.col("model") != model)
        fitted, overhead = curves(others), others.filter(pl.col("flops") == 0)["latency_mean_ms"].mean()
        for row in rows.filter(pl.col("model") == model).iter_rows(named=True):
            if row["flops"]:
                x, y = fitted.get(row["operation_type"], fitted["any"])
                expected = row["flops"] / (row["peak"] * np.interp(math.log(row["flops"]), x, y)) * 1000
            else:
                expected = overhead
            assert known[model, row["batch"], row["subgraph_id"]] == pytest.approx(expected, rel=1e-9)


def test_the_accuracy_on_real_data_is_that_of_the_reference(lake: Lake) -> None:
    """Held out by model: a median near 20 % within the fitted range, and far off where vgg16 alone had a matmul."""
    rows = {row["extrapolated"]: row for row in accuracy(lake, Scope()).to_dicts()}
    assert rows[False]["num_configurations"] + rows[True]["num_configurations"] == 171
    assert 12 < rows[False]["median_ape"] < 25
    assert rows[False]["bias"] < 0
    assert rows[True]["mean_ape"] > 10 * rows[False]["mean_ape"]
