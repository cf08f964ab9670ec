"""Sweeps through the real measuring process into a real lake: failures, skips, repetitions, interruptions."""

from __future__ import annotations

import datetime as dt
import os
import re
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.ground_truth import GroundTruthLoader
from groundlake.measure.doubts import Doubt
from groundlake.measure.plan import Configuration, SweepSettings
from groundlake.measure.sweep import Event, sweep
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODELS = """
import os
import signal
import torch
from torch import nn


def tiny():
    print("a model may print whatever it likes")
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))


tiny.input_shape = (3, 8, 8)


class Branching(nn.Module):
    input_shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.conv(x) if x.shape[0] < 100 else x


class Greedy(nn.Module):
    input_shape = (3,)

    def forward(self, x):
        return x.new_empty(1 << 60)


class Unpredictable(nn.Module):
    input_shape = (3,)

    def forward(self, x):
        return x * 2 if bool(x.sum() > 0) else x


def busy():
    return nn.Linear(2000, 2000)


busy.input_shape = (2000,)


def tiny_saying_where():
    with open(os.environ["PROCESSES"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    return tiny()


tiny_saying_where.input_shape = tiny.input_shape


def raising():
    raise ValueError("the weights are elsewhere")


def hanging():
    while True:
        pass


def hanging_saying_where():
    with open(os.environ["PROCESSES"], "w") as file:
        file.write(str(os.getpid()))
    hanging()


def dying():
    os.kill(os.getpid(), signal.SIGKILL)


def exiting():
    os.write(2, b"the disk of the weights is gone\\n\\n")
    os._exit(3)


def hoarding():
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 64)
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module with factories, importable here and in the measuring process."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(folder)
    return "own_models"


def settings(**changed: object) -> SweepSettings:
    return SweepSettings(**({"hardware_id": "bench", "warmup": 1, "runs": 4, "timeout_s": 60.0} | changed))


def test_a_measured_model_is_a_run_with_raw_samples_statistics_and_conditions(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    events: list[Event] = []
    name = f"{models}:tiny"
    chosen = settings(
        peaks={"fp32": 1e15}, peak_source="registry", thermal_profile="MAXN", session="night", note="door open"
    )
    result = sweep(lake, chosen, [Configuration(name, "fp32", 2)], events.append)
    assert [finished.reason for finished in result.done] == [None]
    assert (result.failed, result.skipped) == ([], [])
    kinds = [event.kind for event in events]
    assert (kinds[0], kinds[-1]) == ("waiting", "done")
    assert kinds.index("started") == 1 + max(place for place, kind in enumerate(kinds) if kind == "waiting")
    assert {event.phase for event in events if event.kind == "progress"} >= {"subgraphs", "whole model"}

    (run,) = lake.runs("bench").to_dicts()
    assert run["run_id"] == result.done[0].run_id == events[-1].run_id
    expected = {
        "status": "ok",
        "kind": "efficiency",
        "model": name,
        "precision": "fp32",
        "batch": 2,
        "device": "cpu",
        "input_shape": [2, 3, 8, 8],
        "timing_method": "perf_counter",
        "flops_method": "fx_chain_v1",
        "theoretical_peak_flops": 1e15,
        "theoretical_peak_source": "registry",
        "thermal_profile": "MAXN",
        "session_id": "night",
        "note": "door open",
        "started_at_zone_source": "clock",
        "warmup_runs": 1,
        "timed_runs": 4,
        "num_subgraphs": 3,
        "total_flops": 2 * 2 * 8 * 36 * 27 + 2 * 2 * 288 * 5,
        "run_index": None,
    }
    assert {column: run[column] for column in expected} == expected
    assert run["config_hash"]
    assert run["torch_version"]
    assert run["machine_fingerprint"]
    assert run["system_under_load"] is not None
    assert len(run["end_to_end_samples_ms"]) == 4
    assert run["end_to_end_latency_ms"] == pytest.approx(sum(run["end_to_end_samples_ms"]) / 4)

    rows = lake.frame("subgraph_timings", hardware_id="bench", model=name, batch=2).sort("subgraph_id")
    assert rows["node_names"].to_list() == [["_0", "_1", "_2"], ["_3"], ["_4"]]
    for row in rows.to_dicts():
        samples = row["latency_samples_ms"]
        assert len(samples) == row["latency_samples"] == 4
        assert row["latency_mean_ms"] == pytest.approx(sum(samples) / 4)
        assert (row["latency_min_ms"], row["latency_max_ms"]) == (min(samples), max(samples))
        if row["flops"]:
            rates = [row["flops"] / (sample / 1000) for sample in samples]
            assert row["achieved_flops"] == pytest.approx(sum(rates) / 4)
            assert row["efficiency_mean"] == pytest.approx(sum(rates) / 4 / 1e15)
            assert row["efficiency_samples"] == 4
        else:
            assert row["efficiency_mean"] is row["achieved_flops"] is row["efficiency_samples"] is None
    assert run["total_latency_ms"] == pytest.approx(rows["latency_mean_ms"].sum())


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A recorded trace of ten minutes: a rail between 10 and 12 W that changes every 2 ms."""
    moments = pl.Series(range(300_000)) / 500
    rows = pl.DataFrame({"timestamp_s": moments, "rail": "vdd", "power_w": 10 + (moments * 500) % 3})
    rows = rows.with_columns(energy_counter_j=11 * pl.col("timestamp_s"))
    rows.write_parquet(tmp_path / "trace.parquet")
    return str(tmp_path / "trace.parquet")


def test_power_is_read_around_the_timed_passes_of_the_whole_model(models: str, trace: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    chosen = settings(runs=60, warmup=2, power=trace, power_hz=200, baseline_s=0.0)
    sweep(lake, chosen, [Configuration(f"{models}:busy", "fp32", 64)])
    (run,) = lake.runs("bench").to_dicts()
    assert run["measured_window_s"] * 1000 >= sum(run["end_to_end_samples_ms"])
    (series,) = run["power_series"]
    assert (series["source"], series["rail"], series["semantics"]) == ("replay", "vdd", "instant")
    assert series["requested_period_s"] == 0.005
    assert abs(series["wall_offset_s"] - run["started_at"].replace(tzinfo=dt.timezone.utc).timestamp()) < 60
    rows = lake.frame("power_timeseries")
    assert set(rows["phase"]) == {"warmup", "measure"}
    assert (rows["timestamp_s"].min() < 0, rows["timestamp_s"].max() > run["measured_window_s"]) == (True, True)
    (energy,) = lake.sql("select * from run_energy").pl().to_dicts()
    # A busy machine may keep the recorder waiting: a gap, which the counter bridges.
    assert energy["reason"] in (None, "the readings leave a gap in the window")
    known_j = energy["counter_energy_j"] if energy["energy_j"] is None else energy["energy_j"]
    assert 10 <= known_j / energy["window_s"] <= 12
    (cost,) = lake.sql("select passes, energy_per_input_j from energy_per_inference").rows()
    assert cost == (60, pytest.approx(known_j / 60 / 64))


def test_a_sweep_with_a_sensor_begins_with_an_idle_baseline(models: str, trace: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    doubt = Doubt(code="not_representative", meaning="m", observed="o", threshold="t", advice="a")
    chosen = settings(runs=60, power=trace, power_hz=200, baseline_s=0.3, doubts=(doubt,))
    sweep(lake, chosen, [Configuration(f"{models}:busy", "fp32", 64)])
    idle, busy = lake.runs("bench").sort("started_at").to_dicts()
    assert (idle["kind"], idle["model"], idle["precision"], idle["batch"]) == ("idle_baseline", "idle", "none", 0)
    assert idle["session_id"] == busy["session_id"]
    assert idle["warnings"] == [str(doubt)]
    assert idle["measured_window_s"] >= 0.3
    assert set(lake.frame("power_timeseries", run_id=idle["run_id"])["phase"]) == {"baseline"}
    (above,) = lake.sql("select * from run_energy where kind = 'efficiency'").pl().to_dicts()
    assert above["baseline_run_id"] == idle["run_id"]
    known_j = above["counter_energy_j"] if above["energy_j"] is None else above["energy_j"]
    expected = known_j - above["baseline_power_w"] * above["window_s"]
    assert above["energy_above_baseline_j"] == pytest.approx(expected)
    again = sweep(lake, chosen, [Configuration(f"{models}:busy", "fp32", 64)])
    assert len(again.skipped) == 1
    assert lake.runs("bench").height == 2


def test_a_window_that_no_sensor_resolves_has_no_energy_and_says_why(models: str, trace: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    sweep(lake, settings(power=trace, power_hz=1, baseline_s=0.0), [Configuration(f"{models}:tiny", "fp32", 1)])
    ((energy_j, reason),) = lake.sql("select energy_j, reason from run_energy").rows()
    assert energy_j is None
    assert reason in (
        "fewer than two readings in the window",
        "the window is shorter than two updates of the sensor",
    )


def test_a_run_without_a_power_sensor_says_why(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    sweep(lake, settings(power="none"), [Configuration(f"{models}:tiny", "fp32", 1)])
    (run,) = lake.runs("bench").to_dicts()
    assert (run["power_notes"], run["power_series"]) == (["power: not asked for"], None)
    assert lake.frame("power_timeseries").is_empty()


def test_without_a_known_peak_there_is_no_efficiency(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    sweep(lake, settings(peaks={"fp32": None}, peak_source="registry"), [Configuration(f"{models}:tiny", "fp32", 1)])
    (run,) = lake.runs("bench").to_dicts()
    assert run["theoretical_peak_flops"] is run["theoretical_peak_source"] is None
    rows = lake.frame("subgraph_timings", hardware_id="bench")
    assert rows["theoretical_peak_flops"].null_count() == rows["efficiency_mean"].null_count() == rows.height
    assert rows.filter(pl.col("flops") > 0)["achieved_flops"].null_count() == 0
    record = GroundTruthLoader(lake_root).load("bench", f"{models}:tiny", "fp32", 1)
    assert record.model_summary.total_flops == run["total_flops"]


def test_what_fails_or_dies_is_a_failed_row_and_the_sweep_goes_on(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    wanted = [
        *(Configuration(f"{models}:{name}", "fp32", 1) for name in ("raising", "dying", "exiting")),
        Configuration(f"{models}:tiny", "tf32", 1),
        Configuration(f"{models}:tiny", "int4", 1),
        Configuration(f"{models}:tiny", "fp32", 1),
    ]
    result = sweep(lake, settings(), wanted)
    assert [str(finished.run) for finished in result.done] == ["own_models:tiny fp32 batch 1"]
    runs = lake.runs("bench")
    reasons = {
        (row["model"].split(":")[1], row["precision"]): row["error"]
        for row in runs.filter(pl.col("status") == "failed").to_dicts()
    }
    assert reasons[("raising", "fp32")].startswith("ValueError: the weights are elsewhere (own_models.py:")
    assert "SIGKILL" in reasons[("dying", "fp32")]
    assert reasons[("exiting", "fp32")].endswith("exit code 3; it printed last: the disk of the weights is gone")
    assert "tf32 is a mode of CUDA devices" in reasons[("tiny", "tf32")]
    assert "int4" in reasons[("tiny", "int4")]
    assert len(reasons) == len(result.failed) == 5
    failed = runs.filter(pl.col("status") == "failed")
    assert failed["timing_method"].unique().to_list() == ["none"]
    assert failed["kind"].unique().to_list() == ["efficiency"]
    for column in ("total_latency_ms", "timed_runs", "warmup_runs"):
        assert failed[column].null_count() == failed.height
    assert runs["software_fingerprint"].n_unique() == 1


def test_each_configuration_is_measured_in_a_process_of_its_own(
    models: str, lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = lake_root.with_name("processes")
    monkeypatch.setenv("PROCESSES", str(processes))
    wanted = [Configuration(f"{models}:tiny_saying_where", "fp32", batch) for batch in (1, 2, 3)]
    result = sweep(Lake(lake_root), settings(runs=1), wanted)
    assert len(result.done) == 3
    pids = [int(line) for line in processes.read_text().splitlines()]
    assert len(set(pids)) == 3
    assert os.getpid() not in pids


def test_what_no_memory_or_graph_is_found_for_is_a_failed_row(models: str, lake_root: Path) -> None:
    greedy, unpredictable = (Configuration(f"{models}:{name}", "fp32", 1) for name in ("Greedy", "Unpredictable"))
    result = sweep(Lake(lake_root), settings(runs=1), [greedy, unpredictable])
    reasons = {str(finished.run.configuration): finished.reason or "" for finished in result.failed}
    assert reasons[str(greedy)].startswith("RuntimeError: [enforce fail")
    assert "can't allocate memory" in reasons[str(greedy)]
    assert reasons[str(unpredictable)].startswith("the model cannot be traced")


@pytest.mark.parametrize("debug", [False, True])
def test_what_models_and_torch_print_is_kept_from_the_terminal_unless_debug(
    models: str, cli: Callable, tmp_path: Path, debug: bool
) -> None:
    wanted = ("--models", f"{models}:Unpredictable,{models}:tiny", "--batches", "1", "--runs", "1", "--warmup", "0")
    options = (*wanted, "--hw", "bench", "--device", "cpu", "--power", "none", "--wait", *(["--debug"] * debug))
    done = cli("ingest", *options, code=1, PYTHONPATH=str(tmp_path / "own"))
    assert "bench: 1 measured, 1 failed" in done.stdout
    assert "a model may print whatever it likes" not in done.stdout
    for printed in ("a model may print whatever it likes", "def forward("):
        assert (printed in done.stderr) is debug


def test_what_takes_more_memory_than_it_may_is_ended_and_the_sweep_goes_on(models: str, lake_root: Path) -> None:
    wanted = [Configuration(f"{models}:{name}", "fp32", 1) for name in ("hoarding", "tiny")]
    result = sweep(Lake(lake_root), settings(memory_limit_bytes=1 << 30), wanted)
    (failed,) = result.failed
    assert re.fullmatch(
        r"memory limit: the measuring process held \d\.\d\d GiB, the limit is 1\.00 GiB .*", failed.reason or ""
    )
    assert [str(finished.run) for finished in result.done] == ["own_models:tiny fp32 batch 1"]


def test_what_hangs_runs_out_of_time_and_the_sweep_goes_on(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    wanted = [Configuration(f"{models}:{name}", "fp32", 1) for name in ("hanging", "raising")]
    result = sweep(lake, settings(timeout_s=2.0), wanted)
    assert result.failed[0].reason == "timeout: no result within 2 s (--timeout)"
    assert lake.runs("bench").sort("started_at")["error"].str.contains("timeout|ValueError").to_list() == [True, True]


def test_a_model_that_is_exported_is_measured_under_another_method(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    result = sweep(lake, settings(), [Configuration(f"{models}:Branching", "fp32", 1)])
    assert result.failed == []
    assert lake.runs("bench")["flops_method"].to_list() == ["export_chain_v1"]
    assert lake.frame("subgraph_timings")["node_names"].to_list() == [["conv2d"]]


def test_a_second_sweep_skips_what_is_measured_and_retries_what_failed(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    good, bad = Configuration(f"{models}:tiny", "fp32", 1), Configuration(f"{models}:raising", "fp32", 1)
    sweep(lake, settings(), [good, bad])
    events: list[Event] = []
    again = sweep(lake, settings(), [good, bad], events.append)
    assert [run.configuration for run in again.skipped] == [good]
    assert [finished.run.configuration for finished in again.failed] == [bad]
    assert [event.kind for event in events if event.kind != "waiting"] == ["skipped", "started", "failed"]
    assert lake.runs("bench").height == 3


def test_a_repeated_sweep_measures_everything_anew_and_numbers_its_runs(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    wanted = [Configuration(f"{models}:tiny", "fp32", 1), Configuration(f"{models}:tiny", "bf16", 1)]
    sweep(lake, settings(), wanted[:1])
    sweep(lake, settings(repeat=2), wanted)
    runs = lake.runs("bench").sort("started_at")
    assert runs["run_index"].to_list() == [None, 1, 1, 2, 2]
    assert runs["session_id"].n_unique() == 2
    assert runs.filter(pl.col("precision") == "fp32")["config_hash"].n_unique() == 1
    half, single = (runs.filter(pl.col("precision") == name)["total_bytes"][0] for name in ("bf16", "fp32"))
    assert half < single


def test_nothing_is_started_when_everything_is_measured(models: str, lake_root: Path) -> None:
    lake = Lake(lake_root)
    lake.write({"hardware_id": "bench", "model": "no_such_model", "precision": "fp32", "batch": 1})
    result = sweep(lake, settings(device="cuda"), [Configuration("no_such_model", "fp32", 1)])
    assert (len(result.skipped), result.done, result.failed) == (1, [], [])


def test_an_unknown_model_stops_the_sweep_before_anything_is_written(models: str, lake_root: Path) -> None:
    for wrong, meant in (("resnt18", "resnet18"), (f"{models}:tny", f"{models}:tiny")):
        wanted = [Configuration(f"{models}:tiny", "fp32", 1), Configuration(wrong, "fp32", 1)]
        with pytest.raises(UsageError, match=meant):
            sweep(Lake(lake_root), settings(), wanted)
    assert not lake_root.exists()


def test_a_device_that_is_not_there_stops_the_sweep_before_anything_is_written(models: str, lake_root: Path) -> None:
    with pytest.raises(MissingDependencyError, match="cuda:99"):
        sweep(Lake(lake_root), settings(device="cuda:99"), [Configuration(f"{models}:tiny", "fp32", 1)])
    assert not lake_root.exists()


def test_a_process_that_dies_before_the_first_run_is_a_fault_of_the_environment(cli: Callable, tmp_path: Path) -> None:
    package = tmp_path / "broken" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os\nos._exit(3)\n")
    options = ("--models", "resnet18", "--device", "cpu", "--batches", "1")
    done = cli("ingest", *options, code=5, PYTHONPATH=str(package.parent))
    assert re.search(r"(?s)exit code 3.*torchvision", done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "lake").exists()


SCRIPT = """
import multiprocessing, sys
from groundlake.measure.doubts import Doubt
from groundlake.measure.plan import Configuration, SweepSettings
from groundlake.measure.sweep import sweep
from groundlake.store import Lake

if __name__ == "__main__":
    wanted = [Configuration("own_models:" + name, "fp32", 1) for name in ("tiny", "hanging_saying_where")]
    try:
        sweep(Lake(sys.argv[1]), SweepSettings(hardware_id="bench", warmup=0, runs=2), wanted)
    except KeyboardInterrupt:
        print("interrupted", len(multiprocessing.active_children()), "torch" in sys.modules)
"""


@pytest.fixture
def script(models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that measures one model and hangs in the next, whose process writes its pid into the pipe `pid`."""
    os.mkfifo(tmp_path / "pid")
    monkeypatch.setenv("PROCESSES", str(tmp_path / "pid"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    script = tmp_path / "own" / "script.py"
    script.write_text(SCRIPT)
    return script


@pytest.mark.parametrize("to_group", [False, True], ids=["parent only", "terminal, to all"])
def test_an_interruption_ends_the_measuring_process_and_keeps_what_is_done(
    script: Path, lake_root: Path, tmp_path: Path, to_group: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, str(script), str(lake_root)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        pid = int((tmp_path / "pid").read_text())
        (os.killpg if to_group else os.kill)(process.pid, signal.SIGINT)
        rest = process.stdout.read().split()
    assert rest == ["interrupted", "0", "False"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert Lake(lake_root).runs("bench")["model"].to_list() == ["own_models:tiny"]


def test_the_measuring_process_ends_when_its_parent_is_killed(script: Path, lake_root: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, str(script), str(lake_root)], stdout=subprocess.PIPE, text=True) as process:
        watched = os.pidfd_open(int((tmp_path / "pid").read_text()))
        process.kill()
    try:
        assert select.select([watched], [], [], 60)[0] == [watched]  # readable once the process has ended
    finally:
        os.close(watched)
