"""Turn a model into a graph of operations with known shapes: torch.fx first, torch.export where that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from groundlake.errors import TraceError
from groundlake.measure.count import FxRules
from groundlake.measure.count_export import ExportRules
from groundlake.measure.cut import CountingRules, Subgraph, cut
from groundlake.measure.faults import fault_behind

if TYPE_CHECKING:
    from torch import nn

SHOWN_REASON = 300
"""Characters kept of the reason why a way of tracing failed."""


@dataclass(frozen=True)
class TracedModel:
    """A model and its graph.

    Attributes:
        module: The model itself, for timing it whole.
        graph_module: Its graph; after `propagate_shapes` every node knows the shape of its result.
        rules: How the graph's nodes are named and counted.
    """

    module: nn.Module
    graph_module: fx.GraphModule
    rules: CountingRules

    @property
    def flops_method(self) -> str:
        """Name of the counting rules."""
        return self.rules.flops_method

    def propagate_shapes(self, example: torch.Tensor) -> None:
        """Run the graph once to learn the shape of each result.

        Args:
            example: Input, batch first, in the model's precision and on its device (meta is enough).
        """
        for node in self.graph_module.graph.nodes:
            node.meta.pop("tensor_meta", None)  # a result without a tensor must not keep an earlier shape
        with torch.no_grad():
            ShapeProp(self.graph_module).propagate(example)

    def subgraphs(self) -> tuple[Subgraph, ...]:
        """Cut the graph for the shapes that were propagated last."""
        return cut(self.graph_module.graph, self.rules)


def trace(module: nn.Module, example: torch.Tensor) -> TracedModel:
    """Trace a model in eval mode, symbolically if possible.

    No graph pass is run: no folding, no elimination of dead code. Both are what later numbers are compared on.

    Args:
        module: The model, already in the precision and on the device it is measured in.
        example: Input, batch first, in the same precision and on the same device.

    Raises:
        TraceError: Both ways failed; the message says why.
        Exception: Memory ran out or the device failed, as it was raised: another way of tracing would not mend that,
            and its numbers would go by another method.
    """
    try:
        graph_module = fx.symbolic_trace(module)
        traced = TracedModel(module, graph_module, FxRules(graph_module))
        traced.propagate_shapes(example)
    except Exception as symbolic:  # noqa: BLE001 - the model's own code runs here and may raise anything
        if (fault := fault_behind(symbolic)) is not None:
            raise fault from None
        return _export(module, example, symbolic)
    return traced


def _export(module: nn.Module, example: torch.Tensor, symbolic: Exception) -> TracedModel:
    """Trace with torch.export, which follows control flow for the shapes of the example."""
    try:
        graph_module = _exported(module, example)
        traced = TracedModel(module, graph_module, ExportRules())
        traced.propagate_shapes(example)
    except Exception as exported:
        if (fault := fault_behind(exported)) is not None:
            raise fault from None
        raise TraceError(
            "the model cannot be traced\n"
            f"  torch.fx: {_one_line(symbolic)}\n"
            f"  torch.export: {_one_line(exported)}\n"
            "  a model needs a forward of one tensor, without control flow on values"
        ) from exported
    return traced


def _exported(module: nn.Module, example: torch.Tensor) -> fx.GraphModule:
    program: Any = torch.export.export(module, (example,))
    try:
        graph_module = program.module(check_guards=False)  # guards would be nodes of the graph
    except TypeError:  # before torch 2.9 there were no guards to leave out
        graph_module = program.module()
    assert isinstance(graph_module, fx.GraphModule)  # noqa: S101 - told to the type checker; torch promises it
    return graph_module


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:SHOWN_REASON]
