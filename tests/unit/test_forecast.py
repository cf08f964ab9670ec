"""How long a sweep will take: what is known best wins, and what nobody knows has no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from groundlake.measure.forecast import forecast
from groundlake.measure.plan import Configuration, PlannedRun, SweepSettings, plan
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = SweepSettings(hardware_id="bench", warmup=10, runs=40, peaks={"fp32": 1e12})


def hold(lake: Lake, **changed: object) -> None:
    run = {"hardware_id": "bench", "model": "net", "precision": "fp32", "batch": 1, "total_latency_ms": 30.0}
    lake.write(run | changed)


def expected(lake: Lake, *wanted: Configuration, **flops: float) -> list[tuple[float | None, str]]:
    todo = plan(lake, SweepSettings(hardware_id="bench", repeat=1), wanted)
    found = {each.run: (each.seconds, each.method) for each in forecast(lake, SETTINGS, todo, flops)}
    return [found[PlannedRun(each, 1)] for each in wanted]


def test_a_configuration_that_was_measured_takes_as_long_again(lake_root: Path) -> None:
    lake = Lake(lake_root)
    hold(lake, end_to_end_latency_ms=20.0, duration_s=7.0, warmup_runs=50, timed_runs=50)
    # It began with 7 - 2 * 100 * 0.020 = 3 s that were no passes; 2 * 50 passes are to come.
    assert expected(lake, Configuration("net", "fp32", 1)) == [(pytest.approx(3 + 100 * 0.020), "measured before")]


def test_another_batch_is_taken_in_proportion_to_the_nearest_one(lake_root: Path) -> None:
    lake = Lake(lake_root)
    hold(lake, batch=2)
    hold(lake, batch=64, total_latency_ms=500.0)
    assert expected(lake, Configuration("net", "fp32", 4)) == [
        (pytest.approx(1 + 100 * 0.060), "in proportion to batch 2")
    ]


def test_an_unknown_model_takes_its_flops_at_the_rate_of_the_others(lake_root: Path) -> None:
    lake = Lake(lake_root)
    hold(lake, total_flops=3_000_000_000)
    (found,) = expected(lake, Configuration("other", "bf16", 4), other=2e9)
    assert found == (pytest.approx(1 + 100 * 4 * 2e9 / 1e11), "FLOPs at the rate of other models here")


def test_an_empty_lake_leaves_the_peak(lake_root: Path) -> None:
    (found, unknown) = expected(
        Lake(lake_root), Configuration("other", "fp32", 1), Configuration("own:model", "fp32", 1), other=3e9
    )
    assert found == (pytest.approx(1 + 100 * 3e9 / 0.15e12), "FLOPs at 15% of the peak")
    assert unknown == (None, "unknown")


def test_failed_runs_and_other_devices_tell_nothing(lake_root: Path) -> None:
    lake = Lake(lake_root)
    hold(lake, status="failed", error="no memory")
    hold(lake, hardware_id="other")
    assert expected(lake, Configuration("net", "fp32", 1)) == [(None, "unknown")]
