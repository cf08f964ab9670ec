"""Object storage as DuckDB reads it: one listing for a glob, and one request for a part of the usual size."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFile

if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE_BYTES = 8 * 2**20
"""Parts up to this size are fetched at once: a footer, then columns, would be a request each."""

KEPT_FILES = 32

_WILD = re.compile(r"[*?\[]")


class BucketFiles(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """What DuckDB asks of a file system, answered by another.

    That one lists a glob folder by folder, which takes a request for each configuration of a lake, and asks for the
    size of each file before it opens it, several times. Here a glob is a listing of all that lies below its fixed part,
    a request for a thousand files, and tells what there is to know of them: parts never change.

    Args:
        files: The file system of the bucket.
    """

    protocol = "s3"
    cachable = False  # fsspec would keep one for all arguments that print alike

    def __init__(self, files: Any) -> None:  # noqa: ANN401 - fsspec has no types
        super().__init__()
        self._files = files
        self._known: dict[str, dict[str, Any]] = {}
        self._fetched = lru_cache(maxsize=KEPT_FILES)(self._fetch)  # DuckDB opens a file several times

    def glob(self, path: str, **_: Any) -> list[str]:  # noqa: ANN401 - fsspec's signature
        """Paths that match a pattern, sorted."""
        path = self._strip_protocol(path)
        if not _WILD.search(path):
            return [path] if self._files.exists(path) else []
        wanted = re.compile("/".join(map(_as_regex, path.split("/"))))
        return sorted(name for name in self._listed(path[: _WILD.search(path).start()]) if wanted.fullmatch(name))  # type: ignore[union-attr] # searched above

    def _listed(self, fixed: str) -> Iterator[str]:
        """Files below the folder that the fixed part of a pattern ends in."""
        folder = fixed.rpartition("/")[0]
        found = self._files.find(folder, detail=True)
        self._known |= found
        yield from found

    def info(self, path: str, **_: Any) -> dict[str, Any]:  # noqa: ANN401 - fsspec's signature
        """Size, kind and age of a file."""
        path = self._strip_protocol(path)
        told: dict[str, Any] = self._known.get(path) or self._files.info(path)
        return told

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: ANN401 - fsspec's signature
        """What lies in a folder."""
        found: list[Any] = self._files.ls(self._strip_protocol(path), detail=detail)
        return found

    def modified(self, path: str) -> Any:  # noqa: ANN401 - a time
        """When a file was written."""
        return self.info(path)["LastModified"]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:  # noqa: ANN401 - a file
        path = self._strip_protocol(path)
        if int(self.info(path)["size"]) > WHOLE_BYTES:
            return self._files.open(path, mode)
        return MemoryFile(self, path, self._fetched(path))

    def _fetch(self, path: str) -> bytes:
        """Content of a file. With both ends given, the bucket is not asked for the size first."""
        content: bytes = self._files.cat_file(path, start=0, end=int(self.info(path)["size"]))
        return content


def _as_regex(part: str) -> str:
    """One part of a path as a regular expression; a wildcard does not go beyond it."""
    tokens = re.findall(r"\[!?[^\]]+\]|.", part)
    known = {"*": "[^/]*", "?": "[^/]"}
    return "".join(
        f"[^{token[2:-1]}]"
        if token.startswith("[!")
        else token
        if token.startswith("[") and len(token) > 1
        else known.get(token, re.escape(token))
        for token in tokens
    )
