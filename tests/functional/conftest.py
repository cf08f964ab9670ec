"""What the functional tests of the lake share: rows to write, the duckdb command line, and processes that write."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from bucket_server import BUCKET, BucketServer
from ssh_server import SshServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def timings() -> Callable[..., pl.DataFrame]:
    """Make rows of subgraph_timings: `timings(rows, **columns)`; a given column replaces the default one."""

    def make(rows: int = 3, **columns: object) -> pl.DataFrame:
        defaults: dict[str, object] = {
            "subgraph_id": list(range(rows)),
            "fusion_pattern": "Conv2d_BatchNorm2d",
            "operation_type": "conv2d_batchnorm",
            "node_names": [["conv", "bn"]] * rows,
            "flops": 1000,
            "total_bytes": 100,
            "arithmetic_intensity": 10.0,
            "latency_mean_ms": [1.0 + number / 3 for number in range(rows)],
            "latency_std_ms": 0.25,
            "latency_min_ms": 0.5,
            "latency_max_ms": 1000.0,
            "latency_samples": 7,
        }
        return pl.DataFrame(defaults | columns)

    return make


@pytest.fixture(scope="session")
def duckdb_binary(need: Callable[..., None]) -> str:
    """Path of the duckdb command line that `make setup` installs."""
    beside = Path(sys.executable).with_name("duckdb")
    found = str(beside) if beside.exists() else shutil.which("duckdb")
    need("duckdb-cli", present=found is not None, reason="the duckdb command line is not installed: make setup")
    return str(found)


@pytest.fixture(scope="session")
def unprivileged() -> list[str]:
    """Words before a command that is to obey the permissions of files: root does so without two capabilities."""
    if os.geteuid() != 0:
        return []
    words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if shutil.which(words[0]) is None or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("root obeys no permissions here: setpriv is not there, or may not drop capabilities")
    return words


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[BucketServer]:
    """A server of object storage."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'groundlake[s3]'")
    pytest.importorskip("moto", reason="moto is not installed: pip install 'groundlake[dev]'")
    with BucketServer() as server:
        yield server


@pytest.fixture
def reached(bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch) -> BucketServer:
    """The server, with a bucket, which clients of this process ask."""
    import s3fs

    for name, value in bucket_server.environment().items():
        monkeypatch.setenv(name, value)
    if not s3fs.S3FileSystem(use_listings_cache=False).exists(BUCKET):
        s3fs.S3FileSystem(use_listings_cache=False).mkdir(BUCKET)
    return bucket_server


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory, need: Callable[..., None]) -> Iterator[SshServer]:
    """An sshd on loopback that lets the user of the tests in."""
    for tool in ("rsync", "ssh", "ssh-keygen", "sshd"):
        need("ssh", present=SshServer.tool(tool) is not None, reason=f"{tool} is not installed")
    with SshServer(tmp_path_factory.mktemp("ssh")) as server:
        need("ssh", present=server.lets_in(), reason=f"sshd lets nobody in here: {server.said()}")
        yield server


@pytest.fixture
def over_ssh(ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    """The same, which this process and its children reach without further ado."""
    monkeypatch.setenv("LAKE_SSH", ssh_server.command())
    return ssh_server


class Shell:
    """Runs the real duckdb command line; rows come back as csv lines."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary, self.folder = binary, folder

    def __call__(self, *arguments: str | Path, code: int = 0) -> list[str]:
        done = subprocess.run(
            [self.binary, "-csv", "-noheader", *map(str, arguments)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def shell(duckdb_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The duckdb command line, run in a folder that is not the lake's."""
    return Shell(duckdb_binary, tmp_path_factory.mktemp("elsewhere"))


class Writers:
    """Processes that commit runs; see programs/writer.py."""

    def __init__(self, root: Path) -> None:
        self.acknowledged: list[str] = []
        self.finished = 0
        self._process = subprocess.Popen(
            [sys.executable, PROGRAMS / "writer.py", root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands, self._news = self._process.stdin, self._process.stdout
        assert self._news.readline().startswith("ready")

    def command(self, text: str) -> None:
        """Have a process started: `loop HW` or `count N HW`."""
        self._commands.write(text + "\n")
        self._commands.flush()

    def started(self) -> int:
        """Wait for a process to start; its id."""
        while True:
            kind, pid, *_ = self.next()
            if kind == "started":
                return int(pid)

    def next(self) -> list[str]:
        """Wait for the next piece of news, and keep account of it."""
        words = self._news.readline().split()
        assert words, "the writers ended early"
        if words[0] == "committed":
            self.acknowledged.append(words[2])
        self.finished += words[0] == "done"
        return words

    def wait_at_most(self, seconds: float) -> None:
        """Let the writers go on until the next news, or for this long."""
        select.select([self._news], [], [], seconds)

    def end(self) -> None:
        """Take no more commands, and hear everything that was acknowledged to the last line."""
        self._commands.close()
        for line in self._news:
            words = line.split()
            if words[0] == "committed":
                self.acknowledged.append(words[2])
            self.finished += words[0] == "done"
        self._news.close()
        assert self._process.wait() == 0

    def abandon(self) -> None:
        """After a failed test: whoever still writes ends at the closed pipe."""
        for pipe in (self._commands, self._news):
            pipe.close()
        self._process.kill()
        self._process.wait()


@pytest.fixture
def writers(lake_root: Path) -> Iterator[Writers]:
    """Processes that commit runs to `lake_root`."""
    processes = Writers(lake_root)
    yield processes
    processes.abandon()


@pytest.fixture
def figure() -> Callable[[str, str], None]:
    """Write a row of the table in docs/reliability.md, where RELIABILITY_PAGE names that page (`make test-chaos`)."""

    def write(what: str, found: str) -> None:
        page = os.environ.get("RELIABILITY_PAGE")
        if page is None:
            return
        path = Path(page)
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [at for at, line in enumerate(lines) if line.startswith(f"| {what} |")]
        assert len(rows) == 1, f"{path} has no row {what}"
        lines[rows[0]] = f"| {what} | {found} |"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    return write
