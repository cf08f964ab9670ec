"""An answer of the measuring process is a measurement only on the GPU and in the power mode that its id means."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
from planted import plant

pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from groundlake.errors import LakeError
from groundlake.measure.attempt import attempt, reason_against
from groundlake.measure.messages import Failed, Measured
from groundlake.measure.plan import Configuration, PlannedRun, SweepSettings
from groundlake.measure.record import FailedMeasurement

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = SweepSettings(hardware_id="jetson_orin_agx_30w", thermal_profile="30W")
MEASURED = Measured(
    input_shape=(1,),
    subgraphs=(),
    flops_method="fx_chain_v1",
    timing_method="perf_counter",
    subgraph_ms=(),
    pass_ms=(),
    end_to_end_ms=(),
    started_at=datetime(2026, 3, 1, 12, tzinfo=timezone.utc),
    duration_s=1.5,
    software={},
    system_before={"power_mode": "30W"},
    system_under_load={},
    system_after={"power_mode": "MODE_30W"},
)


def test_a_run_in_the_power_mode_of_its_id_stands() -> None:
    assert reason_against(MEASURED, SETTINGS) is None
    assert reason_against(replace(MEASURED, system_after={"power_mode": None}), SETTINGS) is None
    assert reason_against(replace(MEASURED, system_after={}), SETTINGS) is None


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_in_another_power_mode_is_a_failure_that_names_both(when: str) -> None:
    changed = replace(MEASURED, **{f"system_{when}": {"power_mode": "MAXN"}})
    reason = reason_against(changed, SETTINGS)
    assert reason is not None
    assert reason.startswith(f"power mode: the device was in MAXN {when} the run, and jetson_orin_agx_30w means 30W")
    assert "nvpmodel" in reason
    assert reason_against(changed, replace(SETTINGS, thermal_profile=None)) is None


def test_a_failure_is_its_own_reason() -> None:
    assert reason_against(Failed(LakeError("no memory")), SETTINGS) == "no memory"


def test_the_measuring_process_counts_gpus_as_nvml_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, {"telling_models.py": "import os\ndef order(): raise OSError(os.environ['CUDA_DEVICE_ORDER'])\n"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    run = PlannedRun(Configuration("telling_models:order@3", "fp32", 1))
    failed = attempt(run, SETTINGS)
    assert isinstance(failed, FailedMeasurement)
    assert failed.reason.startswith("OSError: PCI_BUS_ID"), failed.reason
