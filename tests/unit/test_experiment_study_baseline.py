"""How long the experiments of a study share the power of the idle machine."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.experiment import study_run
from groundlake.experiment.plan import ExperimentPlan
from groundlake.experiment.prompts import read_prompts
from groundlake.experiment.study import plan_study
from groundlake.experiment.study_file import read_study
from groundlake.experiment.study_run import MAX_BASELINE_AGE_S, young
from groundlake.experiment.watching import IdleBaseline, idle_baseline
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def baseline(tmp_path: Path) -> IdleBaseline:
    """A baseline over a recorded trace."""
    (tmp_path / "prompts.txt").write_text("hello\n")
    trace = pl.DataFrame({"timestamp_s": [0.0, 60.0], "rail": "package-0", "power_w": 40.0})
    trace.write_parquet(tmp_path / "trace.parquet")
    plan = ExperimentPlan(
        backend="openai",
        model="chat",
        prompts=read_prompts(tmp_path / "prompts.txt", 1),
        hardware_id="bench",
        base_url="http://127.0.0.1:9/v1",
        device="cpu",
        power=str(tmp_path / "trace.parquet"),
        baseline_s=0.01,
    )
    taken = idle_baseline(plan, "night")
    assert taken is not None
    return taken


@pytest.mark.slow
def test_an_experiment_of_a_study_takes_a_new_baseline_where_the_last_one_is_too_old(
    baseline: IdleBaseline, tmp_path: Path, lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers at the address, so that each experiment fails soon, with the baseline that it took."""
    pytest.importorskip("httpx2", reason="httpx2 is not installed: pip install 'groundlake[experiment]'")
    monkeypatch.setattr(study_run, "MAX_BASELINE_AGE_S", 0.0)
    file = tmp_path / "study.yaml"
    file.write_text("study: night\nbase: {backend: openai, model: chat, prompts: prompts.txt}\ncycles: 2\n")
    study = plan_study(read_study(file), lambda _: replace(baseline.plan, warmup=0))
    lake = Lake(lake_root)
    assert len(study_run.run_study(lake, study).failed) == 2
    assert lake.sql("select count(*) from runs where kind = 'idle_baseline'").rows() == [(2,)]


def test_a_baseline_is_shared_for_an_hour_and_no_longer(baseline: IdleBaseline) -> None:
    assert MAX_BASELINE_AGE_S == 3600
    assert young(baseline, time.perf_counter()) is baseline
    assert young(baseline, baseline.ended_s + 3600) is baseline
    assert young(baseline, baseline.ended_s + 3601) is None
    assert young(replace(baseline, ended_s=baseline.ended_s - 4000), time.perf_counter()) is None
    assert young(None, time.perf_counter()) is None
