"""One sweep at a time on a device, told apart by the kernel's lock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import LakeEnvironmentError
from groundlake.measure.occupancy import occupied

if TYPE_CHECKING:
    from pathlib import Path


def test_a_second_sweep_is_told_who_has_the_device(tmp_path: Path) -> None:
    with occupied("cpu", "night", folder=tmp_path) as held:
        assert held
        with (
            pytest.raises(LakeEnvironmentError, match=rf"process {os.getpid()}, session night, since 20.*\n.*--wait"),
            occupied("cpu", "day", folder=tmp_path),
        ):
            pass
    with occupied("cpu", "day", folder=tmp_path) as held:
        assert held


def test_another_device_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    with occupied("cuda", "one", folder=tmp_path), occupied("cuda:1", "two", folder=tmp_path) as held:
        assert held
        assert sorted(path.name for path in tmp_path.iterdir()) == ["groundlake-gpu0.lock", "groundlake-gpu3.lock"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
        with pytest.raises(LakeEnvironmentError, match="session two"), occupied("cuda:0", "three", folder=tmp_path):
            pass


def test_a_waiting_sweep_gets_the_device_when_it_is_free(tmp_path: Path) -> None:
    first = occupied("cpu", "night", folder=tmp_path)
    first.__enter__()
    said: list[str] = []

    def leave(text: str) -> None:
        said.append(text)
        first.__exit__(None, None, None)

    with occupied("cpu", "day", wait=True, on_wait=leave, folder=tmp_path) as held:
        assert held
    (text,) = said
    assert text.startswith(f"waiting for another sweep: process {os.getpid()}, session night")


def test_a_waiting_sweep_may_give_up(tmp_path: Path) -> None:
    with (
        occupied("cpu", "night", folder=tmp_path),
        occupied("cpu", "day", wait=True, should_stop=lambda: True, folder=tmp_path) as held,
    ):
        assert not held


def test_a_lock_that_nobody_has_signed_is_no_riddle(tmp_path: Path) -> None:
    with occupied("cpu", "night", folder=tmp_path):
        (tmp_path / "groundlake-cpu.lock").write_text("")
        with (
            pytest.raises(LakeEnvironmentError, match="has not signed yet"),
            occupied("cpu", "day", folder=tmp_path),
        ):
            pass


def test_the_lock_is_everybodys(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with occupied("cpu", "night", folder=tmp_path):
            assert (tmp_path / "groundlake-cpu.lock").stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "groundlake-cpu.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), occupied("cpu", "night", folder=tmp_path):
        pass
    assert victim.read_text() == "precious"
