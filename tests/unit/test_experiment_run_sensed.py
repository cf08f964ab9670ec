"""What sensors said of the devices that worked: temperatures within the window, and the sidecar of a result."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from groundlake.experiment.doubting import about_power, seen_of
from groundlake.experiment.energy import RUN_ENERGY, Energies
from groundlake.experiment.plan import ExperimentPlan
from groundlake.experiment.prompts import Prompts
from groundlake.experiment.rows import KIND
from groundlake.experiment.sensed import heat_of, sidecar
from groundlake.experiment.watching import Watched
from groundlake.memory import ask_unwritten
from groundlake.power.watch import PowerRecord

WINDOW_S = 9.93
STEP_S = 0.2
PLAN = ExperimentPlan(
    backend="transformers",
    model="org/name",
    prompts=Prompts(items=("a",), name="p.txt", sha256="0" * 64),
    hardware_id="dev",
    power="none",
)


def gpu(index: int | None, celsius: tuple[float, float], *, rail: str = "gpu", late_s: float = 0.0) -> pl.DataFrame:
    """Readings from 2 s before the window to 2 s behind it; they are 90 C before it."""
    moments = np.arange(-2.0, WINDOW_S + 2.0, STEP_S) + late_s
    heat = np.where(moments < 0, 90.0, np.where(moments < WINDOW_S / 2, *celsius))
    return pl.DataFrame(
        {
            "phase": "measure",
            "source": "nvml" if rail == "gpu" else "replay",
            "rail": rail,
            "device_index": pl.Series([index] * len(moments), dtype=pl.Int64),
            "timestamp_s": moments,
            "power_w": 100.0 + 10 * (index or 0) + np.arange(len(moments)) % 7,
            "temperature_c": heat,
            "averaging_s": 0.0,
        }
    )


def record(*rails: pl.DataFrame) -> PowerRecord:
    rows = pl.concat(rails).sort("timestamp_s", maintain_order=True)
    return PowerRecord(rows=rows, window_s=WINDOW_S, series=({},), notes=())


@pytest.mark.parametrize(
    ("gpus", "first", "last", "highest"),
    [([0], 35.0, 36.0, 36.0), ([1], 60.0, 72.0, 72.0), ([0, 1], 60.0, 72.0, 72.0), (None, 50.0, 80.0, 80.0)],
)
def test_the_drift_is_that_of_one_device_that_worked_within_the_window(
    gpus: list[int] | None, first: float, last: float, highest: float
) -> None:
    power = record(gpu(0, (35.0, 36.0)), gpu(1, (60.0, 72.0)), gpu(2, (50.0, 80.0)))
    heat = heat_of(power, device="cuda", gpus=gpus)
    assert (heat.first_c, heat.last_c, heat.highest_c) == (first, last, highest)
    watched = Watched(device="cuda", is_remote=False, before={"temperature_c": 1.0}, after={"temperature_c": 99.0})
    seen = seen_of(PLAN, power, Energies(), watched, gpus=gpus)
    assert (seen.first_temperature_c, seen.last_temperature_c) == (first, last)


def test_no_gpu_has_a_temperature_or_a_sidecar_where_the_processor_worked() -> None:
    power = record(gpu(0, (35.0, 36.0)))
    assert heat_of(power, device="cpu", gpus=None).highest_c is None
    assert sidecar(power, device="cpu", gpus=None) is None


def test_the_sidecar_gives_the_energy_of_the_gpus_that_worked_over_exactly_the_window() -> None:
    power = record(gpu(0, (35.0, 36.0)), gpu(1, (60.0, 72.0)), gpu(2, (50.0, 80.0), late_s=0.07))
    kept = sidecar(power, device="cuda", gpus=[0, 2])
    assert kept is not None
    assert kept["gpu_index"].unique().to_list() == [0, 2]
    told = {"kind": KIND, "hardware_id": "dev", "started_at": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)}
    told |= {"started_at_zone_source": "clock", **power.ledger_columns(), "power_series": None}
    energies = ask_unwritten([(told, {"power_timeseries": power.rows})], RUN_ENERGY, "run_energy")
    stored = dict(energies.select("device_index", "energy_j").iter_rows())
    for (index,), rows in kept.group_by("gpu_index"):
        moments, watts = rows["timestamp_s"].to_numpy(), rows["gpu_power_w"].to_numpy()
        outside = (moments < 0) | (moments > WINDOW_S)
        assert outside.sum() == 2, "one before the window, one behind it"
        edges = np.concatenate([[0.0], moments[~outside], [WINDOW_S]])
        power_w = np.interp(edges, moments, watts)
        energy_j = np.sum(np.diff(edges) * (power_w[1:] + power_w[:-1]) / 2)
        assert energy_j == pytest.approx(stored[index], rel=1e-9)


def test_gpus_of_a_trace_without_indices_have_those_in_their_names() -> None:
    kept = sidecar(record(gpu(None, (1, 2), rail="gpu1"), gpu(None, (1, 2), rail="gpu0")), device="cuda", gpus=[0])
    assert kept is not None
    assert kept["gpu_index"].unique().sort().to_list() == [0, 1]


def test_a_rail_that_fell_silent_is_told_with_what_is_missing() -> None:
    whole, short = gpu(0, (35.0, 36.0)), gpu(1, (35.0, 36.0)).filter(pl.col("timestamp_s") < WINDOW_S - 1)
    told = {"source": "nvml", "rail": "gpu", "requested_period_s": STEP_S, "failed_reads": 0, "gaps": 0}
    series = ({**told, "device_index": 0}, {**told, "device_index": 1, "gaps": 2})
    power = PowerRecord(rows=pl.concat([whole, short]), window_s=WINDOW_S, series=series, notes=())
    (doubt,) = about_power(power)
    assert (doubt.code, doubt.observed) == ("power_gap", 2.0)
    assert doubt.seen == "readings of nvml gpu are missing: 0 failed reads, 2 gaps, none at the end of the window"
