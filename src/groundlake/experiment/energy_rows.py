"""What a result says about energy, as rows: every statement keeps its source, method, scope and window."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING

from groundlake.experiment.statements import REPORTED, UNKNOWN, EnergyStatement
from groundlake.schemas.experiment import ENERGY_METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.experiment.extended import EnergyBreakdown
    from groundlake.experiment.metrics import EnergyMetrics
    from groundlake.experiment.result import ExperimentResult, RawProcessResult

SAME_SUM = 1e-9
"""Relative difference up to which a total is the sum of its parts: they were added in another order."""


def energy_rows(result: ExperimentResult, *, age_at_end: bool = False) -> list[EnergyStatement]:
    """Every statement of a result about energy.

    Args:
        result: The result.
        age_at_end: Whether the ages of its baselines are those at the end of the measurement, as the existing tool
            writes them.
    """
    rows = [row for process in result.process_results for row in _of_process(process, age_at_end=age_at_end)]
    return [*_of_all(result, age_at_end=age_at_end), *rows, *_of_devices(result)]


def _of_process(process: RawProcessResult, *, age_at_end: bool) -> Iterator[EnergyStatement]:
    told = process.energy_metrics
    known = told.method in ENERGY_METHODS
    notes = [process.energy_measurement_warning]
    notes += [None if known or told.method is None else f"method of the tool: {told.method}"]
    common = EnergyStatement(
        energy_j=0.0,
        scope="process",
        source=told.source or UNKNOWN,
        method=str(told.method) if known else REPORTED,
        process_index=process.process_index,
        window_s=told.duration_sec,
        note="; ".join(filter(None, notes)) or None,
    )
    breakdown = process.energy_breakdown
    if told.total_energy_j is not None:
        total = common.changed(energy_j=told.total_energy_j, emissions_kg_co2=told.emissions_kg_co2)
        if breakdown is not None and _same(breakdown.raw_j, told.total_energy_j):
            total = _above(total, breakdown, process.timestamps.duration_sec, age_at_end=age_at_end)
            breakdown = None
        yield total
    parts = {"gpu": told.gpu_energy_j, "cpu": told.cpu_energy_j, "ram": told.ram_energy_j}
    for scope, energy in parts.items():
        if energy is not None:
            own = {"device_index": process.gpu_id, "device_uuid": process.gpu_uuid} if scope == "gpu" else {}
            yield common.changed(energy_j=energy, scope=scope, **own)
    if breakdown is not None:
        alone = common.changed(energy_j=breakdown.raw_j, note="raw_j of the breakdown, which is not the total")
        yield _above(alone, breakdown, process.timestamps.duration_sec, age_at_end=age_at_end)


def _of_all(result: ExperimentResult, *, age_at_end: bool) -> Iterator[EnergyStatement]:
    """The total of all processes, with its baseline; and the raw energy of the breakdown where that is another."""
    breakdown, total = result.energy_breakdown, result.total_energy_j
    common = _common(result)
    if total is not None:
        row = common.changed(energy_j=total)
        if breakdown is None or _same(breakdown.raw_j, total):
            row = _above(row, breakdown, result.duration_sec, age_at_end=age_at_end)
            row = _with_adjusted(row, result)
            breakdown = None
        yield row
    if breakdown is not None:
        alone = common.changed(
            energy_j=breakdown.raw_j, method=REPORTED, note="raw_j of the breakdown, which is not the total"
        )
        yield _above(alone, breakdown, result.duration_sec, age_at_end=age_at_end)


def _common(result: ExperimentResult) -> EnergyStatement:
    """What the total of a result rests on: the one process, the sum of several, or nobody tells."""
    told = [process.energy_metrics for process in result.process_results]
    sources = {each.source for each in told}
    source = (sources.pop() if len(sources) == 1 else None) or UNKNOWN
    scopes = {_only_part(each) for each in told}
    scope = (scopes.pop() if len(scopes) == 1 else None) or "process"
    row = EnergyStatement(energy_j=0.0, scope=scope, source=source)
    parts = [each.total_energy_j for each in told]
    known = [part for part in parts if part is not None]
    if (
        not known
        or len(known) < len(parts)
        or result.total_energy_j is None
        or not _same(sum(known), result.total_energy_j)
    ):
        return row
    if len(parts) > 1:
        return row.changed(method="sum_of_processes")
    only = told[0]
    return row.changed(
        method=only.method if only.method in ENERGY_METHODS else REPORTED,
        window_s=only.duration_sec,
        emissions_kg_co2=only.emissions_kg_co2,
    )


def _only_part(told: EnergyMetrics) -> str | None:
    """Scope of a total that is that of one part, and nothing else was measured."""
    parts = {"gpu": told.gpu_energy_j, "cpu": told.cpu_energy_j, "ram": told.ram_energy_j}
    known = {scope: energy for scope, energy in parts.items() if energy is not None}
    if len(known) != 1 or told.total_energy_j is None:
        return None
    ((scope, energy),) = known.items()
    return scope if _same(energy, told.total_energy_j) else None


def _with_adjusted(row: EnergyStatement, result: ExperimentResult) -> EnergyStatement:
    """Add what stands in the result itself, where its breakdown does not say it."""
    power = result.baseline_power_w if row.baseline_power_w is None else row.baseline_power_w
    above = row.energy_above_baseline_j
    if above is None:
        above = _unclamped(row.energy_j, result.energy_adjusted_j, power, result.duration_sec)
    return row.changed(baseline_power_w=power, energy_above_baseline_j=above)


def _above(
    row: EnergyStatement, breakdown: EnergyBreakdown | None, duration_s: float | None, *, age_at_end: bool
) -> EnergyStatement:
    """Add the baseline of a breakdown."""
    if breakdown is None:
        return row
    above = breakdown.adjusted_unclamped_j
    if above is None:
        above = _unclamped(row.energy_j, breakdown.adjusted_j, breakdown.baseline_power_w, duration_s)
    age = breakdown.baseline_cache_age_sec
    if age is not None and age_at_end:
        age = None if duration_s is None else age - duration_s
    return row.changed(
        baseline_power_w=breakdown.baseline_power_w,
        baseline_method=breakdown.baseline_method,
        baseline_age_s=age,
        energy_above_baseline_j=above,
    )


def _unclamped(
    energy_j: float, adjusted_j: float | None, power_w: float | None, duration_s: float | None
) -> float | None:
    """Energy less the baseline's, as it is: a tool writes 0 where the baseline was more than the energy.

    The existing tool takes the baseline off over the time from start to end, so that is done where it wrote 0.
    """
    if adjusted_j:
        return adjusted_j
    if power_w is not None and duration_s is not None:
        return energy_j - power_w * duration_s
    return None


def _of_devices(result: ExperimentResult) -> Iterator[EnergyStatement]:
    source = _common(result).source
    of_each = result.energy_per_device_j or []
    gpus = result.multi_gpu
    for index, energy in enumerate(of_each):
        yield EnergyStatement(energy_j=energy, scope="gpu", source=source, device_index=index)
    if gpus is None:
        return
    if gpus.energy_per_gpu_j != of_each:
        for index, energy in enumerate(gpus.energy_per_gpu_j):
            yield EnergyStatement(energy_j=energy, scope="gpu", source=source, device_index=index, note="of multi_gpu")
    if result.total_energy_j is None:  # else it would stand beside the total as another one
        yield EnergyStatement(
            energy_j=gpus.energy_total_j, scope="gpu", source=source, note="sum over GPUs, of multi_gpu"
        )


def _same(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=SAME_SUM)
