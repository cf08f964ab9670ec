"""A file that vanishes between listing and opening is no error: its rows stand elsewhere, and are read again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import CorruptLakeError
from groundlake.layout import PartName, new_id
from groundlake.ledger import read_parts
from groundlake.schemas import Runs
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EARLIER = 12


@pytest.fixture
def lake(lake_root: Path, timings) -> Lake:
    lake = Lake(lake_root)
    for _ in range(EARLIER):
        lake.write({"hardware_id": "dev", "model": "net"}, subgraph_timings=timings(2))
    return lake


@pytest.fixture
def churn(lake: Lake) -> Iterator[threading.Event]:
    """Write and merge the ledger in a loop, so that ledger files come and go all the time; set once it has begun."""
    stop, begun, errors = threading.Event(), threading.Event(), []

    def run() -> None:
        writer = Lake(lake.root)
        try:
            while not stop.is_set():
                for _ in range(3):
                    writer.write({"hardware_id": "dev", "kind": "idle_baseline"})
                writer.compact_runs()
                begun.set()
        except Exception as error:  # noqa: BLE001 - told to the test's own thread
            errors.append(error)
            begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    yield begun
    stop.set()
    thread.join()
    assert errors == []


READS: dict[str, Callable[[Lake], int]] = {
    "sql": lambda lake: lake.sql("select count(*) from runs where kind = 'efficiency'").rows()[0][0],
    "sql_facts": lambda lake: lake.sql("select count(distinct run_id) from subgraph_timings").rows()[0][0],
    "frame": lambda lake: lake.frame("subgraph_timings")["run_id"].n_unique(),
    "frame_by_keys": lambda lake: lake.frame("subgraph_timings", hardware_id="dev", model="net")["run_id"].n_unique(),
    "scan": lambda lake: lake.scan("subgraph_timings").collect()["run_id"].n_unique(),
    "runs": lambda lake: lake.runs().filter(kind="efficiency").height,
    "hardware_ids": lambda lake: EARLIER if lake.hardware_ids() == ["dev"] else 0,
    "check": lambda lake: EARLIER if all(finding.code == "leftover" for finding in lake.check()) else 0,
}


@pytest.mark.parametrize("read", sorted(READS))
def test_every_read_is_right_while_ledger_files_vanish_under_it(read: str, lake: Lake, churn: threading.Event) -> None:
    churn.wait()
    for _ in range(12):
        assert READS[read](Lake(lake.root)) == EARLIER


def test_sql_is_right_while_hundreds_of_ledger_files_vanish_at_once(lake: Lake) -> None:
    # Copies of a ledger part are legal (merged lakes have them), and quickly made in numbers that take long to open.
    origin = lake._ledger.files("dev")[0]
    content = origin.read_bytes()
    answers: list[list[tuple[int]]] = []
    for _ in range(6):
        for _ in range(300):
            origin.with_name(PartName(new_id(), 1).file_name).write_bytes(content)
        listing = threading.Event()

        def ask(listing: threading.Event = listing) -> None:
            for _ in range(3):
                listing.set()
                answers.append(lake.sql("select count(*) from runs").rows())

        reader = threading.Thread(target=ask)
        reader.start()
        listing.wait()
        lake.compact_runs()
        reader.join()
    assert answers == [[(EARLIER,)]] * 18


def test_a_stale_listing_fails_loudly_so_that_it_can_be_read_again(lake: Lake) -> None:
    stale = lake._ledger.files("dev")
    assert len(stale) == EARLIER
    lake.compact_runs()
    with pytest.raises(FileNotFoundError):
        read_parts(Runs, stale, {"hardware_id": "dev"})
    assert lake.runs("dev").height == EARLIER


def test_writing_a_known_run_id_is_refused_while_the_ledger_is_merged(lake: Lake, churn: threading.Event) -> None:
    churn.wait()
    known = lake.runs().filter(kind="efficiency")["run_id"][0]
    for _ in range(12):
        with pytest.raises(Exception, match="is in") as refused:
            Lake(lake.root).write({"hardware_id": "dev", "run_id": known})
        assert not isinstance(refused.value, CorruptLakeError)
