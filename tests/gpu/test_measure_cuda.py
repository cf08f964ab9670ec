"""Measuring on a CUDA device: events instead of the host's clock, and precisions that are really run."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def cuda_ready(need: Callable[..., None]) -> None:
    """Skip without a CUDA device, or fail where LAKE_REQUIRE says that it must be there."""
    found = find_spec("torch") is not None
    need("gpu", present=found, reason="torch is not installed: pip install 'groundlake[measure]'")
    import torch

    need("gpu", present=torch.cuda.is_available(), reason="torch sees no CUDA device")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_a_model_is_timed_by_device_events_in_each_precision(precision: str) -> None:
    from groundlake.measure.engine import measure
    from groundlake.measure.messages import Job

    job = Job(model="resnet18", precision=precision, batch=4, device="cuda", warmup=2, runs=5)
    measured = measure(job, lambda *_: None)
    assert measured.timing_method == "node_events"
    assert len(measured.subgraph_ms) == len(measured.subgraphs) == 32
    rounding = 0.001 * sum(len(each.node_names) for each in measured.subgraphs)  # events resolve about half a µs
    for number, whole in enumerate(measured.pass_ms):
        assert 0 < sum(samples[number] for samples in measured.subgraph_ms) <= whole + rounding
    assert min(measured.end_to_end_ms) > 0


def test_the_state_under_load_is_that_of_a_gpu_at_work() -> None:
    from groundlake.measure.engine import measure
    from groundlake.measure.messages import Job

    job = Job(model="resnet50", precision="fp32", batch=32, device="cuda", warmup=2, runs=5)
    state = measure(job, lambda *_: None).system_under_load
    assert "gpu_idle" not in (state["throttle_reasons"] or ())


def test_fp32_is_not_shortened_and_tf32_is() -> None:
    import torch

    from groundlake.measure.precision import numerics

    torch.manual_seed(0)
    left, right = torch.randn(512, 512, device="cuda"), torch.randn(512, 512, device="cuda")
    exact = left.double() @ right.double()
    with numerics("fp32"):
        fp32_error = (left @ right - exact).abs().max().item()
    with numerics("tf32"):
        tf32_error = (left @ right - exact).abs().max().item()
    assert fp32_error < 1e-3 < tf32_error


def test_memory_that_runs_out_on_the_device_is_named_and_not_taken_for_a_model_without_a_graph() -> None:
    import torch
    from torch import nn

    from groundlake.measure.trace import trace

    class Greedy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.new_empty(1 << 50)

    with pytest.raises(torch.cuda.OutOfMemoryError):
        trace(Greedy().eval(), torch.zeros(1, 3, device="cuda"))
