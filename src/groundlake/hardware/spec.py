"""What is known of one device in one power mode: `HardwareSpec`, its files, and its rows of the table `hardware`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from groundlake.documents import UniqueKeyLoader, load_json
from groundlake.errors import UsageError
from groundlake.schemas import Hardware

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PEAK_COLUMNS = {
    "fp32": "peak_fp32_flops",
    "tf32": "peak_tf32_flops",
    "fp16": "peak_fp16_flops",
    "bf16": "peak_bf16_flops",
    "int8": "peak_int8_ops",
}
"""Precision to the column of the table `hardware` that holds its peak."""

DEVICES = ("cpu", "cuda")
_TEXTS = ("name", "vendor", "device", "power_mode")
_LISTS = ("aliases", "product_names")
_WHOLE = ("compute_units", "memory_bytes")
_FIGURES = (
    "compute_units",
    "clock_mhz",
    "memory_bandwidth_bytes_per_s",
    "operation_overhead_s",
    "memory_bytes",
    "power_limit_w",
)
_EXAMPLE = '{value: 1.5e+12, source: "where the figure comes from"}'


@dataclass(frozen=True, kw_only=True)
class HardwareSpec:
    """One device in one power mode, with the source of each figure.

    Attributes:
        hardware_id: Id that the runs of this device carry; it keeps its case.
        name: Product name.
        vendor: Manufacturer.
        device: Kind of device the work runs on: `cpu` or `cuda`.
        power_mode: Power mode the figures hold for; None for devices without modes.
        aliases: Other ids under which the same device in the same mode was measured.
        product_names: Names under which the driver or the kernel reports the device.
        compute_units: CUDA cores, or physical CPU cores.
        clock_mhz: Clock the peaks are computed for, in MHz.
        peaks: Precision to physical dense peak in FLOP/s (OP/s for int8); an unknown precision is absent.
        memory_bandwidth_bytes_per_s: Peak memory bandwidth.
        operation_overhead_s: Fixed cost of one operation, such as the launch of a kernel, in s.
        memory_bytes: Memory of the device.
        power_limit_w: Power limit in this mode, in W.
        sources: Figure (its column of the table `hardware`) to where it comes from, or why it is not known.
    """

    hardware_id: str
    name: str
    vendor: str | None = None
    device: str
    power_mode: str | None = None
    aliases: tuple[str, ...] = ()
    product_names: tuple[str, ...] = field(default=(), compare=False)  # the lake does not hold them
    compute_units: int | None = None
    clock_mhz: float | None = None
    peaks: Mapping[str, float] = field(default_factory=dict)
    memory_bandwidth_bytes_per_s: float | None = None
    operation_overhead_s: float | None = None
    memory_bytes: int | None = None
    power_limit_w: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def figures(self) -> dict[str, float | None]:
        """Every figure by its column of the table `hardware`; None where it is not known."""
        found: dict[str, float | None] = {name: getattr(self, name) for name in _FIGURES}
        return found | {column: self.peaks.get(precision) for precision, column in PEAK_COLUMNS.items()}

    def peak_source(self, precision: str) -> str | None:
        """Where the peak of a precision comes from, or why it is not known; None where nothing is said of it."""
        return self.sources.get(PEAK_COLUMNS.get(precision, precision))

    def to_frames(self) -> tuple[dict[str, object], dict[str, pl.DataFrame]]:
        """Return the run of kind `hardware_spec` and its one row of `hardware`, as `Lake.write_record` takes them."""
        run: dict[str, object] = {"hardware_id": self.hardware_id, "kind": "hardware_spec", "device": self.device}
        row = {
            "hardware_id": self.hardware_id,
            **{name: getattr(self, name) for name in _TEXTS},
            "aliases": list(self.aliases) or None,
            **self.figures(),
            "figure_sources": [{"figure": name, "source": text} for name, text in self.sources.items()] or None,
        }
        types = Hardware.polars_schema()
        return run, {"hardware": pl.DataFrame([row], schema={name: types[name] for name in row})}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> HardwareSpec:
        """Read a row of the table `hardware`."""
        peaks = {name: row[column] for name, column in PEAK_COLUMNS.items() if row[column] is not None}
        return cls(
            hardware_id=row["hardware_id"],
            **{name: row[name] for name in (*_TEXTS, *_FIGURES)},
            aliases=tuple(row["aliases"] or ()),
            peaks=peaks,
            sources={entry["figure"]: entry["source"] for entry in row["figure_sources"] or ()},
        )


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file whose top level is a mapping; the suffix `.json` means JSON.

    Raises:
        UsageError: The file cannot be read, is neither YAML nor JSON, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        is_json = path.suffix.lower() == ".json"
        content = load_json(text) if is_json else yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the hardware file {path} cannot be read: {error}") from None
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        told = f"{getattr(error, 'problem', error)}" + (f", line {mark.line + 1}" if mark else "")
        raise UsageError(
            f"bad hardware specification: neither YAML nor JSON\nwhere: {path}\ngot: {told}\n"
            "what to do: see docs/hardware.md for an example"
        ) from None
    if not isinstance(content, dict):
        raise UsageError(
            f"{path} must hold a mapping of keys to values\ngot: {type(content).__name__}\n"
            "see docs/hardware.md for an example"
        )
    return content


def parse_entry(entry: object, hardware_id: str, where: str) -> HardwareSpec:
    """Check one entry of a registry file and return it as a specification.

    Args:
        entry: The mapping under the id.
        hardware_id: The id.
        where: The file and the id, for messages.

    Raises:
        UsageError: Naming the file, the key, what was got and what to do.
    """
    if not isinstance(entry, dict):
        raise _wrong(where, "", entry, "write name, device and the figures below the id")
    known = {*_TEXTS, *_LISTS, *_FIGURES, "peaks"}
    for key in entry:
        if key not in known:
            raise _wrong(where, str(key), "an unknown key", f"use one of {', '.join(sorted(known))}")
    texts = {key: _text(entry, key, where) for key in _TEXTS}
    lists = {key: _names(entry, key, where) for key in _LISTS}
    for key in ("name", "device"):
        if texts[key] is None:
            raise _wrong(where, key, "nothing", "give it a text")
    if texts["device"] not in DEVICES:
        raise _wrong(where, "device", texts["device"], f"use one of {', '.join(DEVICES)}")
    values, sources = {}, {}
    for key in _FIGURES:
        values[key], source = _figure(entry.get(key), f"{where}: {key}", whole=key in _WHOLE)
        sources[key] = source
    peaks, peak_sources = _peaks(entry.get("peaks"), where)
    sources |= peak_sources
    checked: dict[str, Any] = {**texts, **lists, **values}
    return HardwareSpec(
        hardware_id=hardware_id,
        **checked,
        peaks=peaks,
        sources={key: source for key, source in sources.items() if source},
    )


def _peaks(entry: object, where: str) -> tuple[dict[str, float], dict[str, str | None]]:
    if entry is None:
        return {}, {}
    if not isinstance(entry, dict):
        raise _wrong(where, "peaks", entry, f"write a mapping of precisions, each with {_EXAMPLE}")
    peaks, sources = {}, {}
    for precision, figure in entry.items():
        if precision not in PEAK_COLUMNS:
            raise _wrong(where, f"peaks.{precision}", "an unknown precision", f"use one of {', '.join(PEAK_COLUMNS)}")
        value, sources[PEAK_COLUMNS[precision]] = _figure(figure, f"{where}: peaks.{precision}", whole=False)
        if value is not None:
            peaks[precision] = float(value)
    return peaks, sources


def _figure(entry: object, where: str, *, whole: bool) -> tuple[Any, str | None]:
    if entry is None:
        return None, None
    if not isinstance(entry, dict) or set(entry) != {"value", "source"}:
        raise _wrong(where, "", entry, f"write {_EXAMPLE}, or value: null with the reason as its source")
    source = entry["source"]
    if not isinstance(source, str) or not source.strip():
        raise _wrong(where, "source", source, "name the document or the method the figure comes from")
    value = entry["value"]
    if isinstance(value, str) and re.fullmatch(r"[\d.]+[eE]\d+", value):
        value = float(value)  # YAML 1.1 reads 1.5e12, without the sign, as a text
    if value is None:
        return None, source
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
    if not good or (whole and value != int(value)):
        kind = "whole number" if whole else "number"
        raise _wrong(where, "value", value, f"write a positive {kind}, or null where it is not known")
    return (int(value) if whole else float(value)), source


def _text(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    value = entry.get(key)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise _wrong(where, key, value, "write a text, in quotes if it looks like a number")
    return value


def _names(entry: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = entry.get(key) or []
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise _wrong(where, key, value, "write a list of texts")
    return tuple(value)


def _wrong(where: str, key: str, got: object, advice: str) -> UsageError:
    place = f"{where}: {key}" if key else where
    return UsageError(f"bad hardware specification\nwhere: {place}\ngot: {str(got)[:120]}\nwhat to do: {advice}")
