"""`python -m groundlake.calibration`: load a calibration set from CIFAR-10 and print what was checked.

Exit codes are those of `lake`: 0 done, 1 a check failed, 2 wrong usage or wrong files, 5 a file may not be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from groundlake.calibration.distribution import check_images, load, verify_distribution
from groundlake.calibration.selection import SAMPLES_PER_CLASS
from groundlake.calibration.sources.cifar10 import FOLDER
from groundlake.errors import INTERRUPTED, LakeEnvironmentError, LakeError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options.data_dir, options.samples_per_class)
        sys.stdout.flush()
    except LakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be printed goes nowhere
        if not isinstance(error, BrokenPipeError):  # `| head` has what it wanted
            print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
            return LakeEnvironmentError.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m groundlake.calibration",
        description="Load a stratified calibration set from the training batches of CIFAR-10, and check it. "
        "`lake calibration build` puts the same set into a lake.",
    )
    parser.add_argument("--data-dir", default=FOLDER, help="folder with the batches (default: %(default)s)")
    parser.add_argument(
        "--samples-per-class", type=int, default=SAMPLES_PER_CLASS, help="images of each class (default: %(default)s)"
    )
    return parser


def _run(data_dir: str, samples_per_class: int) -> None:
    """Load, check and print; remarks go to stderr."""
    images, labels, class_names, remarks = load(data_dir, samples_per_class)
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)
    print(f"Loaded {len(images)} calibration samples")
    counts = verify_distribution(labels, class_names)
    if set(counts.values()) != {samples_per_class}:
        raise LakeError(f"a class has other than {samples_per_class} samples: {counts}")
    print("\n".join(check_images(images)))


if __name__ == "__main__":
    sys.exit(main())
