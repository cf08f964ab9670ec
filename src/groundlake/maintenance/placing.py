"""Where each file of a lake belongs. The ledger says it: place, size and hash of every file that holds rows of a run.

A view believes the folders that a part lies in, so a part in another model's folder is shown under that model.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import polars as pl

from groundlake.errors import CorruptLakeError
from groundlake.layout import PartName, decode_key
from groundlake.ledger import leaf_files, read_parts
from groundlake.parts import known_of
from groundlake.schemas import Runs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


class Standing(NamedTuple):
    """How a file stands to what the ledger says.

    Attributes:
        kind: `there`: at its place, as far as the ledger says. `misplaced`: it is a file that the ledger knows at
            another place, where it does not lie. `copy`: that one lies there too. `unnamed`: the ledger names files of
            its part, and none here. `unknown`: no run points at its part.
        home: Path below the lake's folder at which it belongs, or at which its original lies.
    """

    kind: Literal["there", "misplaced", "copy", "unnamed", "unknown"]
    home: str = ""


def place_of(name: str) -> str:
    """Return the folder and part id in the path of a part, without its contract version."""
    return name.rpartition(".v")[0]


def device_of(name: str) -> str:
    """Return the hardware id in the path of a part below the lake's folder."""
    return decode_key(name.split("/")[1].partition("=")[2])


class Places:
    """The places that the ledger names, held against the files that lie in a lake.

    Args:
        root: The lake.
        statements: Every statement of its ledger; those of older versions name no files.
    """

    def __init__(self, root: Path, statements: pl.DataFrame) -> None:
        self._root = root
        self._files: dict[str, tuple[int, str]] = {}
        self._runs: dict[str, set[str]] = defaultdict(set)
        self._parts: set[str] = set()
        self._silent: set[tuple[str, str]] = set()
        self._given: set[str] = set()
        self._holding: dict[str, bool] = {}
        columns = statements.select("hardware_id", "run_id", "part", "fact_rows", "fact_files")
        for hardware_id, run_id, part, fact_rows, fact_files in columns.iter_rows():
            self._parts.add(part)
            if fact_files is None and fact_rows:
                self._silent.add((hardware_id, part))
            for file in fact_files or ():
                self._files[file["path"]] = file["bytes"], file["sha256"]
                self._runs[place_of(file["path"])].add(run_id)

    @cached_property
    def _by_size(self) -> dict[int, list[str]]:
        """Files by their size: only what has the size of one is hashed."""
        found: dict[int, list[str]] = defaultdict(list)
        for name, (size_bytes, _) in self._files.items():
            found[size_bytes].append(name)
        return found

    def judge(self, path: Path, run_ids: Collection[str] = ()) -> Standing:
        """Say how a fact file stands to the ledger. It is hashed only where its place, size or runs are not as said.

        Args:
            path: A file with the name and the place of a part.
            run_ids: The runs that it has rows of.
        """
        name = path.relative_to(self._root).as_posix()
        runs = self._runs.get(place_of(name))
        recorded = self._files.get(name)
        if runs is not None and (recorded is None or (recorded[0] == path.stat().st_size and runs.issuperset(run_ids))):
            return Standing("there")
        known = self.recognise(path)
        if known is not None:
            return known
        part = PartName.parse(path.name)
        if part is None or runs is not None or (device_of(name), part.part) in self._silent:
            return Standing("there")  # what was changed in place is found by a deep check
        return Standing("unnamed" if part.part in self._parts else "unknown")

    def recognise(self, path: Path) -> Standing | None:
        """Find a file by its bytes among those that the ledger knows; None where it knows no such bytes."""
        name = path.relative_to(self._root).as_posix()
        size_bytes = path.stat().st_size
        if size_bytes not in self._by_size:
            return None
        content = size_bytes, known_of(path, name).sha256
        same = [home for home in self._by_size[size_bytes] if self._files[home] == content]
        if not same or name in same:
            return Standing("there") if same else None
        free = [home for home in same if home not in self._given and not self._holds(home)]
        if not free:
            return Standing("copy", same[0])
        home = min(free, key=lambda home: (not home.endswith(f"/{path.name}"), home))
        self._given.add(home)
        return Standing("misplaced", home)

    def lost(self, names: Collection[str]) -> list[str]:
        """Return those of these files that neither lie at their place nor were found at another one."""
        return sorted(name for name in names if name not in self._given and not (self._root / name).is_file())

    def _holds(self, name: str) -> bool:
        """Whether the file that the ledger names lies at its place, rather than none or another one."""
        if name not in self._holding:
            path, recorded = self._root / name, self._files[name]
            self._holding[name] = (
                path.is_file() and path.stat().st_size == recorded[0] and known_of(path, name).sha256 == recorded[1]
            )
        return self._holding[name]


@dataclass(frozen=True)
class LedgerFile:
    """What a ledger file says, and where it belongs.

    Attributes:
        path: The file.
        statements: Its rows, under the hardware ids in whose folders the facts of their runs lie.
        strangers: How many of them lie under another hardware id than their facts.
        home: Where it belongs; None where it is right here, or where it belongs to several devices.
    """

    path: Path
    statements: pl.DataFrame
    strangers: int
    home: Path | None

    @classmethod
    def of(cls, root: Path, path: Path, statements: pl.DataFrame) -> LedgerFile:
        """Compare the folder of a ledger file with those of the facts that its runs have."""
        said = [device_of(files[0]["path"]) if files else None for files in statements["fact_files"].to_list()]
        here = device_of(path.relative_to(root).as_posix())
        strangers = sum(device not in (None, here) for device in said)
        if not strangers:
            return cls(path, statements, 0, None)
        devices = {device for device in said if device is not None}
        alone = devices.pop() if len(devices) == 1 else None
        owners = pl.Series("hardware_id", [device or alone or here for device in said], dtype=pl.String)
        folder = next(files[0]["path"].split("/")[1] for files in statements["fact_files"].to_list() if files)
        home = root / Runs.table_name() / folder / path.name if alone else None
        return cls(path, statements.with_columns(owners), strangers, home)


def read_ledger(root: Path) -> Iterator[LedgerFile]:
    """Read every ledger file that can be read; those that are torn are findings of their own."""
    for keys, path in leaf_files(root, Runs, {}):
        try:
            statements = read_parts(Runs, [path], keys)
        except CorruptLakeError:
            continue
        yield LedgerFile.of(root, path, statements)
