"""From answers to results: records of requests, latencies over all processes, work, and energy of each GPU."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from groundlake.experiment.assembling import Found, Gpu, processes_of, result_of
from groundlake.experiment.energy import Energies
from groundlake.experiment.messages import Ended, Measured, Ready
from groundlake.experiment.plan import ExperimentPlan
from groundlake.experiment.prompts import Prompts
from groundlake.experiment.statements import EnergyStatement
from groundlake.llm.generation import Failure, Generation

if TYPE_CHECKING:
    from groundlake.experiment.result import ExperimentResult
    from groundlake.llm.generation import TokenTiming

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone.utc)
START_S = 100.0
WHOLE: TokenTiming = "per_request_batch"


def answer(sent: float, *arrivals: float, tokens: tuple[int | None, int | None] = (50, 25), **fields) -> Generation:
    told = {"text": "x", "sent_s": START_S + sent, "arrivals_s": tuple(START_S + each for each in arrivals)}
    told |= {"finished_s": START_S + (arrivals[-1] if arrivals else sent + 1), "token_timing": "streaming"}
    return Generation(**(told | {"input_tokens": tokens[0], "output_tokens": tokens[1]} | fields))


def found(*processes: list[Generation], gpus: tuple[Gpu | None, ...] = (), warmup: tuple = (), **ready) -> Found:
    return Found(
        ready=[Ready(warmup=list(warmup), **ready) for _ in processes],
        ended=[Ended(started_s=START_S, ended_s=START_S + 10) for _ in processes],
        measured=[Measured(generations=answers) for answers in processes],
        gpus=gpus or (None,) * len(processes),
        start_s=START_S,
        started_at=NOON,
    )


def made(seen: Found, energies: Energies = Energies()) -> ExperimentResult:  # noqa: B008 - frozen, nothing is known
    prompts = Prompts(items=("a",) * 8, name="p.txt", sha256="0" * 64)
    plan = ExperimentPlan(
        backend="openai",
        base_url="http://127.0.0.1:1/v1",
        model="m",
        prompts=prompts,
        hardware_id="dev",
        processes=len(seen.ended),
        concurrency=len(seen.ended),
    )
    return result_of(plan, seen, processes_of(plan, seen, energies, "the-id"), energies, None)


def test_a_request_keeps_its_moments_and_the_percentiles_are_over_all_processes_at_once() -> None:
    one = [answer(0, 0.100, 0.130, 0.150), answer(1, 1.110), answer(2, 2.095)]
    two = [answer(0, 0.200), answer(1, 1.210), answer(2, 2.195)]
    result = made(found(one, two))
    record = result.process_results[0].requests[0]
    assert record.sent_at_s == 0.0
    assert record.time_to_first_token_ms == pytest.approx(100)
    assert record.inter_token_latencies_ms == pytest.approx([30, 20])
    assert record.end_to_end_latency_ms == pytest.approx(150)
    stats = result.latency_stats
    assert stats is not None
    assert (stats.ttft_samples, stats.ttft_mean_ms) == (6, pytest.approx(151.667, abs=1e-3))
    assert (stats.ttft_median_ms, stats.ttft_p95_ms) == (pytest.approx(152.5), pytest.approx(207.5))
    assert stats.ttft_p99_ms == pytest.approx(209.5)
    assert result.start_time == NOON
    assert result.duration_sec == 10.0


def test_warm_up_and_failures_are_rows_and_in_no_figure() -> None:
    failed = answer(1, error=Failure(code="http_500", message="out of order", status=500))
    result = made(found([answer(0, 0.1, 0.2), failed], warmup=(answer(-5, -4.5),)))
    rows = [(each.phase, each.status, each.sent_at_s) for each in result.process_results[0].requests]
    assert rows == [("measure", "ok", 0.0), ("measure", "failed", 1.0), ("warmup", "ok", -5.0)]
    assert result.process_results[0].requests[1].error == "http_500: out of order"
    assert (result.input_tokens, result.output_tokens, result.warmup_excluded_samples) == (50, 25, 1)
    assert result.latency_stats is not None
    assert result.latency_stats.ttft_samples == 1


def test_operations_are_those_of_the_parameters_at_work_with_method_and_confidence() -> None:
    result = made(found([answer(0, 0.1, tokens=(100, 50))], non_embedding_parameters=1_000_000, precision="bf16"))
    assert result.total_flops == 3.0e8
    (estimate,) = result.flops
    assert (estimate.method, estimate.confidence, estimate.precision) == ("palm_formula", "medium", "bf16")
    assert "attention over the context is left out" in str(estimate.notes)
    assert made(found([answer(0, 0.1)])).total_flops is None
    assert made(found([answer(0, 0.1)])).flops == []


def test_what_a_server_does_not_count_is_unknown_and_never_zero() -> None:
    result = made(found([answer(0, 0.1, 0.2, tokens=(None, None)), answer(1, 1.1, tokens=(5, 7))]))
    assert (result.input_tokens, result.total_tokens, result.output_tokens) == (None, None, 2 + 7)
    assert result.total_energy_j is None
    assert result.avg_energy_per_token_j is None
    whole = made(found([answer(0, tokens=(5, 7), token_timing=WHOLE)]))
    assert whole.latency_stats is None
    assert whole.process_results[0].requests[0].end_to_end_latency_ms == pytest.approx(1000)
    assert whole.process_results[0].requests[0].inter_token_latencies_ms is None


def test_one_answer_of_unknown_length_makes_the_length_of_all_unknown() -> None:
    unknown, known = answer(0, tokens=(5, None), token_timing=WHOLE), answer(1, tokens=(5, 7), token_timing=WHOLE)
    result = made(found([unknown, known], [known]))
    tokens = [each.inference_metrics.output_tokens for each in result.process_results]
    assert tokens == [None, 7]
    first = result.process_results[0].inference_metrics
    assert (first.input_tokens, first.total_tokens, first.tokens_per_second) == (10, None, None)
    assert (result.output_tokens, result.total_tokens, result.input_tokens) == (None, None, 15)
    assert result.avg_tokens_per_second is None
    assert result.avg_energy_per_token_j is None


def test_processes_on_gpus_of_their_own_have_their_own_energy() -> None:
    common = {"scope": "gpu", "source": "nvml", "method": "counter", "window_s": 10.0}
    each = [
        EnergyStatement(energy_j=energy, device_index=index, **common) for index, energy in ((0, 300.0), (3, 500.0))
    ]
    whole = EnergyStatement(energy_j=800.0, **common)
    energies = Energies(rows=(*each, whole), whole=whole)
    own = (Gpu(index=0, uuid="GPU-a", name="H"), Gpu(index=3, uuid="GPU-d", name="H"))
    result = made(found([answer(0, 0.1)], [answer(0, 0.2)], gpus=own), energies)
    told = [(each.gpu_id, each.energy_metrics.total_energy_j) for each in result.process_results]
    assert told == [(0, 300.0), (3, 500.0)]
    assert result.total_energy_j == 800.0
    assert result.multi_gpu is not None
    assert (result.multi_gpu.energy_per_gpu_j, result.multi_gpu.energy_per_output_token_j) == ([300.0, 500.0], 16.0)
    assert result.aggregation is not None
    assert result.aggregation.gpu_attribution_verified
    shared = made(found([answer(0, 0.1)], [answer(0, 0.2)], gpus=(own[0], own[0])), energies)
    assert [each.energy_metrics.total_energy_j for each in shared.process_results] == [None, None]
    assert shared.total_energy_j == 800.0


def test_processes_on_one_processor_are_not_told_to_share_a_gpu() -> None:
    result = made(found([answer(0, 0.1)], [answer(0, 0.2)]))
    assert [each.gpu_id for each in result.process_results] == [None, None]
    assert not [text for text in result.measurement_warnings if text.startswith("shared_gpu")]
