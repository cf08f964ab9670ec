"""Doubts about a measurement, raised when it is made: what was seen, where the rule begins, and what to do.

They are informational: none changes an exit code, and there is no strict mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.experiment.base import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES_VERSION = "1"
"""Grows when a rule or a threshold changes, so that older warnings can be told apart."""

MIN_DURATION_S = 60.0
MAX_DRIFT_C = 10.0
MIN_PROMPTS = 30
MIN_READINGS_IN_AVERAGING = 5.0
"""A window shorter than this many averaging times of the sensor is mostly what came before it."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of the machine and the measurement; None is what nobody looked at, and raises no doubt.

    Attributes:
        duration_s: Length of the measurement, in s.
        num_prompts: Prompts that were measured.
        first_temperature_c: Temperature at the start, in degrees C.
        last_temperature_c: Temperature at the end, in degrees C.
        persistence_mode: Whether the driver stays loaded between programs.
        ecc_enabled: Whether the memory corrects errors.
        baseline_taken: Whether the idle power is known.
        throttled_s: How long the device lowered its clocks, in s.
        throttle_reasons: Why it did.
        sensor_period_s: How often the power sensor has a new value, or over what time it averages, in s.
        energy_measured: Whether energy was asked for.
        drift_threshold_c: Drift that is tolerated, in degrees C.
    """

    duration_s: float | None = None
    num_prompts: int | None = None
    first_temperature_c: float | None = None
    last_temperature_c: float | None = None
    persistence_mode: bool | None = None
    ecc_enabled: bool | None = None
    baseline_taken: bool | None = None
    throttled_s: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    sensor_period_s: float | None = None
    energy_measured: bool = True
    drift_threshold_c: float = MAX_DRIFT_C


class Doubt(Model):
    """One warning, as a row of the lake and as a sentence of a result.

    Attributes:
        code: Name of the rule.
        seen: What was seen, in words.
        advice: What to do.
        observed: The figure; None where there is none.
        threshold: Where the rule begins, in the same unit.
        unit: Unit of both.
        rules_version: Version of the rules that raised it.
    """

    code: str
    seen: str
    advice: str
    observed: float | None = None
    threshold: float | None = None
    unit: str | None = None
    rules_version: str = RULES_VERSION

    def __str__(self) -> str:
        return f"{self.code}: {self.seen}. {self.advice}"


def doubts(seen: Seen) -> list[Doubt]:
    """Apply every rule; a figure that lies on a threshold raises none."""
    return [
        doubt for rule in (_short, _drift, _driver, _few, _baseline, _ecc, _throttled, _slow) for doubt in rule(seen)
    ]


def _short(seen: Seen) -> Iterator[Doubt]:
    if seen.duration_s is not None and seen.duration_s < MIN_DURATION_S:
        yield Doubt(
            code="short_duration",
            seen=f"the measurement took {seen.duration_s:.1f}s, less than the {MIN_DURATION_S:.0f}s recommended",
            advice="Measure more prompts, or longer answers, for stable figures.",
            observed=seen.duration_s,
            threshold=MIN_DURATION_S,
            unit="s",
        )


def _drift(seen: Seen) -> Iterator[Doubt]:
    if seen.first_temperature_c is None or seen.last_temperature_c is None:
        return
    drift = abs(seen.last_temperature_c - seen.first_temperature_c)
    if drift > seen.drift_threshold_c:
        yield Doubt(
            code="thermal_drift",
            seen=f"the temperature changed by {drift:.1f}C, more than {seen.drift_threshold_c:.1f}C",
            advice="Warm up longer, until the temperature holds.",
            observed=drift,
            threshold=seen.drift_threshold_c,
            unit="°C",
        )


def _driver(seen: Seen) -> Iterator[Doubt]:
    if seen.persistence_mode is False:
        yield Doubt(
            code="persistence_mode_off",
            seen="the driver unloads between programs, which changes clocks and idle power",
            advice="Turn persistence mode on: sudo nvidia-smi -pm 1.",
        )


def _few(seen: Seen) -> Iterator[Doubt]:
    if seen.num_prompts is not None and seen.num_prompts < MIN_PROMPTS:
        yield Doubt(
            code="few_prompts",
            seen=f"{seen.num_prompts} prompts were measured, fewer than {MIN_PROMPTS}",
            advice=f"Measure at least {MIN_PROMPTS}, so that percentiles mean something.",
            observed=float(seen.num_prompts),
            threshold=float(MIN_PROMPTS),
            unit="1",
        )


def _baseline(seen: Seen) -> Iterator[Doubt]:
    if seen.energy_measured and seen.baseline_taken is False:
        yield Doubt(
            code="no_baseline",
            seen="the idle power was not measured, so the energy includes what the idle device takes",
            advice="Take a baseline before the run.",
        )


def _ecc(seen: Seen) -> Iterator[Doubt]:
    if seen.ecc_enabled is False:
        yield Doubt(
            code="ecc_off",
            seen="the memory does not correct errors, which makes it faster than in production",
            advice="Turn it on and start again: sudo nvidia-smi -e 1.",
        )


def _throttled(seen: Seen) -> Iterator[Doubt]:
    if seen.throttled_s or seen.throttle_reasons:
        why = ", ".join(seen.throttle_reasons) or "reason not told"
        yield Doubt(
            code="throttled",
            seen=f"the device lowered its clocks for {seen.throttled_s or 0.0:.1f}s ({why})",
            advice="Improve cooling or lower the power limit, and measure again.",
            observed=seen.throttled_s,
            threshold=0.0,
            unit="s",
        )


def _slow(seen: Seen) -> Iterator[Doubt]:
    if not seen.energy_measured or seen.sensor_period_s is None or seen.duration_s is None:
        return
    least = MIN_READINGS_IN_AVERAGING * seen.sensor_period_s
    if seen.duration_s < least:
        yield Doubt(
            code="sensor_too_slow",
            seen=f"the sensor needs {seen.sensor_period_s:.3g}s for a value, the whole took {seen.duration_s:.1f}s",
            advice=f"Measure for at least {least:.3g}s, or with a sensor that counts energy.",
            observed=seen.duration_s,
            threshold=least,
            unit="s",
        )
