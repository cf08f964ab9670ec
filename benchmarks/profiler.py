"""Times of resnet18 by operation: ours beside those of torch.profiler, pass by pass in one run on the CPU.

    python benchmarks/profiler.py

Ours are those behind the subgraph timings (`groundlake.measure.timing`), cut into single operations. The profiler's are
the self times of all operators inside an operation. Both disturb what they time; the model timed whole stands below.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from figures import median_with_interval
from torch.profiler import ProfilerActivity, profile

from groundlake.measure.cut import Subgraph, in_play
from groundlake.measure.timing import time_end_to_end, time_subgraphs
from groundlake.measure.trace import trace
from groundlake.measure.zoo import load_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from groundlake.measure.trace import TracedModel

MODEL = "resnet18"
ROUNDS = 40
PASSES = 3
OPERATORS = {
    "aten::conv2d": "Conv2d",
    "aten::batch_norm": "BatchNorm2d",
    "aten::relu": "ReLU",
    "aten::relu_": "ReLU",
    "aten::max_pool2d": "MaxPool2d",
    "aten::add": "add",
    "aten::add_": "add",
    "aten::adaptive_avg_pool2d": "AdaptiveAvgPool2d",
    "aten::flatten": "flatten",
    "aten::linear": "Linear",
}
"""The operator that each operation of the model calls; those inside it belong to it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of operation: its number in the model, medians over the rounds, and our time over the profiler's."""

    operation: str
    count: int
    ours_ms: float
    profiler_ms: float
    ratio: float
    low: float
    high: float


def operations(traced: TracedModel) -> list[Subgraph]:
    """Cut the graph into subgraphs of one operation each; the pattern is the operation's kind."""
    nodes = [node for node in traced.graph_module.graph.nodes if in_play(node)]
    return [
        Subgraph(
            subgraph_id=number,
            fusion_pattern=traced.rules.kind(node),
            operation_type="unfused",
            node_names=(node.name,),
            flops=0,
            total_bytes=0,
        )
        for number, node in enumerate(nodes)
    ]


def profiled(module: torch.nn.Module, example: torch.Tensor) -> dict[str, float]:
    """Self times of the operators by the operation that they belong to, in ms for each pass."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        for _ in range(PASSES):
            module(example)
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.events():
        if event.cpu_parent is None or not event.cpu_parent.name.startswith("aten::"):
            spent[OPERATORS.get(event.name, event.name)] += self_us(event) / 1000 / PASSES
    return spent


def self_us(event: Any) -> float:  # noqa: ANN401 - torch does not name the type of an event
    """Sum of the self times of an operator and of all that it calls, in us."""
    return float(event.self_cpu_time_total) + sum(self_us(child) for child in event.cpu_children)


def compare(rounds: int) -> tuple[list[Row], dict[str, float]]:
    """Time the model in turns by both ways and whole; rows by operation, and the times of the passes in ms."""
    torch.manual_seed(0)
    loaded = load_model(MODEL)
    example = loaded.example(1, dtype=torch.float32, device="cpu")
    traced = trace(loaded.module, example)
    single = operations(traced)
    counts: dict[str, int] = defaultdict(int)
    for each in single:
        counts[each.fusion_pattern] += 1
    ours: dict[str, list[float]] = defaultdict(list)
    theirs: dict[str, list[float]] = defaultdict(list)
    whole_ms = []
    profiled(loaded.module, example)
    for number in range(rounds):
        turns = ("ours", "profiler", "whole")
        for turn in turns if number % 2 else turns[::-1]:
            if turn == "ours":
                times = time_subgraphs(traced, single, example, warmup=1, runs=PASSES)
                note(ours, by_kind(single, times.subgraph_ms))
            elif turn == "profiler":
                note(theirs, profiled(loaded.module, example))
            else:
                whole_ms.append(statistics.fmean(time_end_to_end(loaded.module, example, warmup=1, runs=PASSES)))
    rows = [row(kind, counts[kind], ours[kind], theirs[kind]) for kind in counts]
    every = [sum(times[number] for times in ours.values()) for number in range(rounds)]
    all_of_theirs = [sum(theirs[kind][number] for kind in counts) for number in range(rounds)]
    rows.append(row("all", sum(counts.values()), every, all_of_theirs))
    return rows, {"whole_model_ms": statistics.median(whole_ms), "threads": torch.get_num_threads()}


def by_kind(single: Iterable[Subgraph], samples_ms: Iterable[tuple[float, ...]]) -> dict[str, float]:
    """Mean time of one pass in each kind of operation, in ms."""
    spent: dict[str, float] = defaultdict(float)
    for each, samples in zip(single, samples_ms, strict=True):
        spent[each.fusion_pattern] += statistics.fmean(samples)
    return spent


def note(kept: dict[str, list[float]], found: Mapping[str, float]) -> None:
    """Add the times of one round."""
    for kind, spent in found.items():
        kept[kind].append(spent)


def row(kind: str, count: int, ours: list[float], theirs: list[float]) -> Row:
    """Compare the rounds of one kind of operation."""
    ratio, low, high = median_with_interval([one / other for one, other in zip(ours, theirs, strict=True)])
    return Row(
        operation=kind,
        count=count,
        ours_ms=statistics.median(ours),
        profiler_ms=statistics.median(theirs),
        ratio=ratio,
        low=low,
        high=high,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Rounds of each way in turn.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    options = parser.parse_args()
    rows, passes = compare(options.rounds)
    if options.json:
        print(json.dumps({"rows": [asdict(each) for each in rows], **passes}))
        return
    print(f"{'operation':20} {'count':>5} {'ours':>10} {'profiler':>10} {'ratio':>6}  95 % interval")
    for each in rows:
        print(
            f"{each.operation:20} {each.count:5} {each.ours_ms:8.3f}ms {each.profiler_ms:8.3f}ms {each.ratio:6.2f}"
            f"  {each.low:.2f} to {each.high:.2f}"
        )
    print(
        f"the whole model, without instrumentation: {passes['whole_model_ms']:.2f} ms ({passes['threads']:g} threads)"
    )


if __name__ == "__main__":
    main()
