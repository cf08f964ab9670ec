"""Efficiency curves of the lake beside those that the v1 trees carry: every number of every data point."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from groundlake.importers import export_v2_json, migrate_v1
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

REL = 1e-12
NUMBERS = {
    "flops": "flops_bin_centre",
    "efficiency_mean": "efficiency_mean",
    "efficiency_std": "efficiency_std",
    "efficiency_min": "efficiency_min",
    "efficiency_max": "efficiency_max",
    "ci_lower": "efficiency_ci_lower",
    "ci_upper": "efficiency_ci_upper",
    "num_observations": "num_observations",
    "num_samples": "num_samples",
}


@pytest.fixture(scope="module")
def lake(v1_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("curves") / "lake")
    migrate_v1(lake, [v1_data / "calibration_data"])
    return lake


@pytest.fixture(scope="module")
def recorded(v1_data: Path) -> dict[tuple[str, str], dict[str, Any]]:
    files = sorted((v1_data / "calibration_data").glob("*/*/efficiency_curves.json"))
    assert files
    return {(path.parents[1].name, path.parent.name): json.loads(path.read_text()) for path in files}


def test_the_view_gives_every_data_point_of_the_recorded_curves(
    lake: Lake, recorded: dict[tuple[str, str], dict[str, Any]]
) -> None:
    bins = lake.sql("select * from efficiency_curves order by bin_from_flops").pl()
    seen = 0
    for (hardware_id, precision), content in recorded.items():
        for operation, curve in content["curves"].items():
            own = bins.filter(
                (pl.col("hardware_id") == hardware_id)
                & (pl.col("precision") == precision)
                & (pl.col("operation_type") == operation)
            ).to_dicts()
            for row, point in zip(own, curve["data_points"], strict=True):
                for name, column in NUMBERS.items():
                    assert row[column] == pytest.approx(point[name], rel=REL, abs=0), (hardware_id, operation, name)
                    seen += 1
    assert seen == bins.height * len(NUMBERS)


def test_the_export_writes_the_same_curves(
    lake: Lake, recorded: dict[tuple[str, str], dict[str, Any]], tmp_path: Path
) -> None:
    report = export_v2_json(lake, tmp_path)
    assert report.curves == len(recorded)
    for (hardware_id, precision), content in recorded.items():
        written = json.loads((tmp_path / hardware_id / precision / "efficiency_curves.json").read_text())
        assert set(written) == set(content)
        assert written["notes"] == content["notes"]
        assert set(written["curves"]) == set(content["curves"])
        for operation, curve in content["curves"].items():
            own = written["curves"][operation]
            assert set(own) == set(curve)
            assert (own["min_flops"], own["max_flops"]) == (curve["min_flops"], curve["max_flops"])
            assert own["calibration_models"] == sorted(curve["calibration_models"])
            for name in ("r_squared", "residual_std", "max_residual"):
                assert own["fitted_curve"][name] == pytest.approx(curve["fitted_curve"][name], rel=1e-9)
            for mine, theirs in zip(
                own["fitted_curve"]["breakpoints"], curve["fitted_curve"]["breakpoints"], strict=True
            ):
                assert mine == pytest.approx(theirs, rel=REL)
            for mine, theirs in zip(own["data_points"], curve["data_points"], strict=True):
                assert set(mine) == set(theirs)
                assert set(mine["source_models"]) == set(theirs["source_models"])
                assert len(mine["source_subgraphs"]) == len(theirs["source_subgraphs"])
    again = export_v2_json(lake, tmp_path)
    assert (again.curves, again.written) == (0, 0)
