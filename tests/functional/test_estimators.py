"""The built-in estimators: hand-computed predictions, what is held out of a fit, and versions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
import pytest

from groundlake.errors import UsageError
from groundlake.estimate import fit
from groundlake.hardware import HardwareSpec, register_known
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PEAK = 1e12
SPEC = HardwareSpec(
    hardware_id="dev",
    name="Device",
    device="cuda",
    peaks={"fp32": 2e12, "fp16": 4e12},
    memory_bandwidth_bytes_per_s=1e11,
    operation_overhead_s=1e-5,
)


def subgraphs(*rows: tuple[str, int, int, float]) -> pl.DataFrame:
    """Rows of timings: operation type, FLOPs, bytes, and the efficiency, or the latency where there are no FLOPs."""
    return pl.DataFrame(
        [
            {
                "subgraph_id": number,
                "fusion_pattern": kind,
                "operation_type": kind,
                "node_names": ["node"],
                "flops": flops,
                "total_bytes": size,
                "arithmetic_intensity": flops / max(1, size),
                "latency_mean_ms": flops / PEAK / value * 1e3 if flops else value,
                "latency_std_ms": 0.0,
                "latency_min_ms": 0.0,
                "latency_max_ms": 1e9,
                "latency_samples": 10,
                "efficiency_mean": value if flops else None,
                "efficiency_std": 0.0 if flops else None,
                "efficiency_samples": 10 if flops else None,
                "theoretical_peak_flops": PEAK,
            }
            for number, (kind, flops, size, value) in enumerate(rows)
        ]
    )


def measure(lake: Lake, model: str, rows: pl.DataFrame, **columns: object) -> None:
    run = {
        "hardware_id": "dev",
        "precision": "fp32",
        "model": model,
        "batch": 1,
        "device": "cuda",
        "flops_method": "counted",
        "timing_method": "node_events",
        "theoretical_peak_flops": PEAK,
        "total_latency_ms": rows["latency_mean_ms"].sum(),
        "num_subgraphs": rows.height,
    }
    lake.write(run | columns, subgraph_timings=rows)


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


def predicted(lake: Lake, model: str) -> list[tuple[object, ...]]:
    sql = "select subgraph_id, predicted_latency_ms, extrapolated from estimates where model = '{}' order by 1"
    return lake.sql(sql.format(model)).rows()


def test_the_roofline_takes_the_longer_of_computing_and_moving(lake: Lake) -> None:
    lake.write_record(SPEC)
    measure(lake, "net", subgraphs(("conv2d", 2_000_000_000, 1000, 0.5), ("unfused", 0, 10_000_000, 0.2)))
    done = fit(lake, "roofline")
    assert (done.written.rows, done.without, done.registered) == (2, 0, ())
    computing, moving = 1.0 + 0.01, 0.1 + 0.01
    assert predicted(lake, "net") == [(0, pytest.approx(computing), False), (1, pytest.approx(moving), False)]
    bounds = lake.query("roofline", compute_share=0.5).pl().sort("subgraph_id")
    assert bounds["predicted_latency_ms"].to_list() == pytest.approx([2.0 + 0.01, moving])
    assert bounds["bound"].to_list() == ["compute", "memory"]


def test_a_device_without_figures_has_no_roofline(lake: Lake) -> None:
    measure(lake, "net", subgraphs(("conv2d", 1000, 10, 0.5)))
    with pytest.raises(UsageError, match="no peak or bandwidth"):
        fit(lake, "roofline")
    assert lake.frame("estimates").is_empty()


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"peaks": {"fp32": 1e12}}, "the memory bandwidth is not known; lake hw add tells it"),
        ({"memory_bandwidth_bytes_per_s": 1e11}, "the peak of this precision is not known; lake hw add tells it"),
    ],
)
def test_half_a_roof_is_none(lake: Lake, figures: dict[str, object], reason: str) -> None:
    lake.write_record(HardwareSpec(hardware_id="dev", name="Device", device="cuda", **figures))
    measure(lake, "net", subgraphs(("conv2d", 1000, 10, 0.5)))
    (row,) = lake.query("roofline").pl().to_dicts()
    assert (row["predicted_latency_ms"], row["bound"], row["reason"]) == (None, None, reason)
    with pytest.raises(UsageError, match="no peak or bandwidth"):
        fit(lake, "roofline")


def test_a_name_that_the_lake_corrects_is_corrected_under_its_other_names(lake: Lake) -> None:
    lake.write_record(
        HardwareSpec(hardware_id="jetson_orin_agx_15w", name="Mine", device="cuda", peaks={"fp32": 111.0})
    )
    measure(lake, "net", subgraphs(("conv2d", 1000, 10, 0.5)), hardware_id="jetson_orin_15w")
    assert register_known(lake) == ["jetson_orin_15w"]
    assert lake.sql("select peak_fp32_flops from hardware where hardware_id = 'jetson_orin_15w'").rows() == [(111.0,)]


def test_a_fit_that_is_refused_writes_no_specification(lake: Lake, cli: Callable) -> None:
    measure(lake, "net", subgraphs(("conv2d", 1000, 10, 0.5)), hardware_id="jetson_orin_15w")
    before = lake.runs().height
    cli("estimates", "fit", "roofline", "--param", "nope=1", code=2)
    cli("estimates", "fit", "roofline", "--hw", "nope", code=2)
    assert lake.runs().height == before


def test_a_model_with_inputs_of_another_shape_is_held_out_too(lake: Lake) -> None:
    measure(lake, "net", subgraphs(("conv2d", 10**6, 8, 0.9)))
    measure(lake, "net@3x32x32", subgraphs(("conv2d", 10**6, 8, 0.9)))
    measure(lake, "other", subgraphs(("conv2d", 10**6, 8, 0.1)))
    fit(lake, "efficiency-curve", version="1")
    ((latency_ms,),) = lake.sql("select predicted_latency_ms from estimates where model = 'net'").rows()
    assert latency_ms == pytest.approx(1e6 / (PEAK * 0.1) * 1e3)


def test_specifications_of_known_devices_come_from_the_registry(lake: Lake) -> None:
    measure(lake, "net", subgraphs(("conv2d", 783_360_000, 10, 0.5)), hardware_id="jetson_orin_15w")
    done = fit(lake, "roofline")
    assert done.registered == ("jetson_orin_15w",)
    ((_, latency_ms, _),) = predicted(lake, "net")
    assert latency_ms == pytest.approx(1.0 + 0.005)  # 783.36 GFLOP/s, 5 us
    assert fit(lake, "roofline").registered == ()


def three_models(lake: Lake) -> None:
    """Efficiency 0.1 at 1e6 and 0.3 at 1e8 FLOPs in models a and b; c lies between, beyond, and is of another type."""
    for model in ("a", "b"):
        measure(lake, model, subgraphs(("conv2d", 10**6, 8, 0.1), ("conv2d", 10**8, 8, 0.3), ("unfused", 0, 8, 0.7)))
    measure(
        lake,
        "c",
        subgraphs(
            ("conv2d", 10**7, 8, 0.9), ("conv2d", 10**9, 8, 0.9), ("matmul", 10**7, 8, 0.9), ("unfused", 0, 8, 9.0)
        ),
    )


def test_a_curve_is_linear_in_the_logarithm_and_constant_beyond_its_ends(lake: Lake) -> None:
    three_models(lake)
    done = fit(lake, "efficiency-curve")
    assert (done.written.rows, done.without) == (10, 0)
    between, beyond = 1e7 / (PEAK * 0.2) * 1e3, 1e9 / (PEAK * 0.3) * 1e3
    assert predicted(lake, "c") == [
        (0, pytest.approx(between), False),
        (1, pytest.approx(beyond), True),
        (2, pytest.approx(between), True),  # no curve of its own: the one of all types
        (3, pytest.approx(0.7), False),
    ]


def test_what_is_predicted_is_held_out_of_the_fit(lake: Lake) -> None:
    """Efficiencies of a model that was measured anew change what is predicted of the others, and nothing of its own."""
    three_models(lake)
    fit(lake, "efficiency-curve", version="1")
    fast = subgraphs(("conv2d", 10**6, 8, 0.5), ("conv2d", 10**8, 8, 0.5), ("unfused", 0, 8, 0.7))
    measure(lake, "a", fast, started_at=datetime(2030, 1, 1), started_at_zone_source="clock")  # noqa: DTZ001 - UTC
    fit(lake, "efficiency-curve", version="2")
    rows = lake.sql("select model, subgraph_id, estimator_version, predicted_latency_ms from estimates").rows()
    by_key = {(model, number, version): latency_ms for model, number, version, latency_ms in rows}
    assert by_key[("a", 0, "1")] == pytest.approx(by_key[("a", 0, "2")], rel=1e-12)
    assert by_key[("b", 0, "2")] == pytest.approx(1e6 / (PEAK * 0.5) * 1e3)
    assert by_key[("b", 0, "1")] == pytest.approx(1e6 / (PEAK * 0.1) * 1e3)


@pytest.mark.parametrize(("holdout", "expected"), [("batch", 0.4), ("hardware", 0.6)])
def test_a_fit_may_hold_out_the_batch_or_the_machine(lake: Lake, holdout: str, expected: float) -> None:
    """The same model under two batches on one device, and on another device with two names."""
    one = ("conv2d", 10**6, 8)
    measure(lake, "net", subgraphs((*one, 0.2)), batch=1)
    measure(lake, "net", subgraphs((*one, 0.4)), batch=4)
    measure(lake, "net", subgraphs((*one, 0.6)), hardware_id="jetson_orin_15w")
    measure(lake, "net", subgraphs((*one, 0.6)), hardware_id="jetson_orin_agx_15w")
    fit(lake, "efficiency-curve", parameters={"holdout": holdout}, version="1")
    rows = lake.sql("select predicted_latency_ms from estimates where hardware_id = 'dev' and batch = 1").rows()
    assert rows == [(pytest.approx(1e6 / (PEAK * expected) * 1e3),)]
    if holdout == "hardware":  # an alias is the same machine: what predicts it is `dev` alone
        ((latency_ms,),) = lake.sql(
            "select predicted_latency_ms from estimates where hardware_id = 'jetson_orin_15w'"
        ).rows()
        assert latency_ms == pytest.approx(1e6 / (PEAK * 0.3) * 1e3)


def test_folds_are_of_models(lake: Lake) -> None:
    for number in range(4):
        measure(lake, f"m{number}", subgraphs(("conv2d", 10**6, 8, 0.1 * (number + 1))))
    fit(lake, "efficiency-curve", parameters={"holdout": "kfold", "folds": 2}, version="1")
    ((latency_ms,),) = lake.sql("select predicted_latency_ms from estimates where model = 'm0'").rows()
    assert latency_ms == pytest.approx(1e6 / (PEAK * 0.3) * 1e3)  # the mean of m1 and m3


def test_runs_timed_by_another_method_teach_nothing(lake: Lake) -> None:
    measure(lake, "a", subgraphs(("conv2d", 10**6, 8, 0.1)))
    measure(lake, "b", subgraphs(("conv2d", 10**6, 8, 0.5)), timing_method="node_sync")
    with pytest.raises(UsageError, match="the fit saw nothing else to learn from"):
        fit(lake, "efficiency-curve")


def test_fitting_again_changes_nothing_until_something_was_measured(lake: Lake) -> None:
    three_models(lake)
    first = fit(lake, "efficiency-curve")
    again = fit(lake, "efficiency-curve")
    assert (again.version, again.written.rows, again.written.present) == (first.version, 0, 10)
    assert first.version.startswith("model-")
    measure(lake, "d", subgraphs(("conv2d", 10**6, 8, 0.1)))
    assert fit(lake, "efficiency-curve").version != first.version


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("perfect",), "there is no built-in estimator 'perfect'; there are roofline, efficiency-curve"),
        (("efficiency-curve", "--param", "holdout=none"), "holdout none: an estimate of what it was fitted on"),
        (("efficiency-curve", "--param", "holdout=luck"), "holdout is one of model, hardware, batch, kfold"),
        (("efficiency-curve", "--param", "centre=left"), "centre is one of geometric, compat"),
        (("efficiency-curve", "--param", "folds=many"), "parameter folds is a whole number, got 'many'"),
        (("efficiency-curve", "--param", "folds=1"), "folds must be at least 2, got 1"),
        (("roofline", "--param", "compute_share=0"), "compute_share must be more than 0, got 0"),
        (("efficiency-curve", "--param", "folds"), "--param takes name=value, got 'folds'"),
        (("roofline", "--holdout", "model"), "query roofline has no parameter 'holdout'"),
        (("efficiency-curve", "--hw", "nowhere"), "nothing was measured on 'nowhere'; there are dev"),
    ],
)
def test_a_fit_that_makes_no_sense_is_refused(
    lake: Lake, cli: Callable, arguments: tuple[str, ...], message: str
) -> None:
    three_models(lake)
    assert message in cli("estimates", "fit", *arguments, code=2).stderr
    assert lake.frame("estimates").is_empty()


def test_an_empty_lake_has_nothing_to_predict(lake: Lake, cli: Callable) -> None:
    lake.create()
    assert "there are no subgraph timings to predict" in cli("estimates", "fit", "roofline", code=2).stderr
