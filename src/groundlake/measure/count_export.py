"""Count FLOPs and bytes of an exported graph of aten operators: the method `export_chain_v1`.

No imported data was counted this way, so nothing is inherited: products count in full, values have their real size.
"""

from __future__ import annotations

from math import prod

from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.passes.shape_prop import TensorMetadata

from groundlake.measure.count import SOFTMAX_FLOPS, value_shape

FLOPS_METHOD = "export_chain_v1"
"""Name under which runs record these counting rules."""

KINDS = {
    "conv2d": "Conv2d",
    "batch_norm": "BatchNorm2d",
    "layer_norm": "LayerNorm",
    "linear": "Linear",
    "relu": "ReLU",
    "relu6": "ReLU6",
    "gelu": "GELU",
    "silu": "SiLU",
    "sigmoid": "Sigmoid",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "dropout": "Dropout",
    "adaptive_avg_pool2d": "AdaptiveAvgPool2d",
}
"""Aten operators that are called what the module of the same meaning is called; all others keep their own name."""

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "convolution"})
PRODUCTS = {"mm": 0, "bmm": 0, "matmul": 0, "addmm": 1, "baddbmm": 1}
"""Matrix products, and the position of their first matrix."""
POINTWISE = frozenset({"add", "sub", "mul", "div"})


class ExportRules:
    """Counting rules for graphs of `torch.export`, where every operation is a function node."""

    flops_method = FLOPS_METHOD

    def kind(self, node: Node) -> str:
        """Name of the module that an operator stands for, or its own name without overload and in-place mark."""
        name = _operator(node)
        return KINDS.get(name, name)

    def flops(self, node: Node) -> int:
        """Count products in full and arithmetic once for each element; everything else counts nothing."""
        shape = value_shape(node)
        if shape is None:
            return 0
        name = _operator(node)
        if name in CONVOLUTIONS:
            return 2 * prod(shape) * prod(_shape_of(node, 1)[1:])
        if name == "linear":
            return 2 * prod(shape) * _shape_of(node, 1)[-1]
        if name in PRODUCTS:
            return 2 * prod(shape) * _shape_of(node, PRODUCTS[name])[-1]
        if name == "scaled_dot_product_attention":
            query, key = _shape_of(node, 0), _shape_of(node, 1)
            scores = prod(query[:-1]) * key[-2]
            return 2 * scores * query[-1] + 2 * scores * shape[-1] + SOFTMAX_FLOPS * scores
        return prod(shape) if name in POINTWISE else 0

    def value_bytes(self, node: Node) -> int:
        """Elements times their real size, over all tensors of a result; parameters are values here, too."""
        return _size(node.meta.get("tensor_meta"))

    def read_bytes(self, node: Node, source: Node) -> int:
        """All of the value; of a table of embeddings the rows that are looked up, which are as large as the result."""
        if _operator(node) == "embedding" and source is node.args[0]:
            return self.value_bytes(node)
        return self.value_bytes(source)

    def weight_bytes(self, node: Node) -> int:  # noqa: ARG002 - the protocol's argument
        """Nothing: in an exported graph the parameters are inputs of the operator."""
        return 0


def _operator(node: Node) -> str:
    """Name of the operator behind a node, for example `conv2d` of `aten.conv2d.default`."""
    target = node.target
    name = target._schema.name if isinstance(target, OpOverload) else getattr(target, "__name__", str(target))  # noqa: SLF001 - the only way to an operator's plain name
    plain = str(name).rsplit("::", 1)[-1]
    return plain.rstrip("_") or plain


def _shape_of(node: Node, position: int) -> tuple[int, ...]:
    """Shape of a positional argument; 0 and 1 operations follow where it is not a tensor."""
    argument = node.args[position] if position < len(node.args) else None
    return (value_shape(argument) if isinstance(argument, Node) else None) or (0, 0)


def _size(meta: object) -> int:
    if isinstance(meta, TensorMetadata):
        return prod(meta.shape) * meta.dtype.itemsize
    return sum(_size(entry) for entry in meta) if isinstance(meta, (tuple, list)) else 0
