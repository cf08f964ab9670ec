"""Find links among the files of a lake: a lake ends at its folder, and no reader or writer follows a link out of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from groundlake.layout import PartName
from groundlake.schemas import TABLES
from groundlake.views import QUARANTINE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator


def links(root: Path) -> Iterator[Path]:
    """Yield each link where a folder of a lake should be, or a part."""
    for name, table in TABLES.items():
        yield from _links(root / name, len(table.keys()))
    if (root / QUARANTINE_FOLDER).is_symlink():
        yield root / QUARANTINE_FOLDER


def _links(folder: Path, levels: int) -> Iterator[Path]:
    """Yield the links in a folder that has so many levels of folders below it, itself first."""
    if folder.is_symlink():
        yield folder
        return
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if levels and "=" in entry.name:
            yield from _links(folder / entry.name, levels - 1)
        elif not levels and PartName.parse(entry.name) and entry.is_symlink():
            yield Path(entry.path)
