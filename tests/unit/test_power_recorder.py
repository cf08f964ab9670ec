"""The recorder, with sensors that the test moves, and recorded traces in the place of a sensor."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.errors import UsageError
from groundlake.power import Rail, Reading, Recorder
from groundlake.power.replay import ReplaySampler
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timestamp_s,rail,power_w\n0,a,1\n1,a,fast\n", "power_w is no number in line 3: 'fast'"),
        ("timestamp_s,rail,power_w\n" + "0,a,1\n" * 200 + "1,a,fast\n", "power_w is no number in line 202: 'fast'"),
        ("timestamp_s,rail,power_w\n1,a,2\n0,a,-3\n", r"numbers from 0 on; line 3 has .*power_w -3\.0"),
        ("timestamp_s,rail,power_w\n-1,a,3\n", "numbers from 0 on"),
        ("timestamp_s,rail,power_w\n0,a,nan\n", "numbers from 0 on"),
        ("time,power_w\n0,3\n", "has no column timestamp_s and no rail; it has time, power_w"),
        ("timestamp_s,rail\n0,a\n", "has no column one of power_w, energy_counter_j, temperature_c"),
        ("timestamp_s,rail,power_w\n", "has columns and no rows"),
        ("", "the file is empty"),
    ],
)
def test_a_file_that_is_no_trace_is_named_with_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"trace\.csv.*{told}(.|\n)*timestamp_s \(from 0\), rail"):
        ReplaySampler.of_file(path)


def test_a_value_of_parquet_that_is_no_number_is_named_by_its_row(tmp_path: Path) -> None:
    rows = pl.DataFrame({"timestamp_s": [0.0, 1.0], "rail": ["a", "a"], "power_w": ["1", "fast"]})
    rows.write_parquet(tmp_path / "trace.parquet")
    with pytest.raises(UsageError, match=r"trace\.parquet: power_w is no number in row 2: 'fast'"):
        ReplaySampler.of_file(tmp_path / "trace.parquet")
    rows.with_columns(power_w=pl.Series([[1], [2]])).write_parquet(tmp_path / "trace.parquet")
    with pytest.raises(UsageError, match="power_w holds neither numbers nor texts"):
        ReplaySampler.of_file(tmp_path / "trace.parquet")


class Steps:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


TRACE = pl.DataFrame(
    {
        "timestamp_s": [0.0, 0.1, 0.2, 0.2, 0.4],
        "rail": ["a", "a", "a", "b", "a"],
        "power_w": [1.0, 2.0, None, 7.0, 3.0],
    }
)


def test_a_replay_gives_what_each_rail_said_last(tmp_path: Path) -> None:
    TRACE.write_csv(tmp_path / "trace.csv")
    clock = Steps()
    sampler = ReplaySampler.of_file(tmp_path / "trace.csv", clock=clock, semantics="average_1s")
    assert [(rail.name, rail.semantics) for rail in sampler.rails] == [("a", "average_1s"), ("b", "average_1s")]
    seen = []
    for moment in (0.0, 0.15, 0.25, 0.4):
        clock.now_s = moment
        seen.append({reading.rail.name: reading.power_w for reading in sampler.read()})
    assert seen == [{"a": 1.0}, {"a": 2.0}, {"b": 7.0}, {"a": 3.0, "b": 7.0}]
    clock.now_s = 0.5
    with pytest.raises(OSError, match=r"ended after 0\.4 s"):
        sampler.read()


@pytest.mark.parametrize("trace", [TRACE.clear(), TRACE.drop("rail")])
def test_a_trace_without_rows_or_rails_is_refused(trace: pl.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"has no column rail|has columns and no rows"):
        ReplaySampler(trace)


class Driver:
    """A sensor whose every read is the test's: numbers are watts, an error is raised; the last one repeats.

    `finished` is set when all of them were read.
    """

    def __init__(
        self,
        *answers: float | dict[str, float] | Exception,
        clock: Steps | None = None,
        step_s: float = 0.0,
        semantics: str = "instant",
    ) -> None:
        self.rails = [Rail(source="replay", name="a", semantics=semantics)]
        self.finished = threading.Event()
        self.closed = False
        self._answers = list(answers)
        self._clock, self._step_s = clock, step_s

    def read(self) -> list[Reading]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if len(self._answers) == 1:
            self.finished.set()
        if self._clock is not None:
            self._clock.now_s += self._step_s
        if isinstance(answer, Exception):
            raise answer
        values = answer if isinstance(answer, dict) else {"power_w": answer}
        return [Reading(rail=self.rails[0], **values)]

    def close(self) -> None:
        self.closed = True


def test_readings_carry_phase_and_moment_and_meet_the_contract(lake_root: Path) -> None:
    sensor = Driver(5.0, 5.0, 6.0, 7.0)
    with Recorder([sensor], hz=1000) as recorder:
        recorder.phase = "measure"
        start_s = recorder.now()
        assert sensor.finished.wait(30)
    assert sensor.closed
    rows = recorder.frame(start_s)
    run = {"hardware_id": "dev", "model": "net", "precision": "fp32", "batch": 1}
    lake = Lake(lake_root)
    lake.write(run, power_timeseries=rows)
    kept = lake.frame("power_timeseries")
    assert kept["power_w"].to_list()[:3] == [5.0, 5.0, 6.0]
    assert kept["timestamp_s"].is_sorted()
    assert set(kept["phase"]) <= {"warmup", "measure"}
    assert kept["phase"][-1] == "measure"
    assert set(kept.select("source", "rail", "averaging_s").rows()) == {("replay", "a", 0.0)}


def test_a_sensor_that_fails_midway_leaves_a_gap_that_is_counted_and_not_filled() -> None:
    clock = Steps()
    sensor = Driver(5.0, *[OSError("gone")] * 4, 6.0, 6.0, clock=clock, step_s=0.001)
    with Recorder([sensor], hz=1000, clock=clock) as recorder:
        assert sensor.finished.wait(30)
    (facts,) = recorder.facts()
    assert recorder.frame(0.0)["power_w"].to_list()[:2] == [5.0, 6.0]
    assert (facts.failed_reads, facts.gaps) == (4, 1)
    assert facts.requested_period_s == 0.001


def test_a_sensor_that_repeats_itself_is_found_out() -> None:
    clock = Steps()
    sensor = Driver(*(float(number // 4) for number in range(16)), clock=clock, step_s=0.01)
    with Recorder([sensor], hz=100, clock=clock) as recorder:
        assert sensor.finished.wait(30)
    (facts,) = recorder.facts()
    readings = recorder.frame(0.0).height
    assert facts.distinct_share == pytest.approx(4 / readings)
    assert facts.value_period_s == pytest.approx((readings - 1) * 0.01 / 3)
    assert facts.observed_period_s == pytest.approx(0.01)


def test_a_rail_that_never_answered_has_facts_without_numbers() -> None:
    sensor = Driver(OSError("gone"), OSError("gone"))
    with Recorder([sensor], hz=1000) as recorder:
        assert sensor.finished.wait(30)
    (facts,) = recorder.facts()
    assert recorder.frame(0.0).is_empty()
    assert (facts.observed_period_s, facts.value_period_s, facts.distinct_share) == (None, None, None)
    assert facts.failed_reads > 0


def test_what_is_true_of_the_power_does_not_count_the_energy_beside_it() -> None:
    clock = Steps()
    silent = [{"energy_counter_j": 100.0 + number} for number in range(4)]
    both = {"power_w": 5.0, "energy_counter_j": 99.0}
    sensor = Driver(both, *silent, {**both, "power_w": 6.0}, both, clock=clock, step_s=0.001)
    with Recorder([sensor], hz=1000, clock=clock) as recorder:
        assert sensor.finished.wait(30)
    (facts,) = recorder.facts()
    rows = recorder.frame(0.0)
    powers = rows["power_w"].count()
    assert rows.height == powers + 4
    assert (facts.failed_reads, facts.gaps) == (4, 1)
    assert facts.distinct_share == pytest.approx(3 / powers)
    assert facts.value_period_s == pytest.approx((rows.height - 1) * 0.001 / 2)


def test_what_is_true_of_a_counter_is_about_its_counts() -> None:
    clock = Steps()
    counts = [{"energy_counter_j": float(number)} for number in (0, 1, 2, 3)]
    sensor = Driver(*counts[:2], OSError("gone"), *counts[2:], clock=clock, step_s=0.001, semantics="counter")
    with Recorder([sensor], hz=1000, clock=clock) as recorder:
        assert sensor.finished.wait(30)
    (facts,) = recorder.facts()
    rows = recorder.frame(0.0)
    assert facts.failed_reads == 1
    assert facts.distinct_share == pytest.approx(4 / rows.height)
    assert rows["averaging_s"].null_count() == rows.height


class TwoDevices:
    """A sensor whose devices take 10 ms each to read; the second one fails at the read with number `fails`."""

    def __init__(self, clock: Steps, *, fails: int = -1) -> None:
        self.rails = [Rail(source="replay", name=name, semantics="instant") for name in "ab"]
        self.finished = threading.Event()
        self._clock, self._fails, self._reads = clock, fails, 0

    def read(self) -> Iterator[Reading]:
        for rail in self.rails:
            if rail.name == "b" and self._reads == self._fails:
                self._reads += 1
                raise OSError("gone")
            self._clock.now_s += 0.01
            yield Reading(rail=rail, power_w=1.0)
        self._reads += 1
        if self._reads == 4:
            self.finished.set()

    def close(self) -> None:
        """Nothing is held."""


def test_each_device_is_stamped_when_it_is_read() -> None:
    clock = Steps()
    sensor = TwoDevices(clock)
    with Recorder([sensor], hz=100, clock=clock) as recorder:
        assert sensor.finished.wait(30)
    rows = recorder.frame(0.0)
    first, second = (rows.filter(rail=name)["timestamp_s"][:3].to_list() for name in "ab")
    assert first == pytest.approx([0.005, 0.025, 0.045], abs=2**-20)
    assert second == pytest.approx([0.015, 0.035, 0.055], abs=2**-20)
    assert all((moment * 2**20).is_integer() for moment in rows["timestamp_s"])


def test_a_device_that_fails_leaves_the_reading_of_the_one_before_it() -> None:
    clock = Steps()
    sensor = TwoDevices(clock, fails=1)
    with Recorder([sensor], hz=100, clock=clock) as recorder:
        assert sensor.finished.wait(30)
    first, second = recorder.facts()
    assert (first.failed_reads, second.failed_reads) == (0, 1)


def test_a_rail_of_a_trace_without_power_is_a_counter() -> None:
    trace = TRACE.with_columns(
        power_w=pl.when(rail="a").then("power_w"), energy_counter_j=pl.when(rail="b").then(pl.lit(3.0))
    )
    assert [rail.semantics for rail in ReplaySampler(trace).rails] == ["instant", "counter"]
