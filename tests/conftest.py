"""What all categories of tests share: the real data, a fresh lake root, the command line, and honest skips."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import pytest
from warm_start import WarmStart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parent.parent
V1_ARCHIVE = REPOSITORY.parent / "shared" / "data" / "v1_measurements.tar.xz"
TIMEOUT_S = 600
REQUIRED = frozenset(filter(None, os.environ.get("LAKE_REQUIRE", "").split(",")))


def need(what: str, *, present: bool, reason: str) -> None:
    """Skip with the reason, or fail where LAKE_REQUIRE says that this must not be missing."""
    if present:
        return
    if what in REQUIRED:
        pytest.fail(f"LAKE_REQUIRE has {what}, and {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session", name="need")
def need_fixture() -> Callable[..., None]:
    """Skip, or fail, for what is missing: `need("gpu", present=False, reason="no GPU is here")`."""
    return need


@pytest.fixture(scope="session")
def v1_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the real measurement trees: calibration_data/ and measurements/. Not to be written to."""
    need("data", present=V1_ARCHIVE.exists(), reason="the archive of real measurements is not beside the repository")
    folder = tmp_path_factory.mktemp("v1_data")
    with tarfile.open(V1_ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _devices_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each test process devices of its own: sweeps hold theirs by locks that all users share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKE_LOCKS", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give all processes of one test session a cache, apart from the user's."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        yield


@pytest.fixture
def lake_root(tmp_path: Path) -> Path:
    """Path of a lake that does not exist yet."""
    return tmp_path / "lake"


@pytest.fixture(scope="session")
def spark_ready() -> None:
    """Skip unless Java and pyspark are here."""
    need("spark", present=shutil.which("java") is not None, reason="Java is not installed")
    found = subprocess.run([sys.executable, "-c", "import pyspark"], check=False, capture_output=True)
    need("spark", present=found.returncode == 0, reason="pyspark is not installed: pip install 'groundlake[spark]'")


class Cli:
    """Runs the real `lake` in a process of its own, as a user does.

    It is forked from one that has imported `lake`, unless its environment is another one: that may decide about
    imports. LAKE_TEST_COLD=1 begins every command from nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The last three make Typer write for a terminal that is not there.
        left_out = {"LAKE_ROOT", "PYTEST_CURRENT_TEST", "COLUMNS", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"}
        self.environment = {name: value for name, value in os.environ.items() if name not in left_out}
        # A machine that runs tests is busy: preflight would refuse to measure it.
        self.environment |= {"NO_COLOR": "1", "LAKE_FORCE": "1"}

    def __call__(self, *arguments: str | Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `lake` with these arguments and check its exit code."""
        words, every = [str(each) for each in arguments], self.environment | environment
        warm = WarmStart.in_environment(every)
        done = self._begun(words, every) if warm is None else self._forked(words, warm)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def _begun(self, words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "groundlake", *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def _forked(self, words: list[str], warm: WarmStart) -> subprocess.CompletedProcess[str]:
        with TemporaryFile() as output, TemporaryFile() as errors:
            code = warm.run(words, self.folder, output, errors, TIMEOUT_S)
            texts = [(file.seek(0), file.read().decode())[1] for file in (output, errors)]
        return subprocess.CompletedProcess(words, code, *texts)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, run in a temporary folder."""
    return Cli(tmp_path)


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small file system: `disk_of("1m")` is a folder of 1 MiB."""
    place = tmp_path / "disk"

    def make(size: str) -> Path:
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
        mounted = shutil.which("mount") and subprocess.run(mount, check=False, capture_output=True).returncode == 0
        need("root", present=bool(mounted), reason="a small file system cannot be mounted here (it needs root)")
        return place

    yield make
    if place.is_mount():
        subprocess.run(["umount", place], check=True)
