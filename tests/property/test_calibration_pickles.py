"""Whatever is done to a batch of CIFAR-10, reading it gives a dictionary or a refusal, and nothing else."""

from __future__ import annotations

import os
import pickletools
from contextlib import suppress
from typing import TYPE_CHECKING

import cifar
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundlake.calibration.sources import pickles
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = settings(max_examples=300, deadline=None, derandomize="CI" in os.environ)

OPCODES = st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes])
PIECES = st.lists(st.one_of(OPCODES, st.binary(max_size=4)), max_size=4).map(b"".join)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), PIECES), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A small batch, as each protocol writes it."""
    path: Path = tmp_path_factory.mktemp("batch") / "data_batch_1"
    pixels, labels = cifar.pictures(1, size=2)
    found = []
    for protocol in (2, 3, 4):
        cifar.dump(path, cifar.batch(pixels, labels), protocol)
        found.append(path.read_bytes())
    return found


@BUDGET
@given(which=st.integers(0, 2), changes=CHANGES)
def test_a_damaged_batch_is_read_or_refused(
    batches: list[bytes], which: int, changes: list[tuple[float, int, bytes]]
) -> None:
    data = batches[which]
    for where, lost, piece in changes:
        place = int(where * len(data))
        data = data[:place] + piece + data[place + lost :]
    with suppress(UsageError):
        assert isinstance(pickles.loads(data, "data_batch_1"), dict)
