"""From what the processes found to results: a record for each request, a result for each process, one for all."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.experiment.aggregation import aggregate
from groundlake.experiment.energy import GPU, breakdown
from groundlake.experiment.extended import (
    BatchMetrics,
    ExtendedEfficiencyMetrics,
    MemoryMetrics,
    MultiGPUMetrics,
    RequestLatencyMetrics,
)
from groundlake.experiment.latency import LatencyMeasurements
from groundlake.experiment.metrics import ComputeMetrics, EnergyMetrics, FlopsResult, InferenceMetrics
from groundlake.experiment.plan import TRANSFORMERS, UNKNOWN, config_hash
from groundlake.experiment.request import RequestRecord
from groundlake.experiment.result import ExperimentResult, RawProcessResult, Timestamps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.experiment.energy import Baseline, Energies
    from groundlake.experiment.messages import Ended, Measured, Ready
    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.statements import EnergyStatement
    from groundlake.llm.generation import Generation

MS = 1000.0
MIB = 2**20
CONFIDENCE = "medium"
PALM_NOTE = (
    "2 x {parameters} parameters outside the embeddings x (tokens in + tokens out); attention over the context is left"
    " out, so the true number grows with the length of the context"
)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """GPU that a process worked on: its index, as NVML has it, its identity and its name."""

    index: int
    uuid: str | None = None
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that the processes of an experiment found.

    Attributes:
        ready: What each said before the measurement.
        ended: When each measured.
        measured: What each measured.
        gpus: GPU of each; None where it has none, or nobody knows.
        start_s: Start of the measurement, by `time.perf_counter`.
        started_at: The same as local time, aware.
    """

    ready: Sequence[Ready]
    ended: Sequence[Ended]
    measured: Sequence[Measured]
    gpus: Sequence[Gpu | None]
    start_s: float
    started_at: dt.datetime

    @property
    def generations(self) -> list[Generation]:
        """Answers of all processes, failed ones too."""
        return [each for measured in self.measured for each in measured.generations]

    def moment(self, clock_s: float) -> dt.datetime:
        """Local time of a reading of the clock."""
        return self.started_at + dt.timedelta(seconds=clock_s - self.start_s)


def precision_of(plan: ExperimentPlan, found: Found) -> str:
    """Precision of the weights: what a local model has, or what was told of an endpoint."""
    told = {ready.precision for ready in found.ready} - {None}
    return (told.pop() or UNKNOWN) if len(told) == 1 else plan.precision


def settings_of(plan: ExperimentPlan, precision: str) -> dict[str, Any]:
    """Settings as a result keeps them."""
    return plan.settings() | {"precision": precision}


def processes_of(plan: ExperimentPlan, found: Found, energies: Energies, experiment_id: str) -> list[RawProcessResult]:
    """Make the result of each process.

    Args:
        plan: What was asked for.
        found: What the processes found.
        energies: What is known of the energy.
        experiment_id: Identity of the experiment.
    """
    return [_process(plan, found, index, energies, experiment_id) for index in range(len(found.ended))]


def result_of(
    plan: ExperimentPlan,
    found: Found,
    processes: Sequence[RawProcessResult],
    energies: Energies,
    baseline: Baseline | None,
    **fields: Any,  # noqa: ANN401 - further fields of the result
) -> ExperimentResult:
    """Put the processes together; statistics are made once over all their values.

    Args:
        plan: What was asked for.
        found: What the processes found.
        processes: The result of each.
        energies: What is known of the energy.
        baseline: How the idle power came about.
        **fields: Further fields of the result.
    """
    first, whole = found.ready[0], energies.whole
    split = breakdown(whole, baseline)
    made = aggregate(
        processes,
        measurement_config_hash=config_hash(plan),
        total_energy_j=None if whole is None else whole.energy_j,
        energy_breakdown=split,
        baseline_power_w=None if split is None else split.baseline_power_w,
        energy_adjusted_j=None if split is None else split.adjusted_j,
        warmup_excluded_samples=sum(len(ready.warmup) for ready in found.ready),
        model_info=first.model_info,
        extended_metrics=_extended(plan, processes),
    )
    flops = made.total_flops
    seconds = made.duration_sec
    derived: dict[str, Any] = {
        "avg_energy_per_token_j": None
        if whole is None or not made.total_tokens
        else whole.energy_j / made.total_tokens,
        "flops": _flops(plan, found, processes, flops),
        "flops_per_output_token": _share(flops, made.output_tokens),
        "flops_per_input_token": _share(flops, made.input_tokens),
        "flops_per_second": _share(flops, seconds),
        **_of_devices(energies, found, made.output_tokens),
    }
    return made.model_copy(update=derived | fields)


def _process(
    plan: ExperimentPlan, found: Found, index: int, energies: Energies, experiment_id: str
) -> RawProcessResult:
    """Result of one process."""
    ready, ended, measured, gpu = found.ready[index], found.ended[index], found.measured[index], found.gpus[index]
    answers = [each for each in measured.generations if each.ok]
    seconds = ended.ended_s - ended.started_s
    records = [_record(each, place, "measure", found.start_s) for place, each in enumerate(measured.generations)]
    records += [_record(each, place, "warmup", found.start_s) for place, each in enumerate(ready.warmup)]
    inference = _inference(answers, seconds, warmup=len(ready.warmup))
    precision = precision_of(plan, found)
    flops = _palm(ready.non_embedding_parameters, inference.total_tokens)
    return RawProcessResult(
        experiment_id=experiment_id,
        backend=plan.backend,
        backend_version=ready.backend_version,
        process_index=index,
        gpu_id=None if gpu is None else gpu.index,
        gpu_uuid=None if gpu is None else gpu.uuid,
        gpu_name="" if gpu is None else gpu.name,
        config_name=plan.config_name,
        model_name=plan.model_name,
        timestamps=Timestamps.from_times(found.moment(ended.started_s), found.moment(ended.ended_s)),
        inference_metrics=inference,
        energy_metrics=_energy(energies, found, index, inference.total_tokens),
        compute_metrics=ComputeMetrics(
            flops_total=flops,
            flops_per_token=_share(flops, inference.total_tokens),
            flops_per_second=_share(flops, seconds),
            peak_memory_mb=_in_mib(measured.peak_memory_bytes),
            model_memory_mb=_in_mib(ready.model_memory_bytes),
            flops_method="unknown" if flops is None else "palm_formula",
            flops_confidence="unknown" if flops is None else CONFIDENCE,
            compute_precision=precision,
        ),
        effective_config=settings_of(plan, precision),
        per_request_latencies_ms=[
            each.end_to_end_latency_ms
            for each in records
            if each.phase == "measure" and each.end_to_end_latency_ms is not None
        ],
        requests=records,
    )


def _record(answer: Generation, place: int, phase: str, start_s: float) -> RequestRecord:
    """One request; of a failed one only when it was sent and why it failed is known for certain."""
    told: dict[str, Any] = {"request_index": place, "phase": phase, "sent_at_s": answer.sent_s - start_s}
    if answer.error is not None:
        return RequestRecord(**told, status="failed", error=f"{answer.error.code}: {answer.error.message}")
    arrivals = _arrivals_ms(answer)
    between = [later - earlier for earlier, later in pairwise(arrivals)]
    return RequestRecord(
        **told,
        time_to_first_token_ms=arrivals[0] if arrivals else None,
        end_to_end_latency_ms=arrivals[-1] if arrivals else (answer.finished_s - answer.sent_s) * MS,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        inter_token_latencies_ms=between if arrivals else None,
        token_timing=answer.token_timing,
    )


def _arrivals_ms(answer: Generation) -> list[float]:
    """When tokens came, in ms from the sending of the request."""
    return [(arrival - answer.sent_s) * MS for arrival in answer.arrivals_s]


def _inference(answers: Sequence[Generation], seconds: float, *, warmup: int) -> InferenceMetrics:
    """Tokens and times of one process; throughput is of all tokens, or of the answers' where no others are known.

    Where the tokens of one answer are not known, those of all are not: a part of them would pass for the whole.
    """
    outputs = _all([_output_tokens(answer) for answer in answers])
    total_in = _all([answer.input_tokens for answer in answers])
    total = None if total_in is None or outputs is None else total_in + outputs
    counted = outputs if total is None else total
    latencies = _latencies(answers, outputs, warmup)
    firsts = latencies.ttft_ms if latencies is not None else []
    return InferenceMetrics(
        total_tokens=total,
        input_tokens=total_in,
        output_tokens=outputs,
        inference_time_sec=seconds,
        tokens_per_second=None if counted is None else counted / seconds if seconds else 0.0,
        latency_per_token_ms=None if counted is None else seconds * MS / counted if counted else 0.0,
        time_to_first_token_ms=fmean(firsts) if firsts else None,
        latency_measurements=latencies,
    )


def _output_tokens(answer: Generation) -> int | None:
    """Tokens of an answer; where nobody counted them, those that were seen to come, if any were."""
    return len(answer.arrivals_s) or None if answer.output_tokens is None else answer.output_tokens


def _all(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _latencies(answers: Sequence[Generation], tokens: int | None, warmup: int) -> LatencyMeasurements | None:
    """Raw latencies of the answers; None where there are none, or they were timed in several ways."""
    methods = {answer.token_timing for answer in answers}
    if len(methods) != 1:
        return None
    method = methods.pop()
    arrivals = [_arrivals_ms(answer) for answer in answers]
    made = LatencyMeasurements.from_arrivals([0.0] * len(arrivals), arrivals, warmup_requests=warmup)
    told = {"measurement_method": method, "streaming_mode": method == "streaming", "total_output_tokens": tokens}
    return made.model_copy(update=told)


def _energy(energies: Energies, found: Found, index: int, tokens: int | None) -> EnergyMetrics:
    """Energy of one process: that of the only one, or of a GPU that is its alone; shared sensors cannot be split."""
    gpu = found.gpus[index]
    of_own_gpu = gpu is not None and [each.index for each in found.gpus if each is not None].count(gpu.index) == 1
    row: EnergyStatement | None = None
    if len(found.ended) == 1:
        row = energies.whole
    elif of_own_gpu and gpu is not None and energies.whole is not None and energies.whole.scope == GPU:
        row = next(
            (
                each
                for each in energies.rows
                if each.device_index == gpu.index and (each.scope, each.method) == (GPU, energies.whole.method)
            ),
            None,
        )
    if row is None:
        return EnergyMetrics.placeholder()
    power = _share(row.energy_j, row.window_s)
    return EnergyMetrics(
        total_energy_j=row.energy_j,
        gpu_energy_j=row.energy_j if row.scope == GPU else None,
        cpu_energy_j=row.energy_j if row.scope == "cpu" else None,
        gpu_power_w=power if row.scope == GPU else None,
        cpu_power_w=power if row.scope == "cpu" else None,
        duration_sec=row.window_s,
        energy_per_token_j=_share(row.energy_j, tokens),
        source=row.source,
        method=row.method,
    )


def _of_devices(energies: Energies, found: Found, output_tokens: int | None) -> dict[str, Any]:
    """Energy by GPU, where several worked and all are known."""
    whole = energies.whole
    if whole is None or whole.scope != GPU:
        return {}
    rows = sorted(
        (each for each in energies.rows if each.scope == GPU and each.method == whole.method),
        key=lambda each: -1 if each.device_index is None else each.device_index,
    )
    of_each = [each.energy_j for each in rows if each.device_index is not None]
    used = {each.index for each in found.gpus if each is not None}
    if len(of_each) < 2 or len(of_each) != len(used) or not output_tokens:  # noqa: PLR2004 - several
        return {}
    return {
        "multi_gpu": MultiGPUMetrics(
            num_gpus=len(of_each),
            energy_per_gpu_j=of_each,
            energy_total_j=sum(of_each),
            energy_per_output_token_j=sum(of_each) / output_tokens,
        )
    }


def _extended(plan: ExperimentPlan, processes: Sequence[RawProcessResult]) -> ExtendedEfficiencyMetrics:
    """Figures beside the main ones, over the values of all processes at once."""
    pooled = [each.inference_metrics.latency_measurements for each in processes]
    steps = [step for each in pooled if each is not None for step in each.itl_trimmed_ms]
    whole = [value for each in processes for value in each.per_request_latencies_ms]
    measured = [sum(request.phase == "measure" for request in each.requests) for each in processes]
    batches = sum(-(-number // plan.batch) for number in measured)
    is_local = plan.backend == TRANSFORMERS
    peaks = [each.compute_metrics.peak_memory_mb for each in processes]
    return ExtendedEfficiencyMetrics(
        tpot_ms=fmean(steps) if steps else None,
        memory=MemoryMetrics(peak_memory_mb=max((peak for peak in peaks if peak is not None), default=None)),
        batch=BatchMetrics(
            effective_batch_size=sum(measured) / batches if is_local and batches else None,
            num_batches=batches if is_local else None,
        ),
        request_latency=_request_latency(whole),
    )


def _request_latency(whole_ms: Sequence[float]) -> RequestLatencyMetrics:
    if not whole_ms:
        return RequestLatencyMetrics()
    median, p95, p99 = np.percentile(whole_ms, [50, 95, 99])
    return RequestLatencyMetrics(
        e2e_latency_mean_ms=fmean(whole_ms),
        e2e_latency_median_ms=float(median),
        e2e_latency_p95_ms=float(p95),
        e2e_latency_p99_ms=float(p99),
        e2e_latency_samples=len(whole_ms),
    )


def _palm(parameters: int | None, tokens: int | None) -> float | None:
    """Operations of a forward pass for each token: 2 x parameters (PaLM, arXiv 2204.02311, appendix B)."""
    return None if parameters is None or tokens is None else 2.0 * parameters * tokens


def _flops(
    plan: ExperimentPlan, found: Found, processes: Sequence[RawProcessResult], total: float | None
) -> list[FlopsResult]:
    """Name what the estimate of the operations rests on."""
    parameters = found.ready[0].non_embedding_parameters
    if total is None or parameters is None:
        return []
    failed = any(request.status == "failed" for each in processes for request in each.requests)
    note = PALM_NOTE.format(parameters=parameters) + ("; requests that failed are left out" if failed else "")
    return [
        FlopsResult(
            value=total,
            method="palm_formula",
            confidence=CONFIDENCE,  # type: ignore[arg-type] # one of the three
            precision=precision_of(plan, found),
            notes=note,
        )
    ]


def _share(whole: float | None, parts: float | None) -> float | None:
    return whole / parts if whole is not None and parts else None


def _in_mib(size: int | None) -> float | None:
    return None if size is None else size / MIB
