"""Make an int8 network ready to be timed: quantize it, prove its kernels, evaluate it, find its parts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from groundlake.calibration.preprocessing import apply
from groundlake.calibration.torch_reader import TorchReader
from groundlake.errors import TraceError, UsageError
from groundlake.measure.doubts import Doubt
from groundlake.measure.int8.found import Int8Found
from groundlake.measure.int8.kernels import doubts_about_share, int8_kernels
from groundlake.measure.int8.parts import BYTES_COUNTED, in_quantized
from groundlake.measure.int8.quantize import (
    count_right,
    quantize,
    quantized_engine,
    relative_output_error,
    stored_bytes,
)
from groundlake.measure.int8.settings import feed_arguments, require_shape
from groundlake.measure.trace import TracedModel, trace
from groundlake.measure.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import fx, nn

    from groundlake.calibration.images import LabelledImages
    from groundlake.measure.cut import Subgraph
    from groundlake.measure.int8.quantize import Quantized
    from groundlake.measure.int8.settings import Int8Settings

    Progress = Callable[[str, int, int], None]

COMPARED = 100
"""Calibration images on which the outputs before and after are compared, at least; a few batches."""

CALIBRATION, EVALUATION = "calibration images", "evaluation images"
"""Phases of the work, as they are reported; what they count are images."""


@contextmanager
def engine_of(settings: Int8Settings | None) -> Iterator[None]:
    """Run quantized operations with the engine of the settings inside the block; without settings nothing changes."""
    with quantized_engine(None if settings is None else settings.engine):
        yield


def int8_workload(
    module: nn.Module,
    example: torch.Tensor,
    settings: Int8Settings | None,
    *,
    name: str,
    on_progress: Progress = lambda *_: None,
) -> Workload:
    """Quantize a network, and make it ready to be timed. Call it inside `engine_of(settings)`.

    Args:
        module: The network in fp32, in evaluation mode.
        example: The input that it is measured with, batch first.
        settings: How int8 is made.
        name: Name of the network, for messages.
        on_progress: Called with the phase, images done and images in all.

    Raises:
        UsageError: There is no calibration set, or its images have another shape than the input.
        LakeError: The network cannot be quantized, nothing of it runs as int8, or it gives no scores to evaluate.
        MissingDependencyError: This torch cannot quantize.
    """
    if settings is None:
        raise UsageError("int8 needs a calibration set: --calibration-set NAME")
    require_shape(name, example.shape[1:], settings)
    traced = trace(module, example)
    made, found = _quantized(module, example, settings, on_progress)
    subgraphs = traced.subgraphs()
    warnings = [*doubts_about_share(found.int8_time_share), *_overflow(settings.engine, may=made.may_overflow)]
    counted, timed, fused = _parts(traced, subgraphs, made.network, example)
    return Workload(
        traced=TracedModel(made.network, made.network, traced.rules),
        example=example,
        subgraphs=counted,
        timed=timed,
        flops_method=f"{traced.flops_method}{BYTES_COUNTED}.{settings.network}",
        total_flops=sum(each.flops for each in subgraphs),
        warnings=(*settings.doubts, *found.doubts(), *warnings, *fused),
        int8=found,
    )


def _quantized(
    module: nn.Module, example: torch.Tensor, settings: Int8Settings, on_progress: Progress
) -> tuple[Quantized, Int8Found]:
    """Quantize a network, and find out what came of it."""
    reader = TorchReader(settings.open(), **feed_arguments(settings))
    done = 0

    def on_batch(size: int) -> None:
        nonlocal done
        done += size
        on_progress(CALIBRATION, done, settings.num_images)

    made = quantize(module, example, (each.float() for each in reader), settings.engine, on_batch)
    kernels = int8_kernels(made.network, example)
    accuracy = _accuracy(module, made.network, settings, on_progress)
    compared = (each.float() for each in islice(reader, -(-COMPARED // settings.batch_size)))
    found = Int8Found(
        backend=f"torch {torch.__version__}, FX graph mode, {settings.engine}",
        num_calibration_samples=reader.feed.num_images,
        int8_time_share=kernels.time_share,
        int8_kernels=kernels.names,
        weights_before_bytes=stored_bytes(module),
        weights_after_bytes=stored_bytes(made.network),
        relative_output_error=relative_output_error(module, made.network, compared),
        num_evaluated=accuracy.num_evaluated,
        accuracy_before=accuracy.before,
        accuracy_after=accuracy.after,
        chance_accuracy=accuracy.of_chance,
    )
    return made, found


def _parts(
    traced: TracedModel,
    subgraphs: tuple[Subgraph, ...],
    network: fx.GraphModule,
    example: torch.Tensor,
) -> tuple[tuple[Subgraph, ...], tuple[Subgraph, ...] | None, tuple[Doubt, ...]]:
    """Parts as they are recorded and as they are timed; none, and why, where they cannot be timed singly."""
    try:
        counted, timed = in_quantized(traced.graph_module.graph, subgraphs, network, example)
    except TraceError as error:
        return (), None, (_no_parts(error),)
    return counted, timed, ()


def _no_parts(error: TraceError) -> Doubt:
    return Doubt(
        code="parts_not_timed",
        meaning=f"the parts of the quantized network cannot be timed singly: {error}",
        observed="the end-to-end time only",
        threshold="parts of fp32",
        advice="num_subgraphs is NULL; an activation that is a module (nn.ReLU) stays in the part it belongs to",
    )


def _overflow(engine: str, *, may: bool) -> Iterator[Doubt]:
    if may:
        yield Doubt(
            code="int8_may_overflow",
            meaning=f"this processor has no instructions for int8 (VNNI), where sums of {engine} may overflow",
            observed="no VNNI",
            threshold="VNNI",
            advice="look at the accuracy (--evaluation-data), or take --int8-engine x86, whose activations have 7 bits",
        )


@dataclass(frozen=True)
class _Accuracy:
    """Shares of right answers, images that they are of, and the share of the most frequent class among these."""

    num_evaluated: int | None = None
    before: float | None = None
    after: float | None = None
    most_frequent: float = 0.0

    @property
    def of_chance(self) -> float | None:
        """Share of right answers that always naming the most frequent class reaches, with two standard deviations."""
        p = self.most_frequent
        return min(1.0, p + 2 * (p * (1 - p) / self.num_evaluated) ** 0.5) if self.num_evaluated else None


def _accuracy(before: nn.Module, after: nn.Module, settings: Int8Settings, on_progress: Progress) -> _Accuracy:
    """Share of right answers of both networks on the registered images; nothing where none are given."""
    images = settings.evaluation_images()
    if images is None:
        return _Accuracy()
    shares = []
    for place, network in enumerate((before, after)):

        def on_batch(done: int, place: int = place) -> None:
            on_progress(EVALUATION, place * len(images) + done, 2 * len(images))

        shares.append(count_right(network, _labelled(images, settings, on_batch)) / len(images))
    most_frequent = float(np.bincount(images.labels).max() / len(images))
    return _Accuracy(len(images), shares[0], shares[1], most_frequent)


def _labelled(
    images: LabelledImages, settings: Int8Settings, on_batch: Callable[[int], None]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield evaluation images as the model takes them, (n, channels, height, width), with their labels."""
    function = settings.function() or apply
    for start in range(0, len(images), settings.batch_size):
        part = slice(start, start + settings.batch_size)
        own = images.pixels[part].copy()  # both networks are given the same, whatever the function does to its input
        prepared = np.asarray(function(own), dtype=np.float32)
        if settings.returns == "NHWC":
            prepared = prepared.transpose(0, 3, 1, 2)
        labels = images.labels[part]
        yield torch.from_numpy(np.ascontiguousarray(prepared)), torch.from_numpy(labels)
        on_batch(start + len(labels))
