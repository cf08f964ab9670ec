"""Is a machine fit to be measured: planted machines, one fault each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from planted import plant

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.preflight import Check, Verdict, _how_to_end, _load, _times, preflight

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU = "sys/devices/system/cpu"
FIT = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance",
    f"{CPU}/cpu0/cpufreq/scaling_driver": "acpi-cpufreq",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "3500000",
    f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "3600000",
    f"{CPU}/cpufreq/boost": "1",
    "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp",
    "sys/class/thermal/thermal_zone0/temp": "45000",
    "proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n",
}


def checked(root: Path, device: str = "cpu") -> dict[str, Check]:
    return {check.name: check for check in preflight(device, root)}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted /proc/stat stands still, however long it is looked at."""
    monkeypatch.setattr("groundlake.preflight.WINDOW_S", 0.0)


def test_a_fit_machine_passes_and_needs_no_mending(tmp_path: Path) -> None:
    found = checked(plant(tmp_path, FIT))
    told = {name: check.verdict for name, check in found.items()}
    assert told == {
        "cpu_governor": Verdict.PASSED,
        "cpu_clock": Verdict.PASSED,
        "turbo": Verdict.PASSED,
        "cpu_load": Verdict.SKIPPED,
        "processes": Verdict.SKIPPED,
        "temperature": Verdict.PASSED,
        "free_memory": Verdict.PASSED,
    }
    assert not any(check.fix for check in found.values())


@pytest.mark.parametrize(
    ("name", "fault", "expected"),
    [
        ("cpu_governor", {f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave"}, ("FAILED", "powersave", "cpupower")),
        ("cpu_governor", {f"{CPU}/cpu0/cpufreq/scaling_governor": "schedutil"}, ("WARNING", "schedutil", "cpupower")),
        ("cpu_clock", {f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "3240000"}, ("PASSED", "90% (3240 of 3600 MHz)", "")),
        ("cpu_clock", {f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "2520000"}, ("WARNING", "70%", "cpupower")),
        ("cpu_clock", {f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "1200000"}, ("FAILED", "33%", "cpupower")),
        (
            "cpu_clock",
            {f"{CPU}/cpu0/cpufreq/scaling_max_freq": "2000000", f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "2000000"},
            ("WARNING", "100% (2000 of 2000 MHz), the processor's own limit is 3600 MHz", "unless the lower limit"),
        ),
        ("turbo", {f"{CPU}/cpufreq/boost": "0"}, ("WARNING", "off", "echo 1 | sudo tee")),
        ("turbo", {f"{CPU}/intel_pstate/no_turbo": "1"}, ("WARNING", "off", "echo 0 | sudo tee")),
        ("temperature", {"sys/class/thermal/thermal_zone0/temp": "70000"}, ("WARNING", "70 C", "cool down")),
        ("temperature", {"sys/class/thermal/thermal_zone0/temp": "85000"}, ("FAILED", "85 C", "cool down")),
        ("free_memory", {"proc/meminfo": "MemAvailable: 1500000 kB"}, ("WARNING", "1.4 GiB", "top")),
        ("free_memory", {"proc/meminfo": "MemAvailable: 500000 kB"}, ("FAILED", "0.5 GiB", "top")),
    ],
)
def test_each_fault_is_found_with_what_mends_it(
    tmp_path: Path, name: str, fault: dict[str, str], expected: tuple[str, str, str]
) -> None:
    verdict, seen, fix = expected
    check = checked(plant(tmp_path, FIT | fault))[name]
    assert check.verdict.value == verdict
    assert seen in check.observed
    assert fix in check.fix
    assert bool(fix) == bool(check.fix)


def test_powersave_of_a_driver_that_follows_the_load_is_only_a_warning(tmp_path: Path) -> None:
    driven = {
        f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
        f"{CPU}/cpu0/cpufreq/scaling_driver": "intel_pstate",
    }
    assert checked(plant(tmp_path, FIT | driven))["cpu_governor"].verdict is Verdict.WARNING


def test_a_machine_that_shows_nothing_is_skipped_and_says_so(tmp_path: Path) -> None:
    found = checked(tmp_path)
    assert {check.verdict for check in found.values()} == {Verdict.SKIPPED}
    assert all(check.observed for check in found.values())


@pytest.mark.parametrize("device", ["gpu", "cuda:abc", "cuda:-1", ""])
def test_a_device_that_cannot_be_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match="must be cpu or cuda"):
        preflight(device, tmp_path)


def stat(busy: int, idle: int) -> dict[str, str]:
    return {"proc/stat": f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4\n"}


def process(pid: int, name: str, ticks: int) -> dict[str, str]:
    return {f"proc/{pid}/stat": f"{pid} ({name}) R 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 100 0 0"}


@pytest.mark.parametrize(("busy", "verdict"), [(4, "PASSED"), (5, "WARNING"), (19, "WARNING"), (20, "FAILED")])
def test_the_load_of_the_quietest_second_counts(tmp_path: Path, busy: int, verdict: str) -> None:
    plant(tmp_path, stat(0, 0))
    seconds = iter([90, busy, 90, 90, 90, 90, 90, 90, 90, 90])
    spent = [0, 0]

    def one_second(_: float) -> None:
        share = next(seconds)
        spent[0] += share
        spent[1] += 100 - share
        plant(tmp_path, stat(*spent))

    load, _ = _load(tmp_path, pause=one_second)
    assert load.verdict.value == verdict
    assert load.observed == f"{busy}% of all cores"


def test_whoever_takes_a_core_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    plant(tmp_path, stat(0, 0) | process(41, "idle (one)", 7) | process(42, "make) it", 100))

    def one_second(_: float) -> None:
        now = _times(tmp_path)
        assert now is not None
        plant(tmp_path, stat(int(now.busy) + 60, int(now.total - now.busy) + 140))
        plant(tmp_path, process(42, "make) it", int(now.processes[42][1]) + 55))

    load, found = _load(tmp_path, pause=one_second)
    assert load.observed == "30% of all cores, make) it 55% (42)"
    assert (found.verdict, found.observed) == (Verdict.WARNING, "make) it 55% (42)")
    assert found.fix == "wait for it, or end it if yours: kill 42"


@pytest.mark.parametrize(
    ("cmdline", "shown"),
    [
        ("/usr/bin/python3\0train.py\0--token\0secret\0", " (python3 train.py)"),
        ("python\0-m\0pkg.train\0--token\0secret\0", " (python -m pkg.train)"),
        ("mysql\0-psecret\0", " (mysql)"),
        ("sh\0two\nlines\0", " (sh two lines)"),
        ("tool\0" + "x" * 200, f" (tool {'x' * 55})"),
        ("", ""),
    ],
)
def test_the_advice_names_what_would_be_ended_and_none_of_its_options(tmp_path: Path, cmdline: str, shown: str) -> None:
    plant(tmp_path, {"proc/42/cmdline": cmdline})
    assert _how_to_end([42], tmp_path) == f"wait for it, or end it if yours: kill 42{shown}"
    assert _how_to_end([42, 43], tmp_path) == f"wait for them, or end them if yours: kill 42{shown}, kill 43"


JETSON = FIT | {
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "schedutil",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "700000",
    "var/lib/nvpmodel/status": "pmode:0002 fmode:cool",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n",
    "sys/class/devfreq/17000000.ga10b/min_freq": "1300500000",
    "sys/class/devfreq/17000000.ga10b/max_freq": "1300500000",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "50000",
}


def test_a_jetson_with_locked_clocks_in_a_known_mode_passes(tmp_path: Path) -> None:
    found = checked(plant(tmp_path, JETSON), "cuda")
    assert {name for name, check in found.items() if check.verdict is not Verdict.PASSED} == {"cpu_load", "processes"}
    assert found["power_mode"].observed.startswith("MODE_30W")


def test_a_jetson_whose_clocks_may_fall_is_told_how_to_lock_them(tmp_path: Path) -> None:
    loose = {"sys/class/devfreq/17000000.ga10b/min_freq": "306000000", "var/lib/nvpmodel/status": "pmode:0007"}
    found = checked(plant(tmp_path, JETSON | loose), "cuda")
    assert (found["gpu_clock"].verdict, found["gpu_clock"].fix) == (Verdict.WARNING, "sudo jetson_clocks")
    assert found["power_mode"].verdict is Verdict.WARNING
    assert "sudo nvpmodel -m" in found["power_mode"].fix


DRIVER = """
from types import SimpleNamespace

NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2
CLOCK, REASONS, FREE, PIDS, BUSY = {state}
MIG = {mig}

class NVMLError(Exception):
    pass

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlSystemGetDriverVersion(): return "570.86.10"
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return ("NVIDIA H200", "NVIDIA L4")[handle]
def nvmlDeviceGetMigMode(device): return [MIG, MIG]
def nvmlDeviceGetClockInfo(handle, type): return CLOCK
def nvmlDeviceGetMaxClockInfo(handle, type): return 2000
def nvmlDeviceGetCurrentClocksEventReasons(handle): return REASONS
def nvmlDeviceGetTemperature(handle, sensor): return 40
def nvmlDeviceGetMemoryInfo(handle, version=None): return SimpleNamespace(total=100 << 30, free=FREE << 30, used=0)
def nvmlDeviceGetComputeRunningProcesses(handle): return [SimpleNamespace(pid=pid) for pid in PIDS]
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=BUSY, memory=0)
"""


@pytest.mark.parametrize(
    ("state", "verdicts"),
    [
        ((1980, 0, 99, [], 0), "PASSED PASSED PASSED"),
        ((345, 1, 99, [], 0), "SKIPPED PASSED PASSED"),
        ((345, 0, 99, [], 0), "SKIPPED PASSED PASSED"),
        ((1500, 0, 99, [], 50), "WARNING PASSED PASSED"),
        ((1200, 0, 99, [], 50), "FAILED PASSED PASSED"),
        ((1200, 2, 99, [], 0), "WARNING PASSED PASSED"),
        ((1980, 0x40, 99, [], 0), "WARNING PASSED PASSED"),
        ((1980, 0, 50, [], 0), "PASSED WARNING PASSED"),
        ((1980, 0, 99, [77], 3), "PASSED PASSED WARNING"),
        ((1980, 0, 99, [77], 90), "PASSED PASSED FAILED"),
    ],
)
def test_a_gpu_is_judged_by_its_clock_its_memory_and_its_processes(
    nvidia_driver: Callable[[str], Path], state: tuple[object, ...], verdicts: str
) -> None:
    found = checked(nvidia_driver(DRIVER.format(state=state, mig=0)), "cuda")
    assert [found[name].verdict.value for name in ("gpu_clock", "gpu_memory", "gpu_processes")] == verdicts.split()
    assert all(check.fix for check in found.values() if check.verdict in (Verdict.WARNING, Verdict.FAILED))


def test_a_gpu_that_is_not_there_is_an_error_that_names_those_that_are(nvidia_driver: Callable[[str], Path]) -> None:
    root = nvidia_driver(DRIVER.format(state=(1980, 0, 99, [], 0), mig=0))
    with pytest.raises(MissingDependencyError, match="cuda:99: there is no such GPU") as caught:
        preflight("cuda:99", root)
    assert "cuda:0 is GPU 0, NVIDIA H200; cuda:1 is GPU 1, NVIDIA L4" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_machine_without_a_gpu_is_an_error_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"no GPU is found here \(no NVIDIA driver"):
        preflight("cuda", tmp_path)


def test_a_hidden_gpu_is_an_error_that_says_what_hides_it(
    nvidia_driver: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = nvidia_driver(DRIVER.format(state=(1980, 0, 99, [], 0), mig=0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(MissingDependencyError, match="2 GPU, hidden by CUDA_VISIBLE_DEVICES=7"):
        preflight("cuda", root)


def test_a_jetson_has_one_gpu(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="cuda:0 is the GPU of this Jetson"):
        preflight("cuda:1", plant(tmp_path, JETSON))


def test_a_slice_of_a_gpu_is_not_fit_to_be_measured_and_the_processor_beside_it_is(
    nvidia_driver: Callable[[str], Path],
) -> None:
    root = nvidia_driver(DRIVER.format(state=(1980, 0, 99, [], 0), mig=1))
    with pytest.raises(MissingDependencyError, match="nvidia-smi -i GPU -mig 0"):
        preflight("cuda", root)
    assert preflight("cpu", root)
