"""Numeric precisions: what a device can really run, and the switches that make it so."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.measure.int8.settings import INT8
from groundlake.measure.plan import MEASURABLE, NOT_RUN_YET

if TYPE_CHECKING:
    from collections.abc import Iterator

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    INT8: torch.float32,
}
"""Type of a model and its inputs: tf32 is fp32 data with shortened products inside the device, and a network that is
quantized to int8 converts its input itself."""

AMPERE = (8, 0)
"""First compute capability of NVIDIA GPUs with tf32 and bf16 (NVIDIA A100 architecture whitepaper, 2020)."""


def require_device(device: str) -> None:
    """Raise `MissingDependencyError` unless torch can use the device."""
    if torch.device(device).type != "cuda":
        return
    if not torch.cuda.is_available():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise MissingDependencyError(
            f"device {device!r}: torch {torch.__version__} ({build}) sees no CUDA device\n"
            "  measure with --device cpu, or install the driver and a torch that is built for it"
        )
    number = torch.device(device).index or 0
    if number >= torch.cuda.device_count():
        raise MissingDependencyError(f"device {device!r}: there are {torch.cuda.device_count()} CUDA devices")


def require_precision(precision: str, device: str) -> None:
    """Raise unless the device runs the precision itself; nothing is ever run as another precision instead.

    Raises:
        UsageError: The precision is none that groundlake can run.
        MissingDependencyError: The device cannot run it.
    """
    if precision not in MEASURABLE:
        raise UsageError(
            f"precision {precision!r} cannot be measured; there are {', '.join(MEASURABLE)}"
            f" ({', '.join(NOT_RUN_YET)}: not yet)"
        )
    kind = torch.device(device).type
    if precision == "tf32" and kind != "cuda":
        raise MissingDependencyError("tf32 is a mode of CUDA devices; on a CPU it would be fp32 under another name")
    if precision == INT8 and kind != "cpu":
        raise MissingDependencyError(f"int8 is measured on the processor only: torch has no such kernels for {kind}")
    if precision in ("tf32", "bf16") and kind == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < AMPERE:
            raise MissingDependencyError(
                f"{precision} needs compute capability {AMPERE[0]}.{AMPERE[1]};"
                f" {torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}"
            )


@contextmanager
def numerics(precision: str) -> Iterator[None]:
    """Make fp32 really fp32 and tf32 really tf32 inside the block, and restore the settings behind it.

    torch lets cuDNN shorten fp32 convolutions to tf32 by default. Only the older switches are used: setting the newer
    ones of single operators makes torch.export fail.
    """
    shorten = precision == "tf32"
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if shorten else "highest")
    torch.backends.cudnn.allow_tf32 = shorten
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution
