"""Partition keys to paths and back, and the ids that name parts. Pure: nothing here touches the disk.

    <root>/<table>/hardware_id=<h>/precision=<p>/model=<m>/batch=<b>/<part>.v<NN>.parquet

Key values are percent-encoded UTF-8, so every path is ASCII and any engine reads the same text back.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from groundlake.errors import UsageError
from groundlake.schemas.base import ANCHOR_KEY, FORMER_ANCHOR_KEY, HIVE_NULL, MAX_ENCODED_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from groundlake.schemas import Table

STAGED_SUFFIX = ".tmp"
"""Ends the name of a file that is being written; DuckDB's and polars' globs take dot-files but not this."""

_FROM_RSYNC = re.compile(r"^\..+\.parquet\.[0-9A-Za-z]{6}$")
"""What rsync calls a file while it arrives; globs do not take it for a part."""


def while_written(final: Path) -> Path:
    """Name a file for the time it is written: nobody who reads the folder takes it for a part.

    DuckDB, polars and Spark are told to take `*.parquet`; pyarrow and pandas take every name without a dot before it.
    """
    return final.with_name(f".{final.name}{STAGED_SUFFIX}")


_PART_FILE = re.compile(r"^(?P<part>[0-9A-Za-z_-]+)\.v(?P<version>[0-9]{2,})\.parquet$")


@dataclass(frozen=True)
class PartName:
    """What a part's file name says: the part id and the contract version it was written with."""

    part: str
    version: int

    @property
    def file_name(self) -> str:
        """Name of the file in its leaf folder."""
        return f"{self.part}.v{self.version:02d}.parquet"

    @classmethod
    def parse(cls, file_name: str) -> PartName | None:
        """Read a file name; None where it is not the name of a part."""
        match = _PART_FILE.match(file_name)
        return cls(match["part"], int(match["version"])) if match else None


def is_unpublished(file_name: str) -> bool:
    """Whether a file has the name of one that is being written, or that a killed writer left behind."""
    return file_name.endswith(STAGED_SUFFIX) or _FROM_RSYNC.match(file_name) is not None


def new_id() -> str:
    """Return a fresh time-ordered UUID (version 7, RFC 9562 section 5.7, with sub-millisecond order in rand_a)."""
    now_ns = time.time_ns()
    milliseconds, rest_ns = divmod(now_ns, 1_000_000)
    sub_millisecond = (rest_ns << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = (milliseconds & ((1 << 48) - 1)) << 80 | 0x7 << 76 | sub_millisecond << 64 | 0b10 << 62 | random
    return str(uuid.UUID(int=value))


def encode_key(value: object) -> str:
    """Encode a partition value for the path.

    Raises:
        UsageError: The value is empty, reserved, all digits (engines would read a number), too long, or no Unicode.
    """
    text = str(value)
    try:
        encoded = quote(text, safe="")
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} has a lone surrogate, which is no text; repair the string") from None
    if not isinstance(value, int):
        _refuse_bad_key(text, encoded)
    return encoded


def decode_key(encoded: str) -> str:
    """Decode a partition value found in a path."""
    return unquote(encoded)


def leaf_folder(table: type[Table], keys: Mapping[str, object]) -> PurePosixPath:
    """Path of the folder, below the root, that holds the rows with these key values."""
    folders = [f"{name}={encode_key(keys[name])}" for name in table.keys()]
    return PurePosixPath(table.table_name(), *folders)


ANCHOR_KEYS = (ANCHOR_KEY, FORMER_ANCHOR_KEY)
"""Where anchors are written, and where they may lie."""


def anchor_folders(table: type[Table]) -> list[PurePosixPath]:
    """Paths of the folders that may hold zero-row anchors of a table; the first is where they are written."""
    return [
        PurePosixPath(table.table_name(), *(f"{name}={0 if name == 'batch' else key}" for name in table.keys()))
        for key in ANCHOR_KEYS
    ]


def anchor_path(table: type[Table]) -> PurePosixPath:
    """Path of the zero-row part that fixes columns and types, and keeps globs from being empty."""
    return anchor_folders(table)[0] / PartName("anchor", table.version()).file_name


def parts_glob(table: type[Table], version: int) -> str:
    """Glob, below the root, of the table's parts of one contract version.

    The newest version's glob is open-ended, so that an old reader does not silently miss newer parts; the first
    version's is `*.v[0-9][0-9]`, a later one's (2 to 9) takes the versions up to 9.
    """
    if version < table.version():
        name = f"*.v{version:02d}.parquet"
    else:
        name = "*.v[0-9][0-9].parquet" if version == 1 else f"*.v0[{version}-9].parquet"
    return str(PurePosixPath(table.table_name(), *("*" for _ in table.keys()), name))


def _refuse_bad_key(text: str, encoded: str) -> None:
    if not text or text in (*ANCHOR_KEYS, HIVE_NULL):
        raise UsageError(f"partition value {text!r} is reserved or empty; give the device or model a name")
    if text.isascii() and text.isdigit():
        raise UsageError(f"partition value {text!r} is all digits, which engines read as a number; add a letter")
    if len(encoded) > MAX_ENCODED_BYTES:
        raise UsageError(
            f"partition value {text[:40]!r}... takes {len(encoded)} bytes in a path, at most {MAX_ENCODED_BYTES}"
        )
