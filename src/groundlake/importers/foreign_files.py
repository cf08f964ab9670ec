"""Results of other tools among the files of an import: each goes to the reader that knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from groundlake.ground_truth.reading import parse_json
from groundlake.importers import aiperf, optimum_benchmark
from groundlake.importers.foreign import Taken

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from groundlake.importers.files import Found
    from groundlake.importers.foreign import ForeignRun
    from groundlake.importers.quarantine import Entry

PEEKED = 2**20
"""Bytes of the first line that tell what the lines are."""


@dataclass
class ForeignFiles:
    """Files that the readers of other tools know."""

    aiperf: list[Taken] = field(default_factory=list)
    optimum: list[Taken] = field(default_factory=list)
    lines: list[Found] = field(default_factory=list)

    def takes(self, found: Found, sha256: str, data: object) -> bool:
        """Keep a JSON file for the reader that knows it; False where none does."""
        for reader, kept in ((aiperf, self.aiperf), (optimum_benchmark, self.optimum)):
            if reader.recognises(found.path.name, data):
                kept.append(Taken(found, sha256, data))
                return True
        return False

    def read(self, skipped: Counter[str]) -> Iterator[ForeignRun | Entry]:
        """Read all that was kept; what is left out is counted."""
        for each in (*optimum_benchmark.read(self.optimum), *aiperf.read(self.aiperf, self.lines)):
            if isinstance(each, str):
                skipped[each] += 1
            else:
                yield each


def is_records(found: Found) -> bool:
    """Whether a file of JSON lines has what a reader knows."""
    try:
        with found.path.open("rb") as file:
            first, _ = parse_json(file.readline(PEEKED))
    except OSError:
        first = None
    return aiperf.recognises_lines(found.path.name, first)
