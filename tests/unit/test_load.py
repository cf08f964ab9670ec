"""The state of a GPU is read while it works, and what its driver counts over the passes is a doubt."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from groundlake.measure.load import HeldBack, state_while_queued

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DRIVER = """
from types import SimpleNamespace

NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2
NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL = 0, 1
queued, started, violation_ns = 0, 0, 0

class NVMLError(Exception):
    pass

def nvmlInit():
    global started
    started += 1

def nvmlShutdown():
    pass

def nvmlDeviceGetHandleByIndex(index):
    return index

def nvmlDeviceGetClockInfo(handle, type):
    return 1755 if queued else 345

def nvmlDeviceGetTemperature(handle, sensor):
    return 60

def nvmlDeviceGetCurrentClocksEventReasons(handle):
    return 4 if queued else 1

def nvmlDeviceGetViolationStatus(device, perfPolicyType):
    return SimpleNamespace(referenceTime=0, violationTime=violation_ns)
"""


@pytest.fixture
def driver(nvidia_driver: Callable[[str], Path]) -> tuple[Path, Any]:
    """A tree with an NVIDIA driver, and the module that stands for it: its GPU is busy while passes are queued."""
    root = nvidia_driver(DRIVER)
    import pynvml

    return root, pynvml


def test_the_state_is_read_before_the_queue_is_waited_for(driver: tuple[Path, Any]) -> None:
    root, nvml = driver
    order: list[str] = []

    def queue_pass() -> None:
        order.append("started" if nvml.started else "not started")
        nvml.queued += 1

    def settle() -> None:
        order.append("settled")
        nvml.queued = 0

    state = state_while_queued("cuda", queue_pass=queue_pass, settle=settle, passes=3, root=root)
    assert (state["gpu_clock_mhz"], state["throttle_reasons"]) == (1755, ["sw_power_cap"])
    assert order[-1] == "settled"
    assert 3 <= len(order) - 1 <= 6
    assert set(order) == {"started", "settled"}, "NVML is started before the first pass"
    assert nvml.queued == 0


def test_passes_go_on_until_the_state_is_read(driver: tuple[Path, Any]) -> None:
    root, nvml = driver
    seen = threading.Event()
    real = nvml.nvmlDeviceGetClockInfo
    passes = 0

    def clock_info(handle: int, type: int) -> int:  # noqa: A002 - the name of the real parameter
        assert seen.wait(60), "no pass was queued beside the reading"
        return real(handle, type)

    def queue_pass() -> None:
        nonlocal passes
        passes += 1
        nvml.queued = 1
        if passes > 2:
            seen.set()

    nvml.nvmlDeviceGetClockInfo = clock_info
    state = state_while_queued("cuda", queue_pass=queue_pass, settle=lambda: None, passes=2, root=root)
    assert state["gpu_clock_mhz"] == 1755


def test_a_pass_that_fails_ends_the_reading(driver: tuple[Path, Any]) -> None:
    root, _ = driver

    def queue_pass() -> None:
        raise MemoryError("on the device")

    with pytest.raises(MemoryError, match="on the device"):
        state_while_queued("cuda", queue_pass=queue_pass, settle=lambda: None, passes=2, root=root)


def test_the_count_of_the_driver_is_taken_over_the_passes(driver: tuple[Path, Any]) -> None:
    root, nvml = driver
    nvml.violation_ns = 10**15
    held = HeldBack("cuda", root)
    assert list(held.doubts()) == [], "what was before does not count"
    nvml.violation_ns += 10**12
    assert [doubt.code for doubt in held.doubts()] == ["throttling", "throttling"]
    assert list(HeldBack("cpu", root).doubts()) == []


def test_a_machine_without_a_driver_is_not_doubted(tmp_path: Path) -> None:
    assert list(HeldBack("cuda", tmp_path).doubts()) == []
    state = state_while_queued("cuda", queue_pass=lambda: None, settle=lambda: None, passes=1, root=tmp_path)
    assert set(state.values()) == {None}
