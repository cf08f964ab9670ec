"""FLOPs beside those of torch.utils.flop_counter: equal but for what docs/counting.md names, to the last operation."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from torch import nn  # noqa: E402 - after the skip
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402 - the same

from groundlake.measure.count import FxRules  # noqa: E402 - the same
from groundlake.measure.plan import FULL_BATCHES  # noqa: E402 - the same
from groundlake.measure.trace import trace  # noqa: E402 - the same
from groundlake.measure.zoo import load_model  # noqa: E402 - the same

PAGE = Path(__file__).resolve().parents[2] / "docs" / "counting.md"
MODULES = frozenset({"Conv2d", "Linear", "MultiheadAttention"})
BATCH = 1


def counted_by_torch(module: nn.Module, example: torch.Tensor) -> tuple[int, int]:
    """All that torch counts, and the part of it that is products of two activations (bmm)."""
    with FlopCounterMode(display=False) as counter:
        module(example)
    products = sum(flops for name, flops in counter.get_flop_counts()["Global"].items() if "bmm" in str(name))
    return int(counter.get_total_flops()), int(products)


def counted_here(module: nn.Module, example: torch.Tensor) -> tuple[int, int, int]:
    """Our total, the part of it in pointwise functions, and that in the softmax of attention modules."""
    traced = trace(module, example)
    rules = traced.rules
    assert isinstance(rules, FxRules)
    pointwise = softmax = 0
    for node in traced.graph_module.graph.nodes:
        if node.op not in ("call_module", "call_function"):
            continue
        if rules.kind(node) not in MODULES:
            pointwise += rules.flops(node)
        if rules.kind(node) == "MultiheadAttention":
            batch, length, _ = node.args[0].meta["tensor_meta"].shape
            heads = traced.graph_module.get_submodule(node.target).num_heads
            softmax += 5 * batch * heads * length * length
    return sum(each.flops for each in traced.subgraphs()), pointwise, softmax


@cache
def figures(model: str) -> dict[str, int]:
    """Counts of one model, on the meta device: shapes without values."""
    loaded = load_model(model, device="meta")
    example = torch.empty((BATCH, *loaded.input_shape), device="meta")
    total, pointwise, softmax = counted_here(loaded.module, example)
    theirs, products = counted_by_torch(loaded.module, example)
    attends = any(isinstance(part, nn.MultiheadAttention) for part in loaded.module.modules())
    return {
        "groundlake": total,
        "FlopCounterMode": theirs,
        "pointwise": pointwise,
        "softmax": softmax,
        "products left out": 0 if attends else products,
    }


@pytest.mark.parametrize("model", FULL_BATCHES)
def test_totals_differ_from_torch_by_the_documented_differences_and_nothing_else(model: str) -> None:
    found = figures(model)
    explained = found["pointwise"] + found["softmax"] - found["products left out"]
    assert found["groundlake"] - explained == found["FlopCounterMode"]


@pytest.mark.parametrize("model", FULL_BATCHES)
def test_the_table_in_the_documentation_has_these_figures(model: str) -> None:
    (line,) = re.findall(rf"^\| {model} \|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    *written, ratio = (cell.strip() for cell in line.split("|"))
    found = figures(model)
    assert [int(cell.replace(",", "")) for cell in written] == list(found.values())
    assert ratio == f"{found['groundlake'] / found['FlopCounterMode']:.4f}"


class Einsum(nn.Module):
    """A product written with einsum."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,bcvw->bchv", image, image)


class Functional(nn.Module):
    """A convolution without a module."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(8, 4, 3, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(image, self.weight)


@pytest.mark.parametrize(
    ("module", "times"),
    [
        (nn.Conv2d(4, 8, 3), 1),
        (nn.Conv2d(4, 4, 3, groups=4), 1),
        (nn.Conv2d(4, 8, 3, groups=2), 2),
        (nn.Conv2d(4, 8, 3, groups=4), 0.5),
        (Einsum(), 0),
        (Functional(), 0),
    ],
    ids=["dense", "depthwise", "grouped", "depthwise with more outputs", "einsum", "functional"],
)
def test_the_known_gaps_are_as_large_as_documented(module: nn.Module, times: float) -> None:
    example = torch.empty((2, 4, 12, 12), device="meta")
    inside = nn.Sequential(module).to("meta").eval()
    theirs, _ = counted_by_torch(inside, example)
    ours, _, _ = counted_here(inside, example)
    assert theirs > 0
    assert ours == times * theirs
