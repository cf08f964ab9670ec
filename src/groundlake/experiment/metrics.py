"""What one process measured: throughput, energy, work, and the ratios between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from groundlake.experiment.base import Amount, Count, Model, differ
from groundlake.experiment.latency import LatencyMeasurements

if TYPE_CHECKING:
    from collections.abc import Iterator

FlopsMethod = Literal["calflops", "architecture", "parameter_estimate", "palm_formula"]
Confidence = Literal["high", "medium", "low"]

MOST_POWER_W = 2000.0
"""Above this, one device is not believed: the largest accelerators take about half."""


class InferenceMetrics(Model):
    """Tokens and times of one process.

    Attributes:
        total_tokens: Tokens of prompts and answers; None where those of the prompts are not known.
        input_tokens: Tokens of the prompts; None where a server does not count them.
        output_tokens: Tokens of the answers; None where nobody counted those of one.
        inference_time_sec: Time in which the process inferred, in s.
        tokens_per_second: Throughput as the tool that wrote it defines it; views of the lake divide by named tokens.
            None where no tokens are known.
        latency_per_token_ms: The same as a time, in ms.
        time_to_first_token_ms: Mean time to the first token, in ms.
        latency_measurements: Raw latencies, where answers were streamed.
    """

    total_tokens: Count | None
    input_tokens: Count | None
    output_tokens: Count | None
    inference_time_sec: Amount
    tokens_per_second: Amount | None
    latency_per_token_ms: Amount | None
    time_to_first_token_ms: Amount | None = None
    latency_measurements: LatencyMeasurements | None = None

    @property
    def throughput(self) -> float | None:
        """Another name of `tokens_per_second`, in 1/s."""
        return self.tokens_per_second

    def contradictions(self) -> Iterator[str]:
        """Tokens that do not add up, and a throughput of no tokens there are."""
        known = self.input_tokens is not None and self.output_tokens is not None
        both = (self.input_tokens or 0) + (self.output_tokens or 0) if known else None
        if self.total_tokens is not None and both is not None and self.total_tokens != both:
            yield f"{self.total_tokens} tokens in all are not {self.input_tokens} in and {self.output_tokens} out"
        if self.inference_time_sec and self.tokens_per_second:
            counted = {"the output's": self.output_tokens, "all": self.total_tokens}
            rates = {of: tokens / self.inference_time_sec for of, tokens in counted.items() if tokens is not None}
            if rates and all(differ(self.tokens_per_second, rate) for rate in rates.values()):
                told = " nor ".join(f"{of} ({rate:.5g})" for of, rate in rates.items())
                either = "neither" if len(rates) > 1 else "not"
                yield f"{self.tokens_per_second} tokens/s are {either} {told} in {self.inference_time_sec} s"


class EnergyMetrics(Model):
    """Energy of one process; None is what was not measured, never 0.

    Attributes:
        total_energy_j: Energy of all that was measured, in J.
        gpu_energy_j: That of the GPUs, in J.
        cpu_energy_j: That of the processor, in J.
        ram_energy_j: That of the memory, in J.
        gpu_power_w: Mean power of the GPUs, in W.
        cpu_power_w: Mean power of the processor, in W.
        duration_sec: Length of the window, in s.
        emissions_kg_co2: Emissions as a tool reports them, in kg.
        energy_per_token_j: As the tool that wrote it defines it, in J; views of the lake divide by named tokens.
        source: Who measured: nvml, rapl, zeus, codecarbon, ...; None where it is not told.
        method: How: power_integral, counter; None where it is not told.
    """

    total_energy_j: Amount | None
    gpu_energy_j: Amount | None = None
    cpu_energy_j: Amount | None = None
    ram_energy_j: Amount | None = None
    gpu_power_w: Amount | None = None
    cpu_power_w: Amount | None = None
    duration_sec: Amount | None = None
    emissions_kg_co2: Amount | None = None
    energy_per_token_j: Amount | None = None
    source: str | None = None
    method: str | None = None

    @classmethod
    def placeholder(cls) -> EnergyMetrics:
        """Return the metrics of a process whose energy was not measured: all unknown."""
        return cls(total_energy_j=None)

    @property
    def total_power_w(self) -> float | None:
        """Mean power of GPUs and processor, in W; None where neither is known."""
        known = [power for power in (self.gpu_power_w, self.cpu_power_w) if power is not None]
        return sum(known) if known else None

    def contradictions(self) -> Iterator[str]:
        """Energies that do not add up, and a power that does not give the energy."""
        parts = [part for part in (self.gpu_energy_j, self.cpu_energy_j, self.ram_energy_j) if part]
        if self.total_energy_j is not None and parts and differ(self.total_energy_j, sum(parts)):
            yield f"{self.total_energy_j} J in all are not the sum of the parts, {sum(parts):.6g} J"
        for name, power, energy in (
            ("GPUs", self.gpu_power_w, self.gpu_energy_j),
            ("the processor", self.cpu_power_w, self.cpu_energy_j),
        ):
            if power and energy and self.duration_sec and differ(power * self.duration_sec, energy):
                product = power * self.duration_sec
                yield f"{power} W of {name} for {self.duration_sec} s are {product:.6g} J, not {energy} J"
        if self.cpu_power_w and self.cpu_power_w > MOST_POWER_W:
            yield f"{self.cpu_power_w} W of the processor are more than {MOST_POWER_W:.0f} W"


class FlopsResult(Model):
    """Floating-point operations of a piece of work, with what they rest on.

    Attributes:
        value: Operations, in FLOP.
        method: How they were counted.
        confidence: How far to trust it.
        precision: Precision they run in.
        notes: Remarks.
    """

    value: Amount
    method: FlopsMethod
    confidence: Confidence
    precision: str
    notes: str | None = None

    @property
    def is_valid(self) -> bool:
        """Whether there is any work."""
        return self.value > 0


class ComputeMetrics(Model):
    """Work and memory of one process; None is what was not measured.

    Attributes:
        flops_total: Operations, in FLOP.
        flops_per_token: Per token, in FLOP.
        flops_per_second: Rate, in FLOP/s.
        peak_memory_mb: Peak memory of the device in MiB, weights included.
        model_memory_mb: Memory after the model was loaded, in MiB.
        flops_method: How operations were counted; unknown where it is not told.
        flops_confidence: How far to trust it; unknown where it is not told.
        compute_precision: Precision they run in.
    """

    flops_total: Amount | None
    flops_per_token: Amount | None = None
    flops_per_second: Amount | None = None
    peak_memory_mb: Amount | None = None
    model_memory_mb: Amount | None = None
    flops_method: str = "unknown"
    flops_confidence: str = "unknown"
    compute_precision: str = "fp16"

    def contradictions(self) -> Iterator[str]:
        """A model that needs more memory than the peak."""
        if self.peak_memory_mb and self.model_memory_mb and self.model_memory_mb > self.peak_memory_mb:
            yield f"the model takes {self.model_memory_mb} MiB, the peak is {self.peak_memory_mb} MiB"


class CombinedMetrics(Model):
    """Throughput, energy and work together, and the ratios between them."""

    inference: InferenceMetrics
    energy: EnergyMetrics
    compute: ComputeMetrics

    @property
    def efficiency_tokens_per_joule(self) -> float:
        """Tokens of prompts and answers for each J; 0 where no energy is known."""
        energy = self.energy.total_energy_j
        return (self.inference.total_tokens or 0) / energy if energy else 0.0

    @property
    def efficiency_flops_per_watt(self) -> float:
        """FLOP/s for each W of GPUs and processor; 0 where no power is known."""
        power, rate = self.energy.total_power_w, self.compute.flops_per_second
        return rate / power if power and rate else 0.0
