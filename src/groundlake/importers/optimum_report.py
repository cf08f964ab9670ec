"""Read the targets of a report of optimum-benchmark: figures, samples and energies, each in the lake's units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from groundlake.importers.foreign import BYTE, JOULE, MS, without

if TYPE_CHECKING:
    from collections.abc import Iterable

    from groundlake.importers.foreign import Checker

PARTS = ("memory", "latency", "throughput", "energy", "efficiency")
OLD_PARTS = frozenset({*PARTS, "max_memory"})

SAMPLED = {"generate": ("e2e", "per_request_batch"), "per_token": ("itl", "streaming")}
"""Targets whose latencies mean what ours do: metric, and how tokens were timed. Nothing says that prefill ends when the
first token is there to be read (it ends when its scores are), so prefill is no time to first token here."""

STATISTICS = {
    "count": "count",
    "total": "sum",
    "mean": "mean",
    "p50": "median",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
    "stdev": "std",
}
SCOPES = {"cpu": "cpu", "ram": "ram", "gpu": "gpu", "total": "machine"}
MEMORIES = {
    "max_ram": "peak of the process's main memory, summed over processes",
    "max_global_vram": "peak of all used memory of its devices, whoever uses it",
    "max_process_vram": "peak of what the process uses on its devices",
    "max_vram": "peak of all used memory of its devices, as early versions name it",
    "max_reserved": "peak that the framework reserved, over its devices, summed over processes",
    "max_allocated": "peak that the framework allocated, over its devices, summed over processes",
}
LATENCY = "of one call of a whole batch"
DECODE_LATENCY = f"{LATENCY}, after the first token; some backends: generate less the mean of prefill"
PREFILL_LATENCY = f"{LATENCY}, until the scores of the first token; some backends: a call for one token"
POPULATION = "; standard deviation of the population"
PER_CALL = "of one call, as the tool divides by the calls"
DERIVED = f"{PER_CALL}; derived by the tool: generate less prefill"
ONCE = frozenset({"load", "load_model", "first_generate", "first_forward", "first_call"})


@dataclass
class Report:
    """What the targets of one report say.

    Attributes:
        check: Takes values out, and remembers what is wrong.
        data: The report: target to its parts.
        tokens: Latencies of tokens that the measured calls must have; None where nothing tells.
        metrics: Rows of `experiment_metrics`.
        energies: Rows of `energy_estimates`.
        samples: Rows of `latency_samples`.
        doubts: What is doubtful, each as `code: text`.
        left: What no table holds, by its place.
        peaks: Peak allocations of the targets, in bytes.
    """

    check: Checker
    data: dict[str, Any]
    tokens: int | None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    energies: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    left: dict[str, Any] = field(default_factory=dict)
    peaks: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for target, measured in self.data.items():
            if measured is not None:
                self._target(target, measured)

    def metric(self, metric: str, phase: str) -> float | None:
        """Return one figure that is a value; None where it is not told."""
        told = (each for each in self.metrics if (each["metric"], each["phase"]) == (metric, phase))
        return next((each["value"] for each in told if each["statistic"] == "value"), None)

    def _target(self, target: str, value: object) -> None:
        where = f"report.{target}"
        measured = self.check.mapping(value, where)
        for part in PARTS:
            if measured.get(part) is not None:
                data = self.check.mapping(measured[part], f"{where}.{part}")
                if data or measured[part] == {}:
                    getattr(self, f"_{part}")(target, data, f"{where}.{part}")
        self._keep(measured, PARTS, where)

    def _add(self, phase: str, metric: str, statistic: str, **figure: object) -> None:
        self.metrics.append({"phase": phase, "metric": metric, "statistic": statistic, **figure})

    def _latency(self, target: str, data: dict[str, Any], where: str) -> None:
        unit = self.check.unit(data.get("unit"), f"{where}.unit", MS)
        definition = {"prefill": PREFILL_LATENCY, "decode": DECODE_LATENCY}.get(target, LATENCY) + POPULATION
        if target == "per_token":
            definition = f"between two successive tokens of a batch{POPULATION}"
        for name, statistic in STATISTICS.items():
            value = self.check.number(data.get(name), f"{where}.{name}", least=0)
            if value is not None and unit is not None:
                of_count = name == "count"
                value, shown = (value, "1") if of_count else (value * unit.factor, MS)
                self._add(target, "latency", statistic, value=value, value_unit=shown, definition=definition)
        values = data.get("values")
        if values == []:
            self.check.refuse("missing_field", f"{where}.values", "the list is empty")
        samples = self.check.amounts(values, f"{where}.values", unit)
        if samples and target in SAMPLED and self._means_ours(target, len(samples)):
            metric, timing = SAMPLED[target]
            self.samples.append({"metric": metric, "token_timing": timing, "samples_ms": samples})
        elif samples:
            self.left[f"{where}.values_ms"] = samples
        self._keep(data, (*STATISTICS, "unit", "values", "stdev_"), where)

    def _means_ours(self, target: str, count: int) -> bool:
        """Whether the values are only what their name says; of tokens, there must be as many as the calls made.

        Versions that do not empty their list of tokens between two calls count the time between the calls as well.
        """
        if target != "per_token":
            return True
        if count != self.tokens:
            known = "nobody knows how many there must be" if self.tokens is None else f"the calls made {self.tokens}"
            self.doubts.append(
                f"per_token_count: {count} latencies of tokens, {known}: they are no inter-token latencies here, and "
                "are kept as they are"
            )
        return count == self.tokens

    def _memory(self, target: str, data: dict[str, Any], where: str) -> None:
        unit = self.check.unit(data.get("unit"), f"{where}.unit", BYTE)
        for name, definition in MEMORIES.items():
            value = self.check.number(data.get(name), f"{where}.{name}", least=0)
            if value is not None and unit is not None:
                value *= unit.factor
                self._add(target, name, "max", value=value, value_unit=BYTE, definition=definition)
                if name == "max_allocated":
                    self.peaks.append(value)
        self._keep(data, (*MEMORIES, "unit"), where)

    def _energy(self, target: str, data: dict[str, Any], where: str) -> None:
        unit = self.check.unit(data.get("unit"), f"{where}.unit", JOULE)
        note = {"decode": DERIVED}.get(target, "of one event" if target in ONCE else PER_CALL)
        for name, scope in SCOPES.items():
            value = self.check.number(data.get(name), f"{where}.{name}")
            if value is None or unit is None:
                continue
            energy = value * unit.factor
            if value > 0:
                row = {"source": "codecarbon", "method": "reported", "scope": scope, "phase": target}
                self.energies.append(row | {"energy_j": energy, "note": note})
                continue
            self._add(target, f"energy_{scope}", "value", value=energy, value_unit=JOULE, definition=note)
            if value < 0:
                self.doubts.append(
                    f"negative_energy: {where}.{name} is {energy:.6g} J, {note}; it is no energy, and stands in "
                    "experiment_metrics only"
                )
        self._keep(data, (*SCOPES, "unit"), where)

    def _throughput(self, target: str, data: dict[str, Any], where: str) -> None:
        self._rate(target, "throughput", data, where, "over the mean latency")

    def _efficiency(self, target: str, data: dict[str, Any], where: str) -> None:
        self._rate(target, "efficiency", data, where, "over the energy of the machine")

    def _rate(self, target: str, metric: str, data: dict[str, Any], where: str, over: str) -> None:
        wanted = {"throughput": "1/s", "efficiency": "1/J"}[metric]
        unit = self.check.unit(data.get("unit"), f"{where}.unit", wanted)
        value = self.check.number(data.get("value"), f"{where}.value")
        if value is not None and unit is not None:
            what = str(data["unit"]).split("/", maxsplit=1)[0]
            told = {"value": value * unit.factor, "value_unit": unit.name}
            self._add(target, metric, "value", **told, definition=f"{what} of a call {over}")
        self._keep(data, ("unit", "value"), where)

    def _keep(self, data: dict[str, Any], known: Iterable[str], where: str) -> None:
        """Keep what is not known here."""
        self.left |= {f"{where}.{name}": value for name, value in without(data, known).items() if value is not None}
