"""A process that has imported `lake` already, and forks for each command: it saves a second of imports each time.

What runs is the real command line in a process of its own, with its own arguments, environment, folder and files. The
server is this file, run as a script; `WarmStart` is its client. A request is one connection to a socket: the two files
for stdout and stderr are sent along, and the answer is the process id, then its exit code.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import socket
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEPT = 3
_started: list[WarmStart] = []
MOST_BYTES = 2**20
IMPORTED_EARLY = ("groundlake.cli.app", "groundlake.store", "groundlake.viewfile", "pyarrow.parquet")


class WarmStart:
    """Runs commands of `lake` in forks of one process, which ends with this one.

    Args:
        environment: That in which it imports; only commands of the same one are like those that begin from nothing.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind("")  # Linux finds a name that no file has
        self._listening.listen()
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(self._listening.fileno())],
            env=self.environment,
            pass_fds=[self._listening.fileno()],
            stdin=subprocess.PIPE,
        )
        atexit.register(self.close)

    @classmethod
    def in_environment(cls, environment: Mapping[str, str]) -> WarmStart | None:
        """Return the one of an environment, begun by the first call; None where a fork is not possible, or not wanted.

        What is imported by a test may change the environment of all that come after it, so a few are kept.
        """
        if not hasattr(os, "pidfd_open") or "LAKE_TEST_COLD" in environment:
            return None
        found = next((each for each in _started if each.environment == dict(environment)), None) or cls(environment)
        others = [each for each in _started if each is not found]
        for old in others[KEPT - 1 :]:
            old.close()
        _started[:] = [found, *others[: KEPT - 1]]
        return found

    def run(self, arguments: list[str], folder: Path, output: IO[bytes], errors: IO[bytes], timeout_s: float) -> int:
        """Run `lake`; return its exit code, negative where a signal ended it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(self._listening.getsockname())
            request = json.dumps({"arguments": arguments, "folder": str(folder)}).encode()
            socket.send_fds(connection, [request], [output.fileno(), errors.fileno()])
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("r", encoding="utf-8")
            process_id = int(answer.readline())
            try:
                return int(answer.readline())
            except TimeoutError:
                os.kill(process_id, 9)
                raise

    def close(self) -> None:
        """End the process; commands that are under way go on."""
        atexit.unregister(self.close)
        self._listening.close()
        self._server.communicate()


def serve(listening: socket.socket) -> None:
    """Fork for each connection until the parent closes stdin; return in a child, ready to run its command."""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(listening, selectors.EVENT_READ, listening)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    sys.exit()
                elif key.data is listening:
                    begun = _begin(listening)
                    if begun is None:
                        return
                    process, connection = begun
                    selector.register(process, selectors.EVENT_READ, connection)
                else:
                    selector.unregister(key.fileobj)
                    _tell_end(key.fd, key.data)


def _begin(listening: socket.socket) -> tuple[int, socket.socket] | None:
    """Fork for the next request; return a handle of the process with its connection, and None in the process."""
    connection, _ = listening.accept()
    request, files, _, _ = socket.recv_fds(connection, MOST_BYTES, 2)
    process_id = os.fork()
    if process_id == 0:
        connection.close()
        listening.close()
        _become(json.loads(request), files)
        return None
    for file in files:
        os.close(file)
    connection.sendall(f"{process_id}\n".encode())
    return os.pidfd_open(process_id), connection


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Be a process with these arguments, files and folder."""
    null = os.open(os.devnull, os.O_RDONLY)
    for file, number in zip((null, *files), range(3), strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    sys.argv = [sys.argv[0], *request["arguments"]]


def _tell_end(process: int, connection: socket.socket) -> None:
    ended = os.waitid(os.P_PIDFD, process, os.WEXITED)
    os.close(process)
    assert ended is not None
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with connection:
        connection.sendall(f"{code}\n".encode())


def main() -> None:
    """Import, then serve; a child runs its command to the end of the interpreter."""
    import importlib

    from groundlake.cli.startup import keep_pandas_out

    keep_pandas_out()
    for name in IMPORTED_EARLY:
        importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
    from groundlake.cli import main as lake

    lake()


if __name__ == "__main__":
    main()
