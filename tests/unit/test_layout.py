"""Paths of parts, and the keys that are refused."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import PurePosixPath

import pytest

from groundlake.errors import UsageError
from groundlake.layout import (
    PartName,
    anchor_path,
    decode_key,
    encode_key,
    leaf_folder,
    parts_glob,
)
from groundlake.schemas import Hardware, Runs, SubgraphTimings


def test_a_leaf_folder_lists_the_keys_in_order() -> None:
    keys = {"batch": 4, "model": "net/v2", "precision": "fp32", "hardware_id": "i7-12700K"}
    assert leaf_folder(SubgraphTimings, keys) == PurePosixPath(
        "subgraph_timings/hardware_id=i7-12700K/precision=fp32/model=net%2Fv2/batch=4"
    )
    assert leaf_folder(Runs, keys) == PurePosixPath("runs/hardware_id=i7-12700K")


def test_anchors_lie_where_no_key_can_be_and_come_last() -> None:
    assert str(anchor_path(SubgraphTimings)) == (
        "subgraph_timings/hardware_id=~/precision=~/model=~/batch=0/anchor.v01.parquet"
    )
    assert str(anchor_path(Hardware)) == "hardware/hardware_id=~/anchor.v02.parquet"
    for key in ("~", "-"):  # lakes that were begun with it are read
        with pytest.raises(UsageError, match="reserved"):
            encode_key(key)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [("a b", "a%20b"), ("ü", "%C3%BC"), ("100%", "100%25"), ("a=b", "a%3Db"), ("..", ".."), ("*", "%2A"), (4, "4")],
)
def test_keys_are_percent_encoded(value: object, encoded: str) -> None:
    assert encode_key(value) == encoded
    assert decode_key(encoded) == str(value)


@pytest.mark.parametrize("value", ["", "~", "-", "7", "0042", "x" * 121, "ü" * 21, "__HIVE_DEFAULT_PARTITION__"])
def test_a_key_that_cannot_be_read_back_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="partition value"):
        encode_key(value)


def test_a_key_may_take_120_bytes_in_the_path() -> None:
    assert len(encode_key("x" * 120)) == len(encode_key("ü" * 20)) == 120


@pytest.mark.parametrize(
    "name",
    ["x.parquet", "x.v1.parquet", "x.v01.parquet.tmp", ".v01.parquet", "a b.v01.parquet", "x.v01.csv", "README.md"],
)
def test_other_files_are_no_parts(name: str) -> None:
    assert PartName.parse(name) is None


def test_the_newest_versions_glob_is_open_ended() -> None:
    pattern = PurePosixPath(parts_glob(SubgraphTimings, 1)).name
    assert parts_glob(SubgraphTimings, 1) == f"subgraph_timings/*/*/*/*/{pattern}"
    assert [version for version in range(1, 10) if fnmatch(f"x.v0{version}.parquet", pattern)] == list(range(1, 10))
    assert not fnmatch("x.v01.parquet.tmp", pattern)
