from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from planted import plant

from groundlake.machine import available_bytes
from groundlake.schemas import TABLES
from groundlake.schemas.ledger import SYSTEM_FIELDS
from groundlake.store import Lake
from groundlake.system import (
    cpu_frequency_mhz,
    cpu_temperature_c,
    gpu_clock_limit_mhz,
    held_back_s,
    machine_fingerprint,
    software_facts,
    system_state,
    throttle_events,
    throttle_names,
)

if TYPE_CHECKING:
    from pathlib import Path

CPU = "sys/devices/system/cpu"
ZONES = "sys/class/thermal"

FAKE_PYNVML = """
NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2

class NVMLError(Exception):
    pass

def nvmlInit():
    pass

def nvmlShutdown():
    pass

def nvmlDeviceGetCount():
    return 1

def nvmlDeviceGetHandleByIndex(index):
    return index

def nvmlDeviceGetName(handle):
    return "NVIDIA H200"

def nvmlDeviceGetMemoryInfo(handle, version=None):
    raise NVMLError("Not Supported")

def nvmlSystemGetDriverVersion():
    return b"570.86.10"

def nvmlDeviceGetClockInfo(handle, type):
    return {NVML_CLOCK_SM: 1980, NVML_CLOCK_MEM: 3201}[type]

def nvmlDeviceGetTemperature(handle, sensor):
    return 41
"""
COUNTS = """
from types import SimpleNamespace

NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL = 0, 1

def nvmlDeviceGetMaxClockInfo(handle, type):
    return {NVML_CLOCK_SM: 2000, NVML_CLOCK_MEM: 3201}[type]

def nvmlDeviceGetViolationStatus(device, perfPolicyType):
    if perfPolicyType == NVML_PERF_POLICY_THERMAL:
        raise NVMLError("Not Supported")
    return SimpleNamespace(referenceTime=1_700_000_000_000_000, violationTime=2_500_000_000)
"""
EVENT_REASONS = """
def nvmlDeviceGetCurrentClocksEventReasons(handle):
    return 0x24
"""
THROTTLE_REASONS = """
def nvmlDeviceGetCurrentClocksThrottleReasons(handle):
    return 0
"""


@pytest.fixture
def gpu_server(nvidia_driver):
    """A tree with an NVIDIA driver, and a module `pynvml` with the given calls for the reasons of a low clock."""
    return lambda reasons: nvidia_driver(FAKE_PYNVML + reasons)


def jetson(root: Path, mode: int = 2) -> Path:
    return plant(
        root,
        {
            "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
            "proc/meminfo": "MemTotal:       64299764 kB\n",
            "var/lib/nvpmodel/status": f"pmode:000{mode} fmode:quiet",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n",
            "etc/nv_tegra_release": "# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref, EABI: aarch64",
            f"{CPU}/present": "0-11\n",
            f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "1728000\n",
            f"{CPU}/cpu0/cpufreq/scaling_governor": "schedutil\n",
            f"{ZONES}/thermal_zone0/type": "CPU-therm\n",
            f"{ZONES}/thermal_zone0/temp": "48500\n",
            f"{ZONES}/thermal_zone1/type": "GPU-therm\n",
            f"{ZONES}/thermal_zone1/temp": "45250\n",
            "sys/class/devfreq/17000000.ga10b/cur_freq": "612000000\n",
            "sys/kernel/debug/bpmp/debug/clk/emc/rate": "3199000000\n",
        },
    )


def test_the_state_has_the_fields_of_the_ledger(tmp_path):
    assert list(system_state("cpu", tmp_path)) == SYSTEM_FIELDS.split(", ")


def test_an_empty_machine_knows_nothing_and_raises_nothing(tmp_path):
    assert set(system_state("cpu", tmp_path).values()) == {None}
    assert set(system_state("cuda", tmp_path).values()) == {None}


def test_the_clock_of_a_processor_is_the_mean_over_its_threads(tmp_path):
    clocks = {f"{CPU}/cpu{n}/cpufreq/scaling_cur_freq": f"{khz}\n" for n, khz in enumerate((4_900_000, 800_000))}
    governors = {f"{CPU}/cpu{n}/cpufreq/scaling_governor": "performance\n" for n in range(2)}
    state = system_state("cpu", plant(tmp_path, clocks | governors))
    assert state["cpu_freq_mhz"] == pytest.approx(2850)
    assert state["cpu_governor"] == "performance"


def test_proc_cpuinfo_stands_in_where_the_kernel_sets_no_clock(tmp_path):
    plant(tmp_path, {"proc/cpuinfo": "processor : 0\ncpu MHz\t\t: 2445.430\n\nprocessor : 1\ncpu MHz\t\t: 2000.0\n"})
    assert cpu_frequency_mhz(tmp_path) == pytest.approx(2222.715)


def test_mixed_governors_are_all_named(tmp_path):
    names = ("powersave", "performance", "powersave")
    plant(tmp_path, {f"{CPU}/cpu{n}/cpufreq/scaling_governor": name for n, name in enumerate(names)})
    assert system_state("cpu", tmp_path)["cpu_governor"] == "performance+powersave"


def test_the_package_is_chosen_among_the_thermal_zones(tmp_path):
    zones = {"acpitz": 27800, "x86_pkg_temp": 61000, "iwlwifi_1": 40000}
    for number, (kind, temperature) in enumerate(zones.items()):
        plant(
            tmp_path,
            {f"{ZONES}/thermal_zone{number}/type": kind, f"{ZONES}/thermal_zone{number}/temp": str(temperature)},
        )
    assert cpu_temperature_c(tmp_path) == 61.0


def test_an_amd_processor_is_read_from_its_monitoring_chip(tmp_path):
    plant(tmp_path, {"sys/class/hwmon/hwmon2/name": "k10temp", "sys/class/hwmon/hwmon2/temp1_input": "52375"})
    assert cpu_temperature_c(tmp_path) == 52.375


def test_a_file_that_holds_nonsense_is_unknown(tmp_path):
    plant(tmp_path, {f"{ZONES}/thermal_zone0/type": "x86_pkg_temp", f"{ZONES}/thermal_zone0/temp": "hot"})
    (tmp_path / CPU / "cpu0/cpufreq/scaling_cur_freq").mkdir(parents=True)
    state = system_state("cpu", tmp_path)
    assert state["temperature_c"] is None
    assert state["cpu_freq_mhz"] is None


def test_a_jetson_tells_its_gpu_and_its_power_mode(tmp_path):
    assert system_state("cuda", jetson(tmp_path)) == {
        "gpu_clock_mhz": 612,
        "mem_clock_mhz": 3199,
        "power_mode": "30W",
        "temperature_c": 45.25,
        "cpu_freq_mhz": 1728.0,
        "cpu_governor": "schedutil",
        "throttle_reasons": None,
    }
    assert system_state("cpu", tmp_path)["temperature_c"] == 48.5


@pytest.mark.parametrize("asleep", ["-256000", "-40001", "nonsense", None])
def test_a_gpu_that_is_switched_off_has_the_temperature_of_its_chip(tmp_path, asleep):
    root = jetson(tmp_path)
    gpu = root / ZONES / "thermal_zone1/temp"
    gpu.unlink()
    if asleep is None:
        gpu.mkdir()  # an error at reading, as EAGAIN is
    else:
        gpu.write_text(asleep)
    assert system_state("cuda", root)["temperature_c"] is None
    plant(root, {f"{ZONES}/thermal_zone8/type": "tj-thermal", f"{ZONES}/thermal_zone8/temp": "47312"})
    assert system_state("cuda", root)["temperature_c"] == 47.312
    assert system_state("cpu", root)["temperature_c"] == 48.5


def test_a_gpu_that_is_awake_is_read_before_the_rest_of_its_chip(tmp_path):
    root = plant(jetson(tmp_path), {f"{ZONES}/thermal_zone0/type": "tj-thermal"})
    assert system_state("cuda", root)["temperature_c"] == 45.25


def test_a_cold_room_is_a_temperature(tmp_path):
    root = plant(jetson(tmp_path), {f"{ZONES}/thermal_zone1/temp": "-12500"})
    assert system_state("cuda", root)["temperature_c"] == -12.5


def test_the_highest_clock_is_the_board_s_and_on_a_jetson_the_mode_s(gpu_server, tmp_path):
    assert gpu_clock_limit_mhz("cuda", gpu_server(COUNTS)) == 2000.0
    board = plant(jetson(tmp_path / "board"), {"sys/class/devfreq/17000000.ga10b/max_freq": "1300500000\n"})
    assert gpu_clock_limit_mhz("cuda", board) == 1300.5
    assert gpu_clock_limit_mhz("cpu", board) is None
    assert gpu_clock_limit_mhz("cuda", jetson(tmp_path / "silent")) is None
    assert gpu_clock_limit_mhz("cuda", tmp_path / "empty") is None


def test_the_driver_s_count_of_held_clocks_is_in_seconds_and_only_of_what_it_counts(gpu_server, tmp_path):
    assert held_back_s("cuda", gpu_server(COUNTS)) == {"power": 2.5}
    assert held_back_s("cpu", tmp_path / "root") == {}
    assert held_back_s("cuda", jetson(tmp_path / "board")) == {}
    assert held_back_s("cuda", tmp_path / "empty") == {}


def test_an_nvidia_gpu_tells_clocks_temperature_and_why_it_is_slow(gpu_server):
    state = system_state("cuda", gpu_server(EVENT_REASONS))
    assert (state["gpu_clock_mhz"], state["mem_clock_mhz"], state["temperature_c"]) == (1980, 3201, 41.0)
    assert state["throttle_reasons"] == ["sw_power_cap", "sw_thermal_slowdown"]


def test_older_drivers_tell_throttling_by_the_older_name(gpu_server):
    assert system_state("cuda", gpu_server(THROTTLE_REASONS))["throttle_reasons"] == []


def test_a_driver_that_does_not_tell_throttling_leaves_it_unknown(gpu_server):
    state = system_state("cuda", gpu_server(""))
    assert state["throttle_reasons"] is None
    assert state["gpu_clock_mhz"] == 1980


def test_the_processor_s_state_does_not_ask_the_gpu(gpu_server):
    assert system_state("cpu", gpu_server(EVENT_REASONS))["gpu_clock_mhz"] is None


def test_a_reason_without_a_name_is_shown_as_a_number():
    assert throttle_names(0x1001) == ["gpu_idle", "0x1000"]


def test_the_fingerprint_is_the_same_in_every_power_mode_and_differs_between_machines(tmp_path):
    first = machine_fingerprint(jetson(tmp_path / "a", mode=2))
    assert re.fullmatch(r"[0-9a-f]{16}", first)
    assert machine_fingerprint(jetson(tmp_path / "b", mode=0)) == first
    other = plant(jetson(tmp_path / "c"), {"proc/meminfo": "MemTotal:       31299764 kB\n"})
    assert machine_fingerprint(other) != first


def test_a_few_kib_of_memory_more_are_the_same_machine(tmp_path):
    machines = [plant(tmp_path / str(kb), {"proc/meminfo": f"MemTotal: {kb} kB\n"}) for kb in (24684096, 24684000)]
    assert len({machine_fingerprint(root) for root in machines}) == 1


def test_a_gpu_is_part_of_the_fingerprint(gpu_server, tmp_path):
    bare = machine_fingerprint(tmp_path / "bare")
    assert machine_fingerprint(gpu_server("")) != bare


def test_the_driver_is_named_for_a_server_and_for_a_jetson(gpu_server, tmp_path):
    assert software_facts(gpu_server(""))["driver_version"] == "570.86.10"
    assert software_facts(jetson(tmp_path / "jetson"))["driver_version"] == "L4T R35.3.1"


def test_facts_go_into_the_ledger_as_they_are(lake_root):
    facts = software_facts()
    assert set(facts) < set(TABLES["runs"].polars_schema())
    lake = Lake(lake_root)
    lake.write({"hardware_id": "here", **facts, "system_before": system_state("cpu")})
    row = lake.runs("here").row(0, named=True)
    assert row["python_version"] == platform.python_version()
    assert row["machine_fingerprint"] == machine_fingerprint()
    assert row["system_before"]["cpu_freq_mhz"] is None or row["system_before"]["cpu_freq_mhz"] > 0


def test_facts_name_neither_this_host_nor_its_user():
    told = " ".join(str(value) for value in software_facts().values())
    host = platform.node()
    assert not host or host not in told
    assert os.path.expanduser("~") not in told  # noqa: PTH111 - Path.home() raises where there is none


FAKE_TORCH = "cuda: Optional[str] = '12.6'\nhip: Optional[str] = None\n__version__ = '2.9.0'\n"


def test_cuda_is_read_from_pytorch_without_loading_it(tmp_path):
    plant(tmp_path, {"torch/__init__.py": "raise SystemError('loaded')", "torch/version.py": FAKE_TORCH})
    plant(tmp_path, {"torch-2.9.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.9.0\n"})
    code = (
        "import sys; from groundlake.system import software_facts; f = software_facts(); "
        "print(f['torch_version'], f['cuda_version'], 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["2.9.0", "12.6", "False"]


def test_another_version_of_pytorch_gives_another_software_fingerprint(tmp_path):
    prints = []
    for version in ("2.9.0", "2.9.1"):
        folder = tmp_path / version
        metadata = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
        plant(folder, {f"torch-{version}.dist-info/METADATA": metadata, "torch/__init__.py": ""})
        code = "from groundlake.system import software_facts; print(software_facts()['software_fingerprint'])"
        environment = os.environ | {"PYTHONPATH": str(folder)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        prints.append(done.stdout.strip())
    assert prints[0] != prints[1]


def test_throttling_is_counted_by_the_kernel_of_a_pc_and_of_a_jetson(tmp_path: Path) -> None:
    assert throttle_events(tmp_path) is None
    plant(tmp_path, {f"{CPU}/cpu{number}/thermal_throttle/core_throttle_count": f"{number + 1}" for number in (0, 1)})
    plant(tmp_path, {f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "50"})
    assert throttle_events(tmp_path) == 3
    chip = "sys/class/hwmon/hwmon3"
    plant(tmp_path, {f"{chip}/name": "soctherm_oc", f"{chip}/oc1_event_cnt": "4", f"{chip}/oc3_event_cnt": "2"})
    plant(tmp_path, {"sys/class/hwmon/hwmon4/name": "ina3221", "sys/class/hwmon/hwmon4/oc1_event_cnt": "99"})
    assert throttle_events(tmp_path) == 9


def test_memory_of_a_container_is_what_its_group_leaves(tmp_path: Path) -> None:
    gib = 1 << 30
    plant(tmp_path, {"proc/meminfo": f"MemAvailable: {8 * gib // 1024} kB\n"})
    assert available_bytes(tmp_path) == 8 * gib
    group = {"memory.max": "max", "memory.current": f"{3 * gib}", "memory.stat": f"anon 1\ninactive_file {gib}\n"}
    plant(tmp_path, {f"sys/fs/cgroup/{name}": text for name, text in group.items()})
    assert available_bytes(tmp_path) == 8 * gib
    plant(tmp_path, {"sys/fs/cgroup/memory.max": f"{4 * gib}"})
    assert available_bytes(tmp_path) == 2 * gib
