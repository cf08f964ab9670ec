"""What is said about an energy, in a result and in a lake: it means the same in every lake that it comes into."""

from __future__ import annotations

from typing import Any

from groundlake.experiment.base import Amount, Count, Model

UNKNOWN = "unknown"
REPORTED = "reported"


class EnergyStatement(Model):
    """One statement about the energy of an experiment, with the columns of `energy_estimates`.

    Attributes:
        energy_j: Energy, in J.
        scope: What it is of: gpu, cpu, ram, soc, machine or process.
        source: Who says so: nvml, rapl, zeus, codecarbon, ...; unknown where the result does not tell.
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
    source: str = UNKNOWN
    method: str = REPORTED
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

    def changed(self, **fields: Any) -> EnergyStatement:  # noqa: ANN401 - any of the fields
        """Return the same statement with other values in these fields."""
        return EnergyStatement(**self.model_dump() | fields)
