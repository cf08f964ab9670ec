"""Energy views on a lake: what they refuse and why, the baseline, and energy per inference."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 4, "session_id": "s", "device": "cuda"}


def power(moments: list[float], watts: list[float | None], rail: str = "a", **columns: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "phase": "measure",
            "source": "nvml",
            "rail": rail,
            "timestamp_s": moments,
            "power_w": watts,
            "device_index": 0,
            "averaging_s": 0.0,
        }
    ).with_columns(pl.lit(value).alias(name) for name, value in columns.items())


def steady(seconds: float, watts: float, hz: int = 20, **columns: Any) -> pl.DataFrame:
    """Readings around a level, a little above and below by turns, from before the window to behind it."""
    count = int((seconds + 2) * hz)
    moments = [number / hz - 1 for number in range(count + 1)]
    return power(moments, [watts + (0.5 if number % 2 else -0.5) for number in range(count + 1)], **columns)


def energies(lake: Lake) -> list[dict[str, Any]]:
    return lake.sql("select * from run_energy order by run_id, rail").pl().to_dicts()


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def test_every_rail_of_a_run_has_its_energy(lake: Lake) -> None:
    rows = pl.concat([steady(2, 100.0), steady(2, 30.0, rail="b")])
    lake.write({**RUN, "measured_window_s": 2.0}, power_timeseries=rows)
    first, second = energies(lake)
    assert (first["rail"], second["rail"]) == ("a", "b")
    assert (first["energy_j"], second["energy_j"]) == (pytest.approx(200.0), pytest.approx(60.0))
    assert first["mean_power_w"] == pytest.approx(100.0)
    assert first["energy_above_baseline_j"] is None


@pytest.mark.parametrize(
    ("window_s", "rows", "reason"),
    [
        (None, steady(2, 9.0), "the run does not say how long it measured"),
        (2.0, power([-1.0, -0.5], [9.0, 9.5]), "fewer than two readings in the window"),
        (2.0, power([-1.0, 0.0, 1.0, 2.0, 3.0], [9.0] * 5), "the sensor never changed its value"),
        (2.0, power([0.0, 0.1, 0.2, 0.3, 1.9, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), "the readings leave a gap"),
        (2.0, power([0.0, 0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0, 5.0]), "the readings leave a gap"),
        (0.4, power([0.1 * n for n in range(-10, 11)], [5.0] * 10 + [6.0] * 11), "shorter than two updates"),
        (2.0, steady(2, 9.0, averaging_s=0.41), "the window is shorter than five averaging times of the sensor"),
        (
            2.0,
            power([n / 20 - 1 for n in range(81)], [9.0] * 81, averaging_s=None),
            "the sensor never changed its value",
        ),
    ],
)
def test_an_energy_that_is_not_known_is_null_with_the_reason(
    window_s: float | None, rows: pl.DataFrame, reason: str, lake: Lake
) -> None:
    lake.write({**RUN, "measured_window_s": window_s}, power_timeseries=rows)
    (row,) = energies(lake)
    assert (row["energy_j"], row["mean_power_w"], row["energy_above_baseline_j"]) == (None, None, None)
    assert reason in row["reason"]


def test_readings_without_a_power_are_a_gap_and_not_a_smaller_energy(lake: Lake) -> None:
    """The sampler of NVML gives such rows when the field fails, and the counter beside it still answers."""
    silent = pl.col("timestamp_s").is_between(0.5, 0.9)
    rows = steady(2, 100.0).with_columns(
        power_w=pl.when(~silent).then("power_w"), energy_counter_j=500 + pl.col("timestamp_s") * 100
    )
    lake.write({**RUN, "measured_window_s": 2.0}, power_timeseries=rows)
    (row,) = energies(lake)
    assert (row["energy_j"], row["has_gap"]) == (None, True)
    assert row["reason"] == "the readings leave a gap in the window"
    assert row["coverage"] == pytest.approx(0.75)
    assert row["counter_energy_j"] == pytest.approx(200.0)


def test_a_single_reading_without_a_power_is_interpolated_as_one_that_failed(lake: Lake) -> None:
    rows = steady(2, 100.0).with_columns(power_w=pl.when(pl.col("timestamp_s") != 0.5).then("power_w"))
    lake.write({**RUN, "measured_window_s": 2.0}, power_timeseries=rows)
    (row,) = energies(lake)
    assert row["energy_j"] == pytest.approx(200.0, abs=0.1)
    assert row["coverage"] == pytest.approx(1.0)


@pytest.mark.parametrize("averaging_s", [0.0, 0.05])
def test_a_rail_that_hardly_moves_has_an_energy_where_its_averaging_time_is_known(
    averaging_s: float, lake: Lake
) -> None:
    moments = [number / 20 - 1 for number in range(81)]
    constant = power(moments, [5.0] * 81, averaging_s=averaging_s)
    flicker = power(moments, [5.0] * 40 + [5.04] * 41, rail="b", averaging_s=averaging_s)
    step = power(moments, [5.0] * 40 + [9.0] * 41, rail="c", averaging_s=averaging_s)
    lake.write({**RUN, "measured_window_s": 2.0}, power_timeseries=pl.concat([constant, flicker, step]))
    first, second, third = energies(lake)
    assert (first["energy_j"], first["reason"]) == (pytest.approx(10.0), None)
    assert (second["energy_j"], second["reason"]) == (pytest.approx(10.04, abs=0.05), None)
    assert (third["energy_j"], third["reason"]) == (None, "the window is shorter than two updates of the sensor")


@pytest.mark.parametrize(
    ("window_s", "counts", "reason"),
    [
        (None, "steady", "the run does not say how long it measured"),
        (2.0, "none", "the sensor has no counter"),
        (3.5, "steady", "the counter was not read at both ends of the window"),
        (0.3, "whole seconds", "the window is shorter than two steps of the counter"),
        (2.0, "constant", "the window is shorter than two steps of the counter"),
    ],
)
def test_a_counter_that_tells_no_energy_says_why(window_s: float | None, counts: str, reason: str, lake: Lake) -> None:
    values = {
        "none": pl.lit(None, dtype=pl.Float64),
        "steady": 9 + pl.col("timestamp_s"),
        "whole seconds": 9 + pl.col("timestamp_s").floor(),
        "constant": pl.lit(9.0),
    }
    rows = steady(2, 100.0).with_columns(energy_counter_j=values[counts])
    lake.write({**RUN, "measured_window_s": window_s}, power_timeseries=rows)
    (row,) = energies(lake)
    assert (row["counter_energy_j"], row["counter_uncertainty_j"]) == (None, None)
    assert row["counter_reason"] == reason


def test_the_difference_of_a_counter_may_be_off_by_a_step_at_each_end(lake: Lake) -> None:
    moments = [number / 20 - 1 for number in range(121)]
    rows = power(moments, [None] * 121, averaging_s=None, source="rapl").with_columns(
        energy_counter_j=100 + (pl.col("timestamp_s") / 0.5).floor() * 25
    )
    lake.write({**RUN, "measured_window_s": 2.4}, power_timeseries=rows)
    (row,) = energies(lake)
    assert (row["reason"], row["counter_reason"]) == ("the sensor tells no power", None)
    assert row["counter_uncertainty_j"] == pytest.approx(50.0)
    assert abs(row["counter_energy_j"] - 2.4 * 50) <= row["counter_uncertainty_j"]
    assert row["value_period_s"] == pytest.approx(0.5)


def test_an_end_between_two_readings_far_apart_makes_the_counter_uncertain(lake: Lake) -> None:
    moments = [-1.0, -0.1, 0.5, *(0.6 + number / 10 for number in range(30))]
    rows = power(moments, [None] * 33).with_columns(energy_counter_j=100 + pl.col("timestamp_s") * 10)
    lake.write({**RUN, "measured_window_s": 2.05}, power_timeseries=rows)
    (row,) = energies(lake)
    assert row["counter_energy_j"] == pytest.approx(20.5)
    assert row["counter_uncertainty_j"] == pytest.approx(6.0 + 45 / 32)


def test_a_counter_goes_on_through_a_gap_of_the_readings(lake: Lake) -> None:
    moments = [0.0, 0.1, 0.2, 1.8, 1.9, 2.0]
    rows = power(moments, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).with_columns(energy_counter_j=50 + pl.col("timestamp_s") * 10)
    lake.write({**RUN, "measured_window_s": 2.0}, power_timeseries=rows)
    (row,) = energies(lake)
    assert (row["energy_j"], row["has_gap"]) == (None, True)
    assert row["counter_energy_j"] == pytest.approx(20.0)


def started(day: int) -> dict[str, Any]:
    return {"started_at": dt.datetime(2026, 1, day, tzinfo=dt.timezone.utc), "started_at_zone_source": "clock"}


def test_a_counter_that_does_not_resolve_the_window_tells_no_energy(lake: Lake) -> None:
    moments = [number / 20 - 1 for number in range(50)]
    counted = power(moments, [None] * 50).with_columns(energy_counter_j=(1 + pl.col("timestamp_s") // 1) * 90)
    lake.write({**RUN, "measured_window_s": 0.3, "timed_runs": 50}, power_timeseries=counted)
    (row,) = energies(lake)
    assert (row["energy_j"], row["counter_energy_j"]) == (None, None)
    assert lake.sql("select count(*) from energy_per_inference").rows() == [(0,)]


def test_an_idle_device_may_take_the_same_power_all_the_time(lake: Lake) -> None:
    idle = {**RUN, "precision": "none", "model": "idle", "batch": 0, "kind": "idle_baseline", "measured_window_s": 4.0}
    constant = power([number / 20 - 1 for number in range(121)], [20.0] * 121)
    lake.write({**idle, **started(1), "run_id": "idle"}, power_timeseries=constant)
    lake.write({**RUN, **started(2), "run_id": "busy", "measured_window_s": 2.0}, power_timeseries=steady(2, 100.0))
    row = next(row for row in energies(lake) if row["run_id"] == "busy")
    assert row["energy_above_baseline_j"] == pytest.approx(160.0)


def test_the_baseline_is_the_latest_of_the_session_before_the_run_on_the_same_rail(lake: Lake) -> None:
    idle = {**RUN, "precision": "none", "model": "idle", "batch": 0, "kind": "idle_baseline", "measured_window_s": 4.0}
    for day, level in ((2, 20.0), (1, 90.0), (4, 50.0)):
        lake.write({**idle, **started(day), "run_id": f"idle-{day}"}, power_timeseries=steady(4, level))
    lake.write({**idle, **started(2), "run_id": "idle-9", "session_id": "other"}, power_timeseries=steady(4, 70.0))
    lake.write({**RUN, **started(3), "run_id": "busy", "measured_window_s": 2.0}, power_timeseries=steady(2, 100.0))
    row = next(row for row in energies(lake) if row["run_id"] == "busy")
    assert row["baseline_run_id"] == "idle-2"
    assert row["baseline_power_w"] == pytest.approx(20.0)
    assert row["energy_above_baseline_j"] == pytest.approx(160.0)
    idle_row = next(row for row in energies(lake) if row["run_id"] == "idle-1")
    assert (idle_row["baseline_run_id"], idle_row["energy_j"]) == (None, pytest.approx(360.0))


def test_the_energy_of_an_input_is_that_of_the_window_over_passes_and_batch(lake: Lake) -> None:
    measured = {**RUN, "measured_window_s": 2.0, "timed_runs": 50}
    lake.write({**measured, "run_id": "a"}, power_timeseries=steady(2, 100.0))
    (row,) = lake.sql("select * from energy_per_inference").pl().to_dicts()
    assert (row["run_id"], row["passes"], row["method"]) == ("a", 50, "integral")
    assert row["energy_per_pass_j"] == pytest.approx(4.0)
    assert row["energy_per_input_j"] == pytest.approx(1.0)
    assert row["inputs_per_j"] == pytest.approx(1.0)
    assert row["energy_per_input_above_baseline_j"] is None


def test_an_energy_names_its_sampling_period_its_window_and_what_a_reading_means(lake: Lake) -> None:
    rows = steady(2, 100.0, averaging_s=0.1)
    lake.write({**RUN, "measured_window_s": 2.0, "timed_runs": 50}, power_timeseries=rows)
    figures = [("nvml", "a", pytest.approx(0.05), 2.0, 0.1)]
    named = "source, rail, usual_step_s, window_s, averaging_s"
    assert lake.sql(f"select {named} from run_energy").rows() == figures
    assert lake.sql(f"select {named} from energy_per_inference").rows() == figures
    assert set(lake.sql("select averaging_s from power_profile").rows()) == {(0.1,)}


@pytest.mark.parametrize(
    ("run", "devices", "shown"),
    [
        ({"device": "cpu"}, [0], []),
        ({"device": "cpu", "device_index": 0}, [0], []),
        ({"device": "cuda"}, [3], [3]),
        ({"device": "cuda"}, [0, 1], []),
        ({"device": "cuda", "device_index": 1}, [0, 1], [1]),
        ({"device": "cuda", "device_index": 2}, [0], []),
    ],
)
def test_a_gpu_has_an_energy_of_a_pass_only_where_it_ran_the_model(
    run: dict[str, Any], devices: list[int], shown: list[int], lake: Lake
) -> None:
    gpus = [steady(2, 100.0, device_index=index) for index in devices]
    package = steady(2, 30.0, rail="package-0", source="rapl")
    rows = pl.concat([*gpus, package], how="vertical_relaxed")
    lake.write({**RUN, **run, "measured_window_s": 2.0, "timed_runs": 50}, power_timeseries=rows)
    found = lake.sql("select source, device_index from energy_per_inference order by source, device_index").rows()
    assert found == [*(("nvml", index) for index in shown), ("rapl", 0)]


def test_of_several_gpus_only_the_one_that_ran_the_model_has_an_energy_of_a_pass(lake: Lake) -> None:
    rows = pl.concat([steady(2, 100.0), steady(2, 30.0).with_columns(device_index=pl.lit(1))])
    lake.write({**RUN, "measured_window_s": 2.0, "timed_runs": 50, "device_index": 1}, power_timeseries=rows)
    assert len(energies(lake)) == 2
    ((index, energy_j),) = lake.sql("select device_index, energy_per_pass_j from energy_per_inference").rows()
    assert (index, energy_j) == (1, pytest.approx(1.2))


def test_the_gpu_series_has_the_columns_of_the_sidecar(lake: Lake) -> None:
    rows = power([0.0, 0.1], [5.0, 6.0], temperature_c=41.0)
    other = power([0.0], [7.0]).with_columns(source=pl.lit("rapl"))
    lake.write(RUN, power_timeseries=pl.concat([rows, other], how="diagonal"))
    answer = lake.sql(
        "select timestamp_s, gpu_power_w, gpu_temperature_c, gpu_index from power_timeseries_gpu order by timestamp_s"
    )
    assert answer.rows() == [(0.0, 5.0, 41.0, 0), (0.1, 6.0, 41.0, 0)]


def test_a_profile_says_which_readings_lie_in_the_window(lake: Lake) -> None:
    lake.write({**RUN, "measured_window_s": 0.15}, power_timeseries=power([-0.1, 0.0, 0.1, 0.2], [1.0, 2.0, 3.0, 4.0]))
    rows = lake.sql("select timestamp_s, power_w, method, in_window from power_profile order by timestamp_s").rows()
    assert [row[3] for row in rows] == [False, True, True, False]
    assert {row[2] for row in rows} == {"reading"}
