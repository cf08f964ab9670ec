"""`--as-of` shows what had been recorded by a time, whatever was withdrawn, merged or removed since."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import UsageError
from groundlake.ground_truth.json_tree import Configuration
from groundlake.ground_truth.loader import LakeSource
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from tests.conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}
COUNT = "select count(*) from subgraph_timings"


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    """Two runs; the first is withdrawn after the second came."""
    lake = Lake(lake_root)
    for name in ("first", "second"):
        lake.write(RUN | {"run_id": name}, subgraph_timings=timings(2))
    lake.retract("first", "dev", "wrong mode")
    return lake


@pytest.fixture
def moments(lake: Lake) -> dict[str, dt.datetime]:
    """When each statement was recorded."""
    rows = lake.sql("select run_id, revision, recorded_at from runs_parts").rows()
    return {f"{run_id} {revision}": recorded for run_id, revision, recorded in rows}


def seen(lake: Lake) -> list[object]:
    """What each door shows: runs by SQL and directly, rows by SQL and directly."""
    by_sql = [row[0] for row in lake.sql("select run_id from runs order by run_id").rows()]
    direct = sorted(lake.runs()["run_id"])
    assert by_sql == direct
    assert lake.sql(COUNT).rows() == [(lake.frame("subgraph_timings").height,)]
    assert lake.connect().sql(COUNT).fetchall() == lake.sql(COUNT).rows()
    assert lake.scan("subgraph_timings").collect().height == 2 * len(direct)
    return direct


@pytest.mark.parametrize("kept", ["as written", "merged", "merged and removed"])
def test_each_time_shows_what_was_recorded_by_then(kept: str, lake: Lake, moments: dict[str, dt.datetime]) -> None:
    if kept != "as written":
        lake.compact()
    if kept == "merged and removed":
        lake.vacuum(older_than_s=0, nobody_writes=True)
    tick = dt.timedelta(microseconds=1)
    expected = {
        moments["first 0"] - tick: [],
        moments["first 0"]: ["first"],
        moments["second 0"]: ["first", "second"],
        moments["first 1"] - tick: ["first", "second"],
        moments["first 1"]: ["second"],
    }
    for moment, runs in expected.items():
        assert seen(Lake(lake.root, as_of=moment)) == runs
    assert seen(lake) == ["second"]


def test_a_time_with_a_zone_is_the_same_moment(lake: Lake, moments: dict[str, dt.datetime]) -> None:
    moment = moments["second 0"].replace(tzinfo=dt.timezone.utc)
    there = moment.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30)))
    assert seen(Lake(lake.root, as_of=there)) == ["first", "second"]


def test_the_loader_reads_the_past_too(lake: Lake, moments: dict[str, dt.datetime]) -> None:
    lake.write(RUN | {"run_id": "third"})
    then = LakeSource(Lake(lake.root, as_of=moments["first 0"]))
    record = then.record("dev", Configuration("fp32", "net", 1))
    assert record is not None
    assert record.run_id == "first"


def test_the_commands_take_a_time(lake: Lake, moments: dict[str, dt.datetime], cli: Cli) -> None:
    then = moments["second 0"].isoformat()
    (row,) = json.loads(cli("sql", COUNT, "--as-of", then, "--format", "json").stdout)
    assert list(row.values()) == [4]
    (row,) = json.loads(cli("sql", COUNT, "--as-of", f"{then}Z", "--format", "json").stdout)
    assert list(row.values()) == [4]
    assert json.loads(cli("query", "run_noise", "--as-of", "2020-01-01", "--format", "json").stdout) == []


def test_validation_judges_by_what_was_measured_by_then(lake_root: Path, cli: Cli) -> None:
    lake = Lake(lake_root)
    lake.write(RUN | {"run_id": "throttled", "end_to_end_latency_ms": 10.0, "total_latency_ms": 10.0})
    rows = {**RUN, "predicted_latency_ms": 5.0, "extrapolated": False}
    import polars as pl

    lake.write_estimates(pl.DataFrame([rows]), estimator="half", version="1")
    then = lake.sql("select max(recorded_at) from runs").rows()[0][0].isoformat()
    lake.retract("throttled", "dev", "the fan was off")
    lake.write(RUN | {"end_to_end_latency_ms": 5.0, "total_latency_ms": 5.0})

    def median(*options: str) -> float:
        (row,) = json.loads(cli("validate", *options, "--format", "json").stdout)
        return float(row["median_ape"])

    assert median() == 0.0
    assert median("--as-of", then) == 50.0


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01", ""])
def test_a_time_that_cannot_be_read_is_refused(time: str, lake: Lake, cli: Cli) -> None:
    assert f"as of {time}: no time that can be read" in cli("sql", COUNT, "--as-of", time, code=2).stderr


def test_the_past_is_only_read(lake: Lake) -> None:
    then = Lake(lake.root, as_of=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc))
    for change in (
        lambda: then.write(RUN),
        lambda: then.retract("second", "dev", "why"),
        then.compact,
        then.bind_views,
    ):
        with pytest.raises(UsageError, match="is the past, which is only read"):
            change()
