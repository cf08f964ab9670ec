"""Each view over a small lake whose answers can be worked out by hand."""

from __future__ import annotations

import datetime as dt
import subprocess
from typing import TYPE_CHECKING

import polars as pl
import pytest
from small_lake import NOON as DAY
from small_lake import PEAK, measured
from small_lake import timing as subgraph

from groundlake.query_files import written_views
from groundlake.store import Lake

if TYPE_CHECKING:
    from pathlib import Path


def put(lake: Lake, rows: list[dict[str, object]] | None = None, *, day: int | None = 1, **run: object) -> str:
    """Write one good run (or whatever `run` says) that took half as long end to end, and return its id."""
    rows = rows if rows is not None else [subgraph(0)]
    half = sum(float(str(row["latency_mean_ms"])) for row in rows) / 2
    return measured(lake, *rows, day=day, **{"hardware_id": "dev_a", "end_to_end_latency_ms": half} | run)


def fail(lake: Lake, error: str, *, day: int | None = 1, **run: object) -> str:
    """Write one failed attempt."""
    when = None if day is None else DAY + dt.timedelta(days=day)
    zone = None if day is None else "clock"
    keys = {"hardware_id": "dev_a", "precision": "fp32", "model": "net", "batch": 1, "device": "cpu"}
    started = {"started_at": when, "started_at_zone_source": zone}
    return lake.write(keys | started | {"status": "failed", "error": error} | run)


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


@pytest.mark.parametrize("name", sorted(written_views().keys() - {"flops_bins"}))  # a list that asks no table
def test_every_view_runs_on_an_empty_lake(name: str, lake: Lake) -> None:
    lake.root.mkdir()
    assert lake.sql(f"select * from {name}").rows() == []
    lake.create()
    assert lake.sql(f"select * from {name}").rows() == []


@pytest.mark.parametrize("name", sorted(written_views()))
def test_the_example_of_every_view_runs(name: str, lake: Lake) -> None:
    put(lake)
    example = written_views()[name].example
    assert f"from {name}" in example
    assert lake.sql(example).columns


def test_model_summary_has_exactly_the_promised_columns(lake: Lake) -> None:
    put(lake)
    assert lake.sql("select * from model_summary").columns == [
        "hardware_id",
        "precision",
        "model",
        "batch",
        "total_latency_ms",
        "total_latency_std_ms",
        "end_to_end_latency_ms",
        "throughput_fps",
        "total_flops",
        "total_bytes",
        "num_subgraphs",
        "started_at",
    ]


def test_model_summary_shows_the_latest_good_efficiency_run_of_each_configuration(lake: Lake) -> None:
    put(lake, day=1, total_latency_ms=1.0)
    put(lake, day=3, total_latency_ms=3.0)
    put(lake, day=2, total_latency_ms=2.0)
    fail(lake, "later, but failed", day=4)
    put(lake, day=5, kind="llm_inference")
    withdrawn = put(lake, day=6)
    lake.retract(withdrawn, "dev_a", "wrong power mode")
    put(lake, day=None, batch=4, total_latency_ms=9.0)
    assert lake.sql("select batch, total_latency_ms from model_summary").rows() == [(1, 3.0), (4, 9.0)]


def test_of_two_runs_at_the_same_time_the_greater_run_id_is_the_latest(lake: Lake) -> None:
    put(lake, run_id="b", total_latency_ms=2.0)
    put(lake, run_id="a", total_latency_ms=1.0)
    assert lake.sql("select run_id from latest_runs").rows() == [("b",)]


def test_a_run_without_a_start_time_is_never_the_latest_when_another_has_one(lake: Lake) -> None:
    put(lake, run_id="a", day=1)
    put(lake, run_id="b", day=None)
    assert lake.sql("select run_id from latest_runs").rows() == [("a",)]


def test_run_summary_shows_every_timed_run_with_its_method_and_whole_model_efficiency(lake: Lake) -> None:
    put(lake, [subgraph(0, flops=100_000, mean=1.0), subgraph(1, flops=0, mean=1.0)], run_id="a")
    fail(lake, "out of memory", run_id="b", model="big")
    for kind in ("llm_inference", "quantization", "kv_transition", "idle_baseline"):
        lake.write({"hardware_id": "dev_a", "precision": "int8", "model": "net", "batch": 1, "kind": kind})
    rows = lake.sql("select run_id, status, timing_method, efficiency, error from run_summary order by run_id").rows()
    assert rows[0][:3] == ("a", "ok", "perf_counter")
    assert rows[0][3] == pytest.approx(100_000 / 2e-3 / PEAK)  # the zero-FLOP latency counts
    assert rows[1:] == [("b", "failed", "none", None, "out of memory")]


def test_coverage_counts_good_and_failed_runs_and_gives_the_last_reason(lake: Lake) -> None:
    put(lake, day=1)
    put(lake, day=2)
    fail(lake, "first", day=3)
    fail(lake, "second", day=4)
    fail(lake, "unknown date", day=None)
    fail(lake, "no memory", day=5, model="big")
    put(lake, kind="llm_inference", model="chat")
    rows = lake.sql(
        "select model, state, ok_runs, failed_runs, last_ok_at, last_failed_at, last_error from coverage"
    ).rows()
    day = [DAY + dt.timedelta(days=number) for number in range(6)]
    assert rows == [
        ("big", "failed", 0, 1, None, day[5], "no memory"),
        ("net", "measured", 2, 3, day[2], day[4], "second"),
    ]


def test_coverage_gaps_tell_failed_from_never_tried_within_one_kind_of_device(lake: Lake) -> None:
    put(lake, hardware_id="dev_a", model="net", batch=1)
    put(lake, hardware_id="dev_a", model="net", batch=4)
    fail(lake, "timeout", hardware_id="dev_a", model="big", batch=1)
    put(lake, hardware_id="dev_b", model="net", batch=1)
    put(lake, hardware_id="dev_b", model="big", batch=1)
    put(lake, hardware_id="gpu", model="gpu_only", batch=1, device="cuda")
    rows = lake.sql(
        "select hardware_id, model, batch, state, device, in_own_sweep, measured_on, failed_runs, last_error "
        "from coverage_gaps"
    ).rows()
    assert rows == [
        ("dev_a", "big", 1, "failed", "cpu", True, 1, 1, "timeout"),
        ("dev_b", "net", 4, "never tried", "cpu", False, 1, 0, None),
    ]


def test_a_failure_before_or_after_a_success_is_no_gap(lake: Lake) -> None:
    fail(lake, "cold start", day=1)
    put(lake, day=2)
    fail(lake, "unplugged", day=3)
    assert lake.sql("select * from coverage_gaps").rows() == []


def test_a_retracted_success_leaves_a_gap(lake: Lake) -> None:
    run_id = put(lake)
    put(lake, hardware_id="dev_b")
    put(lake, model="other")
    lake.retract(run_id, "dev_a", "throttled")
    rows = lake.sql("select hardware_id, model, state from coverage_gaps").rows()
    assert rows == [("dev_a", "net", "never tried"), ("dev_b", "other", "never tried")]


def test_efficiency_by_operation_weighs_by_work_and_averages_where_flops_were_counted(lake: Lake) -> None:
    put(lake, [subgraph(0, flops=999, mean=7.0)], day=0)  # superseded: only the latest run counts
    put(
        lake,
        [
            subgraph(0, flops=300_000, mean=1.0),
            subgraph(1, flops=100_000, mean=3.0),
            subgraph(2, flops=0, mean=1.0, operation_type="unfused"),
            subgraph(3, flops=10_000, mean=5.0, operation_type="unfused"),
        ],
        day=2,
    )
    conv, unfused = lake.sql(
        "select operation_type, num_configurations, num_subgraphs, num_subgraphs_with_flops, latency_ms, "
        "latency_share, flops, achieved_flops, efficiency, efficiency_mean from efficiency_by_operation "
        "order by operation_type"
    ).rows()
    assert conv[:5] == ("conv2d", 1, 2, 2, 4.0)
    assert conv[5:] == pytest.approx((0.4, 400_000, 1e8, 0.1, (0.3 + 0.1 / 3) / 2))
    assert unfused[:5] == ("unfused", 1, 2, 1, 6.0)
    assert unfused[5:] == pytest.approx((0.6, 10_000, 10_000 / 6e-3, 10_000 / 6e-3 / PEAK, 0.002))


def test_efficiency_by_operation_never_adds_up_different_methods(lake: Lake) -> None:
    put(lake, model="a")
    put(lake, model="b", timing_method="node_events")
    put(lake, model="c", flops_method=None)
    put(lake, model="d", theoretical_peak_source="recorded")
    rows = lake.sql("select num_configurations, latency_share from efficiency_by_operation").rows()
    assert rows == [(1, 1.0)] * 4


def test_efficiency_is_unknown_without_a_peak(lake: Lake) -> None:
    put(lake, [subgraph(0, efficiency_mean=None)], theoretical_peak_flops=None)
    assert lake.sql("select efficiency, efficiency_mean from efficiency_by_operation").rows() == [(None, None)]


def test_precision_speedup_compares_with_fp32_of_the_same_model_and_batch(lake: Lake) -> None:
    put(lake, total_latency_ms=10.0, end_to_end_latency_ms=8.0)
    put(lake, precision="fp16", total_latency_ms=4.0, end_to_end_latency_ms=2.5)
    put(lake, precision="bf16", total_latency_ms=20.0, end_to_end_latency_ms=None)
    put(lake, precision="fp16", batch=4)  # no fp32 at this batch size
    rows = lake.sql(
        "select precision, fp32_latency_ms, latency_ms, speedup, end_to_end_speedup, verdict, reason "
        "from precision_speedup order by precision"
    ).rows()
    assert rows == [
        ("bf16", 10.0, 20.0, 0.5, None, "comparable", None),
        ("fp16", 10.0, 4.0, 2.5, 3.2, "comparable", None),
    ]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"timing_method": "node_events"}, "timed by different methods"),
        ({"flops_method": "torch"}, "counted by different methods"),
        ({"flops_method": None}, "counted by different methods"),
        ({"device": "cuda"}, "run on different kinds of device"),
        ({"total_latency_ms": None, "end_to_end_latency_ms": None}, "a latency is missing"),
    ],
)
def test_runs_by_different_methods_are_not_comparable(lake: Lake, other: dict[str, object], reason: str) -> None:
    put(lake)
    put(lake, precision="fp16", **other)
    put(lake, batch=4, **other)
    speedup = lake.sql("select speedup, end_to_end_speedup, verdict, reason from precision_speedup").rows()
    assert speedup == [(None, None, "not_comparable", reason)]
    scaling = lake.sql(
        "select throughput_speedup, scaling_efficiency, verdict, reason from batch_scaling where batch = 4"
    ).rows()
    assert scaling == [(None, None, "not_comparable", reason)]


def test_a_method_that_counts_other_bytes_only_is_comparable(lake: Lake) -> None:
    put(lake, flops_method="fx_chain_v1", total_latency_ms=10.0)
    put(lake, precision="int8", flops_method="fx_chain_v1+int8_bytes.onednn.00.11", total_latency_ms=4.0)
    put(lake, precision="bf16", flops_method="export_chain_v1+int8_bytes.onednn.00.11")
    rows = lake.sql("select precision, speedup, verdict from precision_speedup order by precision").rows()
    assert rows == [("bf16", None, "not_comparable"), ("int8", 2.5, "comparable")]


def test_where_parts_were_not_timed_singly_only_the_whole_models_are_compared(lake: Lake) -> None:
    put(lake, total_latency_ms=10.0, end_to_end_latency_ms=8.0)
    unknown = {"total_latency_ms": None, "num_subgraphs": None}
    put(lake, precision="int8", timing_method="end_to_end", end_to_end_latency_ms=2.0, **unknown)
    rows = lake.sql("select speedup, end_to_end_speedup, verdict, reason from precision_speedup").rows()
    assert rows == [(None, 4.0, "end_to_end_only", "parts of one were not timed singly")]


def test_a_speedup_says_where_the_whole_model_tells_the_opposite(lake: Lake) -> None:
    put(lake, total_latency_ms=10.0, end_to_end_latency_ms=8.0)
    put(lake, precision="fp16", total_latency_ms=12.0, end_to_end_latency_ms=4.0)
    put(lake, precision="bf16", total_latency_ms=5.0, end_to_end_latency_ms=16.0)
    put(lake, precision="tf32", total_latency_ms=10.0, end_to_end_latency_ms=6.0)
    asked = "select precision, verdict, end_to_end_speedup, reason from precision_speedup order by precision"
    told = {row[0]: row[1:] for row in lake.sql(asked).rows()}
    said = (
        "the sum of the parts says faster and the whole model slower, or the other way round: timing parts singly costs"
        " time, a user has end_to_end_speedup"
    )
    assert told == {
        "bf16": ("comparable", 0.5, said),
        "fp16": ("comparable", 2.0, said),
        "tf32": ("comparable", pytest.approx(8 / 6), None),
    }


def test_a_speedup_says_where_the_whole_model_tells_another_one(lake: Lake) -> None:
    put(lake, total_latency_ms=12.0, end_to_end_latency_ms=12.0)
    for precision, parts_ms, whole_ms in (
        ("bf16", 2.0, 11.9),  # 6 beside 1.008
        ("fp16", 24.0, 48.0),  # 0.5 beside 0.25
        ("int8", 6.0, 8.0),  # 2 beside 1.5: as much as noise may come to
        ("int4", 10.0, None),
    ):
        put(lake, precision=precision, total_latency_ms=parts_ms, end_to_end_latency_ms=whole_ms)
    told = dict(lake.sql("select precision, reason from precision_speedup").rows())
    said = (
        "speedup and end_to_end_speedup differ by a factor of more than 1.5: timing parts singly costs time, a user "
        "has end_to_end_speedup"
    )
    assert told == {"bf16": said, "fp16": said, "int8": None, "int4": None}


def test_a_speedup_says_which_run_was_forced_on_an_unfit_machine(lake: Lake) -> None:
    forced = {"warnings": ["high_variance: the passes scatter", "not_representative: a check failed"]}
    put(lake, batch=1)
    put(lake, batch=2, **forced)
    for batch in (1, 2):
        put(lake, batch=batch, precision="bf16", **forced)
        put(lake, batch=batch, precision="fp16")
    rows = lake.sql("select batch, precision, reason from precision_speedup").rows()
    said = "not_representative: the machine was not fit to measure "
    assert {(batch, precision): reason for batch, precision, reason in rows} == {
        (1, "bf16"): f"{said}bf16",
        (1, "fp16"): None,
        (2, "bf16"): f"{said}fp32 and bf16",
        (2, "fp16"): f"{said}fp32",
    }


def test_an_int8_run_that_was_checked_goes_before_later_ones_that_nobody_checked(lake: Lake) -> None:
    put(lake, total_latency_ms=10.0, end_to_end_latency_ms=None)
    doubts = {"warnings": ["high_variance: the passes scatter", "preparation_not_checked: raw images"]}
    put(lake, precision="int8", day=2, run_id="unchecked", total_latency_ms=5.0, **doubts)
    asked = "select run_id, verdict, speedup, reason from precision_speedup"
    ((_, verdict, speedup, reason),) = lake.sql(asked).rows()
    assert (verdict, speedup) == ("comparable", 2.0)
    assert reason == "preparation_not_checked: nobody knows whether the int8 network is a right one"
    for day, run_id in ((0, "oldest"), (1, "checked")):
        put(lake, precision="int8", day=day, run_id=run_id, total_latency_ms=4.0)
    assert lake.sql(asked).rows() == [("checked", "comparable", 2.5, None)]
    put(
        lake,
        precision="int8",
        day=3,
        run_id="useless",
        warnings=["outputs_destroyed: off by 1"],
        total_latency_ms=4.0,
    )
    ((run_id, *_, reason),) = lake.sql(asked).rows()
    assert (run_id, reason) == ("useless", "outputs_destroyed: the int8 network is of no use")


def test_batch_scaling_compares_with_the_smallest_batch(lake: Lake) -> None:
    put(lake, [subgraph(0, flops=1000)], batch=2, total_latency_ms=4.0)
    put(lake, [subgraph(0, flops=4000)], batch=8, total_latency_ms=8.0)
    put(lake, model="alone", batch=1)
    rows = lake.sql(
        "select model, batch, smallest_batch, latency_per_input_ms, achieved_flops, throughput_speedup, "
        "scaling_efficiency, verdict from batch_scaling order by batch"
    ).rows()
    assert rows == [
        ("net", 2, 2, 2.0, 250_000.0, 1.0, 1.0, "comparable"),
        ("net", 8, 2, 1.0, 500_000.0, 2.0, 0.5, "comparable"),
    ]


def test_noisy_subgraphs_are_those_beyond_a_threshold(lake: Lake) -> None:
    put(
        lake,
        [
            subgraph(0, mean=1.0, latency_std_ms=0.1, latency_max_ms=10.0),  # at both thresholds: quiet
            subgraph(1, mean=1.0, latency_std_ms=0.2),
            subgraph(2, mean=2.0, latency_std_ms=0.0, latency_max_ms=22.0),
            subgraph(3, mean=4.0, latency_std_ms=4.0, latency_max_ms=80.0),
            subgraph(4, mean=0.0, latency_std_ms=0.0),
        ],
        total_latency_ms=8.0,
    )
    rows = lake.sql(
        "select subgraph_id, coefficient_of_variation, max_to_mean, latency_share, reason from noisy_subgraphs "
        "order by subgraph_id"
    ).rows()
    assert rows == [
        (1, 0.2, 1.0, 0.125, "spread"),
        (2, 0.0, 11.0, 0.25, "outlier"),
        (3, 1.0, 20.0, 0.5, "spread and outlier"),
    ]


def findings(lake: Lake) -> list[tuple[object, ...]]:
    rows = lake.sql("select run_id, finding, value, explanation from data_quality order by run_id, finding").rows()
    assert all(row[3] for row in rows)
    return [row[:3] for row in rows]


def test_a_sound_run_has_no_findings(lake: Lake) -> None:
    put(lake)
    assert findings(lake) == []


@pytest.mark.parametrize(
    ("rows", "run", "finding", "value"),
    [
        ([subgraph(0, efficiency_mean=1.5), subgraph(1, efficiency_mean=1.25)], {}, "efficiency_above_1", 1.5),
        ([subgraph(0), subgraph(1, total_bytes=0)], {}, "zero_bytes", 1.0),
        ([subgraph(0, mean=3.0), subgraph(1, flops=0, mean=1.0)], {}, "work_without_flops", 0.25),
        ([subgraph(0, latency_samples=29), subgraph(1)], {}, "few_samples", 29.0),
        ([subgraph(0)], {"num_subgraphs": 3}, "rows_missing", 2.0),
        ([subgraph(0, mean=3.0)], {"total_latency_ms": 2.0}, "summary_differs", 0.5),
        ([subgraph(0)], {"end_to_end_latency_ms": None}, "no_end_to_end", None),
        ([subgraph(0)], {"theoretical_peak_flops": None}, "no_peak", None),
        ([subgraph(0)], {"started_at_zone_source": "assumed_utc"}, "assumed_utc", None),
    ],
)
def test_what_is_doubtful_about_a_run_is_a_finding(
    lake: Lake, rows: list[dict[str, object]], run: dict[str, object], finding: str, value: float | None
) -> None:
    put(lake, rows, run_id="r", **run)
    assert findings(lake) == [("r", finding, value)]


def test_each_recorded_warning_is_a_finding_with_its_text(lake: Lake) -> None:
    texts = ['flops_per_batch: 0.1 % off "here"', "clock: it's, odd", r'path: C:\new\"x" \\host']
    put(lake, run_id="r", warnings=texts)
    rows = lake.sql("select finding, value, explanation from data_quality").rows()
    assert sorted(rows) == sorted(("warning", 3.0, text) for text in texts)


def test_a_graph_that_differs_from_most_runs_of_the_model_is_a_finding(lake: Lake) -> None:
    put(lake, [subgraph(0, flops=1000)], hardware_id="dev_a")
    put(lake, [subgraph(0, flops=1000)], hardware_id="dev_b")
    put(lake, [subgraph(0, flops=1500)], hardware_id="dev_c", run_id="odd")
    put(lake, [subgraph(0, flops=9000)], hardware_id="dev_c", batch=4)  # another batch size: another graph
    put(lake, [subgraph(0, flops=1700)], hardware_id="dev_d", precision="fp16", flops_method="torch")
    assert findings(lake) == [("odd", "flops_differ", 0.5)]


def test_two_graphs_that_are_equally_common_are_no_finding(lake: Lake) -> None:
    put(lake, [subgraph(0, flops=1000)], hardware_id="dev_a")
    put(lake, [subgraph(0, flops=1500)], hardware_id="dev_b")
    assert findings(lake) == []


def test_recorded_peaks_that_contradict_each_other_are_findings_about_the_device(lake: Lake) -> None:
    put(lake, theoretical_peak_flops=1e9)
    put(lake, theoretical_peak_flops=4e9, day=2)
    put(lake, precision="fp16", theoretical_peak_flops=1e9)
    put(lake, hardware_id="dev_b", precision="fp16", theoretical_peak_flops=2e9)
    device = pl.DataFrame({"name": ["Device"], "device": ["cpu"], "aliases": [["dev_b"]]})
    lake.write({"hardware_id": "dev_a", "kind": "hardware_spec"}, hardware=device)
    rows = lake.sql(
        "select run_id, hardware_id, precision, model, batch, finding, value from data_quality order by finding"
    ).rows()
    assert rows == [
        (None, "dev_a", "fp16", None, None, "peak_differs_from_alias", 0.5),
        (None, "dev_a", "fp16", None, None, "peak_shared_by_precisions", 1e9),
        (None, "dev_a", "fp32", None, None, "peak_varies", 4.0),
    ]


def test_the_bare_command_line_asks_every_view_of_the_view_file(lake: Lake, duckdb_binary: str) -> None:
    put(lake, warnings=["a: b"])
    fail(lake, "no memory", model="big")
    lake.bind_views()
    for name in written_views():
        done = subprocess.run(
            [duckdb_binary, "-readonly", "-csv", str(lake.view_file), f"select count(*) as n from {name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert int(done.stdout.split()[-1]) == lake.sql(f"select count(*) from {name}").rows()[0][0], name
