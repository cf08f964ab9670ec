"""What timing promises whatever the clock says: shapes, sums, precisions that are really run."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from torch import nn  # noqa: E402 - after the skip

from groundlake.errors import LakeError, MissingDependencyError, UsageError  # noqa: E402 - the same
from groundlake.measure.engine import measure  # noqa: E402 - the same
from groundlake.measure.messages import Job  # noqa: E402 - the same
from groundlake.measure.precision import numerics, require_device, require_precision  # noqa: E402 - the same
from groundlake.measure.timing import time_end_to_end, time_subgraphs  # noqa: E402 - the same
from groundlake.measure.trace import trace  # noqa: E402 - the same
from groundlake.measure.zoo import load_model  # noqa: E402 - the same

MODULE = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5)
)
EXAMPLE = torch.zeros(2, 3, 8, 8)


def test_subgraphs_share_out_a_pass_and_never_more_than_it() -> None:
    traced = trace(MODULE.eval(), EXAMPLE)
    subgraphs = traced.subgraphs()
    seen: list[tuple[str, int, int]] = []
    times = time_subgraphs(
        traced, subgraphs, EXAMPLE, warmup=2, runs=7, on_progress=lambda *passes: seen.append(passes)
    )
    assert times.timing_method == "perf_counter"
    assert [len(samples) for samples in times.subgraph_ms] == [7] * 4
    assert len(times.pass_ms) == 7
    for number, whole in enumerate(times.pass_ms):
        assert 0 < sum(samples[number] for samples in times.subgraph_ms) <= whole * (1 + 1e-9)
    assert seen[0] == ("warm-up", 1, 9)
    assert seen[-1] == ("subgraphs", 9, 9)
    assert gc.isenabled()


def test_the_whole_model_is_timed_without_its_graph() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(torch.is_inference_mode_enabled())
            return x

    assert len(time_end_to_end(Counting(), EXAMPLE, warmup=2, runs=5)) == 5
    assert calls == [True] * 7


def test_fp32_turns_shortened_products_off_and_restores_them() -> None:
    before = torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("medium")
        with numerics("fp32"):
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
        with numerics("tf32"):
            assert torch.backends.cudnn.allow_tf32
            assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = before


def test_tf32_on_a_cpu_is_refused_and_not_run_as_fp32() -> None:
    with pytest.raises(MissingDependencyError, match="tf32"):
        require_precision("tf32", "cpu")


def test_a_precision_that_nothing_here_runs_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="int4"):
        require_precision("int4", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingDependencyError, match="cuda"):
        require_device("cuda")


def test_a_model_that_casts_inside_is_not_recorded_as_half_precision(tmp_path, monkeypatch) -> None:
    (tmp_path / "casting_models.py").write_text(
        "import torch\n"
        "class Casting(torch.nn.Module):\n"
        "    def __init__(self, some):\n"
        "        super().__init__()\n"
        "        self.some = some\n"
        "        self.relu = torch.nn.ReLU()\n"
        "    def forward(self, x):\n"
        "        return self.relu(torch.add(self.relu(x) if self.some else x, 1.0, out=None).float() * 2)\n"
        "class Whole(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.abs(x.float())\n"
        "def some(): return Casting(True)\n"
        "def whole(): return Whole()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    job = Job(model="casting_models:some", precision="bf16", batch=1, device="cpu", warmup=0, runs=1, input_shape=(4,))
    (warning,) = measure(job, lambda *_: None).warnings
    assert str(warning).startswith("mixed_precision: 2 of 4 operations")
    with pytest.raises(LakeError, match="does not run in bf16"):
        measure(Job(**{**vars(job), "model": "casting_models:whole"}), lambda *_: None)


def test_an_unknown_model_names_the_near_ones() -> None:
    with pytest.raises(UsageError, match="resnet18"):
        load_model("resnt18")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package.models:make", "no_such_package"),
        ("math:no_such_factory", "no_such_factory"),
        ("math:pi", "not a function"),
        ("builtins:dict", "torch.nn.Module"),
    ],
)
def test_a_factory_that_is_none_is_refused(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_model(name)


def test_the_zoo_imports_torchvision_whether_or_not_its_operators_load() -> None:
    code = (
        "from groundlake.measure.zoo import import_torchvision\n"
        "import torch\n"
        "vision = import_torchvision()\n"
        "assert hasattr(torch.ops.torchvision, 'nms') and hasattr(torch.ops.torchvision, 'qnms')\n"
        "assert import_torchvision() is vision\n"
        "assert 'resnet18' in vision.models.list_models()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
