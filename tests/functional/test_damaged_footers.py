"""A damaged footer ends in the right answer or in an error that names the file, whatever DuckDB says of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import CorruptLakeError, QueryError
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from tests.conftest import Cli

RUN = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "kind": "efficiency"}
QUESTION = "select run_id, subgraph_id, latency_mean_ms, node_names from subgraph_timings order by all"
CASES = 24


@pytest.fixture
def lake(lake_root: Path, timings: Callable[..., pl.DataFrame]) -> Lake:
    lake = Lake(lake_root)
    for number in range(2):
        lake.write({**RUN, "run_id": f"run-{number}"}, subgraph_timings=timings(2))
    return lake


def damage(sound: bytes, seed: int) -> bytes:
    """Overwrite some bytes of a footer, its length included."""
    chance = random.Random(seed)  # noqa: S311 - damage, no secret
    length = int.from_bytes(sound[-8:-4], "little")
    damaged = bytearray(sound)
    first = chance.randrange(len(sound) - 8 - length, len(sound) - 1)
    for at in range(first, min(first + chance.choice((1, 4, 40)), len(sound))):
        damaged[at] = chance.randrange(256)
    return bytes(damaged)


@pytest.mark.parametrize("table", ["subgraph_timings", "runs"])
def test_a_damaged_footer_ends_in_the_right_answer_or_is_named(table: str, lake: Lake) -> None:
    part = min((lake.root / table).glob("hardware_id=dev/**/*.parquet"))
    sound, answer = part.read_bytes(), lake.sql(QUESTION).rows()
    named = 0
    for seed in range(CASES):
        part.write_bytes(damage(sound, seed))
        try:
            said = lake.sql(QUESTION).rows()
        except CorruptLakeError as error:
            said = str(error)
            named += 1
        assert said == answer or str(part) in said, seed
    assert named > CASES / 4


def test_the_command_names_a_file_of_whose_footer_duckdb_says_no_path(lake: Lake, cli: Cli) -> None:
    part = min((lake.root / "subgraph_timings").glob("hardware_id=dev/**/*.parquet"))
    sound = part.read_bytes()
    length = int.from_bytes(sound[-8:-4], "little")
    part.write_bytes(sound[: -8 - length] + b"\xff" * length + sound[-8:])
    assert str(part) in cli("sql", QUESTION, code=4).stderr


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select nope from subgraph_timings", "nope"),
        ("select cast(model as integer) from runs", "net"),
        ("select error('no') from runs", "no"),
        ("select sum(model) from runs", "sum"),
    ],
)
def test_a_wrong_query_of_a_sound_lake_is_told_as_such(query: str, said: str, lake: Lake, cli: Cli) -> None:
    with pytest.raises(QueryError, match=said):
        lake.sql(query).rows()
    assert said in cli("sql", query, code=2).stderr


def test_a_wrong_query_opens_no_file(lake: Lake) -> None:
    for part in (lake.root / "subgraph_timings").glob("hardware_id=dev/**/*.parquet"):
        part.write_bytes(b"PAR1")
    with pytest.raises(QueryError, match="nope"):
        lake.sql("select nope from runs").rows()
