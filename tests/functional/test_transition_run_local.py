"""Asking the shipped model in this process: real compression, read back, and prompts that are too long."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch.nn.modules.module import register_module_forward_hook

from groundlake.llm.resident import reset_resident_peak
from groundlake.machine import gpu_index
from groundlake.power.replay import ReplaySampler
from groundlake.store import Lake
from groundlake.transition.configuration.config_file import CONFIGS, load_settings
from groundlake.transition.data.prepare import prepare
from groundlake.transition.engines.local import TRIED
from groundlake.transition.inference.run import run

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from groundlake.transition.inference.outcome import RunOutcome

pytestmark = pytest.mark.skipif(find_spec("kvpress") is None, reason="kvpress is not installed")
FEW = "dataset.sanity_slices=[{name: few, n: 3, min_percentile: 60, max_percentile: 100}]"
LIMIT = 128
WEIGHTS_BYTES = 4 * 452_224


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def asked(lake: Lake, folder: Path, *overrides: str, force: bool = False, told: list[str] | None = None) -> RunOutcome:
    settings = load_settings("sanity", [FEW, f"output.folder={folder}", *overrides], {})
    prepare(settings, lake)
    return run(settings, lake, force=force, on_event=lambda event: (told if told is not None else []).append(event.now))


def test_the_cache_is_compressed_as_much_as_the_budget_says(lake: Lake, tmp_path: Path) -> None:
    told: list[str] = []
    outcome = asked(lake, tmp_path, "power.source=auto", told=told)
    assert [now for now in told if "warming up" in now] == ["budget 1: warming up", "budget 0.2: warming up"]
    assert [(each.asked, each.answered) for each in outcome.budgets] == [(3, 3), (3, 3)]
    rows = lake.sql(
        "select k.budget, k.how_applied, k.policy, p.* from kv_responses p join kv_runs k using (run_id)"
    ).pl()
    for row in rows.iter_rows(named=True):
        assert row["kept_fraction"] == pytest.approx(row["budget"], abs=1 / row["cache_entries"])
        assert set(row["kept_entries"]) == {round(row["kept_fraction"] * row["cache_entries"])}
        assert (row["budget_verified"], row["how_applied"], row["policy"]) == (True, "in_process", "snapkv")
        assert (row["peak_memory_bytes"] or 0) > (WEIGHTS_BYTES if reset_resident_peak() else -1)
        assert row["budget_evidence"].startswith("counted in the cache")
    ledger = lake.runs().filter(kind="kv_transition").to_dicts()
    for each in ledger:
        assert (each["device"], each["device_index"], each["precision"], each["batch"]) == (
            "cpu",
            gpu_index("cpu"),
            "fp32",
            1,
        )
        assert each["hardware_id"] != "none"
        assert each["system_before"] is not None
        assert each["power_notes"] or each["power_series"]
        assert each["measured_window_s"] == pytest.approx(each["duration_s"], abs=0.5)
    attempts = lake.sql("select status, http_status from kv_attempts").rows()
    assert attempts == [("ok", None)] * 6
    assert lake.sql("select * from kv_integrity").rows() == []


def test_power_and_energy_are_those_of_the_sensors_while_a_local_model_answers(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = pl.int_range(60_000, eager=True) * 0.002
    trace = pl.DataFrame({"timestamp_s": moments, "rail": "gpu", "power_w": 14.0 + pl.Series(range(60_000)) % 3})
    sensor = ReplaySampler(trace)
    monkeypatch.setattr("groundlake.power.watch.open_sensors", lambda: ([sensor], []))
    asked(lake, tmp_path / "results", "power.source=auto", "power.hz=200")
    ledger = {row["run_id"]: row for row in lake.runs().filter(kind="kv_transition").to_dicts()}
    assert len(ledger) == 2
    readings = lake.sql("select run_id, rail, phase, power_w, timestamp_s from power_timeseries").pl()
    energies = {row["run_id"]: row for row in lake.sql("select * from run_energy").pl().to_dicts()}
    assert set(readings["run_id"]) == set(energies) == set(ledger)
    for run_id, row in ledger.items():
        (series,) = row["power_series"]
        assert (series["source"], series["rail"], row["power_notes"]) == ("replay", "gpu", None)
        window_s = row["measured_window_s"]
        inside = readings.filter(pl.col("run_id") == run_id, pl.col("timestamp_s").is_between(0, window_s))
        assert inside.height > 1
        assert set(inside["phase"]) == {"measure"}
        assert inside["power_w"].is_between(14, 16).all()
        energy = energies[run_id]
        assert (energy["source"], energy["rail"], energy["reason"]) == ("replay", "gpu", None)
        assert 14 * window_s <= energy["energy_j"] <= 16 * window_s


def test_a_model_is_asked_once_at_each_budget_before_it_counts(lake: Lake, tmp_path: Path) -> None:
    filled: list[int] = []

    def note(module: torch.nn.Module, _given: object, named: dict[str, torch.Tensor], _made: object) -> None:
        if type(module).__name__ == "LlamaForCausalLM" and named["input_ids"].shape[-1] > TRIED[0]:
            filled.append(named["input_ids"].shape[-1])

    hook = register_module_forward_hook(note, with_kwargs=True)
    try:
        assert asked(lake, tmp_path).asked == 6
    finally:
        hook.remove()
    first, *others = filled[1:4]
    assert filled == [first, first, *others] * 2, "the first prompt twice, and its first answer is not kept"
    assert lake.sql("select count(*) from kv_requests").rows() == [(6,)]


def test_a_model_is_the_same_wherever_it_lies_and_its_requests_too(lake: Lake, tmp_path: Path) -> None:
    few = ("dataset.pinned_example_ids=[recall-016-0-0016]", "binning.n_bins=1", "kv.budgets=[1.0]")

    def asked_at(name: str, lake: Lake) -> int:
        """Ask with the model, and its tokenizer, at a place where it lies no longer afterwards."""
        model = shutil.copytree(CONFIGS.parents[1] / "recall" / "model", tmp_path / name)
        places = (f"model.path={model}", f"tokenizer.path={model}", f"output.folder={lake.root / 'results'}")
        settings = load_settings("sanity", [*few, *places], {})
        prepare(settings, lake)
        outcome = run(settings, lake)
        shutil.rmtree(model)
        return outcome.asked

    other = Lake(tmp_path / "other")  # of another machine
    assert (asked_at("here", lake), asked_at("moved", lake), asked_at("elsewhere", other)) == (1, 0, 1)
    ids = [each.sql("select request_id from kv_requests").rows() for each in (lake, other)]
    assert ids[0] == ids[1]


def test_a_prompt_that_is_too_long_is_not_sent_or_loses_its_middle(lake: Lake, tmp_path: Path) -> None:
    short = (f"model.max_model_len={LIMIT}", "kv.budgets=[1.0]")
    refused = asked(lake, tmp_path, *short).budgets[0]
    assert refused.failures == {"CONTEXT_LENGTH_EXCEEDED": 3}
    assert lake.sql("select num_attempts from kv_requests").rows() == [(0,)] * 3
    assert lake.sql("select * from kv_attempts").rows() == []
    assert asked(lake, tmp_path, *short).asked == 0  # it would not fit another time, either
    cut = asked(lake, tmp_path, *short, "run.truncation=middle", force=True)
    assert cut.answered == 3
    rows = lake.sql(
        "select prompt_truncation, engine_prompt_tokens + 8 as tokens, num_attempts from kv_current_requests"
    ).rows()
    assert rows == [("middle", LIMIT, 1)] * 3
    assert lake.sql("select * from kv_integrity").rows() == []
