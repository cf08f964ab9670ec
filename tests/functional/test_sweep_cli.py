"""Sweeps through the real command line: preflight, plan, Ctrl-C, a busy device, and what is said at the end."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'groundlake[measure]'")

from groundlake.measure.occupancy import occupied
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = """
import multiprocessing
import os
import torch

held = multiprocessing.get_context("spawn").Lock()  # a semaphore, which a process that is killed leaves behind


def tiny():
    return torch.nn.Linear(7, 2)


def waiting():
    with open(os.environ["PIPES"] + "/begun", "w") as pipe:
        pipe.write("begun")
    with open(os.environ["PIPES"] + "/go_on") as pipe:
        pipe.read()
    return tiny()


def spoiling():
    os.rename("lake/subgraph_timings", "lake/away")
    open("lake/subgraph_timings", "w").close()
    return tiny()


def leaving():
    import subprocess
    child = subprocess.Popen(["sleep", "100000"])
    with open(os.environ["PIPES"] + "/begun", "w") as pipe:
        pipe.write(str(child.pid))
    while True:
        pass


tiny.input_shape = waiting.input_shape = spoiling.input_shape = (7,)
"""
OPTIONS = ("ingest", "--hw", "bench", "--device", "cpu", "--warmup", "1", "--power", "none")


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """Environment in which `own_net:tiny` is a model, and `own_net:waiting` waits for a word from the test."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_net.py").write_text(MODELS)
    for name in ("begun", "go_on"):
        os.mkfifo(tmp_path / name)
    return {"PYTHONPATH": str(folder), "PIPES": str(tmp_path)}


def test_preflight_says_of_every_check_what_it_saw(cli: Callable) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "groundlake", "preflight", "--device", "cpu", "--format", "json"],
        env=cli.environment, cwd=cli.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    checks = {check["name"]: check for check in json.loads(shown.stdout)}
    assert set(checks) == {"cpu_governor", "cpu_clock", "turbo", "cpu_load", "processes", "temperature", "free_memory"}
    verdicts = {check["verdict"] for check in checks.values()}
    assert verdicts <= {"PASSED", "WARNING", "FAILED", "SKIPPED"}
    assert shown.returncode == ("FAILED" in verdicts)
    assert all(check["observed"] and check["wanted"] for check in checks.values())


BUSY = "import groundlake.preflight as p; p.QUIET, p.BUSY, p.WINDOW_S = -2, -1, 0.1\n"
"""A machine on which any load is too much."""


def test_a_machine_that_is_not_fit_is_measured_only_by_force_and_its_runs_say_so(
    cli: Callable, own: dict[str, str], lake_root: Path
) -> None:
    (Path(own["PYTHONPATH"]) / "sitecustomize.py").write_text(BUSY)
    options = (*OPTIONS, "--models", "own_net:tiny", "--batches", "1", "--runs", "2")
    refused = cli(*options, code=5, LAKE_FORCE="", **own)
    assert re.search(r"not fit to be measured now; nothing was measured\n  cpu_load: \d+% of all cores", refused.stderr)
    assert "--force" in refused.stderr
    assert not lake_root.exists()
    done = cli(*options, "--force", LAKE_FORCE="", **own)
    assert "preflight: FAILED cpu_load" in done.stderr
    assert "bench: 1 measured, 0 failed, 0 in the lake already, 1 with warnings" in done.stdout
    (warnings,) = Lake(lake_root).runs("bench").filter(pl.col("kind") == "efficiency")["warnings"].to_list()
    assert [text for text in warnings if text.startswith("not_representative: measured with --force although")]
    found = Lake(lake_root).sql("select explanation from data_quality where finding = 'warning'").rows()
    assert any(text.startswith("not_representative") for (text,) in found)


def test_a_lake_that_can_be_written_no_more_ends_the_sweep_with_what_was_done(
    cli: Callable, own: dict[str, str], lake_root: Path
) -> None:
    options = (*OPTIONS, "--models", "own_net:tiny,own_net:spoiling,resnet18", "--batches", "1", "--runs", "2")
    stopped = cli(*options, code=5, **own)
    assert "bench: 1 measured, 0 failed, 0 in the lake already, 2 left undone" in stopped.stdout
    assert "subgraph_timings" in stopped.stderr
    (lake_root / "subgraph_timings").unlink()
    (lake_root / "away").rename(lake_root / "subgraph_timings")
    kept = Lake(lake_root).runs("bench").filter(pl.col("kind") == "efficiency")
    assert kept["model"].to_list() == ["own_net:tiny"]


def test_a_sweep_that_finds_no_sensor_says_so_once(cli: Callable, own: dict[str, str], lake_root: Path) -> None:
    options = (*OPTIONS[:-1], "auto", "--models", "own_net:tiny", "--batches", "1,2", "--runs", "2", "--baseline", "0")
    said = cli(*options, **own).stdout
    run = Lake(lake_root).runs("bench").filter(pl.col("kind") == "efficiency").row(0, named=True)
    assert said.count("no power readings: ") == (run["power_series"] is None)
    assert run["power_series"] or all(" ".join(note.split()) in said for note in run["power_notes"])


@pytest.mark.slow
def test_the_plan_has_an_estimate_that_learns_from_what_was_measured(
    cli: Callable, own: dict[str, str], lake_root: Path
) -> None:
    options = (*OPTIONS, "--models", "own_net:tiny,resnet18", "--batches", "1", "--runs", "2", "--repeat", "2")
    plan = cli(*options, "--dry-run", "--session", "night", "--cooldown", "60s", **own).stdout
    assert re.search(r"4 runs to do, 0 in the lake already, about 3 min \d+ s and 2 runs of unknown time", plan)
    assert "FLOPs at 15% of the peak" in plan
    assert not lake_root.exists()
    cli(*OPTIONS, "--models", "own_net:tiny", "--batches", "1", "--runs", "2", **own)
    assert "measured before" in cli(*options, "--dry-run", **own).stdout


def interrupted(cli: Callable, own: dict[str, str], options: tuple[str, ...], *, again: bool) -> tuple[str, str]:
    """Output of a sweep that gets Ctrl-C while `waiting` is measured; once more, or with a word to that model."""
    with subprocess.Popen(
        [sys.executable, "-m", "groundlake", *options],
        cwd=cli.folder,
        env=cli.environment | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert (cli.folder / "begun").read_text() == "begun"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
        assert process.stderr is not None
        told = "stopping behind the current run: own_net:waiting fp32 batch 1, the model is being built; Ctrl-C again"
        while told not in process.stderr.readline():
            pass
        if again:
            os.killpg(process.pid, signal.SIGINT)
        else:
            (cli.folder / "go_on").write_text("go on")
        out, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "resource_tracker" not in err
    return out, err


def measured_models(root: Path) -> list[str]:
    return Lake(root).runs("bench").filter(pl.col("kind") == "efficiency")["model"].to_list()


def test_ctrl_c_stops_behind_the_current_run_and_the_same_command_goes_on(
    cli: Callable, own: dict[str, str], lake_root: Path
) -> None:
    options = (*OPTIONS, "--models", "own_net:waiting,own_net:tiny", "--batches", "1", "--runs", "2")
    out, err = interrupted(cli, own, options, again=False)
    assert "bench: 1 measured, 0 failed, 0 in the lake already, 1 left undone" in out
    assert "the same command goes on with the 1 that are left" in err
    assert measured_models(lake_root) == ["own_net:waiting"]
    assert cli("check").returncode == 0
    assert "bench: 1 measured, 0 failed, 1 in the lake already" in cli(*options, **own).stdout


def test_ctrl_c_twice_stops_at_once_and_keeps_what_was_done(
    cli: Callable, own: dict[str, str], lake_root: Path
) -> None:
    options = (*OPTIONS, "--models", "own_net:tiny,own_net:waiting", "--batches", "1", "--runs", "2")
    _, err = interrupted(cli, own, options, again=True)
    assert "interrupted; what was committed is in the lake" in err
    assert measured_models(lake_root) == ["own_net:tiny"]


def test_a_sweep_goes_on_and_tells_its_exit_code_when_nobody_reads_it(
    cli: Callable, own: dict[str, str], lake_root: Path
) -> None:
    options = (*OPTIONS, "--models", "own_net:waiting,own_net:tiny", "--batches", "1", "--runs", "2")
    with subprocess.Popen(
        [sys.executable, "-m", "groundlake", *options],
        cwd=cli.folder,
        env=cli.environment | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert (cli.folder / "begun").read_text() == "begun"
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # Ctrl-C ends `| tee log` first
        process.stderr.close()
        os.killpg(process.pid, signal.SIGTERM)
        (cli.folder / "go_on").write_text("go on")
        assert process.wait() == 130
    assert measured_models(lake_root) == ["own_net:waiting"]


@pytest.mark.slow
def test_a_sweep_that_waited_measures_only_what_is_left(cli: Callable, own: dict[str, str], lake_root: Path) -> None:
    options = (*OPTIONS, "--models", "own_net:waiting", "--batches", "1", "--runs", "2", "--wait")
    command = [sys.executable, "-m", "groundlake", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=cli.folder, env=cli.environment | own, **pipes) as first:
        assert (cli.folder / "begun").read_text() == "begun"
        with subprocess.Popen(command, cwd=cli.folder, env=cli.environment | own, **pipes) as second:
            assert second.stderr is not None
            while "waiting for another sweep" not in second.stderr.readline():
                pass
            (cli.folder / "go_on").write_text("go on")
            first.communicate()
            out, _ = second.communicate()
    assert "bench: 0 measured, 0 failed, 1 in the lake already" in out
    assert Lake(lake_root).runs("bench")["kind"].sort().to_list() == ["efficiency", "hardware_spec"]


@pytest.mark.slow
def test_what_a_model_starts_ends_with_it(cli: Callable, own: dict[str, str], tmp_path: Path) -> None:
    options = (*OPTIONS, "--models", "own_net:leaving", "--batches", "1", "--runs", "2", "--timeout", "20")
    with subprocess.Popen(
        [sys.executable, "-m", "groundlake", *options],
        cwd=cli.folder,
        env=cli.environment | own,
        stdout=subprocess.PIPE,
    ) as process:
        pid = int((tmp_path / "begun").read_text())
        watched = os.pidfd_open(pid)
        process.communicate()
    try:
        assert select.select([watched], [], [], 60)[0] == [watched]
    finally:
        os.close(watched)


def test_a_trace_that_cannot_be_replayed_is_refused_before_anything_is_measured(
    cli: Callable, own: dict[str, str], lake_root: Path
) -> None:
    (cli.folder / "trace.csv").write_text("timestamp_s,rail,power_w\n0,a,-3\n")
    options = (*OPTIONS[:-2], "--models", "own_net:tiny", "--power", "trace.csv", "--baseline", "0")
    refused = cli(*options, code=2, **own)
    assert "trace.csv: times, power and counters are numbers from 0 on" in refused.stderr
    assert not lake_root.exists()


def test_a_device_that_is_being_measured_is_left_alone(cli: Callable, own: dict[str, str], lake_root: Path) -> None:
    options = (*OPTIONS, "--models", "own_net:tiny", "--batches", "1", "--runs", "2")
    with occupied("cpu", "the other sweep"):
        refused = cli(*options, code=5, **own)
    assert f"cpu is being measured by another sweep: process {os.getpid()}, session the other sweep" in refused.stderr
    assert "--wait" in refused.stderr
    assert not lake_root.exists()
    cli(*options, "--wait", **own)


def test_the_end_says_what_was_done_where_it_went_and_how_long_it_took(
    cli: Callable, own: dict[str, str], lake_root: Path
) -> None:
    options = (*OPTIONS, "--models", "own_net:tiny", "--precisions", "fp32,int4", "--batches", "1", "--runs", "2")
    done = cli(*options, "--session", "night", "--cooldown", "1s", code=1, **own)
    first, where, took, *rest = done.stdout.splitlines()
    assert first.startswith("bench: 1 measured, 1 failed, 0 in the lake already")
    assert where == "  written to lake, session night"
    assert re.fullmatch(r"  took .*cool-down 1 s.*", took)
    assert "  failed: own_net:tiny int4 batch 1: precision 'int4' cannot be measured" in rest[0]
    assert Lake(lake_root).runs("bench")["session_id"].drop_nulls().unique().to_list() == ["night"]


@pytest.mark.slow
def test_passes_go_on_until_the_mean_is_known(cli: Callable, own: dict[str, str], lake_root: Path) -> None:
    options = (*OPTIONS, "--models", "own_net:tiny", "--batches", "1")
    cli(*options, "--until-ci", "0.000001%", "--max-runs", "35", **own)
    cli(*options, "--until-ci", "99%", "--max-runs", "35", "--repeat", "1", **own)
    runs = Lake(lake_root).runs("bench").filter(pl.col("kind") == "efficiency").sort("started_at")
    strict, loose = runs.to_dicts()
    assert (strict["timed_runs"], len(strict["end_to_end_samples_ms"])) == (35, 35)
    assert any(text.startswith("interval_not_reached: whole model: 35 passes") for text in strict["warnings"])
    assert 10 <= loose["timed_runs"] < 35
    assert strict["config_hash"] != loose["config_hash"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--until-ci", "1%", "--runs", "5"), "--max-runs"),
        (("--until-ci", "little"), "such as 1%"),
        (("--until-ci", "200%"), "--until-ci is a share of the mean between 0 and 1"),
        (("--until-ci", "1"), "did you mean 1%?"),
        (("--max-runs", "20"), "--max-runs bounds --until-ci"),
        (("--until-ci", "1%", "--max-runs", "9"), "--max-runs must be at least 10, got 9"),
        (("--models", ","), "--models ',' names nothing"),
        (("--precisions", " "), "--precisions ' ' names nothing"),
        (("--batches", ","), "--batches ',' names nothing"),
        (("--input-shape", "3,0,32"), "every size is at least 1"),
        (("--repeat", "0"), "--repeat must be at least 1"),
        (("--power-hz", "0"), "--power-hz must be between"),
        (("--power", "missing.csv"), "--power missing.csv: there is no such file"),
        (("--precisions", "fp99"), "there are fp32, tf32, fp16, bf16, int8\n"),
        (("--cooldown", "long"), "30s or a temperature"),
        (("--memory-limit", "0"), "--memory-limit"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    cli: Callable, lake_root: Path, wrong: tuple[str, ...], told: str
) -> None:
    refused = cli(*OPTIONS, *wrong, code=2)
    assert told in refused.stderr
    assert not lake_root.exists()


@pytest.fixture
def full_disk(disk_of: Callable[[str], Path]) -> Path:
    """A file system of 1 MiB: too small for a sweep."""
    return disk_of("1m")


def test_a_disk_without_room_is_found_before_anything_is_measured(
    cli: Callable, own: dict[str, str], full_disk: Path
) -> None:
    options = (*OPTIONS, "--models", "own_net:tiny", "--batches", "1")
    refused = cli(*options, "--root", full_disk / "lake", code=5, **own)
    assert refused.stdout == ""
    assert "the disk is full: free some space" in refused.stderr
    assert list(full_disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,ro", full_disk], check=True)
    assert "the file system is read-only" in cli(*options, "--root", full_disk / "lake", code=5, **own).stderr


def test_a_place_that_is_no_folder_is_refused(cli: Callable, own: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    refused = cli(*OPTIONS, "--models", "own_net:tiny", "--root", tmp_path / "file" / "lake", code=5, **own)
    assert "cannot write" in refused.stderr
    assert "Traceback" not in refused.stderr
