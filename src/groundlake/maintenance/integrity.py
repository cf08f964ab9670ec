"""Compare ledger, files and contracts, and say what to do about each difference."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from groundlake.errors import CorruptLakeError
from groundlake.layout import STAGED_SUFFIX, PartName, anchor_folders, anchor_path, is_unpublished
from groundlake.ledger import UNREADABLE, current_rows, leaf_files, read_parts
from groundlake.maintenance.links import links
from groundlake.schemas import FACT_TABLES, TABLES, Runs, Table

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

CORRUPT = frozenset({"torn", "foreign", "missing", "missing_rows", "missing_anchor", "tampered", "breaks_contract"})
"""Findings that mean damaged data; the others are remains of crashes, invisible and harmless."""


@dataclass(frozen=True)
class Finding:
    """One difference: what kind, which file or run, what was found, what to do."""

    code: str
    where: str
    what: str
    what_to_do: str

    @property
    def corrupt(self) -> bool:
        """Whether data is damaged, rather than something invisible left over."""
        return self.code in CORRUPT


def inspect(root: Path) -> list[Finding]:
    """List leftovers, orphans, torn and foreign files, runs whose rows are missing, and missing anchors.

    Writers may go on meanwhile. The ledger is read before the files are listed (so that every run found has its files)
    and once more after it (so that a file listed has its run).

    Raises:
        FileNotFoundError: A file vanished under the check, because a compaction merged it; check again.
    """
    linked = [
        Finding("foreign", str(path), f"a link to {path.readlink()}, which is not followed", UNLINK)
        for path in links(root)
    ]
    if linked:
        return linked  # whether the rest is sound cannot be said before they are gone
    before = _statements(root)
    findings: list[Finding] = []
    sound: dict[str, list[Path]] = {}
    for name, table in TABLES.items():
        sound[name] = []
        for path in sorted((root / name).rglob("*")) if (root / name).is_dir() else []:
            if path.is_file() or (PartName.parse(path.name) and path.exists()):
                finding = inspect_file(root, table, path)
                findings += [finding] if finding else []
                sound[name] += [] if finding else [path]
        there = [*sound[name], *(Path(finding.where) for finding in findings if finding.code == "unreadable")]
        if sound[name] and not any(_is_anchor(root, table, path) for path in there):
            findings.append(
                Finding(
                    "missing_anchor",
                    str(root / anchor_path(table)),
                    "the table's zero-row part is gone",
                    "run `lake init`: it is written again",
                )
            )
    findings += [
        Finding("leftover", str(path), "an unfinished view file", "remove it; no data is in it")
        for path in sorted(root.parent.glob(f"{escape(root.name)}.db.*{STAGED_SUFFIX}*"))
    ]
    rows, orphans = _compare(root, sound, set(_statements(root)["part"]))
    unread = {Path(finding.where).name.partition(".")[0] for finding in findings if finding.code == "unreadable"}
    unknown = _unknown_ledgers(root, findings)
    orphans = [each for each in orphans if each.code != "orphan" or _device_folder(root, each) not in unknown]
    return findings + orphans + list(_missing_rows(before, rows, unread))


def _unknown_ledgers(root: Path, findings: Iterable[Finding]) -> set[str]:
    """Folders of devices whose ledger cannot be read as a whole: which part is an orphan there is not known."""
    unread = [each for each in findings if each.code in {"torn", "unreadable"}]
    return {_device_folder(root, each) for each in unread if Path(each.where).is_relative_to(root / "runs")}


def _device_folder(root: Path, finding: Finding) -> str:
    return Path(finding.where).relative_to(root).parts[1]


def inspect_file(root: Path, table: type[Table], path: Path) -> Finding | None:
    """Say what is wrong with one file of a table's folder, if anything is: its name, its pages, its footer."""
    if is_unpublished(path.name):
        return Finding(
            "leftover",
            str(path),
            "a file that was never published",
            "remove it once no writer is running; it is invisible",
        )
    if path.is_symlink():
        return Finding("foreign", str(path), f"a link to {path.readlink()}", UNLINK)
    part = PartName.parse(path.name)
    no_part = _why_no_part(root, table, path)
    if part is None or no_part:
        return Finding("foreign", str(path), no_part, MOVE_OUT)
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            rows = file.read()  # pages can be torn behind a sound footer
        return _inspect_content(table, part, path, schema, rows)
    except FileNotFoundError:
        raise
    except PermissionError:
        return Finding("unreadable", str(path), "your user has no permission to read it", LET_READ)
    except (pa.ArrowException, UnicodeDecodeError, *UNREADABLE) as error:
        return Finding("torn", str(path), f"not a readable Parquet file: {str(error).splitlines()[0]}", RESTORE)


def _why_no_part(root: Path, table: type[Table], path: Path) -> str:
    """Say why something cannot be a part, if so: its name, place or kind. It is not opened: a pipe would wait."""
    if PartName.parse(path.name) is None or len(path.relative_to(root).parts) != len(table.keys()) + 2:
        return "no part of this lake has such a name or place"
    mode = path.stat().st_mode
    if S_ISREG(mode):
        return ""
    kind = "a folder" if S_ISDIR(mode) else "a pipe, a socket or a device"
    return f"{kind} with the name of a part, which no reader opens"


def _inspect_content(
    table: type[Table], part: PartName, path: Path, schema: pa.Schema, rows: pa.Table
) -> Finding | None:
    """Compare what a readable file says of itself with its name and with the contract."""
    footer = schema.metadata or {}
    name, version = (
        footer.get(b"groundlake.contract", b"?").decode(errors="replace"),
        footer.get(b"groundlake.contract_version", b"?").decode(errors="replace"),
    )
    if (name, version) != (table.table_name(), str(part.version)):
        return Finding(
            "foreign",
            str(path),
            f"its footer says contract {name} version {version}, its place {table.table_name()} version {part.version}",
            "move it out of the lake",
        )
    got, wanted = pl.DataFrame(schema.empty_table()).schema, table.empty_frame().drop(table.keys()).schema
    if part.version == table.version() and got != wanted:
        return Finding("foreign", str(path), "its columns differ from the contract it names", "move it out of the lake")
    named = set(rows["part"].unique().to_pylist()) if table is not Runs else set()
    if named - {part.part}:
        return Finding(
            "foreign",
            str(path),
            f"its rows belong to the file of part {min(named - {part.part})}: a copy, which counts them twice",
            "move it out of the lake, or give it back its name",
        )
    return None


def _is_anchor(root: Path, table: type[Table], path: Path) -> bool:
    """Whether a file is a zero-row part, of this contract version or an earlier one."""
    return path.parent in [root / folder for folder in anchor_folders(table)]


MOVE_OUT = "move it out of the lake"
LET_READ = "let your user read it: `chmod u+r` as its owner, or `chmod a+r` as root; then check again"
UNLINK = "put what it leads to there itself, or remove the link; then check again"
RESTORE = "restore the file from a copy of the lake, or move it away and measure or import its runs again"


def _statements(root: Path) -> pl.DataFrame:
    """Every readable statement of the ledger; the files that are torn are findings of their own."""
    statements = [Runs.empty_frame()]
    for keys, path in leaf_files(root, Runs, {}):
        with suppress(CorruptLakeError):
            statements.append(read_parts(Runs, [path], keys))
    return pl.concat(statements)


def _compare(
    root: Path, sound: dict[str, list[Path]], known_parts: set[str]
) -> tuple[Counter[tuple[str, str, str]], list[Finding]]:
    """Count the rows of each (table, run, part); list the parts that nobody points at, or that polars cannot read."""
    orphans: list[Finding] = []
    found: Counter[tuple[str, str, str]] = Counter()
    for name, table in FACT_TABLES.items():
        for path in sound[name]:
            part = PartName.parse(path.name)
            if _is_anchor(root, table, path) or part is None:
                continue
            if part.part not in known_parts:
                orphans.append(
                    Finding(
                        "orphan",
                        str(path),
                        "no run points at this part: its writer was stopped before the commit",
                        "nothing; it is invisible (remove it if you need the space)",
                    )
                )
                continue
            try:
                rows = pl.read_parquet(path, columns=["run_id", "part"], hive_partitioning=False, glob=False)
            except FileNotFoundError:
                raise
            except UNREADABLE as error:  # another reader than that of `inspect_file`, which trusts other bytes
                reason = f"not a readable Parquet file: {str(error).splitlines()[0]}"
                orphans.append(Finding("torn", str(path), reason, RESTORE))
                continue
            found.update((name, run_id, row_part) for run_id, row_part in rows.iter_rows())
    return found, orphans


def _missing_rows(
    statements: pl.DataFrame, found: Counter[tuple[str, str, str]], unread: Container[str]
) -> Iterator[Finding]:
    """Runs that say they wrote more rows, or fewer, than their parts have; of unread parts that is not known."""
    for run in current_rows(statements).select("hardware_id", "run_id", "part", "fact_rows").iter_rows(named=True):
        for wrote in run["fact_rows"] or []:
            there = found[wrote["table"], run["run_id"], run["part"]]
            if there != wrote["rows"] and run["part"] not in unread:
                yield Finding(
                    "missing_rows",
                    f"{run['hardware_id']} run {run['run_id']}",
                    f"{there} of {wrote['rows']} rows of {wrote['table']} are there (part {run['part']})",
                    RESTORE,
                )
