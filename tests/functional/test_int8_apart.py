"""Runs in int8 of two engines, sets or preparations are networks of their own: nothing takes them for repeats."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from calibration_lake import quantized

from groundlake.compare import compare
from groundlake.measure.int8.settings import Int8Settings
from groundlake.measure.plan import Configuration, PlannedRun, SweepSettings
from groundlake.measure.record import FailedMeasurement
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - the lake keeps naive UTC
CHOSEN = Int8Settings(
    lake_root="lake",
    calibration_set="stripes",
    set_fingerprint="5e7" * 20,
    num_images=10,
    image_shape=(3, 32, 32),
    preprocessing_fingerprint="bead" * 15,
    engine="onednn",
)
OTHERS = {
    "engine": replace(CHOSEN, engine="x86"),
    "set": replace(CHOSEN, set_fingerprint="0" * 60),
    "preparation": replace(CHOSEN, preprocessing_fingerprint="1" * 60),
}


def measured(lake: Lake, chosen: Int8Settings | None, latency_ms: float, hour: int, **columns: object) -> str:
    """Write one run of a network; with settings one in int8."""
    counted = "fx_chain_v1" if chosen is None else f"fx_chain_v1+int8_bytes.{chosen.network}"
    run = {
        "hardware_id": "dev",
        "precision": "fp32" if chosen is None else "int8",
        "model": "net",
        "batch": 1,
        "device": "cpu",
        "session_id": "night",
        "started_at": NOON + dt.timedelta(hours=hour),
        "started_at_zone_source": "clock",
        "timing_method": "perf_counter",
        "flops_method": counted,
        "total_flops": 1000,
        "total_latency_ms": latency_ms,
        "total_latency_std_ms": 0.01,
        "end_to_end_latency_ms": latency_ms,
        "end_to_end_latency_std_ms": 0.01,
        "timed_runs": 50,
    }
    return lake.write(run | columns)


@pytest.mark.parametrize("other", OTHERS)
def test_networks_that_were_made_otherwise_are_no_repeats_and_do_not_compare(lake_root: Path, other: str) -> None:
    lake = Lake(lake_root)
    for hour, chosen in enumerate((CHOSEN, OTHERS[other]) * 2):
        measured(lake, chosen, 2.0 + hour % 2, hour)
    noise = lake.sql("select num_runs, noise_method, noise_percent from run_noise where quantity = 'total_latency_ms'")
    assert noise.rows() == [(2, "between runs", 0.0)], "each was repeated once, with the same result"
    for view in ("session_drift", "plot_drift"):
        rows = lake.sql(f"select change_percent from {view}").rows()
        assert {change for (change,) in rows} == {0.0}, view
    runs = lake.runs("dev").filter(kind="efficiency").sort("started_at")["run_id"]
    (row,) = compare(lake, runs[0], runs[1]).to_dicts()
    assert (row["verdict"], row["reason"]) == (
        "not comparable",
        f"flops_method differs: {_both(CHOSEN, OTHERS[other])}",
    )
    (row,) = compare(lake, runs[0], runs[2]).to_dicts()
    assert row["verdict"] != "not comparable"


def _both(*chosen: Int8Settings) -> str:
    return " against ".join(f"fx_chain_v1+int8_bytes.{each.network}" for each in chosen)


def test_another_precision_is_compared_with_one_int8_network_and_not_with_two(lake_root: Path) -> None:
    lake = Lake(lake_root)
    measured(lake, None, 6.0, 0)
    timed = measured(lake, CHOSEN, 2.0, 1)
    made = {"set_fingerprint": CHOSEN.set_fingerprint, "backend": "torch 2.13, FX graph mode, onednn"}
    quantized(lake, "stripes", measured_run_id=timed, hardware_id="dev", **made)
    sides = ("precision=fp32,session_id=night", "precision=int8,session_id=night")
    assert set(compare(lake, *sides)["verdict"]) == {"improved"}
    told = "calibration_set, set_fingerprint, backend, preprocess, verdict"
    speedup = lake.sql(f"select {told} from precision_speedup").rows()
    assert speedup == [("stripes", CHOSEN.set_fingerprint, "torch 2.13, FX graph mode, onednn", None, "comparable")]
    measured(lake, OTHERS["engine"], 3.0, 2)
    frame = compare(lake, *sides)
    assert set(frame["verdict"]) == {"not comparable"}
    assert frame["reason"][0].startswith("flops_method differs within one side: fx_chain_v1+int8_bytes.onednn.")


def test_a_failed_run_in_int8_says_with_what_it_failed(lake_root: Path) -> None:
    lake = Lake(lake_root)
    settings = SweepSettings(hardware_id="dev", int8=CHOSEN)
    for precision in ("int8", "fp32"):
        failed = FailedMeasurement(
            run=PlannedRun(Configuration("net", precision, 1)),
            settings=settings,
            reason="no kernel ran",
            started_at=NOON.replace(tzinfo=dt.timezone.utc),
            duration_s=1.0,
            software={},
        )
        lake.write_record(failed)
    errors = dict(lake.sql("select precision, error from run_summary").rows())
    assert errors["fp32"] == "no kernel ran"
    words = "int8 with set stripes (5e75e75e75e7), images as they are (0 to 255), onednn"
    assert errors["int8"] == f"no kernel ran\n  {words}"
