"""The state a machine is in while it measures, and the fingerprints that tell machines and software apart.

What cannot be read is None: a missing sensor or driver never stops a measurement.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundlake import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

MILLI = 1000
NANO = 1e-9
FINGERPRINT_LENGTH = 16
GIB = 2**30

THROTTLE_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bits of NVML's clocks event reasons (nvml.h, nvmlClocksEventReason*)."""

THROTTLES = ("sw_power_cap", "hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
"""Those of them that mean: the GPU would run faster if it could."""

_CPU_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "cpu-therm", "tcpu")
_GPU_ZONES = ("gpu-thermal", "gpu_thermal", "gpu-therm")
_HOTTEST_ZONES = ("tj-thermal", "tj_thermal", "tj-therm")
"""Of a Jetson: the hottest of its sensors. It answers while the GPU's own zone is switched off with the idle GPU."""

LEAST_C = -40.0
"""No board works below it: a zone that is switched off may answer with the lowest value it has, -256 C."""

_CPU_MONITORS = ("coretemp", "k10temp", "zenpower")


def system_state(device: str, root: Path = machine.ROOT) -> dict[str, Any]:
    """Read clocks, temperature and power mode now.

    Args:
        device: `cpu`, `cuda` or `cuda:1`, the device whose temperature and clocks are meant.
        root: Root of the file tree with `/proc` and `/sys`.

    Returns:
        The fields of the ledger's system state; None where unknown. `throttle_reasons` is empty when the GPU says
        that nothing holds its clocks back, and None when it says nothing.
    """
    # The device first: under load, its queue is only so long, and a processor with many cores has many files.
    if machine.jetson_model(root) is not None:
        told = _jetson_state(device, root)
    elif device != "cpu":
        told = _nvml_state(device, root)
    else:
        told = {"temperature_c": cpu_temperature_c(root)}
    return {
        "gpu_clock_mhz": None,
        "mem_clock_mhz": None,
        "power_mode": None,
        "temperature_c": None,
        "cpu_freq_mhz": cpu_frequency_mhz(root),
        "cpu_governor": cpu_governor(root),
        "throttle_reasons": None,
        **told,
    }


def cpu_frequency_mhz(root: Path = machine.ROOT) -> float | None:
    """Mean current clock of the logical processors, in MHz."""
    clocks = [machine.read_number(path / "scaling_cur_freq") for path in machine.governor_folders(root)]
    known = [clock / machine.KHZ_PER_MHZ for clock in clocks if clock]
    if not known:
        text = machine.read_text(root / "proc/cpuinfo") or ""
        known = [float(clock) for clock in re.findall(r"^cpu MHz\s*:\s*(\d+(?:\.\d+)?)", text, re.MULTILINE)]
    return sum(known) / len(known) if known else None


def cpu_governor(root: Path = machine.ROOT) -> str | None:
    """Rule by which the kernel chooses the clock; several are joined with a plus."""
    names = {machine.read_text(path / "scaling_governor") for path in machine.governor_folders(root)}
    return "+".join(sorted(name for name in names if name)) or None


def cpu_temperature_c(root: Path = machine.ROOT) -> float | None:
    """Temperature of the processor's package, from the thermal zones, else from the monitoring chips."""
    zone = _zone_temperature_c(root, _CPU_ZONES)
    if zone is not None:
        return zone
    for chip in machine.folder(root / "sys/class/hwmon", "hwmon*"):
        if machine.read_text(chip / "name") in _CPU_MONITORS:
            degrees_c = _temperature_c(chip / "temp1_input")
            if degrees_c is not None:
                return degrees_c
    return None


def _zone_temperature_c(root: Path, names: tuple[str, ...]) -> float | None:
    for zone in machine.folder(root / "sys/class/thermal", "thermal_zone*"):
        if (machine.read_text(zone / "type") or "").lower() in names:
            degrees_c = _temperature_c(zone / "temp")
            if degrees_c is not None:
                return degrees_c
    return None


def _temperature_c(file: Path) -> float | None:
    """Temperature that a sensor's file tells in thousandths; None where it does not, or tells what cannot be."""
    degrees = machine.read_number(file)
    return None if degrees is None or degrees / MILLI < LEAST_C else degrees / MILLI


def _gpu_zone_temperature_c(root: Path) -> float | None:
    """Temperature of a Jetson's GPU, else of the hottest part of its chip."""
    own = _zone_temperature_c(root, _GPU_ZONES)
    return _zone_temperature_c(root, _HOTTEST_ZONES) if own is None else own


def _jetson_state(device: str, root: Path) -> dict[str, Any]:
    devfreq = machine.gpu_devfreq(root)
    clock_hz = None if devfreq is None else machine.read_number(devfreq / "cur_freq")
    memory_hz = machine.read_number(root / "sys/kernel/debug/bpmp/debug/clk/emc/rate")  # root's only
    mode, _ = machine.power_mode(root)  # last: it may have to start nvpmodel
    return {
        "gpu_clock_mhz": None if clock_hz is None else round(clock_hz / machine.HZ_PER_MHZ),
        "mem_clock_mhz": None if memory_hz is None else round(memory_hz / machine.HZ_PER_MHZ),
        "power_mode": None if mode is None else mode.removeprefix("MODE_"),
        "temperature_c": cpu_temperature_c(root) if device == "cpu" else _gpu_zone_temperature_c(root),
    }


def _nvml_state(device: str, root: Path) -> dict[str, Any]:
    with _nvml_gpu(device, root) as (nvml, handle):
        if handle is None:
            return {}
        # The drivers since release 530 speak of event reasons; the older name says the same.
        bits = machine.ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle)
        if bits is None:
            bits = machine.ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        temperature = machine.ask(nvml, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU)
        return {
            "gpu_clock_mhz": machine.ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
            "mem_clock_mhz": machine.ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
            "temperature_c": None if temperature is None else float(temperature),
            "throttle_reasons": None if bits is None else throttle_names(bits),
        }


def gpu_clock_limit_mhz(device: str, root: Path = machine.ROOT) -> float | None:
    """Highest clock that the GPU may take: the board's, on a Jetson that of its power mode. None where unknown."""
    if device == "cpu":
        return None
    if machine.jetson_model(root) is not None:
        devfreq = machine.gpu_devfreq(root)
        limit_hz = None if devfreq is None else machine.read_number(devfreq / "max_freq")
        return None if limit_hz is None else limit_hz / machine.HZ_PER_MHZ
    with _nvml_gpu(device, root) as (nvml, handle):
        limit_mhz = (
            None if handle is None else machine.ask(nvml, "nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM)
        )
    return None if limit_mhz is None else float(limit_mhz)


def gpu_settings(device: str, root: Path = machine.ROOT) -> dict[str, Any]:
    """What NVML says about a GPU that clocks do not tell; every field is None where there is no such GPU, or no answer.

    Returns:
        `name`, `uuid`, `memory_bytes`, `persistence_mode` (whether the driver stays loaded between programs),
        `ecc_enabled` (whether the memory corrects errors), `power_limit_w`, `compute_capability`.
    """
    told: dict[str, Any] = dict.fromkeys(
        ("name", "uuid", "memory_bytes", "persistence_mode", "ecc_enabled", "power_limit_w", "compute_capability")
    )
    if device == "cpu" or machine.jetson_model(root) is not None:
        return told
    with _nvml_gpu(device, root) as (nvml, handle):
        if handle is None:
            return told
        memory = machine.ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
        persistence = machine.ask(nvml, "nvmlDeviceGetPersistenceMode", handle)
        ecc = machine.ask(nvml, "nvmlDeviceGetEccMode", handle)  # [current, pending]
        limit_mw = machine.ask(nvml, "nvmlDeviceGetPowerManagementLimit", handle)
        capability = machine.ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
        return told | {
            "name": machine.ask(nvml, "nvmlDeviceGetName", handle),
            "uuid": machine.ask(nvml, "nvmlDeviceGetUUID", handle),
            "memory_bytes": None if memory is None else int(memory.total),
            "persistence_mode": None if persistence is None else bool(persistence),
            "ecc_enabled": None if ecc is None else bool(ecc[0]),
            "power_limit_w": None if limit_mw is None else limit_mw / MILLI,
            "compute_capability": None if capability is None else ".".join(map(str, capability)),
        }


def held_back_s(device: str, root: Path = machine.ROOT) -> dict[str, float]:
    """Time for which the GPU's driver has held its clocks back so far, by cause, in s; empty where it does not say.

    The causes are `power` and `thermal` (NVML's violation status, which counts in ns).
    """
    if device == "cpu" or machine.jetson_model(root) is not None:
        return {}
    with _nvml_gpu(device, root) as (nvml, handle):
        if handle is None:
            return {}
        policies = {"power": nvml.NVML_PERF_POLICY_POWER, "thermal": nvml.NVML_PERF_POLICY_THERMAL}
        told = {
            cause: machine.ask(nvml, "nvmlDeviceGetViolationStatus", handle, policy)
            for cause, policy in policies.items()
        }
    return {cause: status.violationTime * NANO for cause, status in told.items() if status is not None}


@contextmanager
def _nvml_gpu(device: str, root: Path) -> Iterator[tuple[Any, Any]]:
    """Open NVML, and give it with the handle of the GPU that a device means; the handle is None where there is none."""
    index = machine.chosen_gpu(device, root)
    with machine.nvml(root) as (nvml, _):
        none = nvml is None or index is None
        yield nvml, None if none else machine.ask(nvml, "nvmlDeviceGetHandleByIndex", index)


def throttle_events(root: Path = machine.ROOT) -> int | None:
    """How often the machine has held its clocks back since it started; None where it does not say.

    A PC's kernel counts thermal throttling for each logical processor (a package's is counted by each of them, so it
    is left out); a Jetson's counts over-current events, which throttle the GPU as well.
    """
    counters = [
        *machine.folder(root / "sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle/core_throttle_count"),
        *(
            counter
            for chip in machine.folder(root / "sys/class/hwmon", "hwmon*")
            if machine.read_text(chip / "name") == "soctherm_oc"
            for counter in machine.folder(chip, "oc*_event_cnt")
        ),
    ]
    known = [int(count) for counter in counters if (count := machine.read_number(counter)) is not None]
    return sum(known) if known else None


def throttle_names(bits: int) -> list[str]:
    """Names of the reasons that hold a GPU's clocks back; a bit without a name is shown as a number."""
    names = [name for bit, name in THROTTLE_REASONS.items() if bits & bit]
    rest = bits & ~sum(THROTTLE_REASONS)
    return [*names, f"0x{rest:x}"] if rest else names


def machine_fingerprint(root: Path = machine.ROOT) -> str:
    """Hash of the machine's fixed properties: equal hardware gives an equal hash, and nothing names its owner.

    It covers the processor, its cores, the memory in whole GiB, the board and the GPUs; no serial number, no host
    name, nothing that changes with load or power mode.
    """
    cpu = machine.cpu(root)
    memory = machine.memory_bytes(root)
    return _digest(
        {
            "cpu": [cpu.model, cpu.vendor, cpu.implementer, cpu.part],
            "cores": _present_cpus(root) or [cpu.physical_cores, cpu.logical_cores],
            "memory_gib": None if memory is None else round(memory / GIB),
            "board": machine.jetson_model(root),
            "gpus": [gpu.name for gpu in machine.gpus(root)[0]],
        }
    )


def _present_cpus(root: Path) -> str | None:
    """Logical processors that are there, on- or offline: power modes of a Jetson switch some of them off."""
    return machine.read_text(root / "sys/devices/system/cpu/present")


def software_facts(root: Path = machine.ROOT) -> dict[str, str | None]:
    """Versions and fingerprints for the ledger, by column name; PyTorch is not loaded for it."""
    torch_version = _version("torch")
    facts = {
        "os": platform.platform(),
        "python_version": platform.python_version(),
        "torch_version": torch_version,
        "cuda_version": _cuda_version(torch_version),
        "driver_version": _driver_version(root),
    }
    versions = facts | {name: _version(name) for name in ("torchvision", "transformers", "numpy")}
    return facts | {
        "machine_fingerprint": machine_fingerprint(root),
        "software_fingerprint": _digest(versions),
    }


def _version(package: str) -> str | None:
    """Version of a package; a vendor's build may lack metadata, so a module that is loaded is asked first."""
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if loaded is not None:
        return str(loaded)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda_version(torch_version: str | None) -> str | None:
    """CUDA that PyTorch was built for, read from its `version.py` as text: importing it would take a second."""
    if torch_version is None:
        return None
    try:
        found = importlib.util.find_spec("torch")
    except ValueError:  # a module put into sys.modules by hand has no spec
        return None
    if found is None or found.origin is None:
        return None
    text = machine.read_text(Path(found.origin).with_name("version.py")) or ""
    cuda = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return cuda[1] if cuda else None


def _driver_version(root: Path) -> str | None:
    """Version of the NVIDIA driver, or on a Jetson the release of its Linux."""
    with machine.nvml(root) as (nvml, _):
        version = None if nvml is None else machine.ask(nvml, "nvmlSystemGetDriverVersion")
    if version is not None:
        return str(version)
    release = machine.read_text(root / "etc/nv_tegra_release") or ""
    found = re.search(r"# (R\d+) \(release\), REVISION: ([\d.]+)", release)
    return f"L4T {found[1]}.{found[2]}" if found else None


def _digest(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_LENGTH]
