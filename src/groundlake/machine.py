"""What the kernel and the driver say about a machine: plain facts, read and never written.

Every function takes the root of the file tree, so that a test (or a copy of another machine's `/proc` and `/sys`) is
read the same way as this machine. What cannot be read is None; nothing here raises for a file.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("/")
KIB = 1024
KHZ_PER_MHZ = 1000
HZ_PER_MHZ = 1_000_000
COMMAND_TIMEOUT_S = 5
MIG_ON = 1
"""NVML_DEVICE_MIG_ENABLE of nvml.h."""

_CGROUPS = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "inactive_file"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use and what of the use can be given back, as a container sees its own group (version 2 and version 1)."""


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """A processor as `/proc/cpuinfo` and sysfs describe it; `flags` are the names of its instruction sets."""

    model: str | None
    vendor: str | None
    family: int | None
    model_number: int | None
    implementer: str | None
    part: str | None
    physical_cores: int | None
    logical_cores: int
    flags: frozenset[str]
    clock_mhz: float | None
    clock_source: str

    @property
    def virtual(self) -> bool:
        """Whether a hypervisor hides the real machine."""
        return "hypervisor" in self.flags


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as NVML describes it; `is_sliced` says that it is split by MIG, so that programs get a part of it."""

    index: int
    name: str
    memory_bytes: int | None
    driver_version: str | None
    is_sliced: bool = False


def read_text(path: Path) -> str | None:
    """Content of a file without the blanks and NULs around it; None where it cannot be read or is empty."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return None
    return text.strip(" \t\r\n\0") or None


def read_number(path: Path) -> float | None:
    """Content of a file as a number; None where it cannot be read or is something else."""
    text = read_text(path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def folder(path: Path, pattern: str) -> list[Path]:
    """Entries of a folder that match a pattern, by name; none where it cannot be read."""
    try:
        return sorted(path.glob(pattern))
    except OSError:
        return []


def cpu(root: Path = ROOT) -> Cpu:
    """Describe the processor."""
    blocks = _cpuinfo(root)
    first = blocks[0] if blocks else {}
    clock_mhz, clock_source = _cpu_clock(root, blocks)
    return Cpu(
        model=next((b[key] for key in ("model name", "Model", "Hardware") for b in blocks if b.get(key)), None),
        vendor=first.get("vendor_id"),
        family=_integer(first.get("cpu family")),
        model_number=_integer(first.get("model")),
        implementer=first.get("CPU implementer"),
        part=first.get("CPU part"),
        physical_cores=_physical_cores(root, blocks),
        logical_cores=sum("processor" in block for block in blocks),
        flags=frozenset((first.get("flags") or first.get("Features") or "").split()),
        clock_mhz=clock_mhz,
        clock_source=clock_source,
    )


def _cpuinfo(root: Path) -> list[dict[str, str]]:
    text = read_text(root / "proc/cpuinfo") or ""
    blocks = []
    for block in text.split("\n\n"):
        pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
        found = {key.strip(): value.strip() for key, value in pairs}
        if found:
            blocks.append(found)
    return blocks


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _physical_cores(root: Path, blocks: list[dict[str, str]]) -> int | None:
    """Count cores: sets of sibling threads in sysfs, else (socket, core) pairs, else logical processors."""
    siblings = {
        text
        for path in folder(root / "sys/devices/system/cpu", "cpu[0-9]*/topology/thread_siblings_list")
        if (text := read_text(path))
    }
    pairs = {(b.get("physical id", "0"), b["core id"]) for b in blocks if "core id" in b}
    return len(siblings) or len(pairs) or sum("processor" in block for block in blocks) or None


def _cpu_clock(root: Path, blocks: list[dict[str, str]]) -> tuple[float | None, str]:
    """Clock in MHz and where it comes from: the best of maximum, nominal and current that is known."""
    limits = [
        khz
        for path in folder(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq/cpuinfo_max_freq")
        if (khz := read_number(path))
    ]
    if limits:
        return sum(limits) / len(limits) / KHZ_PER_MHZ, "maximum clock, cpufreq/cpuinfo_max_freq"
    named = [re.search(r"@\s*([\d.]+)\s*GHz", block.get("model name", "")) for block in blocks[:1]]
    if named and named[0]:
        return float(named[0][1]) * 1000, "nominal clock, in the name of the CPU"
    current = [float(b["cpu MHz"]) for b in blocks if re.fullmatch(r"\d+(\.\d+)?", b.get("cpu MHz", ""))]
    if current:
        return sum(current) / len(current), "current clock, /proc/cpuinfo"
    return None, "no clock in cpufreq or /proc/cpuinfo"


def memory_bytes(root: Path = ROOT) -> int | None:
    """Memory that the kernel manages, in bytes."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) * KIB if found else None


def available_bytes(root: Path = ROOT) -> int | None:
    """Memory that a new program can have without swapping, in bytes; in a container, within the container's limit."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    known = [int(found[1]) * KIB] if found else []
    for limit, used, cache in _CGROUPS:
        most, held = read_number(root / limit), read_number(root / used)
        if most is not None and held is not None:
            freeable = re.search(
                rf"^{cache} (\d+)", read_text(root / Path(used).with_name("memory.stat")) or "", re.MULTILINE
            )
            known.append(max(0, int(most - held) + (int(freeable[1]) if freeable else 0)))
    return min(known, default=None)


def resident_bytes(pid: int | None, root: Path = ROOT) -> int | None:
    """Memory that a process holds (its resident set), in bytes; None where it is gone."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", read_text(root / f"proc/{pid}/status") or "", re.MULTILINE)
    return int(found[1]) * KIB if found else None


def board_model(root: Path = ROOT) -> str | None:
    """Name of the board in the device tree, for example of a Jetson; None on machines without one."""
    return read_text(root / "proc/device-tree/model") or read_text(root / "sys/firmware/devicetree/base/model")


def jetson_model(root: Path = ROOT) -> str | None:
    """Name of the board where it is a Jetson."""
    model = board_model(root)
    return model if model and re.search(r"jetson|\borin\b", model, re.IGNORECASE) else None


def power_mode(root: Path = ROOT) -> tuple[str | None, str]:
    """Name of the power mode of a Jetson, for example `MODE_30W`, and where it comes from.

    The daemon keeps the number of the mode in its status file and the names in its configuration. Only on the real
    root, and only where those two do not tell, the command `nvpmodel -q` is asked.
    """
    number = re.search(r"pmode:0*(\d+)", read_text(root / "var/lib/nvpmodel/status") or "")
    names = dict(re.findall(r"<\s*POWER_MODEL\s+ID=0*(\d+)\s+NAME=(\S+)", read_text(root / "etc/nvpmodel.conf") or ""))
    if number and number[1] in names:
        return names[number[1]], f"nvpmodel status: mode {number[1]}"
    if root != ROOT:
        return None, "nvpmodel status or its configuration cannot be read"
    try:
        told = subprocess.run(  # the vendor's own tool, with a fixed argument
            ["nvpmodel", "-q"],  # noqa: S607 - its folder differs between releases
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"nvpmodel -q failed: {type(error).__name__}"
    return parse_power_mode(told), "nvpmodel -q"


def parse_power_mode(text: str) -> str | None:
    r"""Name of the mode in the answer of `nvpmodel -q`: `NV Power Mode: MODE_15W\n2` gives `MODE_15W`, not 2."""
    found = re.search(r"NV Power Mode\s*:\s*(\S+)", text)
    return found[1] if found else None


def gpu_devfreq(root: Path = ROOT) -> Path | None:
    """Folder of the integrated GPU's clock control on a Jetson."""
    for pattern in ("*.ga10b", "*.g[vp]1*b", "*gpu*"):
        for path in folder(root / "sys/class/devfreq", pattern):
            return path
    return None


def governor_folders(root: Path = ROOT) -> list[Path]:
    """Folders of the processor's clock control, one for each logical processor that has one."""
    return folder(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq")


@contextmanager
def nvml(root: Path = ROOT) -> Iterator[tuple[Any, str]]:
    """Open NVML: gives the module `pynvml` and an empty text, or None and the reason.

    A root other than `/` describes another machine: NVML is asked only where that machine has the NVIDIA driver.
    """
    if root != ROOT and not (root / "proc/driver/nvidia").exists():
        yield None, "no NVIDIA driver below this root"
        return
    try:
        import pynvml  # an extra: a lake without measuring has no NVML
    except ImportError:
        yield None, "pynvml is not installed (pip install 'groundlake[measure]')"
        return
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError) as error:
        yield None, f"NVML does not start: {error}"
        return
    try:
        yield pynvml, ""
    finally:
        with suppress(pynvml.NVMLError):  # nothing is lost: the process ends the session too
            pynvml.nvmlShutdown()


def ask(module: Any, call: str, *arguments: Any) -> Any:  # noqa: ANN401 - NVML answers with numbers, text and structs
    """Answer of one NVML call, or None where the driver, the device or the module does not know it."""
    function = getattr(module, call, None)
    if function is None:
        return None
    try:
        answer = function(*arguments)
    except (module.NVMLError, OSError):
        return None
    return answer.decode("utf-8", errors="replace") if isinstance(answer, bytes) else answer


def gpus(root: Path = ROOT) -> tuple[list[Gpu], str]:
    """NVIDIA GPUs that NVML lists, and the reason where there is none."""
    with nvml(root) as (module, why):
        if module is None:
            return [], why
        driver = ask(module, "nvmlSystemGetDriverVersion")
        found = []
        for index in range(ask(module, "nvmlDeviceGetCount") or 0):
            handle = ask(module, "nvmlDeviceGetHandleByIndex", index)
            name = None if handle is None else ask(module, "nvmlDeviceGetName", handle)
            if name is None:
                continue
            memory = ask(module, "nvmlDeviceGetMemoryInfo", handle)
            total = None if memory is None else int(memory.total)
            modes = ask(module, "nvmlDeviceGetMigMode", handle)  # [current, pending]
            found.append(
                Gpu(
                    index=index,
                    name=str(name),
                    memory_bytes=total,
                    driver_version=driver,
                    is_sliced=modes is not None and modes[0] == MIG_ON,
                )
            )
        return found, "" if found else "NVML lists no GPU"


def visible_gpus(root: Path = ROOT) -> tuple[dict[str, Gpu], str]:
    """GPUs that CUDA programs of this process see, by device (`cuda:0`, `cuda:1`), and the reason where there is none.

    Like CUDA, it stops at the first name of `CUDA_VISIBLE_DEVICES` that is no GPU.
    """
    found, why = gpus(root)
    by_index = {gpu.index: gpu for gpu in found}
    visible: dict[str, Gpu] = {}
    for number in range(len(found)):
        index = chosen_gpu(f"cuda:{number}", root)
        if index not in by_index:
            break
        visible[f"cuda:{number}"] = by_index[index]
    if found and not visible:
        why = f"{len(found)} GPU, hidden by CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')}"
    return visible, why


def slice_in_use(root: Path = ROOT) -> str | None:
    """Say why CUDA programs of this process would run on a slice of a GPU (MIG); None where they get whole ones.

    As soon as one GPU that they may see is split, CUDA shows them one slice and nothing else (NVIDIA's Multi-Instance
    GPU User Guide, CUDA device enumeration).
    """
    names = _visible_names() or []
    named = next((name for name in names if name.startswith("MIG-")), None)
    if named is not None:
        return f"CUDA_VISIBLE_DEVICES names {named}, a slice of a GPU"
    split = next((gpu for gpu in visible_gpus(root)[0].values() if gpu.is_sliced), None)
    return None if split is None else f"MIG splits GPU {split.index} ({split.name}) into slices"


def _visible_names() -> list[str] | None:
    """Devices that `CUDA_VISIBLE_DEVICES` names; None where it is not set, so that all are visible."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if chosen is None else [name.strip() for name in chosen.split(",")]


def chosen_gpu(device: str = "cuda", root: Path = ROOT) -> int | None:
    """Index that NVML gives to a GPU of this process; None where it is hidden, or no whole GPU.

    `CUDA_VISIBLE_DEVICES` names devices by CUDA's index or by UUID (a part of one is enough). CUDA's index is NVML's
    in the measuring process, which sets CUDA_DEVICE_ORDER to PCI_BUS_ID.

    Args:
        device: `cuda` for the first one that CUDA programs see, `cuda:1` for the second.
        root: Root of the file tree with `/proc` and `/sys`.
    """
    number = int(device.partition(":")[2] or 0)
    names = _visible_names()
    if names is None:
        return number
    if number >= len(names):
        return None
    name = names[number]
    return int(name) if name.isdecimal() else _gpu_of_uuid(name, root)


def _gpu_of_uuid(name: str, root: Path) -> int | None:
    """Index of the one GPU whose UUID begins like this; None for a part of a GPU (MIG), or a name that hides all."""
    if not name.startswith("GPU-"):
        return None
    with nvml(root) as (module, _):
        if module is None:
            return None
        handles = [ask(module, "nvmlDeviceGetHandleByIndex", i) for i in range(ask(module, "nvmlDeviceGetCount") or 0)]
        uuids = [None if handle is None else ask(module, "nvmlDeviceGetUUID", handle) for handle in handles]
    found = [index for index, uuid in enumerate(uuids) if uuid is not None and str(uuid).startswith(name)]
    return found[0] if len(found) == 1 else None


def gpu_index(device: str, root: Path = ROOT) -> int | None:
    """Index that NVML gives to the GPU that a device means; None for a processor, a Jetson, or a GPU that is hidden."""
    return None if device == "cpu" or jetson_model(root) is not None else chosen_gpu(device, root)


def is_device(text: str) -> bool:
    """Whether a text names a device to measure: cpu, cuda, or cuda:1."""
    return re.fullmatch(r"cpu|cuda(:\d+)?", text) is not None
