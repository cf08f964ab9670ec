"""Set damaged files aside, so that everything else can be read again. Nothing is deleted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from groundlake.commit import environment_error, sync_folders
from groundlake.places import refuse_link
from groundlake.views import QUARANTINE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from groundlake.maintenance.integrity import Finding

SET_ASIDE = frozenset({"torn", "foreign", "tampered", "breaks_contract"})
"""Findings about one file that readers stumble over, or believe though they should not."""

FOLDER = "parts"
"""Folder of such files, in that of the quarantine, where no reader looks."""


@dataclass(frozen=True)
class Moved:
    """A file that was set aside: where it was, and where it is."""

    was: Path
    now: Path


def repair(root: Path, findings: Iterable[Finding]) -> list[Moved]:
    """Move every damaged file out of the tables, to the same path below `_quarantine/parts`.

    Runs whose rows lay in it are still shown, and `check` names them, until the file is restored from a copy or the
    runs are withdrawn.

    Args:
        root: The lake.
        findings: What checks found. Of a link, it is the link that is moved, not what it leads to; a folder in place of
            a part is moved with what lies in it.

    Raises:
        LakeEnvironmentError: A file may not be moved; those before it were.
    """
    refuse_link(root / QUARANTINE_FOLDER)
    moved = []
    for finding in findings:
        was = Path(finding.where)
        if finding.code not in SET_ASIDE or not os.path.lexists(was):
            continue
        now = _free(root / QUARANTINE_FOLDER / FOLDER / was.relative_to(root))
        try:
            now.parent.mkdir(parents=True, exist_ok=True)
            was.rename(now)
            sync_folders([was.parent, now.parent], root)
        except FileNotFoundError:
            continue  # a compaction was quicker, or another repair
        except OSError as error:
            raise environment_error(error, root) from error
        moved.append(Moved(was, now))
    return moved


def _free(path: Path) -> Path:
    """Return the path, or one with a number behind it where something lies there from before."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free
