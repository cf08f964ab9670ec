"""What results say beside tokens, energy and work: baseline, throttling, warm-up, memory, caches, the machine."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from groundlake.experiment.base import Amount, Count, Model, Percent, Share, differ

if TYPE_CHECKING:
    from collections.abc import Iterator


class EnergyBreakdown(Model):
    """Energy with the idle power taken off.

    Attributes:
        raw_j: Energy of the window, in J.
        adjusted_j: The same less the baseline, in J, never below 0; None where there is no baseline.
        baseline_power_w: Idle power, in W.
        baseline_method: fresh (taken for this run), cached, or unavailable.
        baseline_timestamp: When it was taken.
        baseline_cache_age_sec: Its age, in s.
        baseline_samples: Readings behind it.
        adjusted_unclamped_j: The difference as it is, in J: below 0 the baseline was too high.
    """

    raw_j: Amount
    adjusted_j: Amount | None = None
    baseline_power_w: Amount | None = None
    baseline_method: Literal["fresh", "cached", "unavailable"] | None = None
    baseline_timestamp: dt.datetime | None = None
    baseline_cache_age_sec: float | None = None
    baseline_samples: Count | None = None
    adjusted_unclamped_j: float | None = None

    def contradictions(self) -> Iterator[str]:
        """An adjustment that adds energy."""
        if self.adjusted_j is not None and self.adjusted_j > self.raw_j:
            yield f"{self.adjusted_j} J less the baseline are more than the {self.raw_j} J with it"


class ThermalThrottleInfo(Model):
    """Whether and why the device lowered its clocks.

    Attributes:
        detected: Whether it did, for whatever reason.
        thermal: Whether it was too hot.
        power: Whether it reached a power limit.
        sw_thermal: Limit of temperature set by software.
        hw_thermal: Limit of temperature in hardware.
        hw_power: Power brake in hardware.
        throttle_duration_sec: How long, in s.
        max_temperature_c: Highest temperature, in degrees C.
        throttle_timestamps: Moments of it, in s from the start of the measurement.
    """

    detected: bool = False
    thermal: bool = False
    power: bool = False
    sw_thermal: bool = False
    hw_thermal: bool = False
    hw_power: bool = False
    throttle_duration_sec: Amount = 0.0
    max_temperature_c: float | None = None
    throttle_timestamps: list[float] = Field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """Names of the reasons that were seen."""
        names = ("thermal", "power", "sw_thermal", "hw_thermal", "hw_power")
        return [name for name in names if getattr(self, name)]


class WarmupResult(Model):
    """What came before the measurement.

    Attributes:
        converged: Whether latencies settled.
        final_cv: Coefficient of variation of the last window.
        iterations_completed: Requests of the warm-up.
        target_cv: Coefficient at which they count as settled.
        max_prompts: Limit of requests.
        latencies_ms: Their latencies, in ms.
        thermal_floor_wait_s: Time waited for the device to reach its temperature, in s.
    """

    converged: bool
    final_cv: Amount
    iterations_completed: Count
    target_cv: Amount
    max_prompts: Count
    latencies_ms: list[Amount] = Field(default_factory=list)
    thermal_floor_wait_s: Amount = 0.0


class MemoryMetrics(Model):
    """Memory of the device in MiB; None is what was not measured."""

    total_vram_mb: Amount | None = None
    model_memory_mb: Amount | None = None
    peak_memory_mb: Amount | None = None
    inference_memory_mb: Amount | None = None
    kv_cache_mb: Amount | None = None
    tokens_per_gb_vram: Amount | None = None
    model_memory_utilisation: Share | None = None
    kv_cache_memory_ratio: Share | None = None


class GpuUtilisationMetrics(Model):
    """How busy the GPU was: the share of time in which any kernel ran, in per cent."""

    sm_utilisation_mean: Percent | None = None
    sm_utilisation_samples: Count = 0
    memory_bandwidth_utilisation: Percent | None = None


class BatchMetrics(Model):
    """How full batches were."""

    effective_batch_size: Amount | None = None
    batch_utilisation: Share | None = None
    padding_overhead: Share | None = None
    num_batches: Count | None = None


class KvCacheMetrics(Model):
    """How the cache of keys and values was used."""

    kv_cache_hit_rate: Share | None = None
    kv_cache_blocks_used: Count | None = None
    kv_cache_blocks_total: Count | None = None


class RequestLatencyMetrics(Model):
    """Statistics of whole requests, in ms."""

    e2e_latency_mean_ms: Amount | None = None
    e2e_latency_median_ms: Amount | None = None
    e2e_latency_p95_ms: Amount | None = None
    e2e_latency_p99_ms: Amount | None = None
    e2e_latency_samples: Count = 0


class ExtendedEfficiencyMetrics(Model):
    """Figures beside the main ones, each where a backend knows it."""

    tpot_ms: Amount | None = None
    token_efficiency_index: Amount | None = None
    memory: MemoryMetrics = MemoryMetrics()
    gpu_utilisation: GpuUtilisationMetrics = GpuUtilisationMetrics()
    batch: BatchMetrics = BatchMetrics()
    kv_cache: KvCacheMetrics = KvCacheMetrics()
    request_latency: RequestLatencyMetrics = RequestLatencyMetrics()


class MultiGPUMetrics(Model):
    """Energy by GPU.

    Attributes:
        num_gpus: GPUs that took part.
        energy_per_gpu_j: Energy of each, in J.
        energy_total_j: Their sum, in J.
        energy_per_output_token_j: Their sum for each token of the answers, in J.
    """

    num_gpus: Count
    energy_per_gpu_j: list[Amount]
    energy_total_j: Amount
    energy_per_output_token_j: Amount

    def contradictions(self) -> Iterator[str]:
        """A number or a sum that is not that of the GPUs."""
        if len(self.energy_per_gpu_j) != self.num_gpus:
            yield f"{self.num_gpus} GPUs have {len(self.energy_per_gpu_j)} energies"
        if differ(sum(self.energy_per_gpu_j), self.energy_total_j):
            yield f"the sum of the GPUs is {sum(self.energy_per_gpu_j):.6g} J, not {self.energy_total_j} J"


class GpuEnvironment(Model):
    """A GPU of the machine."""

    name: str
    vram_total_mb: Amount
    compute_capability: str | None = None
    pcie_gen: Count | None = None
    mig_enabled: bool | None = None


class CudaEnvironment(Model):
    """CUDA and its driver."""

    version: str
    driver_version: str
    cudnn_version: str | None = None


class ThermalEnvironment(Model):
    """Temperature and power limits when the environment was read."""

    temperature_c: float | None = None
    power_limit_w: Amount | None = None
    default_power_limit_w: Amount | None = None
    fan_speed_pct: Percent | None = None


class CpuEnvironment(Model):
    """The processor and its governor."""

    governor: str = "unknown"
    model: str | None = None
    platform: str


class ContainerEnvironment(Model):
    """Whether the tool ran in a container."""

    detected: bool = False
    runtime: str | None = None


class EnvironmentMetadata(Model):
    """Hardware that the tool saw."""

    gpu: GpuEnvironment
    cuda: CudaEnvironment
    thermal: ThermalEnvironment = ThermalEnvironment()
    cpu: CpuEnvironment
    container: ContainerEnvironment = ContainerEnvironment()
    collected_at: dt.datetime


class EnvironmentSnapshot(Model):
    """Hardware and software of the measurement.

    Attributes:
        python_version: Python.
        installed_packages: Packages as name==version, sorted.
        tool_version: Tool that measured.
        cuda_version: CUDA that was found.
        cuda_version_source: Where: torch, version_txt, nvcc.
        hardware: What was seen of the hardware; None without a GPU.
        os: Operating system and kernel.
        torch_version: PyTorch.
        driver_version: Driver of the device.
        machine_fingerprint: Hash of the machine's fixed properties.
        software_fingerprint: Hash of the versions that can change a timing: repeats share it.
    """

    python_version: str
    installed_packages: list[str]
    tool_version: str
    cuda_version: str | None = None
    cuda_version_source: str | None = None
    hardware: EnvironmentMetadata | None = None
    os: str | None = None
    torch_version: str | None = None
    driver_version: str | None = None
    machine_fingerprint: str | None = None
    software_fingerprint: str | None = None
