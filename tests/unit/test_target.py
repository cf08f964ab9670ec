"""What a sweep measures: the GPU that was asked for, with its own id and its own peaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from planted import H200_AND_L4

from groundlake import machine
from groundlake.errors import MissingDependencyError, UsageError
from groundlake.hardware import registry
from groundlake.hardware.target import choose_target, require_meant
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(machine.jetson_model() is not None, reason="a Jetson has one GPU, which it detects")


@pytest.fixture(autouse=True)
def _two_gpus(nvidia_driver: Callable[[str], Path]) -> None:
    nvidia_driver(H200_AND_L4)


@pytest.mark.parametrize(
    ("device", "hardware_id"), [(None, "h200_sxm"), ("cuda", "h200_sxm"), ("cuda:0", "h200_sxm"), ("cuda:1", "l4")]
)
def test_the_id_and_the_peaks_are_those_of_the_gpu_that_is_measured(
    lake_root: Path, device: str | None, hardware_id: str
) -> None:
    target = choose_target(Lake(lake_root), device=device)
    assert (target.hardware_id, target.device) == (hardware_id, device or "cuda")
    assert target.spec.peaks == registry()[hardware_id].peaks


def test_the_id_of_the_other_gpu_is_refused(lake_root: Path) -> None:
    assert choose_target(Lake(lake_root), "l4", "cuda:1").hardware_id == "l4"
    with pytest.raises(UsageError, match="l4 is NVIDIA L4"):
        choose_target(Lake(lake_root), "l4", "cuda:0")


def test_an_id_that_is_nearly_a_known_one_is_refused_unless_the_lake_has_it(lake_root: Path) -> None:
    lake = Lake(lake_root)
    with pytest.raises(
        UsageError, match=r"--hw h200_sxn: no device has this id; did you mean h200_sxm(.|\n)*lake hw add"
    ):
        choose_target(lake, "h200_sxn")
    lake.write({"hardware_id": "h200_sxn", "model": "net", "precision": "fp32", "batch": 1})
    assert choose_target(lake, "h200_sxn").new_name is None


def test_an_id_that_is_nearly_one_of_the_lake_is_refused_unless_both_are_numbered(lake_root: Path) -> None:
    lake = Lake(lake_root)
    lake.write({"hardware_id": "workbench_01", "model": "net", "precision": "fp32", "batch": 1})
    with pytest.raises(UsageError, match="did you mean workbench_01"):
        choose_target(lake, "workbemch_01")
    assert choose_target(lake, "workbench_02").new_name == "h200_sxm"


def test_a_new_name_is_told_with_what_was_detected(lake_root: Path) -> None:
    assert choose_target(Lake(lake_root), "under_the_desk").new_name == "h200_sxm"
    assert choose_target(Lake(lake_root)).new_name is None


def test_a_gpu_that_is_not_there_is_missing(lake_root: Path) -> None:
    with pytest.raises(MissingDependencyError, match="device cuda:2: there is no such GPU"):
        choose_target(Lake(lake_root), device="cuda:2")


def test_an_id_that_is_nearly_the_detected_one_is_refused_although_nobody_knows_that_one(
    lake_root: Path, nvidia_driver: Callable[[str], Path]
) -> None:
    nvidia_driver(H200_AND_L4.replace("NVIDIA H200", "NVIDIA Z900 Workbench"))
    assert choose_target(Lake(lake_root)).hardware_id == "nvidia_z900_workbench"
    with pytest.raises(UsageError, match="did you mean nvidia_z900_workbench"):
        choose_target(Lake(lake_root), "nvidia_z900_workbemch")


@pytest.mark.parametrize("name", ["we ird/../x", "../x", "a b", "-x", "x.", "_x"])
def test_an_id_with_letters_that_no_id_has_is_refused_unless_the_lake_has_it(lake_root: Path, name: str) -> None:
    lake = Lake(lake_root)
    for choose in (choose_target, require_meant):
        with pytest.raises(UsageError, match=r"an id has letters, digits, and \. _ \+ - within"):
            choose(lake, name)
    lake.write({"hardware_id": name, "model": "net", "precision": "fp32", "batch": 1})
    assert require_meant(lake, name) == name


@pytest.mark.parametrize(
    "name", ["h200-sxm", "H200.SXM", "Under-The-Desk", "the_desk", "orin_nano_7w", "Jetson-Orin.Nano_7w"]
)
def test_an_id_that_is_written_otherwise_than_a_known_one_or_without_its_maker_is_refused(
    lake_root: Path, name: str
) -> None:
    lake = Lake(lake_root)
    lake.write({"hardware_id": "under_the_desk", "model": "net", "precision": "fp32", "batch": 1})
    for choose in (choose_target, require_meant):
        with pytest.raises(UsageError, match=r"did you mean (h200_sxm|under_the_desk|jetson_orin_nano_7w)\?"):
            choose(lake, name)


@pytest.mark.parametrize("name", ["rack-7", "desk", "my.box+2", "node_2"])
def test_a_name_of_its_own_is_no_slip(lake_root: Path, name: str) -> None:
    lake = Lake(lake_root)
    lake.write({"hardware_id": "under_the_desk", "model": "net", "precision": "fp32", "batch": 1})
    lake.write({"hardware_id": "node_1", "model": "net", "precision": "fp32", "batch": 1})
    assert choose_target(lake, name).new_name == "h200_sxm"
    assert require_meant(lake, name) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "--hw '': an id has letters"),
        ("none", "--hw none: the word is reserved"),
        ("Unknown", "--hw Unknown: the word is reserved"),
        ("7", "--hw: .*all digits"),
        ("a" * 300, "--hw: .*takes 300 bytes"),
    ],
)
def test_what_names_no_device_is_refused_with_what_is_true_where_it_is_left_out(
    lake_root: Path, name: str, words: str
) -> None:
    lake = Lake(lake_root)
    lake.write({"hardware_id": "none", "model": "net", "precision": "fp32", "batch": 1})
    with pytest.raises(UsageError, match=f"{words}(.|\n)*leave --hw out to take the detected one"):
        choose_target(lake, name)
    with pytest.raises(UsageError, match=words) as alone:
        require_meant(lake, name)
    assert "detected" not in str(alone.value)
    with pytest.raises(UsageError, match=f"{words}(.|\n)*left out, it is none"):
        require_meant(lake, name, left_out="left out, it is none")


def test_an_id_of_a_machine_that_is_not_seen_from_here_is_any_but_a_slip(lake_root: Path) -> None:
    lake = Lake(lake_root)
    for fine in ("jetson_orin_nano_7w", "l4", "their_rack"):
        assert require_meant(lake, fine) == fine
    for slip, words in (("h200_sxn", "did you mean h200_sxm"), ("L4", "in case only"), ("h200", "is no whole id")):
        with pytest.raises(UsageError, match=words):
            require_meant(lake, slip)
