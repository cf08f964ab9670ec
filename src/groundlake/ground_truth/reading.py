"""From the text of one v1.0 or v2.0 measurement file to checked, typed columns.

Real files hold hundreds of subgraphs, and an import reads hundreds of files: so the values are checked column by
column, and only a file that fails is walked value by value, to name the key that is wrong.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from groundlake.ground_truth.dates import parse_date
from groundlake.ground_truth.wording import found_text, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

Columns = dict[str, list[Any]]
"""One list per subgraph column, named as in the contract `SubgraphTimings`, all of the same length."""

SCHEMA_VERSIONS = ("1.0", "2.0")
STATISTICS = ("mean", "std", "min", "max", "ci_lower", "ci_upper")
GROUPS = {"measured_latency": ("latency", "_ms"), "efficiency": ("efficiency", "")}
"""Statistics object in the JSON to prefix and suffix of its columns."""

PLAIN: dict[str, type] = {
    "subgraph_id": int,
    "fusion_pattern": str,
    "operation_type": str,
    "flops": int,
    "total_bytes": int,
    "arithmetic_intensity": float,
    "theoretical_peak_flops": float,
    "achieved_flops": float,
    "source_model": str,
}
HEAD: dict[str, type] = {
    "schema_version": str,
    "measurement_type": str,
    "model": str,
    "hardware_id": str,
    "device": str,
    "precision": str,
    "theoretical_peak_flops": float,
    "measurement_date": str,
    "tool_version": str,
}
SUMMARY: dict[str, type] = {
    "total_flops": int,
    "total_bytes": int,
    "total_latency_ms": float,
    "total_latency_std_ms": float,
    "num_subgraphs": int,
    "throughput_fps": float,
}
SYSTEM_STATE: dict[str, type] = {
    "gpu_clock_mhz": int,
    "mem_clock_mhz": int,
    "power_mode": str,
    "temperature_c": float,
    "cpu_freq_mhz": float,
    "cpu_governor": str,
}
OPTIONAL: dict[str, type] = {"thermal_profile": str, "batch_size": int, "run_id": str, "run_index": int}
TOP_KEYS = frozenset({*HEAD, *OPTIONAL, "subgraphs", "input_shape", "model_summary", "system_state"})
SUBGRAPH_KEYS = frozenset({*PLAIN, *GROUPS, "node_names"})
STATISTICS_KEYS = frozenset({*STATISTICS, "samples"})

_SIGNED = frozenset({"ci_lower", "ci_upper", "temperature_c"})
_INT64 = 2**63
_TYPE_NAMES = {str: "a text", int: "an integer", float: "a number"}
_LITERAL_LENGTH = 9


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file: a short code, where in the file, and what was found."""

    code: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The content of one measurement file, every value of the right type, finite and in range."""

    head: dict[str, Any]
    subgraphs: Columns
    summary: dict[str, Any] | None
    system_state: dict[str, Any] | None
    unknown: tuple[str, ...] = field(default=())


def parse_json(raw: bytes) -> tuple[Any, Problem | None]:
    """Parse the bytes of a JSON file; the literals NaN and Infinity are not JSON and are refused.

    Returns:
        The value and None, or None and what is wrong (`truncated_json`, `not_json`, `not_finite`,
        `nested_too_deeply`).
    """
    # Twice as quick as the standard library's reader, which is asked when this one refuses: it says what is wrong.
    with suppress(ValueError):
        return from_json(raw, allow_inf_nan=False), None
    literals: list[str] = []
    try:
        data = json.loads(raw.decode("utf-8-sig"), parse_constant=literals.append)
    except (ValueError, RecursionError) as error:
        return None, _json_problem(error, raw)
    if literals:
        return None, Problem("not_finite", _where_is_none(data), f"the literal {literals[0]} is no measurement")
    return data, None


def _json_problem(error: ValueError | RecursionError, raw: bytes) -> Problem:
    """Tell a file that ends too early from one that was never JSON."""
    if isinstance(error, UnicodeDecodeError):
        cut = error.reason == "unexpected end of data" and error.end >= len(raw)
        return Problem("truncated_json" if cut else "not_json", "", f"the file is not UTF-8 text: {error.reason}")
    if isinstance(error, RecursionError):
        return Problem("nested_too_deeply", "", "the JSON is nested too deeply to be a measurement")
    if not isinstance(error, json.JSONDecodeError):  # an integer with thousands of digits
        return Problem("not_json", "", f"the file cannot be read as JSON: {error}")
    text = error.doc.rstrip()
    if not text:
        return Problem("truncated_json", "", "the file is empty")
    at_end = error.pos >= len(text) or error.msg.startswith("Unterminated string")
    in_literal = len(text) - error.pos < _LITERAL_LENGTH and not text.endswith(("}", "]"))
    if text[0] in "{[" and (at_end or in_literal):
        return Problem(
            "truncated_json", f"line {error.lineno}", f"the file ends in the middle of its JSON ({error.msg})"
        )
    return Problem("not_json", f"line {error.lineno}", f"the file is not JSON ({error.msg})")


def _where_is_none(data: object) -> str:
    """Path of the first value that is None in a parsed file (where `parse_json` met a NaN literal)."""
    stack: list[tuple[str, object]] = [("", data)]
    while stack:
        path, value = stack.pop()
        if value is None and path != "thermal_profile":
            return path
        if isinstance(value, dict):
            stack += [(f"{path}.{key}" if path else str(key), item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            stack += [(f"{path}[{index}]", item) for index, item in reversed(list(enumerate(value)))]
    return ""


def check_measurement(data: object) -> tuple[Checked | None, list[Problem]]:
    """Check the parsed JSON of one measurement, schema 1.0 or 2.0.

    Args:
        data: What `parse_json` returned.

    Returns:
        The typed content and no problems, or None and every problem found (the first few of many subgraphs).
    """
    if not isinstance(data, dict):
        return None, [Problem("wrong_type", "", f"the file holds {found_text(data)} where a JSON object belongs")]
    problems: list[Problem] = []
    unknown = [shown(key) for key in data if key not in TOP_KEYS]
    head = _fields(data, HEAD, "", problems)
    head |= _fields(data, OPTIONAL, "", problems, required=False)
    head["input_shape"] = _shape(data.get("input_shape"), problems)
    if not problems:
        problems += _head_values(head)
    summary = _object(data, "model_summary", SUMMARY, problems, unknown)
    state = _object(data, "system_state", SYSTEM_STATE, problems, unknown)
    subgraphs = _subgraphs(data.get("subgraphs", _MISSING), problems, unknown)
    if problems or subgraphs is None:
        return None, problems
    return Checked(
        head=head, subgraphs=subgraphs, summary=summary, system_state=state, unknown=tuple(dict.fromkeys(unknown))
    ), []


class _Missing:
    """Type of the marker for a key that is not there, which differs from null."""


_MISSING = _Missing()


def _head_values(head: dict[str, Any]) -> Iterator[Problem]:
    if head["schema_version"] not in SCHEMA_VERSIONS:
        yield Problem("wrong_type", "schema_version", f"{head['schema_version']!r} is not one of {SCHEMA_VERSIONS}")
    if head["measurement_type"] != "efficiency":
        yield Problem("wrong_type", "measurement_type", f"{head['measurement_type']!r} is not 'efficiency'")
    if parse_date(head["measurement_date"]) is None:
        yield Problem(
            "wrong_type", "measurement_date", f"{head['measurement_date']!r} is not an ISO 8601 date and time"
        )
    if head["batch_size"] is not None and head["batch_size"] < 1:
        yield Problem("wrong_type", "batch_size", f"{head['batch_size']} is below 1")


def _object(
    data: dict[str, Any], key: str, wanted: dict[str, type], problems: list[Problem], unknown: list[str]
) -> dict[str, Any] | None:
    """An optional JSON object: `model_summary` (all fields required) or `system_state` (all may be null)."""
    raw = data.get(key)
    if raw is None:
        return None
    if not isinstance(raw, dict):
        problems.append(Problem("wrong_type", key, f"{found_text(raw)} where an object belongs"))
        return None
    unknown += [f"{key}.{shown(name)}" for name in raw if name not in wanted]
    return _fields(raw, wanted, f"{key}.", problems, required=key == "model_summary")


def _fields(
    raw: dict[str, Any], wanted: dict[str, type], prefix: str, problems: list[Problem], *, required: bool = True
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, kind in wanted.items():
        value = raw.get(key, _MISSING)
        if not required and (value is None or value is _MISSING):
            values[key] = None
            continue
        problem = _wrong(value, kind, prefix + key, signed=key in _SIGNED)
        if problem is not None:
            problems.append(problem)
        else:
            values[key] = float(value) if kind is float else value
    return values


def _shape(raw: object, problems: list[Problem]) -> list[int] | None:
    if raw is None:
        return None
    if not isinstance(raw, list) or any(type(size) is not int or not 0 <= size < _INT64 for size in raw):
        problems.append(Problem("wrong_type", "input_shape", f"{found_text(raw)} where a list of integers belongs"))
        return None
    return raw


def _subgraphs(rows: object, problems: list[Problem], unknown: list[str]) -> Columns | None:
    if isinstance(rows, _Missing):
        problems.append(Problem("missing_field", "subgraphs", "the key is missing"))
        return None
    if not isinstance(rows, list) or not rows:
        code, what = ("missing_field", "the list is empty") if rows == [] else ("wrong_type", found_text(rows))
        problems.append(Problem(code, "subgraphs", f"{what}; a measurement has a list of at least one subgraph"))
        return None
    columns = _columns(rows, unknown)
    if columns is None:
        found = [problem for index, row in enumerate(rows) for problem in _explain(row, f"subgraphs[{index}]")]
        problems += found
        return None
    if len(set(columns["subgraph_id"])) != len(rows):
        problems.append(Problem("contract", "subgraphs", "a subgraph_id occurs twice"))
    problems += [Problem("contract", f"subgraphs[].{name}", "the sum is too large") for name in _too_large(columns)]
    return columns


def _too_large(columns: Columns) -> Iterator[str]:
    """Columns whose sum is no 64-bit integer or no finite number: each value may be one and the summary not."""
    yield from (name for name in ("flops", "total_bytes") if sum(columns[name]) >= _INT64)
    if not isfinite(sum(columns["latency_mean_ms"])):
        yield "measured_latency.mean"
    if not isfinite(sum(std * std for std in columns["latency_std_ms"])):
        yield "measured_latency.std"


def _columns(rows: list[Any], unknown: list[str]) -> Columns | None:
    """All subgraphs as typed columns; None when any value is not as it should be."""
    columns: Columns = {}
    try:
        for key, kind in PLAIN.items():
            columns[key] = _typed([row[key] for row in rows], kind, signed=False)
        columns["node_names"] = [row["node_names"] for row in rows]
        for name, (prefix, suffix) in GROUPS.items():
            objects = [row[name] for row in rows]
            for key in STATISTICS:
                values = [statistics[key] for statistics in objects]
                columns[f"{prefix}_{key}{suffix}"] = _typed(values, float, signed=key in _SIGNED)
            columns[f"{prefix}_samples"] = _typed([statistics["samples"] for statistics in objects], int, signed=False)
            _note_unknown(objects, STATISTICS_KEYS, f".{name}", unknown)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if set(map(type, columns["node_names"])) != {list}:
        return None
    names = [name for nodes in columns["node_names"] for name in nodes]
    if set(map(type, names)) - {str} or not _encodes("".join(names)):
        return None
    _note_unknown(rows, SUBGRAPH_KEYS, "", unknown)
    return _in_order(columns)


def _in_order(columns: Columns) -> Columns:
    """Sort the subgraphs by their id, as files and the lake have them."""
    ids = columns["subgraph_id"]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    if order == list(range(len(ids))):
        return columns
    return {name: [values[index] for index in order] for name, values in columns.items()}


def _note_unknown(rows: list[dict[str, Any]], known: frozenset[str], suffix: str, unknown: list[str]) -> None:
    for row in rows:
        if row.keys() != known:
            unknown += [f"subgraphs[]{suffix}.{shown(key)}" for key in row if key not in known]


def _typed(values: list[Any], kind: type, *, signed: bool) -> list[Any]:
    """The values of one column, floats made floats; ValueError when one is not as it should be."""
    kinds = set(map(type, values))
    if kind is str:
        if kinds != {str} or not _encodes("".join(values)):
            raise ValueError
        return values
    if kinds - ({float, int} if kind is float else {int}):
        raise ValueError
    if kind is float:
        values = list(map(float, values)) if int in kinds else values
        if not all(map(isfinite, values)):
            raise ValueError
    elif max(values) >= _INT64:
        raise ValueError
    if not signed and min(values) < 0:
        raise ValueError
    return values


def _encodes(text: str) -> bool:
    """Whether the text is valid Unicode; JSON can smuggle in half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _explain(row: object, path: str) -> Iterator[Problem]:
    """Every problem of one subgraph, value by value."""
    if not isinstance(row, dict):
        yield Problem("wrong_type", path, f"{found_text(row)} where an object belongs")
        return
    checks: list[tuple[object, type, str, str]] = [
        (row.get(key, _MISSING), kind, f"{path}.{key}", key) for key, kind in PLAIN.items()
    ]
    for name in GROUPS:
        raw = row.get(name, _MISSING)
        if isinstance(raw, dict):
            checks += [(raw.get(key, _MISSING), float, f"{path}.{name}.{key}", key) for key in STATISTICS]
            checks.append((raw.get("samples", _MISSING), int, f"{path}.{name}.samples", "samples"))
        else:
            yield _absent(raw, f"{path}.{name}", "an object")
    for value, kind, where, key in checks:
        problem = _wrong(value, kind, where, signed=key in _SIGNED)
        if problem is not None:
            yield problem
    nodes = row.get("node_names", _MISSING)
    if not isinstance(nodes, list) or any(type(node) is not str or not _encodes(node) for node in nodes):
        yield _absent(nodes, f"{path}.node_names", "a list of texts")


def _absent(value: object, where: str, wanted: str) -> Problem:
    if isinstance(value, _Missing):
        return Problem("missing_field", where, "the key is missing")
    return Problem("wrong_type", where, f"{found_text(value)} where {wanted} belongs")


def _wrong(value: object, kind: type, where: str, *, signed: bool) -> Problem | None:
    """What is wrong with one value, or None. A bool is no integer; an integer is a good number."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        return _absent(value, where, _TYPE_NAMES[kind])
    if isinstance(value, str):
        return None if _encodes(value) else Problem("wrong_type", where, "the text is not valid Unicode")
    return _out_of_range(value, kind, where, signed=signed) if isinstance(value, (int, float)) else None


def _out_of_range(value: float, kind: type, where: str, *, signed: bool) -> Problem | None:
    if kind is float and not _is_finite(value):
        return Problem("not_finite", where, f"{found_text(value)} is not a finite number")
    if kind is int and not -_INT64 <= value < _INT64:
        return Problem("wrong_type", where, f"{found_text(value)} does not fit 64 bits")
    if not signed and value < 0:
        latency = ".measured_latency." in where or where.startswith("model_summary.total_latency")
        return Problem("negative_latency" if latency else "contract", where, f"{value} is negative")
    return None


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False
