"""Measuring on a CUDA device: events instead of the host's clock, and precisions that are really run."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from groundlake.measure.engine import measure  # noqa: E402 - after the skip
from groundlake.measure.precision import numerics  # noqa: E402 - the same
from groundlake.measure.worker import Job  # noqa: E402 - the same


@pytest.fixture(autouse=True)
def cuda_ready() -> None:
    """Skip without a CUDA device, or fail where LAKE_REQUIRE says that it must be there."""
    if torch.cuda.is_available():
        return
    if "gpu" in os.environ.get("LAKE_REQUIRE", "").split(","):
        pytest.fail("LAKE_REQUIRE has gpu, and torch sees no CUDA device")
    pytest.skip("torch sees no CUDA device")


def job(precision: str) -> Job:
    return Job(model="resnet18", precision=precision, batch=4, device="cuda", warmup=2, runs=5)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_a_model_is_timed_by_device_events_in_each_precision(precision: str) -> None:
    measured = measure(job(precision), lambda *_: None)
    assert measured.timing_method == "node_events"
    assert len(measured.subgraph_ms) == len(measured.subgraphs) == 32
    rounding = 0.001 * sum(len(each.node_names) for each in measured.subgraphs)  # events resolve about half a µs
    for number, whole in enumerate(measured.pass_ms):
        assert 0 < sum(samples[number] for samples in measured.subgraph_ms) <= whole + rounding
    assert min(measured.end_to_end_ms) > 0


def test_fp32_is_not_shortened_and_tf32_is() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(512, 512, device="cuda"), torch.randn(512, 512, device="cuda")
    exact = left.double() @ right.double()
    with numerics("fp32"):
        fp32_error = (left @ right - exact).abs().max().item()
    with numerics("tf32"):
        tf32_error = (left @ right - exact).abs().max().item()
    assert fp32_error < 1e-3 < tf32_error
