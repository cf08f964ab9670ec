"""Quantizes the small network to int8, with PyTorch and with ONNX Runtime, by whatever calibration data it is given.

It shows what those data do: the network, the pictures that it is asked about and their preparation stay the same.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from groundlake.calibration.small_net import load_network
from groundlake.calibration.small_net.pictures import SIZE
from groundlake.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Network = Callable[[torch.Tensor], torch.Tensor]

ENGINE = "x86"
"""Of PyTorch: takes seven bits for activations, so that processors without instructions for int8 do not overflow."""
INPUT = "pictures"
LARGEST_BATCH = 4096
_DEPRECATED = "torch.ao.quantization is deprecated"
_OF_PYTORCH_ITSELF = (
    "torch.quantize_per_tensor, torch.quantize_per_channel",
    "Please use quant_min and quant_max to specify the range",
)
"""Beginnings of warnings about calls that torch.ao.quantization makes, about which its caller can do nothing."""
_OF_TORCH_EXPORT = r"`isinstance\(treespec, LeafSpec\)` is deprecated"
"""The same, of torch.export."""


def with_torch(batches: Iterable[torch.Tensor], engine: str = ENGINE) -> Network:
    """Quantize with PyTorch's graph mode: static, weights per channel, activations by histogram.

    Args:
        batches: Calibration data, (n, 3, 32, 32) as the network takes them.
        engine: Of the quantized operations; it stays set, for the network that is returned needs it.

    Raises:
        MissingDependencyError: This torch has no graph mode any more, or not that engine.
    """
    try:
        from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx
    except ImportError as error:
        raise MissingDependencyError(
            f"torch {torch.__version__} has no torch.ao.quantization any more; 2.13 has it"
        ) from error
    if engine not in torch.backends.quantized.supported_engines:
        raise MissingDependencyError(
            f"torch {torch.__version__} has no engine {engine!r} here; it has "
            + ", ".join(each for each in torch.backends.quantized.supported_engines if each != "none")
        )
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", _DEPRECATED, DeprecationWarning)
        for beginning in _OF_PYTORCH_ITSELF:
            warnings.filterwarnings("ignore", beginning, UserWarning)
        example = torch.zeros(1, 3, SIZE, SIZE)
        observed = quantize_fx.prepare_fx(load_network(), get_default_qconfig_mapping(engine), (example,))
        for batch in batches:
            observed(batch)
        network: Network = quantize_fx.convert_fx(observed)
    return network


def export_onnx(folder: Path) -> Path:
    """Write the network for ONNX Runtime, ready to be quantized, with batches of any size; return the file.

    Raises:
        MissingDependencyError: onnx, onnxscript or onnxruntime is not installed.
    """
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it, and says so less plainly
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise _no_onnx(error) from error
    plain, ready = folder / "small_net.onnx", folder / "small_net.ready.onnx"
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _OF_TORCH_EXPORT, FutureWarning)
        torch.onnx.export(
            load_network(),
            (torch.zeros(2, 3, SIZE, SIZE),),
            plain,
            input_names=[INPUT],
            output_names=["scores"],
            dynamo=True,
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
    quant_pre_process(plain, ready)
    return ready


def with_onnx_runtime(model: Path, reader: Any, quantized: Path, **settings: object) -> Network:  # noqa: ANN401 - no types
    """Quantize with ONNX Runtime: static, weights per channel, quantizing operations beside the others (QDQ).

    Args:
        model: From `export_onnx`.
        reader: A `CalibrationDataReader` for the input `INPUT`.
        quantized: Where the quantized model goes.
        settings: For `quantize_static`: by default least and greatest values of activations are taken.

    Raises:
        MissingDependencyError: onnx or onnxruntime is not installed.
    """
    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise _no_onnx(error) from error
    quantize_static(
        model,
        quantized,
        reader,
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        **settings,
    )
    return run_onnx(quantized)


def run_onnx(model: Path) -> Network:
    """Return an ONNX model as a function of tensors, run on the processor by one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def network(batch: torch.Tensor) -> torch.Tensor:
        (scores,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(batch.numpy())})
        return torch.from_numpy(scores)

    return network


def _no_onnx(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"ONNX Runtime needs onnxruntime, onnx and onnxscript: {str(error).splitlines()[0]}\n"
        "  pip install 'groundlake[quantization]'"
    )
