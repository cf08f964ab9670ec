"""Set damaged files aside, so that everything else can be read again, and misplaced ones back. Nothing is deleted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from groundlake.commit import environment_error, publish, sync_folders
from groundlake.parts import Staged
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
    """A file that was moved: where it was, where it is, and whether that is its own place or the quarantine."""

    was: Path
    now: Path
    back: bool = False


def repair(root: Path, findings: Iterable[Finding]) -> list[Moved]:
    """Move every damaged file out of the tables, to the same path below `_quarantine/parts`, and misplaced ones back.

    Runs whose rows lay in a damaged file are still shown, and `check` names them, until the file is restored from a
    copy or the runs are withdrawn.

    Args:
        root: The lake.
        findings: What checks found. Of a link, it is the link that is moved, not what it leads to; a folder in place of
            a part is moved with what lies in it.

    Raises:
        LakeEnvironmentError: A file may not be moved; those before it were.
    """
    refuse_link(root / QUARANTINE_FOLDER)
    found = list(findings)
    moved = []
    for finding in found:
        was = Path(finding.where)
        if finding.code in SET_ASIDE and os.path.lexists(was):
            now = _aside(root, was)
            moved += [Moved(was, now)] if now else []
    return moved + _put_back(root, [move for finding in found for move in finding.moves])


def _put_back(root: Path, moves: list[tuple[Path, Path]]) -> list[Moved]:
    """Move files to their own places. One whose place another one of them has waits in the quarantine for it."""
    direct, waiting = [], []
    others = {was for was, _ in moves}
    for was, home in moves:
        if home in others and home.exists():
            now = _aside(root, was)
            waiting += [(was, now, home)] if now else []
        else:
            direct.append((was, was, home))
    moved = []
    for was, now, home in (*direct, *waiting):
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            publish(Staged(now, home))
            sync_folders([now.parent, home.parent], root)
        except (FileNotFoundError, FileExistsError):
            moved += [Moved(was, now)] if now != was else []
            continue  # somebody was quicker; nothing is ever replaced
        except OSError as error:
            raise environment_error(error, root) from error
        moved.append(Moved(was, home, back=True))
    return moved


def _aside(root: Path, was: Path) -> Path | None:
    """Move a file to the quarantine; None where it is gone, as a compaction was quicker, or another repair."""
    now = _free(root / QUARANTINE_FOLDER / FOLDER / was.relative_to(root))
    try:
        now.parent.mkdir(parents=True, exist_ok=True)
        was.rename(now)
        sync_folders([was.parent, now.parent], root)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise environment_error(error, root) from error
    return now


def _free(path: Path) -> Path:
    """Return the path, or one with a number behind it where something lies there from before."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free
