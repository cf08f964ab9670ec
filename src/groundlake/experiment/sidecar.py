"""The sidecar of a result: every reading of power and temperature, of all GPUs, at the time it was made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from groundlake.errors import CorruptLakeError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "timeseries.parquet"

SCHEMA = pl.Schema(
    {
        "timestamp_s": pl.Float64,  # from the start of the measurement
        "gpu_power_w": pl.Float64,
        "gpu_temperature_c": pl.Float64,
        "gpu_index": pl.Int64,
    }
)

OTHER_NAMES = {"power_w": "gpu_power_w", "temperature_c": "gpu_temperature_c"}
"""Names under which other tools write the same columns; what else they write is left out."""


@dataclass(frozen=True, eq=False)
class Readings:
    """A table of readings that equals another with the same rows."""

    frame: pl.DataFrame

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Readings) and self.frame.equals(other.frame)

    def __hash__(self) -> int:
        return hash((self.frame.height, *self.frame.columns))

    @classmethod
    def of(cls, frame: pl.DataFrame | None) -> Readings | None:
        """Check readings; None where there are none, for an empty table says nothing.

        Args:
            frame: Columns timestamp_s, gpu_power_w, gpu_temperature_c, gpu_index.

        Raises:
            UsageError: A column is missing or unknown, a figure is no number, or the clock of a GPU goes backwards.
        """
        if frame is None or frame.is_empty():
            return None
        unknown, missing = sorted(set(frame.columns) - set(SCHEMA)), sorted(set(SCHEMA) - set(frame.columns))
        if unknown or missing:
            said = f"unknown columns {', '.join(unknown) or 'none'}; missing {', '.join(missing) or 'none'}"
            raise UsageError(f"power readings: {said}\ngive {', '.join(SCHEMA)}")
        rows = frame.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
        _refuse(rows)
        return cls(rows)


def _refuse(rows: pl.DataFrame) -> None:
    for name in ("timestamp_s", "gpu_index"):
        if rows[name].null_count():
            raise UsageError(f"power readings: {name} is missing in {rows[name].null_count()} of {rows.height} rows")
    for name in ("timestamp_s", "gpu_power_w", "gpu_temperature_c"):
        if not rows[name].is_finite().all():
            raise UsageError(f"power readings: {name} is NaN or infinite somewhere; a failed reading is None")
    if rows["gpu_power_w"].min() is not None and rows["gpu_power_w"].min() < 0:  # type: ignore[operator] # a float
        raise UsageError(f"power readings: gpu_power_w is negative: {rows['gpu_power_w'].min()!r} W")
    back = rows.filter(pl.col("timestamp_s") < pl.col("timestamp_s").shift(1).over("gpu_index"))
    if not back.is_empty():
        first = back.row(0, named=True)
        raise UsageError(
            f"power readings: the clock of GPU {first['gpu_index']} goes backwards at {first['timestamp_s']} s\n"
            "stamp readings with a monotonic clock, in the order in which they were made"
        )


def encoded(readings: Readings) -> bytes:
    """Readings as the content of a Parquet file that says what it holds."""
    from io import BytesIO

    import pyarrow.parquet as pq

    table = readings.frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    told = {
        "groundlake.content": "power readings of an experiment, as they were read",
        "groundlake.units": "timestamp_s: s from the start of the measurement; gpu_power_w: W; gpu_temperature_c: C",
    }
    buffer = BytesIO()
    pq.write_table(table.replace_schema_metadata(told), buffer, compression="zstd")
    return buffer.getvalue()


def digest(content: bytes) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(content).hexdigest()


def decoded(path: Path) -> tuple[Readings | None, str]:
    """Read a sidecar of this or of the existing tool; returns the readings and the hash of the file.

    Raises:
        CorruptLakeError: It is torn, or holds something else.
    """
    content = path.read_bytes()
    try:
        frame = pl.read_parquet(content)
        named = frame.rename({old: new for old, new in OTHER_NAMES.items() if old in frame.columns})
        readings = Readings.of(named.select(name for name in SCHEMA if name in named.columns))
    except (pl.exceptions.PolarsError, UsageError) as error:
        raise CorruptLakeError(f"{path}: no readable power readings: {error}") from error
    return readings, digest(content)
