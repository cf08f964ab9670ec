"""Totals of an experiment that results tell in several ways: tokens, requests, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.experiment.metric_rows import MIB

if TYPE_CHECKING:
    from groundlake.experiment.result import ExperimentResult

_NEAR_WHOLE = 1e-6
"""Relative distance from a whole number up to which a quotient is one."""


def token_totals(result: ExperimentResult) -> tuple[int | None, int | None, str | None]:
    """Tokens of prompts and of answers, and a warning where they are not told but follow from the operations.

    The existing tool writes the total only, and the operations for each token of prompts and of answers. Tokens of
    processes are added only where all processes are there.
    """
    is_whole = incomplete(result) is None
    parts = [process.inference_metrics for process in result.process_results] if is_whole else []
    inputs, outputs = result.input_tokens, result.output_tokens
    if parts and outputs is None and all(part.output_tokens is not None for part in parts):
        outputs = sum(part.output_tokens or 0 for part in parts)
    if parts and inputs is None and all(part.input_tokens is not None for part in parts):
        inputs = sum(part.input_tokens or 0 for part in parts)
    if outputs is not None or inputs is not None:
        return inputs, outputs, None
    outputs = _whole(result.total_flops, result.flops_per_output_token)
    inputs = _whole(result.total_flops, result.flops_per_input_token)
    if inputs is None or outputs is None or inputs + outputs != result.total_tokens:
        return None, None, None
    said = (
        f"{inputs} tokens in and {outputs} out, from total_flops over flops_per_input_token and flops_per_output_token"
    )
    return inputs, outputs, f"tokens_derived: {said}"


def incomplete(result: ExperimentResult) -> str | None:
    """Why the processes of a result are not all of it; None where they are, or where it holds none."""
    processes, told = result.process_results, result.aggregation
    if not processes:
        return None
    if told is not None and told.num_processes != len(processes):
        return f"{len(processes)} of {told.num_processes} processes are there: their sums are not those of all"
    tokens = [process.inference_metrics.total_tokens for process in processes]
    known = [each for each in tokens if each is not None]
    if result.total_tokens is not None and len(known) == len(tokens) and sum(known) != result.total_tokens:
        return f"the processes have {sum(known)} tokens, the whole has {result.total_tokens}"
    return None


def _whole(flops: float | None, per_token: float | None) -> int | None:
    """Tokens that operations were divided by; None where that is no whole number."""
    if not flops or not per_token:
        return None
    tokens = flops / per_token
    return round(tokens) if abs(tokens - round(tokens)) <= _NEAR_WHOLE * tokens else None


def num_requests(result: ExperimentResult) -> int | None:
    """Requests that were measured; None where a process does not know, or is not there."""
    counts = []
    if incomplete(result) is not None:
        return None
    for process in result.process_results:
        measured = process.inference_metrics.latency_measurements
        of_phase = sum(request.phase == "measure" for request in process.requests)
        counts.append(of_phase or (measured.request_count if measured else 0) or len(process.per_request_latencies_ms))
    return sum(counts) if counts and all(counts) else None


def warmup_requests(result: ExperimentResult) -> int | None:
    """Requests before the measurement, as far as anything tells."""
    if any(process.requests for process in result.process_results) and incomplete(result) is None:
        return sum(request.phase == "warmup" for process in result.process_results for request in process.requests)
    if result.warmup_excluded_samples is not None:
        return result.warmup_excluded_samples
    return None if result.warmup_result is None else result.warmup_result.iterations_completed


def memory_bytes(result: ExperimentResult, name: str) -> int | None:
    """Memory of the device in bytes: the highest of the processes, else what the result says of all."""
    known = [
        value for process in result.process_results if (value := getattr(process.compute_metrics, name)) is not None
    ]
    told = None if result.extended_metrics is None else getattr(result.extended_metrics.memory, name)
    return in_bytes(max(known) if known else told)


def in_bytes(mib: float | None) -> int | None:
    """MiB in bytes."""
    return None if mib is None else round(mib * MIB)
