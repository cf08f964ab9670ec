"""What is doubtful about a run: each finding with what was observed, the threshold, and what to do about it."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING

from groundlake.system import THROTTLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from groundlake.ground_truth import MeasurementRecord
    from groundlake.measure.messages import Measured
    from groundlake.measure.plan import SweepSettings
    from groundlake.power.watch import PowerRecord

RELEVANT_SHARE = 0.01
"""Share of the model's latency from which a noisy subgraph is worth a warning."""

SLOW_FIRST_PASS = 3.0
"""Factor to the median of the other passes from which the first timed pass is worth a warning."""

HIGH_VARIATION = 0.1
"""Coefficient of variation of the whole model; the view `noisy_subgraphs` takes the same for a subgraph."""

DRIFT = 0.05
"""Relative change from the first third of the passes to the last."""

RANK_SCORE = 3.0
"""Standard deviations of chance beyond which the two thirds are told apart."""

PASSES_FOR_DRIFT = 24
"""Eight in each third; below that, no difference is beyond chance by this rule."""

PASSES_FOR_VARIATION = 5

LOW_CLOCK, VERY_LOW_CLOCK = 0.9, 0.7
"""Shares of the GPU's highest clock under load; preflight judges with the same ones."""

HELD_SHARE = 0.01
"""Share of the time of all passes: the driver counts in steps of its own, and a single one means little."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A reason to look twice at a run; as a text it is one of the run's `warnings`.

    Attributes:
        code: Name of the finding, for filters.
        meaning: What was found, in words.
        observed: The value, with its unit.
        threshold: The value from which it counts.
        advice: What to do about it.
    """

    code: str
    meaning: str
    observed: str
    threshold: str
    advice: str

    def __str__(self) -> str:
        return f"{self.code}: {self.meaning} (observed {self.observed}, threshold {self.threshold}); {self.advice}"


def doubts_about(record: MeasurementRecord, measured: Measured, settings: SweepSettings) -> list[Doubt]:
    """Say what a reader of a run's numbers should know before trusting them."""
    phases = (("subgraphs", measured.pass_ms), ("whole model", measured.end_to_end_ms))
    found = [*_noisy_subgraphs(record), *_fast_subgraphs(record), *_throttling(measured)]
    for phase, samples in phases:
        found += [*_slow_first_pass(phase, samples), *_drift(phase, samples), *_interval(phase, samples, settings)]
    found += _variation(*phases[1])
    if measured.power is not None:
        found += _power_gaps(measured.power)
    return found


def _power_gaps(power: PowerRecord) -> Iterator[Doubt]:
    """Readings that failed, came late, or ended before the window did."""
    for gap in power.gaps():
        yield Doubt(
            code="power_gap",
            meaning=f"readings of {gap.rail} are missing",
            observed=str(gap),
            threshold="none at all",
            advice="run_energy says whether the energy still holds; look at the sensor, or at what kept it waiting",
        )


def _noisy_subgraphs(record: MeasurementRecord) -> Iterator[Doubt]:
    total = record.model_summary.total_latency_ms
    noisy = [
        each
        for each in record.subgraphs
        if each.measured_latency.std > each.measured_latency.mean > RELEVANT_SHARE * total
    ]
    if noisy:
        share = sum(each.measured_latency.mean for each in noisy) / total
        yield Doubt(
            code="high_variance",
            meaning=f"{share:.0%} of the latency lies in subgraphs with a standard deviation above their mean"
            f" ({len(noisy)} of {len(record.subgraphs)}, first {noisy[0].subgraph_id})",
            observed=f"{noisy[0].measured_latency.std / noisy[0].measured_latency.mean:.2g} in the first",
            threshold="1",
            advice="stop what else runs, and measure more passes",
        )


def _fast_subgraphs(record: MeasurementRecord) -> Iterator[Doubt]:
    fast = [each for each in record.subgraphs if each.efficiency.mean > 1]
    if fast:
        best = max(fast, key=lambda each: each.efficiency.mean)
        yield Doubt(
            code="efficiency_above_one",
            meaning=f"{len(fast)} of {len(record.subgraphs)} subgraphs, most subgraph {best.subgraph_id}: the peak is"
            " too low, or the work is counted too high",
            observed=f"{best.efficiency.mean:.3g}",
            threshold="1",
            advice="correct the peak: lake hw add FILE",
        )


def _slow_first_pass(phase: str, samples: Sequence[float]) -> Iterator[Doubt]:
    rest = list(islice(samples, 1, None))
    if rest and samples[0] > SLOW_FIRST_PASS * median(rest):
        yield Doubt(
            code="slow_first_pass",
            meaning=f"{phase}: the first timed pass took {samples[0]:.3g} ms, the median of the others is"
            f" {median(rest):.3g} ms",
            observed=f"{samples[0] / median(rest):.2g} times" if median(rest) else "above zero",
            threshold=f"{SLOW_FIRST_PASS:g} times",
            advice="warm-up was too short: raise --warmup",
        )


def _drift(phase: str, samples: Sequence[float]) -> Iterator[Doubt]:
    """Compare the first and the last third: the medians differ by more than 5 %, and not by chance (`rank_score`)."""
    if len(samples) < PASSES_FOR_DRIFT:
        return
    third = len(samples) // 3
    first, last = samples[:third], samples[-third:]
    before, after = median(first), median(last)
    if before and abs(after / before - 1) > DRIFT and abs(rank_score(first, last)) > RANK_SCORE:
        yield Doubt(
            code="drift",
            meaning=f"{phase}: the median went from {before:.3g} ms in the first third of the passes to {after:.3g} ms"
            " in the last",
            observed=f"{after / before - 1:+.1%}",
            threshold=f"{DRIFT:.0%}",
            advice="raise --warmup, see lake preflight, or let the device cool down (--cooldown)",
        )


def rank_score(first: Sequence[float], second: Sequence[float]) -> float:
    """How far the second samples lie above the first, in standard deviations of chance.

    It is the normal score of the rank sum (Mann and Whitney, Annals of Mathematical Statistics 18, 1947), without a
    correction for ties. Passes that follow each other are not independent, so chance alone exceeds 3 more often than
    in 0.3 % of the runs.
    """
    ordered = sorted(first)
    above = sum((bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 for value in second)
    pairs = len(first) * len(second)
    return (above - pairs / 2) / math.sqrt(pairs * (len(first) + len(second) + 1) / 12)


def _variation(phase: str, samples: Sequence[float]) -> Iterator[Doubt]:
    if len(samples) < PASSES_FOR_VARIATION or not fmean(samples):
        return
    variation = stdev(samples) / fmean(samples)
    if variation > HIGH_VARIATION:
        yield Doubt(
            code="high_variance",
            meaning=f"{phase}: the passes scatter",
            observed=f"a coefficient of variation of {variation:.3g}",
            threshold=f"{HIGH_VARIATION:g}",
            advice="see lake preflight, stop what else runs, or measure more passes",
        )


def _interval(phase: str, samples: Sequence[float], settings: SweepSettings) -> Iterator[Doubt]:
    from groundlake.stats.intervals import relative_half_width

    width = None if settings.until_ci is None else relative_half_width(samples)
    if width is not None and settings.until_ci is not None and width > settings.until_ci:
        yield Doubt(
            code="interval_not_reached",
            meaning=f"{phase}: {len(samples)} passes did not settle the mean",
            observed=f"{width:.2%} half a 95 % interval",
            threshold=f"{settings.until_ci:.2%}",
            advice="raise --max-runs or --timeout, or stop what else runs",
        )


def _throttling(measured: Measured) -> Iterator[Doubt]:
    reasons = dict.fromkeys(
        reason
        for state in (measured.system_under_load, measured.system_after)
        for reason in state.get("throttle_reasons") or ()
        if reason in THROTTLES
    )
    events = measured.throttle_events or 0
    if reasons or events:
        what = [*(["heat or over-current, by the kernel's count"] if events else []), *reasons]
        yield Doubt(
            code="throttling",
            meaning=f"the clocks are held back: {', '.join(what)}",
            observed=f"{events} events" if events else f"{len(reasons)} reasons",
            threshold="0",
            advice="let the device cool down (--cooldown 55C), or give it more power or a better fan",
        )


def low_gpu_clock(now_mhz: float | None, limit_mhz: float | None) -> Iterator[Doubt]:
    """Judge the clock of a GPU under load against the highest that it may take; nothing where either is unknown."""
    if not now_mhz or not limit_mhz or now_mhz >= LOW_CLOCK * limit_mhz:
        return
    share, is_very_low = now_mhz / limit_mhz, now_mhz < VERY_LOW_CLOCK * limit_mhz
    yield Doubt(
        code="low_gpu_clock",
        meaning=f"under load the GPU ran {'far ' if is_very_low else ''}below its highest clock",
        observed=f"{share:.0%} ({now_mhz:.0f} of {limit_mhz:.0f} MHz)",
        threshold=f"{VERY_LOW_CLOCK if is_very_low else LOW_CLOCK:.0%}",
        advice="throttle_reasons of system_under_load says why; let it cool down (--cooldown 55C), unlock the clocks"
        " (sudo nvidia-smi -rgc, on a Jetson sudo jetson_clocks), or give it more power",
    )


def held_back(held_s: Mapping[str, float], window_s: float) -> Iterator[Doubt]:
    """Say for how long the GPU's driver held the clocks back, for each cause that counts.

    Args:
        held_s: Time for which they were held back, by cause (power, thermal), in s.
        window_s: Time that was looked at, in s.
    """
    for cause, spent_s in sorted(held_s.items()):
        if spent_s > HELD_SHARE * window_s:
            yield Doubt(
                code="throttling",
                meaning=f"the clocks are held back by the GPU's {cause} limit, by its driver's count",
                observed=f"{spent_s:.2g} s",
                threshold=f"{HELD_SHARE:.0%} of {window_s:.2g} s",
                advice="let the device cool down (--cooldown 55C), or give it more power or a better fan",
            )
