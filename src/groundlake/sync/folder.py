"""A lake in a folder, as a sync sees it."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from groundlake.commit import FULL, environment_error, publish, sync_folders
from groundlake.errors import CorruptLakeError, LakeEnvironmentError, LakeNotFoundError
from groundlake.layout import STAGED_SUFFIX
from groundlake.parts import Staged
from groundlake.places import refuse_link

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

STAGING_PREFIX = ".incoming-"
"""Begins the name of a folder in a lake with files on their way into it; no table has such a name."""


class FolderPlace:
    """A lake in a folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    @property
    def local(self) -> Path:
        """The folder."""
        return self.root

    def files(self, folders: Collection[str]) -> dict[str, int]:
        """Sizes of the files below some folders, by their names."""
        if not self.root.is_dir():
            raise LakeNotFoundError(f"no lake at {self.root}: there is no such folder")
        found: dict[str, int] = {}
        for name in sorted(folders):
            refuse_link(self.root / name)
            _list(self.root / name, name, found)
        return found

    def fetch(self, names: Sequence[str], into: Path) -> None:
        """Copy files below another folder."""
        for name in names:
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / name, target)

    def put(self, names: Sequence[str], base: Path) -> None:
        """Move files here from the staging folder: synced first, then by a link, which replaces nothing."""
        finals = [self.root / name for name in names]
        try:
            for name, final in zip(names, finals, strict=True):
                for step in list(final.parents)[: name.count("/")]:
                    refuse_link(step)
                final.parent.mkdir(parents=True, exist_ok=True)
                _sync_file(base / name)
                try:
                    publish(Staged(base / name, final))
                except FileExistsError as error:  # another sync was quicker, with the same file
                    if final.stat().st_size != (base / name).stat().st_size:
                        raise CorruptLakeError(f"{final} came into being meanwhile, with other content") from error
            sync_folders({final.parent for final in finals}, self.root)
        except OSError as error:
            raise environment_error(error, self.root, "destination") from error

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Make a folder inside of the lake, on its file system; one that a killed sync left behind is removed."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self.root)
            folder = self.root / mkdtemp(prefix=STAGING_PREFIX, suffix=STAGED_SUFFIX, dir=self.root)
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise environment_error(error, self.root, "destination") from error
        try:
            _lock(descriptor)
            yield folder
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise environment_error(error, self.root, "destination") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _list(folder: Path, name: str, found: dict[str, int]) -> None:
    """Note the files below a folder; what vanishes meanwhile was merged, or never published."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    refuse_link(folder / entry.name)
                elif entry.is_dir():
                    _list(folder / entry.name, f"{name}/{entry.name}", found)
                else:
                    with suppress(FileNotFoundError):
                        found[f"{name}/{entry.name}"] = entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise LakeEnvironmentError(f"cannot read {folder}: {error.strerror or error}") from error


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(root: Path) -> None:
    """Remove the staging folders that no process holds: those who made them were killed."""
    for folder in root.glob(f"{STAGING_PREFIX}*{STAGED_SUFFIX}"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Hold a staging folder while this process lives; a file system without locks never takes one for abandoned."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
