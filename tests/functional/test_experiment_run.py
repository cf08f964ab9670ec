"""Experiments through real processes into a real lake: a small model, and a server on loopback."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from experiment_runs import HANG, one, plan_of
from llm_server import MODEL, LlmServer, error

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.experiment import ExperimentResult
from groundlake.experiment.plan import ExperimentPlan
from groundlake.experiment.prompts import read_prompts
from groundlake.experiment.runner import Event, Outcome, run_experiment
from groundlake.importers import import_experiments
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow  # together they take minutes

pytest.importorskip("httpx2", reason="httpx2 is not installed: pip install 'groundlake[experiment]'")

WATTS = 40.0
STEP_S = 0.001


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A file of three prompts."""
    file = tmp_path / "prompts.txt"
    file.write_text("hello there\nwho are you\nsay something short\n")
    return file


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of a counter that goes on by 40 W, and of a power that never answers in time."""
    moments = pl.int_range(0, 120_000, eager=True).cast(pl.Float64) * STEP_S
    trace = pl.DataFrame({"timestamp_s": moments, "rail": "package-0", "energy_counter_j": moments * WATTS})
    file = tmp_path_factory.mktemp("trace") / "trace.parquet"
    trace.write_parquet(file)
    return file


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small model with random weights and its tokenizer."""
    pytest.importorskip("transformers", reason="transformers is missing: pip install 'groundlake[transformers]'")
    from groundlake.llm.tiny import make_tiny_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # a model as small as this is slower in several, where others work, too
        yield make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("shape", [(1, 1), (2, 3)], ids=["one by one", "two processes, batches of three"])
def test_a_local_model_is_measured_and_the_lake_and_the_result_say_the_same(
    tiny_model: Path, prompts: Path, counters: Path, lake_root: Path, shape: tuple[int, int]
) -> None:
    (processes, batch), lake, n = shape, Lake(lake_root), 7
    plan = ExperimentPlan(
        backend="transformers",
        model=str(tiny_model),
        prompts=read_prompts(prompts, n),
        hardware_id="bench",
        max_new_tokens=6,
        ignore_eos=True,
        batch=batch,
        processes=processes,
        device="cpu",
        warmup=1,
        baseline_s=0.1,
        power=str(counters),
        power_hz=100.0,
        session="night",
        cycle=2,
        note="door open",
    )
    outcome = run_experiment(lake, plan)
    result = outcome.result
    assert result is not None
    row = one(lake, "select * from experiment_summary")
    assert (row["model"], row["precision"], row["batch"], row["device"]) == ("tiny", "fp32", batch, "cpu")
    assert (row["run_id"], row["experiment_id"]) == (outcome.run_id, result.experiment_id) == (outcome.run_id,) * 2
    assert (row["num_processes"], row["num_requests"], row["failed_requests"]) == (processes, n, 0)
    assert (row["study"], row["cycle"], row["warmup_requests"]) == ("night", 2, processes * batch)
    assert (row["output_tokens"], row["token_timing"]) == (n * 6, "streaming")
    assert row["input_tokens"] == result.input_tokens == sum(len(f"s{text}") for text in plan.prompts.items)
    assert (row["num_ttft"], row["num_itl"], row["num_e2e"]) == (n, n * 5, n)
    assert result.latency_stats is not None
    assert result.latency_stats.ttft_p95_ms == pytest.approx(row["ttft_p95_ms"])
    assert result.latency_stats.itl_full_p99_ms == pytest.approx(row["itl_p99_ms"])
    # The energy is the counter's over the window, to one of its steps at each end.
    window_s = one(lake, "select measured_window_s from runs where kind = 'llm_inference'")["measured_window_s"]
    assert window_s == pytest.approx(row["wall_time_s"], abs=1e-5), "one window, from the first start to the last end"
    assert row["energy_j"] == result.total_energy_j == pytest.approx(WATTS * window_s, abs=0.05 * WATTS)
    assert (row["energy_source"], row["energy_scope"], row["energy_method"]) == ("replay", "cpu", "counter")
    assert row["baseline_power_w"] == pytest.approx(WATTS, rel=0.2)
    assert row["energy_above_baseline_j"] == result.energy_breakdown.adjusted_unclamped_j
    stored = lake.frame("energy_estimates").select("scope", "method", "energy_j", "window_s").rows()
    assert sorted(stored) == sorted((s.scope, s.method, s.energy_j, s.window_s) for s in result.energy_statements)
    assert (row["flops_estimate_method"], row["flops_confidence"]) == ("palm_formula", "medium")
    assert row["flops"] == 2 * _parameters(lake) * row["total_tokens"]
    assert result.aggregation is not None
    assert (len(result.process_results), result.aggregation.num_processes) == (processes, processes)
    assert result.timeseries is None
    run = lake.runs("bench").filter(kind="llm_inference").row(0, named=True)
    assert (run["session_id"], run["run_index"], run["note"], run["status"]) == ("night", 2, "door open", "ok")
    assert run["config_hash"] == result.measurement_config_hash
    late = {"power_gap", "sensor_too_slow"}  # on a busy machine the recorder comes late, and that is told, too
    codes = [code for text in run["warnings"] if (code := text.split(":")[0]) not in late]
    assert codes == ["short_duration", "few_prompts"]
    doubts = lake.frame("measurement_warnings").sort("code")
    assert set(doubts["code"]) - late == {"few_prompts", "short_duration"}
    assert sorted(doubts["observed"]) == sorted(each.observed for each in result.measurement_doubts)
    assert lake.check() == []


def _parameters(lake: Lake) -> int:
    """Parameters behind the estimate of the operations, as its note says."""
    note = one(lake, "select note from flops_estimates where process_index is null")["note"]
    return int(note.split(" x ")[1].split()[0])


def test_a_result_folder_holds_what_the_lake_holds_and_importing_it_adds_nothing(
    cli: Callable, prompts: Path, counters: Path, lake_root: Path, tmp_path: Path
) -> None:
    with LlmServer() as server:
        done = cli(
            *("experiment", "run", "--backend", "openai", "--model", MODEL, "--base-url", server.url),
            *("--prompts", prompts, "--n", "60", "--concurrency", "4", "--warmup", "2"),
            *("--hw", "bench", "--device", "cpu", "--precision", "int4", "--name", "quick"),
            *("--power", counters, "--power-hz", "400", "--baseline", "0.1"),
            *("--repeat", "2", "--save", "results", "--export-csv", "out/all.csv"),
        )
        assert len(server.received) == 2 * (60 + 4), "a connection for each request that is in flight is opened before"
    lake = Lake(lake_root)
    rows = lake.sql("select * from experiment_summary order by cycle").pl()
    assert rows["cycle"].to_list() == [1, 2]
    assert rows["configuration"].n_unique() == rows["config_hash"].n_unique() == 1
    for row in rows.iter_rows(named=True):
        assert (row["num_requests"], row["output_tokens"], row["precision"], row["batch"]) == (60, 300, "int4", 0)
        assert f"next: lake experiment show {row['run_id']}" in done.stdout
        assert f"{row['output_tokens_per_s']:.4g} of answers" in done.stdout
        assert f"p50 {row['ttft_p50_ms']:.4g} ms, p95 {row['ttft_p95_ms']:.4g} ms" in done.stdout
        assert f"{row['energy_per_output_token_j']:.4g} J per token of answers" in done.stdout
    baselines = lake.runs("bench").filter(kind="idle_baseline")
    assert baselines["session_id"].to_list() == ["quick"]
    assert rows["baseline_method"].to_list() == ["fresh", "cached"]
    folders = sorted((tmp_path / "results").iterdir())
    assert [sorted(path.name for path in folder.iterdir()) for folder in folders] == [["result.json"]] * 2
    saved = {ExperimentResult.from_json(folder).experiment_id for folder in folders}
    assert saved == set(rows["run_id"])
    told = cli("experiment", "csv").stdout
    assert sorted((tmp_path / "out" / "all.csv").read_text().splitlines()) == sorted(told.splitlines())
    before = lake.runs().height
    report = import_experiments(lake, [tmp_path / "results"])
    assert "there already            2" in "\n".join(report.lines())
    assert Lake(lake_root).runs().height == before
    other = Lake(tmp_path / "other")
    import_experiments(other, [tmp_path / "results"])
    same = (
        "select run_id, configuration, device, energy_scope, energy_j, config_hash from experiment_summary order by 1"
    )
    assert other.sql(same).rows() == lake.sql(same).rows(), "a run means the same in every lake"
    assert lake.check() == []


def test_an_experiment_without_any_answer_is_a_failed_run_with_the_reason(
    cli: Callable, prompts: Path, lake_root: Path
) -> None:
    with LlmServer(*[error(500, "out of order")] * 4) as server:
        gone = plan_of(server, prompts)
        failed = _cli_run(cli, server.url, prompts, "--n", "3", "--warmup", "1", code=1)
    assert "all 3 requests failed: http_500 3" in failed.stdout
    assert "1 of 1 experiments failed" in failed.stderr
    outcome = run_experiment(Lake(lake_root), gone)  # nobody listens any more
    assert str(outcome.reason).startswith("all requests of the warm-up failed (connection 1)")
    runs = Lake(lake_root).runs("bench").filter(kind="llm_inference")
    assert runs["status"].to_list() == ["failed", "failed"]
    assert all(reason.startswith("all ") for reason in runs["error"])
    assert Lake(lake_root).frame("experiment_requests").is_empty()


def _cli_run(cli: Callable, url: str, prompts: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    common = ("experiment", "run", "--backend", "openai", "--model", MODEL, "--prompts", prompts, "--base-url", url)
    return cli(*common, "--hw", "bench", "--power", "none", "--baseline", "0", *options, code=code)


def test_a_process_that_is_killed_fails_the_experiment_and_ends_the_others(prompts: Path, lake_root: Path) -> None:
    lake, pids = Lake(lake_root), []
    with LlmServer(HANG, HANG) as server:
        killer = threading.Thread(target=_kill_one, args=(server, pids))
        killer.start()
        outcome = run_experiment(lake, plan_of(server, prompts, processes=2, concurrency=2, warmup=0))
        killer.join()
    assert outcome.result is None
    assert "was killed by signal SIGKILL, as the kernel does when memory runs out" in str(outcome.reason)
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    run = lake.runs("bench").row(0, named=True)
    assert (run["status"], run["error"], run["run_id"]) == ("failed", outcome.reason, outcome.run_id)
    assert lake.check() == []


def _kill_one(server: LlmServer, pids: list[int]) -> None:
    """Kill one of the processes as soon as a request is there."""
    assert server.is_busy.wait(60)
    children = [child.pid for child in multiprocessing.active_children() if child.name == "groundlake-experiment"]
    pids += [pid for pid in children if pid is not None]
    os.kill(pids[0], signal.SIGKILL)


@pytest.fixture
def under_way(prompts: Path, lake_root: Path, cli: Callable) -> Iterator[tuple[subprocess.Popen, list[int]]]:
    """An experiment of two processes that a server never answers, and their pids."""
    with LlmServer(HANG, HANG) as server:
        command = [sys.executable, "-m", "groundlake", "experiment", "run", "--backend", "openai", "--model", MODEL]
        command += ["--base-url", server.url, "--prompts", str(prompts), "--n", "4", "--hw", "bench", "--power", "none"]
        command += ["--processes", "2", "--concurrency", "2", "--warmup", "0", "--baseline", "0"]
        with subprocess.Popen(
            command, cwd=cli.folder, env=cli.environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert server.is_busy.wait(120)
            yield process, _children(process.pid)
            process.kill()


def _children(pid: int) -> list[int]:
    """Processes of an experiment below a process, the resource tracker left out."""
    below = [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in below if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_processes_and_writes_nothing(
    under_way: tuple[subprocess.Popen, list[int]], lake_root: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process, children = under_way
    assert len(children) == 2
    watched = [os.pidfd_open(child) for child in children]
    process.send_signal(number)
    assert process.stderr is not None
    assert "interrupted" in process.stderr.read()
    assert process.wait() == 130
    _assert_ended(watched)
    assert not lake_root.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.txt"]


def test_the_processes_end_when_their_parent_is_killed(under_way: tuple[subprocess.Popen, list[int]]) -> None:
    process, children = under_way
    watched = [os.pidfd_open(child) for child in children]
    process.kill()
    _assert_ended(watched)


def _assert_ended(watched: list[int]) -> None:
    try:
        for descriptor in watched:
            assert select.select([descriptor], [], [], 60)[0] == [descriptor]  # readable once the process has ended
    finally:
        for descriptor in watched:
            os.close(descriptor)


@pytest.fixture
def small_disk(disk_of: Callable[[str], Path]) -> Path:
    """A file system of 8 MiB."""
    return disk_of("8m")


def test_a_disk_that_fills_up_midway_leaves_the_lake_whole_and_the_saved_result_readable(
    small_disk: Path, prompts: Path, tmp_path: Path
) -> None:
    lake, saved = Lake(small_disk / "lake"), []
    lake.write({"hardware_id": "bench", "model": "earlier"})

    def fill(event: Event) -> None:
        if event.now == "measuring" and not event.done:
            with (small_disk / "other").open("wb") as file:
                file.truncate(0)
                free = os.statvfs(small_disk)
                file.write(b"x" * (free.f_bavail * free.f_frsize))

    def save(outcome: Outcome) -> None:
        assert outcome.result is not None
        saved.append(outcome.result.save(tmp_path / "results"))

    with LlmServer() as server, pytest.raises(LakeEnvironmentError, match="disk is full"):
        run_experiment(lake, plan_of(server, prompts), on_event=fill, before_writing=save)
    assert ExperimentResult.from_json(saved[0]).output_tokens == 40
    assert lake.runs()["model"].to_list() == ["earlier"]
    assert lake.check() == []
    with LlmServer() as server, pytest.raises(LakeEnvironmentError, match="disk is full"):
        run_experiment(lake, plan_of(server, prompts))
    assert server.received == []  # found out before anything was asked


def test_a_result_that_cannot_be_saved_is_in_the_lake_all_the_same(
    cli: Callable, small_disk: Path, prompts: Path, lake_root: Path
) -> None:
    with (small_disk / "other").open("wb") as file:
        free = os.statvfs(small_disk)
        file.write(b"x" * (free.f_bavail * free.f_frsize))
    with LlmServer() as server:
        refused = _cli_run(cli, server.url, prompts, "--n", "3", "--save", str(small_disk / "results"), code=5)
    assert "disk is full" in refused.stderr
    assert Lake(lake_root).runs("bench").filter(kind="llm_inference")["status"].to_list() == ["ok"]


@pytest.mark.parametrize("missing", ["httpx2", "torch"])
def test_a_missing_extra_is_named_before_anything_is_written(
    cli: Callable, prompts: Path, tmp_path: Path, missing: str
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / f"{missing}.py").write_text("raise ImportError('left out')")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    options = {
        "httpx2": ("--backend", "openai", "--model", MODEL, "--base-url", "http://127.0.0.1:9"),
        "torch": ("--backend", "transformers", "--model", "model", "--device", "cpu"),
    }[missing]
    common = ("experiment", "run", "--prompts", prompts, "--n", "3", "--baseline", "0", "--hw", "bench")
    refused = cli(*common, *options, code=3, PYTHONPATH=str(tmp_path / "without"))
    assert "pip install 'groundlake[" in refused.stderr
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--backend", "openai", "--model", MODEL), "--base-url http://HOST:8000/v1, or OPENAI_BASE_URL"),
        (("--backend", "openai", "--model", MODEL, "--base-url", "http://10.1.2.3/v1"), "give --hw ID"),
        (
            ("--backend", "openai", "--model", MODEL, "--base-url", "http://10.1.2.3/v1", "--hw", "h200_sxn"),
            "did you mean h200_sxm",
        ),
        (("--backend", "transformers", "--model", "org/name", "--remote"), "--remote is about an endpoint"),
        (("--backend", "transformers", "--model", "org/name", "--repeat", "2", "--cycle", "1"), "leave --cycle out"),
        (("--backend", "transformers", "--model", "org/name", "--save", "prompts.txt"), "is a file; give a folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_at_once(
    cli: Callable, prompts: Path, lake_root: Path, options: tuple[str, ...], said: str
) -> None:
    assert said in cli("experiment", "run", "--prompts", prompts, *options, code=2).stderr
    assert not lake_root.exists()


def test_a_model_that_is_none_is_refused_and_nothing_is_written(prompts: Path, lake_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is missing: pip install 'groundlake[transformers]'")
    (tmp_path / "config.json").write_text('{"model_type": "no_such_kind"}')
    told = {"backend": "transformers", "model": str(tmp_path), "hardware_id": "bench", "device": "cpu"}
    plan = ExperimentPlan(prompts=read_prompts(prompts), power="none", **told)
    with pytest.raises(UsageError, match="cannot be loaded"):
        run_experiment(Lake(lake_root), plan)
    assert not lake_root.exists()


def test_a_dry_run_prints_the_plan_and_the_hash_and_writes_nothing(
    cli: Callable, prompts: Path, lake_root: Path
) -> None:
    options = ("experiment", "run", "--backend", "openai", "--model", MODEL, "--prompts", prompts, "--dry-run")
    here = cli(*options, "--hw", "bench", "--name", "a", OPENAI_BASE_URL="http://127.0.0.1:9").stdout
    there = cli(*options, "--base-url", "http://10.1.2.3/v1", "--hw", "other", "--name", "b").stdout
    assert here.splitlines()[-1].startswith("config_hash ")
    assert here.splitlines()[-1] == there.splitlines()[-1]
    assert "p.txt" not in here
    assert "prompts.txt has 3 prompts; they are repeated to make 100 (--n)" in here
    assert "no sensor of this one is read" in there
    assert not lake_root.exists()
