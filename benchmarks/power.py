"""What the power recorder costs and keeps: its period, what it adds to a latency, and the bytes of its readings.

    python benchmarks/power.py --rows 10000000

The sensor is the real one of a Jetson over a planted tree of files, because few machines that run this have a sensor.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from figures import Figure, median_with_interval, show

from groundlake import Lake
from groundlake.power import Recorder
from groundlake.power.jetson import JetsonSampler
from groundlake.power.recorder import TICKS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundlake.power import Rail, Reading

HZ = 20.0
FAST_HZ = 400.0
"""At this rate a recorder costs twenty times as much: an effect that stands out of the noise, divided by 20."""

ROWS = 10_000_000
MINUTE_S = 60
ROUNDS = 60
SECONDS = 30.0
PASSES = 6
MANY = 1_000_000
SETTLING_S = 1.0
REPEATS = 11
MODEL = "resnet18"
RAILS = {"VDD_GPU_SOC": (19_000, 504), "VDD_CPU_CV": (19_000, 104), "VIN_SYS_5V0": (5_000, 1_000)}
"""Rails of a Jetson AGX Orin: millivolts and milliamperes."""

VOLT_STEP_MV, AMPERE_STEP_MA = 8, 8
"""Steps of an INA3221: 8 mV on the bus, 40 uV over the 5 mOhm of a shunt."""

RUN = {"hardware_id": "bench", "precision": "fp32", "model": MODEL, "batch": 1}


Moments = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Settings:
    """How long everything is measured."""

    rows: int = ROWS
    rounds: int = ROUNDS
    seconds: float = SECONDS


@dataclass
class Metered:
    """A sampler that notes how much processor time its thread had used at each read."""

    inner: JetsonSampler
    used_ns: list[int] = field(default_factory=list)

    @property
    def rails(self) -> Sequence[Rail]:
        """Those of the sampler."""
        return self.inner.rails

    def read(self) -> Sequence[Reading]:
        """Read it."""
        self.used_ns.append(time.thread_time_ns())
        return self.inner.read()

    def close(self) -> None:
        """Close it."""
        self.inner.close()


def plant_sensor(root: Path) -> Path:
    """Write the files that the kernel of a Jetson shows for one monitor with three rails."""
    monitor = root / "sys" / "class" / "hwmon" / "hwmon3"
    monitor.mkdir(parents=True)
    (monitor / "name").write_text("ina3221\n")
    for number, (rail, (millivolts, milliamperes)) in enumerate(RAILS.items(), 1):
        (monitor / f"in{number}_label").write_text(f"{rail}\n")
        (monitor / f"in{number}_input").write_text(f"{millivolts}\n")
        (monitor / f"curr{number}_input").write_text(f"{milliamperes}\n")
    return root


def load() -> Callable[..., tuple[float, ...]] | None:
    """Return `time_end_to_end` of the model, still without its keywords; None without torch."""
    if find_spec("torch") is None:
        return None
    import torch

    from groundlake.measure.timing import time_end_to_end
    from groundlake.measure.zoo import load_model

    torch.manual_seed(0)
    loaded = load_model(MODEL)
    example = loaded.example(1, dtype=torch.float32, device="cpu")
    return partial(time_end_to_end, loaded.module, example)


def moments(
    root: Path, seconds: float, work: Callable[[float], object]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Moments at which a recorder at 20 Hz read, in s, during some work of so many seconds.

    The first second is left out: a phase of timing begins with a collection of garbage, which no measured window has.
    """
    with Recorder([JetsonSampler(root)], HZ) as recorder:
        work(seconds + SETTLING_S)
    read_s = recorder.frame(0.0).filter(rail=next(iter(RAILS)))["timestamp_s"].to_numpy()
    return read_s[read_s > read_s[0] + SETTLING_S]


def jitter(root: Path, seconds: float, passes: Callable[..., object] | None) -> tuple[list[Figure], list[float]]:
    """Periods of the recorder on an idle machine and beside the model, and how late each read was, in s."""

    def model(seconds: float) -> None:
        end_s = time.perf_counter() + seconds
        if passes is not None:
            passes(warmup=0, runs=MANY, enough=lambda _: time.perf_counter() > end_s)

    rows, late = [], [0.0]
    for label, work in [("idle", time.sleep), (f"beside {MODEL}", model)][: 2 if passes else 1]:
        read_s = moments(root, seconds, work)
        periods_ms = np.diff(read_s) * 1000
        note = f"{periods_ms.size} periods of {1000 / HZ:g} ms, longest {periods_ms.max():.1f} ms"
        rows += [
            Figure(what=f"period, {label} ({name})", door="Recorder", value=float(value), unit="ms", note=note)
            for name, value in zip(("p50", "p99"), np.quantile(periods_ms, [0.5, 0.99]), strict=True)
        ]
        behind = (read_s - read_s[0]) * HZ
        late = list((behind - np.round(behind)) / HZ)
    return rows, late


def overhead(root: Path, rounds: int, passes: Callable[..., tuple[float, ...]]) -> list[Figure]:
    """What a recorder adds to the latency of a model, and the processor time it takes.

    Each round times short blocks without, at 20 Hz and at 400 Hz, forth and back, so that a drift of the machine
    cancels; every other round the other way about. A round gives one ratio; their median with its interval is the
    result.
    """
    used_ns: dict[float, list[float]] = {HZ: [], FAST_HZ: []}

    def block(hz: float) -> float:
        samplers = [Metered(JetsonSampler(root))] if hz else []
        with Recorder(samplers, hz or HZ):
            times_ms = passes(warmup=1, runs=PASSES)
        for sampler in samplers:
            used_ns[hz].extend(np.diff(sampler.used_ns).tolist())
        return statistics.fmean(times_ms)

    slow, fast, control = [], [], []
    passes(warmup=PASSES, runs=1)
    for number in range(rounds):
        order = (0.0, HZ, FAST_HZ) if number % 2 else (FAST_HZ, HZ, 0.0)
        found: dict[float, list[float]] = {hz: [] for hz in order}
        for hz in (*order, *order[::-1]):
            found[hz].append(block(hz))
        without = statistics.fmean(found[0.0])
        slow.append(100 * (statistics.fmean(found[HZ]) / without - 1))
        fast.append(100 * (statistics.fmean(found[FAST_HZ]) / without - 1))
        control.append(100 * (found[0.0][0] / found[0.0][1] - 1))
    read_us = {hz: statistics.fmean(used) / 1000 for hz, used in used_ns.items()}
    scale = read_us[HZ] * HZ / (read_us[FAST_HZ] * FAST_HZ)
    noise = "two blocks without differ by {:+.2f} % [{:+.2f}, {:+.2f}]".format(*median_with_interval(control))
    scaled = f"{statistics.median(fast):+.1f} % there, where it takes {1 / scale:.1f} times the processor time"
    return [
        added(f"added to {MODEL} at 20 Hz", slow, f"{rounds} rounds; {noise}"),
        added("the same, from 400 Hz", [value * scale for value in fast], scaled),
        Figure(
            what="processor time at 20 Hz",
            door="Recorder",
            value=read_us[HZ] * HZ / 1e4,
            unit="%",
            note=f"of one core: {read_us[HZ]:.0f} us for each read of {len(RAILS)} rails",
        ),
    ]


def added(what: str, percents: Sequence[float], note: str) -> Figure:
    """Estimate what is added from one value for each round."""
    value, low, high = median_with_interval(percents)
    return Figure(what=what, door="Recorder", value=value, unit="%", low=low, high=high, target=1, note=note)


def series(rows: int, rails: Sequence[str], late: Sequence[float]) -> pl.DataFrame:
    """Make readings: moments as late as measured ones, powers in the steps of an INA3221 under a load that changes.

    Args:
        rows: Readings of each rail.
        rails: Names; all are read at the same moments, as by the recorder.
        late: How late measured reads were, in s; resampled, and interpolated so that no value comes twice.
    """
    chance = np.random.default_rng(0)
    behind = np.interp(chance.random(rows), np.linspace(0, 1, len(late)), np.sort(late))
    moment_s = np.round(np.sort(np.arange(rows) / HZ + behind) * TICKS_PER_S) / TICKS_PER_S  # as a recorder keeps them
    frames = []
    for rail in rails:
        level_w = np.repeat(chance.choice([4.5, 9.0, 14.0, 22.0], rows // 400 + 1), 400)[:rows]
        power_w = level_w + chance.normal(0, 0.25, rows)
        volts = np.round((19_000 - 20 * power_w + chance.normal(0, 4, rows)) / VOLT_STEP_MV) * VOLT_STEP_MV * 1e-3
        amperes = np.round(power_w / volts * 1000 / AMPERE_STEP_MA) * AMPERE_STEP_MA * 1e-3
        columns = {"timestamp_s": moment_s, "power_w": volts * amperes}
        frames.append(pl.DataFrame(columns).with_columns(rail=pl.lit(rail)))
    return pl.concat(frames).with_columns(phase=pl.lit("measure"), source=pl.lit("jetson_ina3221"))


def write(root: Path, rows: pl.DataFrame) -> tuple[float, Path]:
    """Write a run with these readings; return the time in s, and the file."""
    lake = Lake(root)
    lake.create()  # the zero-row anchors are no part of it
    start = time.perf_counter()
    lake.write(RUN, power_timeseries=rows)
    seconds = time.perf_counter() - start
    (part,) = (root / "power_timeseries").rglob(f"model={MODEL}/*/*.parquet")
    return seconds, part


def plain_bytes(part: Path) -> tuple[int, float]:
    """Bytes of the same rows as pyarrow writes them with zstd when nothing else is said, and the time in s."""
    file, sink, seconds = pq.ParquetFile(part), io.BytesIO(), 0.0
    with pq.ParquetWriter(sink, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(1 << 20):
            start = time.perf_counter()
            writer.write_batch(batch)
            seconds += time.perf_counter() - start
    return sink.getbuffer().nbytes, seconds


def integer_bytes(rows: pl.DataFrame) -> int:
    """Bytes of time, power and rail alone, rounded to integers of ns and mW, delta-encoded, with zstd."""
    rounded = rows.select(
        t_ns=(pl.col("timestamp_s") * 1e9).round().cast(pl.Int64),
        power_mw=(pl.col("power_w") * 1e3).round().cast(pl.Int32),
    ).to_arrow()
    rail = pa.array(["VDD_IN"]).dictionary_encode().take(pa.array(np.zeros(rows.height, dtype=np.int32)))
    sink = io.BytesIO()
    encoding = dict.fromkeys(("t_ns", "power_mw"), "DELTA_BINARY_PACKED")
    table = rounded.append_column("rail", rail)
    pq.write_table(table, sink, compression="zstd", use_dictionary=["rail"], column_encoding=encoding)
    return sink.getbuffer().nbytes


def density(folder: Path, rows: int, late: Sequence[float]) -> list[Figure]:
    """Bytes of a reading in a long series of one rail and in a minute of three, the write rate, and a range query."""
    figures = []
    cases = {f"{rows:,} of one rail": series(rows, ["VDD_GPU_SOC"], late)}
    cases[f"{MINUTE_S} s of {len(RAILS)} rails"] = series(round(MINUTE_S * HZ), list(RAILS), late)
    for number, (label, readings) in enumerate(cases.items()):
        root = folder / str(number)
        seconds, part = write(root, readings)
        count = readings.height
        plain, plain_s = plain_bytes(part)
        note = f"pyarrow with zstd {plain / count:.2f}; integers of ns and mW {integer_bytes(readings) / count:.2f}"
        size = part.stat().st_size / count
        target = 4 if number == 0 else None
        figures.append(
            Figure(what=f"a reading, {label}", door="Lake.write", value=size, unit="B", target=target, note=note)
        )
        note = f"pyarrow's writer alone {count / plain_s / 1e6:.2f}"
        rate = count / seconds / 1e6
        figures.append(Figure(what=f"write rate, {label}", door="Lake.write", value=rate, unit="Mrow/s", note=note))
    figures.append(range_query(folder / "0", rows))
    return figures


def range_query(root: Path, rows: int) -> Figure:
    """Time to find and average a hundredth of the long series, through the view and from the file alone."""
    Lake(root).bind_views()
    (part,) = (root / "power_timeseries").rglob(f"model={MODEL}/*/*.parquet")
    wanted = f"where timestamp_s between {rows / HZ / 2} and {rows / HZ * 0.51}"
    times_ms = {}
    with duckdb.connect(str(root.with_suffix(".db")), read_only=True) as connection:
        connection.execute("SET enable_progress_bar = false")
        for place in ("power_timeseries", f"read_parquet('{part}')"):
            query = f"select count(*), avg(power_w) from {place} {wanted}"  # noqa: S608 - our names and numbers
            connection.execute(query).fetchall()
            found = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                connection.execute(query).fetchall()
                found.append((time.perf_counter() - start) * 1000)
            times_ms[place] = statistics.median(found)
    view, file = times_ms.values()
    note = f"the file alone {file:.1f} ms"
    return Figure(what=f"1 % of {rows:,} readings", door="open lake.db", value=view, unit="ms", note=note)


def measure(settings: Settings) -> list[Figure]:
    """Run everything in a temporary folder; without torch, what needs a model is left out."""
    passes = load()
    with tempfile.TemporaryDirectory() as name:
        sensor = plant_sensor(Path(name) / "sensor")
        figures, late = jitter(sensor, settings.seconds, passes)
        if passes is not None:
            figures += overhead(sensor, settings.rounds, passes)
        return figures + density(Path(name), settings.rows, late)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how long everything is measured."""
    parser.add_argument("--rows", type=int, default=ROWS, help="Readings of the long series.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Rounds of blocks with and without the recorder.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="How long the recorder's periods are watched.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    options = parser.parse_args()
    print(show(measure(Settings(options.rows, options.rounds, options.seconds))))


if __name__ == "__main__":
    main()
