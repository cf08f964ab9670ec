"""Read results of optimum-benchmark: `benchmark.json`, or `benchmark_report.json` with its configuration beside it.

A report has targets (load_model, prefill, decode, generate, per_token, forward, call, ...), and of each its memory,
latency, throughput, energy and efficiency. Energies and latencies of a target are of one call, for a whole batch.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from groundlake.experiment.settings import (
    BATCH_NAMES,
    PRECISION_NAMES,
    count_setting,
    precision_name,
    setting,
    text_setting,
)
from groundlake.ground_truth.reading import Problem
from groundlake.importers.foreign import (
    INCOMPLETE,
    Checker,
    ForeignRun,
    Taken,
    by_folder,
    canonical,
    setting_rows,
    without,
)
from groundlake.importers.optimum_report import OLD_PARTS, Report
from groundlake.schemas import NO_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from groundlake.importers.quarantine import Entry

LAYOUT = "optimum_benchmark"
WHOLE, REPORT, CONFIG = "benchmark.json", "benchmark_report.json", "benchmark_config.json"

CALLS = ("generate", "forward", "call")
"""Targets that are the whole work of a call."""

DEFAULT_NEW_TOKENS = 100
"""The tool's own number of new tokens, where the settings say nothing."""

RULES = {
    "latency": "values of all processes together",
    "throughput": "mean over processes; each is for the input of all (early versions: sum)",
    "energy": "mean over processes; each measures the machine (early versions: sum)",
    "efficiency": "mean over processes",
    "memory": "sum over processes; memory of whole devices: mean or maximum",
}


def recognises(name: str, data: object) -> bool:
    """Whether a JSON file is a benchmark, a report or the configuration of one."""
    if not isinstance(data, dict):
        return False
    if "report" in data and "config" in data:
        return name == WHOLE or (isinstance(data["report"], dict) and _is_report(data["report"]))
    return (name == CONFIG and "backend" in data) or name == REPORT or _is_report(data)


def read(files: Iterable[Taken]) -> Iterator[ForeignRun | Entry | str]:
    """Read the benchmarks among these files.

    Yields:
        Runs, entries of the quarantine, and why a file was left out.
    """
    for files_of in by_folder(files, lambda file: file.name).values():
        config = files_of.pop(CONFIG, None)
        wholes = [file for file in files_of.values() if "report" in file.data]
        runs = [_read(file.data["config"], file.data, [file]) for file in wholes]
        reports = [file for file in files_of.values() if "report" not in file.data]
        for report in reports:
            data = {"report": report.data}
            if any(whole.data["report"] == report.data for whole in wholes):
                yield "part_of_a_benchmark"
            elif config is None and (report.found.path.parent / CONFIG).exists():
                problem = Problem(INCOMPLETE, "", f"{CONFIG} beside it was set aside")
                yield report.set_aside(LAYOUT, [problem])
            elif config is None:
                runs.append(_read(None, data, [report]))
            else:
                runs.append(_read(config.data, data | {"config": config.data}, [report, config]))
        if config is not None and (wholes or not reports):
            yield "part_of_a_benchmark" if wholes else "configuration_without_report"
        yield from runs


def _is_report(data: dict[str, Any]) -> bool:
    """Whether all are targets, each with parts of a measurement."""
    told = [target for target in data.values() if target is not None]
    return bool(told) and all(isinstance(each, dict) and each and each.keys() <= OLD_PARTS for each in told)


def _read(config: object, data: dict[str, Any], files: list[Taken]) -> ForeignRun | Entry | str:
    if not isinstance(data["report"], dict):
        return files[0].set_aside(LAYOUT, [Problem("wrong_type", "report", "no JSON object")])
    if "train" in data["report"]:
        return "training_benchmark"
    reader = _Reader(config, data)
    run = reader.run([file.source(LAYOUT) for file in files])
    return files[0].set_aside(LAYOUT, reader.check.problems) if reader.check.problems else run


class _Reader:
    """Reads one report with its configuration, if there is one."""

    def __init__(self, config: object, data: dict[str, Any]) -> None:
        self.check = Checker()
        self.data = data
        self.config = self.check.mapping(config, "config")
        self.backend = self._part(self.config, "backend")
        self.scenario = self._part(self.config, "scenario")
        self.launcher = self._part(self.config, "launcher")
        self.environment = self._part(self.config, "environment")
        self.shapes = self._part(self.scenario, "input_shapes")
        self.generates = self._part(self.scenario, "generate_kwargs")
        self.quantized = self._part(self.backend, "quantization_config")
        self.report = Report(self.check, data["report"], self._latencies_of_tokens())
        if not (self.report.metrics or self.report.energies or self.check.problems):
            self.check.refuse("missing_field", "report", "no target has a figure")

    def _part(self, data: dict[str, Any], name: str) -> dict[str, Any]:
        return self.check.mapping(data.get(name), f"config: {name}")

    def run(self, sources: list[dict[str, str]]) -> ForeignRun:
        rules = [{"figure": figure, "rule": rule} for figure, rule in RULES.items()]
        inputs, outputs = self._tokens()
        version = text_setting(self.environment, ("optimum_benchmark_version",))
        warmups = self.check.whole(self.scenario.get("warmup_runs"), "config: scenario.warmup_runs")
        columns = {
            "result_schema_version": version or "unknown",
            "backend": text_setting(self.backend, ("name",)) or "unknown",
            "backend_version": text_setting(self.backend, ("version",)),
            "measurement_methodology": "total",
            "num_processes": self._processes,
            "num_requests": self._prompts_of(self._calls),
            "warmup_requests": self._prompts_of(warmups),
            "max_new_tokens": self._new_tokens,
            "input_tokens": inputs,
            "output_tokens": outputs,
            "total_tokens": inputs + outputs if inputs is not None and outputs is not None else None,
            "recorded_tokens_per_second": self.report.metric("throughput", "decode"),
            "peak_memory_bytes": round(max(self.report.peaks)) if self.report.peaks else None,
            "quantization_method": text_setting(self.backend, ("quantization_scheme",)),
            "quantization_bits": self._bits,
            "aggregation_rules": rules if (self._processes or 1) > 1 else None,
        }
        name = text_setting(self.config, ("name",))
        return ForeignRun(
            layout=LAYOUT,
            sources=sources,
            content={"config": self.config, "report": self.data["report"]},
            ledger=self._ledger(columns, version, warmups),
            experiment=columns | ({"experiment_id": name} if name else {}),
            rows={
                "latency_samples": self.report.samples,
                "energy_estimates": self.report.energies,
                "experiment_metrics": self.report.metrics,
                "experiment_settings": self._settings(),
            },
            device_name=self._device_name,
            doubts=self.report.doubts,
            other=without(self.data, ("config", "report")) | self.report.left,
        )

    def _ledger(self, columns: dict[str, Any], version: str | None, warmups: int | None) -> dict[str, Any]:
        backend, device = columns["backend"], text_setting(self.backend, ("device",))
        decides = {name: self.config.get(name) for name in ("backend", "scenario", "launcher")}
        return {
            "precision": self._precision,
            "model": self._model,
            "batch": self._batch,
            "device": device if device in {"cpu", "cuda"} else None,
            "config_hash": hashlib.sha256(canonical(decides).encode()).hexdigest()[:16] if self.config else None,
            "tool_version": f"optimum-benchmark {version}" if version else None,
            "python_version": text_setting(self.environment, ("python_version",)),
            "torch_version": columns["backend_version"] if backend == "pytorch" else None,
            "os": text_setting(self.environment, ("platform",)),
            "warmup_runs": warmups,
            "timed_runs": self._calls,
        }

    @property
    def _batch(self) -> int:
        return count_setting(self.shapes, BATCH_NAMES) or 0

    @property
    def _model(self) -> str:
        name = text_setting(self.backend, ("model",)) or NO_KEY
        is_path = re.match(r"[/~.]|[A-Za-z]:\\", name)
        return re.split(r"[/\\]", name.rstrip("/\\"))[-1] or NO_KEY if is_path else name

    @property
    def _bits(self) -> int | None:
        for bits in (4, 8):
            if setting(self.backend, (f"load_in_{bits}bit",)) is True:
                return bits
        return count_setting(self.quantized, ("bits", "nbits"))

    @property
    def _precision(self) -> str:
        if self._bits is not None:
            return f"int{self._bits}"
        told = text_setting(self.backend, (*PRECISION_NAMES, "quantization_scheme"))
        return precision_name(told) if told else NO_KEY

    @property
    def _processes(self) -> int | None:
        """Processes that measured; a launcher that says nothing of them starts one."""
        return count_setting(self.launcher, ("nproc_per_node",)) or (1 if self.launcher else None)

    @property
    def _new_tokens(self) -> int | None:
        """New tokens of a prompt: the settings hold what differs from the tool's own."""
        if not self.scenario or "generate" not in self.data["report"]:
            return None
        return count_setting(self.generates, ("max_new_tokens",)) or DEFAULT_NEW_TOKENS

    @property
    def _device_name(self) -> str | None:
        gpus = self.environment.get("gpu")
        first = gpus[0] if isinstance(gpus, list) and gpus else gpus
        told = self.environment.get("cpu") if text_setting(self.backend, ("device",)) == "cpu" else first
        return re.sub(r"^\s*\d+\s+(?=\D)", "", told).strip() or None if isinstance(told, str) else None

    def _count(self, target: str) -> int | None:
        """Latencies of a target, of all processes; None where it has none."""
        measured = self.data["report"].get(target)
        latency = measured.get("latency") if isinstance(measured, dict) else None
        values = latency.get("values") if isinstance(latency, dict) else None
        return len(values) if isinstance(values, list) and values else None

    @property
    def _calls(self) -> int | None:
        """Calls whose latencies were measured, of all processes."""
        return next((count for target in CALLS if (count := self._count(target))), None)

    def _prompts_of(self, calls: int | None) -> int | None:
        """Requests of some calls, a whole batch in each; with several processes nothing says whether each has it."""
        return None if calls is None or not self._batch or self._processes != 1 else calls * self._batch

    def _latencies_of_tokens(self) -> int | None:
        """Times between two tokens in all calls of generate, where the settings fix their number."""
        calls = self._count("generate")
        return calls * (self._new_tokens - 1) if calls and self._new_tokens and self._is_fixed else None

    @property
    def _is_fixed(self) -> bool:
        """Whether every call makes as many tokens as it may."""
        return count_setting(self.generates, ("min_new_tokens",)) in {None, self._new_tokens}

    def _tokens(self) -> tuple[int | None, int | None]:
        """Tokens of the prompts and answers of all measured calls of generate, where the settings fix them.

        With several processes, nothing says whether each has the whole batch.
        """
        calls, length, new = self._calls, count_setting(self.shapes, ("sequence_length",)), self._new_tokens
        if not (calls and length and new and self._batch and self._is_fixed and self._processes == 1):
            return None, None
        self.report.doubts.append(
            f"tokens_derived: {calls} calls of {self._batch} prompts with {length} tokens, {new} new ones for each"
        )
        return calls * self._batch * length, calls * self._batch * new

    def _settings(self) -> list[dict[str, object]]:
        versions = {name for name, value in self.environment.items() if name.endswith("_version") and value}
        packages = {name.removesuffix("_version"): self.environment[name] for name in versions - {"python_version"}}
        facts = without(self.environment, versions - {"python_version"})
        return [
            *setting_rows("config", without(self.config, ("environment",))),
            *setting_rows("environment", facts),
            *setting_rows("package", dict(sorted(packages.items()))),
        ]
