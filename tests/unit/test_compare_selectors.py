"""What the words for runs stand for, and what is said where they stand for nothing or several things."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from groundlake.compare.selectors import select, with_turns
from groundlake.errors import UsageError
from groundlake.schemas import Runs

DAY = dt.datetime.fromisoformat("2026-02-05T12:00")


def ledger(*rows: dict[str, Any]) -> pl.DataFrame:
    """Ledger rows of one configuration, an hour apart."""
    defaults = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1, "status": "ok"}
    filled = [
        dict.fromkeys(Runs.polars_schema())
        | defaults
        | {"kind": "efficiency", "run_id": f"00000000-run-{at}", "started_at": DAY + dt.timedelta(hours=at)}
        | row
        for at, row in enumerate(rows)
    ]
    return pl.DataFrame(filled, schema=Runs.polars_schema())


def chosen(text: str, rows: pl.DataFrame) -> list[str]:
    good = with_turns(rows.filter(status="ok", kind="efficiency"))
    return sorted(run_id[-1] for run_id in select(text, good, rows).runs["run_id"])


def test_latest_is_the_greatest_start_of_each_configuration_and_latest_1_the_one_before():
    rows = ledger({}, {}, {"batch": 4}, {}, {"batch": 4}, {"started_at": None})
    assert chosen("latest", rows) == ["3", "4"]
    assert chosen("latest~0", rows) == ["3", "4"]
    assert chosen("latest~1", rows) == ["1", "2"]
    assert chosen("latest~2", rows) == ["0"]
    assert chosen("latest~3", rows) == ["5"], "a run without a start time counts as the oldest"
    with pytest.raises(
        UsageError, match="latest~4: no configuration has 5 turns; the repeats of a sweep are one\nlatest to latest~3;"
    ):
        chosen("latest~4", rows)


def test_the_repeats_of_a_sweep_are_one_turn():
    rows = ledger(
        {"session_id": "a", "run_index": 1},
        {"session_id": "a", "run_index": 2},
        {"session_id": "b", "run_index": 1},
        {"session_id": "b", "run_index": 2},
        {"session_id": "b", "run_index": 3},
    )
    assert chosen("latest", rows) == ["2", "3", "4"]
    assert chosen("latest~1", rows) == ["0", "1"]
    assert chosen("2026-02-05T13:30", rows) == ["0", "1"], "a sweep that had begun"
    unnumbered = ledger({"session_id": "a"}, {"session_id": "a"})
    assert chosen("latest", unnumbered) == ["1"], "runs that nobody numbered follow each other"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-05", ["1"]),
        ("2026-02-06", ["2"]),
        ("2026-02-05T12:30", ["0"]),
        ("2026-02-05 12:30:00.500", ["0"]),
        ("2026-02-05T12:30Z", ["0"]),
        ("2026-02-05T14:30+02:00", ["0"]),
    ],
)
def test_a_date_is_its_end_in_utc_and_a_moment_is_itself(text: str, expected: list[str]):
    midnight = dt.datetime.fromisoformat("2026-02-06")
    rows = ledger({}, {"started_at": midnight - dt.timedelta(microseconds=1)}, {"started_at": midnight})
    assert chosen(text, rows) == expected


def test_a_moment_before_everything_says_what_there_is():
    with pytest.raises(
        UsageError, match=r"2026-02-04: nothing had been measured by then.*\n.*2026-02-05 to 2026-02-05"
    ):
        chosen("2026-02-04", ledger({}))
    with pytest.raises(UsageError, match="month must be in"):
        chosen("2026-13-01", ledger({}))


def test_a_session_is_all_its_runs():
    rows = ledger({"session_id": "night"}, {"session_id": "day"}, {"session_id": "night"})
    assert chosen("night", rows) == ["0", "2"]


def test_a_run_is_found_by_its_id_or_the_beginning_of_it():
    rows = ledger({"run_id": "aaaaaaaa-1"}, {"run_id": "aaaabbbb-2"}, {"run_id": "aaaabbbb-23"})
    assert chosen("aaaaaaaa", rows) == ["1"]
    assert chosen("aaaabbbb-2", rows) == ["2"], "the whole id wins over the beginning of another"
    with pytest.raises(UsageError, match=r"2 runs begin so\naaaabbbb-2\naaaabbbb-23"):
        chosen("aaaabbbb", rows)
    with pytest.raises(
        UsageError, match="stands for no run, for the id of a run is given by at least 8 characters: 00"
    ):
        chosen("000", ledger({}))
    with pytest.raises(UsageError, match="stands for no run; A and B"):
        chosen("123", ledger({}))
    with pytest.raises(UsageError, match=r"^latest: no good run; `lake ingest`"):
        chosen("latest", ledger({"status": "failed"}))
    with pytest.raises(UsageError, match="stands for no run"):
        chosen("aaaaaaa", rows)


def test_a_run_that_cannot_be_compared_says_why():
    rows = ledger(
        {},
        {"run_id": "failed-run-1", "status": "failed", "error": "out of memory"},
        {"run_id": "idle-run-2", "kind": "idle_baseline"},
    )
    with pytest.raises(UsageError, match="failed: out of memory"):
        chosen("failed-run-1", rows)
    with pytest.raises(UsageError, match="of kind idle_baseline"):
        chosen("idle-run-2", rows)


def test_columns_choose_runs_whatever_their_type():
    rows = ledger(
        {"torch_version": "2.3", "note": "a=b"},
        {"torch_version": "2.4", "precision": "fp16"},
        {"torch_version": "2.4", "run_index": 2, "duration_s": 1.5},
    )
    assert chosen("torch_version=2.4", rows) == ["1", "2"]
    assert chosen("torch_version=2.4,precision=FP16", rows) == ["1"]
    assert chosen("run_index=2", rows) == ["2"]
    assert chosen("duration_s=1.5", rows) == ["2"]
    assert chosen("note=a=b", rows) == ["0"]
    assert chosen(f"started_at={DAY.isoformat()}", rows) == ["0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("torch_versoin=2", "did you mean torch_version"),
        ("power_series=x", "no column 'power_series' to choose by"),
        ("torch_version=9", "there are 2.3, 2.4"),
        ("torch_version=2.4,note=x", "beside torch_version=2.4; there are none"),
        ("run_index=one", "run_index is of type Int64"),
        ("torch_version=", "column=value"),
        ("torch_version=2.3,torch_version=2.4", "named twice"),
        ("nobody", r"sessions: night\n"),
    ],
)
def test_what_stands_for_nothing_lists_what_there_is(text: str, message: str):
    rows = ledger({"torch_version": "2.3"}, {"torch_version": "2.4", "session_id": "night"})
    with pytest.raises(UsageError, match=message) as raised:
        chosen(text, rows)
    assert len(str(raised.value).splitlines()) <= 6


def test_a_word_that_is_two_things_is_refused():
    rows = ledger({"session_id": "2026-02-05"}, {})
    with pytest.raises(UsageError, match="is the session and the moment\nsay session_id=2026-02-05"):
        chosen("2026-02-05", rows)
    assert chosen("session_id=2026-02-05", rows) == ["0"]
    assert chosen("2026-02-05T23:59:59", rows) == ["1"]
