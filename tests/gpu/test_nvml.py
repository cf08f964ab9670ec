"""NVML for real: readings of power, the state of the device, preflight, and the energy of a sweep."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from groundlake import machine
from groundlake.power import open_sensors
from groundlake.power.recorder import Recorder
from groundlake.preflight import Verdict, preflight
from groundlake.store import Lake
from groundlake.system import gpu_clock_limit_mhz, held_back_s, software_facts, system_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def nvml_ready(need: Callable[..., None]) -> None:
    """Skip without an NVIDIA GPU, or fail where LAKE_REQUIRE says that it must be there."""
    found, why = machine.gpus()
    need("gpu", present=bool(found), reason=why or "NVML lists no GPU")


def test_every_gpu_tells_its_power_with_its_index_and_its_identity() -> None:
    samplers, _ = open_sensors()
    rails = [rail for sampler in samplers for rail in sampler.rails if rail.source == "nvml"]
    assert [rail.device_index for rail in rails] == [gpu.index for gpu in machine.gpus()[0]]
    assert all((rail.device_uuid or "").startswith("GPU-") for rail in rails)
    with Recorder(samplers, 50) as recorder:
        recorder.settle()
    rows = recorder.frame(0.0).filter(source="nvml")
    assert rows.height >= 2 * len(rails)
    assert rows["power_w"].drop_nulls().is_between(1, 2000).all()
    for _, series in rows.group_by("device_index"):
        assert series["energy_counter_j"].drop_nulls().is_sorted()


def test_the_state_of_a_gpu_has_clocks_temperature_and_what_holds_it_back() -> None:
    state = system_state("cuda")
    assert state["gpu_clock_mhz"] > 0
    assert state["mem_clock_mhz"] > 0
    assert 0 < state["temperature_c"] < 120
    assert isinstance(state["throttle_reasons"], list)
    assert software_facts()["driver_version"]


def test_a_gpu_tells_its_highest_clock_and_how_long_it_was_held_back() -> None:
    assert (gpu_clock_limit_mhz("cuda") or 0) >= system_state("cuda")["gpu_clock_mhz"]
    assert all(spent_s >= 0 for spent_s in held_back_s("cuda").values())


def test_preflight_judges_the_gpu() -> None:
    found = {check.name: check for check in preflight("cuda", windows=1)}
    assert found["gpu_memory"].verdict in (Verdict.PASSED, Verdict.WARNING)
    assert found["temperature"].verdict is not Verdict.SKIPPED
    assert "gpu_processes" in found


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: pip install 'groundlake[measure]'")
def test_a_sweep_on_a_gpu_has_a_baseline_and_an_energy(need: Callable[..., None], lake_root: Path) -> None:
    import torch

    from groundlake.measure.plan import Configuration, SweepSettings
    from groundlake.measure.sweep import sweep

    need("gpu", present=torch.cuda.is_available(), reason="torch sees no CUDA device")
    lake = Lake(lake_root)
    settings = SweepSettings(hardware_id="gpu", device="cuda", runs=400, baseline_s=2.0)
    result = sweep(lake, settings, [Configuration("resnet50", "fp32", 16)])
    assert [finished.reason for finished in result.done] == [None]
    rows = lake.sql("select * from run_energy where kind = 'efficiency' and source = 'nvml'").pl()
    assert rows.height == len(machine.gpus()[0])
    busy = rows.filter(device_index=machine.chosen_gpu()).to_dicts()[0]
    known_j = busy["energy_j"] or busy["counter_energy_j"]
    assert known_j > 0
    assert busy["baseline_run_id"] is not None
    assert 0 < busy["energy_above_baseline_j"] < known_j
