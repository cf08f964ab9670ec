"""`lake ingest` as a user runs it: under which id, what a dry run checks, and the zones of imported dates."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from v1_json import measurement, put

from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

with_torch = pytest.mark.skipif(
    find_spec("torch") is None, reason="torch is not installed: pip install 'groundlake[measure]'"
)

MODEL = """
import torch


def tiny():
    return torch.nn.Linear(7, 2)


tiny.input_shape = (7,)
"""


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """Environment in which `own_net:tiny` is a model."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_net.py").write_text(MODEL)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def no_torch(tmp_path: Path) -> dict[str, str]:
    """Environment in which no program finds torch."""
    folder = tmp_path / "no_torch"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    return {"PYTHONPATH": str(folder)}


def test_the_id_of_another_machine_is_refused_with_the_way_to_import_from_it(cli: Callable, lake_root: Path) -> None:
    done = cli("ingest", "--hw", "jetson_orin_maxn", code=2)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert sum("lake ingest --hw jetson_orin_maxn --from DIR" in line for line in lines) == 1
    assert not lake_root.exists()


@with_torch
@pytest.mark.slow
def test_a_new_name_for_this_machine_is_accepted_and_described_in_the_lake(
    cli: Callable, lake_root: Path, own: dict[str, str]
) -> None:
    options = ("--models", "own_net:tiny", "--batches", "1", "--runs", "2", "--warmup", "0", "--device", "cpu")
    done = cli("ingest", "--hw", "my_box", *options, **own)
    assert done.stdout.splitlines()[0].startswith("my_box: 1 measured, 0 failed, 0 in the lake already")
    lake = Lake(lake_root)
    assert lake.frame("hardware").select("hardware_id", "device").rows() == [("my_box", "cpu")]
    kinds = lake.runs("my_box").sort("kind").select("kind", "model", "status").rows()
    assert kinds == [("efficiency", "own_net:tiny", "ok"), ("hardware_spec", "none", "ok")]
    assert "\n  my_box is a new device id; this machine was detected as " in done.stdout
    again = cli("ingest", "--hw", "my_box", "--repeat", "1", *options, **own)
    assert "new device id" not in again.stdout


def test_an_id_that_is_nearly_a_known_one_is_refused(cli: Callable, lake_root: Path) -> None:
    refused = cli("ingest", "--hw", "h200_sxn", "--device", "cpu", code=2)
    assert "did you mean h200_sxm?" in refused.stderr
    assert "lake hw add" in refused.stderr
    assert not lake_root.exists()


@with_torch
def test_a_dry_run_refuses_what_the_run_would_refuse(cli: Callable, lake_root: Path, own: dict[str, str]) -> None:
    done = cli("ingest", "--models", "resnt18", "--device", "cpu", "--dry-run", code=2)
    assert done.stdout == ""
    assert "resnet18" in done.stderr
    done = cli("ingest", "--models", "own_net:tiny,resnet18", "--device", "cpu", "--dry-run", **own)
    assert "4 runs to do, 0 in the lake already" in done.stdout
    assert "not checked" not in done.stdout
    assert done.stderr == ""
    assert not lake_root.exists()


def test_a_dry_run_without_torch_shows_the_plan_and_says_what_it_could_not_check(
    cli: Callable, lake_root: Path, no_torch: dict[str, str]
) -> None:
    options = ("ingest", "--models", "resnt18", "--device", "cpu")
    lines = cli(*options, "--dry-run", **no_torch).stdout.splitlines()
    assert "2 runs to do" in lines[0]
    assert lines[-1].startswith("models and device were not checked: torch is not installed")
    assert "pip install 'groundlake[measure]'" in cli(*options, code=3, **no_torch).stderr
    assert not lake_root.exists()


@pytest.fixture
def naive_dates(tmp_path: Path) -> Path:
    """JSON of two devices with dates that name no zone."""
    for hardware_id in ("desk", "shelf"):
        place = tmp_path / "calibration_data" / hardware_id / "fp32/measurements/resnet18.json"
        put(place, measurement(hardware_id=hardware_id))
    return tmp_path / "calibration_data"


def test_dates_without_a_zone_are_imported_in_the_zones_that_are_given(
    cli: Callable, naive_dates: Path, lake_root: Path
) -> None:
    cli("ingest", "--from", naive_dates, "--tz", "Europe/Berlin", "--tz", "desk=America/New_York")
    runs = Lake(lake_root).runs().sort("hardware_id")
    assert runs["hardware_id"].to_list() == ["desk", "shelf"]
    assert runs["started_at"].dt.hour().to_list() == [15, 9]
    assert runs["started_at_zone_source"].unique().to_list() == ["option"]


def test_a_zone_is_refused_where_there_is_no_date_to_read_in_it(
    cli: Callable, naive_dates: Path, lake_root: Path
) -> None:
    assert "--from" in cli("ingest", "--tz", "UTC", "--dry-run", code=2).stderr
    assert "no time zone 'Mars'" in cli("ingest", "--from", naive_dates, "--tz", "Mars", code=2).stderr
    assert not lake_root.exists()


def test_a_zone_for_a_lake_is_refused_for_its_times_are_utc(cli, tmp_path: Path) -> None:
    cli("init", "--root", "other")
    refused = cli("ingest", "--from", "other", "--tz", "America/New_York", code=2)
    assert "UTC already" in refused.stderr
    assert not (tmp_path / "lake").exists()
