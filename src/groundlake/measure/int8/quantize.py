"""Quantize a network to int8 with torch's graph mode, and find out what that does to its outputs and its size.

torch announces the end of `torch.ao.quantization`: where it is gone, int8 is missing and nothing else is.
"""

from __future__ import annotations

import copy
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from groundlake.errors import LakeError, MissingDependencyError, TraceError
from groundlake.measure.faults import fault_behind
from groundlake.measure.int8.settings import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import fx, nn

    Network = Callable[[torch.Tensor], torch.Tensor]

NO_VNNI_WORDS = "Vector Neural Network Instruction"
"""In torch's warning that this processor has no instructions for int8, so that sums of 16 bits may overflow."""

SHOWN_REASON = 300


@dataclass(frozen=True)
class Quantized:
    """An int8 network.

    Attributes:
        network: Its graph, which runs.
        may_overflow: torch warns that the engine's sums may overflow on this processor.
    """

    network: fx.GraphModule
    may_overflow: bool


def graph_mode() -> tuple[Any, Any]:
    """Import torch's graph mode of quantization: its module, and the function that makes settings for an engine.

    Raises:
        MissingDependencyError: This torch does not have it any more.
    """
    try:
        from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx
    except ImportError as error:
        raise MissingDependencyError(
            f"int8 needs torch.ao.quantization, which torch {torch.__version__} does not have\n"
            "  torch announces its end; torch 2.13 has it. Other precisions are measured without it"
        ) from error
    return quantize_fx, get_default_qconfig_mapping


def usable_engine(engine: str, *, is_default: bool = False) -> str:
    """Return the engine that quantized operations run on, which this torch has.

    Args:
        engine: The wanted one.
        is_default: Whether nobody named it: the first one that is there then takes its place.

    Raises:
        MissingDependencyError: This torch has no graph mode any more, or not that engine.
    """
    graph_mode()
    there = [each for each in torch.backends.quantized.supported_engines if each != "none"]
    if engine in there:
        return engine
    known = [each for each in ENGINES if each in there]
    if is_default and known:
        return known[0]
    raise MissingDependencyError(
        f"--int8-engine {engine}: torch {torch.__version__} is built without it here\n"
        f"  it has {', '.join(there) or 'none'}"
    )


@contextmanager
def quantized_engine(engine: str | None) -> Iterator[None]:
    """Run quantized operations with an engine inside the block, with the former one behind it; None changes nothing."""
    if engine is None:
        yield
        return
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def quantize(
    module: nn.Module,
    example: torch.Tensor,
    batches: Iterable[torch.Tensor],
    engine: str,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Quantized:
    """Quantize statically: weights per channel, activations by the histogram of what the batches make of them.

    Call it inside `quantized_engine(engine)`, and run the network there too.

    Args:
        module: The network in fp32, in evaluation mode; it is left as it is.
        example: An input, batch first.
        batches: Calibration images as the network takes them, (n, channels, height, width).
        engine: Engine of the quantized operations.
        on_batch: Called behind each batch with its size.

    Raises:
        MissingDependencyError: This torch has no graph mode any more.
        TraceError: The network cannot be quantized; the message says why.
        Exception: Memory ran out, as it was raised.
    """
    quantize_fx, settings_for = graph_mode()
    with warnings.catch_warnings(record=True) as told, torch.no_grad():
        warnings.simplefilter("always")  # nothing of this reaches the user: it is advice to torch's own developers
        settings = settings_for(engine)
        observed = _step("prepared", lambda: quantize_fx.prepare_fx(copy.deepcopy(module), settings, (example,)))
        for batch in batches:
            _step("calibrated", lambda: observed(batch))  # noqa: B023 - called at once
            on_batch(len(batch))
        network = _step("converted", lambda: quantize_fx.convert_fx(observed))
        _step("run", lambda: network(example))  # what torch says once, it says here
    return Quantized(network, any(NO_VNNI_WORDS in str(each.message) for each in told))


def _step(what: str, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - modules and tensors
    """Take one step of quantization; its failure is the network's, unless memory or device are at fault."""
    try:
        return do()
    except Exception as error:
        if (fault := fault_behind(error)) is not None:
            raise fault from None
        text = " ".join(str(error).split()) or "no message"
        raise TraceError(
            f"the model cannot be quantized to int8: it is not {what}: {type(error).__name__}: {text[:SHOWN_REASON]}\n"
            "  graph mode needs a model that torch.fx traces: one tensor in, no branch on values or shapes"
        ) from error


def relative_output_error(before: Network, after: Network, batches: Iterable[torch.Tensor]) -> float | None:
    """Norm of the difference of two networks' outputs over the norm of the first one's; None where that is not known.

    Args:
        before: The network in fp32.
        after: The network in int8.
        batches: Inputs.
    """
    off = size = 0.0
    with torch.no_grad():
        for batch in batches:
            wanted, got = before(batch), after(batch)
            if not (isinstance(wanted, torch.Tensor) and isinstance(got, torch.Tensor)):
                return None
            off += float((got.double() - wanted.double()).square().sum())
            size += float(wanted.double().square().sum())
    share = (off / size) ** 0.5 if size else float("nan")
    return share if share < float("inf") else None


def count_right(network: Network, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> int:
    """Count the right answers of a classifier: the largest score is that of the label.

    Args:
        network: Gives scores, (n, classes).
        batches: Images and labels, (n, channels, height, width) and (n,).

    Raises:
        LakeError: The network gives no scores.
    """
    right = 0
    with torch.no_grad():
        for images, labels in batches:
            scores = network(images)
            if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or len(scores) != len(labels):  # noqa: PLR2004 - n x classes
                got = f"shape {tuple(scores.shape)}" if isinstance(scores, torch.Tensor) else type(scores).__name__
                raise LakeError(
                    f"accuracy needs scores, one row for each image: the model gives {got}\n"
                    "  leave --evaluation-data out, or measure a classifier"
                )
            right += int((scores.argmax(1) == labels).sum())
    return right


def stored_bytes(module: nn.Module) -> int | None:
    """Bytes of everything that a network stores: weights, scales and buffers; None where something is not known."""
    return bytes_of(list(module.state_dict().values()))


def bytes_of(value: object) -> int | None:
    """Bytes of a stored value: a tensor, a quantized one with its scales, what an engine packed, or several of them."""
    if isinstance(value, torch.Tensor):
        size = value.numel() * value.element_size()
        if value.is_quantized and value.qscheme() in _PER_CHANNEL:
            for part in (value.q_per_channel_scales(), value.q_per_channel_zero_points()):
                size += part.numel() * part.element_size()
        return size
    if isinstance(value, (list, tuple)):
        sizes = [bytes_of(each) for each in value]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    if isinstance(value, torch.ScriptObject):
        return _packed_bytes(value)
    return 0 if value is None or isinstance(value, (torch.dtype, int, float, bool, str)) else None


_PER_CHANNEL = (torch.per_channel_affine, torch.per_channel_affine_float_qparams)


def _packed_bytes(value: Any) -> int | None:  # noqa: ANN401 - an object of an engine
    """Bytes of the weights and the bias that an engine packed."""
    for unpack in ("unpack", "__getstate__"):
        try:
            found = getattr(value, unpack)()
        except (AttributeError, RuntimeError, TypeError):
            continue
        if isinstance(found, tuple) and found and isinstance(found[0], torch.Tensor):
            return bytes_of([each for each in found if isinstance(each, torch.Tensor)])
    return None
