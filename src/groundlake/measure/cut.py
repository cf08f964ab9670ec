"""Cut a traced graph into subgraphs: greedy forward chains, their names and their types.

Users join new runs to old ones by (model, subgraph_id), so the cut is fixed for ever; docs/counting.md describes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch.fx import Graph, Node

FUSABLE: dict[str, frozenset[str]] = {
    "Conv2d": frozenset({"BatchNorm2d", "ReLU", "ReLU6", "SiLU", "Swish", "Sigmoid"}),
    "BatchNorm2d": frozenset({"ReLU", "ReLU6", "SiLU", "Swish", "Hardswish"}),
    "Linear": frozenset({"BatchNorm1d", "ReLU", "GELU", "SiLU", "Dropout"}),
    "add": frozenset({"ReLU", "ReLU6", "SiLU"}),
    "AdaptiveAvgPool2d": frozenset({"Conv2d"}),
    "ReLU": frozenset({"Dropout"}),
    "GELU": frozenset({"Dropout", "Linear"}),
    "SiLU": frozenset({"Dropout", "Conv2d"}),
    "Sigmoid": frozenset({"mul"}),
    "LayerNorm": frozenset({"MultiheadAttention", "Linear"}),
    "MultiheadAttention": frozenset({"Dropout"}),
    "Dropout": frozenset({"add"}),
    "StochasticDepth": frozenset({"add"}),
    "stochastic_depth": frozenset({"add"}),
}
"""Kind of an operation -> kinds that may follow it in a chain. Every other pair breaks the chain."""

UNFUSED = "Unfused"
"""Pattern of a subgraph of one operation."""

SHOWN_KINDS = 3
"""Kinds that a pattern spells out; the rest is a number."""

OPERATION_TYPES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("matmul", ("matmul", "linear", "attention")),
    ("pooling", ("pool",)),
    ("layernorm", ("layernorm", "layer_norm")),
    ("batchnorm", ("batchnorm",)),
    ("activation", ("relu", "gelu", "silu", "swish", "sigmoid")),
    ("elementwise", ("add", "mul", "elementwise")),
    ("reshape", ("reshape", "view", "flatten", "squeeze", "unsqueeze")),
    ("unfused", ("unfused",)),
)
"""Types of patterns without a convolution, in the order of the tests: the first hit wins."""


class ByteRules(Protocol):
    """What a way of counting bytes knows about the nodes of a graph."""

    def value_bytes(self, node: Node) -> int:
        """Bytes of the node's result."""
        ...

    def read_bytes(self, node: Node, source: Node) -> int:
        """Bytes that the node reads of another node's result."""
        ...

    def weight_bytes(self, node: Node) -> int:
        """Bytes of the parameters that the node owns."""
        ...


class CountingRules(ByteRules, Protocol):
    """What a way of tracing knows about its nodes; one implementation for each flops_method."""

    flops_method: str

    def kind(self, node: Node) -> str:
        """Name of the operation as the pair table spells it."""
        ...

    def flops(self, node: Node) -> int:
        """Floating-point operations of one execution of the node."""
        ...


@dataclass(frozen=True, kw_only=True)
class Subgraph:
    """One chain of operations and the work of one pass through it.

    Attributes:
        subgraph_id: Position in the model, from 0, by the first node of the chain.
        node_names: Graph nodes, in order.
        flops: Counted floating-point operations (FLOP).
        total_bytes: Counted bytes of inputs, outputs and weights (byte).
    """

    subgraph_id: int
    fusion_pattern: str
    operation_type: str
    node_names: tuple[str, ...]
    flops: int
    total_bytes: int

    @property
    def arithmetic_intensity(self) -> float:
        """FLOP per byte."""
        return self.flops / max(1, self.total_bytes)


def cut(graph: Graph, rules: CountingRules) -> tuple[Subgraph, ...]:
    """Cut a graph with known shapes into subgraphs, in the order of their first nodes.

    Args:
        graph: A graph whose nodes carry `tensor_meta`.
        rules: How this kind of graph is named and counted.
    """
    return tuple(_describe(number, chain, rules) for number, chain in enumerate(chains(graph, rules)))


def chains(graph: Graph, rules: CountingRules) -> list[list[Node]]:
    """Group the modules and functions of a graph into chains; each lands in exactly one."""
    taken: set[Node] = set()
    found = []
    for seed in graph.nodes:
        if not in_play(seed) or seed in taken:
            continue
        chain = [seed]
        taken.add(seed)
        while (follower := _follower(chain[-1], taken, rules)) is not None:
            chain.append(follower)
            taken.add(follower)
        found.append(chain)
    return found


def in_play(node: Node) -> bool:
    """Whether a node is an operation that belongs to a subgraph; methods and attributes do not."""
    return node.op in ("call_module", "call_function")


def _follower(last: Node, taken: set[Node], rules: CountingRules) -> Node | None:
    """Return the operation that continues a chain behind `last`, if there is one."""
    users = [user for user in last.users if in_play(user)]
    if len(users) != 1 or users[0] in taken:
        return None
    follower = users[0]
    pair = (rules.kind(last), rules.kind(follower))
    producers = sum(in_play(node) for node in follower.all_input_nodes)
    # The scaling of a squeeze-excite block has two producers by nature: the gate and the features.
    if producers > 1 and pair != ("Sigmoid", "mul"):
        return None
    return follower if pair[1] in FUSABLE.get(pair[0], ()) else None


def _describe(number: int, chain: list[Node], rules: CountingRules) -> Subgraph:
    pattern = fusion_pattern([rules.kind(node) for node in chain])
    return Subgraph(
        subgraph_id=number,
        fusion_pattern=pattern,
        operation_type=operation_type(pattern),
        node_names=tuple(node.name for node in chain),
        flops=sum(rules.flops(node) for node in chain),
        total_bytes=chain_bytes(chain, rules),
    )


def chain_bytes(chain: list[Node], rules: ByteRules) -> int:
    """Sum what enters, leaves and parametrizes a chain.

    A value that two operations of the chain read from outside counts twice; a value used only inside is free.
    """
    inside = set(chain)
    total = 0
    for node in chain:
        total += sum(rules.read_bytes(node, source) for source in node.all_input_nodes if source not in inside)
        if not node.users or any(user not in inside for user in node.users):
            total += rules.value_bytes(node)
        total += rules.weight_bytes(node)
    return total


def fusion_pattern(kinds: list[str]) -> str:
    """Name a chain by its first three kinds, for example `Conv2d_BatchNorm2d_SiLU_+3more`."""
    if len(kinds) == 1:
        return UNFUSED
    rest = len(kinds) - SHOWN_KINDS
    return "_".join(kinds[:SHOWN_KINDS]) + (f"_+{rest}more" if rest > 0 else "")


def operation_type(pattern: str) -> str:
    """Classify a pattern by its text alone; what a pattern does not spell out plays no part."""
    text = pattern.lower()
    if "depthwise" in text or "dw" in text:
        return "conv2d_depthwise"
    if "mbconv" in text or "inverted" in text:
        return "mbconv"
    if "conv" in text:
        return "conv2d_batchnorm" if "batchnorm" in text or "bn" in text else "conv2d"
    return next((name for name, words in OPERATION_TYPES if any(word in text for word in words)), "generic")
