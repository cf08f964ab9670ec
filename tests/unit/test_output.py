"""Rows as a table, csv or JSON."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import polars as pl
import pytest

from groundlake.cli.output import ROWS_ON_A_TERMINAL, as_csv, as_json, as_table


@pytest.fixture
def rows() -> pl.DataFrame:
    return pl.DataFrame(
        {"model": ["net", None], "latency_ms": [1 / 3, 123456.7], "nodes": [["a", "b"], []], "batch": [1, 16]}
    )


def test_a_table_aligns_numbers_right_and_text_left_and_rounds(rows: pl.DataFrame) -> None:
    assert as_table(rows, terminal=False).splitlines() == [
        "model  latency_ms  nodes       batch",
        "─────  ──────────  ──────────  ─────",
        'net       0.33333  ["a", "b"]      1',
        "           123457  []             16",
    ]


def test_a_table_without_rows_says_so() -> None:
    assert as_table(pl.DataFrame({"n": []}), terminal=False) == "n\n─\n(no rows)\n"


def test_a_terminal_gets_what_fits_and_is_told_of_the_rest(monkeypatch: pytest.MonkeyPatch, rows: pl.DataFrame) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    wide = as_table(rows, terminal=True)
    assert "2 more columns: nodes, batch" in wide
    assert wide.splitlines()[0] == "model  latency_ms"
    long = as_table(pl.DataFrame({"n": range(ROWS_ON_A_TERMINAL + 7)}), terminal=True)
    assert "(7 more rows; --format csv" in long
    assert len(long.splitlines()) == ROWS_ON_A_TERMINAL + 3
    assert len(as_table(pl.DataFrame({"n": range(ROWS_ON_A_TERMINAL + 7)}), terminal=False).splitlines()) == 209


def test_a_long_text_is_cut_in_a_table_and_whole_in_a_file() -> None:
    frame = pl.DataFrame({"t": ["x" * 100 + "\nnext"]})
    assert as_table(frame, terminal=False).splitlines()[2] == "x" * 59 + "…"
    assert as_csv(frame) == 't\n"' + "x" * 100 + '\nnext"\n'


def test_json_keeps_types_and_precision() -> None:
    values = {
        "x": 0.1 + 0.2,
        "n": 2**53 + 1,
        "big": Decimal(2**100),
        "fixed": Decimal("1.25"),
        "nothing": float("nan"),
        "flag": True,
        "at": dt.datetime(2026, 1, 1, 12, 30),  # noqa: DTZ001 - the lake keeps naive UTC
        "list": [1.5, float("-inf"), None],
        "struct": {"a": float("nan"), "b": [Decimal(3)]},
        "text": 'ü "quoted"\n',
    }
    frame = pl.DataFrame(
        {
            name: pl.Series([value], dtype=pl.Object) if name in ("big", "struct") else [value]
            for name, value in values.items()
        }
    )
    (row,) = json.loads(as_json(frame), parse_constant=pytest.fail)
    assert row == {
        "x": 0.1 + 0.2,
        "n": 2**53 + 1,
        "big": 2**100,
        "fixed": 1.25,
        "nothing": None,
        "flag": True,
        "at": "2026-01-01T12:30:00",
        "list": [1.5, None, None],
        "struct": {"a": None, "b": [3]},
        "text": 'ü "quoted"\n',
    }
    assert as_json(frame.clear()) == "[]\n"


def test_csv_writes_nested_values_as_json_and_ends_lines_with_lf(rows: pl.DataFrame) -> None:
    assert as_csv(rows) == (
        'model,latency_ms,nodes,batch\nnet,0.3333333333333333,"[""a"", ""b""]",1\n,123456.7,[],16\n'
    )


def test_bytes_are_hex_in_every_form_that_is_text() -> None:
    frame = pl.DataFrame({"pixels": [b"\x00\xff'", None], "inside": [[b"\x01"], []]})
    assert as_csv(frame) == 'pixels,inside\n00ff27,"[""01""]"\n,[]\n'
    assert json.loads(as_json(frame)) == [{"pixels": "00ff27", "inside": ["01"]}, {"pixels": None, "inside": []}]
    assert as_table(frame, terminal=False).splitlines()[2] == '00ff27  ["01"]'
