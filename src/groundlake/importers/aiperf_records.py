"""Read the records of AIPerf, `profile_export.jsonl`: one request on each line, with its metrics and their units."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from groundlake.ground_truth.reading import Problem, parse_json
from groundlake.importers.foreign import MS, ONE, Checker, Taken, without

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.importers.files import Found
    from groundlake.importers.quarantine import Entry

PHASES = {"profiling": "measure", "warmup": "warmup"}
NS = 1e-9

ITL = "inter_token_latency"
ITL_DEFINITION = "(request latency - time to first token) / (tokens of the answer - 1): one mean a request, no interval"
COLUMNS = (
    *("time_to_first_token", "request_latency", "inter_chunk_latency", "input_sequence_length"),
    "output_sequence_length",
)
"""Metrics of a request that are columns."""

Line = tuple[int, dict[str, Any]]


def read_lines(found: Found, layout: str) -> Taken | Entry:
    """Read a file of JSON lines, of any length; its data are pairs of line number and object.

    Returns:
        The file, or an entry of the quarantine that names the line.
    """
    lines: list[Line] = []
    hashed = hashlib.sha256()
    problem: Problem | None = None
    try:
        with found.path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                hashed.update(raw)
                if problem is not None or not raw.strip():
                    continue
                value, wrong = parse_json(raw)
                if wrong is not None:
                    problem = Problem(wrong.code, f"line {number}", wrong.what)
                elif not isinstance(value, dict):
                    problem = Problem("wrong_type", f"line {number}", "no JSON object")
                else:
                    lines.append((number, value))
    except OSError as error:
        problem = Problem("unreadable", "", f"the file cannot be read: {error.strerror}")
    if problem is None and not lines:
        problem = Problem("truncated_json", "", "the file is empty")
    taken = Taken(found, hashed.hexdigest(), lines)
    return taken if problem is None else taken.set_aside(layout, [problem])


def is_record(data: dict[str, Any]) -> bool:
    """Whether a line is the record of one request."""
    metadata = data.get("metadata")
    return isinstance(metadata, dict) and "request_start_ns" in metadata and "metrics" in data


@dataclass(kw_only=True)
class _Request:
    """One line, before its place among the others is known."""

    where: str
    start_ns: int
    end_ns: int
    metadata: dict[str, Any]
    metrics: dict[str, Any]
    row: dict[str, Any]
    other: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> tuple[str, int, str, str]:
        """Sorts requests by phase and by when they were sent."""
        names = ("session_num", "turn_index", "x_request_id")
        ties = [str(self.metadata.get(name)) for name in names]
        return self.row["phase"], self.start_ns, ties[0].zfill(9) + ties[1].zfill(9), ties[2]


class Records:
    """Requests of one run.

    Args:
        lines: Line numbers and records.
        check: Takes values out, and remembers what is wrong.

    Attributes:
        start_ns: When the first request of the measurement was sent, in ns since 1970: time 0 of the run.
        end_ns: When the last of them ended.
        rows: Rows of `experiment_requests`.
    """

    def __init__(self, lines: list[Line], check: Checker) -> None:
        self._check = check
        found = [self._request(f"line {number}", data) for number, data in lines]
        self._requests = sorted((each for each in found if each is not None), key=lambda each: each.order)
        measured = [each for each in self._requests if each.row["phase"] == "measure"]
        if not measured and not check.problems:
            check.refuse("missing_field", "", "no record has the benchmark_phase profiling: nothing was measured")
        self.start_ns = min((each.start_ns for each in measured), default=0)
        self.end_ns = max((each.end_ns for each in measured), default=0)
        counts = {"measure": 0, "warmup": 0}
        for request in self._requests:
            phase = request.row["phase"]
            sent = (request.start_ns - self.start_ns) * NS
            request.row |= {"process_index": 0, "request_index": counts[phase], "sent_at_s": sent}
            counts[phase] += 1
        self.rows = [request.row for request in self._requests]
        self.num_requests, self.num_warmups = counts["measure"], counts["warmup"]

    @property
    def wall_time_s(self) -> float:
        """Time from sending the first request of the measurement to the end of the last, in s."""
        return (self.end_ns - self.start_ns) * NS

    def tokens(self, name: str) -> int | None:
        """Tokens of all answered requests of the measurement; None where one does not tell."""
        known = [row[name] for row in self.rows if (row["phase"], row["status"]) == ("measure", "ok")]
        return sum(known) if known and None not in known else None

    def itl_metrics(self) -> Iterator[dict[str, Any]]:
        """Statistics of the mean inter-token latency of each request, which are no inter-token latencies."""
        values = []
        for each in self._requests:
            if (each.row["phase"], each.row["status"]) == ("measure", "ok"):
                values += [self._value(each.metrics, ITL, MS, each.where)] if ITL in each.metrics else []
        known = [value for value in values if value is not None]
        if not known:
            return
        p50, p95, p99 = np.percentile(known, [50, 95, 99])
        figures = {"mean": float(np.mean(known)), "median": float(p50), "p95": float(p95), "p99": float(p99)}
        for statistic, value in (figures | {"min": min(known), "max": max(known), "count": len(known)}).items():
            unit = ONE if statistic == "count" else MS
            yield {
                "phase": "all",
                "metric": ITL,
                "statistic": statistic,
                "value": float(value),
                "value_unit": unit,
                "definition": ITL_DEFINITION,
            }

    def left(self) -> dict[str, Any]:
        """What no column holds: the values of all requests in the order of phase (measure first) and request_index."""
        requests = self._requests
        fields: dict[str, list[Any]] = {}
        for at, request in enumerate(requests):
            told = {f"metadata.{name}": value for name, value in request.metadata.items()}
            told |= request.other
            for tag, block in without(request.metrics, COLUMNS).items():
                unit = block.get("unit") if isinstance(block, dict) else None
                value = block.get("value") if isinstance(block, dict) else block
                told[f"metrics.{tag} [{unit}]"] = value
            for name, value in told.items():
                if value is not None:
                    fields.setdefault(name, [None] * len(requests))[at] = value
        return fields

    def _request(self, where: str, data: dict[str, Any]) -> _Request | None:
        check = self._check
        metadata = check.mapping(data.get("metadata"), f"{where}: metadata")
        phase = check.text(metadata.get("benchmark_phase"), f"{where}: metadata.benchmark_phase") or "profiling"
        if phase not in PHASES:
            check.refuse("wrong_type", f"{where}: metadata.benchmark_phase", f"{phase!r} is neither of {list(PHASES)}")
        start, end = (
            check.whole(metadata.get(name), f"{where}: metadata.{name}")
            for name in ("request_start_ns", "request_end_ns")
        )
        if start is None or end is None:
            check.refuse("missing_field", f"{where}: metadata", "request_start_ns and request_end_ns are needed")
        elif end < start:
            what = f"it ended {(start - end) * NS:.6g} s before it was sent"
            check.refuse("negative_latency", f"{where}: metadata.request_end_ns", what)
        metrics = check.mapping(data.get("metrics"), f"{where}: metrics")
        error = check.mapping(data.get("error"), f"{where}: error")
        if check.problems or start is None or end is None:
            return None
        row = {"phase": PHASES[phase], **self._status(metadata, error), **self._figures(metrics, where)}
        other = {f"error.{name}": value for name, value in without(error, ("code", "type", "message")).items()}
        other |= without(data, ("metadata", "metrics", "error"))
        kept = without(metadata, ("benchmark_phase", "was_cancelled"))
        return _Request(where=where, start_ns=start, end_ns=end, metadata=kept, metrics=metrics, row=row, other=other)

    def _status(self, metadata: dict[str, Any], error: dict[str, Any]) -> dict[str, str | None]:
        """Status, and the error as one text."""
        head = " ".join(str(error[name]) for name in ("code", "type") if error.get(name) is not None)
        said = ": ".join(str(part) for part in (head, error.get("message")) if part) or None
        if metadata.get("was_cancelled") is True:
            return {"status": "cancelled", "error": said}
        return {"status": "failed" if error else "ok", "error": said or ("unknown" if error else None)}

    def _figures(self, metrics: dict[str, Any], where: str) -> dict[str, Any]:
        first = self._value(metrics, "time_to_first_token", MS, where)
        output = self._count(metrics, "output_sequence_length", where)
        if output is None:
            parts = [self._count(metrics, f"{name}_token_count", where) for name in ("output", "reasoning")]
            output = None if parts == [None, None] else sum(part or 0 for part in parts)
        inputs = self._count(metrics, "input_sequence_length", where)
        return {
            "time_to_first_token_ms": first,
            "end_to_end_latency_ms": self._value(metrics, "request_latency", MS, where),
            "input_tokens": self._count(metrics, "error_isl", where) if inputs is None else inputs,
            "output_tokens": output,
            "inter_token_latencies_ms": self._chunks(metrics, where),
            "token_timing": None if first is None else "streaming",
        }

    def _value(self, metrics: dict[str, Any], tag: str, wanted: str, where: str) -> float | None:
        """One metric of a request, in the wanted unit."""
        if metrics.get(tag) is None:
            return None
        place = f"{where}: metrics.{tag}"
        block = self._check.mapping(metrics[tag], place)
        unit = self._check.unit(block.get("unit"), f"{place}.unit", wanted)
        value = self._check.number(block.get("value"), f"{place}.value", least=0)
        return None if value is None or unit is None else value * unit.factor

    def _count(self, metrics: dict[str, Any], tag: str, where: str) -> int | None:
        value = self._value(metrics, tag, ONE, where)
        return self._check.whole(value, f"{where}: metrics.{tag}.value")

    def _chunks(self, metrics: dict[str, Any], where: str) -> list[float] | None:
        """Times between two chunks, in ms; a streamed answer of one chunk has none to tell."""
        if metrics.get("inter_chunk_latency") is None:
            return None
        place = f"{where}: metrics.inter_chunk_latency"
        block = self._check.mapping(metrics["inter_chunk_latency"], place)
        unit = self._check.unit(block.get("unit"), f"{place}.unit", MS)
        return self._check.amounts(block.get("value"), f"{place}.value", unit)
