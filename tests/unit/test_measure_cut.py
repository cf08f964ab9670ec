"""How models are cut, named and counted: worked examples, and each rule on the smallest model that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from torch import nn  # noqa: E402 - after the skip

from groundlake.errors import LakeError, TraceError  # noqa: E402 - the same
from groundlake.measure.cut import FUSABLE, Subgraph, cut, fusion_pattern, operation_type  # noqa: E402 - the same
from groundlake.measure.trace import TracedModel, trace  # noqa: E402 - the same
from groundlake.measure.zoo import load_model  # noqa: E402 - the same

if TYPE_CHECKING:
    from pathlib import Path

# subgraph_id, fusion_pattern, operation_type, flops, total_bytes, node_names...
RESNET18 = """
0 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 236027904 3851520 conv1 bn1 relu
1 Unfused unfused 0 4014080 maxpool
2 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 231211008 1753600 layer1_0_conv1 layer1_0_bn1 layer1_0_relu
3 Conv2d_BatchNorm2d conv2d_batchnorm 231211008 1753600 layer1_0_conv2 layer1_0_bn2
4 add_ReLU activation 200704 2408448 add layer1_0_relu_1
5 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 231211008 1753600 layer1_1_conv1 layer1_1_bn1 layer1_1_relu
6 Conv2d_BatchNorm2d conv2d_batchnorm 231211008 1753600 layer1_1_conv2 layer1_1_bn2
7 add_ReLU activation 200704 2408448 add_1 layer1_1_relu_1
8 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 115605504 1500160 layer2_0_conv1 layer2_0_bn1 layer2_0_relu
9 Conv2d_BatchNorm2d conv2d_batchnorm 231211008 1393664 layer2_0_conv2 layer2_0_bn2
10 Conv2d_BatchNorm2d conv2d_batchnorm 12845056 1238016 layer2_0_downsample_0 layer2_0_downsample_1
11 add_ReLU activation 100352 1204224 add_2 layer2_0_relu_1
12 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 231211008 1393664 layer2_1_conv1 layer2_1_bn1 layer2_1_relu
13 Conv2d_BatchNorm2d conv2d_batchnorm 231211008 1393664 layer2_1_conv2 layer2_1_bn2
14 add_ReLU activation 100352 1204224 add_3 layer2_1_relu_1
15 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 115605504 1783808 layer3_0_conv1 layer3_0_bn1 layer3_0_relu
16 Conv2d_BatchNorm2d conv2d_batchnorm 231211008 2762752 layer3_0_conv2 layer3_0_bn2
17 Conv2d_BatchNorm2d conv2d_batchnorm 12845056 735232 layer3_0_downsample_0 layer3_0_downsample_1
18 add_ReLU activation 50176 602112 add_4 layer3_0_relu_1
19 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 231211008 2762752 layer3_1_conv1 layer3_1_bn1 layer3_1_relu
20 Conv2d_BatchNorm2d conv2d_batchnorm 231211008 2762752 layer3_1_conv2 layer3_1_bn2
21 add_ReLU activation 50176 602112 add_5 layer3_1_relu_1
22 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 115605504 5023744 layer4_0_conv1 layer4_0_bn1 layer4_0_relu
23 Conv2d_BatchNorm2d conv2d_batchnorm 231211008 9641984 layer4_0_conv2 layer4_0_bn2
24 Conv2d_BatchNorm2d conv2d_batchnorm 12845056 829440 layer4_0_downsample_0 layer4_0_downsample_1
25 add_ReLU activation 25088 301056 add_6 layer4_0_relu_1
26 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 231211008 9641984 layer4_1_conv1 layer4_1_bn1 layer4_1_relu
27 Conv2d_BatchNorm2d conv2d_batchnorm 231211008 9641984 layer4_1_conv2 layer4_1_bn2
28 add_ReLU activation 25088 301056 add_7 layer4_1_relu_1
29 Unfused unfused 0 102400 avgpool
30 Unfused unfused 0 4096 flatten
31 Unfused unfused 1024000 2058048 fc
"""
MOBILENET_V3_SMALL = """
0 Conv2d_BatchNorm2d_Hardswish conv2d_batchnorm 10838016 1406784 features_0_0 features_0_1 features_0_2
1 Conv2d_BatchNorm2d_ReLU conv2d_batchnorm 903168 1004224 features_1_block_0_0 features_1_block_0_1 features_1_block_0_2
2 AdaptiveAvgPool2d_Conv2d_ReLU conv2d 256 201280 features_1_block_1_avgpool
  features_1_block_1_fc1 features_1_block_1_activation
3 Unfused unfused 256 672 features_1_block_1_fc2
4 Unfused unfused 0 128 features_1_block_1_scale_activation
5 Unfused unfused 50176 401472 mul
6 Conv2d_BatchNorm2d conv2d_batchnorm 1605632 402560 features_1_block_2_0 features_1_block_2_1
9 Conv2d_BatchNorm2d conv2d_batchnorm 2709504 308160 features_2_block_2_0 features_2_block_2_1
13 Unfused unfused 18816 225792 add
16 AdaptiveAvgPool2d_Conv2d_ReLU conv2d 4608 84672 features_4_block_2_avgpool
  features_4_block_2_fc1 features_4_block_2_activation
50 Conv2d_BatchNorm2d conv2d_batchnorm 2709504 178560 features_8_block_3_0 features_8_block_3_1
77 Unfused unfused 0 4608 flatten
78 Unfused unfused 1179648 2369792 classifier_0
79 Unfused unfused 0 8192 classifier_1
80 Unfused unfused 0 8192 classifier_2
81 Unfused unfused 2048000 4108096 classifier_3
"""


def subgraphs(module: nn.Module, *shape: int, precision: torch.dtype = torch.float32) -> tuple[Subgraph, ...]:
    return trace(module.eval().to(precision), torch.zeros(shape, dtype=precision)).subgraphs()


def of_zoo(name: str, batch: int, precision: torch.dtype = torch.float32) -> tuple[Subgraph, ...]:
    loaded = load_model(name, device="meta")
    example = torch.empty((batch, *loaded.input_shape), device="meta", dtype=precision)
    return trace(loaded.module.to(precision), example).subgraphs()


def lines(found: tuple[Subgraph, ...]) -> dict[int, str]:
    return {
        each.subgraph_id: f"{each.subgraph_id} {each.fusion_pattern} {each.operation_type} {each.flops}"
        f" {each.total_bytes} {' '.join(each.node_names)}"
        for each in found
    }


def test_resnet18_is_cut_and_counted_as_in_the_worked_example() -> None:
    assert list(lines(of_zoo("resnet18", 1)).values()) == RESNET18.split("\n")[1:-1]


def test_mobilenet_v3_small_is_cut_and_counted_as_in_the_worked_example() -> None:
    found = lines(of_zoo("mobilenet_v3_small", 1))
    assert len(found) == 82
    expected = {int(line.split()[0]): line for line in MOBILENET_V3_SMALL.replace("\n  ", " ").split("\n")[1:-1]}
    assert {number: found[number] for number in expected} == expected


@pytest.mark.parametrize(
    ("model", "count", "flops", "total_bytes"),
    [
        ("efficientnet_b0", 71, 774146144, 77266864),
        ("efficientnet_b1", 106, 1378389424, 137058816),
        ("vit_b_16", 156, 35159381328, 529030976),
        ("maxvit_t", 1002, 10774752384, 777769304),
    ],
)
def test_sums_of_a_model_are_those_of_the_imported_data(model: str, count: int, flops: int, total_bytes: int) -> None:
    found = of_zoo(model, 1)
    assert (len(found), sum(s.flops for s in found), sum(s.total_bytes for s in found)) == (count, flops, total_bytes)


def test_half_precision_halves_the_weights_and_nothing_else() -> None:
    single, half = of_zoo("efficientnet_b0", 1)[1], of_zoo("efficientnet_b0", 1, torch.bfloat16)[1]
    assert (single.total_bytes, half.total_bytes) == (4819104, 4818000)
    assert (single.flops, single.node_names) == (half.flops, half.node_names)


def test_flops_grow_with_the_batch_and_weights_do_not() -> None:
    one, four = of_zoo("resnet18", 1), of_zoo("resnet18", 4)
    assert [s.flops * 4 for s in one] == [s.flops for s in four]
    assert four[0].total_bytes == 4 * (one[0].total_bytes - 38144) + 38144


def test_shapes_of_a_second_batch_replace_those_of_the_first() -> None:
    loaded = load_model("resnet18", device="meta")
    traced = trace(loaded.module, torch.empty((1, 3, 224, 224), device="meta"))
    traced.propagate_shapes(torch.empty((4, 3, 224, 224), device="meta"))
    assert traced.subgraphs() == of_zoo("resnet18", 4)


class Residual(nn.Module):
    """A convolution whose result is used twice, then added and activated."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.after = nn.Conv2d(3, 3, 1), nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.after(y + self.relu(y))


def test_a_value_with_two_users_ends_its_chain_and_a_sum_starts_one() -> None:
    found = subgraphs(Residual(), 1, 3, 4, 4)
    assert [s.node_names for s in found] == [("conv",), ("relu",), ("add", "after")]
    assert [s.fusion_pattern for s in found] == ["Unfused", "Unfused", "add_ReLU"]


class Gate(nn.Module):
    """Scaling by a gate: the product has two producers, and may still close the gate's chain."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.conv, self.sigmoid = nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.abs(x)
        return y * self.sigmoid(self.conv(self.pool(y)))


def test_a_gate_takes_the_product_and_the_features_count_once_for_each_reader() -> None:
    _, gate = subgraphs(Gate(), 1, 3, 4, 4)
    assert gate.node_names == ("pool", "conv", "sigmoid", "mul")
    assert gate.fusion_pattern == "AdaptiveAvgPool2d_Conv2d_Sigmoid_+1more"
    features, weights = 3 * 4 * 4 * 4, (9 + 3) * 4
    assert gate.total_bytes == 2 * features + features + weights
    assert gate.flops == 2 * 3 * 3 + 3 * 4 * 4


def test_a_depthwise_convolution_counts_one_channel_for_each_output() -> None:
    (depthwise,) = subgraphs(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8)), 2, 8, 5, 5)
    assert depthwise.flops == 2 * 2 * 8 * 5 * 5 * 9


def test_a_grouped_convolution_counts_as_if_it_were_dense() -> None:
    (grouped,) = subgraphs(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=2)), 1, 8, 5, 5)
    assert grouped.flops == 2 * 8 * 5 * 5 * 8 * 9


class Branching(nn.Module):
    """Control flow on a shape, which a symbolic trace cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > 1:
            x = x * 2.0
        y = self.relu(self.norm(self.conv(x)))
        return self.head(y.mean((2, 3)))


def test_a_model_that_branches_on_shapes_is_exported_and_counted_under_another_name() -> None:
    traced = trace(Branching().eval(), torch.zeros(2, 3, 8, 8))
    assert traced.flops_method == "export_chain_v1"
    found = traced.subgraphs()
    assert [s.fusion_pattern for s in found] == ["Unfused", "Conv2d_BatchNorm2d_ReLU", "Unfused", "Unfused"]
    assert [s.flops for s in found] == [2 * 3 * 8 * 8, 2 * 2 * 8 * 6 * 6 * 27, 0, 2 * 2 * 8 * 5]
    inputs, output = 2 * 3 * 8 * 8, 2 * 8 * 6 * 6
    assert found[1].total_bytes == 4 * (inputs + output + 8 * 27 + 8 + 4 * 8)


def test_a_model_that_is_traced_symbolically_is_counted_under_the_name_of_the_imported_data() -> None:
    traced = trace(Residual().eval(), torch.zeros(1, 3, 4, 4))
    assert isinstance(traced, TracedModel)
    assert traced.flops_method == "fx_chain_v1"


class Lookup(nn.Module):
    """Words of a long vocabulary; the branch makes it an exported graph."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10_000, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if ids.shape[0] > 1:
            ids = ids + 1
        return self.words(ids)


def test_an_exported_lookup_reads_the_rows_it_needs_and_not_the_whole_table() -> None:
    _, lookup = trace(Lookup().eval(), torch.zeros((2, 5), dtype=torch.int64)).subgraphs()
    rows = 2 * 5 * 4 * 4
    assert lookup.total_bytes == 2 * 5 * 8 + rows + rows


class Unpredictable(nn.Module):
    """Control flow on values, which no way of tracing follows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if bool(x.sum() > 0) else x


def test_a_model_that_cannot_be_traced_says_why_both_ways() -> None:
    with pytest.raises(TraceError, match=r"(?s)torch\.fx: .*torch\.export: ") as caught:
        trace(Unpredictable().eval(), torch.zeros(1, 3))
    assert len(str(caught.value).splitlines()) <= 6


class FailingOnce(torch.nn.Identity):
    """Fails the first time that it runs; tracing does not run it, because torch.nn says that it is a leaf."""

    __module__ = "torch.nn.modules.linear"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.errors = [error]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.errors:
            raise self.errors.pop()
        return x


FAULTS = [
    MemoryError("no memory"),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{type(fault).__name__} {str(fault)[:10]}")
def test_a_fault_of_memory_or_device_passes_through_tracing_and_changes_no_method(fault: Exception) -> None:
    with pytest.raises(type(fault)) as caught:
        trace(nn.Sequential(FailingOnce(fault), nn.Linear(3, 2)).eval(), torch.zeros(1, 3))
    assert caught.value is fault
    assert not isinstance(caught.value, LakeError)


@pytest.mark.parametrize("fault", FAULTS[:2], ids=lambda fault: type(fault).__name__)
def test_a_fault_passes_through_the_export_too(fault: Exception) -> None:
    class BranchingAndFailing(Branching):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[0] > 1:  # tracing by torch.fx stops here
                raise fault
            return x

    with pytest.raises(type(fault), match=str(fault)):
        trace(BranchingAndFailing().eval(), torch.zeros(2, 3, 8, 8))


def test_what_a_model_raises_itself_is_still_worth_another_way() -> None:
    model = nn.Sequential(FailingOnce(RuntimeError("not like this")), nn.Linear(3, 2)).eval()
    assert trace(model, torch.zeros(1, 3)).flops_method == "export_chain_v1"


class Named:
    """Rules that read kind and work off the node's name; the graph alone decides the rest."""

    flops_method = "test"

    def kind(self, node: torch.fx.Node) -> str:
        return node.name.split("_")[0]

    def flops(self, node: torch.fx.Node) -> int:  # noqa: ARG002 - the protocol's argument
        return 1

    def value_bytes(self, node: torch.fx.Node) -> int:  # noqa: ARG002 - the protocol's argument
        return 10

    def read_bytes(self, node: torch.fx.Node, source: torch.fx.Node) -> int:  # noqa: ARG002 - the protocol's argument
        return 10

    def weight_bytes(self, node: torch.fx.Node) -> int:  # noqa: ARG002 - the protocol's argument
        return 100


def chain_of(*kinds: str) -> list[tuple[str, ...]]:
    graph = torch.fx.Graph()
    last = graph.placeholder("x")
    for kind in kinds:
        last = graph.create_node("call_function", torch.abs, (last,), name=kind)
    graph.output(last)
    return [each.node_names for each in cut(graph, Named())]


@pytest.mark.parametrize(("first", "second"), [(p, q) for p in FUSABLE for q in sorted(FUSABLE[p]) if "_" not in p])
def test_each_pair_of_the_table_is_one_chain(first: str, second: str) -> None:
    assert chain_of(first, second) == [(first, second)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("BatchNorm2d", "GELU"),
        ("Conv2d", "Hardswish"),
        ("Conv2d", "Conv2d"),
        ("BatchNorm2d", "Conv2d"),
        ("ReLU", "Conv2d"),
        ("Hardsigmoid", "mul"),
        ("Dropout", "Linear"),
        ("Linear", "Hardswish"),
        ("flatten", "Linear"),
        ("softmax", "einsum"),
    ],
)
def test_every_other_pair_breaks_the_chain(first: str, second: str) -> None:
    assert len(chain_of(first, second)) == 2


@pytest.mark.parametrize(
    ("kinds", "pattern"),
    [
        (["Linear"], "Unfused"),
        (["Conv2d", "ReLU"], "Conv2d_ReLU"),
        (["Linear", "ReLU", "Dropout"], "Linear_ReLU_Dropout"),
        (["LayerNorm", "Linear", "GELU", "Dropout"], "LayerNorm_Linear_GELU_+1more"),
        (["Conv2d", "BatchNorm2d", "SiLU", "Conv2d", "BatchNorm2d", "SiLU"], "Conv2d_BatchNorm2d_SiLU_+3more"),
    ],
)
def test_a_pattern_spells_out_three_kinds(kinds: list[str], pattern: str) -> None:
    assert fusion_pattern(kinds) == pattern


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Unfused", "unfused"),
        ("Conv2d_BatchNorm2d_ReLU6", "conv2d_batchnorm"),
        ("Conv2d_ReLU", "conv2d"),
        ("AdaptiveAvgPool2d_Conv2d_SiLU_+3more", "conv2d"),
        ("add_ReLU", "activation"),
        ("Linear_Dropout", "matmul"),
        ("LayerNorm_MultiheadAttention", "matmul"),
        ("LayerNorm_Linear", "matmul"),
        ("AdaptiveAvgPool2d_Dropout", "pooling"),
        ("LayerNorm_Dropout", "layernorm"),
        ("BatchNorm2d_ReLU", "batchnorm"),
        ("Dropout_add", "elementwise"),
        ("flatten_unsqueeze", "reshape"),
        ("InvertedResidual_x", "mbconv"),
        ("DepthwiseConv_x", "conv2d_depthwise"),
        ("Something_Else", "generic"),
    ],
)
def test_a_type_follows_from_the_pattern_alone(pattern: str, expected: str) -> None:
    assert operation_type(pattern) == expected


def test_an_address_that_spells_a_keyword_is_not_an_operation() -> None:
    from groundlake.measure.count import FxRules

    class Addressed:
        """A callable whose string form ends as a function's does, at an unlucky address."""

        __name__ = "stochastic"

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def __repr__(self) -> str:
            return "<function stochastic at 0x7fadd0>"

    graph = torch.fx.Graph()
    node = graph.create_node("call_function", Addressed(), (graph.placeholder("x"),))
    graph.output(node)
    module = torch.fx.GraphModule(nn.Module(), graph)
    torch.fx.passes.shape_prop.ShapeProp(module).propagate(torch.zeros(3))
    (function,) = [node for node in module.graph.nodes if node.op == "call_function"]
    assert FxRules(module).flops(function) == 0


def test_a_user_factory_brings_its_own_input_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_model_for_cut.py").write_text(
        "import torch\ndef tiny():\n    return torch.nn.Linear(7, 2)\ntiny.input_shape = (7,)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_model("own_model_for_cut:tiny").input_shape == (7,)
