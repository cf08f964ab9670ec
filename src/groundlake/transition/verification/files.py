"""Checks the files of a group: the manifest, which equals the tables, the report, its plots, and nothing besides."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import PurePosixPath
from reprlib import repr as short
from typing import TYPE_CHECKING, Final

from groundlake.errors import UsageError
from groundlake.transition.data.manifest import FILE_NAME, read_manifest
from groundlake.transition.data.prepared import manifest_of
from groundlake.transition.report.document import document, title
from groundlake.transition.report.page import page
from groundlake.transition.verification.check import Check, judged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from groundlake.transition.data.manifest import Manifest
    from groundlake.transition.data.prepared import Prepared
    from groundlake.transition.report.facts import Content

REPORT, PAGE = "report.md", "report.html"
PLOTS: Final = ("plots/acc_by_bin.png", "plots/fail_by_bin.png", "plots/latency_p50_by_bin.png")
TREE: Final = (FILE_NAME, REPORT, PAGE, *PLOTS)
"""Everything that the folder of a group holds in the end."""

JOURNAL = ".journal-"
PARTIAL = "PARTIAL RUN"
PNG_HEAD, PNG_END = b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x00IEND\xaeB`\x82"
BEFORE, SHOWN_LETTERS = 20, 60
"""Letters of a line that a message shows before the first other one, and in all."""
_INSIDE = "data:image/png;base64,"
_PIXELS = re.compile(rf"({_INSIDE})[A-Za-z0-9+/=]+")
_PICTURE = re.compile(r"!\[[^\]]*\]\(<?([^)>\s]+)>?[^)]*\)")

PREPARE, REPORT_AGAIN = "lake kv prepare", "lake kv report"


def manifest_checks(folder: Path, prepared: Prepared) -> Iterator[Check]:
    """Check that the manifest is there, whole, and says what the tables say."""
    mend = f"{PREPARE} writes it"
    try:
        manifest = read_manifest(folder / FILE_NAME)
    except UsageError as error:
        text = str(error).replace("\n ", ";")
        yield Check(name="prepare.manifest", passed=False, detail=text)
        yield Check(name="prepare.tables", passed=False, detail=f"there is no manifest to compare them with; {mend}")
        return
    yield Check(
        name="prepare.manifest",
        passed=True,
        detail=f"{FILE_NAME} has {len(manifest.entries)} examples, and the hash that it names",
    )
    yield judged(
        "prepare.tables",
        list(_differences(manifest, prepared)),
        fine=f"{FILE_NAME} equals the tables: {len(manifest.entries)} examples in {len(manifest.bins)} bins",
        mend=mend,
    )


def _differences(manifest: Manifest, prepared: Prepared) -> Iterator[str]:
    """Everything that the manifest says otherwise than the tables, part by part."""
    tables = manifest_of(prepared)
    if tables.manifest_sha256 == manifest.manifest_sha256 == prepared.manifest_sha256:
        return
    for part in type(manifest).model_fields:
        theirs, ours = getattr(manifest, part), getattr(tables, part)
        if theirs == ours:
            continue
        if part in ("entries", "examples", "bins"):
            yield f"{part}: {_first_difference(theirs, ours)}"
        else:
            yield f"{part}: the manifest has {short(theirs)}, the tables {short(ours)}"
    if tables.manifest_sha256 != prepared.manifest_sha256:
        yield f"kv_datasets names the hash {prepared.manifest_sha256}, its rows have {tables.manifest_sha256}"


def _first_difference(theirs: tuple[object, ...], ours: tuple[object, ...]) -> str:
    if len(theirs) != len(ours):
        return f"the manifest has {len(theirs)}, the tables {len(ours)}"
    place = next(number for number, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
    return f"number {place} is another one in the manifest than in the tables"


def report_checks(
    folder: Path, *, analysis: str | None, content: Callable[[], Content] | None = None
) -> Iterator[Check]:
    """Check the report, its plots, and that the folder holds nothing else.

    Args:
        folder: Folder of the group.
        analysis: Run of the group's last analysis, which the report names; None without one.
        content: Reads what the report has to say; None where the analysis is not of what is there now.
    """
    text = _text(folder / REPORT)
    yield judged(
        "report.files",
        list(_report_problems(folder, text, analysis, content)),
        fine=f"{REPORT} and {PAGE} are there, of the last analysis{', and say what the lake says' if content else ''}",
        mend=f"{REPORT_AGAIN} writes them",
    )
    yield judged(
        "report.plots",
        list(_plot_problems(folder, text)),
        fine=f"{REPORT} shows {len(PLOTS)} plots, and each is a PNG",
        mend=f"{REPORT_AGAIN} draws them, where groundlake[plot] is installed",
    )
    files = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if not each.is_dir()}
    problems = [f"{each} is missing" for each in TREE if each not in files]
    problems += [_stranger(each) for each in sorted(files - set(TREE))]
    yield judged(
        "report.tree",
        problems,
        fine=f"{folder} holds exactly {', '.join(TREE)}",
        mend=f"expected exactly {', '.join(TREE)} in {folder}",
    )


def _report_problems(
    folder: Path, text: str | None, analysis: str | None, read: Callable[[], Content] | None
) -> Iterator[str]:
    problems = list(_formal_problems(folder, text, analysis))
    yield from problems
    if problems or read is None or text is None:
        return
    content = read()
    yield from _other_line(REPORT, text, document(content, has_pictures=bool(_PICTURE.search(text))))
    shown = _PIXELS.sub(r"\1", _text(folder / PAGE) or "")
    has_pictures = _INSIDE in shown
    no_pixels = dict.fromkeys(PLOTS if has_pictures else (), b"")
    made = page(title(content), document(content, has_pictures=has_pictures), no_pixels, no_pixels)
    yield from _other_line(PAGE, shown, made)


def _other_line(name: str, found: str, expected: str) -> Iterator[str]:
    """Name the first line that is not as the lake has it, from a little before the first letter that differs."""
    if found == expected:
        return
    pairs = enumerate(zip_longest(found.splitlines(), expected.splitlines(), fillvalue=""), start=1)
    number, pair = next(((number, pair) for number, pair in pairs if pair[0] != pair[1]), (0, ("", "")))
    alike = next((place for place, (one, other) in enumerate(zip(*pair, strict=False)) if one != other), 0)
    begin = max(0, alike - BEFORE)
    here, there = (each[begin : begin + SHOWN_LETTERS] for each in pair)
    yield f"{name} is not what the lake says: line {number} has {here!r}, expected {there!r}"


def _formal_problems(folder: Path, text: str | None, analysis: str | None) -> Iterator[str]:
    if text is None:
        yield f"{folder / REPORT} is missing"
    elif analysis is not None and analysis not in text:
        yield f"{REPORT} does not name the last analysis ({analysis}): it is of an earlier one"
    elif PARTIAL in text:
        yield f"{REPORT} says {PARTIAL}: it was made before everything was there"
    shown = _text(folder / PAGE)
    if shown is None:
        yield f"{folder / PAGE} is missing"
    elif analysis is not None and analysis not in shown:
        yield f"{PAGE} does not name the last analysis ({analysis}): it is of an earlier one"


def _plot_problems(folder: Path, text: str | None) -> Iterator[str]:
    if text is None:
        yield f"there is no {REPORT} that shows any"
        return
    shown = list(dict.fromkeys(_PICTURE.findall(text)))
    yield from (f"{REPORT} does not show {each}" for each in PLOTS if each not in shown)
    for each in shown:
        path = PurePosixPath(each)
        if path.is_absolute() or ".." in path.parts or "://" in each:
            yield f"{REPORT} shows {each}, which is not in its folder"
            continue
        file = folder / path
        content = file.read_bytes() if file.is_file() else None
        if content is None:
            yield f"{REPORT} shows {each}, which is not there"
        elif not (content.startswith(PNG_HEAD) and content.endswith(PNG_END)):
            yield f"{each} is no whole PNG: {len(content)} bytes"


def _stranger(name: str) -> str:
    if name.startswith(JOURNAL):
        return f"{name} is of a run that was interrupted, and lake kv run brings it into the lake"
    return f"{name} is of none of the stages, and may go"


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
