"""The figure of each run that is compared: its latency or energy, how well the run itself knows it, and raw samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake.schemas import KEYS
from groundlake.stats.robust import typical

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from groundlake.store import Lake

END_TO_END, SUBGRAPHS, ENERGY = "end_to_end_latency_ms", "total_latency_ms", "energy_per_pass_j"
"""The three quantities; they are never mixed."""

TYPICAL, MEAN = "typical", "mean"
"""What stands for a run: the typical value of its raw samples, or the mean where not all runs have samples."""

UNKNOWN = "unknown"

FORCED = "not_representative"
"""Warning of a run that was made although a check of the machine failed."""

DOUBTS = (FORCED, "slow_first_pass", "drift", "high_variance", "throttling", "low_gpu_clock", "not_cooled_down")
"""Warnings of a run that its latency may be off, whatever its passes say; see docs/measuring.md."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One quantity of one run.

    Attributes:
        run: Row of the ledger.
        quantity: Which one.
        rail: Power rail, for energy.
        how: How the quantity was had, beyond the run's own methods: integral or counter, for energy.
        mean: Mean of the samples, in the unit of the quantity.
        mean_variance: Of the logarithm of the mean, from the spread within the run; None where it is not known.
        count: Samples behind the mean; None where it is not known.
        samples: Raw samples, where the run has them.
        typical: Typical value of the samples.
        typical_variance: Of its logarithm.
    """

    run: dict[str, Any]
    quantity: str
    mean: float
    rail: str | None = None
    how: str | None = None
    mean_variance: float | None = None
    count: int | None = None
    samples: Sequence[float] | None = None
    typical: float | None = None
    typical_variance: float | None = None

    @property
    def configuration(self) -> tuple[Any, ...]:
        """What must be equal for two runs to be repeats of each other."""
        run = self.run
        return (*self.family, run["model"], run["batch"], run["total_flops"], run["num_subgraphs"])

    @property
    def family(self) -> tuple[Any, ...]:
        """What configurations share that are about as noisy as each other."""
        run = self.run
        methods = (run["device"], run["timing_method"], run["flops_method"] or UNKNOWN)
        return run["hardware_id"], run["precision"], *methods, self.quantity, self.rail, self.how

    @property
    def doubts(self) -> tuple[str, ...]:
        """Codes of the run's warnings that say that its figure may be off."""
        codes = {warning.partition(":")[0] for warning in self.run["warnings"] or ()}
        return tuple(code for code in DOUBTS if code in codes)

    def log_value(self, statistic: str) -> float | None:
        """Logarithm of the run's figure; None where it has none of this kind."""
        value = self.typical if statistic == TYPICAL else self.mean
        return None if value is None else math.log(value)

    def within(self, statistic: str) -> tuple[float, float] | None:
        """Variance of `log_value` from the spread within the run, and its degrees of freedom."""
        variance = self.typical_variance if statistic == TYPICAL else self.mean_variance
        return None if variance is None or not self.count else (variance, float(self.count - 1))


def latency_figures(lake: Lake, runs: pl.DataFrame, *, subgraphs: bool = True) -> list[Figure]:
    """Both latencies of every run that has them; without `subgraphs` only the one end to end, which is quicker."""
    parts = _subgraph_samples(lake, runs) if subgraphs else {}
    found = []
    for run in runs.iter_rows(named=True):
        whole = run["end_to_end_latency_ms"]
        if whole:
            samples = run["end_to_end_samples_ms"]
            std, count = run["end_to_end_latency_std_ms"], len(samples or ()) or run["timed_runs"]
            found.append(_figure(run, END_TO_END, (whole, std, count), samples))
        total = run["total_latency_ms"]
        if total and subgraphs:
            samples, count = parts.get((run["hardware_id"], run["run_id"]), (None, None))
            stated = (total, run["total_latency_std_ms"], run["timed_runs"] or count)
            found.append(_figure(run, SUBGRAPHS, stated, samples))
    return found


def _figure(
    run: dict[str, Any],
    quantity: str,
    stated: tuple[float, float | None, int | None],
    samples: list[float] | None,
) -> Figure:
    """Make the figure of a latency; `stated` are the mean, standard deviation and count of samples in the ledger."""
    mean, std, count = stated
    known = typical(samples) if samples and min(samples) > 0 else None
    spread = (std / mean) ** 2 / count if std is not None and count and count > 1 else None
    return Figure(
        run=run,
        quantity=quantity,
        mean=mean,
        mean_variance=spread,
        count=count,
        samples=samples if known else None,
        typical=math.exp(known.log_value) if known else None,
        typical_variance=float(known.variance) if known and known.samples > 1 else None,
    )


def _subgraph_samples(lake: Lake, runs: pl.DataFrame) -> dict[tuple[str, str], tuple[list[float] | None, int]]:
    """By run: the sum over the subgraphs of each pass, where all of them kept their samples, and how many there are."""
    ids = runs["hardware_id"].unique().to_list()
    if not ids:
        return {}
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in ids)
    columns = "hardware_id, run_id, latency_samples, latency_samples_ms"
    rows = lake.sql(f"SELECT {columns} FROM subgraph_timings WHERE hardware_id IN ({listed})").pl()  # noqa: S608 - quoted
    wanted = rows.join(runs.select("hardware_id", "run_id"), on=["hardware_id", "run_id"], how="semi")
    by_run = wanted.group_by("hardware_id", "run_id").agg("latency_samples_ms", pl.col("latency_samples").max())
    return {
        (hardware_id, run_id): (_passes(samples), count) for hardware_id, run_id, samples, count in by_run.iter_rows()
    }


def _passes(samples: list[list[float] | None]) -> list[float] | None:
    """Sum of all subgraphs in each pass; the samples of a run are of the same passes, in order."""
    if any(each is None for each in samples) or len({len(each or ()) for each in samples}) != 1:
        return None
    return [math.fsum(each) for each in zip(*(each or () for each in samples), strict=True)]


_ENERGIES = """
    SELECT hardware_id, run_id, source, rail, device_index, energy_j, counter_energy_j, is_only_device
    FROM (
        SELECT *, min(device_index) OVER w = max(device_index) OVER w AS is_only_device
        FROM run_energy WINDOW w AS (PARTITION BY hardware_id, run_id, source)
    )
    WHERE energy_j IS NOT NULL OR counter_energy_j IS NOT NULL
"""


def energy_figures(lake: Lake, runs: pl.DataFrame) -> list[Figure]:
    """Energy of one pass on each rail of every run, by the rules of the view energy_per_inference."""
    rows = lake.sql(_ENERGIES).pl()
    by_id = {(run["hardware_id"], run["run_id"]): run for run in runs.iter_rows(named=True)}
    found = []
    for row in rows.iter_rows(named=True):
        run = by_id.get((row["hardware_id"], row["run_id"]))
        energy = row["counter_energy_j"] if row["energy_j"] is None else row["energy_j"]
        if run is None or not run["timed_runs"] or not energy or energy <= 0 or not _ran_there(run, row):
            continue
        found.append(
            Figure(
                run=run,
                quantity=ENERGY,
                rail=f"{row['source']}/{row['rail']}",
                how="counter" if row["energy_j"] is None else "integral",
                mean=energy / run["timed_runs"],
            )
        )
    return found


def _ran_there(run: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether the model ran on the device that the rail feeds: a machine's other GPUs say nothing about it."""
    if row["source"] != "nvml":
        return True
    index = run["device_index"]
    return run["device"] == "cuda" and (bool(row["is_only_device"]) if index is None else row["device_index"] == index)


def by_configuration(figures: Iterable[Figure], keys: Sequence[str] = KEYS) -> dict[tuple[Any, ...], list[Figure]]:
    """Group figures by these keys of their runs."""
    found: dict[tuple[Any, ...], list[Figure]] = {}
    for figure in figures:
        found.setdefault(tuple(figure.run[key] for key in keys), []).append(figure)
    return found
