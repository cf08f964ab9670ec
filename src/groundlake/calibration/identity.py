"""The identity of a calibration set: one hash of its source, its selection and its preprocessing."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def checked_name(what: str, name: str) -> str:
    """Return the name of a set, unless files and checks cannot be called like it.

    Args:
        what: What has it, for the message.
        name: The name.

    Raises:
        UsageError: It has other signs, or more of them.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{what} {name!r}: a name has letters, digits, '.', '_' and '-', begins with one of the first two "
            "and has at most 80"
        )
    return name


def set_fingerprint(
    *,
    dataset: str,
    split: str,
    source_sha256: str,
    class_names: Sequence[str],
    samples_per_class: int,
    seed: int,
    samples: Sequence[tuple[str, int]],
    preprocessing_json: str,
    preprocessing_fingerprint: str,
) -> str:
    """Return the hash of everything that makes a set this one; its name is not in it.

    Args:
        dataset: cifar10, image_folder or npz.
        split: train, test or unknown.
        source_sha256: Hash of the files that were read.
        class_names: Names of the classes, by label.
        samples_per_class: Images of each class.
        seed: Seed of the selection.
        samples: Content hash and label of each image, in the order of the set.
        preprocessing_json: Canonical description of what is done to the pixels.
        preprocessing_fingerprint: Hash of what comes out for the probe images.
    """
    facts = {
        "dataset": dataset,
        "split": split,
        "source_sha256": source_sha256,
        "class_names": list(class_names),
        "samples_per_class": samples_per_class,
        "seed": seed,
        "samples": [list(sample) for sample in samples],
        "preprocessing": preprocessing_json,
        "preprocessing_fingerprint": preprocessing_fingerprint,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
