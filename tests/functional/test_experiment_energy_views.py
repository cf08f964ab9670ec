"""Energies of LLM experiments, their baselines and raw readings, over small lakes that can be worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from experiment_lake import energy, experiment, idle, process, readings
from small_lake import ask, near

from groundlake.experiment.energy import PARTS_OF_A_MODULE, scope_of
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


@pytest.mark.parametrize(
    ("device", "estimates", "chosen"),
    [
        ("cuda", [energy(1.0, scope="machine"), energy(2.0), energy(3.0, scope="cpu")], (2.0, "gpu", "counter")),
        ("cuda", [energy(1.0, scope="cpu"), energy(2.0, scope="machine")], (2.0, "machine", "counter")),
        ("cuda", [energy(1.0, scope="machine"), energy(2.0, scope="soc")], (2.0, "soc", "counter")),
        ("cpu", [energy(1.0), energy(2.0, scope="machine"), energy(3.0, scope="cpu")], (3.0, "cpu", "counter")),
        ("cpu", [energy(1.0), energy(2.0, scope="ram")], (2.0, "ram", "counter")),
        (None, [energy(1.0, scope="cpu"), energy(2.0)], (2.0, "gpu", "counter")),
        (
            "cuda",
            [
                energy(1.0, method="reported"),
                energy(2.0, method="sum_of_processes"),
                energy(3.0, method="power_integral"),
            ],
            (3.0, "gpu", "power_integral"),
        ),
        (
            "cuda",
            [energy(1.0, method="reported"), energy(2.0, method="sum_of_processes")],
            (2.0, "gpu", "sum_of_processes"),
        ),
        (
            "cuda",
            [energy(1.0, window_s=5.0), energy(2.0, window_s=9.0), energy(3.0, window_s=None)],
            (2.0, "gpu", "counter"),
        ),
        ("cuda", [energy(1.0, window_s=9.0, note="odd"), energy(2.0, window_s=1.0)], (2.0, "gpu", "counter")),
        ("cuda", [energy(1.0, source="zeus"), energy(2.0)], (2.0, "gpu", "counter")),
        ("cuda", [energy(1.0, process_index=0), energy(2.0, device_index=0), energy(3.0, phase="decode")], None),
    ],
)
def test_one_estimate_stands_for_the_energy_of_a_run(
    device: str | None, estimates: list[dict[str, object]], chosen: tuple[object, ...] | None, lake: Lake
) -> None:
    experiment(lake, run={"device": device}, facts={"energy_estimates": estimates})
    rows = ask(lake, "experiment_energy", "energy_j energy_scope energy_method num_estimates")
    assert rows == ([] if chosen is None else [(*chosen, len(estimates))])
    assert ask(lake, "experiment_summary", "energy_j energy_scope energy_method") == [chosen or (None, None, None)]


def test_energies_stand_beside_those_made_from_raw_readings(lake: Lake) -> None:
    estimates = [
        energy(1000.0),
        energy(800.0, source="zeus", method="reported"),
        energy(999.0, scope="machine"),
        energy(500.0, device_index=1),
        energy(1.0, device_uuid="GPU-x"),
        energy(700.0, scope="process", method="reported"),
    ]
    power = readings({0: 100.0, 1: 40.0, 2: 7.0})
    processes = [process(0, device_index=0), process(1, device_index=1)]
    facts = {"energy_estimates": estimates, "experiment_processes": processes}
    experiment(lake, run={"measured_window_s": 10.0}, facts=facts, power=power)
    columns = (
        "source scope device_index energy_j readings_scope num_rails integral_j integral_difference_percent reason"
    )
    none = "no power readings belong to it"
    assert ask(lake, "energy_recomputed", columns) == [
        near("nvml", "gpu", 1, 500.0, "gpu", 1, 400.0, -20.0, None),
        near("nvml", "gpu", None, 1.0, None, 0, None, None, none),
        near("nvml", "gpu", None, 1000.0, "gpu", 2, 1400.0, 40.0, None),
        near("nvml", "machine", None, 999.0, None, 0, None, None, none),
        near("nvml", "process", None, 700.0, "gpu", 2, 1400.0, 100.0, None),
        near("zeus", "gpu", None, 800.0, "gpu", 2, 1400.0, 75.0, None),
    ]


def test_all_devices_that_were_read_count_where_processes_name_none_and_a_gap_leaves_no_sum(lake: Lake) -> None:
    stored = {"energy_estimates": [energy(100.0, method="power_integral")]}
    window = {"measured_window_s": 10.0}
    experiment(lake, run=window | {"model": "all"}, facts=stored, power=readings({0: 10.0, 1: 20.0}))
    gap = readings({0: 10.0, 1: 20.0}, gap_in=1)
    experiment(lake, run=window | {"model": "gap"}, facts=stored, power=gap)
    assert ask(lake, "energy_recomputed", "model num_rails integral_j counter_j reason") == [
        near("all", 2, 300.0, None, None),
        ("gap", 2, None, None, "the readings leave a gap in the window"),
    ]


def test_a_counter_and_the_scopes_of_rails_are_told_apart(lake: Lake) -> None:
    stored = [energy(450.0, source="rapl", scope="cpu"), energy(30.0, source="rapl", scope="ram")]
    power = readings({None: 50.0}, source="rapl", rail="package-0", counter=True).vstack(
        readings({None: 5.0}, source="rapl", rail="package-0/dram", counter=True)
    )
    experiment(lake, run={"measured_window_s": 10.0, "device": "cpu"}, facts={"energy_estimates": stored}, power=power)
    columns = "scope integral_j counter_j counter_difference_percent reason"
    no_power = "the sensor tells no power"
    assert ask(lake, "energy_recomputed", columns) == [
        near("cpu", None, 500.0, 100 / 9, no_power),
        near("ram", None, 50.0, 200 / 3, no_power),
    ]


@pytest.mark.parametrize("source", ["replay", "nvml"])
def test_rails_have_the_scope_that_the_runner_gives_them(source: str, lake: Lake) -> None:
    """Each rail takes twice the power of the one before it, so that a sum tells what is in it."""
    names = (
        *("gpu", "gpu0", "gpu-1", "GPU", "gpu_2", "Gpu 3", "agpu", "gpu-a", "VDD_IN", "psys", "machine", "machine1"),
        *("package-0", "package0", "package", "package-0/core", "cpu", "cpu0", "CPU", "dram", "ram", "a/b/dram"),
        *("package-0/dram", "x/ram", "xram", "VDD_CPU_GPU_CV", *PARTS_OF_A_MODULE),
    )
    scopes = ("gpu", "cpu", "ram", "machine", "soc")
    watts = {name: 2.0**place for place, name in enumerate(names)}
    power = pl.concat(readings({None: taken}, source=source, rail=name) for name, taken in watts.items())
    stored = {"energy_estimates": [energy(1.0, scope=scope) for scope in scopes]}
    experiment(lake, run={"measured_window_s": 10.0}, facts=stored, power=power)
    known = dict.fromkeys(scopes, 0.0)
    for name, taken in watts.items():
        scope = scope_of({"source": source, "rail": name})
        if scope is not None:
            known[scope] += 10 * taken
    found = {scope: joules or 0.0 for scope, joules in ask(lake, "energy_recomputed", "scope integral_j")}
    assert found == pytest.approx(known, rel=1e-12)


def test_three_rails_feed_a_module_that_has_no_input_of_its_own(lake: Lake) -> None:
    parts = [readings({None: 1.0 + at}, source="replay", rail=rail) for at, rail in enumerate(PARTS_OF_A_MODULE)]
    whole = readings({None: 9.0}, source="replay", rail="VDD_IN")
    stored = {"energy_estimates": [energy(60.0, source="replay", scope="machine")]}
    for name, frames in {"two": parts[:2], "three": parts, "four": [*parts, whole]}.items():
        experiment(lake, run={"measured_window_s": 10.0, "model": name}, facts=stored, power=pl.concat(frames))
    assert ask(lake, "energy_recomputed", "model num_rails integral_j") == [
        near("four", 1, 90.0),
        near("three", 3, 60.0),
        ("two", 0, None),
    ]


@pytest.mark.parametrize(
    ("watts", "mean"),
    [
        ([150.0, 155.0, 148.0, 150.0], 151.0),
        ([200.0, 180.0, 200.0, None, 180.0], 190.0),  # a reading that failed is none, and not 0 W
        ([None, None, None, None], None),
        ([], None),
    ],
)
def test_the_power_of_the_idle_machine_is_the_mean_over_time(
    watts: list[float | None], mean: float | None, lake: Lake
) -> None:
    sitting = {"session_id": "s", "measured_window_s": 10.0}
    idle(lake, watts, session_id="s")
    experiment(lake, hour=1, run=sitting, power=readings({0: 300.0}))
    found = ask(lake, "run_energy", "kind baseline_power_w energy_above_baseline_j")
    assert [row for row in found if row[0] == "llm_inference"] == [
        ("llm_inference", mean if mean is None else pytest.approx(mean), mean and pytest.approx(3000 - 10 * mean))
    ]


def test_the_median_of_baselines_is_over_runs_on_the_same_devices_only(lake: Lake) -> None:
    """One GPU takes 50 W when idle, four take 200 W, and two others 90 W."""
    for hour, (gpus, watts) in enumerate([([0], 50.0), ([0, 1, 2, 3], 200.0), ([4, 5], 90.0), ([6, 7], 96.0)]):
        own = {"baseline_power_w": watts, "baseline_age_s": 10.0, "energy_above_baseline_j": 5000 - 10 * watts}
        for cycle in (1, 2):
            facts = {
                "energy_estimates": [energy(5000.0, **own), energy(1.0, device_index=gpus[0])],
                "experiment_processes": [process(index, device_index=gpu) for index, gpu in enumerate(gpus)],
            }
            columns = {"study": "s", "cycle": cycle, "num_processes": len(gpus)}
            experiment(lake, hour=5 * hour + cycle, run={"model": f"{gpus}"}, facts=facts, **columns)
    columns = "model cycle new_baseline_power_w num_baselines change_j"
    assert ask(lake, "energy_rebaselined", columns) == [
        near(model, cycle, watts, 2, 0.0)
        for model, watts in (("[0, 1, 2, 3]", 200.0), ("[0]", 50.0), ("[4, 5]", 90.0), ("[6, 7]", 96.0))
        for cycle in (1, 2)
    ]


def test_the_median_of_baselines_is_over_as_many_processes_where_no_device_is_known(lake: Lake) -> None:
    for number, watts in ((1, 50.0), (4, 200.0)):
        own = {"baseline_power_w": watts, "baseline_age_s": 10.0}
        experiment(lake, study="s", num_processes=number, facts={"energy_estimates": [energy(5000.0, **own)]})
    assert ask(lake, "energy_rebaselined", "new_baseline_power_w num_baselines") == [(200.0, 1), (50.0, 1)]


def test_another_baseline_is_taken_off_and_an_old_one_is_not(lake: Lake) -> None:
    # Baselines of 10, 20 and 60 W; that of 60 W is an hour old. Each run took 1000 J in 10 s.
    for cycle, (watts, age) in enumerate([(10.0, 5.0), (20.0, 600.0), (60.0, 3600.0)], start=1):
        own = {"baseline_power_w": watts, "baseline_age_s": age, "energy_above_baseline_j": 1000 - 10 * watts}
        experiment(lake, study="s", cycle=cycle, facts={"energy_estimates": [energy(1000.0, **own)]})
    columns = "cycle new_baseline_power_w num_baselines rebaselined_energy_j change_j reason"
    assert ask(lake, "energy_rebaselined", columns) == [
        near(1, 15.0, 2, 850.0, -50.0, None),
        near(2, 15.0, 2, 850.0, 50.0, None),
        near(3, 15.0, 2, 850.0, 450.0, None),
    ]
    assert ask(lake, "energy_rebaselined", columns, baseline="own") == [
        near(1, 10.0, 2, 900.0, 0.0, None),
        near(2, 20.0, 2, 800.0, 0.0, None),
        (3, None, 2, None, None, "the baseline is too old"),
    ]
    (last,) = ask(lake, "energy_rebaselined", columns, max_age_s=1)[-1:]
    assert last == (3, None, 0, None, None, "no run of the study on these devices has a baseline that is young enough")
    assert ask(lake, "energy_rebaselined", columns, max_age_s=3600)[0] == near(1, 20.0, 3, 800.0, -100.0, None)


def test_a_baseline_is_taken_off_over_the_wall_time_and_below_zero_where_nothing_else_is_known(lake: Lake) -> None:
    own = {"baseline_power_w": 10.0, "baseline_age_s": 0.0}
    experiment(lake, run={"model": "a"}, facts={"energy_estimates": [energy(60.0, window_s=None, **own)]})
    experiment(lake, run={"model": "b"}, facts={"energy_estimates": [energy(60.0)]})
    timeless = {"energy_estimates": [energy(60.0, window_s=None, **own)]}
    experiment(lake, run={"model": "c"}, facts=timeless, wall_time_s=None)
    ageless = {"energy_estimates": [energy(60.0, baseline_power_w=10.0)]}
    experiment(lake, run={"model": "d"}, facts=ageless)
    columns = "model window_is rebaselined_energy_j rebaselined_energy_per_output_token_j reason"
    assert ask(lake, "energy_rebaselined", columns, baseline="own") == [
        near("a", "wall", -40.0, -0.8, None),
        ("b", "energy", None, None, "the run has no baseline"),
        ("c", None, None, None, "nobody tells what time the energy covers"),
        ("d", "energy", None, None, "the age of the baseline is not known"),
    ]
    assert {row[-1] for row in ask(lake, "energy_rebaselined", columns)} == {"the run belongs to no study"}
