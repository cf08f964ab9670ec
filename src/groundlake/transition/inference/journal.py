"""Keeps what came of each request until the lake has it, so that not even a killed process asks twice.

A journal is one file beside the group's results, `.journal-<budget id>.jsonl`: a line about the run, then a line for
each request, as it ends. Its run id is decided when it begins, so that the lake takes its lines once, however often
they are brought in.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from groundlake.commit import environment_error
from groundlake.errors import CorruptLakeError, LakeEnvironmentError, UsageError
from groundlake.transition.configuration.settings import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import TextIOWrapper
    from pathlib import Path

    from typing_extensions import Self

PREFIX, SUFFIX = ".journal-", ".jsonl"
LOCK: Final = ".asking-"
"""How the name of the file begins that is locked in a lake while a group is asked."""
CANNOT_LOCK: Final = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)
"""What disks say that have no locks; some of a network have none of folders."""
VERSION: Final = 1
Rows = dict[str, list[dict[str, Any]]]
"""What came of requests: rows by the name of their table, as JSON can hold them."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a journal holds.

    Attributes:
        path: Its file.
        head: What it says of the run.
        outcomes: What came of each request that ended.
    """

    path: Path
    head: Mapping[str, Any]
    outcomes: tuple[Rows, ...]


class Journal:
    """A journal that is written, within `with`.

    Args:
        folder: Of the group's results.
        budget_id: What is asked.
        head: What is known of the run before the first request.
    """

    def __init__(self, folder: Path, budget_id: str, head: Mapping[str, Any]) -> None:
        self.path = folder / f"{PREFIX}{budget_id}{SUFFIX}"
        self._head = head
        self._file: TextIOWrapper | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self.path.open("x", encoding="utf-8")
        except OSError as error:
            raise environment_error(error, self.path, FOLDER) from error
        self._write({"version": VERSION, **self._head})
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, outcome: Rows) -> None:
        """Keep what came of a request: a process that is killed afterwards has not lost it.

        Raises:
            LakeEnvironmentError: It cannot be written.
        """
        self._write(outcome)

    def _write(self, value: Mapping[str, Any]) -> None:
        if self._file is None:
            raise UsageError("the journal is not open")
        try:
            self._file.write(json.dumps(value, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise environment_error(error, self.path, FOLDER) from error


def left_behind(folder: Path) -> list[Path]:
    """Return the journals that a process which was killed has left."""
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))


def read(path: Path) -> Kept | None:
    """Read a journal; None where not even its first line was written.

    The last line may be torn: its request is asked again.

    Raises:
        CorruptLakeError: Another line is, or it was written by another version.
    """
    lines = path.read_bytes().split(b"\n")
    whole = lines[:-1]  # what stands behind the last end of a line was being written
    if not whole:
        return None
    try:
        head, *outcomes = [json.loads(line) for line in whole]
        version = head.pop("version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(path, str(error)) from None
    if version != VERSION:
        raise _unreadable(path, f"version {version}, this program reads {VERSION}")
    return Kept(path=path, head=head, outcomes=tuple(outcomes))


@contextmanager
def one_process(folder: Path, root: Path, exp_group_id: str) -> Iterator[None]:
    """Let no other process ask for a group inside the block.

    Two places are held. In the folder of the results are the journals; and the lake may be asked for by a process that
    has its results elsewhere, in another working directory for example.

    Args:
        folder: Of the group's results; it is made when it is missing.
        root: Of the lake; a file in it is locked, and stays there, empty.
        exp_group_id: The group.

    Raises:
        UsageError: Another one does.
        LakeEnvironmentError: Folder or lake cannot be written, or lie on a disk that cannot lock.
    """
    with ExitStack() as held:
        with _told(folder, FOLDER):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(_locked(folder, os.O_RDONLY, exp_group_id))
        lock = root / f"{LOCK}{exp_group_id}"
        with _told(lock, "--root"):
            held.enter_context(_locked(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, exp_group_id))
        yield


@contextmanager
def _told(path: Path, another: str) -> Iterator[None]:
    """Tell an error of the operating system in words, and what chooses another place."""
    try:
        yield
    except OSError as error:
        if error.errno in CANNOT_LOCK:
            raise LakeEnvironmentError(
                f"cannot lock {path}: {error.strerror}\n"
                "  this disk, of a network perhaps, has no locks, and two processes at a time would ask everything "
                "twice: choose another one"
            ) from error
        raise environment_error(error, path, another) from error


@contextmanager
def _locked(path: Path, flags: int, exp_group_id: str) -> Iterator[None]:
    """Hold the lock of a file or folder until the block ends, or the process does."""
    descriptor = os.open(path, flags, 0o666)
    if flags & os.O_CREAT:
        with suppress(OSError):  # it is another user's
            os.fchmod(descriptor, 0o666)  # whatever the umask: who may write the lake may ask
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(
            f"group {exp_group_id}: another process is asking for it (it holds {path})\n"
            "  wait until it has ended; two at a time would ask everything twice"
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    try:
        yield
    finally:
        os.close(descriptor)


def _unreadable(path: Path, why: str) -> CorruptLakeError:
    return CorruptLakeError(
        f"{path}: this journal of a run that was killed cannot be read: {why}\n"
        "  move it away to go on without it: its requests are asked again"
    )
