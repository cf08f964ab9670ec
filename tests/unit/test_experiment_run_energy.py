"""Which energy stands for an experiment: rails to scopes, sums over what worked, and why there is none."""

from __future__ import annotations

import polars as pl
import pytest

from groundlake.experiment.energy import Baseline, breakdown, energies, scope_of

FRESH = Baseline(age_s=3.0, method="fresh", samples=40)
COLUMNS = {
    "source": "nvml",
    "rail": "gpu",
    "device_index": None,
    "window_s": 10.0,
    "averaging_s": 0.0,
    "usual_step_s": 0.05,
    "value_period_s": 0.1,
    "energy_j": None,
    "counter_energy_j": None,
    "baseline_power_w": None,
    "reason": None,
    "counter_reason": None,
}
TYPES = {
    "source": pl.String,
    "rail": pl.String,
    "device_index": pl.Int64,
    "reason": pl.String,
    "counter_reason": pl.String,
}


def rails(*rows: dict) -> pl.DataFrame:
    schema = {name: TYPES.get(name, pl.Float64) for name in COLUMNS}
    return pl.DataFrame([COLUMNS | row for row in rows], schema=schema)


def gpu(index: int, **figures: object) -> dict:
    return {"device_index": index, "energy_j": 100.0 * (index + 1)} | figures


def rapl(rail: str, energy: float | None, index: int | None = 0) -> dict:
    told = {"source": "rapl", "rail": rail, "device_index": index, "counter_energy_j": energy, "averaging_s": None}
    return told | {"reason": "the sensor tells no power"}


@pytest.mark.parametrize(
    ("source", "rail", "scope"),
    [
        ("nvml", "gpu", "gpu"),
        ("rapl", "package-1", "cpu"),
        ("rapl", "package-0/dram", "ram"),
        ("rapl", "package-0/core", None),
        ("rapl", "psys", "machine"),
        ("jetson_ina3221", "VDD_IN", "machine"),
        ("jetson_ina3221", "VDD_CPU_GPU_CV", None),
        ("replay", "gpu", "gpu"),
        ("replay", "GPU-1", "gpu"),
        ("replay", "gpu0", "gpu"),
        ("replay", "cpu", "cpu"),
        ("replay", "ram", "ram"),
        ("replay", "machine", "machine"),
        ("replay", "package-0", "cpu"),
        ("replay", "input", None),
    ],
)
def test_a_rail_is_of_the_scope_that_its_name_says(source: str, rail: str, scope: str | None) -> None:
    assert scope_of({"source": source, "rail": rail}) == scope


def test_the_energy_of_a_gpu_run_is_the_sum_over_the_gpus_that_worked() -> None:
    found = energies(
        rails(gpu(0), gpu(1), gpu(2), rapl("package-0", 7.0)),
        device="cuda",
        gpus=[0, 2],
        uuids={0: "GPU-a", 2: "GPU-c"},
    )
    assert found.whole is not None
    assert (found.whole.energy_j, found.whole.scope, found.whole.device_index) == (400.0, "gpu", None)
    single = {(row.device_index, row.device_uuid): row.energy_j for row in found.rows if row.device_index is not None}
    assert single == {(0, "GPU-a"): 100.0, (2, "GPU-c"): 300.0, (0, None): 7.0}


def test_a_sum_is_never_given_where_one_gpu_has_no_energy() -> None:
    blind = gpu(1, energy_j=None, reason="the readings leave a gap in the window")
    found = energies(rails(gpu(0), blind), device="cuda", gpus=[0, 1], uuids={})
    assert found.whole is None
    assert [row.energy_j for row in found.rows] == [100.0]
    absent = energies(rails(gpu(0)), device="cuda", gpus=[0, 1], uuids={})
    assert absent.whole is None


def test_the_energy_of_a_processor_is_that_of_its_packages_and_never_that_of_a_gpu() -> None:
    both = rails(gpu(0), rapl("package-0", 30.0), rapl("package-1", 12.0, 1), rapl("package-0/dram", 5.0))
    found = energies(both, device="cpu", gpus=None, uuids={})
    assert found.whole is not None
    assert (found.whole.energy_j, found.whole.scope, found.whole.method) == (42.0, "cpu", "counter")
    assert {row.scope for row in found.rows} == {"cpu", "ram"}
    assert energies(rails(gpu(0)), device="cpu", gpus=None, uuids={}).whole is None


def test_a_counter_stands_before_an_integral_and_both_are_kept() -> None:
    found = energies(rails(gpu(0, counter_energy_j=98.0)), device="cuda", gpus=[0], uuids={})
    assert found.whole is not None
    assert (found.whole.method, found.whole.energy_j) == ("counter", 98.0)
    of_all = [(row.method, row.energy_j) for row in found.rows if row.device_index is None]
    assert sorted(of_all) == [("counter", 98.0), ("power_integral", 100.0)]


def test_a_module_without_an_input_rail_is_the_sum_of_its_three() -> None:
    parts = [
        {"source": "jetson_ina3221", "rail": name, "energy_j": energy}
        for name, energy in (("VDD_GPU_SOC", 20.0), ("VDD_CPU_CV", 5.0), ("VIN_SYS_5V0", 7.0), ("VDDQ_VDD2_1V8AO", 2.0))
    ]
    found = energies(rails(*parts), device="cuda", gpus=None, uuids={})
    assert found.whole is not None
    assert (found.whole.energy_j, found.whole.scope) == (32.0, "machine")
    assert energies(rails(*parts[:2]), device="cuda", gpus=None, uuids={}).whole is None
    whole = {"source": "jetson_ina3221", "rail": "VDD_IN", "energy_j": 40.0}
    assert [row.energy_j for row in energies(rails(*parts, whole), device="cuda", gpus=None, uuids={}).rows] == [40.0]


def test_a_server_that_does_not_say_which_gpu_it_uses_gets_all_with_a_note() -> None:
    found = energies(rails(gpu(0), gpu(1)), device=None, gpus=None, uuids={})
    assert found.whole is not None
    assert found.whole.energy_j == 300.0
    assert "the server does not say which" in str(found.whole.note)


def test_the_baseline_is_taken_off_and_an_adjustment_below_zero_stays_visible() -> None:
    hungry = rails(gpu(0, energy_j=100.0, baseline_power_w=12.0))
    found = energies(hungry, device="cuda", gpus=[0], uuids={}, baseline=FRESH)
    split = breakdown(found.whole, FRESH)
    assert split is not None
    assert (split.raw_j, split.adjusted_j, split.adjusted_unclamped_j) == (100.0, 0.0, -20.0)
    assert (split.baseline_power_w, split.baseline_method, split.baseline_cache_age_sec) == (12.0, "fresh", 3.0)
    assert found.has_baseline
    alone = energies(rails(gpu(0)), device="cuda", gpus=[0], uuids={})
    without = breakdown(alone.whole, None)
    assert without is not None
    assert (without.adjusted_j, without.adjusted_unclamped_j, without.baseline_method) == (None, None, "unavailable")
    assert breakdown(None, FRESH) is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((), "no power sensor"),
        (({"source": "replay", "rail": "input", "energy_j": 5.0},), "no rail of what worked is known by its name"),
        ((gpu(0, energy_j=None, reason="fewer than two readings in the window"),), "nvml gpu: fewer than two readings"),
        ((rapl("package-0", None) | {"counter_reason": "the window is shorter than two steps of the counter"},),
         "rapl package-0: the window is shorter than two steps"),
    ],
)  # fmt: skip
def test_it_is_said_why_there_is_no_energy(rows: tuple, said: str) -> None:
    found = energies(rails(*rows), device="cuda", gpus=None, uuids={})
    assert found.whole is None
    assert said in str(found.why_not)


def test_the_slowest_sensor_tells_how_long_a_measurement_has_to_be() -> None:
    slow = rails(gpu(0, averaging_s=1.0), gpu(1))
    assert energies(slow, device="cuda", gpus=[0, 1], uuids={}).sensor_period_s == 1.0
    never = rails(gpu(0, energy_j=None, value_period_s=4.0, reason="the window is shorter than two updates"))
    assert energies(never, device="cuda", gpus=[0], uuids={}).sensor_period_s == 4.0
