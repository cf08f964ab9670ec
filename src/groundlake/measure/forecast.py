"""How long a sweep will take, from what the lake knows of the device. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import polars as pl

from groundlake.ledger import good_runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundlake.measure.plan import Configuration, Plan, PlannedRun, SweepSettings
    from groundlake.store import Lake

START_S = 1.0
"""Building, tracing and counting a model, where no run on the device tells how long it takes."""

TYPICAL_EFFICIENCY = 0.15
"""Share of the peak that whole models reach, where the lake has no run of the device: right within a factor of five."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Forecast:
    """Estimated time of one run in s, and how it was estimated; None and `unknown` where nothing is known."""

    run: PlannedRun
    seconds: float | None
    method: str


def forecast(
    lake: Lake, settings: SweepSettings, todo: Plan, flops: Mapping[str, float | None] | None = None
) -> list[Forecast]:
    """Estimate the time of each run of a plan, without cool-down and idle baseline.

    A run takes its start and its passes, `2 * (warmup + runs) * latency`. The latency of one pass is that of the same
    configuration in the lake, else that of the model at the nearest batch size in proportion to the batch, else its
    FLOPs over the median rate of the device, else over 15 % of the peak in fp32.

    Args:
        lake: Its good runs of the device are the knowledge.
        settings: How the sweep will measure.
        todo: The plan.
        flops: FLOPs of one input by model, for models the lake has not.
    """
    runs = good_runs(lake.runs(settings.hardware_id)) if lake.exists else pl.DataFrame()
    if not runs.is_empty():
        runs = runs.filter(pl.col("total_latency_ms").is_not_null()).sort("started_at", nulls_last=False)
    guess = _Guess(settings, flops or {}, runs.to_dicts())
    return [guess.of(run) for run in todo.todo]


class _Guess:
    def __init__(
        self, settings: SweepSettings, flops: Mapping[str, float | None], runs: list[dict[str, object]]
    ) -> None:
        self._settings = settings
        self._flops = flops
        self._latency_ms: dict[tuple[str, str, int], float] = {}
        rates, starts = [], []
        for run in runs:
            key = (str(run["model"]), str(run["precision"]), _whole(run["batch"]))
            pass_ms = _number(run["end_to_end_latency_ms"]) or _number(run["total_latency_ms"])
            self._latency_ms[key] = pass_ms
            if pass_ms > 0 and _number(run["total_flops"]) > 0:
                rates.append(_number(run["total_flops"]) / pass_ms * 1000)
            if run["duration_s"] is not None and run["timed_runs"] is not None:
                passes = _whole(run["warmup_runs"]) + _whole(run["timed_runs"])
                starts.append(_number(run["duration_s"]) - 2 * passes * pass_ms / 1000)
        self._rate = median(rates) if rates else None
        self._start_s = max(0.0, median(starts)) if starts else START_S

    def of(self, run: PlannedRun) -> Forecast:
        pass_ms, method = self._pass_ms(run.configuration)
        if pass_ms is None:
            return Forecast(run, None, method)
        passes = 2 * (self._settings.warmup + self._settings.runs)
        return Forecast(run, self._start_s + passes * pass_ms / 1000, method)

    def _pass_ms(self, wanted: Configuration) -> tuple[float | None, str]:
        known = self._latency_ms.get((wanted.model, wanted.precision, wanted.batch))
        if known is not None:
            return known, "measured before"
        batches = {
            batch: ms
            for (model, precision, batch), ms in self._latency_ms.items()
            if (model, precision) == (wanted.model, wanted.precision) and batch > 0
        }
        if batches:
            nearest = min(batches, key=lambda batch: (abs(batch - wanted.batch), batch))
            return batches[nearest] * wanted.batch / nearest, f"in proportion to batch {nearest}"
        work, peak = self._flops.get(wanted.model), self._settings.peaks.get("fp32")
        if work and self._rate:
            return 1000 * work * wanted.batch / self._rate, "FLOPs at the rate of other models here"
        if work and peak:
            seconds = work * wanted.batch / (TYPICAL_EFFICIENCY * peak)
            return 1000 * seconds, f"FLOPs at {TYPICAL_EFFICIENCY:.0%} of the peak"
        return None, UNKNOWN


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _whole(value: object) -> int:
    return int(_number(value))
