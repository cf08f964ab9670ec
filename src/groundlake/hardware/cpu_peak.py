"""Peak of a processor that the registry does not know: cores x clock x FLOP per cycle, with the method in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.hardware.spec import PEAK_COLUMNS, HardwareSpec

if TYPE_CHECKING:
    from groundlake.machine import Cpu

FP32_BITS = 32
FMA_FLOP = 2
AMD_ZEN5_FAMILY = 26
FIRST_ZEN2 = (23, 48)
"""Family and model number; Zen and Zen+ before it had 128-bit units."""

AMX_BF16_FLOP_PER_CYCLE = 1024
"""A 16 x 16 x 32 tile product (16,384 FLOP) every 16 cycles: Intel 64 and IA-32 Architectures Optimization Manual."""

ARM_PARTS = {
    "0xd05": "cortex_a55",
    "0xd08": "cortex_a72",
    "0xd0b": "cortex_a76",
    "0xd0c": "neoverse_n1",
    "0xd40": "neoverse_v1",
    "0xd41": "cortex_a78",
    "0xd42": "cortex_a78ae",
    "0xd49": "neoverse_n2",
    "0xd4f": "neoverse_v2",
}
"""Part numbers of implementer 0x41 (Arm), from the processors' technical reference manuals (MIDR_EL1)."""

_NOISE = (
    r"\((?:R|TM|C)\)|[®™©]",
    r"\s+(?:with|w/)\s+Radeon.*$",
    r"@\s*[\d.]+\s*GHz",
    r"\b\d+th Gen\b",
    r"\b(?:\d+|Six|Eight|Twelve|Sixteen)-Core\b",
    r"\b(?:CPU|Processor)\b",
)


@dataclass(frozen=True)
class Width:
    """FP32 work of one core in one cycle, and in words where it comes from."""

    flop_per_cycle: int
    method: str


def cpu_id(cpu: Cpu) -> str:
    """Id made of the processor's name: `Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz` gives `intel_xeon_gold_6338`.

    A name without a model number, and any name a hypervisor shows, gets the number of cores: the slice of a
    processor that a virtual machine has is not the processor.
    """
    name = cpu_name(cpu)
    for noise in _NOISE:
        name = re.sub(noise, " ", name, flags=re.IGNORECASE)
    slug = slugify(name)
    if cpu.physical_cores and (cpu.virtual or not re.search(r"\d", slug) or cpu.model is None):
        slug += f"_{cpu.physical_cores}c"
    return slug


def cpu_name(cpu: Cpu) -> str:
    """Product name, or on Arm servers, which give none, the name of the core's design."""
    generic = cpu.model is None or re.match(r"ARMv\d Processor", cpu.model)
    if generic and cpu.implementer == "0x41" and cpu.part in ARM_PARTS:
        return f"Arm {ARM_PARTS[cpu.part].replace('_', ' ').title()}"
    return cpu.model or "Unknown CPU"


def slugify(name: str) -> str:
    """Lower case, `[a-z0-9_]` only, and never all digits."""
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return f"device_{slug}".rstrip("_") if not re.search(r"[a-z]", slug) else slug


def fp32_width(cpu: Cpu) -> Width | None:
    """FP32 operations of a core in a cycle, from its instruction sets; None where they are not known."""
    flags = cpu.flags
    if "avx512f" in flags:
        return _avx512(cpu)
    if {"avx2", "fma"} <= flags:
        units, known = (2, "2 FMA units") if _has_two_units(cpu) else (1, "1 FMA unit assumed")
        return Width(256 // FP32_BITS * FMA_FLOP * units, f"AVX2, {known}")
    if "asimd" in flags:
        units, known = (2, "2 FMA units") if _has_two_units(cpu) else (1, "1 FMA unit")
        return Width(128 // FP32_BITS * FMA_FLOP * units, f"ASIMD, {known} assumed")
    for flag, bits in (("avx", 256), ("sse2", 128)):
        if flag in flags:
            return Width(bits // FP32_BITS * 2, f"{flag.upper()}, one add and one multiply in a cycle assumed")
    return None


def _has_two_units(cpu: Cpu) -> bool:
    """Whether a core has two full-width FMA units: Intel since Haswell, AMD since Zen 2, Arm's server designs."""
    if cpu.vendor == "AuthenticAMD":
        return (cpu.family or 0, cpu.model_number or 0) >= FIRST_ZEN2
    return cpu.vendor == "GenuineIntel" or (cpu.implementer == "0x41" and cpu.part in ARM_PARTS)


def _avx512(cpu: Cpu) -> Width:
    lanes = 512 // FP32_BITS
    if cpu.vendor == "AuthenticAMD" and (cpu.family or 0) < AMD_ZEN5_FAMILY:
        return Width(lanes * FMA_FLOP, "AVX-512 of Zen 4, 512 bit in two passes of 2 FMA units")
    if cpu.vendor == "AuthenticAMD" or "xeon" in (cpu.model or "").lower():
        return Width(lanes * FMA_FLOP * 2, "AVX-512, 2 FMA units assumed")
    return Width(lanes * FMA_FLOP, "AVX-512, 1 FMA unit assumed")


def estimate_peaks(cpu: Cpu) -> tuple[dict[str, float], dict[str, str]]:
    """Estimate the peaks of a processor.

    Returns:
        Precision to peak in FLOP/s, and for every precision the method, or the reason why there is no figure.
    """
    nothing = {
        "tf32": "none: not a number format of this processor",
        "int8": "unknown: not estimated for a processor",
    }
    width = fp32_width(cpu)
    if width is None or cpu.clock_mhz is None or cpu.physical_cores is None:
        why = "its instruction sets are not known" if width is None else cpu.clock_source
        why = why if cpu.physical_cores else "the number of its cores is not known"
        return {}, nothing | dict.fromkeys(("fp32", "fp16", "bf16"), f"unknown: {why}")
    peaks, methods = {}, dict(nothing)
    for precision, found in {"fp32": width, "fp16": _fp16(cpu, width), "bf16": _bf16(cpu, width)}.items():
        if found is None:
            methods[precision] = f"none: no {precision} arithmetic in its instruction sets"
            continue
        peaks[precision] = cpu.physical_cores * cpu.clock_mhz * 1e6 * found.flop_per_cycle
        methods[precision] = (
            f"estimate: {cpu.physical_cores} cores x {cpu.clock_mhz / 1000:.4g} GHz x {found.flop_per_cycle} "
            f"FLOP/cycle ({found.method}; {cpu.clock_source})"
        )
    return peaks, methods


def _fp16(cpu: Cpu, width: Width) -> Width | None:
    for flag in ("avx512_fp16", "asimdhp"):
        if flag in cpu.flags:
            return Width(width.flop_per_cycle * 2, f"{flag}: twice the lanes of fp32; {width.method}")
    return None


def _bf16(cpu: Cpu, width: Width) -> Width | None:
    if "amx_bf16" in cpu.flags:
        return Width(AMX_BF16_FLOP_PER_CYCLE, "amx_bf16: a 16 x 16 x 32 tile product in 16 cycles")
    for flag in ("avx512_bf16", "bf16"):
        if flag in cpu.flags:
            return Width(width.flop_per_cycle * 2, f"{flag}: two multiply-adds in each fp32 lane; {width.method}")
    return None


def cpu_spec(cpu: Cpu, memory_bytes: int | None) -> HardwareSpec:
    """Specification of a processor that the registry does not know, every figure with its method or reason."""
    peaks, methods = estimate_peaks(cpu)
    sources = {PEAK_COLUMNS[precision]: method for precision, method in methods.items()}
    sources |= {
        "compute_units": "physical cores, as the kernel counts them",
        "clock_mhz": cpu.clock_source,
        "memory_bytes": "/proc/meminfo, what the kernel manages",
        "memory_bandwidth_bytes_per_s": "unknown: the kernel does not tell",
        "operation_overhead_s": "unknown: not measured",
        "power_limit_w": "unknown: the kernel does not tell",
    }
    return HardwareSpec(
        hardware_id=cpu_id(cpu),
        name=cpu_name(cpu),
        vendor={"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(cpu.vendor or "", cpu.vendor),
        device="cpu",
        compute_units=cpu.physical_cores,
        clock_mhz=cpu.clock_mhz,
        peaks=peaks,
        memory_bytes=memory_bytes,
        sources=sources,
    )
