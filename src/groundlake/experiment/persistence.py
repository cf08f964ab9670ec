"""Results on disk: a folder for each, published as a whole, named for what it holds."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import os
import re
import shutil
import socket
import uuid
import warnings
from contextlib import suppress
from itertools import count
from math import isfinite
from typing import TYPE_CHECKING

from pydantic_core import to_json

from groundlake.commit import environment_error
from groundlake.errors import UsageError
from groundlake.experiment import sidecar
from groundlake.experiment.result import SCHEMA_VERSION, ExperimentResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "result.json"
LONGEST_NAME = 80
"""Characters of a model's name in a folder's: with backend, time and number it is below all file systems' limits."""

PARTIAL = ".partial"
"""Begins the name of a folder that is being written; no reader looks into one."""

TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})
"""What renaming a folder onto a name that something has already gives."""


def save(result: ExperimentResult, output_dir: Path) -> Path:
    """Write a result into a folder of its own; see `ExperimentResult.save`.

    Raises:
        UsageError: It holds a value that no JSON file can hold; the message names the field.
    """
    readings = result._readings  # noqa: SLF001 - the part of the result that has a file of its own
    content = None if readings is None else sidecar.encoded(readings)
    # Readings that are not there any more (their sidecar was missing) are not named again.
    gone = {"timeseries_file": None, "timeseries_sha256": None} if content is None else {}
    written = result.model_copy(update={"schema_version": SCHEMA_VERSION} | gone)
    files = {FILE: _encoded(written)}
    files |= {} if content is None else {sidecar.FILE: content}
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        _sweep(output_dir)
        return _publish(output_dir, folder_name(result), files) / FILE
    except OSError as error:
        raise environment_error(error, output_dir) from error


def _encoded(result: ExperimentResult) -> bytes:
    """A result as JSON that every reader can read.

    Settings are free, and a copy with other values is not checked: so what is written is looked at here.
    """
    try:
        for path, value in _leaves(result.model_dump(warnings=False), ""):
            why = _unwritable(value)
            if why is not None:
                raise UsageError(f"the result cannot be saved: {path} is {why}\ngive it a value that JSON has")
        text = result.model_dump_json(by_alias=True, indent=2, warnings=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"the result cannot be saved as JSON: {error}") from error
    return f"{text}\n".encode()


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Every value with its path; names of settings are values too."""
    if isinstance(value, dict):
        for name, each in value.items():
            inside = f"{path}.{name}".lstrip(".") if _unwritable(name) is None else f"{path}.{name!r}"
            yield inside, name
            yield from _leaves(each, inside)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{path}[{number}]")
    else:
        yield path, value


def _unwritable(value: object) -> str | None:
    """What a value is that JSON or its readers do not have; None where they do."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"a text with half a character: {value!r}"
        return None
    if isinstance(value, float):
        return None if isfinite(value) else f"no finite number: {value!r}"
    if value is None or isinstance(value, int):
        return None
    try:
        to_json(value)
    except ValueError:
        return f"of type {type(value).__name__}"
    return None


def _publish(output_dir: Path, name: str, files: dict[str, bytes]) -> Path:
    """Write the files into a hidden folder, and rename that: nobody sees a part of a result."""
    partial = output_dir / f"{PARTIAL}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        partial.mkdir()
        for file, content in files.items():
            with (partial / file).open("xb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
        _sync(partial)
        for number in count():
            final = output_dir / (name if number == 0 else f"{name}_{number}")
            try:
                # A folder with something in it is never renamed over: of two writers, one takes the next name.
                partial.rename(final)
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
            else:
                _sync(output_dir)
                return final
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    raise AssertionError("count() does not end")


def folder_name(result: ExperimentResult) -> str:
    """Name of a result's folder: model, backend, and when the measurement began.

    The time is as the result has it, to the minute: `meta-llama-llama-3.1-8b_pytorch_2026-02-26T14-03`.
    """
    started = result.start_time or dt.datetime.now().astimezone()
    return f"{_slug(_model(result))}_{_slug(result.backend)}_{started:%Y-%m-%dT%H-%M}"


def _model(result: ExperimentResult) -> str:
    if result.model_info is not None:
        return result.model_info.name
    if result.process_results:
        return result.process_results[0].model_name
    told = result.effective_config.get("model") or result.effective_config.get("model_name")
    return told if isinstance(told, str) else result.experiment_id


def _slug(text: str) -> str:
    """Lower case, with a dash for what is no letter, digit or dot; a long name keeps its begin and a hash."""
    slug = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"
    if len(slug) <= LONGEST_NAME:
        return slug
    return f"{slug[: LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _sweep(output_dir: Path) -> None:
    """Remove what writers on this machine left that were killed."""
    own = f"{PARTIAL}-{socket.gethostname()}-"
    for path in output_dir.glob(f"{PARTIAL}-*"):
        pid = path.name.removeprefix(own).split("-")[0]
        if path.name.startswith(own) and pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def load(path: Path) -> ExperimentResult:
    """Read a result and the sidecar beside it; see `ExperimentResult.from_json`."""
    from groundlake.experiment.reading import read_result

    file = path / FILE if path.is_dir() else path
    result = read_result(file)
    name = result.timeseries_file
    if name is None:
        return result
    if "/" in name or "\\" in name or name in {".", ".."}:
        raise UsageError(f"{file}: timeseries names a file beside the result, got {name!r}")
    beside = file.parent / name
    if not beside.is_file():
        warnings.warn(
            f"Timeseries sidecar missing: {beside}; the result has no power readings", UserWarning, stacklevel=3
        )
        return result
    readings, found = sidecar.decoded(beside)
    if result.timeseries_sha256 not in {None, found}:
        warnings.warn(f"Timeseries sidecar changed since it was saved: {beside}", UserWarning, stacklevel=3)
    return result.with_timeseries(None if readings is None else readings.frame)
