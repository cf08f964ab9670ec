"""Whatever is done to a file of arrays, reading it gives images or a refusal, and nothing else."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import cifar
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundlake.calibration.sources import read
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = settings(max_examples=300, deadline=None, derandomize="CI" in os.environ)

CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=4)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def archives() -> list[bytes]:
    """A small file, as both ways of saving write it."""
    pixels, labels = cifar.pictures(1, size=2)
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, images=pixels, labels=labels, class_names=np.array(cifar.CLASSES))
        found.append(stream.getvalue())
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "a.npz"


@BUDGET
@given(which=st.integers(0, 1), changes=CHANGES)
def test_a_damaged_file_is_read_or_refused(
    archives: list[bytes], path: Path, which: int, changes: list[tuple[float, int, bytes]]
) -> None:
    data = archives[which]
    for where, lost, piece in changes:
        place = int(where * len(data))
        data = data[:place] + piece + data[place + lost :]
    path.write_bytes(data)
    with suppress(UsageError):
        images = read("npz", path)
        assert images.pixels.shape == (len(images), *images.image_shape)
