"""Find the subgraphs of a network in its quantized form, so that both are timed by the same parts.

Quantization merges operations (convolution, normalisation and ReLU; sum and ReLU) and puts conversions between them.
What it merges lies in one subgraph as a rule. Where it does not, the parts cannot be timed singly, and the reason is
told; nothing is shared out by guessing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from groundlake.errors import TraceError
from groundlake.measure.cut import chain_bytes
from groundlake.measure.int8.quantize import bytes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import fx

    from groundlake.measure.cut import Subgraph

BYTES_COUNTED = "+int8_bytes"
"""What the counting method's name gets: cut and FLOPs as before, bytes as the quantized network moves them.

Behind it stands which network that is (`Int8Settings.network`), so that whatever compares by counting method never
takes networks of two engines, sets or preparations for repeats of each other."""

_CALLS = ("call_module", "call_function", "call_method")


def in_quantized(
    graph: fx.Graph, subgraphs: Sequence[Subgraph], network: fx.GraphModule, example: torch.Tensor
) -> tuple[tuple[Subgraph, ...], tuple[Subgraph, ...]]:
    """Find each subgraph of a network in its quantized form.

    Args:
        graph: Traced graph of the network in fp32.
        subgraphs: How it is cut.
        network: The quantized network.
        example: Its input.

    Returns:
        The subgraphs with the bytes that the quantized network moves, and the same with the nodes of its graph.

    Raises:
        TraceError: An operation of the quantized network belongs to two subgraphs, or to none that is known.
    """
    owner = owners(graph, subgraphs, network.graph)
    with torch.no_grad():
        ShapeProp(network).propagate(example)
    chains: dict[int, list[fx.Node]] = defaultdict(list)
    for node in network.graph.nodes:
        if node.name in owner:
            chains[owner[node.name]].append(node)
    rules = _QuantizedBytes(network)
    counted = tuple(replace(each, total_bytes=chain_bytes(chains[each.subgraph_id], rules)) for each in subgraphs)
    timed = tuple(replace(each, node_names=tuple(node.name for node in chains[each.subgraph_id])) for each in counted)
    return counted, timed


def owners(graph: fx.Graph, subgraphs: Sequence[Subgraph], quantized: fx.Graph) -> dict[str, int]:
    """Return the subgraph of each operation of a quantized graph, by the operation's name.

    A conversion between types belongs to the part whose result it converts; that of the input, to its reader.

    Raises:
        TraceError: An operation belongs to two subgraphs, or to none that is known.
    """
    subgraph_of = {name: each.subgraph_id for each in subgraphs for name in each.node_names}
    made_of = _counterparts(graph, quantized)
    heads = _heads(graph, set(made_of.values()))
    for name, head in heads.items():
        if name in subgraph_of and subgraph_of[name] != subgraph_of.get(head):
            raise TraceError(f"{name} is merged into {head}, which is another part")
    _refuse_other_inputs(graph, quantized, made_of, heads)
    owner = {name: subgraph_of[source] for name, source in made_of.items() if source in subgraph_of}
    lost = {each.subgraph_id: each for each in subgraphs if each.subgraph_id not in owner.values()}
    if lost:
        raise TraceError(f"{next(iter(lost.values())).node_names[0]} is not in the quantized network")
    for node in quantized.nodes:
        if _converts(node):
            source = next((each.name for each in _inputs(node) if each.name in owner), None)
            if source is None and not _inputs(node):
                source = next((user.name for user in node.users if user.name in owner), None)
            if source is not None:
                owner[node.name] = owner[source]
    return owner


def _counterparts(graph: fx.Graph, quantized: fx.Graph) -> dict[str, str]:
    """Return the operation behind each one of a quantized graph: of the same name, else the next one of its kind."""
    calls = {node.name: node for node in graph.nodes if node.op in _CALLS}
    renamed = [node for node in quantized.nodes if node.op in _CALLS and not _converts(node) and node.name not in calls]
    made_of = {node.name: node.name for node in quantized.nodes if node.name in calls and not _converts(node)}
    waiting: dict[str, list[str]] = defaultdict(list)
    for name, node in calls.items():
        if name not in made_of:
            waiting[_kind(node)].append(name)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for node in renamed:
        by_kind[_kind(node)].append(node.name)
    for kind, names in by_kind.items():
        if len(names) != len(waiting[kind]):
            raise TraceError(f"{names[0]} has no counterpart: {len(waiting[kind])} {kind} became {len(names)}")
        made_of |= dict(zip(names, waiting[kind], strict=True))
    return made_of


def _heads(graph: fx.Graph, kept: set[str]) -> dict[str, str]:
    """Return for each operation the one that does its work in the quantized graph: itself, or the one ahead of it."""
    heads: dict[str, str] = {}
    for node in graph.nodes:
        if node.op not in _CALLS:
            continue
        if node.name in kept:
            heads[node.name] = node.name
            continue
        ahead = {heads[each.name] for each in node.all_input_nodes if each.name in heads}
        if len(ahead) != 1:
            raise TraceError(f"{node.name} has no counterpart in the quantized network")
        heads[node.name] = ahead.pop()
    return heads


def _refuse_other_inputs(graph: fx.Graph, quantized: fx.Graph, made_of: dict[str, str], heads: dict[str, str]) -> None:
    """Raise unless every operation reads the results of the same ones as its counterpart."""
    by_name = {node.name: node for node in graph.nodes}
    for node in quantized.nodes:
        if node.name not in made_of:
            continue
        reads = {made_of[each.name] for each in _inputs(node) if each.name in made_of}
        source = by_name[made_of[node.name]]
        wanted = {heads[each.name] for each in source.all_input_nodes if each.name in heads}
        if reads != wanted:
            raise TraceError(f"{node.name} does not read what {source.name} reads")


def _inputs(node: fx.Node) -> list[fx.Node]:
    """Operations whose results a node reads, through conversions."""
    found = []
    for each in node.all_input_nodes:
        if _converts(each):
            found += _inputs(each)
        elif each.op in _CALLS:
            found.append(each)
    return found


def _converts(node: fx.Node) -> bool:
    """Whether a node changes the type of a value, and does no work of the network."""
    if node.op == "call_method":
        return node.target == "dequantize"
    return node.op == "call_function" and node.target in _CONVERSIONS


_CONVERSIONS = (torch.quantize_per_tensor, torch.quantize_per_channel, torch.dequantize)


def _kind(node: fx.Node) -> str:
    """Name of what a node does: `add` of operator.add, of its form in place, and of quantized::add_relu."""
    name = str(getattr(node.target, "__name__", node.target)).rsplit(".", 1)[-1].strip("_").removesuffix("_relu")
    return {"iadd": "add", "imul": "mul"}.get(name, name)


class _QuantizedBytes:
    """Bytes as a quantized network moves them: every value and every weight in its real size."""

    def __init__(self, network: fx.GraphModule) -> None:
        self._network = network
        self._modules = dict(network.named_modules(remove_duplicate=False))

    def value_bytes(self, node: fx.Node) -> int:
        """Real size of a result; of an attribute, that of what it holds."""
        if node.op == "get_attr":
            return bytes_of(_attribute(self._network, str(node.target))) or 0
        return _tensors_bytes(node.meta.get("tensor_meta"))

    def read_bytes(self, node: fx.Node, source: fx.Node) -> int:  # noqa: ARG002 - the protocol's argument
        """All of the value, whatever the node does with it."""
        return self.value_bytes(source)

    def weight_bytes(self, node: fx.Node) -> int:
        """Weight and bias of a module in their real size, with the scales of a weight; no buffers."""
        if node.op != "call_module":
            return 0
        module = self._modules[str(node.target)]
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if callable(weight) and callable(bias):  # of quantized layers both are methods
            return bytes_of([weight(), bias()]) or 0
        return bytes_of(list(module.parameters())) or 0


def _attribute(network: fx.GraphModule, path: str) -> object:
    found: object = network
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _tensors_bytes(meta: object) -> int:
    if isinstance(meta, TensorMetadata):
        return int(meta.shape.numel()) * meta.dtype.itemsize
    if isinstance(meta, (tuple, list)):
        return sum(_tensors_bytes(each) for each in meta)
    return 0
