"""Look into every part of a lake: its rows against the contract, its bytes against what the ledger says of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.errors import ContractViolationError, CorruptLakeError
from groundlake.layout import PartName
from groundlake.ledger import Ledger, current_rows, leaf_files, live_statements, read_parts
from groundlake.maintenance.integrity import RESTORE, Finding
from groundlake.maintenance.links import links
from groundlake.parts import known_of
from groundlake.schemas import TABLES, Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from groundlake.schemas import Table


@dataclass(frozen=True)
class Looked:
    """What a deep check looked at.

    Attributes:
        findings: What is wrong, beyond what a quick check finds.
        files: Parts that were read.
        with_checksum: Parts whose bytes were held against the ledger; runs of older versions recorded none.
    """

    findings: tuple[Finding, ...]
    files: int
    with_checksum: int


def look_into(
    root: Path, unreadable: frozenset[str], on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Looked:
    """Read every part, hold its rows to the contract and its bytes to the ledger.

    Args:
        root: The lake.
        unreadable: Paths that a quick check has named already.
        on_progress: Called with the parts done and their number.

    Raises:
        FileNotFoundError: A file vanished under the check, because a compaction merged it; check again.
    """
    if next(links(root), None) is not None:
        return Looked((), 0, 0)  # the quick check has named it, and nobody reads past it
    recorded, shown = _recorded(root)
    files = [
        (table, keys, path)
        for table in TABLES.values()
        for keys, path in leaf_files(root, table, {})
        if str(path) not in unreadable
    ]
    findings: list[Finding] = []
    with_checksum = 0
    for done, (table, keys, path) in enumerate(files, start=1):
        name = path.relative_to(root).as_posix()
        with_checksum += name in recorded
        findings += tampered(path, recorded.get(name)) or broken(table, keys, path)
        on_progress(done, len(files))
    present = {path.relative_to(root).as_posix() for _, _, path in files}
    findings += [
        Finding("missing", str(root / name), "the ledger says that rows of a run lie in this file", RESTORE)
        for name in sorted(shown - present)
        if str(root / name) not in unreadable and not (root / name).exists()
    ]
    return Looked(tuple(findings), len(files), with_checksum)


def _recorded(root: Path) -> tuple[dict[str, tuple[int, str]], set[str]]:
    """Size and hash of every file that the ledger knows, by its path; and the paths of runs that are shown."""
    ledger = Ledger(root)
    known: dict[str, tuple[int, str]] = {}
    shown: set[str] = set()
    for hardware_id in ledger.hardware_ids():
        statements = _readable(ledger, hardware_id)
        for file in _files(live_statements(statements)):
            known[file["path"]] = file["bytes"], file["sha256"]
        shown |= {file["path"] for file in _files(current_rows(statements))}
    return known, shown


def _files(statements: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for files in statements["fact_files"].drop_nulls().to_list():
        yield from files


def _readable(ledger: Ledger, hardware_id: str) -> pl.DataFrame:
    """Statements of the ledger files that can be read; a torn one is a finding of its own."""
    frames = [Runs.empty_frame()]
    for path in ledger.files(hardware_id):
        with suppress(CorruptLakeError):
            frames.append(read_parts(Runs, [path], {"hardware_id": hardware_id}))
    return pl.concat(frames)


def tampered(path: Path, recorded: tuple[int, str] | None) -> list[Finding]:
    """Hold the bytes of a part to what the ledger says of them, where it says anything: size and hash."""
    if recorded is None:
        return []
    known = known_of(path, path.name)
    if (known.size_bytes, known.sha256) == recorded:
        return []
    size = f"{known.size_bytes} bytes instead of {recorded[0]}, " if known.size_bytes != recorded[0] else ""
    what = f"not the bytes that were written: {size}sha256 {known.sha256[:16]}... instead of {recorded[1][:16]}..."
    return [Finding("tampered", str(path), what, RESTORE)]


def broken(table: type[Table], keys: Mapping[str, str], path: Path) -> list[Finding]:
    """Hold the rows of a part to its contract; what a newer groundlake wrote is not known here."""
    name = PartName.parse(path.name)
    typed = {key: int(value) if key == "batch" else value for key, value in keys.items()}
    try:
        rows = read_parts(table, [path], typed)
        if name is not None and name.version <= table.version():
            table.check(rows)
    except CorruptLakeError as error:
        return [Finding("torn", str(path), str(error).splitlines()[0], RESTORE)]
    except ContractViolationError as error:
        return [Finding("breaks_contract", str(path), " ".join(str(error).split())[:300], RESTORE)]
    return []
