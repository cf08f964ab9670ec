"""What a sync asks of the places it moves files between, whatever they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from groundlake.errors import UsageError
from groundlake.places import is_remote, place_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from contextlib import AbstractContextManager

SSH = "ssh://"

_SHORT_ADDRESS = re.compile(r"^(?P<host>[^/\s]+@[^/:\s]+):(?P<path>.+)$")


class Place(Protocol):
    """A lake in a folder, in object storage, or on another machine.

    Files are named by their path below the root, with `/`. Printed, a place is the address that a user gave.
    """

    @property
    def local(self) -> Path | None:
        """The root where it lies on this machine."""
        ...

    def files(self, folders: Collection[str]) -> dict[str, int]:
        """Sizes in bytes of the files below some folders of the root, by their names; links are refused.

        Raises:
            LakeNotFoundError: The root is not there.
            CorruptLakeError: There is a link.
            LakeEnvironmentError: The place cannot be reached or read.
        """
        ...

    def fetch(self, names: Sequence[str], into: Path) -> None:
        """Copy files to the same names below a folder of this machine.

        Raises:
            FileNotFoundError: One is gone: a compaction has merged it.
            LakeEnvironmentError: The place cannot be reached or read.
        """
        ...

    def put(self, names: Sequence[str], base: Path) -> None:
        """Publish files that lie below a folder of this machine: each whole or not at all, and none over another.

        When this returns they are there to stay.

        Raises:
            LakeEnvironmentError: They cannot be written.
        """
        ...

    def staging(self) -> AbstractContextManager[Path]:
        """Make a folder of this machine for files on their way here, which is removed again."""
        ...


def open_place(address: str | Path) -> Place:
    """Return the place that an address names: a folder, `s3://bucket/prefix`, or `ssh://user@host/path`.

    Raises:
        UsageError: It can be none of these.
        LakeEnvironmentError: It is in object storage, and what reads that is not installed.
        MissingDependencyError: It is on another machine, and rsync or ssh is not installed.
    """
    if str(address).lower().startswith(SSH):
        from groundlake.sync.ssh import SshPlace

        return SshPlace(str(address))
    short = _SHORT_ADDRESS.match(str(address)) if isinstance(address, str) else None
    if short and not Path(str(address)).exists():
        path = short["path"] if short["path"].startswith("/") else f"/~/{short['path']}"
        raise UsageError(f"{address}: no such folder; on another machine it is {SSH}{short['host']}{path}")
    root = place_of(address)
    if is_remote(root):
        from groundlake.sync.bucket import BucketPlace

        return BucketPlace(root)
    from groundlake.sync.folder import FolderPlace

    return FolderPlace(root)
