"""Numbers that a kernel shows in files, read again and again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_NUMBER = 64


class NumberFile:
    """A file with one number, held open: a read costs a tenth of opening it anew, and a sensor has up to six files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = None

    def read(self) -> float | None:
        """Return the number now; None where the file cannot be read, or holds something else."""
        if self._descriptor is None:
            return None
        try:
            return float(os.pread(self._descriptor, LONGEST_NUMBER, 0))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
