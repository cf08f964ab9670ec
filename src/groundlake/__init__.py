"""groundlake: the ground-truth lake for machine-learning measurements.

from groundlake import Lake

lake = Lake("lake")
lake.sql("select * from model_summary").pl()
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from groundlake.ground_truth import GroundTruthLoader, MeasurementRecord
    from groundlake.store import Lake

_HOME = {
    "Lake": "groundlake.store",
    "GroundTruthLoader": "groundlake.ground_truth",
    "MeasurementRecord": "groundlake.ground_truth",
}

__all__ = ["GroundTruthLoader", "Lake", "MeasurementRecord", "__version__"]


def __getattr__(name: str) -> object:
    """Import the public names on first use, so that `import groundlake` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'groundlake' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
