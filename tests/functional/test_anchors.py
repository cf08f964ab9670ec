"""The zero-row parts: they keep views from failing, are no device of their own, and do not mislead the planner."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import duckdb
import pytest

from groundlake import Lake
from groundlake.layout import anchor_folders
from groundlake.schemas import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import polars as pl

RUN = {"hardware_id": "board", "model": "net", "precision": "fp32", "batch": 1}


@pytest.fixture
def written(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """A lake with a run."""
    lake = Lake(lake_root)
    lake.write(RUN, subgraph_timings=timings())
    return lake


def test_duckdb_builds_the_join_of_facts_and_ledger_on_the_smaller_ledger(
    written: Lake, timings: Callable[..., pl.DataFrame]
) -> None:
    for _ in range(3):
        written.write(RUN, subgraph_timings=timings())
    written.bind_views()
    with duckdb.connect(str(written.view_file), read_only=True) as connection:
        question = "EXPLAIN (FORMAT json) SELECT sum(latency_mean_ms) FROM subgraph_timings"
        plan = connection.execute(question).fetchall()[0][1]
    (join,) = (node for node in walk(json.loads(plan)[0]) if "JOIN" in node["name"])
    probed, built = (max(_parts_read(side), default="") for side in join["children"])
    assert "latency_mean_ms" in probed
    assert "placement" in built


def walk(node: dict) -> Iterator[dict]:
    """Yield a node of a plan and all below it."""
    yield node
    for child in node["children"]:
        yield from walk(child)


def _parts_read(node: dict) -> list[str]:
    return [str(each["extra_info"]) for each in walk(node) if "PARQUET" in each["name"] or "SCAN" in each["name"]]


def test_a_lake_that_was_begun_with_the_anchors_of_old_is_read_and_written(
    written: Lake, timings: Callable[..., pl.DataFrame]
) -> None:
    question = "select * from subgraph_timings order by subgraph_id"
    before = written.sql(question).pl()
    for table in TABLES.values():
        new, old = (written.root / folder for folder in anchor_folders(table))
        old.mkdir(parents=True, exist_ok=True)
        for anchor in new.iterdir():
            anchor.rename(old / anchor.name)
    old_lake = Lake(written.root)
    assert old_lake.sql(question).pl().equals(before)
    assert old_lake.sql("select * from estimates").rows() == []
    assert old_lake.hardware_ids() == ["board"]
    assert old_lake.check() == []
    old_lake.write(RUN, subgraph_timings=timings())
    assert old_lake.check() == []
    assert old_lake.sql("select distinct hardware_id from subgraph_timings_parts").rows() == [("board",)]
    assert old_lake.vacuum(older_than_s=0, nobody_writes=True).removed == ()
    assert len(old_lake.runs()) == 2
