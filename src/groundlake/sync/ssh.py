"""A lake on another machine, reached by rsync over ssh: nothing of groundlake need be installed there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import weakref
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING

from groundlake.errors import (
    CorruptLakeError,
    LakeEnvironmentError,
    LakeNotFoundError,
    MissingDependencyError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_ADDRESS = re.compile(
    r"^ssh://(?:(?P<user>[A-Za-z0-9_.][A-Za-z0-9_.-]*)@)?(?P<host>[A-Za-z0-9_.][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)$",
    re.IGNORECASE,
)
_LISTED = re.compile(r"^(?P<kind>[-a-z])\S{9,} +(?P<size>[0-9]+) \d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?P<name>.+)$")

CONNECT_S = 15
"""Seconds until a machine that does not answer is told."""

IDLE_S = 10
"""Seconds after which an idle connection is closed."""

LONGEST_SOCKET = 80
"""Characters of a folder for sockets, beyond which their paths are longer than the system takes."""

NOT_ALL_MOVED = (23, 24)
"""Exit codes of rsync where files were not there, or vanished."""


class SshPlace:
    """A lake on another machine.

    `LAKE_SSH` names the command for ssh, where it is not `ssh`, with options: `ssh -J gateway`, `ssh -i key`.

    Args:
        address: `ssh://user@host:port/path`; user and port may be left out, `/~/path` begins in the user's home.
    """

    local = None

    def __init__(self, address: str) -> None:
        named = _ADDRESS.match(address)
        path = named["path"].rstrip("/").removeprefix("/~/") if named else ""
        if not named or not path or re.search(r"[\0\r\n]", path):
            raise UsageError(f"{address}: another machine is named as ssh://user@host/path, with a :port where needed")
        if shutil.which("rsync") is None:
            raise MissingDependencyError(f"{address}: rsync is not installed here; apt install rsync")
        self._address = address.rstrip("/")
        self._host = f"{named['user']}@{named['host']}" if named["user"] else named["host"]
        self._path = path
        options = ["BatchMode=yes", f"ConnectTimeout={CONNECT_S}", f"ServerAliveInterval={CONNECT_S}"]
        if named["port"]:
            options.append(f"Port={named['port']}")
        self._ssh = " ".join(
            [os.environ.get("LAKE_SSH") or "ssh", *(f"-o {each}" for each in (*options, *self._one_connection()))]
        )

    def __str__(self) -> str:
        return self._address

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self._path.rpartition("/")[2]

    def files(self, folders: Collection[str]) -> dict[str, int]:
        """Sizes of the files below some folders, by their names: one listing."""
        chosen = [f"--include=/{name}{below}" for name in sorted(folders) for below in ("", "/***")]  # "" for a link
        listing = self._rsync(["--list-only", "-r", "--no-human-readable", *chosen, "--exclude=*", self._remote()])
        found: dict[str, int] = {}
        for line in listing.splitlines():
            entry = _LISTED.match(line)
            if entry and entry["kind"] == "l":
                raise CorruptLakeError(
                    f"{self}/{entry['name'].partition(' -> ')[0]}: a link, which is not followed: a lake ends at its "
                    "folder\nput the file or folder itself there, or remove the link"
                )
            if entry and entry["kind"] == "-":
                found[entry["name"]] = int(entry["size"])
        return found

    def fetch(self, names: Sequence[str], into: Path) -> None:
        """Copy files below a folder, over one connection."""
        into.mkdir(parents=True, exist_ok=True)
        self._rsync(["-r", "--files-from=-", self._remote(), f"{into}/"], names)

    def fetch_tree(self, pattern: str, into: Path) -> None:
        """Copy every file whose name fits a pattern below a folder."""
        fitting = ["--prune-empty-dirs", "--include=*/", f"--include={pattern}", "--exclude=*"]
        self._rsync(["-rt", *fitting, self._remote(), f"{into}/"])

    def put(self, names: Sequence[str], base: Path) -> None:
        """Send files over one connection; rsync gives each its name when it is there as a whole."""
        sent = ["-r", "--ignore-existing", "--files-from=-", f"{base}/", self._remote()]
        try:
            self._rsync(["--fsync", *sent], names)
        except _UnknownOptionError:  # before rsync 3.2.4, which leaves the time to the system
            self._rsync(sent, names)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Make a folder among the temporary ones."""
        with TemporaryDirectory(prefix="groundlake-") as folder:
            yield Path(folder)

    def _one_connection(self) -> list[str]:
        """Options by which all that is asked shares a connection: it is agreed on once, a key is touched once."""
        folder = mkdtemp(prefix="lake-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        if len(folder) > LONGEST_SOCKET:
            return []
        return ["ControlMaster=auto", f"ControlPath={folder}/s", f"ControlPersist={IDLE_S}"]

    def _remote(self) -> str:
        return f"{self._host}:{self._path}/"

    def _rsync(self, arguments: Sequence[str], names: Sequence[str] = ()) -> str:
        """Run rsync, with names of files on its input; return what it prints.

        `-s` keeps the path from the shell of the other machine.
        """
        done = subprocess.run(  # noqa: S603 - the address was checked, and no shell reads the arguments
            ["rsync", "-s", "-e", self._ssh, *arguments],  # noqa: S607 - the user's rsync
            input="".join(f"{name}\n" for name in names),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        if done.returncode:
            self._refuse(done.returncode, done.stderr)
        return done.stdout

    def _refuse(self, code: int, said: str) -> None:
        """Raise what a failed rsync means."""
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith("rsync error:")]
        if re.search(r"fsync: unknown option", said):
            raise _UnknownOptionError
        if re.search(r"change_dir .* failed: No such file or directory", said):
            raise LakeNotFoundError(f"no lake at {self}: there is no such folder")
        if code in NOT_ALL_MOVED and re.search(r"No such file|vanished", said):
            raise FileNotFoundError(next(line for line in lines if re.search(r"No such file|vanished", line)))
        known = ((line, what) for sign, what in _ADVICE for line in lines if re.search(sign, line))
        otherwise = (
            lines[-1] if lines else f"rsync ended with code {code}",
            "mend the cause; the same command goes on",
        )
        reason, advice = next(known, otherwise)
        raise LakeEnvironmentError(f"{self}: {reason}\n{advice.format(host=self._host)}")


class _UnknownOptionError(Exception):
    """An rsync is too old for an option."""


_SILENT = (
    r"Connection refused|timed out|No route to host|Network is unreachable|Connection (reset|closed)|not responding"
)

_ADVICE = (
    (r"Host key verification failed", "its key is not known, or another: `ssh {host}` by hand shows it and asks"),
    (r"Permission denied \(", "no key of yours is accepted there, and no password is asked for: `ssh-copy-id {host}`"),
    (r"Could not resolve hostname", "check the name of the machine, or the network"),
    (_SILENT, "the machine does not answer: is it on, and does sshd run there? then the same command goes on"),
    (r"not found", "rsync is missing on that machine: apt install rsync there"),
    (r"No space left|quota exceeded", "the disk is full: free some space; the same command goes on"),
    (r"mkdir .* failed: No such file", "the folder above it is missing there: make it first"),
    (r"Permission denied|Read-only file system", "check who owns the folder, and whether it may be written"),
)
"""What ssh or rsync says, and what to do about it; the first that fits."""
