"""What is no address, no time or no text is refused with a word of what to do, and nothing is written."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import UsageError
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from tests.conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    lake = Lake(lake_root)
    lake.write(RUN, subgraph_timings=timings(2, fusion_pattern="\x1b[31mred\x1b[0m\x07\u202e"))
    return lake


def test_an_empty_address_is_refused(lake: Lake, cli: Cli) -> None:
    before = sorted(cli.folder.rglob("*"))
    assert "empty" in cli("sync", lake.root, "", code=2).stderr
    assert "empty" in cli("sync", "", lake.root, code=2).stderr
    assert "empty" in cli("--root", "", "init", code=2).stderr
    assert "empty" in cli("init", "--root", "", code=2).stderr
    with pytest.raises(UsageError, match="empty"):
        Lake("")
    assert sorted(cli.folder.rglob("*")) == before


def test_a_sync_into_what_is_no_lake_or_lies_within_is_refused(lake: Lake, cli: Cli) -> None:
    other = lake.root.parent / "other"
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    before = sorted(lake.root.parent.rglob("*"))
    assert "no lake" in cli("sync", lake.root, other, code=2).stderr
    assert "in each other" in cli("sync", lake.root, lake.root / "copy", code=2).stderr
    assert "in each other" in cli("sync", lake.root, lake.root.parent, code=2).stderr
    assert sorted(lake.root.parent.rglob("*")) == before


def test_a_time_is_a_text_or_a_datetime(lake: Lake) -> None:
    count = "select count(*) from runs"
    for past in ("2020-01-01", "2020-01-01T10:12:58Z", dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)):
        assert Lake(lake.root, as_of=past).sql(count).rows() == [(0,)]
    assert Lake(lake.root, as_of="2999-01-01T10:00+01:00").sql(count).rows() == [(1,)]
    for wrong in ("yesterday", "", 7):
        with pytest.raises(UsageError, match="no time that can be read"):
            Lake(lake.root, as_of=wrong)  # type: ignore[arg-type]


def test_a_terminal_obeys_no_value(lake: Lake, cli: Cli) -> None:
    query = "select fusion_pattern from subgraph_timings"
    shown = cli("sql", query).stdout
    assert r"\x1b[31mred\x1b[0m\x07\u202e" in shown
    assert "\x1b" not in shown
    assert "\x1b[31mred" in cli("sql", query, "--format", "csv").stdout


def test_a_lone_surrogate_is_no_name(lake: Lake) -> None:
    with pytest.raises(UsageError, match="lone surrogate"):
        lake.write(RUN | {"model": "\ud800"})
    with pytest.raises(UsageError, match="lone surrogate"):
        lake.frame("subgraph_timings", model="\ud800")
