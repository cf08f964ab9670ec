"""Images of a calibration set for static quantization with PyTorch: tensors, batch by batch, from the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundlake.calibration.streaming import BATCH_SIZE, make_feed
from groundlake.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from groundlake.calibration.reading import CalibrationSet, Layout
    from groundlake.calibration.streaming import Feed, Last, Preprocess, Takes


class TorchReader:
    """Gives the batches of a calibration set as tensors; each loop over it starts anew.

        for batch in TorchReader(open_set(lake, "cifar10")):
            prepared(batch)

    A batch is read when the loop comes to it; only a few MiB of pixels are in memory at any time.

    Attributes:
        feed: How the batches are made: `feed.fingerprint` is that of their preparation.
    """

    feed: Feed

    def __init__(
        self,
        calibration_set: CalibrationSet,
        *,
        batch_size: int = BATCH_SIZE,
        layout: Layout = "NCHW",
        last: Last = "keep",
        preprocess: Preprocess | None = None,
        takes: Takes = "uint8",
        returns: Layout = "NHWC",
        expected: str | None = None,
        evaluation_set: str | None = None,
    ) -> None:
        """Check the arguments and the preprocessing; no image is read yet.

        Args:
            calibration_set: From `open_set`.
            batch_size: Images in a batch.
            layout: Order of the axes that the model takes.
            last: A last batch that is not full is kept as it is; "drop" leaves it out, "pad" fills it with the first
                images of the set, for models of a fixed batch size.
            preprocess: Prepares images as the evaluation of the model does; without it they are float32, 0 to 255.
            takes: Type of the NHWC arrays, 0 to 255, that it is called with: uint8 or float32.
            returns: Order of the axes of what it returns.
            expected: Fingerprint that the preparation must have; without it, and without `evaluation_set`, the set's.
            evaluation_set: Name of an evaluation set of the lake whose fingerprint it must have.

        Raises:
            UsageError: A value is unknown, or the preparation is another one than that of the set or the evaluation.
            MissingDependencyError: torch is not installed.
        """
        _import_torch()
        self.feed = make_feed(
            calibration_set,
            batch_size=batch_size,
            layout=layout,
            last=last,
            preprocess=preprocess,
            takes=takes,
            returns=returns,
            expected=expected,
            evaluation_set=evaluation_set,
        )

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.feed)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Read from the first batch on: tensors on the CPU, (batch_size, channels, height, width) or NHWC.

        Raises:
            UsageError: The preprocessing gives what no model takes.
            CorruptLakeError: Images are missing from the lake.
        """
        import torch

        for batch in self.feed.batches():
            yield torch.from_numpy(batch)


def _import_torch() -> None:
    try:
        import torch  # noqa: F401 - whether it is there
    except ImportError as error:
        raise MissingDependencyError(
            f"tensors of a calibration set need torch: {str(error).splitlines()[0]}\n"
            "  pip install 'groundlake[measure]'"
        ) from error
