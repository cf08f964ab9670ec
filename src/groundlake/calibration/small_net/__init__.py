"""A small trained network for pictures of 32 x 32 pixels, to show what calibration data does to its int8 form.

`pictures` makes the pictures, in the format of CIFAR-10, `network` and `train` the network whose weights are shipped
here. It takes pictures that `prepare` has prepared. How it was made and what it shows is said in README.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.errors import MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIGHEST, MIDDLE, SPREAD = 255, 0.5, 0.25


def prepare(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Prepare pictures for the network, in training, in calibration and in evaluation alike.

    Args:
        pixels: Of any shape, 0 to 255, as bytes or as float32.

    Returns:
        Float32 of the same shape, -2 to 2: the share of the brightest value, less 0.5, over 0.25.
    """
    shares = np.asarray(pixels).astype(np.float32) / np.float32(HIGHEST)
    return (shares - np.float32(MIDDLE)) / np.float32(SPREAD)


def weights_file() -> Path:
    """Return the file with the trained weights: a state dict of torch."""
    return Path(__file__).parent / "weights.pt"


def small_net() -> Any:  # noqa: ANN401 - a torch module; torch may be missing
    """Return the trained network, as a factory for `lake ingest --models`.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    return load_network()


small_net.input_shape = (3, 32, 32)  # type: ignore[attr-defined] # what groundlake.measure looks for


def load_network(weights: Path | None = None) -> Any:  # noqa: ANN401 - a torch module; torch may be missing
    """Return the trained network in evaluation mode; it maps (n, 3, 32, 32) prepared float32 to (n, 10) scores.

    Args:
        weights: Another file of weights than the shipped one.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    try:
        from groundlake.calibration.small_net import network
    except ImportError as error:
        raise MissingDependencyError(
            f"the small network needs torch: {str(error).splitlines()[0]}\n  pip install 'groundlake[measure]'"
        ) from error
    return network.load(weights or weights_file())
