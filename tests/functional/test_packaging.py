"""What is shipped: real files instead of links, every contract, query and hardware file, and no torch needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "src", "schemas", "queries")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist, and the wheel that was built from it, of a clean copy of the sources."""
    copy = tmp_path_factory.mktemp("sources")
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SHIPPED:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, copy / name, symlinks=True, ignore=leave_out)
        else:
            shutil.copy(REPOSITORY / name, copy / name)
    output = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(copy)],
        check=True,
        capture_output=True,
    )
    return output


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def shipped_files() -> set[str]:
    """Every file an installed package must have, by its path in the wheel, read from the sources."""
    package = REPOSITORY / "src" / "groundlake"
    groups = {
        "code": package.glob("**/*.py"),
        "hardware": package.glob("hardware/*.yaml"),
        "contracts": (package / "schemas").glob("*.py"),
        "queries": (package / "queries").glob("**/*.sql"),
        "page of a report": package.glob("report/page.[cj]s*"),
        "page of an evaluation": package.glob("transition/report/page.css"),
        "profiles of evaluations": package.glob("transition/configuration/configs/*.yaml"),
        "model of the recall task": (each for each in package.glob("transition/recall/model/*") if each.is_file()),
        "examples of the recall task": package.glob("transition/recall/data/*.jsonl"),
        "marker": package.glob("py.typed"),
    }
    names = {group: {f.relative_to(REPOSITORY / "src").as_posix() for f in files} for group, files in groups.items()}
    assert all(names.values()), f"nothing found for one of {names.keys()}"
    return set().union(*names.values())


def test_the_wheel_has_every_module_contract_query_and_hardware_file(wheel: Path) -> None:
    assert shipped_files() <= set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_nothing_beside_the_package(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"groundlake"}


def test_the_sdist_has_files_where_the_repository_has_links(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    below_top = {member.name.split("/", 1)[-1] for member in members}
    assert {f"src/{name}" for name in shipped_files()} <= below_top


def test_no_core_requirement_is_a_package_for_measuring(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    required = Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist") or []
    core = {line for line in required if "extra ==" not in line}
    assert any(line.startswith("duckdb") for line in core)
    assert not [line for line in core if line.startswith(("torch", "nvidia", "psutil", "pyspark"))]


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment_without_torch(wheel: Path, tmp_path: Path) -> None:
    """Needs what `make setup` needs: a package index that pip can reach, or its cache."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "LAKE_ROOT"}}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, check=False, cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python, lake = home / "bin" / "python", home / "bin" / "lake"
    run(python, "-m", "pip", "install", "-q", "-c", REPOSITORY / "constraints.txt", wheel)
    assert "False" in run(python, "-c", "from importlib.util import find_spec; print(find_spec('torch') is not None)")
    assert "ingest" in run(lake, "--help")
    run(lake, "init")
    assert run(lake, "sql", "select 1 as works", "--format", "csv") == "works\n1\n"
    assert "total_latency_ms" in run(lake, "sql", "select * from model_summary", "--format", "csv")
    assert "h100" in run(lake, "hw", "list", "--format", "csv").lower()
