"""Read files that others wrote: regular ones only, and no more than a measurement can be."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from groundlake.ground_truth.reading import Problem

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 64 * 2**20
"""A larger file is no measurement, and is not read."""


def read_limited(path: Path) -> tuple[bytes, Problem | None]:
    """Read a file of at most 64 MiB; no bytes and the problem (`too_large`, `unreadable`) where that cannot be."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            return b"", Problem("unreadable", "", "it is not a regular file")
        if facts.st_size > MAX_BYTES:
            return b"", Problem("too_large", "", f"{facts.st_size} bytes; at most {MAX_BYTES} are read")
        return path.read_bytes(), None
    except OSError as error:
        return b"", Problem("unreadable", "", f"the file cannot be read: {error.strerror}")
