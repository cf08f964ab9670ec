"""Hardware and software of the machine that measured, as results keep them."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
import sys
from typing import TYPE_CHECKING, Any

from groundlake import __version__, machine
from groundlake.experiment.extended import (
    CpuEnvironment,
    CudaEnvironment,
    EnvironmentMetadata,
    EnvironmentSnapshot,
    GpuEnvironment,
    ThermalEnvironment,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 2**20
LEDGER_FACTS = ("os", "torch_version", "driver_version", "machine_fingerprint", "software_fingerprint")
"""Columns of the ledger that a result carries, so that it means the same in every lake."""


def snapshot(
    software: Mapping[str, Any], gpu: Mapping[str, Any], state: Mapping[str, Any] | None
) -> EnvironmentSnapshot:
    """Describe this machine.

    Args:
        software: Versions, named as in the ledger.
        gpu: What NVML says about the GPU; empty where none worked.
        state: State of the machine before the measurement.
    """
    return EnvironmentSnapshot(
        python_version=platform.python_version(),
        installed_packages=sorted(_packages()),
        tool_version=f"groundlake {__version__}",
        cuda_version=software.get("cuda_version"),
        cuda_version_source="torch" if software.get("cuda_version") else None,
        hardware=_hardware(software, gpu, state or {}),
        **{name: software.get(name) for name in LEDGER_FACTS},
    )


def _packages() -> set[str]:
    return {f"{name}=={each.version}" for each in importlib.metadata.distributions() if (name := each.metadata["Name"])}


def _hardware(
    software: Mapping[str, Any], gpu: Mapping[str, Any], state: Mapping[str, Any]
) -> EnvironmentMetadata | None:
    """What was seen of the GPU; None without one."""
    if not gpu.get("name") or not gpu.get("memory_bytes"):
        return None
    return EnvironmentMetadata(
        gpu=GpuEnvironment(
            name=gpu["name"],
            vram_total_mb=gpu["memory_bytes"] / MIB,
            compute_capability=gpu.get("compute_capability"),
        ),
        cuda=CudaEnvironment(
            version=software.get("cuda_version") or "unknown",
            driver_version=software.get("driver_version") or "unknown",
        ),
        thermal=ThermalEnvironment(
            temperature_c=state.get("temperature_c"),
            power_limit_w=gpu.get("power_limit_w"),
        ),
        cpu=CpuEnvironment(
            governor=state.get("cpu_governor") or "unknown", model=machine.cpu().model, platform=sys.platform
        ),
        collected_at=dt.datetime.now(dt.timezone.utc),
    )
