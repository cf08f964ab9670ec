"""The shipped model on a CUDA device: its cache is compressed and counted there, and its memory is the device's."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from groundlake.store import Lake
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.data.prepare import prepare
from groundlake.transition.inference.run import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FEW = "dataset.sanity_slices=[{name: few, n: 3, min_percentile: 60, max_percentile: 100}]"


@pytest.fixture(autouse=True)
def cuda_ready(need: Callable[..., None]) -> None:
    """Skip without a CUDA device, or fail where LAKE_REQUIRE says that it must be there."""
    lacking = [name for name in ("torch", "transformers", "kvpress") if find_spec(name) is None]
    need("gpu", present=not lacking, reason=f"{lacking} not installed: pip install 'groundlake[transition]'")
    import torch

    need("gpu", present=torch.cuda.is_available(), reason="torch sees no CUDA device")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_budgets_are_verified_on_the_device_and_its_peak_of_memory_is_recorded(
    lake_root: Path, tmp_path: Path, dtype: str
) -> None:
    import torch

    lake = Lake(lake_root)
    chosen = [FEW, f"output.folder={tmp_path}", "engine.device=cuda", f"engine.dtype={dtype}"]
    settings = load_settings("sanity", chosen, {})
    prepare(settings, lake)
    outcome = run(settings, lake)
    assert [(each.asked, each.answered) for each in outcome.budgets] == [(3, 3), (3, 3)]
    rows = lake.sql("select k.budget, p.* from kv_responses p join kv_runs k using (run_id)").pl()
    assert rows["budget_verified"].to_list() == [True] * 6
    for row in rows.iter_rows(named=True):
        assert row["kept_fraction"] == pytest.approx(row["budget"], abs=1 / row["cache_entries"])
        assert 0 < row["peak_memory_bytes"] < torch.cuda.get_device_properties(0).total_memory
    states = dict(lake.sql("select budget, budget_state from kv_run_summary").rows())
    assert states == {1.0: "true", 0.2: "true"}
    for ledger in lake.runs().filter(kind="kv_transition").to_dicts():
        assert (ledger["device"], ledger["precision"]) == ("cuda", dtype)
    assert lake.sql("select * from kv_integrity").rows() == []
