"""New runs join the imported ones by (model, subgraph_id): the cut and the counts equal all stored files exactly."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from groundlake.measure.plan import FULL_BATCHES  # noqa: E402 - after the skip
from groundlake.measure.trace import TracedModel, trace  # noqa: E402 - the same
from groundlake.measure.zoo import load_model  # noqa: E402 - the same

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def stored(v1_data: Path, precision: str, model: str, batch: int) -> dict[str, list[tuple[Any, ...]]]:
    """Subgraphs by hardware id, from every canonical file of the configuration."""
    pattern = f"*/measurements/{precision}/{model}_b{batch}.json"
    return {
        path.parts[-4]: [
            (
                row["subgraph_id"],
                row["fusion_pattern"],
                row["operation_type"],
                row["node_names"],
                row["flops"],
                row["total_bytes"],
                row["arithmetic_intensity"],
            )
            for row in json.loads(path.read_text())["subgraphs"]
        ]
        for path in sorted((v1_data / "calibration_data").glob(pattern))
    }


@cache
def traced_once(model: str) -> tuple[TracedModel, tuple[int, ...]]:
    """Trace a model, and name the shape of one input: its graph does not depend on the precision, only its sizes do."""
    loaded = load_model(model, device="meta")
    return trace(loaded.module, torch.empty((1, *loaded.input_shape), device="meta")), loaded.input_shape


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("model", FULL_BATCHES)
def test_every_subgraph_equals_the_imported_one(v1_data: Path, model: str, precision: str) -> None:
    traced, input_shape = traced_once(model)
    traced.graph_module.to(DTYPES[precision])
    compared = set()
    for batch in (1, 4):
        files = stored(v1_data, precision, model, batch)
        if not files:
            continue
        traced.propagate_shapes(torch.empty((batch, *input_shape), device="meta", dtype=DTYPES[precision]))
        found = [
            (
                each.subgraph_id,
                each.fusion_pattern,
                each.operation_type,
                list(each.node_names),
                each.flops,
                each.total_bytes,
                each.arithmetic_intensity,
            )
            for each in traced.subgraphs()
        ]
        for hardware_id, expected in files.items():
            assert found == expected, f"{hardware_id} {precision} {model} batch {batch}"
            compared.add(batch)
    assert traced.flops_method == "fx_chain_v1"
    assert compared == {batch for batch in (1, 4) if batch in FULL_BATCHES[model]}
