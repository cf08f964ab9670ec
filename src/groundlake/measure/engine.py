"""Measure one configuration in this process; the only caller is the measuring process."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from time import perf_counter
from typing import TYPE_CHECKING, TypedDict

import torch
from torch.fx.passes.shape_prop import TensorMetadata

from groundlake.errors import LakeError, UsageError
from groundlake.hardware.detection import require_whole_gpu
from groundlake.measure.cut import in_play
from groundlake.measure.doubts import Doubt, low_gpu_clock
from groundlake.measure.enough import SettledMean, never
from groundlake.measure.inputs import own_shape
from groundlake.measure.int8.prepare import engine_of, int8_workload
from groundlake.measure.int8.quantize import usable_engine
from groundlake.measure.int8.settings import INT8, require_shape
from groundlake.measure.load import HeldBack, system_under_load
from groundlake.measure.messages import Job, Measured, Question
from groundlake.measure.precision import DTYPES, numerics, require_device, require_precision
from groundlake.measure.timing import NOT_TIMED, time_end_to_end, time_subgraphs
from groundlake.measure.trace import TracedModel, trace
from groundlake.measure.workload import Workload
from groundlake.measure.zoo import check_names, known_shape, load_model, require_input
from groundlake.power.watch import PowerWatch
from groundlake.system import gpu_clock_limit_mhz, software_facts, system_state, throttle_events
from groundlake.vision import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundlake.measure.plan import Configuration

SHARE_OF_TIME = 0.4
"""Share of the time limit after which a phase stops to wait for a narrower interval: there are two of them."""

SEED = 0
"""Weights and inputs are random, and the same in each run."""


def check(question: Question) -> dict[str, float | None]:
    """Raise unless the device is there, every model is known, and some run can come to a result.

    Returns:
        FLOPs of one input by name, from what torchvision states; None where it does not.

    Raises:
        MissingDependencyError: The device, what a model is built with or what int8 needs is missing; or the device is a
            slice.
        UsageError: A model is not known, or every run would fail for a reason that is known now.
    """
    require_device(question.device)
    if question.device != "cpu":
        require_whole_gpu()
    check_names(list(dict.fromkeys(each.plain_model for each in question.configurations)))
    int8_engine(question)
    reasons = [_reason_against(each, question) for each in question.configurations]
    if reasons and all(reasons):
        told = "\n".join(dict.fromkeys(reason for reason in reasons if reason))
        raise UsageError(f"no run of this sweep can come to a result\n{told}" if len(set(reasons)) > 1 else told)
    return {each.model: _stated_flops(each) for each in question.configurations}


def int8_engine(question: Question) -> str | None:
    """Return the engine that networks in int8 will run on; None where none are asked for.

    Raises:
        MissingDependencyError: This torch cannot quantize, or lacks the engine that was named.
    """
    chosen = question.int8
    if chosen is None or not any(each.precision == INT8 for each in question.configurations):
        return None
    return usable_engine(chosen.engine, is_default=chosen.is_default_engine)


def _reason_against(wanted: Configuration, question: Question) -> str | None:
    """Why a configuration cannot be measured, as far as that is known before the model is built."""
    try:
        require_precision(wanted.precision, question.device)
        require_input(wanted.plain_model, wanted.input_shape)
        shape = known_shape(wanted.plain_model, wanted.input_shape)
        if wanted.precision == INT8 and question.int8 is not None and shape is not None:
            require_shape(wanted.plain_model, shape, question.int8)
    except LakeError as error:
        return str(error)
    return None


def _stated_flops(wanted: Configuration) -> float | None:
    """FLOPs of one input, from what torchvision writes beside a model's weights; none are downloaded.

    They go with the number of pixels: exact for convolutions, too few for attention.
    """
    name, shape, own = wanted.plain_model, wanted.input_shape, own_shape(wanted.plain_model)
    if ":" in name or name not in (models := import_torchvision().models).list_models(module=models):
        return None
    stated = [weights.meta.get("_ops") for weights in models.get_model_weights(name)]
    known = [giga_macs for giga_macs in stated if giga_macs]
    pixels = math.prod(shape) / math.prod(own) if shape and own else 1.0
    return 2e9 * float(known[0]) * pixels if known else None


def measure(job: Job, on_progress: Callable[[str, int, int], None]) -> Measured:
    """Build, trace, cut and time one configuration.

    Raises:
        LakeError: The model or the precision is refused, with the reason. A model's own errors pass through.
    """
    started_at, start = datetime.now(timezone.utc), perf_counter()
    require_device(job.device)
    require_precision(job.precision, job.device)
    before, throttled_before = system_state(job.device), throttle_events()
    torch.manual_seed(SEED)
    with numerics(job.precision), engine_of(job.int8):
        work = _workload(job, on_progress)
        module, example = work.traced.module, work.example
        left_s = job.time_limit_s - (perf_counter() - start)
        passes: _Passes = {"warmup": job.warmup, "runs": job.runs, "on_progress": on_progress}
        held = HeldBack(job.device)
        times = NOT_TIMED
        if work.timed is not None:
            times = time_subgraphs(work.traced, work.timed, example, enough=_enough(job, left_s), **passes)
        under_load = system_under_load(job.device, module, example, times.pass_ms)
        with PowerWatch(job.power, job.power_hz) as power:
            whole = time_end_to_end(module, example, enough=_enough(job, left_s), on_border=power.mark, **passes)
        of_clocks = (*low_gpu_clock(under_load["gpu_clock_mhz"], gpu_clock_limit_mhz(job.device)), *held.doubts())
    throttled_after = throttle_events()
    return Measured(
        input_shape=tuple(example.shape),
        subgraphs=work.subgraphs,
        flops_method=work.flops_method,
        timing_method=times.timing_method,
        subgraph_ms=times.subgraph_ms,
        pass_ms=times.pass_ms,
        end_to_end_ms=whole,
        started_at=started_at,
        duration_s=perf_counter() - start,
        software=software_facts(),
        system_before=before,
        system_under_load=under_load,
        system_after=system_state(job.device),
        power=power.record(),
        throttle_events=_increase(throttled_before, throttled_after),
        warnings=(*work.warnings, *of_clocks),
        total_flops=work.total_flops,
        int8=work.int8,
    )


def _increase(before: int | None, after: int | None) -> int | None:
    """How much a counter grew; a processor that went offline takes its count with it."""
    return None if before is None or after is None else max(0, after - before)


class _Passes(TypedDict):
    """What both ways of timing are told."""

    warmup: int
    runs: int
    on_progress: Callable[[str, int, int], None]


def _workload(job: Job, on_progress: Callable[[str, int, int], None]) -> Workload:
    """The model in its precision, on its device, traced and cut."""
    module, example = _built(job)
    if job.precision == INT8:
        return int8_workload(module, example, job.int8, name=job.model, on_progress=on_progress)
    traced = trace(module, example)
    subgraphs = traced.subgraphs()
    return Workload(
        traced=traced,
        example=example,
        subgraphs=subgraphs,
        timed=subgraphs,
        flops_method=traced.flops_method,
        total_flops=sum(each.flops for each in subgraphs),
        warnings=_foreign_types(traced, job.precision),
    )


def _built(job: Job) -> tuple[torch.nn.Module, torch.Tensor]:
    """The model in its precision, on its device, and an input for it."""
    loaded = load_model(job.model, device=job.device, input_shape=job.input_shape)
    dtype = DTYPES[job.precision]
    return loaded.module.to(dtype), loaded.example(job.batch, dtype=dtype, device=job.device)


def _enough(job: Job, left_s: float) -> Callable[[Sequence[float]], bool]:
    """Rule that ends the timed passes of a phase early, within what is left of the time limit."""
    return SettledMean(job.until_ci, SHARE_OF_TIME * left_s) if job.until_ci else never


def _foreign_types(traced: TracedModel, precision: str) -> tuple[Doubt, ...]:
    """Find operations that compute in another type than the precision's, as models that cast inside do.

    Raises:
        LakeError: No operation at all has the type: the precision was not really run.
    """
    results = [
        (node.name, meta.dtype)
        for node in traced.graph_module.graph.nodes
        if in_play(node) and isinstance(meta := node.meta.get("tensor_meta"), TensorMetadata)
        if meta.dtype.is_floating_point
    ]
    foreign = [(name, dtype) for name, dtype in results if dtype != DTYPES[precision]]
    if not foreign:
        return ()
    found = f"{len(foreign)} of {len(results)} operations do not compute in {precision}, first {foreign[0][0]}"
    if len(foreign) == len(results):
        raise LakeError(f"the model does not run in {precision}: {found} ({foreign[0][1]})")
    return (
        Doubt(
            code="mixed_precision",
            meaning=f"{found} ({foreign[0][1]})",
            observed=f"{len(foreign)} operations",
            threshold="0",
            advice="the model casts inside; compare it with models that do the same",
        ),
    )
