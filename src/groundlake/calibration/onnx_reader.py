"""Images of a calibration set for static quantization with ONNX Runtime: its CalibrationDataReader, from the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.calibration.streaming import BATCH_SIZE, make_feed
from groundlake.errors import MissingDependencyError, UsageError

try:
    from onnxruntime.quantization import CalibrationDataReader
except ImportError as missing:
    raise MissingDependencyError(
        f"a reader for ONNX Runtime needs onnxruntime and onnx: {str(missing).splitlines()[0]}\n"
        "  pip install 'groundlake[quantization]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from groundlake.calibration.reading import CalibrationSet, Layout
    from groundlake.calibration.streaming import Feed, Last, Preprocess, Takes


class OnnxReader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Gives the batches of a calibration set to `onnxruntime.quantization.quantize_static`.

        quantize_static("net.onnx", "int8.onnx", OnnxReader(open_set(lake, "cifar10"), "input"))

    A batch is read when it is asked for. All batches have one shape, which calibration by histogram (Entropy,
    Percentile, Distribution) needs: a last one that is not full is filled with the first images of the set, so that
    every image counts, and the least and the greatest value are those of the set.

    Like every such reader it ends after one pass; `rewind` makes it ready for another.

    Attributes:
        feed: How the batches are made: `feed.fingerprint` is that of their preparation.
        input_name: Input of the model that they are for.
    """

    feed: Feed
    input_name: str

    def __init__(
        self,
        calibration_set: CalibrationSet,
        input_name: str,
        *,
        batch_size: int = BATCH_SIZE,
        layout: Layout = "NCHW",
        last: Last = "pad",
        preprocess: Preprocess | None = None,
        takes: Takes = "uint8",
        returns: Layout = "NHWC",
        expected: str | None = None,
        evaluation_set: str | None = None,
    ) -> None:
        """Check the arguments and the preprocessing; no image is read yet.

        Args:
            calibration_set: From `open_set`.
            input_name: Name of the input of the ONNX model.
            batch_size: Images in a batch.
            layout: Order of the axes that the model takes.
            last: A last batch that is not full is filled up ("pad") or left out ("drop").
            preprocess: Prepares images as the evaluation of the model does; without it they are float32, 0 to 255.
            takes: Type of the NHWC arrays, 0 to 255, that it is called with: uint8 or float32.
            returns: Order of the axes of what it returns.
            expected: Fingerprint that the preparation must have; without it, and without `evaluation_set`, the set's.
            evaluation_set: Name of an evaluation set of the lake whose fingerprint it must have.

        Raises:
            UsageError: A value is unknown, or the preparation is another one than that of the set or the evaluation.
        """
        if last == "keep":
            raise UsageError("ONNX Runtime calibrates with batches of one shape: last is pad or drop, got 'keep'")
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
        self.input_name = input_name
        self.rewind()

    def __len__(self) -> int:
        """Return the number of batches of the whole set, whatever the range."""
        return len(self.feed)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch under the name of the input; None after the last.

        Raises:
            UsageError: The preprocessing gives what no model takes.
            CorruptLakeError: Images are missing from the lake.
        """
        batch = next(self._batches, None)
        return None if batch is None else {self.input_name: batch}

    def rewind(self) -> None:
        """Start anew, with the first batch of the whole set."""
        self._batches: Iterator[NDArray[Any]] = self.feed.batches()

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with a batch and stop before another, as `CalibStridedMinMax` asks for.

        Raises:
            UsageError: There are no such batches.
        """
        if not 0 <= start_index < end_index <= len(self):
            raise UsageError(
                f"calibration set {self.feed.calibration_set.name} has the batches 0 to {len(self) - 1}, "
                f"got the range {start_index} to {end_index}, the end left out"
            )
        self._batches = self.feed.batches(start_index, end_index)
