"""Waiting for a time or a temperature, with a planted sensor that changes while it is read."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from planted import plant

from groundlake.errors import NoSensorError, UsageError
from groundlake.measure.cooldown import Cooldown, cool_down, require_sensor

if TYPE_CHECKING:
    from pathlib import Path

ZONE = "sys/class/thermal/thermal_zone0"


def at(root: Path, degrees: int) -> Path:
    return plant(root, {f"{ZONE}/type": "x86_pkg_temp", f"{ZONE}/temp": str(degrees * 1000)})


@pytest.mark.parametrize(
    ("text", "meant"),
    [("30s", Cooldown(seconds=30)), ("0.5 s", Cooldown(seconds=0.5)), ("55C", Cooldown(below_c=55))],
)
def test_a_time_and_a_temperature_are_told_by_their_unit(text: str, meant: Cooldown) -> None:
    assert Cooldown.parse(text) == meant


@pytest.mark.parametrize("text", ["30", "", "-5s", "55F", "warm"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="30s or a temperature such as 55C"):
        Cooldown.parse(text)


def test_the_wait_ends_when_the_device_is_cool(tmp_path: Path) -> None:
    at(tmp_path, 61)
    said: list[str] = []

    def cool_off(text: str) -> None:
        said.append(text)
        at(tmp_path, 55)

    assert cool_down(Cooldown(below_c=55), "cpu", on_wait=cool_off, root=tmp_path) is None
    assert said == ["cool-down (55 C), at 61 C"]


def test_a_device_that_stays_warm_makes_the_run_doubtful(tmp_path: Path) -> None:
    doubt = cool_down(Cooldown(below_c=55), "cpu", root=at(tmp_path, 61), longest_s=0.01)
    assert doubt is not None
    assert (doubt.code, doubt.observed, doubt.threshold) == ("not_cooled_down", "61 C", "55 C")


def test_a_sensor_that_falls_silent_makes_the_run_doubtful(tmp_path: Path) -> None:
    at(tmp_path, 61)
    zone = tmp_path / ZONE
    doubt = cool_down(Cooldown(below_c=55), "cpu", root=tmp_path, on_wait=lambda _: shutil.rmtree(zone))
    assert doubt is not None
    assert (doubt.code, doubt.observed) == ("not_cooled_down", "no temperature")


def test_whoever_stops_the_sweep_need_not_wait(tmp_path: Path) -> None:
    asked = iter([False, True, True])
    assert cool_down(Cooldown(seconds=3600), "cpu", should_stop=lambda: next(asked)) is None
    assert cool_down(Cooldown(below_c=1), "cpu", should_stop=lambda: True, root=at(tmp_path, 61)) is None


def test_a_temperature_needs_a_sensor_and_a_time_does_not(tmp_path: Path) -> None:
    with pytest.raises(NoSensorError, match="--cooldown 30s"):
        require_sensor(Cooldown(below_c=55), "cpu", tmp_path)
    require_sensor(Cooldown(seconds=1), "cpu", tmp_path)
    require_sensor(None, "cpu", tmp_path)
    require_sensor(Cooldown(below_c=55), "cpu", at(tmp_path, 61))
