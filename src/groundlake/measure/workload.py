"""A model that is ready to be timed, whatever was done to make it so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from groundlake.measure.cut import Subgraph
    from groundlake.measure.doubts import Doubt
    from groundlake.measure.int8.found import Int8Found
    from groundlake.measure.trace import TracedModel


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model, its graph, its parts and its input.

    Attributes:
        traced: The model that is timed whole, and its graph, which is timed operation by operation.
        example: Its input.
        subgraphs: Its parts, as they are recorded.
        timed: The same parts by the operations of the graph; None where parts cannot be timed singly.
        flops_method: Counting rules behind the parts.
        total_flops: Floating-point operations of one pass.
        warnings: What is doubtful about the model.
        int8: What quantization came to; None in another precision.
    """

    traced: TracedModel
    example: torch.Tensor
    subgraphs: tuple[Subgraph, ...]
    timed: tuple[Subgraph, ...] | None
    flops_method: str
    total_flops: int
    warnings: tuple[Doubt, ...] = ()
    int8: Int8Found | None = None
