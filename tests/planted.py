"""Trees of files in the place of a machine's `/proc` and `/sys`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write files, by their paths below the root, as a kernel shows them."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root
