"""Which kernels of an int8 network really run as int8, and how much of its time they take: torch's profiler says."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch

from groundlake.errors import LakeError
from groundlake.measure.doubts import Doubt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn
    from torch.autograd.profiler_util import FunctionEvent

WARMUP, PASSES = 3, 9
"""An operator that the machine interrupts seems to take long: a share is that of the median pass."""

_MARK = "pass of the network"
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
        time_share: Share of the processor time of all operators, each without those that it calls, spent in them: the
            median of the passes.
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
                with torch.profiler.record_function(_MARK):
                    network(example)
    passes = _spent_us(profiler.events() or ())
    spent_us: Counter[str] = Counter()
    for each in passes:
        spent_us.update(each)
    names = tuple(sorted(name for name in spent_us if _INT8.match(name)))
    if not names or spent_us.total() <= 0:
        seen = ", ".join(sorted(spent_us, key=lambda name: -spent_us[name])[:3]) or "no operator"
        raise LakeError(
            "no kernel of the model ran as int8: it would be fp32 under another name\n"
            f"  the profiler saw {seen}; only layers that torch's graph mode quantizes (convolutions, linear layers,"
            " sums, pools) run as int8"
        )
    return Int8Kernels(names, time_share(passes))


def _spent_us(events: Sequence[FunctionEvent]) -> list[Counter[str]]:
    """Processor time of each operator, without those that it calls, in each pass."""
    starts = sorted(each.time_range.start for each in events if each.name == _MARK)
    passes: list[Counter[str]] = [Counter() for _ in starts]
    for each in events:
        if "::" in each.name:
            passes[bisect_right(starts, each.time_range.start) - 1][each.name] += each.self_cpu_time_total
    return passes


def time_share(passes: Sequence[Mapping[str, float]]) -> float:
    """Return the share of int8 kernels in the time of all operators, that of the median pass.

    Args:
        passes: Of each pass the time that each operator took, by its name.
    """
    return median(
        sum(spent for name, spent in each.items() if _INT8.match(name)) / whole
        for each in passes
        if (whole := sum(each.values())) > 0
    )


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
