"""What the head of a query file says about its parameters: ranges of numbers, and which order a query has."""

from __future__ import annotations

import pytest

from groundlake.errors import UsageError
from groundlake.query_files import Parameter, Range, parse_view


@pytest.mark.parametrize(
    ("text", "inside", "outside", "said"),
    [
        ("0..1", (0, 0.5, 1), (-1e-9, 1.01), "at least 0 and at most 1"),
        (">0..1", (1e-300, 1), (0, -1, 2), "above 0 and at most 1"),
        ("1..", (1, 10**18), (0, -5), "at least 1"),
        ("..-0.5", (-0.5, -9), (0, -0.4), "at most -0.5"),
        ("-1.5..2.5", (-1.5, 2.5), (-2, 3), "at least -1.5 and at most 2.5"),
    ],
)
def test_a_range_has_its_ends_unless_it_is_above_one(
    text: str, inside: tuple[float, ...], outside: tuple[float, ...], said: str
) -> None:
    found = Range.of(text)
    assert [number for number in inside if number not in found] == []
    assert [number for number in outside if number in found] == []
    assert str(found) == said


@pytest.mark.parametrize("text", ["1", "0-1", "1..0", "a..b", "0..1|2..3", "1.2.3..4"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the range of a number reads"):
        Range.of(text)


def test_the_line_of_a_number_has_its_range_and_that_of_a_text_its_values() -> None:
    head = "-- One row.\n-- param: share DOUBLE = 0.5 (>0..1); a share\n-- param: of STRING = 'a' (a|b); what of\n"
    share, kind = parse_view("q", head + "SELECT 1").parameters
    assert share == Parameter("share", "DOUBLE", "0.5", "a share", (), Range(">0..1", 0, 1, above=True))
    assert (kind.values, kind.range) == (("a", "b"), None)
    assert share.literal("1") == "CAST(1.0 AS DOUBLE)"
    with pytest.raises(UsageError, match=r"share is above 0 and at most 1, got '1\.5'"):
        share.literal("1.5")
    assert str(share) == "share DOUBLE = 0.5 (>0..1); a share"


@pytest.mark.parametrize(
    ("sql", "own"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM t\nORDER  BY a DESC NULLS LAST, b", True),
        ("SELECT a, row_number() OVER (ORDER BY a) AS n FROM t", False),
        ("SELECT a FROM (SELECT a FROM t ORDER BY f((1))) AS s -- ORDER BY a", False),
        ("SELECT a FROM t WHERE b = 'ORDER BY a)'", False),
        (
            "WITH s AS (SELECT a FROM t WINDOW w AS (ORDER BY a)) SELECT a FROM s QUALIFY rank() OVER (ORDER BY a) = 1",
            False,
        ),
    ],
)
def test_only_an_order_of_the_whole_statement_is_its_own(sql: str, own: bool) -> None:
    ordered = parse_view("q", f"-- One row.\n{sql}").ordered
    assert (ordered == sql) == own
    assert ordered.endswith("ORDER BY ALL NULLS LAST") != own
