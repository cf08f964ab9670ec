"""Remove what no reader can see: leftovers of crashes, orphans, and parts that a compaction has superseded."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.commit import SHORTEST_GRACE_S, environment_error
from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.layout import PartName, anchor_folders, decode_key, is_unpublished
from groundlake.ledger import live_statements
from groundlake.maintenance.ledger_files import compact_ledger
from groundlake.maintenance.links import links
from groundlake.places import refuse_link
from groundlake.schemas import FACT_TABLES, TABLES

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import polars as pl

    from groundlake.ledger import Ledger
    from groundlake.schemas import Table

GRACE_S = 7 * 24 * 3600.0
"""Age from which a file goes, where no other is given."""


@dataclass(frozen=True)
class Dead:
    """A file that no reader can see.

    Attributes:
        path: The file.
        code: `leftover` (never published), `orphan` (its writer never committed) or `superseded` (its rows are in
            another part by now).
        size_bytes: Its size.
        age_s: Seconds since it came to its place or was changed.
    """

    path: Path
    code: str
    size_bytes: int
    age_s: float


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum found.

    Attributes:
        removed: Files that are gone, or would be.
        kept: Files that are dead and too young to go.
        without_ledger: Fact files of hardware ids that have no ledger at all. They are never removed: their ledger may
            have been lost.
    """

    removed: tuple[Dead, ...]
    kept: tuple[Dead, ...]
    without_ledger: tuple[Path, ...]


def vacuum(
    root: Path, ledger: Ledger, *, older_than_s: float = GRACE_S, dry_run: bool = False, nobody_writes: bool = False
) -> Vacuumed:
    """Remove the files that no reader can see, and that are older than a grace period, in one burst.

    A query that runs meanwhile may fail, as its file list names a file that is gone; it never answers wrongly, and
    `Lake` asks again by itself.

    Args:
        root: The lake.
        ledger: Reader of its ledger.
        older_than_s: The grace period. Age is that of the later of two clocks: a copy that kept its old time of change
            is as young as its arrival.
        dry_run: Remove nothing.
        nobody_writes: No writer and no compaction is at work, on any machine: a shorter grace period is safe.

    Raises:
        UsageError: The grace period is too short for writers.
        CorruptLakeError: A link is among the files, or a part of the ledger cannot be read. Nothing was removed.
        LakeEnvironmentError: Files may not be removed.
    """
    if older_than_s < SHORTEST_GRACE_S and not (nobody_writes or dry_run):
        raise UsageError(
            f"--older-than {older_than_s:g}s: a writer at work could lose what it has not committed yet; the shortest "
            f"is {SHORTEST_GRACE_S / 60:g}m\nwhere no writer runs on any machine, give --nobody-writes with it"
        )
    for link in links(root):
        refuse_link(link)
    # Files before the ledger: what is committed in between is in the ledger, and not in the list.
    files = list(_files(root))
    parts = {name: _Parts.of(ledger.all_rows(name)) for name in ledger.hardware_ids()}
    now = time.time()
    dead, without_ledger = [], []
    for table, path, status in files:
        known = parts.get(_hardware_id(root, path), _Parts())
        code = _why_dead(path, table, known)
        if code == "orphan" and not known.known:
            without_ledger.append(path)
        elif code is not None:
            age_s = max(0.0, now - max(status.st_mtime, status.st_ctime))  # a clock may have been set back
            dead.append(Dead(path, code, status.st_size, age_s))
    old = tuple(each for each in dead if each.age_s >= older_than_s)
    if not dry_run:
        try:
            for each in old:
                each.path.unlink(missing_ok=True)
        except OSError as error:
            raise environment_error(error, root) from error
        _forget_places(root, ledger, {path.name.partition(".")[0] for _, path, _ in files}, old)
    return Vacuumed(old, tuple(each for each in dead if each.age_s < older_than_s), tuple(without_ledger))


def _forget_places(root: Path, ledger: Ledger, listed: set[str], removed: Iterable[Dead]) -> None:
    """Drop the statements of the ledger whose rows were placed anew, and of whose old place no file is left.

    They do no harm. On a full disk, which a vacuum is to help, they stay until the next one.
    """
    gone = {each.path.name.partition(".")[0] for each in removed if each.code == "superseded"}
    for name in ledger.hardware_ids():
        nowhere = {part for part in ledger.all_rows(name)["part"] if part not in listed}
        with suppress(LakeEnvironmentError):
            compact_ledger(root, ledger, name, 2, gone=gone | nowhere)


def _files(root: Path) -> Iterator[tuple[type[Table], Path, os.stat_result]]:
    """List the files of every table that have the name of a part, or of one that is being written."""
    for name, table in TABLES.items():
        anchors = [root / folder for folder in anchor_folders(table)]
        for path in sorted((root / name).rglob("*")) if (root / name).is_dir() else ():
            is_part = PartName.parse(path.name) is not None
            in_place = len(path.relative_to(root).parts) == len(table.keys()) + 2
            if not in_place or not (is_part or is_unpublished(path.name)):
                continue  # not ours: `check` names it, and nobody but its owner removes it
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if path.parent not in anchors or not is_part:
                yield table, path, status


def _hardware_id(root: Path, path: Path) -> str:
    return decode_key(path.relative_to(root).parts[1].partition("=")[2])


@dataclass(frozen=True)
class _Parts:
    """Parts that the ledger of one hardware id points at: some time or other, or at the newest place of a revision."""

    known: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()

    @classmethod
    def of(cls, statements: pl.DataFrame) -> _Parts:
        return cls(frozenset(statements["part"]), frozenset(live_statements(statements)["part"]))


def _why_dead(path: Path, table: type[Table], parts: _Parts) -> str | None:
    if is_unpublished(path.name):
        return "leftover"
    if table.table_name() not in FACT_TABLES:
        return None  # the ledger's own files are removed by those who merge them
    part = path.name.partition(".")[0]
    if part in parts.live:
        return None
    return "superseded" if part in parts.known else "orphan"
