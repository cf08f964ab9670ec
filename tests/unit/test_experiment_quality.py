"""Doubts about a measurement: each with what was seen, the threshold and what to do; none on a threshold."""

from __future__ import annotations

import pytest

from groundlake.experiment.quality import Doubt, Seen, doubts

CLEAN = {
    "duration_s": 60.0,
    "num_prompts": 30,
    "first_temperature_c": 40.0,
    "last_temperature_c": 50.0,
    "persistence_mode": True,
    "ecc_enabled": True,
    "baseline_taken": True,
    "throttled_s": 0.0,
    "sensor_period_s": 12.0,
}


def seen(**changes: object) -> list[Doubt]:
    return doubts(Seen(**(CLEAN | changes)))  # type: ignore[arg-type] # figures of several types


def test_a_figure_on_a_threshold_raises_no_doubt() -> None:
    assert seen() == []


def test_what_nobody_looked_at_raises_no_doubt() -> None:
    assert doubts(Seen()) == []


@pytest.mark.parametrize(
    ("changes", "code", "observed", "threshold"),
    [
        ({"duration_s": 59.9, "sensor_period_s": None}, "short_duration", 59.9, 60.0),
        ({"last_temperature_c": 55.0}, "thermal_drift", 15.0, 10.0),
        ({"last_temperature_c": 25.0}, "thermal_drift", 15.0, 10.0),
        ({"persistence_mode": False}, "persistence_mode_off", None, None),
        ({"num_prompts": 29}, "few_prompts", 29.0, 30.0),
        ({"baseline_taken": False}, "no_baseline", None, None),
        ({"ecc_enabled": False}, "ecc_off", None, None),
        ({"throttled_s": 1.5, "throttle_reasons": ("thermal",)}, "throttled", 1.5, 0.0),
        ({"sensor_period_s": 12.1}, "sensor_too_slow", 60.0, 60.5),
    ],
)
def test_each_rule_names_what_was_seen_and_what_to_do(
    changes: dict[str, object], code: str, observed: float | None, threshold: float | None
) -> None:
    (doubt,) = seen(**changes)
    assert (doubt.code, doubt.threshold) == (code, threshold if threshold is None else pytest.approx(threshold))
    assert doubt.observed == (None if observed is None else pytest.approx(observed))
    assert (doubt.unit is None) == (observed is None)
    assert str(doubt).startswith(f"{code}: ")
    assert doubt.advice in str(doubt)


def test_drift_names_both_temperatures_differences() -> None:
    (doubt,) = seen(first_temperature_c=30.0, last_temperature_c=45.0)
    assert "15.0C" in str(doubt)
    assert "10.0C" in str(doubt)
    assert [each.code for each in seen(first_temperature_c=30.0, last_temperature_c=35.0, drift_threshold_c=4.0)] == [
        "thermal_drift"
    ]
    assert seen(first_temperature_c=30.0, last_temperature_c=35.0, drift_threshold_c=6.0) == []


def test_without_energy_neither_baseline_nor_sensor_matter() -> None:
    assert seen(energy_measured=False, baseline_taken=False, sensor_period_s=100.0) == []


def test_all_doubts_at_once_are_as_many() -> None:
    bad = seen(
        duration_s=5.0,
        num_prompts=3,
        last_temperature_c=70.0,
        persistence_mode=False,
        ecc_enabled=False,
        baseline_taken=False,
    )
    assert len({doubt.code for doubt in bad}) == len(bad) == 7
