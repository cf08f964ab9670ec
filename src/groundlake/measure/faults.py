"""Tell what went wrong with the machine, memory or device, from what is wrong with a model."""

from __future__ import annotations

import torch

FAULTS: tuple[type[BaseException], ...] = (
    MemoryError,
    *(
        kind
        for name in ("OutOfMemoryError", "AcceleratorError")  # torch 2.5 and 2.8 brought them
        if isinstance(kind := getattr(torch, name, None), type)
    ),
    torch.cuda.OutOfMemoryError,
)
"""Errors that say nothing about the model, and leave the process in doubt."""

FAULT_TEXTS = (
    "CUDA error",
    "CUDA driver error",
    "cuDNN error",
    "CUBLAS_STATUS_",
    "DefaultCPUAllocator",
    "out of memory",
)
"""Texts of plain RuntimeErrors with the same meaning: of a CPU's memory, of libraries, and of torch before 2.8."""


def fault_behind(error: BaseException) -> BaseException | None:
    """Find the fault of memory or device that an error comes from, however often it was wrapped.

    torch wraps what happens while a graph runs or is exported in errors of its own.

    Returns:
        The innermost fault, or None where there is none: then the error is the model's.
    """
    found, seen = None, set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if _is_fault(link):
            found = link
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return found


def _is_fault(error: BaseException) -> bool:
    if isinstance(error, FAULTS):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in FAULT_TEXTS)
