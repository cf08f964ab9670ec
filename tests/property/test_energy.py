"""The SQL of run_energy and power_profile against an independent integral in NumPy, over generated traces."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from groundlake.query_files import written_views
from groundlake.schemas import PowerTimeseries, Runs

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


@st.composite
def broken_traces(draw: st.DrawFn) -> tuple[pl.DataFrame, float]:
    """Readings with power and counter, either of which may be missing anywhere, with holes between; and a window."""
    steps = draw(st.lists(st.floats(0.02, 0.05), min_size=12, max_size=60))
    holes = draw(st.lists(st.sampled_from([1.0] * 9 + [4.0, 20.0]), min_size=len(steps), max_size=len(steps)))
    moments = np.cumsum([0.0, *np.multiply(steps, holes)])
    powers = np.array(draw(st.lists(POWERS, min_size=len(moments), max_size=len(moments))))
    counter = 1000.0 + np.concatenate([[0.0], np.cumsum(powers[1:] * np.diff(moments))])
    told = st.lists(st.sampled_from([True, True, True, False]), min_size=len(moments), max_size=len(moments))
    has_power, has_count = np.array(draw(told)), np.array(draw(told))
    start, end = sorted((draw(st.floats(-0.05, 1.0)), draw(st.floats(0.0, 1.05))))
    assume(end - start > 0.2)
    rows = pl.DataFrame(
        {
            "run_id": "r",
            "rail": "a",
            "averaging_s": 0.0,
            "timestamp_s": moments - start * moments[-1],
            "power_w": [value if there else None for value, there in zip(powers, has_power, strict=True)],
            "energy_counter_j": [value if there else None for value, there in zip(counter, has_count, strict=True)],
        },
        schema_overrides={"power_w": pl.Float64, "energy_counter_j": pl.Float64},
    )
    return rows, float((end - start) * moments[-1])


def integral(moments: np.ndarray, powers: np.ndarray, window_s: float) -> tuple[float, float]:
    """Energy and length of what lies in the window between two readings that are no gap, step by step."""
    steps = np.diff(moments)
    longest = 3 * np.median(steps)
    assume(np.all(np.abs(steps - longest) > 1e-9))
    energy_j = covered_s = 0.0
    for at in np.flatnonzero(steps <= longest):
        ends = np.clip(moments[at : at + 2], 0.0, window_s)
        energy_j += float(np.trapezoid(np.interp(ends, moments, powers), ends))
        covered_s += float(ends[1] - ends[0])
    return energy_j, covered_s


@settings(max_examples=60, deadline=None)
@given(trace=broken_traces())
def test_what_is_missing_makes_a_gap_and_never_a_smaller_energy(trace: tuple[pl.DataFrame, float]):
    readings, window_s = trace
    told = readings.drop_nulls("power_w")
    assume(told.height > 2)
    moments, powers = told["timestamp_s"].to_numpy(), told["power_w"].to_numpy()
    expected_j, covered_s = integral(moments, powers, window_s)
    assume(abs(covered_s - 0.99 * window_s) > 1e-9)
    (row,) = ask("run_energy", [{"run_id": "r", "measured_window_s": window_s}], readings)
    inside = int(np.sum((moments >= 0) & (moments <= window_s)))
    assert row["num_readings"] == inside
    assert row["coverage"] == pytest.approx(covered_s / window_s)
    assert row["has_gap"] is (covered_s < 0.99 * window_s)
    if inside >= 2 and row["has_gap"]:
        assert (row["energy_j"], row["reason"]) == (None, "the readings leave a gap in the window")
    if row["energy_j"] is not None:
        assert not row["has_gap"]
        assert row["energy_j"] == pytest.approx(expected_j, rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(trace=broken_traces())
def test_a_counter_goes_on_through_what_is_missing(trace: tuple[pl.DataFrame, float]):
    readings, window_s = trace
    told = readings.drop_nulls("energy_counter_j")
    assume(told.height > 2)
    moments, counts = told["timestamp_s"].to_numpy(), told["energy_counter_j"].to_numpy()
    spanned_s = max(0.0, min(window_s, moments[-1]) - max(0.0, moments[0]))
    assume(abs(spanned_s - 0.99 * window_s) > 1e-9)
    (row,) = ask("run_energy", [{"run_id": "r", "measured_window_s": window_s}], readings)
    assert (row["counter_energy_j"] is None) == (row["counter_reason"] is not None)
    if spanned_s < 0.99 * window_s:
        assert row["counter_reason"] == "the counter was not read at both ends of the window"
    if row["counter_energy_j"] is not None:
        at_ends = np.interp([0.0, window_s], moments, counts)
        assert row["counter_energy_j"] == pytest.approx(at_ends[1] - at_ends[0], rel=1e-9, abs=1e-7)
        mean_step_j = (counts[-1] - counts[0]) / np.count_nonzero(np.diff(counts))
        assert row["counter_uncertainty_j"] >= 2 * mean_step_j * (1 - 1e-9)
