"""The SQL of run_energy and power_profile against an independent integral in NumPy, over generated traces."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from groundlake.schemas import PowerTimeseries, Runs
from groundlake.views import written_views

STEPS = st.lists(st.floats(0.02, 0.05), min_size=8, max_size=60)
POWERS = st.floats(0.0, 900.0)


def ask(view: str, runs: list[dict[str, Any]], readings: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of a view over these runs and readings."""
    defaults = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "kind": "efficiency"}
    ledger = [dict.fromkeys(Runs.polars_schema()) | {"status": "ok"} | defaults | run for run in runs]
    schema = PowerTimeseries.polars_schema()
    keys = {
        "hardware_id": "dev",
        "precision": "fp32",
        "model": "net",
        "batch": 1,
        "phase": "measure",
        "source": "replay",
    }
    absent = {name: keys.get(name) for name in schema if name not in readings.columns}
    rows = readings.with_columns(pl.lit(value, dtype=schema[name]).alias(name) for name, value in absent.items())
    with duckdb.connect() as connection:
        connection.register("runs", pl.DataFrame(ledger, schema=Runs.polars_schema()).to_arrow())
        connection.register("power_timeseries", rows.select(list(schema)).to_arrow())
        return connection.sql(written_views()[view].sql).pl().to_dicts()


@st.composite
def traces(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    """Moments and powers of a steady series, and a window that it covers: from timestamp 0 to the value given."""
    moments = np.cumsum([0.0, *draw(STEPS)])
    powers = np.array(draw(st.lists(POWERS, min_size=len(moments), max_size=len(moments))))
    assume(np.all(np.diff(powers) != 0))
    start, end = sorted((draw(st.floats(0.0, 1.0)), draw(st.floats(0.0, 1.0))))
    assume(end - start > 0.4)
    span = moments[-1]
    return moments - start * span, powers, float((end - start) * span)


@settings(max_examples=60, deadline=None)
@given(trace=traces())
def test_the_integral_is_the_one_of_numpy(trace: tuple[np.ndarray, np.ndarray, float]):
    moments, powers, window_s = trace
    grid = np.unique(np.concatenate([[0.0, window_s], moments[(moments > 0) & (moments < window_s)]]))
    expected = np.trapezoid(np.interp(grid, moments, powers), grid)
    readings = pl.DataFrame({"run_id": "r", "rail": "a", "timestamp_s": moments, "power_w": powers})
    (row,) = ask("run_energy", [{"run_id": "r", "measured_window_s": window_s}], readings)
    assert row["reason"] is None
    assert row["energy_j"] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert row["mean_power_w"] == pytest.approx(expected / window_s, rel=1e-9, abs=1e-9)
    assert row["coverage"] == pytest.approx(1.0)
    assert row["has_gap"] is False
    assert row["num_readings"] == int(np.sum((moments >= 0) & (moments <= window_s)))
    assert row["usual_step_s"] == pytest.approx(np.median(np.diff(moments)))


@settings(max_examples=60, deadline=None)
@given(trace=traces())
def test_the_counter_is_read_off_at_both_ends(trace: tuple[np.ndarray, np.ndarray, float]):
    moments, powers, window_s = trace
    counter = 1000.0 + np.concatenate([[0.0], np.cumsum(powers[1:] * np.diff(moments))])
    expected = np.interp(window_s, moments, counter) - np.interp(0.0, moments, counter)
    readings = pl.DataFrame({"run_id": "r", "rail": "a", "timestamp_s": moments, "energy_counter_j": counter})
    (row,) = ask("run_energy", [{"run_id": "r", "measured_window_s": window_s}], readings)
    assert (row["energy_j"], row["reason"]) == (None, "the sensor tells no power")
    assert row["counter_energy_j"] == pytest.approx(expected, rel=1e-9, abs=1e-7)
    profile = ask("power_profile", [{"run_id": "r", "measured_window_s": window_s}], readings)
    by_moment = {each["timestamp_s"]: each["power_w"] for each in profile}
    assert [by_moment[moment] for moment in moments[1:]] == pytest.approx(powers[1:], rel=1e-6, abs=1e-6)
    assert {each["method"] for each in profile} == {"counter_difference"}
