"""Server-sent events, as the HTML Living Standard (section 9.2.6) has them, from bytes that are cut anywhere."""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EVENT_CHARACTERS = 16 * 2**20
"""A longer event is none: without a limit a server could fill the memory with one line."""

_decoder = getincrementaldecoder("utf-8")


class EventTooLongError(ValueError):
    """The stream has no end of an event where one should be."""


class EventStream:
    """Gives the data of each event as soon as its last byte is there.

    Bytes that are no UTF-8 become replacement characters. The end of the stream ends no event: one that its blank
    line does not follow was cut off, and is dropped.
    """

    def __init__(self) -> None:
        self._bytes = _decoder(errors="replace")
        self._first = True
        self._line: list[str] = []
        self._line_length = 0
        self._after_cr = False
        self._data: list[str] = []
        self._data_length = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yield the data of each event that this piece completes.

        Raises:
            EventTooLongError: An event is longer than any that makes sense.
        """
        for line in self._lines(self._bytes.decode(piece)):
            if line:
                self._field(line)
            elif self._data:
                yield "\n".join(self._data)
                self._data, self._data_length = [], 0

    def _lines(self, text: str) -> Iterator[str]:
        """Yield the lines that are complete. A line ends with CR LF, LF or CR."""
        if self._first and text:
            self._first = False
            text = text.removeprefix("\ufeff")
        if self._after_cr and text:
            self._after_cr = False
            text = text.removeprefix("\n")
        self._after_cr = self._after_cr or text.endswith("\r")
        *complete, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for part in complete:
            yield "".join((*self._line, part))
            self._line, self._line_length = [], 0
        self._line.append(rest)
        self._line_length += len(rest)
        if self._line_length + self._data_length > MAX_EVENT_CHARACTERS:
            raise EventTooLongError(f"an event of more than {MAX_EVENT_CHARACTERS} characters")

    def _field(self, line: str) -> None:
        """Take in a line; comments (an empty name) and fields other than `data` say nothing here."""
        name, _, value = line.partition(":")
        if name == "data":
            value = value.removeprefix(" ")
            self._data.append(value)
            self._data_length += len(value)
