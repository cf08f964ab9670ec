"""Build a calibration set, hold it to what accuracy is evaluated on, and see the ranges that a quantizer will see.

python examples/calibration.py lake cifar-10-batches-py [package.module:function]

The function prepares the images that calibrate and those of the evaluation. Without CIFAR-10, this makes files:
python -m groundlake.calibration.small_net.pictures cifar-10-batches-py
"""

from __future__ import annotations

import sys

import numpy as np

from groundlake import Lake
from groundlake.calibration.building import build
from groundlake.calibration.reading import open_set
from groundlake.calibration.registering import register_evaluation
from groundlake.calibration.verifying import verify
from groundlake.errors import LakeError

RAW = "groundlake.calibration.preprocessing:apply"  # what a set does that is given no function
EVALUATION = "test"


def check(lake: Lake, data_dir: str, preprocess: str) -> int:
    """Print what is wrong with the set, and the range of each channel; 1 where it must not be used."""
    own = None if preprocess == RAW else preprocess
    built = build(lake, source="cifar10", data_dir=data_dir, samples_per_class=20, preprocess=own)
    register_evaluation(lake, EVALUATION, data_dir, preprocess)
    failed = [each for each in verify(lake, built.name, against=EVALUATION) if each.failed]
    for each in failed:
        print(f"FAILED {each.name}: {each.detail}")
    images = open_set(lake, built.name)
    ranges = [(batch.min(axis=(0, 1, 2)), batch.max(axis=(0, 1, 2))) for batch in images.batches(50)]
    low, high = np.min([low for low, _ in ranges], axis=0), np.max([high for _, high in ranges], axis=0)
    for channel, *ends in zip(("red", "green", "blue"), low, high, strict=True):
        print(f"{channel:5} {ends[0]:g} to {ends[1]:g}")
    print(f"{built.name}: {len(images)} images, {images.fingerprint[:12]}, {'NOT usable' if failed else 'usable'}")
    return int(bool(failed))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    try:
        sys.exit(check(Lake(sys.argv[1]), sys.argv[2], (*sys.argv, RAW)[3]))
    except LakeError as error:
        sys.exit(f"error: {error}")
