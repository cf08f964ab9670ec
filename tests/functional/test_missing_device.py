"""A device that is not there, or is a part of one, ends with exit code 3 before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from planted import H200_AND_L4, plant

from groundlake import machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(machine.jetson_model() is not None, reason="a Jetson has one GPU, which it detects")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Environment in which the driver lists an H200 and an L4."""
    return {"PYTHONPATH": str(plant(tmp_path / "modules", {"pynvml.py": H200_AND_L4})), "CUDA_VISIBLE_DEVICES": "0,1"}


COMMANDS = [("preflight",), ("ingest", "--dry-run"), ("ingest",)]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_gpu_that_is_not_there_is_missing_and_those_that_are_are_named(
    cli: Callable, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    told = cli(*arguments, "--device", "cuda:99", code=3, **environment).stderr
    assert "device cuda:99: there is no such GPU; cuda:0 is GPU 0, NVIDIA H200; cuda:1 is GPU 1, NVIDIA L4" in told
    assert not (cli.folder / "lake").exists()


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_slice_of_a_gpu_is_not_taken_for_the_processor(
    cli: Callable, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    told = cli(*arguments, code=3, **environment | {"CUDA_VISIBLE_DEVICES": "MIG-1a2b"}).stderr
    assert "CUDA_VISIBLE_DEVICES names MIG-1a2b" in told
    assert "nvidia-smi -i GPU -mig 0" in told
    assert not (cli.folder / "lake").exists()


def test_the_second_gpu_may_not_be_measured_under_the_id_of_the_first(
    cli: Callable, environment: dict[str, str]
) -> None:
    told = cli("ingest", "--hw", "h200_sxm", "--device", "cuda:1", "--dry-run", code=2, **environment).stderr
    assert "this machine is l4" in told
