"""Trees of files in the place of a machine's `/proc` and `/sys`, and a module in the place of its driver's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


H200_AND_L4 = """
class NVMLError(Exception):
    pass

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlSystemGetDriverVersion(): return "570.86.10"
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return ("NVIDIA H200", "NVIDIA L4")[handle]
def nvmlDeviceGetUUID(handle): return "GPU-%d" % handle
def nvmlDeviceGetMemoryInfo(handle, version=None): raise NVMLError("Not Supported")
def nvmlDeviceGetMigMode(device): return [0, 0]
"""
"""Text of a module `pynvml` whose driver lists an H200 and an L4."""


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write files, by their paths below the root, as a kernel shows them."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root
