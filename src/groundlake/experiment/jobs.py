"""What each process of an experiment is told to do: its prompts, those of its warm-up, and its device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from groundlake import machine
from groundlake.experiment.assembling import Gpu
from groundlake.experiment.messages import Job
from groundlake.experiment.plan import OPENAI, TRANSFORMERS
from groundlake.llm.generation import Decoding
from groundlake.system import gpu_settings

if TYPE_CHECKING:
    from groundlake.experiment.assembling import Found
    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.prompts import Prompt

KEY_VARIABLE = "OPENAI_API_KEY"
"""The only place that a key is read from: it is in no setting, no result and no lake."""


def job_of(plan: ExperimentPlan, process: int) -> Job:
    """Make the job of one process."""
    return Job(
        backend=plan.backend,
        model=plan.model,
        name=plan.model_name,
        prompts=plan.prompts_of(process),
        decoding=Decoding(
            max_new_tokens=plan.max_new_tokens,
            temperature=plan.temperature,
            seed=plan.seed,
            ignore_eos=plan.ignore_eos,
        ),
        warmup=warmup_of(plan, process),
        batch=plan.batch,
        concurrency=plan.concurrency_of(process),
        device=_device_of(plan, process),
        dtype=plan.dtype,
        base_url=plan.base_url,
        api_key=os.environ.get(KEY_VARIABLE) if plan.backend == OPENAI else None,
        timeout_s=plan.timeout_s,
        chat=plan.prompts.is_chat if plan.backend == TRANSFORMERS else plan.chat,
    )


def warmup_of(plan: ExperimentPlan, process: int) -> list[Any]:
    """Prompts of the warm-up of one process.

    A local model is asked what it will be measured with: it keeps nothing of it, and the shapes are the same. A server
    may keep what it made of the beginning of a prompt, so that it would answer the first measured ones quicker. It is
    asked the prompts of the file that are not measured, then measured ones with another beginning. They are as many as
    requests are in flight at least, which opens all connections: none of them is opened within a measured latency.
    """
    own = plan.prompts_of(process)
    if plan.backend == TRANSFORMERS:
        return [own[place % len(own)] for place in range(int(plan.warmup) * plan.batch)]
    number = max(int(plan.warmup), plan.concurrency_of(process)) if plan.warmup else 0
    spare = list(plan.prompts.spare[process :: plan.processes][:number])
    varied = [
        _begun_otherwise(own[place % len(own)], f"Warm-up {process}.{place}: ") for place in range(len(spare), number)
    ]
    return spare + varied


def gpu_of(plan: ExperimentPlan, process: int) -> Gpu | None:
    """GPU that a process worked on; None on a processor, and where a server does the work."""
    if plan.backend == OPENAI or plan.device in {None, "cpu"}:
        return None
    device = str(_device_of(plan, process))
    number, told = machine.gpu_index(device), gpu_settings(device)
    return None if number is None else Gpu(index=number, uuid=told["uuid"], name=told["name"] or "")


def gpus_used(plan: ExperimentPlan, found: Found) -> list[int] | None:
    """Indices of the GPUs that worked; None where a server does not say."""
    device = plan.device
    if plan.backend == OPENAI and device is not None and ":" in device:
        number = machine.gpu_index(device)
        return None if number is None else [number]
    if plan.backend == OPENAI:
        return None
    return [gpu.index for gpu in found.gpus if gpu is not None] or None


def _device_of(plan: ExperimentPlan, process: int) -> str | None:
    return plan.device_of(process, len(machine.visible_gpus()[0]))


def _begun_otherwise(prompt: Prompt, beginning: str) -> Prompt:
    """Put words before a prompt, or before the first message of a chat."""
    if isinstance(prompt, str):
        return beginning + prompt
    first, *others = prompt
    return ({**first, "content": beginning + first["content"]}, *others)
