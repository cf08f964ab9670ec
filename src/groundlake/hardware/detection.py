"""Which device is this? Reads the kernel's and the driver's account of the machine and finds it in the registry."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from groundlake import machine
from groundlake.errors import MissingDependencyError, UsageError
from groundlake.hardware.cpu_peak import cpu_id, cpu_spec, slugify
from groundlake.hardware.registry import registry
from groundlake.hardware.spec import PEAK_COLUMNS, HardwareSpec

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30
SHOWN_IDS = 4
SAME_CLOCK = 0.01
"""Relative difference of two clocks below which they are the same."""

# Board name in the device tree, id of the module, and the memory that tells it from its smaller sister.
_JETSONS = (
    (r"AGX Orin", "jetson_orin_agx", 40),
    (r"Orin NX", "jetson_orin_nx", 12),
    (r"Orin Nano", "jetson_orin_nano", 6),
)


@dataclass(frozen=True, kw_only=True)
class Detected:
    """The device of this machine.

    Attributes:
        hardware_id: Id its runs carry.
        aliases: Other ids of the same device in the same mode.
        spec: What is known of it; peaks that nobody knows are absent.
        device: `cpu` or `cuda`.
        method: How the id was found, in a few words.
        evidence: What was read, line by line, failures included.
    """

    hardware_id: str
    aliases: tuple[str, ...]
    spec: HardwareSpec
    device: str
    method: str
    evidence: list[str] = field(default_factory=list)

    def spec_named(self, hardware_id: str) -> HardwareSpec:
        """The same specification under a name the user chose, for a row of the table `hardware`."""
        others = dict.fromkeys((self.hardware_id, *self.aliases))
        return replace(
            self.spec, hardware_id=hardware_id, aliases=tuple(name for name in others if name != hardware_id)
        )


@dataclass(frozen=True)
class Verdict:
    """Whether runs made here may carry a hardware id, and why.

    `kind` is `this_machine` (the detected id or an alias), `other_machine` (an id of the registry that does not match:
    refuse it) or `new_name` (an id nobody knows: this machine's own name).
    """

    kind: Literal["this_machine", "other_machine", "new_name"]
    reason: str


def detect(root: Path = machine.ROOT, *, device: str | None = None) -> Detected:
    """Find out which device this is: a Jetson, else an NVIDIA GPU, else the processor.

    Args:
        root: Root of the file tree with `/proc` and `/sys`.
        device: The device that is meant: `cpu`, `cuda` for the first visible GPU, `cuda:1` for the second. None takes
            the first GPU, and the processor where there is none.

    Raises:
        UsageError: No such kind of device.
        MissingDependencyError: The GPU that is meant is not there, or programs get a slice of it only.
    """
    evidence: list[str] = []
    if device is None:
        require_whole_gpu(root)
    else:
        require_device(device, root)
    if device != "cpu":
        found = _detect_jetson(root, evidence) or _detect_gpu(root, evidence, device or "cuda")
        if found is not None:
            return found
    return _detect_cpu(root, evidence)


def require_device(device: str, root: Path = machine.ROOT) -> None:
    """Raise unless this machine has the device.

    Raises:
        UsageError: No such kind of device.
        MissingDependencyError: The GPU is not there; the message names those that are.
    """
    if not machine.is_device(device):
        raise UsageError(f"device must be cpu or cuda, got {device!r}; one of several GPUs is cuda:1")
    if device == "cpu":
        return
    require_whole_gpu(root)
    if machine.jetson_model(root) is not None:
        there, why = {"cuda:0": "the GPU of this Jetson"}, ""
    else:
        visible, why = machine.visible_gpus(root)
        there = {name: f"GPU {gpu.index}, {gpu.name}" for name, gpu in visible.items()}
    if _numbered(device) in there:
        return
    known = "; ".join(f"{name} is {what}" for name, what in there.items())
    raise MissingDependencyError(
        f"device {device}: {f'there is no such GPU; {known}' if known else f'no GPU is found here ({why})'}\n"
        f"  give one of {', '.join((*there, 'cpu'))}; lake hw detect says what is found"
    )


def require_whole_gpu(root: Path = machine.ROOT) -> None:
    """Raise where CUDA programs would run on a slice of a GPU: the board's peaks and power are not the slice's.

    Raises:
        MissingDependencyError: MIG is on, or `CUDA_VISIBLE_DEVICES` names a slice.
    """
    why = machine.slice_in_use(root)
    if why is not None:
        raise MissingDependencyError(
            f"no whole GPU can be measured: {why} (MIG)\n"
            "  a slice has neither the peaks nor the power sensor of its board, so none is measured\n"
            "  turn MIG off: sudo nvidia-smi -i GPU -mig 0, with CUDA_VISIBLE_DEVICES unset\n"
            "  or name whole GPUs only, by number: CUDA_VISIBLE_DEVICES=1; or measure the processor: --device cpu"
        )


def _numbered(device: str) -> str:
    """The same device with its number: `cuda` is `cuda:0`."""
    return f"cuda:{int(device.partition(':')[2] or 0)}"


def matches_this_machine(hardware_id: str, detected: Detected) -> bool:
    """Whether an id is the detected one or one of its aliases; the same chip in another power mode is not."""
    return hardware_id in (detected.hardware_id, *detected.aliases)


def judge(hardware_id: str, detected: Detected) -> Verdict:
    """Decide whether runs made on this machine may carry an id, with the reason in words for the user."""
    if matches_this_machine(hardware_id, detected):
        return Verdict("this_machine", f"{hardware_id} is this machine ({detected.method})")
    wanted = registry().get(hardware_id)
    if wanted is None:
        why = no_id(hardware_id)
        if why is not None:
            return Verdict("other_machine", why)
        return Verdict("new_name", f"{hardware_id} is not in the registry: taken as the name of this machine")
    if wanted.name == detected.spec.name and wanted.power_mode != detected.spec.power_mode:
        return Verdict(
            "other_machine",
            f"{hardware_id} is this device in power mode {wanted.power_mode}; "
            f"it runs in {detected.spec.power_mode or 'an unknown mode'} ({detected.hardware_id})",
        )
    return Verdict("other_machine", f"{hardware_id} is {wanted.name}; this machine is {detected.hardware_id}")


def no_id(hardware_id: str) -> str | None:
    """Say why what the registry does not have cannot be meant as an id: an id of the registry in other case, or a part.

    None of a name that is nobody's.
    """
    cased = next((known for known in registry() if known.lower() == hardware_id.lower()), None)
    if cased is not None:
        return f"{hardware_id} differs from {cased} in case only: ids keep their case"
    family = [known for known in registry() if known.lower().startswith(f"{hardware_id.lower()}_")]
    if family:
        return f"{hardware_id} is no whole id: the registry has {', '.join(sorted(family)[:SHOWN_IDS])}"
    return None


def _detect_jetson(root: Path, evidence: list[str]) -> Detected | None:
    model = machine.jetson_model(root)
    if model is None:
        return None
    evidence.append(f"board: {model}")
    raw_mode, source = machine.power_mode(root)
    evidence.append(f"power mode: {raw_mode or 'unknown'} ({source})")
    mode = mode_slug(raw_mode)
    hardware_id = "_".join(filter(None, (_module_id(model, root, evidence), mode)))
    known = registry().get(hardware_id)
    if known is not None:
        spec = _as_driven(known, root, evidence)
        method = f"device tree and nvpmodel: {model}, {raw_mode}"
        return Detected(
            hardware_id=hardware_id,
            aliases=spec.aliases,
            spec=spec,
            device="cuda",
            method=method,
            evidence=evidence,
        )
    evidence.append(f"{hardware_id} is not in the registry: no peaks")
    spec = HardwareSpec(
        hardware_id=hardware_id,
        name=model,
        vendor="NVIDIA",
        device="cuda",
        power_mode=None if mode is None else mode.upper(),
        memory_bytes=machine.memory_bytes(root),
        sources=_all_unknown("this module or power mode is not in the registry")
        | {"memory_bytes": "/proc/meminfo, what the kernel manages"},
    )
    return Detected(
        hardware_id=hardware_id, aliases=(), spec=spec, device="cuda", method=f"device tree: {model}", evidence=evidence
    )


def mode_slug(raw_mode: str | None) -> str | None:
    """Part of the id for a power mode: `MODE_15W` and `15W` give `15w`, `MODE_30W_ALL` `30w`, `MAXN` `maxn`."""
    if raw_mode is None:
        return None
    watts = re.fullmatch(r"(?:MODE_)?(\d+)W(?:_ALL)?", raw_mode, re.IGNORECASE)
    return f"{watts[1]}w" if watts else slugify(re.sub(r"^MODE_", "", raw_mode, flags=re.IGNORECASE))


def _module_id(model: str, root: Path, evidence: list[str]) -> str:
    memory = machine.memory_bytes(root)
    for pattern, module_id, least_gib in _JETSONS:
        if re.search(pattern, model, re.IGNORECASE):
            if memory is None or memory >= least_gib * GIB:
                return module_id
            evidence.append(f"memory {memory / GIB:.1f} GiB: the smaller module of its series")
            return f"{module_id}_{_module_gb(memory)}gb"
    return slugify(re.sub(r"\b(?:NVIDIA|Developer Kit|Engineering Reference)\b", " ", model))


def _module_gb(memory: int) -> int:
    """Size printed on the module: the kernel manages a little less than the next power of two."""
    size = 1
    while size * GIB < memory:
        size *= 2
    return size


def _as_driven(known: HardwareSpec, root: Path, evidence: list[str]) -> HardwareSpec:
    """Correct a registry entry by the clock limit that the driver enforces on this very device."""
    devfreq = machine.gpu_devfreq(root)
    limit_hz = None if devfreq is None else machine.read_number(devfreq / "max_freq")
    if limit_hz is None or devfreq is None:
        return known
    limit_mhz = limit_hz / machine.HZ_PER_MHZ
    evidence.append(f"GPU clock limit: {limit_mhz:g} MHz (devfreq {devfreq.name}/max_freq)")
    if known.clock_mhz is None or abs(limit_mhz / known.clock_mhz - 1) <= SAME_CLOCK:
        return known
    evidence.append(f"the registry says {known.clock_mhz:g} MHz: peaks rescaled to the clock of this device")
    scale = limit_mhz / known.clock_mhz
    rescaled = {
        PEAK_COLUMNS[name]: f"{known.peak_source(name)}, rescaled to {limit_mhz:g} MHz, the max_freq of this device"
        for name in known.peaks
    }
    return replace(
        known,
        clock_mhz=limit_mhz,
        peaks={name: peak * scale for name, peak in known.peaks.items()},
        sources={**known.sources, **rescaled, "clock_mhz": f"devfreq {devfreq.name}/max_freq of this device"},
    )


def _detect_gpu(root: Path, evidence: list[str], device: str) -> Detected | None:
    visible, why = machine.visible_gpus(root)
    gpu = visible.get(_numbered(device))
    if gpu is None:
        evidence.append(f"no GPU: {why}")
        return None
    evidence.append(f"GPU {gpu.index}, {len(visible)} visible: {gpu.name}, driver {gpu.driver_version}")
    known = next((spec for spec in registry().values() if gpu.name in spec.product_names), None)
    if known is None:
        evidence.append(f"{gpu.name} is not in the registry: no peaks")
    spec = known or HardwareSpec(
        hardware_id=slugify(gpu.name),
        name=gpu.name,
        vendor="NVIDIA",
        device="cuda",
        memory_bytes=gpu.memory_bytes,
        sources=_all_unknown("this GPU is not in the registry") | {"memory_bytes": "NVML"},
    )
    return Detected(
        hardware_id=spec.hardware_id,
        aliases=spec.aliases,
        spec=spec,
        device="cuda",
        method=f"NVML: {gpu.name}",
        evidence=evidence,
    )


def _detect_cpu(root: Path, evidence: list[str]) -> Detected:
    cpu = machine.cpu(root)
    evidence.append(f"CPU: {cpu.model or 'without a name'}, {cpu.physical_cores} cores, {cpu.logical_cores} threads")
    evidence.append(
        f"clock: {cpu.clock_mhz if cpu.clock_mhz is None else round(cpu.clock_mhz)} MHz, {cpu.clock_source}"
    )
    known = next((s for s in registry().values() if cpu.model in s.product_names), None)
    if known is not None and cpu.virtual and cpu.logical_cores < (known.compute_units or 0):
        evidence.append(f"a virtual machine with a part of {known.hardware_id} only: an id of its own")
        known = None
    spec = known or cpu_spec(cpu, machine.memory_bytes(root))
    return Detected(
        hardware_id=known.hardware_id if known else cpu_id(cpu),
        aliases=spec.aliases,
        spec=spec,
        device="cpu",
        method=f"CPU name: {cpu.model or cpu.part or 'none'}",
        evidence=evidence,
    )


def _all_unknown(why: str) -> dict[str, str]:
    nothing = HardwareSpec(hardware_id="", name="", device="cuda")
    return dict.fromkeys(nothing.figures(), f"unknown: {why}")
