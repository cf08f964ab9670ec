"""Put immutable files on disk: stage, fsync, publish. Nothing is ever written in place or over another file.

A crash leaves either nothing, a leftover `*.tmp`, or a complete file; never a torn part with a final name.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import Self

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.layout import STAGED_SUFFIX, PartName, anchor_path, leaf_folder, new_id, while_written
from groundlake.parts import Staged, known_of, stage_part, stage_stream
from groundlake.places import HOW_TO_REACH, is_remote, refuse_link
from groundlake.schemas import Runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    import pyarrow as pa

    from groundlake.parts import StagedFile
    from groundlake.schemas import Table

SHORTEST_GRACE_S = 600.0
"""Age from which a file that no run points at may be removed, at the earliest. A writer gives up after half of it."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where there is such a clock."""

FILES_WORTH_THREADS = 8
STAGING_THREADS = 4
SENDING_THREADS = 8

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a disk that has no room."""

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


class Commit:
    """Files staged together and published in the order they were staged; the last one is the commit.

    Used as a context manager: what was not published when the block ends in an error is removed again.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staged: list[Staged] = []
        self._here = TemporaryDirectory(prefix="groundlake-") if is_remote(root) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._undo()
        if self._here:
            self._here.cleanup()
        if isinstance(error, failures(self._root)):
            raise environment_error(error, self._root) from error

    def stage(
        self, table: type[Table], part: str, leaves: Iterable[tuple[Mapping[str, object], pa.Table]]
    ) -> list[StagedFile]:
        """Write the rows of each leaf folder beside their final place, and sync them to disk.

        Args:
            table: Contract that the rows have met.
            part: Id of the files.
            leaves: Key values of each folder, and the rows as the file holds them.

        Returns:
            What there is to know of each file, in the order of the folders.
        """
        places = [(self._place(table, part, keys), rows) for keys, rows in leaves]
        # Names are noted first, so that an error undoes them all.
        staged = [place for place, _ in places]
        self._staged += staged
        if len(places) < FILES_WORTH_THREADS:
            for place, rows in places:
                stage_part(place.temporary, rows)
            return [self._known(each) for each in staged]
        with ThreadPoolExecutor(STAGING_THREADS) as threads:  # encoding and fsync release the interpreter's lock
            for done in [threads.submit(stage_part, place.temporary, rows) for place, rows in places]:
                done.result()
            return list(threads.map(self._known, staged))

    def stage_stream(
        self, table: type[Table], part: str, keys: Mapping[str, object], rows: Iterable[pa.Table]
    ) -> StagedFile | None:
        """Write one file from tables that come one after the other, of which a few are in memory at a time.

        Args:
            table: Contract that the rows have met.
            part: Id of the file.
            keys: Key values of its folder.
            rows: What the file will hold.

        Returns:
            What there is to know of the file; None where there were no rows, and so no file.
        """
        staged = self._place(table, part, keys)
        if not stage_stream(staged.temporary, rows):
            return None
        self._staged.append(staged)
        return self._known(staged)

    def _place(self, table: type[Table], part: str, keys: Mapping[str, object]) -> Staged:
        """Name a part: for now beside its final place, or on this machine where that is in object storage."""
        final = self._root / leaf_folder(table, keys) / PartName(part, table.version()).file_name
        if self._here:
            return Staged(Path(self._here.name) / f"{new_id()}{STAGED_SUFFIX}", final)
        for step in final.parents[: len(table.keys()) + 1]:
            refuse_link(step)
        final.parent.mkdir(parents=True, exist_ok=True)
        return Staged(while_written(final), final)

    def _known(self, staged: Staged) -> StagedFile:
        return known_of(staged.temporary, staged.final.relative_to(self._root).as_posix())

    def publish(self) -> None:
        """Give every staged file its final name, in order, then sync each folder once; the ledger file comes last.

        The folders of all fact files are synced before the first ledger file is published.

        Raises:
            LakeEnvironmentError: That took so long that a vacuum may have taken the facts for those of a dead writer.
        """
        ledger = [staged for staged in self._staged if self._is_ledger(staged)]
        facts = [staged for staged in self._staged if not self._is_ledger(staged)]
        began = time.clock_gettime(_CLOCK)
        for group in (facts, ledger):
            took_s = time.clock_gettime(_CLOCK) - began
            if took_s > SHORTEST_GRACE_S / 2:
                raise LakeEnvironmentError(
                    f"{self._root}: publishing {len(facts)} files took {took_s:.0f} s; a vacuum may have taken them "
                    "for those of a dead writer\nnothing was committed; run the command again"
                )
            if self._here:
                send(group)
                continue
            for staged in group:
                publish(staged)
            sync_folders((staged.final.parent for staged in group), self._root)
        self._staged.clear()

    def _is_ledger(self, staged: Staged) -> bool:
        return staged.final.relative_to(self._root).parts[0] == Runs.table_name()

    def _undo(self) -> None:
        # Once the ledger file has its name the run is committed, and its facts must stay whatever failed after that.
        # Otherwise what was published is invisible, so failing to remove it is no error; `lake check` lists what stays.
        published = [staged for staged in self._staged if staged.is_published()]
        committed = any(self._is_ledger(staged) for staged in published)
        for path in [staged.temporary for staged in self._staged] + [
            staged.final for staged in published if not committed
        ]:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def publish(staged: Staged) -> None:
    """Give a staged file its final name; an existing file of that name is never replaced."""
    try:
        os.link(staged.temporary, staged.final)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A file system without hard links: part ids are fresh, so the check below only guards against misuse.
        if staged.final.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(staged.final)) from error
        staged.temporary.rename(staged.final)
    else:
        staged.temporary.unlink()


def send(parts: Iterable[Staged]) -> None:
    """Put staged files into object storage; when this returns they are there as a whole, and to stay.

    An object of that name would be replaced, but the ids of parts are fresh.
    """
    with ThreadPoolExecutor(SENDING_THREADS) as threads:
        for sent in [threads.submit(_send, staged) for staged in parts]:
            sent.result()


def _send(staged: Staged) -> None:
    bucket = cast("Any", staged.final)
    bucket.fs.put_file(str(staged.temporary), bucket.path)
    staged.temporary.unlink()


def sync_folders(folders: Iterable[Path], root: Path) -> None:
    """Make the names in these folders, and the folders up to the root, survive a power cut."""
    wanted: set[Path] = set()
    for folder in folders:
        step = folder
        while step not in wanted:
            wanted.add(step)
            if step in (root, step.parent):
                break
            step = step.parent
    for folder in wanted:
        _sync_folder(folder)


def write_atomically(path: Path, content: bytes, another: str = "--root") -> None:
    """Write a small file as a whole: readers see the old content or the new, never a part of it.

    Args:
        path: The file; its folder is there.
        content: What it will hold.
        another: What chooses the folder, for the message where it cannot be written.

    Raises:
        LakeEnvironmentError: It cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{STAGED_SUFFIX}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        error.filename = None  # a temporary file, which nobody asked for
        raise environment_error(error, path, another) from error


def write_made_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that a program makes anew, each as a whole; nothing is written where one would be lost.

    A file that is there with the very same content stays, so that the same program may run again.

    Args:
        folder: Is made where it is not there.
        files: Content by name.

    Raises:
        UsageError: The folder is a file, or has files of these names with other content.
        LakeEnvironmentError: The folder cannot be read or written.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file, and a folder is wanted\n  give another folder")
        there = [name for name in files if os.path.lexists(folder / name)]
        others = [name for name in there if not _holds(folder / name, files[name])]
        if others:
            raise UsageError(
                f"{folder}: has {', '.join(others)} with other content, which would be lost; nothing was written\n"
                "  give another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise environment_error(error, folder, "folder") from error
    for name in files:
        if name not in there:
            write_atomically(folder / name, files[name], "folder")


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def ensure_anchor(root: Path, table: type[Table]) -> None:
    """Write the zero-row anchor of a table unless it is there; several writers may do so at once."""
    final = root / anchor_path(table)
    if final.exists():
        return
    if is_remote(root):
        with TemporaryDirectory(prefix="groundlake-") as here:
            anchor = Staged(Path(here) / final.name, final)
            stage_part(anchor.temporary, table.to_arrow(table.empty_frame()))
            send([anchor])
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    anchor = Staged(while_written(final.with_name(f"{new_id()}.{final.name}")), final)
    stage_part(anchor.temporary, table.to_arrow(table.empty_frame()))
    try:
        publish(anchor)
    except FileExistsError:
        pass  # another writer was quicker
    finally:
        anchor.temporary.unlink(missing_ok=True)
    sync_folders([final.parent], root)


def require_room(root: Path, room_bytes: int) -> None:
    """Raise unless files of this size can be written below a root, which need not exist yet; nothing is left behind.

    Whoever works for long before the first commit wants to know that before.

    Raises:
        LakeEnvironmentError: The disk is full, or may not be written.
    """
    if is_remote(root):
        return  # a bucket has room, or says so when it is asked to keep something
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            os.posix_fallocate(file.fileno(), 0, room_bytes)
    except OSError as error:
        error.filename = None  # a temporary file, which means nothing to the user
        raise environment_error(error, root) from error


def failures(root: Path) -> tuple[type[Exception], ...]:
    """Return what is raised where a place cannot be written."""
    if not is_remote(root):
        return (OSError,)
    from botocore.exceptions import BotoCoreError

    return (OSError, BotoCoreError)


def environment_error(error: Exception, where: Path, another: str = "--root") -> LakeEnvironmentError:
    """Translate an error of the operating system into one that says what to do; `another` chooses the place."""
    if is_remote(where) or not isinstance(error, OSError):
        return LakeEnvironmentError(
            f"cannot write {where}: {error}\nwhat was asked for last may not be committed\n{HOW_TO_REACH}"
        )
    advice = {
        errno.ENOSPC: "the disk is full: free some space and run the command again",
        errno.EDQUOT: "the quota is used up: free some space and run the command again",
        errno.EROFS: f"the file system is read-only: choose another {another}",
        errno.EACCES: f"no permission: check the owner of the folder, or choose another {another}",
        errno.ENOTDIR: f"a part of this path is a file: choose another {another}",
        errno.EPERM: f"no permission: check the owner of the folder, or choose another {another}",
    }
    reason = advice.get(error.errno or 0, "nothing was committed; mend the cause and run the command again")
    return LakeEnvironmentError(f"cannot write {error.filename or where}: {error.strerror or error}\n{reason}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
