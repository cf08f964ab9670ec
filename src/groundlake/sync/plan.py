"""Compare two lakes by their listings and ledgers: what one has that the other lacks. Nothing is moved here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.errors import CorruptLakeError, UsageError
from groundlake.layout import PartName, anchor_path, decode_key
from groundlake.ledger import ANCHORS, current_rows, live_statements, read_parts
from groundlake.maintenance.placing import device_of, place_of
from groundlake.schemas import FACT_TABLES, TABLES, Runs
from groundlake.views import QUARANTINE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from groundlake.schemas import Table
    from groundlake.sync.places import Place

LEDGER_FOLDER = Runs.table_name()
OTHER_FOLDERS = (*FACT_TABLES, QUARANTINE_FOLDER)

REVISION = ("hardware_id", "run_id", "revision")
STATEMENT = (*REVISION, "placement", "part")
"""What identifies a row of the ledger."""

_READ = (*STATEMENT, "status", "recorded_at", "fact_rows", "fact_files")


@dataclass(frozen=True)
class PartPath:
    """What the path of a part says.

    Attributes:
        name: The path below the root.
        table: Contract of the table.
        keys: Values of the folders.
        part: Id of the part.
        is_anchor: It has no rows, and fixes the columns of its table.
    """

    name: str
    table: type[Table]
    keys: Mapping[str, str]
    part: str
    is_anchor: bool

    @property
    def identity(self) -> tuple[str, str, str]:
        """Table, hardware id and part."""
        return self.table.table_name(), self.keys["hardware_id"], self.part

    @classmethod
    def parse(cls, name: str) -> PartPath | None:
        """Read a path; None where no part has it."""
        first, *folders, file_name = PurePosixPath(name).parts
        table, part = TABLES.get(first), PartName.parse(file_name)
        if table is None or part is None or len(folders) != len(table.keys()):
            return None
        pairs = [folder.partition("=") for folder in folders]
        if [key for key, _, _ in pairs] != list(table.keys()):
            return None
        keys = {key: decode_key(value) for key, _, value in pairs}
        return cls(name, table, keys, part.part, folders[0] in ANCHORS)


@dataclass(frozen=True)
class Listing:
    """Files of one lake, listed in this order: the ledger, then all others."""

    sizes: Mapping[str, int]
    parts: tuple[PartPath, ...]

    @classmethod
    def of(cls, sizes: Mapping[str, int]) -> Listing:
        """Read what the paths say; files that are no parts are left alone."""
        found = (PartPath.parse(name) for name in sorted(sizes))
        return cls(sizes, tuple(part for part in found if part))

    def of_device(self, hardware_id: str | None) -> list[PartPath]:
        """Parts with rows, of one device or of all."""
        return [part for part in self.parts if not part.is_anchor and hardware_id in {None, part.keys["hardware_id"]}]

    def anchors(self) -> list[str]:
        """Parts without rows."""
        return [part.name for part in self.parts if part.is_anchor]

    def set_aside(self) -> list[str]:
        """What imports refused, and why; but for the empty file that belongs to a view file."""
        below = [
            name.removeprefix(f"{QUARANTINE_FOLDER}/") for name in self.sizes if name.startswith(QUARANTINE_FOLDER)
        ]
        files = [name for name in below if name.endswith(".jsonl") and "/" not in name and name != "-.jsonl"]
        return [f"{QUARANTINE_FOLDER}/{name}" for name in files]


@dataclass(frozen=True)
class Plan:
    """What is to be moved.

    Attributes:
        sizes: Of all files of the source.
        anchors: Of this version's contracts, which every lake has.
        others: Anchors of other versions, and what imports set aside.
        facts: Fact files, which come before the ledger.
        ledger: Ledger files.
        present: Parts that both places have, or that say nothing new.
        runs: Runs that will be shown and were not before.
        size_bytes: Of facts and ledger.
        recorded: Size and hash of fact files by their paths, from the ledger.
        needed: Fact files that runs to be shown point at.
        needed_parts: The same where the ledger names no files, as older ones do: table, hardware id and part.
    """

    sizes: Mapping[str, int]
    anchors: dict[str, type[Table]]
    others: list[str]
    facts: list[str]
    ledger: list[str]
    present: int
    runs: int
    size_bytes: int
    recorded: Mapping[str, tuple[int, str]]
    needed: frozenset[str]
    needed_parts: frozenset[tuple[str, str, str]]

    def missing_in(self, *listings: Listing) -> list[str]:
        """Fact files that runs to be shown point at, and that are nowhere among these files."""
        names = {name for listing in listings for name in listing.sizes}
        parts = {part.identity for each in listings for part in each.parts}
        lacking = {f"{table} of {device}, part {part}" for table, device, part in self.needed_parts - parts}
        return sorted((self.needed - names) | lacking)


@dataclass(frozen=True)
class Statements:
    """The ledger of one lake: its files, and what they say.

    Attributes:
        files: Path on this machine of each ledger file, by its name.
        rows: Every statement.
    """

    files: Mapping[str, Path]
    rows: pl.DataFrame

    @classmethod
    def read(cls, files: Mapping[str, Path]) -> Statements:
        """Read ledger files, all of one device at once."""
        by_device: dict[str, list[Path]] = {}
        for name, path in files.items():
            by_device.setdefault(_device(name), []).append(path)
        frames = [read_statements(paths, hardware_id) for hardware_id, paths in by_device.items()]
        return cls(files, pl.concat([_nothing(), *frames]))


def read_statements(paths: list[Path], hardware_id: str) -> pl.DataFrame:
    """Read what ledger files of one device say, as far as a sync has to know."""
    return read_parts(Runs, paths, {"hardware_id": hardware_id}).select(_READ)


def compare(
    source: Place,
    destination: Place,
    hardware_id: str | None,
    ledgers: tuple[Statements, Statements],
    listings: tuple[Listing, Listing],
) -> Plan:
    """Decide what is to be moved.

    Of a run that was compacted on either side, only its newest place matters; so a lake that was compacted does not
    get back what it has merged.

    Args:
        source: Where from; its ledger was read before its facts were listed, so that no run comes without its rows.
        destination: Where to.
        hardware_id: Only this device.
        ledgers: Of both.
        listings: Of both.

    Raises:
        UsageError: The source has no such device.
        CorruptLakeError: A file has another size in the other lake, or a ledger file of the source is that of another
            device.
    """
    theirs, mine = listings
    offered = [
        part for part in theirs.of_device(hardware_id) if part.table is not Runs or part.name in ledgers[0].files
    ]
    _refuse_unknown_device(source, hardware_id, theirs)
    said, known = ledgers[0].rows, ledgers[1].rows
    if hardware_id is not None:
        said, known = (rows.filter(pl.col("hardware_id") == hardware_id) for rows in (said, known))
    _refuse_strangers(source, said)
    both = pl.concat([known, said])
    live = {(row[0], row[1]) for row in live_statements(both).select("hardware_id", "part").iter_rows()}
    news = _newest(both).join(known, on=STATEMENT, how="anti").select(STATEMENT)
    named, silent = {place_of(file["path"]) for file in _files(both)}, set(_parts_without_files(both))
    facts = [
        part
        for part in offered
        if part.table is not Runs
        and (part.keys["hardware_id"], part.part) in live
        # a copy in another folder would be shown there too
        and (place_of(part.name) in named or part.identity in silent)
    ]
    ledger = [part for part in offered if part.table is Runs]
    for part in (*facts, *ledger):
        _refuse_other_size(part.name, source, destination, listings)
    new_facts = [part.name for part in facts if part.name not in mine.sizes]
    new_ledger = [
        part.name for part in ledger if part.name not in mine.sizes and _tells(ledgers[0].files[part.name], part, news)
    ]
    shown = current_rows(both).join(current_rows(known), on=["hardware_id", "run_id"], how="anti")
    to_show = current_rows(both).join(news, on=STATEMENT, how="semi")
    anchors = {str(anchor_path(table)): table for table in TABLES.values()}
    return Plan(
        sizes=theirs.sizes,
        anchors={name: table for name, table in anchors.items() if name not in mine.sizes},
        others=[
            name for name in (*theirs.anchors(), *theirs.set_aside()) if name not in mine.sizes and name not in anchors
        ],
        facts=new_facts,
        ledger=new_ledger,
        present=len(facts) + len(ledger) - len(new_facts) - len(new_ledger),
        runs=shown.height,
        size_bytes=sum(theirs.sizes[name] for name in (*new_facts, *new_ledger)),
        recorded={file["path"]: (file["bytes"], file["sha256"]) for file in _files(both)},
        needed=frozenset(file["path"] for file in _files(to_show)),
        needed_parts=frozenset(_parts_without_files(to_show)),
    )


def _newest(statements: pl.DataFrame) -> pl.DataFrame:
    """Each revision of each run at its newest place, also those that withdraw a run."""
    ordered = statements.sort("placement", "part", descending=True)
    return ordered.unique(subset=list(REVISION), keep="first", maintain_order=True)


def _tells(path: Path, part: PartPath, news: pl.DataFrame) -> bool:
    """Whether a ledger file says anything that is new. A compaction moves statements to other files, unchanged."""
    if news.is_empty():
        return False
    says = read_statements([path], part.keys["hardware_id"])
    return not says.join(news, on=STATEMENT, how="semi").is_empty()


def _files(statements: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for files in statements["fact_files"].drop_nulls().to_list():
        yield from files


def _parts_without_files(statements: pl.DataFrame) -> Iterator[tuple[str, str, str]]:
    unnamed = statements.filter(pl.col("fact_files").is_null())
    for run in unnamed.select("hardware_id", "part", "fact_rows").iter_rows(named=True):
        yield from ((each["table"], run["hardware_id"], run["part"]) for each in run["fact_rows"] or () if each["rows"])


def _refuse_unknown_device(source: Place, hardware_id: str | None, listing: Listing) -> None:
    there = sorted({part.keys["hardware_id"] for part in listing.of_device(None) if part.table is Runs})
    if hardware_id is not None and hardware_id not in there:
        raise UsageError(f"no runs of {hardware_id} in {source}; there are {', '.join(there) or 'none'}")


def _refuse_strangers(source: Place, said: pl.DataFrame) -> None:
    """A ledger file in the folder of another device makes its runs that device's, and takes their rows from them."""
    with_files = said.filter(pl.col("fact_files").list.len() > 0)
    for hardware_id, files in with_files["hardware_id", "fact_files"].iter_rows():
        other = device_of(files[0]["path"])
        if other != hardware_id:
            raise CorruptLakeError(
                f"{source}: the ledger of {hardware_id} has runs whose rows lie under {other}; nothing was copied\n"
                "`lake check` there names the ledger file that lies at another place, and what to do"
            )


def _refuse_other_size(name: str, source: Place, destination: Place, listings: tuple[Listing, Listing]) -> None:
    """Parts never change, so a size that differs means a damaged copy."""
    theirs, mine = (listing.sizes.get(name) for listing in listings)
    if mine is not None and mine != theirs:
        raise CorruptLakeError(
            f"{destination}/{name} has {mine} bytes, and {source}/{name} has {theirs}: one of them is damaged\n"
            "`lake check` on both lakes says which"
        )


def _device(name: str) -> str:
    return decode_key(name.split("/")[1].partition("=")[2])


def _nothing() -> pl.DataFrame:
    return Runs.empty_frame().select(_READ)
