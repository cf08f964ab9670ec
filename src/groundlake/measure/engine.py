"""Measure one configuration in this process; the only caller is the measuring process."""

from __future__ import annotations

import gc
from datetime import datetime, timezone
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch.fx.passes.shape_prop import TensorMetadata

from groundlake.errors import LakeError
from groundlake.measure.cut import in_play
from groundlake.measure.power import PowerWatch
from groundlake.measure.precision import DTYPES, numerics, require_device, require_precision
from groundlake.measure.timing import time_end_to_end, time_subgraphs
from groundlake.measure.trace import TracedModel, trace
from groundlake.measure.worker import Job, Measured, Preflight
from groundlake.measure.zoo import check_names, load_model
from groundlake.system import software_facts, system_state

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 0
"""Weights and inputs are random, and the same in each run."""


def check(preflight: Preflight) -> None:
    """Raise unless the device is there and every model without a factory of its own is known.

    Raises:
        MissingDependencyError: The device or torchvision is missing.
        UsageError: A model is not known.
    """
    require_device(preflight.device)
    check_names(list(preflight.models))


def measure(job: Job, on_progress: Callable[[str, int, int], None]) -> Measured:
    """Build, trace, cut and time one configuration.

    Raises:
        LakeError: The model or the precision is refused, with the reason. A model's own errors pass through.
    """
    started_at, start = datetime.now(timezone.utc), perf_counter()
    kind = torch.device(job.device).type
    require_device(job.device)
    require_precision(job.precision, job.device)
    before = system_state(kind)
    torch.manual_seed(SEED)
    with numerics(job.precision):
        loaded = load_model(job.model, device=job.device, input_shape=job.input_shape)
        dtype = DTYPES[job.precision]
        module = loaded.module.to(dtype)
        example = loaded.example(job.batch, dtype=dtype, device=job.device)
        traced = trace(module, example)
        warnings = _foreign_types(traced, job.precision)
        subgraphs = traced.subgraphs()
        times = time_subgraphs(traced, subgraphs, example, warmup=job.warmup, runs=job.runs, on_progress=on_progress)
        under_load = system_state(kind)
        with PowerWatch(job.power, job.power_hz) as power:
            whole = time_end_to_end(
                module, example, warmup=job.warmup, runs=job.runs, on_progress=on_progress, on_border=power.mark
            )
    return Measured(
        input_shape=tuple(example.shape),
        subgraphs=subgraphs,
        flops_method=traced.flops_method,
        timing_method=times.timing_method,
        subgraph_ms=times.subgraph_ms,
        pass_ms=times.pass_ms,
        end_to_end_ms=whole,
        started_at=started_at,
        duration_s=perf_counter() - start,
        software=software_facts(),
        system_before=before,
        system_under_load=under_load,
        system_after=system_state(kind),
        power=power.record(),
        warnings=warnings,
    )


def release_memory() -> None:
    """Give back what the last model held, so that the next one finds the memory of a fresh process."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _foreign_types(traced: TracedModel, precision: str) -> tuple[str, ...]:
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
    return (f"mixed_precision: {found} ({foreign[0][1]})",)
