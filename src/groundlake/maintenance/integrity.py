"""Compare ledger, files and contracts, and say what to do about each difference."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from groundlake.layout import STAGED_SUFFIX, PartName, anchor_folders, anchor_path, decode_key, is_unpublished
from groundlake.ledger import UNREADABLE, current_rows
from groundlake.maintenance.links import links
from groundlake.maintenance.placing import Places, device_of, read_ledger
from groundlake.schemas import FACT_TABLES, TABLES, Runs, Table

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

CORRUPT = frozenset(
    {"torn", "foreign", "misplaced", "missing", "missing_rows", "missing_anchor", "tampered", "breaks_contract"}
)
"""Findings that mean damaged data; the others are invisible, and remains of crashes as far as a lake can tell."""

FEW = 3
"""Findings that say the same of so many files of a device are told one by one; more of them are told together."""


@dataclass(frozen=True)
class Finding:
    """One difference: what kind, which file or run, what was found, what to do.

    Attributes:
        moves: Files that lie at another place than theirs: where they are, and where they belong.
    """

    code: str
    where: str
    what: str
    what_to_do: str
    moves: tuple[tuple[Path, Path], ...] = ()

    @property
    def corrupt(self) -> bool:
        """Whether data is damaged, rather than something invisible left over."""
        return self.code in CORRUPT

    @property
    def named(self) -> frozenset[str]:
        """Every path that this finding is about."""
        return frozenset((self.where, *(str(path) for move in self.moves for path in move)))


def inspect(root: Path) -> list[Finding]:
    """List leftovers, orphans, torn, foreign and misplaced files, runs whose rows are missing, and missing anchors.

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
    before, _ = _ledger(root)
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
    unread = {Path(finding.where).name.partition(".")[0] for finding in findings if finding.code == "unreadable"}
    after, strangers = _ledger(root)
    seen = _Seen(root, Places(root, pl.concat([before, after])))
    for name, table in FACT_TABLES.items():
        for path in sound[name]:
            if not _is_anchor(root, table, path):
                seen.look_at(path)
    others = [finding for finding in findings if not seen.recognises(finding)]
    named = seen.findings(_unknown_ledgers(root, findings))
    return [*others, *named, *_grouped(seen.misplaced), *strangers, *seen.missing_rows(before, unread)]


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
            f"its rows are those of part {min(named - {part.part})}: that file under another name, or a copy of it, "
            "which counts them twice",
            "give it back its name, or move it out of the lake",
        )
    return None


def _is_anchor(root: Path, table: type[Table], path: Path) -> bool:
    """Whether a file is a zero-row part, of this contract version or an earlier one."""
    return path.parent in [root / folder for folder in anchor_folders(table)]


MOVE_OUT = "move it out of the lake"
LET_READ = "let your user read it: `chmod u+r` as its owner, or `chmod a+r` as root; then check again"
UNLINK = "put what it leads to there itself, or remove the link; then check again"
RESTORE = "restore the file from a copy of the lake, or move it away and measure or import its runs again"
PUT_BACK = "move it back, or let `lake check --repair` do so"
TAKE_OUT = "move it out of the lake, or let `lake check --repair` set it aside"
LOST = (
    "restore the file from a copy of the lake, or withdraw the run with `lake retract` and measure or import it again"
)


def _ledger(root: Path) -> tuple[pl.DataFrame, list[Finding]]:
    """Every readable statement of the ledger, and what is wrong with the places of its files."""
    statements, findings = [Runs.empty_frame()], []
    moves: list[tuple[Path, Path]] = []
    for file in read_ledger(root):
        path, home, count = file.path, file.home, file.strangers
        if home is not None and home.is_file() and home.read_bytes() == path.read_bytes():
            what = f"a copy of {home}: it claims the {count} statements about runs of another device for this one"
            findings.append(Finding("foreign", str(path), what, TAKE_OUT))
            continue
        statements.append(file.statements)
        if home is not None and not home.exists():
            moves.append((path, home))
        elif count:
            what = f"{count} of its {file.statements.height} statements are of runs whose rows lie under another device"
            findings.append(Finding("misplaced", str(path), what, "restore the folders of both in runs from a copy"))
    return pl.concat(statements), [*findings, *_grouped(moves)]


def _grouped(moves: Iterable[tuple[Path, Path]]) -> Iterator[Finding]:
    """Name misplaced files; those of one folder that belong to one other folder together, as after it was renamed."""
    folders: dict[tuple[Path, Path], list[tuple[Path, Path]]] = defaultdict(list)
    for was, home in moves:
        folders[_turned(was, home)].append((was, home))
    for (here, there), group in folders.items():
        if len(group) == 1:
            ((was, home),) = group
            taken = ", where another file lies" if home.exists() else ""
            what = f"belongs to {home}{taken}; here its rows are shown under other keys than theirs, or not at all"
            yield Finding("misplaced", str(was), what, PUT_BACK, tuple(group))
        else:
            what = (
                f"{len(group)} files in it belong to {there}, such as {group[0][0].name}; here their rows are shown "
                "under other keys than theirs, or not at all"
            )
            whole = "move them back, or rename the folder as it was, or let `lake check --repair` move them"
            yield Finding("misplaced", str(here), what, whole, tuple(group))


def _turned(was: Path, home: Path) -> tuple[Path, Path]:
    """Cut off what the ends of two paths have in common, so that the folders stay that were taken for each other."""
    while was.name == home.name:
        was, home = was.parent, home.parent
    return was, home


class _Seen:
    """What the fact files of a lake hold: rows by table, device, run and part, and files that belong elsewhere."""

    def __init__(self, root: Path, places: Places) -> None:
        self._root = root
        self._places = places
        self._found: Counter[tuple[str, str, str, str]] = Counter()
        self._findings: list[Finding] = []
        self._orphans: dict[str, list[Path]] = defaultdict(list)
        self.misplaced: list[tuple[Path, Path]] = []

    def findings(self, unknown: Container[str]) -> list[Finding]:
        """Files that are not what the ledger says, but for those that are misplaced.

        Args:
            unknown: Folders of devices whose ledger cannot be read as a whole: nobody knows what is an orphan there.
        """
        orphans = [each for folder in self._orphans if folder not in unknown for each in self._unclaimed(folder)]
        return [*self._findings, *orphans]

    def look_at(self, path: Path) -> None:
        """Count the rows of a part that can be read where the ledger says that they lie, and name what it does not."""
        try:
            rows = pl.read_parquet(path, columns=["run_id", "part"], hive_partitioning=False, glob=False)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:  # another reader than that of `inspect_file`, which trusts other bytes
            reason = f"not a readable Parquet file: {str(error).splitlines()[0]}"
            self._findings.append(Finding("torn", str(path), reason, RESTORE))
            return
        counts = rows.group_by("run_id", "part").len().rows()
        standing = self._places.judge(path, {run_id for run_id, _, _ in counts})
        if standing.kind == "unknown":
            self._orphans[path.relative_to(self._root).parts[1]].append(path)
        elif standing.kind == "unnamed":
            what = "no run has rows in a file at this place, and the ledger knows its part"
            self._findings.append(Finding("foreign", str(path), what, TAKE_OUT))
        elif standing.kind == "copy":
            self._findings.append(_a_copy(self._root, path, standing.home))
        else:
            if standing.kind == "misplaced":
                self.misplaced.append((path, self._root / standing.home))
            where = standing.home or path.relative_to(self._root).as_posix()
            self._count(where, counts)

    def recognises(self, finding: Finding) -> bool:
        """Whether a file that is foreign where it lies is one that the ledger knows; it is named as that then."""
        path = Path(finding.where)
        plain = finding.code == "foreign" and path.is_file() and not path.is_symlink()
        known = self._places.recognise(path) if plain else None
        if known is None or known.kind not in ("copy", "misplaced"):
            return False
        if known.kind == "copy":
            self._findings.append(_a_copy(self._root, path, known.home))
            return True
        self.misplaced.append((path, self._root / known.home))
        rows = pl.read_parquet(path, columns=["run_id", "part"], hive_partitioning=False, glob=False)
        self._count(known.home, rows.group_by("run_id", "part").len().rows())
        return True

    def missing_rows(self, statements: pl.DataFrame, unread: Container[str]) -> Iterator[Finding]:
        """Runs that say they wrote more rows, or fewer, than their parts have; of unread parts that is not known."""
        columns = ("hardware_id", "run_id", "part", "fact_rows", "fact_files")
        for run in current_rows(statements).select(columns).iter_rows(named=True):
            for wrote in run["fact_rows"] or []:
                table = wrote["table"]
                there = self._found[table, run["hardware_id"], run["run_id"], run["part"]]
                if there != wrote["rows"] and run["part"] not in unread:
                    named = [file["path"] for file in run["fact_files"] or () if file["path"].startswith(f"{table}/")]
                    what, to_do = self._miscounted(table, run["part"], there, wrote["rows"], named)
                    yield Finding("missing_rows", f"{run['hardware_id']} run {run['run_id']}", what, to_do)

    def _miscounted(self, table: str, part: str, there: int, wrote: int, named: list[str]) -> tuple[str, str]:
        """Say of a run's table what is amiss, with the files where they are known, and what to do."""
        if there > wrote:
            files = ", ".join(str(path) for path in sorted((self._root / table).rglob(f"{part}.v*")))
            surplus = f"{there} rows of {table} are there instead of {wrote}, in {files}"
            return surplus, "one of them is a copy, or in a folder that is not its own: move that one out of the lake"
        lost = self._places.lost(named)
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        why = f": {self._root / lost[0]}{more} is not there" if lost else f" (part {part})"
        return f"{there} of {wrote} rows of {table} are there{why}", LOST if lost else RESTORE

    def _count(self, name: str, counts: Iterable[tuple[str, str, int]]) -> None:
        table, device = name.partition("/")[0], device_of(name)
        self._found.update({(table, device, run_id, part): count for run_id, part, count in counts})

    def _unclaimed(self, folder: str) -> Iterator[Finding]:
        """Name the parts of a device that nobody points at: remains of a writer, or all that is left of lost runs."""
        paths, device = self._orphans[folder], decode_key(folder.partition("=")[2])
        why = "a writer was stopped before its commit, or the ledger file that names its runs is lost"
        ledger = self._root / Runs.table_name() / folder
        to_do = (
            f"if you miss runs of {device}, restore {ledger} from a copy of the lake before the next `lake vacuum`, "
            "which removes what no run points at; otherwise nothing: it is invisible"
        )
        if len(paths) > FEW:
            what = f"no run points at {len(paths)} files of {device}, such as {paths[0]}: {why}"
            yield Finding("orphan", device, what, to_do)
            return
        for path in paths:
            yield Finding("orphan", str(path), f"no run points at this part: {why}", to_do)


def _a_copy(root: Path, path: Path, original: str) -> Finding:
    what = f"a copy of {root / original}: its rows are shown twice, or under other keys than theirs"
    return Finding("foreign", str(path), what, TAKE_OUT)
