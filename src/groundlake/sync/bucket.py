"""A lake in object storage, as a sync sees it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from groundlake.commit import FULL, SENDING_THREADS, environment_error, failures
from groundlake.errors import LakeEnvironmentError, LakeNotFoundError
from groundlake.places import HOW_TO_REACH, reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence


class BucketPlace:
    """A lake below a prefix.

    Args:
        root: The prefix.
    """

    local = None

    def __init__(self, root: Path) -> None:
        self.root = root
        remote = cast("Any", root)
        self._files, self._prefix = remote.fs, str(remote.path).rstrip("/")

    def __str__(self) -> str:
        return str(self.root)

    def files(self, folders: Collection[str]) -> dict[str, int]:
        """Sizes of the objects below some folders, by their names: a request for each thousand."""
        if not reachable(self.root):
            raise LakeNotFoundError(f"no lake at {self.root}: nothing lies below this prefix")
        below = f"{self._prefix}/{next(iter(folders))}" if len(folders) == 1 else self._prefix
        try:
            found = self._files.find(below, detail=True)
        except failures(self.root) as error:
            raise LakeEnvironmentError(f"{self.root} cannot be read: {error}\n{HOW_TO_REACH}") from error
        sizes = {path[len(self._prefix) + 1 :]: int(about["size"]) for path, about in found.items()}
        return {name: size for name, size in sizes.items() if name.partition("/")[0] in folders}

    def fetch(self, names: Sequence[str], into: Path) -> None:
        """Copy objects below a folder, several at a time."""
        for folder in {(into / name).parent for name in names}:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self._each(names, lambda name: self._files.get_file(f"{self._prefix}/{name}", str(into / name)))
        except FileNotFoundError:
            raise
        except failures(self.root) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise  # it is this machine that has no room
            raise LakeEnvironmentError(f"{self.root} cannot be read: {error}\n{HOW_TO_REACH}") from error

    def put(self, names: Sequence[str], base: Path) -> None:
        """Send files, several at a time. An object is there as a whole or not at all."""
        try:
            self._each(names, lambda name: self._files.put_file(str(base / name), f"{self._prefix}/{name}"))
        except failures(self.root) as error:
            raise environment_error(error, self.root) from error

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Make a folder among the temporary ones."""
        with TemporaryDirectory(prefix="groundlake-") as folder:
            yield Path(folder)

    @staticmethod
    def _each(names: Sequence[str], move: Callable[[str], object]) -> None:
        with ThreadPoolExecutor(SENDING_THREADS) as threads:
            for moved in [threads.submit(move, name) for name in names]:
                moved.result()
