"""What a sweep will do, before anything heavy is loaded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import UsageError
from groundlake.measure.plan import (
    Configuration,
    PlannedRun,
    SweepSettings,
    config_hash,
    configurations,
    measured_already,
    plan,
)
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = SweepSettings(hardware_id="bench")
A, B = Configuration("resnet18", "fp32", 1), Configuration("resnet18", "fp32", 4)


def hold(lake: Lake, **changed: object) -> None:
    lake.write({"hardware_id": "bench", "model": "resnet18", "precision": "fp32", "batch": 1} | changed)


def test_the_quick_sweep_is_four_models_in_fp32_at_two_batches() -> None:
    found = configurations("quick")
    assert len(found) == 8
    assert {c.model for c in found} == {"resnet18", "mobilenet_v2", "efficientnet_b0", "vit_b_32"}
    assert {(c.precision, c.batch) for c in found} == {("fp32", 1), ("fp32", 4)}


def test_the_full_sweep_is_everything_the_imported_data_has() -> None:
    found = configurations("full")
    assert len({c.model for c in found}) == 15
    assert {c.batch for c in found if c.model == "mobilenet_v2"} == {1, 4, 16, 64}
    assert {c.batch for c in found if c.model == "maxvit_t"} == {1}
    assert len(found) == 3 * 35


def test_what_is_given_replaces_that_part_of_a_sweep() -> None:
    found = configurations("quick", models=["a.b:c"], precisions=["BF16"], batches=[2, 2, 3])
    assert found == [Configuration("a.b:c", "bf16", 2), Configuration("a.b:c", "bf16", 3)]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sweep": "quik"}, "quick, full"),
        (
            {"precisions": ["fp23"]},
            "there are fp32, tf32, fp16, bf16, int8\n  fp64, fp8, int4 are known, and not run yet",
        ),
        ({"input_shape": (3, 0, 32)}, "--input-shape: every size is at least 1, got 3,0,32"),
        ({"models": ["resnet18@3x64x64"], "input_shape": (3, 32, 32)}, "names the shape of its input"),
        ({"batches": [0]}, "got 0"),
    ],
)
def test_a_wrong_part_of_a_sweep_is_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        configurations(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"runs": 0},
        {"warmup": -1},
        {"repeat": 0},
        {"timeout_s": 0.0},
        {"device": "gpu"},
        {"power_hz": 0.0},
        {"power_hz": 5000.0},
        {"baseline_s": -1.0},
        {"baseline_s": float("nan")},
        {"timeout_s": float("nan")},
        {"device": "cuda:"},
        {"device": "cuda:-1"},
        {"memory_limit_bytes": 0},
        {"until_ci": 0.0},
        {"until_ci": 1.0},
        {"power": "no such trace.csv"},
        {"power": __file__},
    ],
)
def test_settings_that_cannot_be_measured_are_refused(wrong: dict[str, object]) -> None:
    option = next(iter(wrong)).removesuffix("_s").removesuffix("_bytes").replace("_", "-")
    with pytest.raises(UsageError, match=option if option == "device" else f"^--{option}"):
        SweepSettings(hardware_id="bench", **wrong)


def test_an_interval_needs_ten_passes_at_least() -> None:
    with pytest.raises(UsageError, match="--max-runs must be at least 10, got 9"):
        SweepSettings(hardware_id="bench", until_ci=0.01, runs=9)


def test_a_trace_that_is_not_there_is_told_from_a_file_that_is_no_trace() -> None:
    with pytest.raises(UsageError, match=r"--power missing\.csv: there is no such file"):
        SweepSettings(hardware_id="bench", power="missing.csv")
    with pytest.raises(UsageError, match=r"--power must be auto, none, or a recorded trace"):
        SweepSettings(hardware_id="bench", power="atuo")


def test_only_good_efficiency_runs_of_the_same_device_are_skipped(lake_root: Path) -> None:
    lake = Lake(lake_root)
    assert plan(lake, SETTINGS, [A]).todo == (PlannedRun(A),)
    hold(lake, status="failed", error="no memory")
    hold(lake, kind="idle_baseline")
    hold(lake, hardware_id="other")
    assert measured_already(lake, "bench") == set()
    hold(lake)
    found = plan(lake, SETTINGS, [A, B, A])
    assert found.skipped == (PlannedRun(A),)
    assert found.todo == (PlannedRun(B),)


def test_a_repeated_sweep_skips_nothing_and_goes_round_by_round(lake_root: Path) -> None:
    lake = Lake(lake_root)
    hold(lake)
    found = plan(lake, replace(SETTINGS, repeat=2), [A, B])
    assert found.skipped == ()
    assert set(found.todo[:2]) == {PlannedRun(A, 1), PlannedRun(B, 1)}
    assert set(found.todo[2:]) == {PlannedRun(A, 2), PlannedRun(B, 2)}


def test_a_run_with_inputs_of_another_shape_is_another_measurement(lake_root: Path) -> None:
    lake = Lake(lake_root)
    hold(lake, input_shape=[1, 3, 224, 224])
    own = configurations(models=["resnet18"], batches=[1], input_shape=(3, 224, 224))
    small = configurations(models=["resnet18"], batches=[1], input_shape=(3, 64, 64))
    assert plan(lake, SETTINGS, [A]).skipped == plan(lake, SETTINGS, own).skipped == (PlannedRun(A),)
    assert plan(lake, SETTINGS, small).todo == (PlannedRun(small[0]),)
    hold(lake, model="resnet18@3x64x64", input_shape=[1, 3, 64, 64])
    assert plan(lake, SETTINGS, [A, *small]).todo == ()


@pytest.mark.parametrize(
    ("model", "shape", "name"),
    [
        ("resnet18", (3, 224, 224), "resnet18"),
        ("resnet18", (3, 160, 160), "resnet18@3x160x160"),
        ("resnet18@3x160x160", None, "resnet18@3x160x160"),
        ("resnet18@3x224x224", None, "resnet18"),
        ("efficientnet_b1", (3, 240, 240), "efficientnet_b1"),
        ("efficientnet_b1", (3, 224, 224), "efficientnet_b1@3x224x224"),
        ("bert_base", (128,), "bert_base"),
        ("bert_base", (16,), "bert_base@16"),
        ("pkg.nets:make", (3, 32, 32), "pkg.nets:make@3x32x32"),
        ("pkg.nets:make", None, "pkg.nets:make"),
    ],
)
def test_a_shape_that_is_not_the_models_own_is_a_part_of_its_name(
    model: str, shape: tuple[int, ...] | None, name: str
) -> None:
    (found,) = configurations(models=[model], batches=[1], input_shape=shape)
    assert found.model == name
    assert found.plain_model == model.partition("@")[0]
    assert found.input_shape == (None if name == found.plain_model else tuple(map(int, name.split("@")[1].split("x"))))


def test_the_batches_of_a_sweep_are_those_of_the_model_whatever_its_shape() -> None:
    found = configurations("full", models=["mobilenet_v2"], precisions=["fp32"], input_shape=(3, 64, 64))
    assert [each.batch for each in found] == [1, 4, 16, 64]


def test_each_round_has_an_order_of_its_own_that_follows_from_the_session(lake_root: Path) -> None:
    wanted = [Configuration("net", "fp32", batch) for batch in range(1, 9)]
    night, day = (replace(SETTINGS, repeat=3, session=name) for name in ("night", "day"))
    planned = plan(Lake(lake_root), night, wanted).todo
    orders = {tuple(run.configuration.batch for run in planned if run.run_index == index) for index in (1, 2, 3)}
    assert len(orders) == 3
    assert all(sorted(order) == list(range(1, 9)) for order in orders)
    assert plan(Lake(lake_root), night, wanted).todo == planned
    assert plan(Lake(lake_root), day, wanted).todo != planned


def test_a_repeated_sweep_goes_on_where_its_session_stopped(lake_root: Path) -> None:
    lake = Lake(lake_root)
    night = replace(SETTINGS, repeat=2, session="night")
    before = plan(lake, night, [A, B])
    hold(lake, session_id="night", run_index=1)
    hold(lake, session_id="day", run_index=2)
    hold(lake, session_id="night", run_index=2, status="failed", error="no memory")
    after = plan(lake, night, [A, B])
    assert after.skipped == (PlannedRun(A, 1),)
    assert after.todo == tuple(run for run in before.todo if run != PlannedRun(A, 1))


def test_the_hash_tells_what_and_how_and_nothing_else() -> None:
    same = config_hash(A, SETTINGS)
    assert config_hash(A, replace(SETTINGS, note="again", session="s", timeout_s=5.0)) == same
    on_gpus = [config_hash(A, replace(SETTINGS, device=device)) for device in ("cuda", "cuda:1")]
    assert on_gpus[0] == on_gpus[1] != same
    different = {
        config_hash(B, SETTINGS),
        config_hash(A, replace(SETTINGS, runs=51)),
        config_hash(A, replace(SETTINGS, device="cuda")),
        config_hash(replace(A, model="resnet18@3x64x64"), SETTINGS),
    }
    assert len(different | {same}) == 5


def test_planning_and_supervising_import_no_torch() -> None:
    code = "import sys, groundlake.measure.plan, groundlake.measure.sweep; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
