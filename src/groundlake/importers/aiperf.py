"""Read exports of AIPerf.

A folder has `profile_export_aiperf.json` (the summary), `profile_export.jsonl` (a record of each request) and
`gpu_telemetry_export.jsonl` (readings of GPUs); one of the first two is enough.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundlake.experiment.settings import CONCURRENCY_NAMES, TOKEN_LIMIT_NAMES, count_setting
from groundlake.ground_truth.reading import Problem, parse_json
from groundlake.importers.aiperf_records import ITL, ITL_DEFINITION, Records, is_record, read_lines
from groundlake.importers.aiperf_telemetry import Summary, Telemetry, raw_telemetry
from groundlake.importers.files import Found, read_bytes
from groundlake.importers.foreign import (
    INCOMPLETE,
    ONE,
    Checker,
    ForeignRun,
    Taken,
    canonical,
    setting_rows,
    without,
)
from groundlake.importers.quarantine import Entry
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

LAYOUT = "aiperf"
SUMMARY_END, RECORDS_END = "_aiperf.json", ".jsonl"
RECORDS, TELEMETRY = "profile_export.jsonl", "gpu_telemetry_export.jsonl"
PHASE_FOLDER = "phases"

PROVENANCE = frozenset(
    {
        *("schema_version", "aiperf_version", "benchmark_id", "start_time", "end_time", "input_config", "run_info"),
        *("telemetry_data", "warmup_metrics", "was_cancelled"),
    }
)
MOMENTS = ("min_request_timestamp", "max_response_timestamp")
"""Figures that are moments, which have no unit."""

STATISTICS = {"avg": "mean", "p50": "median"}
NAMES = {"time_to_first_token": "ttft", "request_latency": "e2e"}
DEFINITIONS = {
    "time_to_first_token": "from sending to the first chunk, of each answered request",
    "request_latency": "from sending to the last chunk, of each answered request",
    ITL: ITL_DEFINITION,
    "inter_chunk_latency": "times between two chunks of an answer",
    "output_token_throughput": "tokens of all answers over the benchmark's duration",
    "output_token_throughput_per_user": "1 / inter_token_latency of each request",
    "output_token_count": "tokens of an answer without those of its reasoning",
    "output_sequence_length": "tokens of an answer and of its reasoning",
}
ENERGY_TOTALS = ("total_gpu_energy", "nvidia_total_gpu_energy", "amd_total_gpu_energy")
WRITES_ELSEWHERE = ("output", "artifacts", "artifact_directory", "cli_command")
"""Settings that say where results go: they decide nothing about what is measured."""


def recognises(name: str, data: object) -> bool:
    """Whether a JSON file is the summary of one run; of several runs, or of slices of time, it is none."""
    if not isinstance(data, dict) or not {"aiperf_version", "input_config"} & data.keys():
        return False
    return name.endswith(SUMMARY_END) or any(_is_block(block) for block in data.values())


def recognises_lines(name: str, first: object) -> bool:
    """Whether a file of JSON lines has a record of a request on each."""
    return name == RECORDS or (isinstance(first, dict) and is_record(first))


def read(files: Iterable[Taken], lines: Iterable[Found]) -> Iterator[ForeignRun | Entry | str]:
    """Read the runs of AIPerf that these summaries, and files of records, belong to.

    Yields:
        Runs, entries of the quarantine, and why a file was left out.
    """
    exports: dict[tuple[Path, str], _Export] = {}
    for summary in files:
        if _is_phase(summary.found.path):
            yield "phase_of_a_run"
            continue
        stem = summary.name.removesuffix(SUMMARY_END).removesuffix(".json")
        exports[summary.found.path.parent, stem] = _Export(summary.found, stem, summary)
    for found in lines:
        stem = found.path.name.removesuffix(RECORDS_END)
        exports.setdefault((found.path.parent, stem), _Export(found, stem, None))
    for export in exports.values():
        yield from export.read()


def _is_block(value: object) -> bool:
    return isinstance(value, dict) and "unit" in value


def _is_phase(path: Path) -> bool:
    """Whether a summary is about one of several phases of a run whose own summary lies above."""
    folder = path.parent.parent
    return folder.name == PHASE_FOLDER and (folder.parent / path.name).exists()


@dataclass
class _Export:
    """Files of one run: those that were found, and those beside them."""

    found: Found
    stem: str
    summary: Taken | None

    def read(self) -> Iterator[ForeignRun | Entry]:
        """Read all files of the run; where one is bad, no run is made of the others."""
        summary = self.summary or self._beside(f"{self.stem}{SUMMARY_END}")
        records = self._beside(f"{self.stem}{RECORDS_END}")
        telemetry = self._beside(TELEMETRY) if isinstance(records, Taken) else None
        parts = [each for each in (summary, records, telemetry) if each is not None]
        bad = [each for each in parts if isinstance(each, Entry)]
        good = [each for each in parts if isinstance(each, Taken)]
        yield from bad
        if bad or not good:
            names = ", ".join(each.uri.rsplit("/", 1)[-1] for each in bad)
            problem = Problem(INCOMPLETE, "", f"{names} beside it was set aside")
            yield from (each.set_aside(LAYOUT, [problem]) for each in good[:1])
            return
        reader = _Reader(*(each if isinstance(each, Taken) else None for each in (summary, records, telemetry)))
        run = reader.run()
        yield good[0].set_aside(LAYOUT, reader.check.problems) if run is None or reader.check.problems else run

    def _beside(self, name: str) -> Taken | Entry | None:
        """A file of the same folder; None where there is none."""
        path = self.found.path.with_name(name)
        if not path.exists():
            return None
        found = Found(path, f"{self.found.uri.rpartition('/')[0]}/{name}".removeprefix("/"))
        if name.endswith(RECORDS_END):
            return read_lines(found, LAYOUT)
        raw, sha256, problem = read_bytes(path)
        data, problem = parse_json(raw) if problem is None else (None, problem)
        if problem is None and not recognises(name, data):
            problem = Problem("no_experiment", "", "it is no summary of one run")
        return Entry.of(found.uri, sha256, LAYOUT, problem) if problem else Taken(found, str(sha256), data)


class _Reader:
    """Makes the run of a summary, of records, or of both, and of readings of GPUs."""

    def __init__(self, summary: Taken | None, records: Taken | None, telemetry: Taken | None) -> None:
        self.check = check = Checker()
        self.files = [each for each in (summary, records, telemetry) if each is not None]
        self.content = {
            "summary": summary.data if summary else None,
            "records": [data for _, data in records.data] if records else None,
            "telemetry": [data for _, data in telemetry.data] if telemetry else None,
        }
        self.data: dict[str, Any] = summary.data if summary else {}
        self.config = check.mapping(self.data.get("input_config"), "input_config")
        self.run_info = check.mapping(self.data.get("run_info"), "run_info")
        self.metrics: list[dict[str, Any]] = []
        self.records = Records(records.data, check) if records else None
        self.telemetry_lines = telemetry.data if telemetry else []

    def run(self) -> ForeignRun | None:
        """Make the run; None where records are wrong."""
        if self.check.problems:
            return None
        self._figures(self.data, "all")
        self._figures(self.check.mapping(self.data.get("warmup_metrics"), "warmup_metrics"), "warmup")
        telemetry = self._telemetry()
        records, wall_time = self.records, self._wall_time_s()
        if records is not None and self._value(ITL) is None and self._value(ITL, "mean") is None:
            self.metrics += records.itl_metrics()
        columns = self._columns(wall_time)
        doubts = list(telemetry.doubts)
        if self.data.get("was_cancelled") is True:
            doubts.append("cancelled: the run was interrupted before its end")
        left = without(self.data, {*PROVENANCE, *(name for name in self.data if _is_block(self.data[name]))})
        left |= {name: self.data[name] for name in MOMENTS if name in self.data}
        return ForeignRun(
            layout=LAYOUT,
            sources=[each.source(LAYOUT) for each in self.files],
            content=self.content,
            ledger=self._ledger(columns, telemetry, wall_time),
            experiment=columns,
            rows={
                "experiment_requests": records.rows if records else [],
                "experiment_metrics": self.metrics,
                "energy_estimates": [*telemetry.energies, *self._energy_totals()],
                "power_timeseries": telemetry.power,
                "experiment_settings": self._settings(),
            },
            device_name=telemetry.gpu_name,
            started_at=self._started_at(),
            doubts=doubts,
            other={**left, "telemetry": telemetry.left, "records": records.left() if records else None},
        )

    def _columns(self, wall_time_s: float | None) -> dict[str, Any]:
        records = self.records
        inputs, outputs = self._tokens("input_tokens", "total_isl"), self._tokens("output_tokens", "total_osl")
        told = (self._value("request_count"), self._value("error_request_count"))
        asked = None if told == (None, None) else round(sum(each or 0 for each in told))
        sweep, trial = self.run_info.get("sweep_id"), self.check.whole(self.run_info.get("trial"), "run_info.trial")
        benchmark = self.check.text(self.data.get("benchmark_id"), "benchmark_id")
        return {
            **({"experiment_id": benchmark} if benchmark else {}),
            "result_schema_version": str(self.data.get("schema_version") or "unknown"),
            "study": self.check.text(sweep, "run_info.sweep_id"),
            "cycle": None if sweep is None or trial is None else trial + 1,
            "backend": "openai" if self._endpoint.get("type") in ("chat", "completions") else "unknown",
            "measurement_methodology": "total",
            "num_requests": records.num_requests if records else asked,
            "warmup_requests": (records.num_warmups or None) if records else None,
            "concurrency": count_setting(self._profiling, CONCURRENCY_NAMES),
            "max_new_tokens": count_setting(self._profiling, TOKEN_LIMIT_NAMES),
            "input_tokens": inputs,
            "output_tokens": outputs,
            "total_tokens": inputs + outputs if inputs is not None and outputs is not None else None,
            "wall_time_s": wall_time_s,
            "recorded_tokens_per_second": self._value("output_token_throughput"),
        }

    def _ledger(self, columns: Mapping[str, Any], telemetry: Telemetry, wall_time_s: float | None) -> dict[str, Any]:
        version = self.check.text(self.data.get("aiperf_version"), "aiperf_version")
        decides = canonical(without(self.config, WRITES_ELSEWHERE))
        return {
            "model": self._model,
            "device": "cuda" if telemetry.is_nvidia else None,
            "duration_s": wall_time_s,
            "tool_version": f"aiperf {version}" if version else None,
            "config_hash": hashlib.sha256(decides.encode()).hexdigest()[:16] if self.config else None,
            "session_id": columns["study"],
            "run_index": columns["cycle"],
            "warmup_runs": columns["warmup_requests"],
            "timed_runs": columns["num_requests"],
            "measured_window_s": wall_time_s if telemetry.power else None,
            "power_series": telemetry.series or None,
        }

    # ------------------------------------------------------------------ what the settings say

    @property
    def _endpoint(self) -> dict[str, Any]:
        return self.check.mapping(self.config.get("endpoint"), "input_config.endpoint")

    @property
    def _profiling(self) -> dict[str, Any]:
        """Settings without those of the warm-up."""
        phases = self.config.get("phases")
        if isinstance(phases, dict):
            phases = [{"name": name, **each} for name, each in phases.items() if isinstance(each, dict)]
        if not isinstance(phases, list):
            return self.config
        named = [each for each in phases if isinstance(each, dict) and "profiling" in {*map(str, each.values())}]
        return (named[0] if named else {}) | without(self.config, ("phases",))

    @property
    def _model(self) -> str:
        """Name of the model; several are joined."""
        listed = self._endpoint.get("model_names") or self.config.get("model_names") or self.config.get("models")
        listed = listed.get("items") if isinstance(listed, dict) else listed
        listed = [listed] if isinstance(listed, str) else listed
        listed = listed if isinstance(listed, list) else []
        named = [each.get("name") if isinstance(each, dict) else each for each in listed]
        found = [name for name in named if isinstance(name, str) and name]
        if not found:
            command = str(self.run_info.get("cli_command") or self.config.get("cli_command") or "")
            found = re.findall(r"(?:--model(?:-names)?|\s-m)[ =]['\"]?([^\s'\"]+)", command)[:1]
        return "+".join(found) or NO_KEY

    def _settings(self) -> list[dict[str, object]]:
        told = {"input_config": self.config, "run_info": self.run_info}
        return list(setting_rows("config", {name: each for name, each in told.items() if each}))

    # ------------------------------------------------------------------ figures

    def _figures(self, data: Mapping[str, Any], phase: str) -> None:
        """Figures of the summary."""
        for tag, block in data.items():
            if _is_block(block) and tag not in MOMENTS and tag not in PROVENANCE:
                place = tag if phase == "all" else f"warmup_metrics.{tag}"
                self._block(place, DEFINITIONS.get(tag), NAMES.get(tag, tag), block, phase)

    def _block(self, place: str, definition: str | None, metric: str, block: dict[str, Any], phase: str) -> None:
        """Each statistic of one figure; `avg` alone is the figure itself."""
        unit = self.check.unit(block.get("unit"), f"{place}.unit")
        told = {name: value for name, value in block.items() if name != "unit" and value is not None}
        for name, value in told.items():
            number = self.check.number(value, f"{place}.{name}")
            if number is None or unit is None:
                continue
            factor, shown = (1.0, ONE) if name == "count" else (unit.factor, unit.name)
            self.metrics.append(
                {
                    "phase": phase,
                    "metric": metric,
                    "statistic": "value" if told.keys() == {"avg"} else STATISTICS.get(name, name),
                    "value": number * factor,
                    "value_unit": shown,
                    "definition": definition,
                }
            )

    def _value(self, metric: str, statistic: str = "value") -> float | None:
        wanted = ("all", metric, statistic)
        told = (each for each in self.metrics if (each["phase"], each["metric"], each["statistic"]) == wanted)
        return next((each["value"] for each in told), None)

    def _tokens(self, column: str, total: str) -> int | None:
        if self.records is not None:
            return self.records.tokens(column)
        told = self._value(total)
        return None if told is None else round(told)

    def _telemetry(self) -> Telemetry:
        """Of raw readings where there are some; the summary of each GPU gives its figures in any case."""
        told = self.check.mapping(self.data.get("telemetry_data"), "telemetry_data")
        summary = Summary(told, self._wall_time_s(), self.check)
        for place, definition, metric, block in summary.blocks:
            self._block(place, definition, metric, block, "all")
        found = Telemetry(energies=summary.energies, doubts=summary.doubts, gpu_name=summary.gpu_name)
        found.is_nvidia = summary.is_nvidia
        if self.records is not None and self.telemetry_lines:
            records = self.records
            found = raw_telemetry(self.telemetry_lines, records.start_ns, records.wall_time_s, self.check)
            if not found.energies:
                found.energies, found.doubts = summary.energies, [*found.doubts, *summary.doubts]
        found.left["telemetry_data"] = summary.left
        return found

    def _energy_totals(self) -> Iterator[dict[str, Any]]:
        for tag in ENERGY_TOTALS:
            energy = self._value(tag)
            if energy:
                row = {"source": "aiperf", "method": "reported", "scope": "gpu", "phase": "all"}
                yield row | {"energy_j": energy, "note": f"{tag}: all GPUs that were watched, over the measurement"}

    def _wall_time_s(self) -> float | None:
        if self.records is not None:
            return self.records.wall_time_s
        told = self._value("benchmark_duration")
        return None if told is None else told / 1e3

    def _started_at(self) -> dt.datetime | None:
        if self.records is not None:
            epoch = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
            return epoch + dt.timedelta(microseconds=self.records.start_ns // 1000)
        told = self.check.text(self.data.get("start_time"), "start_time")
        try:
            return None if told is None else dt.datetime.fromisoformat(told.replace("Z", "+00:00"))
        except ValueError:
            self.check.refuse("wrong_type", "start_time", f"{told!r} is no ISO 8601 date and time")
            return None
