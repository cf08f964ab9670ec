"""The quarantine: input that an import set aside, as JSON lines beside the lake's tables. No file is moved."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake.commit import write_atomically
from groundlake.errors import CorruptLakeError
from groundlake.places import refuse_link
from groundlake.schemas import Quarantine
from groundlake.views import QUARANTINE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from groundlake.ground_truth.reading import Problem
    from groundlake.store import Lake

WHAT_TO_DO = {
    "truncated_json": "copy the file again from the device that wrote it",
    "not_json": "copy the file again, or move it out of the tree",
    "nested_too_deeply": "move it out of the tree: it is no measurement",
    "wrong_type": "correct the value, or measure again",
    "not_finite": "measure again: NaN and infinity are no measurements",
    "negative_latency": "measure again: time does not run backwards",
    "missing_field": "add the missing key, or measure again",
    "unknown_layout": "move it to <hardware>/measurements/<precision>/<model>_b<batch>.json, or out of the tree",
    "contradicting_model": "rename the file to the model it holds, or correct `model`",
    "contradicting_precision": "move the file to the folder of its precision, or correct `precision`",
    "batch_unknown": "rename the file to <model>_b<batch>.json, or add `batch_size`",
    "too_large": "move it out of the tree, or split it: measurements are far smaller",
    "unreadable": "give read permission, or mend the link",
    "conflict": "decide which is right and remove the other; the one named as imported is in the lake",
    "bad_key": "give the device or model a name that can be a folder",
    "contract": "correct the values, or measure again",
    "no_experiment": "move it out of the tree: it is no result of an experiment",
    "conflicting_id": "decide which is right and remove the other, or give one of them another experiment_id",
    "torn_sidecar": "copy the sidecar again, or remove it: the result is imported without power readings then",
    "unknown_device": "say with --hw ID on which device it was measured",
    "incomplete": "copy all files of the result again, or measure again",
    "unknown_unit": "correct the unit; where it is right, this version does not read it yet",
}
"""Code to what the user can do about it; the only list of codes."""

SHOWN_REASON = 500


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing set aside: where it lies, its hash, the layout it was taken for, and why."""

    uri: str
    sha256: str | None
    layout: str | None
    code: str
    reason: str

    @classmethod
    def of(cls, uri: str, sha256: str | None, layout: str | None, problem: Problem) -> Entry:
        """Build the entry of a file with one problem."""
        text = str(problem)
        reason = text if len(text) <= SHOWN_REASON else f"{text[:SHOWN_REASON]}..."
        return cls(uri=uri, sha256=sha256, layout=layout, code=problem.code, reason=reason)

    @property
    def what_to_do(self) -> str:
        """How to get the input imported."""
        return WHAT_TO_DO[self.code]

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """What makes two entries the same: the same bytes at the same place, set aside for the same reason."""
        return self.uri, self.sha256, self.code


def known_entries(lake: Lake) -> set[tuple[str, str | None, str]]:
    """Read the identities of everything that earlier imports set aside.

    Raises:
        CorruptLakeError: A file of the quarantine cannot be read; the message names it.
    """
    known = set()
    refuse_link(lake.root / QUARANTINE_FOLDER)
    for path in sorted((lake.root / QUARANTINE_FOLDER).glob("*.jsonl")):
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            known |= {(row["uri"], row["sha256"], row["code"]) for row in rows}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptLakeError(
                f"{path}: not a file of the quarantine ({error})\nremove it; the next import writes it again"
            ) from error
    return known


def record(lake: Lake, entries: Iterable[Entry], import_id: str, imported_at: datetime) -> int:
    """Write the entries that no earlier import wrote to `<root>/_quarantine/<import id>.jsonl`.

    Returns:
        How many were written; without any, there is no file.
    """
    known = known_entries(lake)
    fresh = list({entry.identity: entry for entry in entries if entry.identity not in known}.values())
    if not fresh:
        return 0
    rows = [
        {"import_id": import_id, "imported_at": imported_at, **asdict(entry), "what_to_do": entry.what_to_do}
        for entry in fresh
    ]
    frame = pl.DataFrame(rows, schema=Quarantine.polars_schema(), strict=True)
    Quarantine.check(frame)
    lake.create()
    folder = lake.root / QUARANTINE_FOLDER
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({**row, "imported_at": imported_at.isoformat(timespec="microseconds")}) for row in rows]
    write_atomically(folder / f"{import_id}.jsonl", ("\n".join(lines) + "\n").encode())
    return len(fresh)
