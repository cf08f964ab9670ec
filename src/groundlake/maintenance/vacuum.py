"""Remove what no reader can see: leftovers of crashes, orphans, and parts that a compaction has superseded."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from stat import S_ISREG
from typing import TYPE_CHECKING

from groundlake.commit import SHORTEST_GRACE_S, environment_error
from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.layout import PartName, anchor_folders, decode_key, is_unpublished
from groundlake.ledger import live_statements
from groundlake.maintenance.ledger_files import forget_places
from groundlake.maintenance.links import links
from groundlake.maintenance.succession import TOLD, still_needed
from groundlake.places import refuse_link
from groundlake.schemas import FACT_TABLES, TABLES

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import polars as pl

    from groundlake.ledger import Ledger
    from groundlake.maintenance.ledger_files import Forgotten
    from groundlake.schemas import Table

    FoundFile = tuple[type[Table], Path, os.stat_result]

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
class Needed:
    """Superseded files of one hardware id that hold rows which are lost where the ledger says that they lie now.

    Attributes:
        hardware_id: Whose.
        paths: The files.
        why: What is wrong with the part that succeeded one of them.
    """

    hardware_id: str
    paths: tuple[Path, ...]
    why: str


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum found.

    Attributes:
        removed: Files that are gone, or would be.
        kept: Files that are dead and too young to go.
        without_ledger: Fact files of hardware ids that have no ledger at all. They are never removed: their ledger may
            have been lost.
        elsewhere: Fact files that only the ledger of another hardware id names. They are never removed: a file of the
            ledger may lie in the wrong folder.
        needed: Superseded files that stay, because what succeeded them is damaged.
        forgotten: Statements about empty places that left the ledgers, or would.
    """

    removed: tuple[Dead, ...]
    kept: tuple[Dead, ...]
    without_ledger: tuple[Path, ...]
    elsewhere: tuple[Path, ...] = ()
    needed: tuple[Needed, ...] = ()
    forgotten: tuple[Forgotten, ...] = ()


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
    ledgers = {name: ledger.all_rows(name).select(TOLD) for name in ledger.hardware_ids()}
    dead, without_ledger, elsewhere = _sort_out(root, files, ledgers)
    old = [each for each in dead if each.age_s >= older_than_s]
    needed = _needed(root, old, ledgers)
    stay = {path for each in needed for path in each.paths}
    old = [each for each in old if each.path not in stay]
    if not dry_run:
        try:
            for each in old:
                each.path.unlink(missing_ok=True)
        except OSError as error:
            raise environment_error(error, root) from error
    removed = {each.path for each in old}
    left = {_part_of(path) for _, path, _ in files if path not in removed}
    return Vacuumed(
        tuple(old),
        tuple(each for each in dead if each.age_s < older_than_s),
        tuple(without_ledger),
        tuple(elsewhere),
        needed,
        tuple(_forget_empty_places(root, ledger, ledgers, left, dry_run=dry_run)),
    )


def _forget_empty_places(
    root: Path, ledger: Ledger, ledgers: Mapping[str, pl.DataFrame], left: set[str], *, dry_run: bool
) -> Iterator[Forgotten]:
    """Drop the statements of the ledgers whose rows were placed anew, and of whose old place no file is left.

    They do no harm. On a full disk, which a vacuum is to help, they stay until the next one.
    """
    for name, statements in ledgers.items():
        with suppress(LakeEnvironmentError):
            forgotten = forget_places(root, ledger, name, set(statements["part"]) - left, dry_run=dry_run)
            if forgotten:
                yield forgotten


def _needed(root: Path, old: Iterable[Dead], ledgers: Mapping[str, pl.DataFrame]) -> tuple[Needed, ...]:
    """Find the superseded files that are to go and hold the only copy of some rows: a merged part is damaged."""
    superseded: dict[str, list[Path]] = defaultdict(list)
    for each in old:
        if each.code == "superseded":
            superseded[_hardware_id(root, each.path)].append(each.path)
    needed = []
    for name, paths in superseded.items():
        whys = still_needed(root, name, ledgers[name], {_part_of(path) for path in paths})
        if whys:
            stay = tuple(path for path in paths if _part_of(path) in whys)
            needed.append(Needed(name, stay, whys[_part_of(stay[0])]))
    return tuple(needed)


def _sort_out(
    root: Path, files: Iterable[FoundFile], ledgers: Mapping[str, pl.DataFrame]
) -> tuple[list[Dead], list[Path], list[Path]]:
    """Tell the dead files from those that no ledger knows of their device, and those that another device's names."""
    parts = {name: _Parts.of(statements) for name, statements in ledgers.items()}
    named = frozenset[str]().union(*(each.known for each in parts.values()))
    now = time.time()
    dead: list[Dead] = []
    without_ledger: list[Path] = []
    elsewhere: list[Path] = []
    for table, path, status in files:
        known = parts.get(_hardware_id(root, path), _Parts())
        code = _why_dead(path, table, known)
        if code == "orphan" and not known.known:
            without_ledger.append(path)
        elif code == "orphan" and _part_of(path) in named:
            elsewhere.append(path)
        elif code is not None:
            age_s = max(0.0, now - max(status.st_mtime, status.st_ctime))  # a clock may have been set back
            dead.append(Dead(path, code, status.st_size, age_s))
    return dead, without_ledger, elsewhere


def _files(root: Path) -> Iterator[FoundFile]:
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
            if not S_ISREG(status.st_mode):
                continue  # a folder or a pipe of such a name is not ours either
            if path.parent not in anchors or not is_part:
                yield table, path, status


def _part_of(path: Path) -> str:
    return path.name.partition(".")[0]


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
    part = _part_of(path)
    if part in parts.live:
        return None
    return "superseded" if part in parts.known else "orphan"
