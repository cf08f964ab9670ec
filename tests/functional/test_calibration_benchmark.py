"""The benchmark of calibration data: ONNX Runtime beside PyTorch, both with kernels that really compute in int8."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch.ao.quantization.quantize_fx", reason="this torch quantizes no more")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'groundlake[quantization]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'groundlake[quantization]'")

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "calibration.py"
pytestmark = pytest.mark.slow


def test_both_engines_keep_the_answers_and_run_int8_kernels(tmp_path: Path) -> None:
    sizes = ("--samples-per-class", "5", "--test-per-class", "4", "--rounds", "2")
    command = [sys.executable, str(BENCHMARK), *sizes]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    rows = {line[:45].rstrip(): line[45:].split() for line in said.splitlines() if len(line) > 45}
    _, torch_right, onnx_right, refused = rows["as the evaluation: (x / 255 - 0.5) / 0.25"]
    assert min(float(torch_right), float(onnx_right)) > 0.9
    assert refused == "no"
    _, *wrong, refused = rows["as the evaluation, divided by 255 once more"]
    assert max(map(float, wrong)) < 0.7
    assert refused == "yes"
    for engine, kernel in (("PyTorch (x86)", "quantized::conv2d"), ("ONNX Runtime", "QLinearConv")):
        shares = re.findall(rf"^{re.escape(engine)} .* (\d+)% (.*)$", said, re.MULTILINE)
        assert len(shares) == 2, "one batch size and the other"
        for share, names in shares:
            assert int(share) > 10
            assert kernel in names
