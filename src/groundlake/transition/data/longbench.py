"""Reads data sets in LongBench's format: a JSON object in a line, from a file, a folder, an archive or the hub.

    narrativeqa.jsonl     a file, also .jsonl.gz; any name
    LongBench/            a folder with <task>.jsonl or data/<task>.jsonl, or with the archive data.zip
    data.zip              the archive of the hub

The files of LongBench-E have tasks of their own: `trec_e` is in `trec_e.jsonl`.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import json
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from groundlake.errors import LakeEnvironmentError, MissingDependencyError, UsageError
from groundlake.transition.data.examples import Example, example_of, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HUB_REPOSITORY, HUB_FILE = "THUDM/LongBench", "data.zip"
SUFFIXES = (".jsonl", ".jsonl.gz")
ARCHIVE = ".zip"
EVEN = "_e"
"""End of the names of LongBench-E, whose lengths are spread evenly."""

SHOWN_MISTAKES = 10
LARGEST_BYTES = 4 << 30
"""Unpacked; what is larger is no data set of questions, or an archive made to fill the memory."""


@dataclass(frozen=True, kw_only=True)
class ExampleSet:
    """The examples of one task, in the order of their file.

    Attributes:
        task: Name of the task.
        source: Name of the file, without its folder; of an archive with the name of the member.
        sha256: Hash of the lines, unpacked: equal whatever file or archive they come from.
        examples: All of them, each id once.
        remarks: What was merged or left out.
    """

    task: str
    source: str
    sha256: str
    examples: tuple[Example, ...]
    remarks: tuple[str, ...] = ()


def base_task(task: str) -> str:
    """Name of the task whose metric and prompt are taken: `trec_e` is asked and scored like `trec`."""
    return task.removesuffix(EVEN)


def read_longbench(path: Path, task: str) -> ExampleSet:
    """Read the examples of a task.

    Args:
        path: A file, a folder or an archive.
        task: Name of the task, as its file has it.

    Raises:
        UsageError: There is no such file or task, or lines of it are wrong; the message has the first ten of them.
    """
    source, content = _content(path, task)
    lines = list(_lines(content))
    if not lines:
        raise UsageError(
            f"{source}: the file has no lines\n  wanted one JSON object in a line: input, context, answers"
        )
    rows, mistakes = _rows(lines)
    rows, remarks = _of_task(rows, task, source)
    examples, wrong, merged = _examples(rows, task)
    mistakes = sorted([*mistakes, *wrong])
    if mistakes:
        raise _refusal(source, mistakes, len(lines))
    sha256 = hashlib.sha256(content).hexdigest()
    return ExampleSet(task=task, source=source, sha256=sha256, examples=examples, remarks=(*remarks, *merged))


def hub_archive(*, download: bool = False, repository: str = HUB_REPOSITORY, revision: str | None = None) -> Path:
    """Return LongBench's archive in the local cache of the hub.

    The archive itself is fetched: the hub's loading script for it is no longer run by its own library.

    Args:
        download: Whether it may be downloaded; else only what is there already is taken.
        repository: Name of the data set on the hub.
        revision: Commit, tag or branch; the newest by default.

    Raises:
        MissingDependencyError: huggingface_hub is not installed.
        UsageError: It is not in the cache, and may not be downloaded.
        LakeEnvironmentError: It cannot be downloaded.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            f"LongBench from the hub needs huggingface_hub: {error}\n  pip install 'groundlake[transformers]'"
        ) from error
    where = f"{HUB_FILE} of {repository}"
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                repository, HUB_FILE, repo_type="dataset", revision=revision, local_files_only=not download
            )
        )
    except Exception as error:  # the client raises errors of several libraries
        if not download:
            raise UsageError(
                f"{where} is not in the local cache of the hub\n"
                "  give the path of a file or folder, or ask for the download"
            ) from error
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise LakeEnvironmentError(
            f"{where} cannot be downloaded: {words}\n  download it elsewhere and give the path of the file"
        ) from error


def _content(path: Path, task: str) -> tuple[str, bytes]:
    """Find the lines of a task, and the name of what holds them."""
    try:
        if path.is_dir():
            path = _in_folder(path, task)
        if path.suffix == ARCHIVE:
            return _in_archive(path, task)
        if not path.name.endswith(SUFFIXES):
            raise UsageError(
                f"{path}: a data set is a folder, or a file that ends in {', '.join((*SUFFIXES, ARCHIVE))}"
            )
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return path.name, _limited(file, path)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file or folder") from None
    except (zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"{path}: it cannot be unpacked: {error}; fetch or copy it again") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def _in_folder(folder: Path, task: str) -> Path:
    places = (folder, folder / "data")
    found = [place / f"{task}{suffix}" for place in places for suffix in SUFFIXES]
    found = [file for file in found if file.is_file()]
    if len(found) > 1:
        raise UsageError(
            f"{folder}: task {task} is there {len(found)} times: {_listed(found)}\n  name the file to read"
        )
    if found:
        return found[0]
    if (folder / HUB_FILE).is_file():
        return folder / HUB_FILE
    names = (file.name for place in places if place.is_dir() for file in place.iterdir())
    raise _no_task(folder, task, names)


def _in_archive(path: Path, task: str) -> tuple[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        # Archives made on a Mac have a shadow of each file, under the same name.
        members = [name for name in archive.namelist() if "__MACOSX" not in PurePosixPath(name).parts]
        found = [name for name in members if PurePosixPath(name).name == f"{task}.jsonl"]
        if len(found) > 1:
            raise UsageError(
                f"{path}: task {task} is there {len(found)} times: {_listed(found)}\n  unpack it, name one"
            )
        if not found:
            raise _no_task(path, task, (PurePosixPath(name).name for name in members))
        with archive.open(found[0]) as file:
            return f"{path.name}/{found[0]}", _limited(file, path)


def _limited(file: _Readable, path: Path) -> bytes:
    content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise UsageError(f"{path}: it is larger than {LARGEST_BYTES >> 30} GiB when unpacked; cut it into parts")
    return content


def _no_task(where: Path, task: str, names: Iterable[str]) -> UsageError:
    """Make the error that names the tasks there are, the likeliest first."""
    tasks = sorted({_stem(name) for name in names if name.endswith(SUFFIXES)})
    if not tasks:
        return UsageError(f"{where}: it holds no file <task>.jsonl")
    near = difflib.get_close_matches(task, tasks, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UsageError(f"{where}: there is no {task}.jsonl{hint}\n  it has {_listed(tasks)}")


def _stem(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".jsonl")


def _listed(things: Sequence[object], most: int = 30) -> str:
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(map(str, things[:most])) + more


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line that is not empty; a mark of the byte order is no part of the first."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, line.rstrip(b"\r")


class _Readable(Protocol):
    """A file, or a member of an archive."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class _Row:
    """What a line holds: its number, its hash, the value of its JSON."""

    number: int
    sha256: str
    value: Any


def _rows(lines: Iterable[tuple[int, bytes]]) -> tuple[list[_Row], list[tuple[int, str]]]:
    """Read each line's JSON; a line that has none is a mistake."""
    rows, mistakes = [], []
    for number, line in lines:
        try:
            rows.append(_Row(number, hashlib.sha256(line).hexdigest(), json.loads(line.decode())))
        except UnicodeDecodeError as error:
            mistakes.append((number, f"byte {error.start} is no UTF-8; save the file as UTF-8"))
        except json.JSONDecodeError as error:
            start = line[:40].decode(errors="replace")
            mistakes.append((number, f"no JSON: {error.msg} at character {error.colno}; got {short(start)}"))
        except (ValueError, RecursionError) as error:  # numbers with thousands of digits; thousands of brackets
            mistakes.append((number, f"no JSON: {str(error).splitlines()[0]}"))
    return rows, mistakes


def _of_task(rows: list[_Row], task: str, source: str) -> tuple[list[_Row], list[str]]:
    """Leave out the lines that say that they are of another task: their metric is another one."""
    told = {row.number: row.value.get("dataset") for row in rows if isinstance(row.value, dict)}
    other = {
        number: name
        for number, name in told.items()
        if isinstance(name, str) and name.strip() and base_task(name) != base_task(task)
    }
    if not other:
        return rows, []
    names = _listed([f"{name} ({count})" for name, count in sorted(Counter(other.values()).items())])
    if len(other) == len(rows):
        raise UsageError(f"{source}: no line is of task {task}; by their field dataset they are of {names}")
    kept = [row for row in rows if row.number not in other]
    return kept, [f"lines of other tasks, left out: {len(other)}, of {names}"]


def _examples(rows: Iterable[_Row], task: str) -> tuple[tuple[Example, ...], list[tuple[int, str]], tuple[str, ...]]:
    """Make the examples; a line that repeats another is taken once, one that contradicts another is a mistake."""
    first: dict[str, tuple[int, Example]] = {}
    mistakes: list[tuple[int, str]] = []
    repeated: list[str] = []
    for row in rows:
        made = example_of(row.value, task=task, source_sha256=row.sha256)
        if not isinstance(made, Example):
            mistakes += [(row.number, text) for text in made]
            continue
        number, known = first.setdefault(made.example_id, (row.number, made))
        if known is made:
            continue
        if known.content_sha256 == made.content_sha256:
            repeated.append(f"line {row.number} is line {number}")
        else:
            differ = ", ".join(_differing(known, made))
            mistakes.append(
                (row.number, f"id {short(made.example_id)} is that of line {number} too, with other {differ}")
            )
    remark = f"lines that repeat another one, taken once: {len(repeated)} ({_listed(repeated, 3)})"
    return tuple(each for _, each in first.values()), mistakes, (remark,) if repeated else ()


def _differing(one: Example, other: Example) -> Iterator[str]:
    names = (field.name for field in fields(Example) if field.name != "source_sha256")
    return (name for name in names if getattr(one, name) != getattr(other, name))


def _refusal(source: str, mistakes: Sequence[tuple[int, str]], lines: int) -> UsageError:
    wrong = len({number for number, _ in mistakes})
    shown = [f"  line {number}: {text}" for number, text in mistakes[:SHOWN_MISTAKES]]
    more = [f"  and {len(mistakes) - SHOWN_MISTAKES} more"] if len(mistakes) > SHOWN_MISTAKES else []
    return UsageError("\n".join([f"{source}: {wrong} of {lines} lines are wrong; nothing was taken", *shown, *more]))
