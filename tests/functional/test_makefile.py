"""The Makefile is run: what it lists, what it hands to `lake ingest`, what it says when something is missing.

`.venv` leads to the environment that runs the tests, with the stamp of a finished set-up, so that nothing is installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from groundlake import Lake, MeasurementRecord
from groundlake.importers import import_folder
from groundlake.stats.timed import timed_subgraph

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssh_server import SshServer

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(sys.executable).parent
CATEGORIES = sorted(path.name for path in (REPOSITORY / "tests").iterdir() if path.is_dir() and path.name[0] != "_")
ODD = """in $(touch pwned) `touch pwned` 'a' "b" ;& #1 é"""


class Make:
    """Runs the real make in a folder that has what the repository's root has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # When `make test` runs the tests, its own variables are in the environment; here they must not count.
        self.environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env=self.environment | {"NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture
def bare(tmp_path: Path, need: Callable[..., None]) -> Make:
    """Make in a folder where nothing was set up."""
    need("make", present=shutil.which("make") is not None, reason="make is not installed")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return Make(tmp_path)


@pytest.fixture
def make(bare: Make, need: Callable[..., None]) -> Make:
    """Make in a folder that is set up: `.venv` leads to the environment of the tests."""
    need("lake", present=(ENVIRONMENT / "lake").exists(), reason="the script `lake` is not beside this Python")
    home = bare.folder / ".venv"
    home.mkdir()
    (home / "bin").symlink_to(ENVIRONMENT)
    for name in (".torch", ".setup-default"):
        (home / name).write_text("default\n", encoding="utf-8")
    return bare


def put_json(folder: Path, hardware_id: str = "dev_a", batch: int = 1) -> Path:
    """Write one v2.0 measurement in the canonical layout; returns its path."""
    path = folder / hardware_id / "measurements" / "fp32" / f"resnet18_b{batch}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    conv = timed_subgraph([1.0, 1.5], model="resnet18", flops=1000, total_bytes=10, theoretical_peak_flops=1e9)
    record = MeasurementRecord(
        model="resnet18",
        hardware_id=hardware_id,
        device="cpu",
        precision="fp32",
        batch_size=batch,
        subgraphs=[conv],
        measurement_date="2026-02-07T12:00:00+00:00",
    )
    return record.save(path)


def measured(folder: Path) -> list[tuple[object, ...]]:
    return (
        Lake(folder / "lake").sql("select hardware_id, batch, total_latency_ms from model_summary order by 1, 2").rows()
    )


def test_make_alone_lists_every_target_in_one_line(bare: Make) -> None:
    listed = bare().stdout
    lines = [line for line in listed.splitlines() if line.startswith("  make ")]
    names = [line.split()[1] for line in lines]
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    plain = [name for name in phony[1].split() if re.fullmatch(r"[a-z-]+", name)]
    assert {"help", "setup", "ingest", "test", "test-slow", "test-all", "check"} <= set(plain)
    assert sorted(names) == sorted([*plain, *(f"test-{category}" for category in CATEGORIES)])
    assert all(len(line.split(maxsplit=2)) == 3 for line in lines)
    assert max(map(len, listed.splitlines())) <= 120


def test_every_folder_of_tests_has_a_target_that_runs_it(make: Make) -> None:
    for category in CATEGORIES:
        assert f"tests/{category} " in make("-n", f"test-{category}").stdout


def test_values_stay_out_of_the_text_of_the_recipe(make: Make) -> None:
    expected = make("-n", "ingest").stdout
    assert '"--hw=$HW"' in expected
    assert '[ -z "$FORCE" ] || set -- "$@" --force' in expected
    for odd in (ODD, "$(shell touch pwned)", "$$HOME", "a'b"):
        assert make("-n", "ingest", f"HW={odd}", f"FROM={odd}", f"MODELS={odd}").stdout == expected
    assert not (make.folder / "pwned").exists()


def test_ingest_writes_lake_and_view_file_and_says_how_to_ask(make: Make) -> None:
    put_json(make.folder / "tree")
    out = make("ingest", "FROM=tree").stdout
    assert measured(make.folder) == [("dev_a", 1, 1.25)]
    assert re.search(r"^dev_a +fp32 +resnet18 +1 +1\.25 ", out, re.MULTILINE)
    place, command = out.splitlines()[-2:]
    assert place == "The data is in lake/, the views are in lake.db. To ask more:"
    assert command == '  .venv/bin/duckdb -readonly lake.db "select * from model_summary"'


def test_the_closing_line_of_ingest_runs(make: Make, duckdb_binary: str) -> None:
    assert Path(duckdb_binary).name == "duckdb"
    put_json(make.folder / "tree")
    command = make("ingest", "FROM=tree").stdout.splitlines()[-1].strip()
    if not (ENVIRONMENT / "duckdb").exists():  # installed elsewhere than beside this Python
        command = command.replace(".venv/bin/duckdb", duckdb_binary)
    done = subprocess.run(
        ["sh", "-c", command], cwd=make.folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "dev_a" in done.stdout


def test_lake_root_moves_the_data_and_the_closing_lines_follow(make: Make) -> None:
    put_json(make.folder / "tree")
    make.environment["LAKE_ROOT"] = "data/mine/"
    out = make("ingest", "FROM=tree").stdout
    assert (make.folder / "data" / "mine.db").exists()
    assert not (make.folder / "lake").exists()
    assert "The data is in data/mine/, the views are in data/mine.db." in out


def test_a_folder_with_odd_characters_is_imported_and_runs_nothing(make: Make) -> None:
    put_json(make.folder / ODD)
    make("ingest", f"FROM={ODD}")
    assert measured(make.folder) == [("dev_a", 1, 1.25)]
    assert not (make.folder / "pwned").exists()


@pytest.mark.slow
def test_a_lake_is_ingested_from_another_machine(make: Make, over_ssh: SshServer, tmp_path: Path) -> None:
    put_json(tmp_path / "device/tree")
    import_folder(Lake(tmp_path / "device/lake"), tmp_path / "device/tree")
    make.environment["LAKE_SSH"] = over_ssh.command()
    for summary in ("1 new runs; 2 parts copied", "0 new runs; 0 parts copied"):
        out = make("ingest", "HW=dev_a", f"FROM={over_ssh.address(tmp_path / 'device/lake')}").stdout
        assert out.startswith(summary)
        assert "resnet18" in out
    assert measured(make.folder) == [("dev_a", 1, 1.25)]


def test_what_lies_in_incoming_is_taken_for_its_hardware_id(make: Make) -> None:
    board = "jetson_orin_agx_maxn"  # a known device: this machine would not be measured in its name
    put_json(make.folder / "incoming", board)
    put_json(make.folder / "tree", board, batch=4)
    make("ingest", f"HW={board}")
    assert measured(make.folder) == [(board, 1, 1.25)]
    make("ingest", f"HW={board}", "FROM=tree")
    assert [batch for _, batch, _ in measured(make.folder)] == [1, 4]


def test_a_file_set_aside_is_exit_code_1_after_the_summary(make: Make) -> None:
    good = put_json(make.folder / "tree")
    good.with_name("resnet18_b4.json").write_text("{", encoding="utf-8")
    done = make("ingest", "FROM=tree", code=2)  # make's own code for any failed recipe
    assert "Error 1" in done.stderr
    assert "set aside" in done.stderr
    assert re.search(r"^dev_a +fp32 +resnet18 ", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-2].startswith("The data is in lake/")
    assert measured(make.folder) == [("dev_a", 1, 1.25)]


def test_a_folder_that_is_not_there_is_exit_code_2_without_a_summary(make: Make) -> None:
    done = make("ingest", "FROM=nowhere", code=2)
    assert "Error 2" in done.stderr
    assert "nowhere" in done.stderr
    assert "The data is in" not in done.stdout


def test_options_of_a_measurement_reach_the_command(make: Make) -> None:
    """Refused by the command before it measures: each value arrives where it belongs."""
    for option, value, said in (
        ("BATCHES", "many", "--batches"),
        ("MODELS", "no_such_model", "no_such_model"),
        ("PRECISIONS", "fp99", "fp99"),
        ("CALIBRATION_SET", "stripes", "--calibration-set is for int8"),
        ("EVALUATION_SET", "stripes-test", "--evaluation-set is for int8"),
        ("EVALUATION_DATA", "cifar $ 10", "--evaluation-data is for int8"),
        ("DEVICE", "abacus", "abacus"),
        ("REPEAT", "often", "--repeat"),
        ("SWEEP", "broad", "--sweep"),
    ):
        done = make("ingest", f"{option}={value}", code=2)
        assert "Error 2" in done.stderr, option
        assert said in done.stderr, option
    assert not (make.folder / "lake").exists()


def test_the_cpu_build_of_torch_asks_for_its_index(bare: Make) -> None:
    done = bare("setup", "TORCH=cpu", f"PYTHON={sys.executable}", code=2)
    assert "TORCH_INDEX is empty" in done.stderr
    assert "make setup TORCH=cpu TORCH_INDEX=<that URL>" in done.stderr
    assert not (bare.folder / ".venv").exists()


def test_a_torch_that_the_system_does_not_have_leaves_everything_as_it_is(make: Make) -> None:
    python = make.folder / "without_torch"
    python.write_text(f'#!/bin/sh\ncase "$2" in *torch*) exit 1;; esac\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    done = make("setup", "TORCH=system", f"PYTHON={python}", code=2)
    assert "cannot import torch and torchvision, and nothing was changed" in done.stderr
    assert "TORCH=default" in done.stderr
    assert (make.folder / ".venv" / ".torch").read_text(encoding="utf-8") == "default\n"
    assert (make.folder / ".venv" / "bin").is_symlink()


def test_an_unknown_torch_is_refused_by_every_target(bare: Make) -> None:
    for target in ("setup", "ingest", "test"):
        assert "TORCH=rocm is unknown; take default, cpu or system" in bare(target, "TORCH=rocm", code=2).stderr
    assert not (bare.folder / ".venv").exists()


def test_a_missing_python_is_named(bare: Make) -> None:
    done = bare("setup", "PYTHON=no_such_python", code=2)
    assert "no_such_python is missing or older than 3.10" in done.stderr
    assert not (bare.folder / ".venv").exists()


@pytest.mark.slow
def test_the_torch_of_the_system_is_used_and_no_other_is_installed(bare: Make, tmp_path: Path) -> None:
    for name in ("README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    for name in ("src", "schemas", "queries"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, symlinks=True)
    site = tmp_path / "vendor"
    for name in ("torch", "torchvision"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("__version__ = '2.8.0+vendor'\n", encoding="utf-8")
    make_variables = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "TORCH", "TORCH_INDEX", "HW", "FROM", "SWEEP")
    outside = {name: value for name, value in os.environ.items() if name not in make_variables}
    bare.environment = outside | {"PYTHONPATH": str(site)}
    done = bare("setup", "TORCH=system", f"PYTHON={sys.executable}")
    assert "torch is the one of this system" in done.stdout
    python = str(tmp_path / ".venv" / "bin" / "python")
    asked = "import json, importlib.metadata as m; print(json.dumps([d.name for d in m.distributions()]))"
    listed = subprocess.run([python, "-I", "-c", asked], check=True, capture_output=True, text=True)
    names = {name.lower() for name in json.loads(listed.stdout)}
    assert {"groundlake", "nvidia-ml-py", "duckdb-cli", "transformers", "pytest"} <= names
    assert not {"torch", "torchvision"} & names
    assert subprocess.run([str(tmp_path / ".venv" / "bin" / "lake"), "--version"], check=False).returncode == 0
