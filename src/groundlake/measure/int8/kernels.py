"""Which kernels of an int8 network really run as int8, and how much of its time they take: torch's profiler says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from groundlake.errors import LakeError
from groundlake.measure.doubts import Doubt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

WARMUP, PASSES = 3, 5
MOSTLY = 0.5
"""Share of the time in int8 kernels below which a run is warned about."""

_INT8 = re.compile(r"quantized::|onednn::q|aten::quantized_")
"""Operators that compute with int8. Conversions (`aten::quantize_per_tensor`, `aten::dequantize`) are none of them, nor
are pools and copies, whose names do not say of which type their values are: the share is rather too small."""


@dataclass(frozen=True)
class Int8Kernels:
    """What the profiler saw.

    Attributes:
        names: Names of the int8 kernels, in alphabetical order.
        time_share: Share of the processor time of all operators, each without those that it calls, spent in them.
    """

    names: tuple[str, ...]
    time_share: float


def int8_kernels(network: nn.Module, example: torch.Tensor) -> Int8Kernels:
    """Run a network under torch's profiler.

    Args:
        network: The int8 network.
        example: The input that it is measured with.

    Raises:
        LakeError: Not one kernel ran as int8.
    """
    with torch.inference_mode():
        for _ in range(WARMUP):
            network(example)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            for _ in range(PASSES):
                network(example)
    spent_us = {event.key: float(event.self_cpu_time_total) for event in profiler.key_averages() if "::" in event.key}
    names = tuple(sorted(name for name in spent_us if _INT8.match(name)))
    whole = sum(spent_us.values())
    if not names or whole <= 0:
        seen = ", ".join(sorted(spent_us, key=lambda name: -spent_us[name])[:3]) or "no operator"
        raise LakeError(
            "no kernel of the model ran as int8: it would be fp32 under another name\n"
            f"  the profiler saw {seen}; only layers that torch's graph mode quantizes (convolutions, linear layers,"
            " sums, pools) run as int8"
        )
    return Int8Kernels(names, sum(spent_us[name] for name in names) / whole)


def doubts_about_share(time_share: float) -> Iterator[Doubt]:
    """Say where int8 is the smaller part of an int8 run."""
    if time_share < MOSTLY:
        yield Doubt(
            code="mostly_not_int8",
            meaning="most of the time goes into operators that do not compute in int8",
            observed=f"{time_share:.0%} in int8 kernels",
            threshold=f"{MOSTLY:.0%}",
            advice="the model has parts that graph mode leaves in fp32 (attention, SiLU), or is so small that calls and"
            " conversions take longer than its work",
        )
