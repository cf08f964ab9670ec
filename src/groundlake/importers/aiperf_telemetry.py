"""Read what AIPerf knows of the GPUs: raw readings (`gpu_telemetry_export.jsonl`), and the summary of each GPU."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from groundlake.importers.foreign import JOULE, Checker, without

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.importers.aiperf_records import Line

MEGAJOULE = 1e6
NS = 1e-9
SAME_WINDOW = 0.05
"""Relative difference up to which the time of the telemetry is that of the measurement."""

POWERS = ("nvidia_power_usage", "gpu_power_usage", "amd_power")
ENERGIES = ("nvidia_energy_consumption", "energy_consumption", "amd_energy_consumption")
TEMPERATURES = ("nvidia_temperature", "gpu_temperature", "amd_temperature")
"""Names of readings by version and maker; in raw readings W, MJ since the driver was loaded, and °C."""

OTHER_PHASE = "telemetry"
"""Phase of an energy whose time is not that of the measurement."""


@dataclass(kw_only=True)
class Gpu:
    """One GPU: what it is, and its readings as (timestamp_s, power_w, energy_counter_j, temperature_c)."""

    source: str
    index: int | None
    uuid: str | None
    name: str | None
    host: str | None
    readings: list[tuple[float, float | None, float | None, float | None]] = field(default_factory=list)
    left: dict[str, list[Any]] = field(default_factory=dict)


@dataclass
class Telemetry:
    """Rows that telemetry gives: power, energies, figures, what the ledger says of the series, and doubts."""

    power: list[dict[str, Any]] = field(default_factory=list)
    energies: list[dict[str, Any]] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    left: dict[str, Any] = field(default_factory=dict)
    gpu_name: str | None = None
    is_nvidia: bool = False


def source_of(endpoint: str) -> str:
    """Who read the sensors: a DCGM exporter, or a library on the spot."""
    scheme = endpoint.split(":", maxsplit=1)[0]
    return {"pynvml": "nvml", "amdsmi": "amdsmi"}.get(scheme, "dcgm")


def raw_telemetry(lines: list[Line], start_ns: int, window_s: float, check: Checker) -> Telemetry:
    """Make rows of raw readings.

    Args:
        lines: Line numbers and readings of all GPUs.
        start_ns: Time 0 of the run, in ns since 1970.
        window_s: Length of the measurement.
        check: Takes values out, and remembers what is wrong.
    """
    gpus: dict[tuple[str, str], Gpu] = {}
    for number, data in lines:
        _add(gpus, f"line {number}", data, start_ns, check)
    found = Telemetry()
    counters: list[dict[str, Any]] = []
    for gpu in gpus.values():
        gpu.readings.sort(key=lambda reading: reading[0])
        same = [each for each in gpus.values() if (each.source, each.index) == (gpu.source, gpu.index)]
        rail = "gpu" if len(same) == 1 else f"gpu@{gpu.host or gpu.uuid}"
        found.power += _power_rows(gpu, rail)
        found.series.append(_series(gpu, rail, start_ns))
        counters += _counted(gpu, window_s, found.doubts)
        found.left |= {f"{gpu.uuid}.{name}": values for name, values in gpu.left.items()}
    found.energies = counters + _sum(counters, len(gpus))
    first = next(iter(gpus.values()), None)
    found.gpu_name = None if first is None else first.name
    found.is_nvidia = first is not None and first.source != "amdsmi"
    return found


def _add(gpus: dict[tuple[str, str], Gpu], where: str, data: dict[str, Any], start_ns: int, check: Checker) -> None:
    """Add one reading to its GPU."""
    endpoint = check.text(data.get("dcgm_url"), f"{where}: dcgm_url") or ""
    uuid = check.text(data.get("gpu_uuid"), f"{where}: gpu_uuid")
    moment = check.whole(data.get("timestamp_ns"), f"{where}: timestamp_ns")
    if uuid is None or moment is None:
        check.refuse("missing_field", where, "gpu_uuid and timestamp_ns are needed")
        return
    told = check.mapping(data.get("telemetry_data"), f"{where}: telemetry_data")
    gpu = gpus.get((endpoint, uuid))
    if gpu is None:
        gpu = gpus[endpoint, uuid] = Gpu(
            source=source_of(endpoint),
            index=check.whole(data.get("gpu_index"), f"{where}: gpu_index"),
            uuid=uuid,
            name=check.text(data.get("gpu_model_name"), f"{where}: gpu_model_name"),
            host=check.text(data.get("hostname"), f"{where}: hostname"),
        )
    power, energy, temperature = (
        next((check.number(told[name], f"{where}: {name}") for name in names if told.get(name) is not None), None)
        for names in (POWERS, ENERGIES, TEMPERATURES)
    )
    joules = None if energy is None else energy * MEGAJOULE
    gpu.readings.append(((moment - start_ns) * NS, power, joules, temperature))
    rest = without(told, (*POWERS, *ENERGIES, *TEMPERATURES))
    for name, value in (rest | {"timestamp_ns": moment} if rest else {}).items():
        gpu.left.setdefault(name, []).append(value)


def _power_rows(gpu: Gpu, rail: str) -> Iterator[dict[str, Any]]:
    """Rows of `power_timeseries`."""
    for moment, power, energy, temperature in gpu.readings:
        yield {
            "phase": "measure" if moment >= 0 else "warmup",
            "source": gpu.source,
            "rail": rail,
            "device_index": gpu.index,
            "device_uuid": gpu.uuid,
            "timestamp_s": moment,
            "power_w": power,
            "energy_counter_j": energy,
            "temperature_c": temperature,
        }


def _series(gpu: Gpu, rail: str, start_ns: int) -> dict[str, Any]:
    steps = [after[0] - before[0] for before, after in pairwise(gpu.readings)]
    return {
        "source": gpu.source,
        "rail": rail,
        "device_index": gpu.index,
        "semantics": "average_unknown",
        "observed_period_s": median(steps) if steps else None,
        "wall_offset_s": start_ns * NS,
    }


def _counted(gpu: Gpu, window_s: float, doubts: list[str]) -> Iterator[dict[str, Any]]:
    """Energy of one GPU by its counter over the measurement, read off between two readings at both ends."""
    counts = [(moment, energy) for moment, _, energy, _ in gpu.readings if energy is not None]
    if len(counts) < 2:  # noqa: PLR2004 - a difference is of two
        return
    if any(after[1] < before[1] for before, after in pairwise(counts)):
        doubts.append(f"energy_counter_reset: the counter of {gpu.uuid} goes back; no energy is made of it")
        return
    begin, end = max(0.0, counts[0][0]), min(window_s, counts[-1][0])
    if end <= begin:
        doubts.append(f"energy_window: the counter of {gpu.uuid} was not read during the measurement")
        return
    is_whole = begin == 0.0 and end == window_s
    if not is_whole:
        doubts.append(
            f"energy_window: the counter of {gpu.uuid} was read from {begin:.3f} s to {end:.3f} s only, of "
            f"{window_s:.3f} s: its energy has the phase {OTHER_PHASE}"
        )
    yield {
        **_of_gpu(gpu.source, gpu.index, gpu.uuid),
        "method": "counter",
        "phase": "all" if is_whole else OTHER_PHASE,
        "window_start_s": begin,
        "window_s": end - begin,
        "energy_j": _at(counts, end) - _at(counts, begin),
        "note": "counter, read off linearly between two readings at both ends",
    }


def _at(counts: list[tuple[float, float]], moment: float) -> float:
    """Read the counter off at a moment that lies between its first and its last reading."""
    at = bisect_left(counts, (moment, float("-inf")))
    after_s, after_j = counts[at]
    if at == 0 or after_s == moment:
        return after_j
    before_s, before_j = counts[at - 1]
    return before_j + (after_j - before_j) * (moment - before_s) / (after_s - before_s)


def _of_gpu(source: str, index: int | None, uuid: str | None) -> dict[str, Any]:
    return {"source": source, "scope": "gpu", "device_index": index, "device_uuid": uuid}


def _sum(rows: list[dict[str, Any]], gpus: int) -> list[dict[str, Any]]:
    """Energy of all GPUs together, where each has one over the same time."""
    if len(rows) < gpus or not rows or {row["phase"] for row in rows} != {"all"}:
        return []
    note = f"sum over the {gpus} GPUs that were watched, whether or not they served"
    only = rows[0] | {"device_index": None, "device_uuid": None}
    return [only | {"energy_j": sum(row["energy_j"] for row in rows), "note": note}]


class Summary:
    """Summaries of the GPUs in `telemetry_data`: figures of each, and energies of their counters.

    Args:
        data: The object.
        window_s: Length of the measurement; None where it is not known.
        check: Takes values out, and remembers what is wrong.

    Attributes:
        blocks: Place, definition, name and statistics of each figure.
        gpu_name: Product name of the first GPU.
        energies: Rows of `energy_estimates`.
        doubts: What is doubtful, each as `code: text`.
        left: What no table holds.
    """

    def __init__(self, data: dict[str, Any], window_s: float | None, check: Checker) -> None:
        self._check, self._measured_s = check, window_s
        self.blocks: list[tuple[str, str, str, dict[str, Any]]] = []
        self.gpu_name: str | None = None
        self.is_nvidia = False
        self.energies: list[dict[str, Any]] = []
        self.doubts: list[str] = []
        self._window_s = self._telemetry_s(check.mapping(data.get("summary"), "telemetry_data.summary"))
        gpus = 0
        for endpoint, told in check.mapping(data.get("endpoints"), "telemetry_data.endpoints").items():
            where = f"telemetry_data.endpoints.{endpoint}"
            listed = check.mapping(check.mapping(told, where).get("gpus"), f"{where}.gpus")
            for name, each in listed.items():
                gpus += 1
                self._gpu(endpoint, check.mapping(each, f"{where}.gpus.{name}"), f"{where}.gpus.{name}")
        self.energies += _sum(self.energies, gpus)
        self.left = _facts(data)

    def _telemetry_s(self, summary: dict[str, Any]) -> float | None:
        """Length of the telemetry, in s."""
        try:
            start, end = (dt.datetime.fromisoformat(str(summary[f"{name}_time"])) for name in ("start", "end"))
            return (end - start).total_seconds()
        except (KeyError, ValueError, TypeError):
            return None

    def _gpu(self, endpoint: str, told: dict[str, Any], where: str) -> None:
        check = self._check
        index = check.whole(told.get("gpu_index"), f"{where}.gpu_index")
        uuid = check.text(told.get("gpu_uuid"), f"{where}.gpu_uuid")
        name = check.text(told.get("gpu_name"), f"{where}.gpu_name")
        source = source_of(endpoint)
        if self.gpu_name is None:
            self.gpu_name, self.is_nvidia = name, source != "amdsmi"
        for metric, value in check.mapping(told.get("metrics"), f"{where}.metrics").items():
            place = f"{where}.metrics.{metric}"
            block = check.mapping(value, place)
            self.blocks.append((place, f"of GPU {index}, {uuid}, by {source}", metric, block))
            if metric in ENERGIES:
                self._energy(_of_gpu(source, index, uuid), block, place)

    def _energy(self, gpu: dict[str, Any], block: dict[str, Any], place: str) -> None:
        """Energy of a counter: its rise, in new exports; highest less lowest reading in those that have both."""
        unit = self._check.unit(block.get("unit"), f"{place}.unit", JOULE)
        names = ("min", "max", "avg")
        low, high, rise = (self._check.number(block.get(name), f"{place}.{name}", least=0) for name in names)
        if unit is None:
            return
        row = gpu | {"method": "counter"}
        if low is None or high is None:
            if rise:
                note = "rise of the counter over the measurement, as the tool makes it"
                told = {"phase": "all", "window_s": self._measured_s, "energy_j": rise * unit.factor, "note": note}
                self.energies.append(row | told)
            return
        window, measured = self._window_s, self._measured_s
        fits = window is not None and measured is not None and abs(window - measured) <= SAME_WINDOW * measured
        if not fits:
            self.doubts.append(
                f"energy_window: the counter of {gpu['device_uuid']} is about {_seconds(window)} of telemetry, the "
                f"measurement took {_seconds(measured)}: its energy has the phase {OTHER_PHASE}"
            )
        note = "highest less lowest reading of the counter in the time of the telemetry"
        told = {"phase": "all" if fits else OTHER_PHASE, "window_s": window, "note": note}
        self.energies.append(row | told | {"energy_j": (high - low) * unit.factor})


def _seconds(time_s: float | None) -> str:
    return "an unknown time" if time_s is None else f"{time_s:.3f} s"


def _facts(data: dict[str, Any]) -> dict[str, Any]:
    """Telemetry without the figures of its GPUs."""
    endpoints = data.get("endpoints")
    kept = without(data, ("endpoints",))
    if isinstance(endpoints, dict):
        kept["endpoints"] = {
            endpoint: {
                name: without(gpu, ("metrics",)) if isinstance(gpu, dict) else gpu
                for name, gpu in (told.get("gpus") or {}).items()
            }
            for endpoint, told in endpoints.items()
            if isinstance(told, dict) and isinstance(told.get("gpus"), dict)
        }
    return kept
