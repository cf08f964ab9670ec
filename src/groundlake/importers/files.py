"""Find the files below the roots of an import, and read them safely."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from groundlake.errors import UsageError
from groundlake.ground_truth.files import read_limited
from groundlake.ground_truth.layouts import KNOWN_BY_NAME, place_of, plain_name
from groundlake.ground_truth.reading import Problem
from groundlake.ground_truth.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True)
class Found:
    """One file below a root; `uri` is the root's name and the path below it, the same on any machine.

    Where two roots have the same name, the folders above them that tell them apart are part of it.
    """

    path: Path
    uri: str


@dataclass
class Walk:
    """JSON files that may be measurements, files known by name, folders that cannot be listed, and the rest.

    `lines` are files of JSON lines; they are counted among the skipped ones too, as `other`.
    """

    json: list[Found] = field(default_factory=list)
    lines: list[Found] = field(default_factory=list)
    manifests: list[Found] = field(default_factory=list)
    metadata: list[Found] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[Found, Problem]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of files that were found."""
        return len(self.json) + sum(self.skipped.values()) - self.skipped["linked_folder"]

    def keep_only(self, hardware_id: str) -> set[str]:
        """Leave out the files that lie in no folder of this device; returns the other devices by their folders."""
        others = [file for file in self.json if not _lies_in(file.path, hardware_id)]
        self.skipped["other_device"] += len(others)
        self.json = [file for file in self.json if _lies_in(file.path, hardware_id)]
        self.manifests = [file for file in self.manifests if _lies_in(file.path, hardware_id)]
        self.metadata = [file for file in self.metadata if _lies_in(file.path, hardware_id)]
        return {place.hardware_id for place in (place_of(file.path) for file in others) if place}


def walk(roots: Iterable[Path]) -> Walk:
    """List the files below the roots; a root given twice, or below another, doubles nothing.

    Links are followed where they lead to a file below the root they lie in, and are listed otherwise.

    Raises:
        UsageError: A root does not exist or is no folder.
    """
    found = Walk()
    for root, name in _named(_outermost(roots)).items():
        inside = Path(os.path.realpath(root))
        for path, problem in _files(root, found):
            file = Found(path, printable(f"{name}/{path.relative_to(root).as_posix()}"))
            if problem is not None:
                found.unreadable.append((file, problem))
            elif _is_link(path) and not Path(os.path.realpath(path)).is_relative_to(inside):
                found.skipped["link_outside_root"] += 1
            else:
                _sort_in(found, file)
    return found


def _outermost(roots: Iterable[Path]) -> list[Path]:
    by_place: dict[Path, Path] = {}
    for root in roots:
        path = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would lose the name that a link gives to a device
        if not path.is_dir():
            raise UsageError(f"nothing to import at {root}: it is not a folder")
        by_place.setdefault(Path(os.path.realpath(path)), path)
    return [path for place, path in by_place.items() if not any(other in by_place for other in place.parents)]


def _named(roots: Sequence[Path]) -> dict[Path, str]:
    """Name each root by its folder, and by as many folders above it as tell it from the others."""
    depth = 1
    while len({root.parts[-depth:] for root in roots}) < len(roots):
        depth += 1
    clear = {root: "/".join(part for part in root.parts[-depth:] if part != "/") for root in roots}
    count = Counter(root.name for root in roots)
    return {root: root.name if count[root.name] == 1 else name for root, name in clear.items()}


def _files(root: Path, found: Walk) -> Iterator[tuple[Path, Problem | None]]:
    """Every file, and every folder that cannot be listed with its problem."""
    failed: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=failed.append):
        found.skipped["linked_folder"] += sum(_is_link(Path(folder, name)) for name in folders)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            yield Path(folder, name), None
    for error in failed:
        yield Path(error.filename), Problem("unreadable", "", f"the folder cannot be listed: {error.strerror}")


def _lies_in(path: Path, hardware_id: str) -> bool:
    return hardware_id in map(plain_name, path.parent.parts)


def _is_link(path: Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114 - is_symlink() raises where a path is too long for the system


def _sort_in(found: Walk, file: Found) -> None:
    name = file.path.name
    if name in KNOWN_BY_NAME:
        found.skipped[KNOWN_BY_NAME[name]] += 1
        listed = {"manifest.json": found.manifests, "calibration_metadata.json": found.metadata}.get(name)
        if listed is not None:
            listed.append(file)
    elif file.path.suffix.lower() == ".json":
        found.json.append(file)
    else:
        found.skipped["report" if file.path.suffix.lower() == ".md" else "other"] += 1
        if file.path.suffix.lower() == ".jsonl":
            found.lines.append(file)


def read_bytes(path: Path) -> tuple[bytes, str | None, Problem | None]:
    """Read a file of at most 64 MiB: its bytes and their SHA-256, or nothing and the problem."""
    raw, problem = read_limited(path)
    return raw, None if problem else hashlib.sha256(raw).hexdigest(), problem
