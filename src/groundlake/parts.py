"""How a part is written: under a temporary name, encoded by what its columns hold, synced, and known by its hash."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from groundlake.places import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

ROWS_WORTH_ENCODING = 1_000
"""Smaller parts, as most runs have, are written without dictionaries and statistics, and with snappy: half the time of
zstd. From here on zstd is worth it: a third of the bytes for a power series of a minute."""

ROW_GROUP_ROWS = 122_880
"""Rows that a reader skips or reads together, as many as DuckDB itself takes: a hundredth of millions of readings is
found in a quarter of the time that Arrow's groups of a million take, in no more bytes."""

BYTES_IN_GROUP = 4 * 2**20
"""Bytes of a group of rows with pictures: a reader that wants some of them in their order has no others in memory."""

ROWS_TRIED = 65_536
"""Rows on which the two encodings of a column of doubles are tried."""

MOST_WAITING = 64 * 2**20
"""Bytes that wait to become a row group, at most."""

READ_AT_ONCE = 2**20


@dataclass(frozen=True)
class StagedFile:
    """What the ledger says of a file, so that a later look finds one that was changed.

    Attributes:
        path: Its path below the lake's folder, with `/`.
        size_bytes: Its size.
        sha256: Hash of its content.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Staged:
    """A complete, synced file under its temporary name, and the name it will be published under."""

    temporary: Path
    final: Path

    def is_published(self) -> bool:
        """Whether the final name is there and means this file, not one that had the name before."""
        if not self.final.exists():
            return False
        if is_remote(self.final):
            return True
        return not self.temporary.exists() or self.temporary.samefile(self.final)


def stage_part(temporary: Path, rows: pa.Table) -> None:
    """Write one part under its temporary name and sync it.

    Args:
        temporary: The name, which is not there yet.
        rows: What the file will hold; the metadata of its schema names the contract.
    """
    import pyarrow.parquet as pq

    options = _encodings(rows)
    with temporary.open("xb") as file:
        try:
            # Arrow's own copy of the schema would be a fifth of a small file; the footer's says the same.
            with pq.ParquetWriter(file, rows.schema, store_schema=False, **options) as writer:
                writer.write_table(rows, row_group_size=_rows_in_group(rows))
                writer.add_key_value_metadata(rows.schema.metadata)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            # A full disk must not stay full of what could not be finished.
            temporary.unlink(missing_ok=True)
            raise


def stage_stream(temporary: Path, tables: Iterable[pa.Table]) -> bool:
    """Write one part from tables that come one after the other; False, and no file, where they have no rows.

    Rows are gathered into row groups of the usual size. The first group decides how the part is encoded.
    """
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    with ExitStack() as undo:
        for rows in _in_groups(tables):
            if writer is None:
                undo.callback(temporary.unlink, missing_ok=True)  # a full disk must not stay full
                file = undo.enter_context(temporary.open("xb"))
                writer = pq.ParquetWriter(file, rows.schema, store_schema=False, **_encodings(rows))
                undo.callback(writer.close)
                metadata = rows.schema.metadata
            writer.write_table(rows, row_group_size=_rows_in_group(rows))
        if writer is None:
            return False
        writer.add_key_value_metadata(metadata)
        writer.close()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        undo.pop_all()
    return True


def _in_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join tables until they fill a row group, or so many bytes of pictures as one."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for rows in tables:
        if rows.num_rows:
            waiting.append(rows)
        if (
            sum(each.num_rows for each in waiting) >= ROW_GROUP_ROWS
            or sum(each.nbytes for each in waiting) > MOST_WAITING
        ):
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def known_of(path: Path, name: str) -> StagedFile:
    """Read a file and return what the ledger says of it.

    Args:
        path: The file.
        name: Its path below the lake's folder.
    """
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(READ_AT_ONCE):
            digest.update(block)
            size += len(block)
    return StagedFile(name, size, digest.hexdigest())


def _rows_in_group(rows: pa.Table) -> int:
    """Return how many rows a reader skips or reads together: fewer where each holds a picture."""
    if not _pictures(rows):
        return ROW_GROUP_ROWS
    return int(max(1, min(ROW_GROUP_ROWS, BYTES_IN_GROUP * rows.num_rows // max(1, rows.nbytes))))


def _pictures(rows: pa.Table) -> list[str]:
    """Columns of bytes, which no reader looks for a value in, and of which hardly two are equal."""
    from pyarrow import types

    return [field.name for field in rows.schema if types.is_binary(field.type) or types.is_large_binary(field.type)]


def _encodings(rows: pa.Table) -> dict[str, object]:
    """Choose how a part is written: quickly where it is small, tightly where it is large."""
    pictures = _pictures(rows)
    others = [path for field in rows.schema if field.name not in pictures for path in _leaves(field)]
    known = others if pictures else True  # of pictures, the least and the greatest would be written into every group
    if rows.num_rows < ROWS_WORTH_ENCODING:
        return {"compression": "snappy", "use_dictionary": False, "write_statistics": known if pictures else False}
    split = _better_split(rows)
    return {
        "compression": "zstd",
        "use_dictionary": [path for path in others if path not in split],
        "use_byte_stream_split": split,
        "write_statistics": known,
    }


def _better_split(rows: pa.Table) -> list[str]:
    """Columns of doubles that take fewer bytes as BYTE_STREAM_SPLIT than with a dictionary, tried on some of the rows.

    Clock readings do, by half: their high bytes hardly change. Quantized values (a sensor's milliwatts) repeat, and are
    several times smaller with a dictionary.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def tried(name: str, **options: object) -> int:
        sink = pa.BufferOutputStream()
        pq.write_table(some.select([name]), sink, compression="zstd", store_schema=False, **options)
        return int(sink.getvalue().size)

    some = rows.slice(max(0, (rows.num_rows - ROWS_TRIED) // 2), ROWS_TRIED)
    return [
        field.name
        for field in rows.schema
        if pa.types.is_float64(field.type) and some[field.name].null_count < some.num_rows
        if tried(field.name, use_dictionary=False, use_byte_stream_split=True) < tried(field.name)
    ]


def _leaves(field: pa.Field, above: str = "") -> Iterator[str]:
    """Parquet's paths of the values in a column: `node_names.list.element` of a list, one for each part of a struct."""
    path = above + field.name
    if field.type.num_fields == 0:
        yield path
    for number in range(field.type.num_fields):
        inner = field.type.field(number)
        if hasattr(field.type, "value_field"):
            yield from _leaves(inner.with_name("element"), f"{path}.list.")
        else:
            yield from _leaves(inner, f"{path}.")
