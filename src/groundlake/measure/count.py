"""Count FLOPs and bytes of a symbolically traced graph: the method `fx_chain_v1`.

The rules, gaps included, are those behind the imported measurements, so that new runs compare with old ones;
docs/counting.md describes them.
"""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

from torch import nn
from torch.fx.passes.shape_prop import TensorMetadata

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

FLOPS_METHOD = "fx_chain_v1"
"""Name under which runs record these counting rules."""

BYTES_PER_ELEMENT = 4
"""Size of an activation's element, whatever its type: a rule of this method."""

SOFTMAX_FLOPS = 5
"""Operations of a softmax for each score: maximum, subtraction, exponential, sum, division."""

NORM_FLOPS = 4
"""Operations of a functional normalisation for each output element."""

BATCHED_DIMENSIONS = 3
"""Rank of a batch of sequences, [batch, length, features]."""

ATTENTION_DIMENSIONS = 4
"""Rank of the result of functional attention, [batch, heads, length, features]."""

POINTWISE = ("add", "mul", "div", "sub", "relu", "sigmoid", "tanh", "gelu", "silu", "hardtanh")
"""Words that mark a function of one operation for each output element."""

UNCOUNTED_PRODUCTS = ("conv2d", "linear", "matmul", "addmm")
"""Words that mark a functional product: layers are modules in these graphs, and a product called directly counts 0."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def value_shape(node: Node) -> tuple[int, ...] | None:
    """Shape of the one tensor that a node returns, or None where it returns something else."""
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if isinstance(meta, TensorMetadata) else None


class FxRules:
    """Counting rules for graphs of `torch.fx.symbolic_trace`, where layers are module nodes."""

    flops_method = FLOPS_METHOD

    def __init__(self, graph_module: GraphModule) -> None:
        self._modules = dict(graph_module.named_modules(remove_duplicate=False))

    def kind(self, node: Node) -> str:
        """Class name of a module without its package, or the name of a function."""
        if node.op == "call_module":
            return type(self._modules[str(node.target)]).__name__
        return str(getattr(node.target, "__name__", "") or str(node.target).rsplit(".", 1)[-1])

    def flops(self, node: Node) -> int:
        """Count multiplications and additions of one node; without a known result shape there are none."""
        if node.meta.get("tensor_meta") is None:
            return 0
        if node.op == "call_module":
            return _module_flops(self._modules[str(node.target)], node)
        return _function_flops(_ADDRESS.sub("", str(node.target)), value_shape(node))

    def value_bytes(self, node: Node) -> int:
        """4 bytes for each element; of a pair the first, of a longer collection nothing."""
        meta = node.meta.get("tensor_meta")
        if isinstance(meta, tuple) and not isinstance(meta, TensorMetadata):
            meta = meta[0] if 1 <= len(meta) <= 2 else None  # noqa: PLR2004 - a pair, as attention returns it
        return prod(meta.shape) * BYTES_PER_ELEMENT if isinstance(meta, TensorMetadata) else 0

    def read_bytes(self, node: Node, source: Node) -> int:  # noqa: ARG002 - the protocol's argument
        """All of the value, whatever the node does with it."""
        return self.value_bytes(source)

    def weight_bytes(self, node: Node) -> int:
        """Parameters of a module in their real size; buffers such as running means are left out."""
        if node.op != "call_module":
            return 0
        return sum(weight.numel() * weight.element_size() for weight in self._modules[str(node.target)].parameters())


def _module_flops(module: nn.Module, node: Node) -> int:
    """Count convolutions, linear layers and attention; all other modules count nothing, and so does a bias."""
    if isinstance(module, nn.MultiheadAttention):
        return _attention_flops(module, node)
    shape = value_shape(node)
    if shape is None:
        return 0
    if isinstance(module, nn.Conv2d):
        positions = prod(shape) // module.out_channels
        taps = prod(module.kernel_size)
        if module.groups == module.in_channels and module.groups > 1:
            return 2 * positions * module.in_channels * taps
        return 2 * positions * module.out_channels * module.in_channels * taps
    if isinstance(module, nn.Linear):
        return 2 * prod(shape[:-1]) * module.in_features * module.out_features
    return 0


def _attention_flops(module: nn.MultiheadAttention, node: Node) -> int:
    """Count the projections, both products and the softmax of self-attention over a batch of sequences."""
    query = node.args[0] if node.args else node.kwargs.get("query")
    shape = value_shape(query) if query is not None and hasattr(query, "meta") else None  # type: ignore[arg-type] # only nodes have meta
    if shape is None or len(shape) != BATCHED_DIMENSIONS:
        return 0
    batch, length = (shape[0], shape[1]) if module.batch_first else (shape[1], shape[0])
    embed, heads = module.embed_dim, module.num_heads
    projections = batch * length * embed * (embed + module.kdim + module.vdim)
    products = 2 * (batch * heads * length * length * (embed // heads))
    output = batch * length * embed * embed
    return int(2 * (projections + products + output) + SOFTMAX_FLOPS * batch * heads * length * length)


def _function_flops(target: str, shape: tuple[int, ...] | None) -> int:
    """Count a function by words in the string form of its target, address removed; the first hit wins.

    An address is removed because its hexadecimal digits can spell `add`.
    """
    if shape is None or any(word in target for word in UNCOUNTED_PRODUCTS):
        return 0
    elements = prod(shape)
    if "batch_norm" in target or "layer_norm" in target:
        return NORM_FLOPS * elements
    if "pool" in target:
        return 0
    if "scaled_dot_product_attention" in target and len(shape) == ATTENTION_DIMENSIONS:
        scores = prod(shape[:-1]) * shape[-2]
        return 4 * scores * shape[-1] + SOFTMAX_FLOPS * scores
    return elements if any(word in target for word in POINTWISE) else 0
