"""Energy of an experiment from its power readings: what each rail took, what it is of, and which sum stands for it.

What a rail took comes from the view `run_energy`, so that it equals what the lake says of the same readings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundlake.experiment.extended import EnergyBreakdown
from groundlake.experiment.statements import EnergyStatement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

GPU, CPU, RAM, MACHINE = "gpu", "cpu", "ram", "machine"
NVML, RAPL, JETSON, REPLAY = "nvml", "rapl", "jetson_ina3221", "replay"
INTEGRAL, COUNTER = "power_integral", "counter"

PARTS_OF_A_MODULE = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
"""Rails that together feed a module without `VDD_IN`; see docs/power.md."""

CHOICE = {
    "cuda": (GPU, MACHINE, CPU, RAM),
    "cpu": (CPU, MACHINE, RAM),
    None: (GPU, MACHINE, CPU, RAM),
}
"""Scopes in the order in which one stands for the energy of a run, by its device: as in the view experiment_energy."""

RUN_ENERGY = """
    SELECT source, rail, device_index, window_s, averaging_s, usual_step_s, value_period_s, energy_j,
        counter_energy_j, baseline_power_w, reason, counter_reason
    FROM run_energy
    WHERE kind = 'llm_inference'
    ORDER BY source, rail, device_index
"""

Rail = dict[str, Any]
"""A row of `run_energy`."""

SCOPES = (
    (NVML, ".*", GPU),
    (None, "psys|VDD_IN|machine", MACHINE),
    (None, "[gG][pP][uU][-_ ]?[0-9]*", GPU),
    (None, "(.*/)?(dram|ram)", RAM),
    (None, "package-?[0-9]*|cpu", CPU),
)
"""What a rail is of: source (None: any), form of its whole name, scope; the first that fits. Others are of a part.

The names are those of the sensors (gpu, package-0, package-0/dram, psys, VDD_IN), which recorded traces share, and
plain ones that a trace may have: gpu0, cpu, ram, machine. The rails of `PARTS_OF_A_MODULE` are machine together.
The view energy_recomputed has the same table in SQL.
"""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """How the idle power came about: its age at the start of the measurement, in s, and the readings of a rail."""

    age_s: float
    method: str
    samples: int | None = None


@dataclass(frozen=True, kw_only=True)
class Energies:
    """What is known of the energy of an experiment.

    Attributes:
        rows: Estimates of single devices, and of all in a scope where each of them is known.
        whole: The estimate that stands for the experiment; None where there is none.
        why_not: Why there is none.
        sensor_period_s: How often the slowest sensor behind `whole` has a value, or averages, in s; None where there
            is no sensor.
        has_baseline: Whether the idle power of that sensor is known.
    """

    rows: tuple[EnergyStatement, ...] = ()
    whole: EnergyStatement | None = None
    why_not: str | None = None
    sensor_period_s: float | None = None
    has_baseline: bool = False

    def of_gpu(self, index: int | None) -> EnergyStatement | None:
        """Estimate of one GPU; None where there is none."""
        return next((row for row in self.rows if row.scope == GPU and row.device_index == index is not None), None)


def scope_of(rail: Rail) -> str | None:
    """What a rail's energy is of, by `SCOPES`; None for a part of something, such as the cores of a package."""
    for source, form, scope in SCOPES:
        if source in {None, rail["source"]} and re.fullmatch(form, str(rail["rail"])):
            return scope
    return None


def energies(
    rails: pl.DataFrame,
    *,
    device: str | None,
    gpus: Sequence[int] | None,
    uuids: dict[int, str],
    baseline: Baseline | None = None,
) -> Energies:
    """Estimate the energy of an experiment from what its rails took.

    Args:
        rails: Rows of `run_energy` of the experiment.
        device: Kind of the device that worked: cpu, cuda; None where it is not known.
        gpus: Indices, as NVML has them, of the GPUs that worked; None for all that there are.
        uuids: Identity of a GPU by its index.
        baseline: How the idle power came about; None where there is none.
    """
    known = [rail for rail in rails.to_dicts() if worked(rail, device, gpus)]
    by_scope: dict[tuple[str, str], list[Rail]] = {}
    for rail in known:
        scope = scope_of(rail)
        if scope is not None:
            by_scope.setdefault((scope, rail["source"]), []).append(rail)
    rows: list[EnergyStatement] = []
    totals: list[tuple[EnergyStatement, list[Rail]]] = []
    for (scope, source), members in by_scope.items():
        for method in (COUNTER, INTEGRAL):
            each = [_row(rail, scope, method, uuids, baseline) for rail in members]
            if len(each) > 1 or members[0]["device_index"] is not None:
                rows += [row for row in each if row is not None and row.device_index is not None]
            total = _sum(scope, source, method, each, gpus)
            if total is not None:
                totals.append((total, members))
    totals += _module(known, baseline)
    if not totals:
        named = [rail for rail in known if scope_of(rail) is not None]
        slowest = max((max(_period_s(rail, INTEGRAL), rail["value_period_s"] or 0.0) for rail in named), default=None)
        return Energies(rows=tuple(rows), why_not=_why_not(named, rails), sensor_period_s=slowest)
    order = CHOICE[device]
    whole, members = min(totals, key=lambda each: (order.index(each[0].scope), each[0].method != COUNTER))
    return Energies(
        rows=(*rows, *(total for total, _ in totals)),
        whole=whole,
        sensor_period_s=max(_period_s(rail, whole.method) for rail in members),
        has_baseline=whole.baseline_power_w is not None,
    )


def breakdown(whole: EnergyStatement | None, baseline: Baseline | None) -> EnergyBreakdown | None:
    """Energy less what the idle device takes in the same time, clamped at 0 and as it is; None without an energy."""
    if whole is None:
        return None
    above = whole.energy_above_baseline_j
    is_known = baseline is not None and above is not None
    return EnergyBreakdown(
        raw_j=whole.energy_j,
        adjusted_j=None if above is None else max(0.0, above),
        adjusted_unclamped_j=above,
        baseline_power_w=whole.baseline_power_w,
        baseline_method=baseline.method if baseline is not None and is_known else "unavailable",  # type: ignore[arg-type] # fresh or cached
        baseline_cache_age_sec=baseline.age_s if baseline is not None and is_known else None,
        baseline_samples=baseline.samples if baseline is not None and is_known else None,
    )


def worked(rail: Rail, device: str | None, gpus: Sequence[int] | None) -> bool:
    """Whether a rail is about what worked: not a GPU that was idle, or any GPU where the processor worked."""
    if scope_of(rail) != GPU:
        return True
    if device == "cpu":
        return False
    return gpus is None or rail["device_index"] is None or rail["device_index"] in gpus


def _row(
    rail: Rail, scope: str, method: str, uuids: dict[int, str], baseline: Baseline | None
) -> EnergyStatement | None:
    """What one rail took; None where the sensor cannot tell."""
    energy = rail["counter_energy_j"] if method == COUNTER else rail["energy_j"]
    if energy is None:
        return None
    power = rail["baseline_power_w"] if baseline is not None else None
    return EnergyStatement(
        energy_j=energy,
        scope=scope,
        source=rail["source"],
        method=method,
        device_index=rail["device_index"],
        device_uuid=uuids.get(rail["device_index"]) if scope == GPU else None,
        window_start_s=0.0,
        window_s=rail["window_s"],
        baseline_power_w=power,
        baseline_method=None if power is None or baseline is None else baseline.method,
        baseline_age_s=None if power is None or baseline is None else baseline.age_s,
        energy_above_baseline_j=None if power is None else energy - power * rail["window_s"],
    )


def _sum(
    scope: str, source: str, method: str, each: Sequence[EnergyStatement | None], gpus: Sequence[int] | None
) -> EnergyStatement | None:
    """Energy of all devices in a scope; None where that of one is not known: a partial sum is never given."""
    rows = [row for row in each if row is not None]
    if not rows or len(rows) < len(each):
        return None
    if scope == GPU and gpus is not None and rows[0].device_index is not None and len(rows) < len(set(gpus)):
        return None  # one that worked has no sensor
    powers = [row.baseline_power_w for row in rows]
    above = [row.energy_above_baseline_j for row in rows]
    return rows[0].changed(
        scope=scope,
        source=source,
        method=method,
        device_index=None,
        device_uuid=None,
        energy_j=sum(row.energy_j for row in rows),
        baseline_power_w=_all(powers),
        baseline_method=None if _all(powers) is None else rows[0].baseline_method,
        baseline_age_s=None if _all(powers) is None else rows[0].baseline_age_s,
        energy_above_baseline_j=_all(above),
        note=_note(scope, rows, gpus),
    )


def _note(scope: str, rows: Sequence[EnergyStatement], gpus: Sequence[int] | None) -> str | None:
    names = [row.device_index for row in rows if row.device_index is not None]
    if scope == GPU and gpus is None and names:
        return f"all GPUs of the machine ({names}): the server does not say which of them it uses"
    return f"sum over {scope} {names}" if len(names) > 1 else None


def _module(known: Sequence[Rail], baseline: Baseline | None) -> list[tuple[EnergyStatement, list[Rail]]]:
    """Energy of a module whose input has no rail of its own."""
    parts = [rail for rail in known if rail["rail"] in PARTS_OF_A_MODULE]
    if len(parts) != len(PARTS_OF_A_MODULE) or any(rail["rail"] == "VDD_IN" for rail in known):
        return []
    each = [_row(rail, MACHINE, INTEGRAL, {}, baseline) for rail in parts]
    total = _sum(MACHINE, parts[0]["source"], INTEGRAL, each, None)
    if total is None:
        return []
    return [(total.changed(note=f"sum of {' + '.join(PARTS_OF_A_MODULE)}"), parts)]


def _all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _period_s(rail: Rail, method: str) -> float:
    """How often a rail can tell something new, in s.

    A steady rail changes its value seldom, which says nothing about the sensor: where the view gives an energy, how
    often the value changed was enough for it.
    """
    averaging = 0.0 if method == COUNTER else rail["averaging_s"] or 0.0
    return max(averaging, rail["usual_step_s"] or 0.0)


def _why_not(named: Sequence[Rail], rails: pl.DataFrame) -> str:
    """Say why no estimate stands for the experiment, in the words of the view."""
    if rails.is_empty():
        return "no power sensor"
    if not named:
        names = ", ".join(sorted(set(rails["rail"])))
        return f"no rail of what worked is known by its name; there are {names} (docs/power.md)"
    first = named[0]
    reason = first["reason"] if first["reason"] != "the sensor tells no power" else first["counter_reason"]
    return f"{first['source']} {first['rail']}: {reason or 'one of several devices has no reading'}"
