"""Partition keys survive the way to a path and back, and ids sort by time."""

from __future__ import annotations

import os
import uuid
from pathlib import PurePosixPath

from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from groundlake.errors import UsageError
from groundlake.layout import MAX_ENCODED_BYTES, PartName, decode_key, encode_key, leaf_folder, new_id
from groundlake.schemas import SubgraphTimings

BUDGET = settings(max_examples=200, deadline=None, derandomize="CI" in os.environ)


@BUDGET
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
@example("/ = % ' \" .. ünïcode")
@example("%2F")
@example("..")
@example("a=b")
@example("٣")
def test_a_key_is_decoded_to_what_was_encoded(value: str) -> None:
    try:
        encoded = encode_key(value)
    except UsageError:
        reject()  # tests/unit/test_layout.py says which are refused
    assert decode_key(encoded) == value
    assert encoded.isascii()
    assert not set(encoded) & set("/=\\ '\"*?[")
    assert len(encoded) <= MAX_ENCODED_BYTES


@BUDGET
@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=12), st.integers(0, 10**6))
def test_keys_are_read_back_from_a_leaf_folder(model: str, batch: int) -> None:
    keys = {"hardware_id": "h" + model, "precision": "fp32", "model": "m" + model, "batch": batch}
    folder = leaf_folder(SubgraphTimings, keys)
    assert len(folder.parts) == 5
    values = [decode_key(part.split("=", 1)[1]) for part in folder.parts[1:]]
    assert values == [str(value) for value in keys.values()]


@BUDGET
@given(st.from_regex(r"[0-9A-Za-z_-]+", fullmatch=True), st.integers(1, 99))
def test_a_part_name_is_read_back_from_its_file_name(part: str, version: int) -> None:
    name = PartName(part, version)
    assert PartName.parse(name.file_name) == name
    assert PartName.parse(name.file_name + ".tmp") is None
    assert PurePosixPath(name.file_name).name == name.file_name


def test_ids_are_unique_version_7_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    assert {uuid.UUID(text).version for text in ids} == {7}
    assert {uuid.UUID(text).variant for text in ids} == {uuid.RFC_4122}
    times = [text[:13] for text in ids]  # 48 bits of milliseconds
    assert times == sorted(times)
