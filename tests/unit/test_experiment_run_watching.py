"""What is read of the machine around an experiment: a GPU's settings, throttling, and what only a runner sees."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from groundlake.experiment.doubting import about_answers, kinds
from groundlake.experiment.watching import Watched
from groundlake.llm.generation import Generation
from groundlake.system import gpu_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DRIVER = """
class NVMLError(Exception):
    pass

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return "NVIDIA H200"
def nvmlDeviceGetUUID(handle): return "GPU-h"
def nvmlDeviceGetMemoryInfo(handle, version=None): raise NVMLError("Not Supported")
def nvmlDeviceGetPersistenceMode(handle): return 0
def nvmlDeviceGetEccMode(handle): return [1, 0]
def nvmlDeviceGetPowerManagementLimit(handle): return 700000
def nvmlDeviceGetCudaComputeCapability(handle): return (9, 0)
"""


def test_the_settings_of_a_gpu_are_those_of_now_and_unknown_ones_are_none(nvidia_driver: Callable[[str], Path]) -> None:
    root = nvidia_driver(DRIVER)
    told = gpu_settings("cuda", root)
    assert told == {
        "name": "NVIDIA H200",
        "uuid": "GPU-h",
        "memory_bytes": None,
        "persistence_mode": False,
        "ecc_enabled": True,
        "power_limit_w": 700.0,
        "compute_capability": "9.0",
    }
    assert set(gpu_settings("cpu", root).values()) == {None}


def watched(reasons: list[str] | None, held_s: dict[str, float] | None = None, events: int | None = None) -> Watched:
    seen = None if reasons is None else {"throttle_reasons": reasons}
    return Watched(device="cuda", is_remote=False, under_load=seen, held_s=held_s or {}, events=events)


def test_throttling_is_what_the_driver_says_under_load_or_counts_for_long_enough() -> None:
    assert watched(None).throttle(10.0, None) is None
    calm = watched(["gpu_idle"], {"power": 0.01}).throttle(10.0, 60.0)
    assert calm is not None
    assert (calm.detected, calm.throttle_duration_sec, calm.max_temperature_c) == (False, 0.0, 60.0)
    hot = watched(["sw_thermal_slowdown"], {"thermal": 4.0, "power": 2.0})
    info = hot.throttle(10.0, None)
    assert info is not None
    assert (info.detected, info.thermal, info.sw_thermal, info.power) == (True, True, True, True)
    assert info.throttle_duration_sec == 4.0
    assert hot.throttle_reasons(info) == ("thermal", "power", "sw_thermal")
    kernel = watched(None, events=3)
    assert kernel.throttle_reasons(kernel.throttle(10.0, None)) == ("3 throttle events of the kernel",)


def test_nothing_is_read_of_another_machine() -> None:
    far = Watched(device="cuda", is_remote=True)
    far.begin()
    far.look()
    far.end()
    assert (far.before, far.under_load, far.after, far.settings, far.held_s) == (None, None, None, {}, {})


def test_tokens_that_nobody_counted_and_requests_that_failed_are_doubts() -> None:
    told = {"text": "x", "sent_s": 0.0, "finished_s": 1.0, "token_timing": "streaming"}
    chunked = Generation(**told, tokens_counted_by="chunks")
    failures = Counter({"timeout": 1, "http_500": 2})
    assert kinds(failures) == "http_500 2, timeout 1"
    doubts = {doubt.code: doubt for doubt in about_answers([chunked] * 5, failures)}
    assert set(doubts) == {"tokens_not_counted", "failed_requests"}
    assert doubts["tokens_not_counted"].observed == 5.0
    (unknown,) = about_answers([chunked, Generation(**told | {"token_timing": "per_request_batch"})], Counter())
    assert unknown.observed == 2.0
    assert "1 came whole, so that the number of all tokens is unknown" in unknown.seen
    assert doubts["failed_requests"].seen == "3 of 5 requests failed (http_500 2, timeout 1)"
    assert about_answers([], Counter()) == []
