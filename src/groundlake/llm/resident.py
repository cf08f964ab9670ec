"""Peak of the memory that this process has resident, over a stretch of work. Linux alone can be asked that.

The kernel keeps one peak for the process (`VmHWM`). It is told to begin anew, and read at the end: both take some
microseconds, and nothing is sampled in between. Whoever else reads it in this process sees the peak since then, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FORGET: Final = Path("/proc/self/clear_refs")
STATUS: Final = Path("/proc/self/status")
PEAK: Final = "5"
"""What is written to have the peak begin anew (proc(5))."""
KIB: Final = 2**10


def reset_resident_peak() -> bool:
    """Have the peak begin with what is resident now; return whether that could be done."""
    try:
        FORGET.write_text(PEAK)
    except OSError:
        return False
    return True


def resident_peak_bytes() -> int | None:
    """Return the most memory that was resident at a time since the last reset; None where nothing tells it."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * KIB
