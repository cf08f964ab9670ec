"""Studies through the real command line into a real lake: killed, stopped, failing, changed, and what they found."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from experiment_lake import energy, experiment, failed, planned, request
from llm_server import MODEL, LlmServer, Received, Reply

from groundlake.cli.app import app
from groundlake.experiment.plan import ExperimentPlan
from groundlake.experiment.prompts import read_prompts
from groundlake.experiment.study import plan_study, write_plan
from groundlake.experiment.study_figures import study_figures
from groundlake.experiment.study_file import read_study
from groundlake.measure.occupancy import alone
from groundlake.stats.intervals import student_quantile, summarize
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow  # together they take minutes

pytest.importorskip("httpx2", reason="httpx2 is not installed: pip install 'groundlake[experiment]'")

RUNS = "SELECT * FROM runs WHERE kind = 'llm_inference' ORDER BY started_at"


class Held(LlmServer):
    """A server that answers nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()

    def answer(self, received: Received) -> Reply:
        self.may_answer.wait(60)
        return super().answer(received)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the file of a study goes; prompts are beside it."""
    (tmp_path / "prompts.txt").write_text("hello there\nwho are you\n")
    return tmp_path / "study.yaml"


def write(file: Path, url: str, text: str, **base: object) -> Path:
    """Write a study named night of an endpoint, two prompts an experiment and no warm-up."""
    told = {"backend": "openai", "model": MODEL, "prompts": "prompts.txt", "n": 2, "hw": "bench", "base_url": url}
    told |= {"warmup": 0, "power": "none", "baseline": 0} | base
    file.write_text(f"study: night\nbase: {json.dumps(told)}\n{text}")
    return file


def told(lake: Lake, query: str = RUNS) -> list[dict]:
    return list(lake.sql(query).pl().iter_rows(named=True))


@pytest.fixture
def study(capsys: pytest.CaptureFixture[str], lake_root: Path) -> Callable[..., str]:
    """Run `lake experiment study` in this process, which has everything imported; what it prints, errors last."""

    def run(*arguments: str | Path, code: int = 0) -> str:
        capsys.readouterr()
        command = ["experiment", "study", *map(str, arguments), "--root", str(lake_root)]
        assert (app(command, standalone_mode=False) or 0) == code
        return "".join(capsys.readouterr())

    return run


def table(study: Callable[..., str], *arguments: str | Path) -> list[dict]:
    """What a command prints for a program."""
    return json.loads(study(*arguments, "--format", "json"))


@pytest.fixture
def started(cli: Callable, lake_root: Path) -> Iterator[Callable[[Path], subprocess.Popen]]:
    """Start `lake experiment study run` and go on."""
    running: list[subprocess.Popen] = []

    def start(file: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "groundlake", "experiment", "study", "run", str(file), "--root", lake_root]
        one = subprocess.Popen(command, cwd=cli.folder, env=cli.environment, stderr=subprocess.PIPE, text=True)
        running.append(one)
        return one

    yield start
    for one in running:
        one.kill()
        one.wait()
        assert one.stderr is not None
        one.stderr.close()


def heard(process: subprocess.Popen, text: str) -> None:
    """Wait for a line on stderr."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    pytest.fail(f"never said {text!r}: {''.join(seen)}")


@pytest.mark.slow
def test_a_study_of_local_models_that_is_killed_goes_on_where_it_was(
    study: Callable, started: Callable, file: Path, lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="transformers is missing: pip install 'groundlake[transformers]'")
    from groundlake.llm.tiny import make_tiny_model

    monkeypatch.setenv("LAKE_FORCE", "1")
    make_tiny_model(file.parent / "tiny")
    (file.parent / "broken").mkdir()
    (file.parent / "broken/config.json").write_text("{}")
    base = "{backend: transformers, model: tiny, prompts: prompts.txt, n: 2, max_new_tokens: 3, warmup: 0, device: cpu,"
    file.write_text(
        f"study: night\norder: interleaved\nbase: {base} hw: bench, power: none}}\n"
        "configurations: [{batch: 1}, {model: broken}, {batch: 2}]\n"
    )
    process = started(file)
    heard(process, "study: 1 of 3: model=tiny batch=1, cycle 1: done")
    process.send_signal(signal.SIGKILL)
    process.wait()
    (first,) = told(Lake(lake_root))
    assert [cell["state"] for cell in table(study, "status", "night")] == ["done", "missing", "missing"]
    done = study("run", file, code=1)
    assert "night: 3 planned: 2 done, 1 failed, 0 missing (1 measured now, 1 failed now, 1 done before)" in done
    assert "failed: model=broken batch=1, cycle 1: " in done
    assert "1 of 3 experiments failed; the lake has the reasons; to try them again: --retry-failed" in done
    lake = Lake(lake_root)
    runs = told(lake)
    assert [(run["run_id"] == first["run_id"], run["status"]) for run in runs] == [
        (True, "ok"),
        (False, "failed"),
        (False, "ok"),
    ]
    assert "broken" in runs[1]["error"]
    assert len(told(lake, "SELECT * FROM runs WHERE kind = 'study'")) == 1
    assert lake.check() == []


@pytest.mark.slow
def test_a_failed_experiment_is_kept_the_study_goes_on_and_it_is_tried_again_when_asked(
    study: Callable, file: Path, lake_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = pl.int_range(0, 60_000, eager=True).cast(pl.Float64) / 1000
    trace = pl.DataFrame({"timestamp_s": moments, "rail": "package-0", "energy_counter_j": moments * 40.0})
    trace.write_parquet(tmp_path / "trace.parquet")
    others = "cycles: 1\norder: shuffled\nseed: 3\ngap_s: 0.01\nconfigurations: [{max_new_tokens: 3}, "
    measured = {"power": "trace.parquet", "baseline": 0.2, "device": "cpu", "power_hz": 100}
    monkeypatch.setenv("OPENAI_API_KEY", "geheim")
    with LlmServer() as server:
        write(file, server.url, others + "{max_new_tokens: 4, base_url: 'http://127.0.0.1:9'}]\n", **measured)
        done = study("run", file, code=1)
        assert "2 planned: 1 done, 1 failed, 0 missing" in done
        again = study("run", file, code=1)
        assert "(0 measured now, 0 failed now, 1 done before)" in again
        assert len(server.received) == 2
        (cell,) = [each for each in table(study, "status", "night") if each["state"] == "failed"]
        assert (cell["num_failed"], "max_new_tokens=4" in cell["configuration"]) == (1, True)
        assert "connection" in cell["error"]
        # The address does not decide what is measured: the experiment is the same once the server is there.
        write(file, server.url, others + "{max_new_tokens: 4}]\n", **measured)
        mended = study("run", file, "--retry-failed")
        assert "2 planned: 2 done, 0 failed, 0 missing (1 measured now, 0 failed now, 1 done before)" in mended
    lake = Lake(lake_root)
    assert [run["status"] for run in told(lake)].count("ok") == 2
    # One idle baseline for each sitting that measured: the second had nothing to do.
    assert len(told(lake, "SELECT * FROM runs WHERE kind = 'idle_baseline'")) == 2
    idle = "SELECT * FROM run_energy WHERE kind = 'llm_inference' AND baseline_run_id IS NULL"
    assert told(lake, idle) == []
    rows = told(lake, "SELECT study, cycle, backend FROM experiments")
    assert rows == [{"study": "night", "cycle": 1, "backend": "openai"}] * 2
    secret = b"geheim"
    assert not [path for path in lake_root.rglob("*") if path.is_file() and secret in path.read_bytes()]


@pytest.mark.slow
def test_ctrl_c_stops_behind_the_current_experiment_and_the_same_command_goes_on(
    study: Callable, started: Callable, file: Path, lake_root: Path
) -> None:
    with Held() as server:
        write(file, server.url, "cycles: 2\n")
        process = started(file)
        assert server.is_busy.wait(120)
        process.send_signal(signal.SIGINT)
        heard(process, "stopping behind the current run: 1 of 2: ")
        server.may_answer.set()
        heard(process, "stopped; the same command goes on with the 1 that are left")
        assert process.wait() == 130
        (first,) = told(Lake(lake_root))
        done = study("run", file)
        assert "2 planned: 2 done, 0 failed, 0 missing (1 measured now, 0 failed now, 1 done before)" in done
    assert [run["run_index"] for run in told(Lake(lake_root))] == [1, 2]
    assert told(Lake(lake_root))[0]["run_id"] == first["run_id"]


def test_a_changed_file_adds_experiments_and_shows_those_it_has_no_more(
    study: Callable, file: Path, lake_root: Path
) -> None:
    with LlmServer() as server:
        write(file, server.url, "grid: {max_new_tokens: [3, 4]}\n")
        dry = study("run", file, "--dry-run")
        assert "night: 2 planned: 0 done, 0 failed, 2 missing" in dry
        assert dry.count("not planned yet") == 2
        assert not lake_root.exists()
        study("run", file)
        write(file, server.url, "grid: {max_new_tokens: [5, 4]}\n")
        beside = [
            (cell["configuration"], cell["state"], cell["is_current"], cell["is_planned"])
            for cell in table(study, "status", file)
        ]
        assert beside == [
            ("max_new_tokens=5", "missing", True, False),
            ("max_new_tokens=4", "done", True, True),
            ("max_new_tokens=3", "done", False, True),
        ]
        asked = len(server.received)
        done = study("run", file)
        assert "2 planned: 2 done, 0 failed, 0 missing; 1 not in the file any more (1 measured now" in done
        assert len(server.received) - asked == 2
    text = study("status", file)
    assert text.count("not in the file any more") == 2
    assert [(cell["position"], cell["is_current"]) for cell in table(study, "status", "night")] == [
        (0, True),
        (1, True),
        (0, False),
    ]
    shown = table(study, "show", "night")
    assert [(row["max_new_tokens"], row["n"], row["remark"]) for row in shown] == [
        ("5", 1, "one cycle: no interval"),
        ("4", 1, "one cycle: no interval"),
    ]
    (listed,) = table(study, "list")
    assert (listed["study"], listed["num_planned"], listed["num_done"], listed["num_dropped"]) == ("night", 2, 2, 1)
    unknown = study("show", "nights", code=2)
    assert "no study 'nights' in " in unknown
    assert "there are night" in unknown


def test_a_plan_is_written_once_and_another_device_takes_the_place_of_the_first(file: Path, lake_root: Path) -> None:
    lake = Lake(lake_root)

    def written(hardware_id: str) -> bool:
        def to_plan(settings: Mapping[str, Any]) -> ExperimentPlan:
            told = {"backend": "openai", "model": MODEL, "base_url": "http://127.0.0.1:9/v1"}
            return ExperimentPlan(
                **told,
                prompts=read_prompts(file.with_name("prompts.txt")),
                hardware_id=hardware_id,
                concurrency=settings["concurrency"],
            )

        study = plan_study(read_study(write(file, "-", "cycles: 3\ngrid: {concurrency: [1, 2]}\n")), to_plan)
        return write_plan(lake, study)

    assert [written("one"), written("one")] == [True, False]
    assert lake.sql("SELECT count(*), count(DISTINCT config_hash) FROM study_plan").rows() == [(6, 2)]
    assert [written("two"), written("two")] == [True, False]
    progress = "SELECT hardware_id, num_planned, num_missing, num_dropped FROM study_progress ORDER BY hardware_id"
    assert lake.sql(progress).rows() == [("one", 0, 0, 6), ("two", 6, 6, 0)]
    assert lake.check() == []


def test_a_study_is_not_run_twice_at_once(study: Callable, file: Path, lake_root: Path) -> None:
    write(file, "http://127.0.0.1:9", "cycles: 1\n")
    with alone("night", lake_root):
        refused = study("run", file, code=5)
    assert f"the study night is being run: process {os.getpid()}, session night" in refused
    assert not lake_root.exists()
    with alone("night", lake_root), alone("day", lake_root), alone("night", lake_root.with_name("other")):
        pass


def test_what_is_wrong_with_a_configuration_is_said_before_anything_is_written(
    study: Callable, file: Path, lake_root: Path
) -> None:
    write(file, "http://127.0.0.1:9", "grid: {concurrency: [1, 0]}\nconfigurations: [{backend: vllm}]\n")
    said = study("run", file, code=2)
    assert "grid.concurrency[1]: --concurrency must be at least 1, got 0" in said
    assert "configurations[0].backend: --backend must be one of transformers, openai, got 'vllm'" in said
    write(file, "http://127.0.0.1:9", "grid: {prompts: [prompts.txt, none.txt]}\n")
    said = study("run", file, code=2)
    assert "grid.prompts[1]: --prompts " in said
    assert "none.txt: there is no such file" in said
    assert not lake_root.exists()


def measured(lake: Lake, config: str, cycle: int, wall_time_s: float, **columns: object) -> str:
    """A good run of the study s: 50 tokens, and a first token after 100 ms."""
    facts = {"experiment_requests": [request(0, 100.0, 5.0, 5.0)], **columns.pop("facts", {})}
    run = {"config_hash": config, **columns.pop("run", {})}
    return experiment(
        lake, study="s", cycle=cycle, wall_time_s=wall_time_s, run=run, facts=facts, hour=cycle, **columns
    )


def test_intervals_over_cycles_are_those_of_student(lake_root: Path) -> None:
    lake = Lake(lake_root)
    planned(lake, "s", *((config, cycle) for config in "abcd" for cycle in (1, 2, 3)))
    for cycle, rate in enumerate((10.0, 12.0, 14.0), start=1):
        measured(lake, "a", cycle, 50 / rate, facts={"energy_estimates": [energy(100.0)]})
    measured(lake, "b", 1, 5.0)
    for cycle, rate in ((1, 10.0), (3, 12.0)):
        measured(lake, "c", cycle, 50 / rate)
    failed(lake, "out of memory", session_id="s", config_hash="c", run_index=2)
    measured(lake, "a", 4, 5.0)  # of no plan
    a, b, c, d = study_figures(lake, "s").iter_rows(named=True)
    # t of 2 degrees of freedom is 4.30265: 12 -/+ 4.30265 * 2 / sqrt(3)
    figure = "output_tokens_per_s"
    assert (a["n"], a[f"{figure}_mean"], a[f"{figure}_sd"]) == (3, pytest.approx(12.0), pytest.approx(2.0))
    assert (a[f"{figure}_ci_lower"], a[f"{figure}_ci_upper"]) == pytest.approx((7.03172, 16.96828), abs=1e-4)
    # Three times the same: the interval is a point.
    constant = [a[f"energy_per_output_token_j_{part}"] for part in ("mean", "sd", "ci_lower", "ci_upper", "n")]
    assert constant == [2.0, 0.0, 2.0, 2.0, 3]
    assert (a["ttft_p50_ms_mean"], a["itl_p50_ms_mean"], a["remark"]) == (100.0, 5.0, None)
    assert (b["n"], b[f"{figure}_mean"], b[f"{figure}_sd"], b[f"{figure}_ci_lower"]) == (1, 10.0, None, None)
    assert (b["remark"], b["energy_per_output_token_j_mean"]) == ("one cycle: no interval", None)
    # t of 1 degree is 12.7062: 11 -/+ 12.7062 * sqrt(2) / sqrt(2)
    assert (c["n"], c[f"{figure}_ci_lower"]) == (2, pytest.approx(11 - 12.7062, abs=1e-4))
    assert c["remark"] == "2 cycles: the interval is unreliable"
    assert (d["n"], d["planned"], d[f"{figure}_mean"], d["remark"]) == (0, 3, None, "no good run")


def test_cycles_that_were_measured_differently_have_no_common_mean(lake_root: Path) -> None:
    lake = Lake(lake_root)
    planned(lake, "s", ("a", 1), ("a", 2), ("a", 3))
    measured(lake, "a", 1, 5.0, facts={"energy_estimates": [energy(100.0)]})
    measured(lake, "a", 2, 5.0, facts={"energy_estimates": [energy(300.0, scope="machine")]})
    measured(lake, "a", 3, 5.0, run={"software_fingerprint": "newer"})
    (row,) = study_figures(lake, "s").iter_rows(named=True)
    assert (row["energy_per_output_token_j_mean"], row["energy_scope"], row["output_tokens_per_s_n"]) == (None, None, 3)
    assert row["remark"] == (
        "software, power mode or backend changed between cycles; energy_per_output_token_j: no mean, energy_source or"
        " energy_method or energy_scope differs between cycles"
    )


def test_an_interval_is_wider_at_a_higher_level_and_narrow_of_many_cycles() -> None:
    assert student_quantile(4, 0.99) > student_quantile(4) > student_quantile(4, 0.90)
    normal = [NormalDist(50, 2).inv_cdf((place + 0.5) / 100) for place in range(100)]
    found = summarize(normal)
    assert found["ci_lower"] < 50 < found["ci_upper"]
    assert math.isclose(found["ci_upper"] - found["ci_lower"], 2 * 1.98422 * found["std"] / 10, rel_tol=1e-4)
    assert found["ci_upper"] - found["ci_lower"] < 2
    assert summarize(normal) == found


def test_the_last_plan_of_a_study_says_what_belongs_to_it(lake_root: Path) -> None:
    lake = Lake(lake_root)
    planned(lake, "s", ("x", 1), ("y", 1))
    experiment(lake, study="s", cycle=1, run={"config_hash": "x"})
    planned(lake, "s", ("y", 1), ("z", 1))
    planned(lake, "another", ("x", 1))
    cells = "SELECT config_hash, position, state, is_current FROM study_cells WHERE study = 's' ORDER BY config_hash"
    assert lake.sql(cells).rows() == [("x", 0, "done", False), ("y", 0, "missing", True), ("z", 1, "missing", True)]
    counts = (
        "SELECT num_planned, num_configurations, num_done, num_missing, num_dropped, is_complete FROM study_progress"
    )
    assert lake.sql(f"{counts} WHERE study = 's'").rows() == [(2, 2, 0, 2, 1, False)]
