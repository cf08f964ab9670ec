"""What a result says about its energy and its doubts so that it means the same in every lake that it comes into."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from groundlake.experiment.base import Amount, Count, Model

if TYPE_CHECKING:
    from groundlake.experiment.energy_rows import EnergyRow
    from groundlake.experiment.quality import Doubt


class EnergyStatement(Model):
    """One statement about the energy of an experiment, with the columns of `energy_estimates`.

    Attributes:
        energy_j: Energy, in J.
        scope: What it is of: gpu, cpu, ram, soc, machine or process.
        source: Who says so: nvml, rapl, ...
        method: power_integral, counter, reported or sum_of_processes.
        process_index: Process it is about; None for all.
        device_index: Index of the device; None for all in the scope.
        device_uuid: Identity of the device.
        phase: Part of the work it covers.
        window_start_s: Begin, in s from the start of the measurement.
        window_s: Length of time it covers, in s.
        baseline_power_w: Idle power, in W.
        baseline_method: How the baseline came about.
        baseline_age_s: Its age at the start of the measurement, in s.
        energy_above_baseline_j: Energy less the baseline's, not clamped at 0, in J.
        emissions_kg_co2: Emissions as a tool reports them, in kg.
        note: What is doubtful about it.
    """

    energy_j: Amount
    scope: str
    source: str
    method: str
    process_index: Count | None = None
    device_index: Count | None = None
    device_uuid: str | None = None
    phase: str = "all"
    window_start_s: float | None = None
    window_s: Amount | None = None
    baseline_power_w: Amount | None = None
    baseline_method: str | None = None
    baseline_age_s: float | None = None
    energy_above_baseline_j: float | None = None
    emissions_kg_co2: Amount | None = None
    note: str | None = None

    @classmethod
    def of(cls, row: EnergyRow) -> EnergyStatement:
        """Keep a row of `energy_estimates`."""
        return cls(**asdict(row))


class MeasurementDoubt(Model):
    """One doubt about a measurement with its figures, as a row of `measurement_warnings` has them.

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
    rules_version: str

    @classmethod
    def of(cls, doubt: Doubt) -> MeasurementDoubt:
        """Keep a doubt that the present rules raised."""
        from groundlake.experiment.quality import RULES_VERSION

        return cls(**asdict(doubt), rules_version=RULES_VERSION)

    def __str__(self) -> str:
        """The same sentence as that of the doubt, which stands in `measurement_warnings`."""
        return f"{self.code}: {self.seen}. {self.advice}"
