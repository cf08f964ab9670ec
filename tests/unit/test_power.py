"""Power sensors, each against a planted tree or a driver module with the real signatures."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from planted import plant

from groundlake.errors import NoSensorError
from groundlake.power import Rail, open_sensors
from groundlake.power.jetson import JetsonSampler
from groundlake.power.nvml import NvmlSampler
from groundlake.power.rapl import RaplSampler

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE_PYNVML = """
from ctypes import Structure, Union, c_double, c_int, c_int64, c_longlong, c_uint, c_uint32, c_ulong, c_ulonglong
from ctypes import c_ushort

NVML_SUCCESS, NVML_ERROR_NOT_SUPPORTED, NVML_TEMPERATURE_GPU = 0, 3, 0
NVML_FI_DEV_POWER_INSTANT = 186
NVML_DEVICE_ARCH_VOLTA, NVML_DEVICE_ARCH_AMPERE = 5, 7
GPUS = {gpus!r}

class NVMLError(Exception):
    pass

class c_nvmlValue_t(Union):
    _fields_ = [("dVal", c_double), ("uiVal", c_uint), ("ulVal", c_ulong), ("ullVal", c_ulonglong),
                ("sllVal", c_longlong), ("siVal", c_int), ("usVal", c_ushort)]

class c_nvmlFieldValue_t(Structure):
    _fields_ = [("fieldId", c_uint32), ("scopeId", c_uint32), ("timestamp", c_int64), ("latencyUsec", c_int64),
                ("valueType", c_uint), ("nvmlReturn", c_uint), ("value", c_nvmlValue_t)]

def _known(handle, name):
    value = GPUS[handle].get(name)
    if value is None:
        raise NVMLError("Not Supported")
    return value

def nvmlInit():
    pass

def nvmlShutdown():
    pass

def nvmlDeviceGetCount():
    return len(GPUS)

def nvmlDeviceGetHandleByIndex(index):
    return index

def nvmlDeviceGetName(handle):
    return _known(handle, "name")

def nvmlDeviceGetUUID(handle):
    return _known(handle, "uuid")

def nvmlDeviceGetArchitecture(device):
    return _known(device, "architecture")

def nvmlDeviceGetPowerUsage(handle):
    return _known(handle, "usage_mw")

def nvmlDeviceGetTotalEnergyConsumption(handle):
    return _known(handle, "energy_mj")

def nvmlDeviceGetTemperature(handle, sensor):
    return _known(handle, "temperature_c")

def nvmlDeviceGetFieldValues(handle, fieldIds):
    values = (c_nvmlFieldValue_t * len(fieldIds))()
    for value, field in zip(values, fieldIds):
        instant = GPUS[handle].get("instant_mw") if field == NVML_FI_DEV_POWER_INSTANT else None
        value.fieldId = field
        value.nvmlReturn = NVML_ERROR_NOT_SUPPORTED if instant is None else NVML_SUCCESS
        value.value.uiVal = instant or 0
    return values
"""
ORIN = {
    "in1_label": "VDD_GPU_SOC",
    "in1_input": "19000",
    "curr1_input": "500",
    "in2_label": "VDD_CPU_CV",
    "in2_input": "19000",
    "curr2_input": "100",
    "in3_label": "VIN_SYS_5V0",
    "in3_input": "5000",
    "curr3_input": "1000",
    "in3_enable": "1",
    "in7_label": "sum of shunt voltages",
    "in7_input": "12",
}


def below(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in files.items()}


def watts(sampler: Any) -> dict[str, float]:
    return {reading.rail.name: pytest.approx(reading.power_w) for reading in sampler.read()}


@pytest.fixture
def gpu_machine(nvidia_driver) -> Callable[..., Path]:
    """A tree with an NVIDIA driver, and a module `pynvml` whose GPUs answer as given."""
    return lambda *gpus: nvidia_driver(FAKE_PYNVML.format(gpus=list(gpus)))


H200 = {"name": "NVIDIA H200", "uuid": "GPU-1", "architecture": 9, "usage_mw": 90_000, "temperature_c": 41}


def test_every_gpu_is_a_rail_with_instant_power_where_the_driver_has_it(gpu_machine) -> None:
    second = {**H200, "uuid": "GPU-2", "instant_mw": 150_000}
    sampler = NvmlSampler(gpu_machine({**H200, "instant_mw": 123_456, "energy_mj": 9_000_500}, second))
    first, other = sampler.read()
    assert first.rail == Rail(source="nvml", name="gpu", semantics="instant", device_index=0, device_uuid="GPU-1")
    assert (first.power_w, first.energy_counter_j, first.temperature_c) == (123.456, 9000.5, 41.0)
    assert (other.rail.device_index, other.rail.device_uuid) == (1, "GPU-2")
    assert (other.power_w, other.energy_counter_j) == (150.0, None)
    assert [rail.device_index for rail in sampler.rails] == [0, 1]


@pytest.mark.parametrize(
    ("gpu", "semantics", "power_w"),
    [
        (H200, "average_1s", 90.0),
        ({**H200, "name": "NVIDIA A100-SXM4-80GB", "architecture": 7}, "instant", 90.0),
        ({**H200, "name": "NVIDIA A100X", "architecture": 7}, "instant", 90.0),
        ({**H200, "name": "NVIDIA A30X", "architecture": 7}, "instant", 90.0),
        ({**H200, "name": "NVIDIA A10", "architecture": 7}, "average_1s", 90.0),
        ({**H200, "name": "NVIDIA A1000", "architecture": 7}, "average_1s", 90.0),
        ({**H200, "name": "Tesla V100", "architecture": 5}, "instant", 90.0),
        ({**H200, "architecture": None}, "average_unknown", 90.0),
        ({**H200, "usage_mw": None, "energy_mj": 1000}, "counter", None),
    ],
)
def test_what_power_usage_means_depends_on_the_chip(gpu: dict[str, Any], semantics: str, power_w, gpu_machine) -> None:
    sampler = NvmlSampler(gpu_machine(gpu))
    (reading,) = sampler.read()
    assert (reading.rail.semantics, reading.power_w) == (semantics, power_w)


def test_an_instant_field_that_fails_is_a_gap_and_never_an_average(gpu_machine) -> None:
    sampler = NvmlSampler(gpu_machine({**H200, "instant_mw": 123_456, "energy_mj": 1000}))
    assert next(sampler.read()).power_w == 123.456
    del sys.modules["pynvml"].GPUS[0]["instant_mw"]
    (reading,) = sampler.read()
    assert (reading.power_w, reading.energy_counter_j) == (None, 1.0)


def test_a_gpu_that_falls_off_the_bus_is_left_out_and_none_at_all_is_an_error(gpu_machine) -> None:
    sampler = NvmlSampler(gpu_machine(H200, {**H200, "uuid": "GPU-2"}))
    gpus = sys.modules["pynvml"].GPUS
    gpus[0].clear()
    assert [reading.rail.device_uuid for reading in sampler.read()] == ["GPU-2"]
    gpus[1].clear()
    with pytest.raises(OSError, match="no GPU answers"):
        list(sampler.read())


def test_gpus_without_power_and_machines_without_gpus_have_no_sensor(gpu_machine, tmp_path: Path) -> None:
    with pytest.raises(NoSensorError, match="no NVIDIA driver"):
        NvmlSampler(tmp_path)
    with pytest.raises(NoSensorError, match="tells its power"):
        NvmlSampler(gpu_machine({"name": "NVIDIA GRID"}))


@pytest.mark.parametrize("place", ["sys/class/hwmon/hwmon3", "sys/class/hwmon/hwmon3/device"])
def test_jetson_rails_are_volts_times_amperes(place: str, tmp_path: Path) -> None:
    plant(tmp_path, below(place, {"name": "ina3221", **ORIN}))
    plant(tmp_path, below("sys/class/hwmon/hwmon0", {"name": "nct1008", "in1_label": "VDD_X", "in1_input": "1"}))
    sampler = JetsonSampler(tmp_path)
    assert watts(sampler) == {"VDD_GPU_SOC": 9.5, "VDD_CPU_CV": 1.9, "VIN_SYS_5V0": 5.0}
    assert {rail.semantics for rail in sampler.rails} == {"average_unknown"}


def test_unconnected_and_disabled_channels_are_no_rails_and_the_averaging_time_is_told(tmp_path: Path) -> None:
    changes = {"in2_label": "NC", "in3_enable": "0", "update_interval": "17"}
    plant(tmp_path, below("sys/class/hwmon/hwmon3", {"name": "ina3221", **ORIN, **changes}))
    (rail,) = JetsonSampler(tmp_path).rails
    assert (rail.name, rail.semantics) == ("VDD_GPU_SOC", "average_17ms")


def test_a_kernel_that_computes_the_power_is_believed(tmp_path: Path) -> None:
    plant(tmp_path, below("sys/class/hwmon/hwmon1", {"name": "ina3221", **ORIN, "power1_input": "9750000"}))
    assert watts(JetsonSampler(tmp_path))["VDD_GPU_SOC"] == 9.75


def test_the_iio_layout_of_older_kernels_is_read(tmp_path: Path) -> None:
    device = "sys/bus/i2c/drivers/ina3221x/1-0040/iio:device0"
    plant(tmp_path, below(device, {"rail_name_0": "POM_5V_IN", "in_power0_input": "4300", "rail_name_1": "NC"}))
    assert watts(JetsonSampler(tmp_path)) == {"POM_5V_IN": 4.3}


def test_a_jetson_rail_that_stops_answering_is_left_out(tmp_path: Path) -> None:
    monitor = "sys/class/hwmon/hwmon3"
    sampler = JetsonSampler(plant(tmp_path, below(monitor, {"name": "ina3221", **ORIN})))
    (tmp_path / monitor / "curr1_input").write_text("")
    assert set(watts(sampler)) == {"VDD_CPU_CV", "VIN_SYS_5V0"}
    for name in ("in2_input", "in3_input"):
        (tmp_path / monitor / name).write_text("")
    with pytest.raises(OSError, match="no rail answers"):
        list(sampler.read())


def test_a_closed_sensor_holds_no_file(tmp_path: Path) -> None:
    plant(tmp_path, below("sys/class/hwmon/hwmon3", {"name": "ina3221", **ORIN}))
    plant(tmp_path, below(f"{RAPL}/intel-rapl:0", rapl_zone("package-0", 1)))

    def held() -> int:
        return sum(str(tmp_path) in os.path.realpath(link) for link in Path("/proc/self/fd").iterdir())

    samplers, _ = open_sensors(tmp_path)
    assert held() == 7
    for sampler in samplers:
        sampler.close()
    assert held() == 0


def test_monitors_that_are_missing_or_unreadable_say_so(tmp_path: Path) -> None:
    with pytest.raises(NoSensorError, match="no INA3221"):
        JetsonSampler(tmp_path)
    only_labels = {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "", "curr1_input": ""}
    with pytest.raises(NoSensorError, match="in1_input cannot be read: give your user"):
        JetsonSampler(plant(tmp_path, below("sys/class/hwmon/hwmon3", only_labels)))


def rapl_zone(name: str, energy_uj: int, range_uj: int = 1_000_000) -> dict[str, str]:
    return {"name": name, "energy_uj": str(energy_uj), "max_energy_range_uj": str(range_uj)}


RAPL = "sys/class/powercap"


def test_rapl_domains_are_counters_whose_wrap_is_taken_out(tmp_path: Path) -> None:
    plant(tmp_path, below(f"{RAPL}/intel-rapl:0", rapl_zone("package-0", 900_000)))
    plant(tmp_path, below(f"{RAPL}/intel-rapl:0:0", rapl_zone("core", 100)))
    plant(tmp_path, below(f"{RAPL}/intel-rapl:0:1", rapl_zone("dram", 200)))
    plant(tmp_path, below(f"{RAPL}/intel-rapl-mmio:0", rapl_zone("package-0", 1)))
    (tmp_path / RAPL / "intel-rapl").mkdir()
    sampler = RaplSampler(tmp_path)
    assert [rail.name for rail in sampler.rails] == ["package-0", "package-0/core", "package-0/dram"]
    assert {rail.semantics for rail in sampler.rails} == {"counter"}
    package = tmp_path / RAPL / "intel-rapl:0/energy_uj"
    seen = []
    for value in ("950000", "50000", "60000", "10000"):
        package.write_text(value)
        seen.append(next(sampler.read()).energy_counter_j)
    assert seen == pytest.approx([0.95, 1.05, 1.06, 2.01])
    assert next(sampler.read()).power_w is None


def test_the_platform_is_a_rail_of_no_package(tmp_path: Path) -> None:
    plant(tmp_path, below(f"{RAPL}/intel-rapl:0", rapl_zone("package-1", 1)))
    plant(tmp_path, below(f"{RAPL}/intel-rapl:0:0", rapl_zone("dram", 1)))
    plant(tmp_path, below(f"{RAPL}/intel-rapl:1", rapl_zone("psys", 1)))
    rails = RaplSampler(tmp_path).rails
    assert [(rail.name, rail.device_index) for rail in rails] == [
        ("package-1", 1),
        ("package-1/dram", 1),
        ("psys", None),
    ]


def test_what_gives_nothing_beside_what_does_is_noted(gpu_machine) -> None:
    root = gpu_machine(H200, {"name": "NVIDIA GRID"})
    plant(root, below("sys/class/hwmon/hwmon3", {"name": "ina3221", **ORIN, "curr2_input": ""}))
    plant(root, below(f"{RAPL}/intel-rapl:0", rapl_zone("package-0", 1)))
    plant(root, below(f"{RAPL}/intel-rapl:0:0", {**rapl_zone("dram", 1), "energy_uj": ""}))
    found, reasons = open_sensors(root)
    assert len(found) == 3
    assert reasons[:2] == ["jetson_ina3221: VDD_CPU_CV does not answer", "nvml: GPU 1 tells neither power nor energy"]
    assert reasons[2].startswith("rapl: package-0/dram may be read by root only\n  sudo chmod a+r")


@pytest.mark.parametrize(
    ("semantics", "averaging_s"),
    [
        ("instant", 0.0),
        ("average_1s", 1.0),
        ("average_17ms", 0.017),
        ("average_0.5ms", 0.0005),
        ("average_unknown", None),
        ("counter", None),
    ],
)
def test_a_rail_knows_over_which_time_it_averages(semantics: str, averaging_s: float | None) -> None:
    assert Rail(source="replay", name="a", semantics=semantics).averaging_s == averaging_s


def test_counters_for_root_only_name_the_command_that_opens_them(tmp_path: Path) -> None:
    with pytest.raises(NoSensorError, match="no RAPL domain"):
        RaplSampler(tmp_path)
    zone = rapl_zone("package-0", 1)
    zone["energy_uj"] = ""
    with pytest.raises(NoSensorError, match=r"read by root only\n  sudo chmod a\+r"):
        RaplSampler(plant(tmp_path, below(f"{RAPL}/intel-rapl:0", zone)))


def test_a_machine_opens_the_sensors_it_has_and_says_why_not_the_others(tmp_path: Path) -> None:
    plant(tmp_path, below(f"{RAPL}/intel-rapl:0", rapl_zone("package-0", 1)))
    found, reasons = open_sensors(tmp_path)
    assert [rail.source for sampler in found for rail in sampler.rails] == ["rapl"]
    assert [reason.split(":")[0] for reason in reasons] == ["jetson_ina3221", "nvml"]
