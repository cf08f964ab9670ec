"""Server-sent events from bytes that are cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundlake.llm import streams
from groundlake.llm.streams import EventStream, EventTooLongError

TEXT = (
    "data: één\r\ndata: 二\r\n\r\n: still here\n\ndata:🦊\n\n"
    "event: x\nid: 4\ndata:  two blanks\rdata\r\rretry: 5\n\ndata: cut"
)
EVENTS = ["één\n二", "🦊", " two blanks\n"]


def read(pieces: list[bytes]) -> list[str]:
    stream = EventStream()
    return [data for piece in pieces for data in stream.feed(piece)]


def test_events_of_a_stream_as_the_standard_has_them() -> None:
    assert read([TEXT.encode()]) == EVENTS


def test_a_stream_that_comes_byte_by_byte_gives_the_same_events() -> None:
    assert read([bytes([byte]) for byte in TEXT.encode()]) == EVENTS


@given(st.lists(st.integers(0, len(TEXT.encode())), max_size=8))
def test_a_stream_that_is_cut_anywhere_gives_the_same_events(cuts: list[int]) -> None:
    whole = TEXT.encode()
    edges = [0, *sorted(cuts), len(whole)]
    assert read([whole[start:end] for start, end in pairwise(edges)]) == EVENTS


def test_an_event_is_there_with_its_last_byte() -> None:
    stream = EventStream()
    assert list(stream.feed(b"data: a\n")) == []
    assert list(stream.feed(b"\n")) == ["a"]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert read(["\ufeffdata: a\n\n".encode()]) == ["a"]
    assert read(["\ufeff".encode()[:2], "\ufeff".encode()[2:], b"data: a\n\n"]) == ["a"]


def test_bytes_that_are_no_text_do_not_stop_the_stream() -> None:
    assert read([b"data: \xff!\n\ndata: b\n\n"]) == ["\ufffd!", "b"]


def test_an_event_without_an_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_EVENT_CHARACTERS", 1000)
    with pytest.raises(EventTooLongError):
        read([b"data: " + b"x" * 100] * 11)
    with pytest.raises(EventTooLongError):
        read([b"data: " + b"x" * 100 + b"\n"] * 11)
    assert len(read([b"data: " + b"x" * 900 + b"\n\n"] * 11)) == 11
