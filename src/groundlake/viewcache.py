"""Keeps the views that every lake has alike in the user's cache: to bind them takes seconds, to copy them none."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from groundlake.layout import STAGED_SUFFIX, new_id

PREFIX = "views-"
KEPT = 4
"""Files that are kept: of so many versions of groundlake or DuckDB side by side."""


@dataclass(frozen=True)
class KeptViews:
    """A view file in the cache. That it cannot be read or written is no error: the views are bound again.

    Attributes:
        path: Where it lies; None where there is no place for a cache.
    """

    path: Path | None

    @classmethod
    def of(cls, name: str) -> KeptViews:
        """Find the file of this name: in `$XDG_CACHE_HOME/groundlake`, or `~/.cache/groundlake`."""
        try:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:  # no home
            return cls(None)
        return cls(cache / "groundlake" / f"{PREFIX}{name}.db")

    def copy_to(self, path: Path) -> bool:
        """Copy it to a place where nothing is; return whether it is there now."""
        if self.path is None or not self.path.is_file():
            return False
        try:
            shutil.copyfile(self.path, path)
        except OSError:
            path.unlink(missing_ok=True)
            return False
        return True

    def keep(self, path: Path) -> None:
        """Keep a copy of this file, and no more than a few of others."""
        if self.path is None:
            return
        staged = self.path.with_name(f"{self.path.name}.{new_id()}{STAGED_SUFFIX}")
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, staged)
            staged.replace(self.path)
            others = sorted(self.path.parent.glob(f"{PREFIX}*.db"), key=lambda each: each.stat().st_mtime)
            for old in others[:-KEPT]:
                old.unlink(missing_ok=True)
        with suppress(OSError):
            staged.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove it: it is damaged."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
