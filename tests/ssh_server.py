"""A real sshd on loopback, for tests, with keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from typing_extensions import Self

KEYS = ("host", "user", "stranger", "without_rsync")


class SshServer:
    """The server, while it is used as a context manager.

    Args:
        folder: Where its keys and settings lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @staticmethod
    def tool(name: str) -> str | None:
        """Path of a program, also of those of the administrator."""
        return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

    def __enter__(self) -> Self:
        for name in KEYS:
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name]
            subprocess.run(key, check=True)
        public = {name: (self.folder / f"{name}.pub").read_text() for name in KEYS}
        (self.folder / "authorized").write_text(f'{public["user"]}command="no-rsync-is-here" {public["without_rsync"]}')
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {public['host']}")
        (self.folder / "nothing_known").touch()
        settings = f"""
ListenAddress 127.0.0.1:{self.port}
HostKey {self.folder}/host
AuthorizedKeysFile {self.folder}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
        (self.folder / "sshd_config").write_text(settings)
        with suppress(OSError):
            Path("/run/sshd").mkdir(exist_ok=True)  # which a system without an init lacks
        self._process = subprocess.Popen(
            [self.tool("sshd"), "-D", "-e", "-f", self.folder / "sshd_config"], stderr=subprocess.PIPE, text=True
        )
        self._lines = []
        for line in self._process.stderr:
            self._lines.append(line.strip())
            if "Server listening" in line:
                break
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stderr.close()

    def said(self) -> str:
        """What the server said before it listened, or ended."""
        return " ".join(self._lines)

    def lets_in(self) -> bool:
        """Whether one can log in."""
        words = [*self.command().split(), "-o", "BatchMode=yes", "-p", str(self.port), "127.0.0.1", "true"]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def command(self, key: str = "user", known: str = "known") -> str:
        """The command for ssh, with a key of the tests and nothing of the user's."""
        options = {
            "IdentityFile": self.folder / key,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self.folder / known,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        }
        return " ".join(["ssh", "-F", "none", *(f"-o {name}={value}" for name, value in options.items())])

    def address(self, path: Path | str) -> str:
        """Address of a folder of this machine, as if it were another."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"
