"""Calibration sets for post-training quantization: chosen, identified, and stored as queryable rows.

from groundlake.calibration import load_calibration_data, verify_distribution

images, labels, class_names = load_calibration_data("cifar-10-batches-py", samples_per_class=100)
verify_distribution(labels, class_names)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundlake.calibration.distribution import load_calibration_data, verify_distribution

_HOME = {
    "load_calibration_data": "groundlake.calibration.distribution",
    "verify_distribution": "groundlake.calibration.distribution",
}

__all__ = ["load_calibration_data", "verify_distribution"]


def __getattr__(name: str) -> object:
    """Import the public names on first use, so that `import groundlake.calibration` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'groundlake.calibration' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
