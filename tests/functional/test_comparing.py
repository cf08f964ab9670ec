"""`lake compare` as a user meets it: every way to name runs, every verdict, exit codes, and what it prints."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from groundlake.compare import compare
from groundlake.errors import UsageError
from groundlake.store import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "regressions.py"
START = dt.datetime.fromisoformat("2026-02-05T12:00")
METHODS = {"timing_method": "perf_counter", "flops_method": "fx_chain_v1", "device": "cpu", "total_flops": 1000}
NET = {"hardware_id": "dev", "precision": "fp32", "model": "net", "batch": 1}
PASSES = 50


class Sweeps:
    """Writes sweeps of made-up measurements into a lake; the same seed gives the same figures."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake(root)
        self.random = np.random.default_rng(20261121)
        self.written = 0

    def run(self, latency_ms: float, *, spread: float = 0.01, raw: bool = True, **columns: Any) -> str:
        """Write one run, an hour after the one before."""
        samples = latency_ms * np.exp(self.random.normal(0.0, spread, PASSES))
        row = {
            **NET,
            **METHODS,
            "started_at": START + dt.timedelta(hours=self.written),
            "started_at_zone_source": "clock",
            "end_to_end_latency_ms": float(samples.mean()),
            "end_to_end_latency_std_ms": float(samples.std(ddof=1)),
            "end_to_end_samples_ms": samples.tolist() if raw else None,
            "timed_runs": PASSES,
        }
        self.written += 1
        return self.lake.write(row | columns)

    def repeats(self, session: str, latency_ms: float, *, runs: int = 5, between: float = 0.01, **columns: Any) -> None:
        """Write repeats of one configuration, of one session."""
        for number in range(runs):
            drawn = latency_ms * math.exp(self.random.normal(0.0, between))
            self.run(drawn, session_id=session, run_index=number + 1, **columns)


@pytest.fixture
def sweeps(lake_root: Path) -> Sweeps:
    return Sweeps(lake_root)


@pytest.fixture
def two_sessions(sweeps: Sweeps) -> Sweeps:
    """Five repeats on each side: slow is 20 % slower, quick that much quicker, same the same, rough anything."""
    for session, slow, quick in (("before", 10.0, 12.0), ("after", 12.0, 10.0)):
        sweeps.repeats(session, slow, model="slow", torch_version=session)
        sweeps.repeats(session, quick, model="quick", torch_version=session)
        sweeps.repeats(session, 10.0, model="same", between=0.001, torch_version=session)
        sweeps.repeats(session, 10.0, model="rough", between=0.2, torch_version=session)
    return sweeps


def verdicts(frame: pl.DataFrame) -> dict[str, str]:
    return dict(frame.select("model", "verdict").iter_rows())


def test_every_verdict_worst_first_with_the_counts_below(two_sessions: Sweeps, cli):
    two_sessions.repeats("before", 10.0, model="recut")
    two_sessions.repeats("after", 10.0, model="recut", total_flops=2000)
    done = cli("compare", "before", "after", COLUMNS="250")
    header, _, *rows, summary = done.stdout.splitlines()
    assert header.split()[:4] == ["verdict", "change_percent", "change_ci_lower", "change_ci_upper"]
    said = [row.split("  ")[0] for row in rows]
    assert said == ["regressed", "insufficient data", "not comparable", "unchanged", "improved"]
    assert summary.startswith("1 regressed, 1 insufficient data, 1 not comparable, 1 unchanged, 1 improved; geometric")
    assert done.stderr == ""


def test_the_change_and_its_interval_are_those_of_students_t_on_the_runs(sweeps: Sweeps):
    for session, figures in (("a", (9.0, 10.0, 11.0)), ("b", (12.0, 12.5, 13.5))):
        for figure in figures:
            sweeps.run(figure, spread=0.0, session_id=session)
    (row,) = compare(sweeps.lake, "a", "b").to_dicts()
    a, b = (np.log(figures) for figures in ((9.0, 10.0, 11.0), (12.0, 12.5, 13.5)))
    variance = (a.var(ddof=1) + b.var(ddof=1)) / 2 * (2 / 3)
    half = 2.7764451051977987 * math.sqrt(variance)  # Student's t at 4 degrees of freedom
    change = b.mean() - a.mean()
    assert row["change_percent"] == pytest.approx(100 * math.expm1(change))
    assert row["change_ci_lower"] == pytest.approx(100 * math.expm1(change - half))
    assert row["change_ci_upper"] == pytest.approx(100 * math.expm1(change + half))
    assert row["a_value"] == pytest.approx(math.exp(a.mean()))
    assert row["noise_percent"] == pytest.approx(200 * math.sqrt(variance / (2 / 3)))
    assert (row["noise_method"], row["num_repeats"], row["a_runs"], row["b_runs"]) == ("between runs", 4, 3, 3)


SELECTORS = {
    "after": "before",
    "latest": "latest~1",
    "2026-02-06": "2026-02-05",
    "2026-02-06T20:00": "2026-02-05T20:00",
    "session_id=after": "session_id=before",
    "torch_version=after,hardware_id=dev": "torch_version=before",
}


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_way_to_name_the_same_runs_finds_the_same(selector: str, sweeps: Sweeps, cli):
    sweeps.repeats("before", 10.0, torch_version="before")
    sweeps.written = 24
    sweeps.repeats("after", 12.0, torch_version="after")
    (row,) = json.loads(cli("compare", SELECTORS[selector], selector, "--format", "json").stdout)
    assert (row["verdict"], row["a_runs"], row["b_runs"]) == ("regressed", 5, 5)


def test_single_runs_are_named_by_id(sweeps: Sweeps, cli):
    sweeps.repeats("history", 10.0)
    first, second = (
        sweeps.run(latency, run_id=f"{name}-0123") for latency, name in ((10.0, "firstrun"), (13.0, "second-run"))
    )
    (row,) = json.loads(cli("compare", "firstrun", second, "--format", "json").stdout)
    assert (row["a_run_ids"], row["b_run_ids"]) == ([first], [second])
    assert row["verdict"] == "regressed"


def test_a_difference_between_runs_is_no_regression_while_nothing_was_repeated(sweeps: Sweeps, cli):
    # A real pair, 84 minutes apart with nothing changed: resnet50 46.24 -> 56.82, efficientnet_b1 102.89 -> 73.55.
    for model, latencies in {"resnet50": (46.24, 56.82), "efficientnet_b1": (102.89, 73.55)}.items():
        for latency in latencies:
            sweeps.run(latency, model=model, spread=0.015)
    rows = json.loads(cli("compare", "latest~1", "latest", "--fail-on", "regressed", "--format", "json").stdout)
    assert {row["verdict"] for row in rows} == {"insufficient data"}
    for row in rows:
        assert row["noise_method"] == "within run"
        assert row["change_ci_upper"] - row["change_ci_lower"] < 2, "what one run knows of itself is not the noise"
        assert row["mann_whitney_p"] < 1e-6
        assert "run-to-run noise is unknown" in row["reason"]
        assert "the samples differ beyond the noise within the runs" in row["reason"]


def test_without_repeats_only_a_change_beyond_any_noise_is_called(sweeps: Sweeps):
    for latency in (10.0, 25.0):
        sweeps.run(latency)
    (row,) = compare(sweeps.lake, "latest~1", "latest").to_dicts()
    assert (row["verdict"], row["p_value"]) == ("regressed", None)
    assert "run-to-run noise is unknown, but none seen so far explains" in row["reason"]
    (row,) = compare(sweeps.lake, "latest", "latest~1").to_dicts()
    assert row["verdict"] == "improved"


def test_a_doubtful_run_is_called_nothing_without_repeats_and_its_warnings_are_named(sweeps: Sweeps):
    drift = "drift: the median went from 8.9 ms to 6 ms; raise --warmup"
    sweeps.run(200.0, warnings=[drift, "efficiency_above_one: 2 of 3 subgraphs"])
    sweeps.run(10.0)
    (row,) = compare(sweeps.lake, "latest~1", "latest").to_dicts()
    assert row["verdict"] == "insufficient data"
    assert row["reason"].endswith("; warnings of the runs: A drift")
    sweeps.repeats("later", 10.0, warnings=[drift])
    (row,) = compare(sweeps.lake, "latest~1", "latest").to_dicts()
    assert row["reason"].endswith("; warnings of the runs: B drift")


def test_earlier_runs_that_were_forced_tell_no_noise(sweeps: Sweeps):
    sweeps.repeats("busy", 10.0, between=0.3, warnings=["not_representative: the load is 10; wait"])
    sweeps.repeats("quiet", 10.0, between=0.001)
    sweeps.run(10.0)
    sweeps.run(11.0)
    (row,) = compare(sweeps.lake, "latest~1", "latest").to_dicts()
    assert (row["verdict"], row["num_repeats"]) == ("regressed", 4)


def test_runs_that_agree_are_not_called_unchanged_while_nothing_was_repeated(sweeps: Sweeps):
    sweeps.run(10.0, spread=0.001)
    sweeps.run(10.0, spread=0.001)
    (row,) = compare(sweeps.lake, "latest~1", "latest").to_dicts()
    assert abs(row["change_percent"]) < 0.2
    assert row["verdict"] == "insufficient data"
    assert "the samples agree within the noise within the runs" in row["reason"]


def test_a_stated_noise_stands_in_for_repeats(sweeps: Sweeps, cli):
    sweeps.run(10.0)
    sweeps.run(10.5)
    for stated, verdict in (("0%", "regressed"), ("1", "regressed"), ("10 %", "insufficient data")):
        (row,) = json.loads(cli("compare", "latest~1", "latest", "--run-noise", stated, "--format", "json").stdout)
        assert (row["verdict"], row["noise_method"]) == (verdict, "stated")


def test_earlier_runs_tell_the_noise_of_single_ones(sweeps: Sweeps):
    for _ in range(12):
        sweeps.run(10.0 * math.exp(sweeps.random.normal(0.0, 0.05)))
    sweeps.run(10.0)
    sweeps.run(11.0)
    (row,) = compare(sweeps.lake, "latest~1", "latest").to_dicts()
    assert (row["verdict"], row["noise_method"], row["num_repeats"]) == ("insufficient data", "between runs", 11)
    assert 5 < row["noise_percent"] < 20
    assert "noise may explain it; ±1 % needs" in row["reason"]
    sweeps.run(20.0)
    assert compare(sweeps.lake, "latest~1", "latest")["verdict"].to_list() == ["regressed"]


def test_other_configurations_of_the_device_tell_the_noise_where_this_one_was_never_repeated(sweeps: Sweeps):
    sweeps.repeats("history", 30.0, model="other", between=0.1)
    sweeps.repeats("history", 30.0, model="elsewhere", hardware_id="another device", between=0.0001)
    sweeps.run(10.0)
    sweeps.run(11.0)
    (row,) = compare(sweeps.lake, "latest~1", "latest", model="net").to_dicts()
    assert (row["verdict"], row["noise_method"]) == ("insufficient data", "between runs of others")
    assert row["noise_percent"] > 5


def test_the_change_itself_is_not_taken_for_noise(sweeps: Sweeps):
    sweeps.repeats("before", 10.0, between=0.005)
    sweeps.repeats("after", 20.0, between=0.005)
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert row["verdict"] == "regressed"
    assert row["noise_percent"] < 3


def test_repeats_that_agree_by_luck_do_not_beat_what_the_runs_know_of_themselves(sweeps: Sweeps):
    for session, latency in (("before", 10.0), ("after", 10.3)):
        for number in range(2):
            known = {"end_to_end_latency_ms": latency + number / 1e4, "end_to_end_latency_std_ms": 3.0}
            sweeps.run(latency, raw=False, session_id=session, **known)
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert row["verdict"] == "insufficient data"
    assert row["change_ci_upper"] - row["change_ci_lower"] > 10
    assert row["noise_percent"] == pytest.approx(200 * 0.3 / math.sqrt(PASSES), rel=0.05)


def test_many_configurations_do_not_add_up_to_a_false_alarm(sweeps: Sweeps):
    """At 1 % each and without adjusting, 200 configurations would give an alarm in 7 of 8 comparisons."""
    runs = []
    for number in range(200):
        for session in ("before", "after"):
            for _ in range(2):
                latency = 10.0 * math.exp(sweeps.random.normal(0.0, 0.02))
                runs.append((number, session, latency))
    rows = [
        {"hardware_id": "dev", "precision": "fp32", "model": f"net{number}", "batch": 1, **METHODS}
        | {"session_id": session, "end_to_end_latency_ms": latency}
        for number, session, latency in runs
    ]
    sweeps.lake.write_many([(row, {}) for row in rows])
    frame = compare(sweeps.lake, "before", "after")
    assert set(frame["verdict"]) <= {"insufficient data", "unchanged"}
    assert (frame["p_value"] <= 0.01).any(), "unadjusted, some would have been called"
    assert (frame["p_adjusted"] >= frame["p_value"]).all()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"timing_method": "node_sync"}, "timing_method differs: perf_counter against node_sync"),
        ({"flops_method": None}, "flops_method differs: fx_chain_v1 against unknown"),
        ({"device": "cuda"}, "device differs: cpu against cuda"),
        ({"total_flops": 1001}, "the graph, in total_flops differs: 1000 against 1001"),
    ],
)
def test_other_methods_devices_and_graphs_are_not_compared(columns: dict[str, object], reason: str, sweeps: Sweeps):
    sweeps.repeats("before", 10.0)
    sweeps.repeats("after", 20.0, **columns)
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert (row["verdict"], row["reason"], row["change_percent"]) == ("not comparable", reason, None)


def test_whole_models_are_compared_though_the_parts_of_one_could_not_be_timed(sweeps: Sweeps):
    sweeps.repeats("before", 10.0)
    sweeps.repeats("after", 20.0, timing_method="end_to_end", num_subgraphs=None)
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert (row["quantity"], row["verdict"]) == ("end_to_end_latency_ms", "regressed")
    assert row["change_percent"] == pytest.approx(100, abs=5)


def test_the_sum_of_subgraphs_is_compared_where_not_all_runs_were_timed_end_to_end(
    sweeps: Sweeps, timings: Callable[..., pl.DataFrame]
):
    def of_subgraphs(session: str, latency_ms: float, **columns: object) -> None:
        for number in range(5):
            each = latency_ms / 2 * math.exp(sweeps.random.normal(0.0, 0.002))
            samples = [[each * (1 + 0.01 * at) for at in (-1, 0, 1)]] * 2
            frame = timings(2, latency_samples_ms=samples, latency_samples=3, latency_mean_ms=each)
            row = {"session_id": session, "run_index": number, "total_latency_ms": 2 * each, "num_subgraphs": 2}
            sweeps.lake.write(NET | METHODS | row | columns, subgraph_timings=frame)

    of_subgraphs("before", 10.0, end_to_end_latency_ms=1.0)
    of_subgraphs("after", 12.0)
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert (row["quantity"], row["statistic"], row["verdict"]) == ("total_latency_ms", "typical", "regressed")
    assert row["a_value"] == pytest.approx(10.0, rel=0.01)
    assert row["change_percent"] == pytest.approx(20, abs=1)
    of_subgraphs("whole", 10.0, end_to_end_latency_ms=1.0)
    (row,) = compare(sweeps.lake, "before", "whole").to_dicts()
    assert (row["quantity"], row["a_value"]) == ("end_to_end_latency_ms", pytest.approx(1.0))


def test_means_stand_in_where_a_run_has_no_raw_samples(sweeps: Sweeps):
    sweeps.repeats("before", 10.0)
    sweeps.repeats("after", 12.0, raw=False)
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert (row["statistic"], row["mann_whitney_p"], row["verdict"]) == ("mean", None, "regressed")


def test_outliers_do_not_hide_in_the_typical_value(sweeps: Sweeps):
    for session, slow_passes in (("before", 0), ("after", 3)):
        for number in range(5):
            samples = [10.0 + 0.01 * math.sin(at + number) for at in range(PASSES - slow_passes)]
            samples += [40.0] * slow_passes
            sweeps.run(
                10.0, session_id=session, end_to_end_samples_ms=samples, end_to_end_latency_ms=float(np.mean(samples))
            )
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert row["verdict"] == "unchanged"
    assert "the means, outliers included, differ by +18.0 %" in row["reason"]


def test_devices_are_compared_by_the_other_keys(sweeps: Sweeps, cli):
    sweeps.repeats("one", 10.0, hardware_id="board_a")
    sweeps.repeats("two", 12.0, hardware_id="board_b")
    for a, b in (("one", "two"), ("hardware_id=board_a", "hardware_id=board_b")):
        (row,) = json.loads(cli("compare", a, b, "--format", "json").stdout)
        assert (row["hardware_id"], row["b_differs_in"]) == ("board_a", "hardware_id=board_b")
        assert (row["verdict"], row["noise_method"]) == ("regressed", "between runs")


def test_a_key_that_both_sides_name_may_differ(sweeps: Sweeps):
    sweeps.repeats("one", 10.0, total_flops=1000)
    sweeps.repeats("one", 6.0, precision="fp16", total_flops=1000)
    sweeps.repeats("one", 35.0, batch=4, total_flops=4000)
    (row,) = compare(sweeps.lake, "precision=fp32,batch=1", "precision=fp16,batch=1").to_dicts()
    assert (row["b_differs_in"], row["verdict"]) == ("precision=fp16", "improved")
    (row,) = compare(sweeps.lake, "batch=1,precision=fp32", "batch=4,precision=fp32").to_dicts()
    assert (row["b_differs_in"], row["verdict"]) == ("batch=4", "regressed"), "the graph is the same for each input"
    with pytest.raises(UsageError, match="no configuration in common"):
        compare(sweeps.lake, "precision=fp16", "batch=4")


def test_options_narrow_both_sides(two_sessions: Sweeps, cli):
    rows = json.loads(cli("compare", "before", "after", "--model", "slow", "--format", "json").stdout)
    assert [row["model"] for row in rows] == ["slow"]
    assert "there are quick, rough, same, slow" in cli("compare", "before", "after", "--model", "x", code=2).stderr
    assert "fp32" in cli("compare", "before", "after", "--precision", "int8", code=2).stderr


def test_the_threshold_says_what_matters(two_sessions: Sweeps, cli):
    for threshold, expected in (("1%", "regressed"), ("50", "unchanged")):
        options = ("--model", "slow", "--threshold", threshold, "--format", "json")
        (row,) = json.loads(cli("compare", "before", "after", *options).stdout)
        assert row["verdict"] == expected
    for wrong in ("much", "0", "100%", "-1", "nan"):
        assert "percent" in cli("compare", "before", "after", f"--threshold={wrong}", code=2).stderr


def test_fail_on_sets_the_exit_code(two_sessions: Sweeps, cli):
    compared = ("compare", "before", "after")
    done = cli(*compared, "--fail-on", "regressed", code=1)
    assert done.stderr == "error: of 4 configurations: 1 regressed (--fail-on regressed)\n"
    assert "regressed" in done.stdout
    assert "1 insufficient data" in cli(*compared, "--fail-on", "not_comparable,insufficient", code=1).stderr
    cli(*compared, "--fail-on", "not_comparable")
    cli(*compared, "--fail-on", "regressed", "--model", "quick")
    both = cli(*compared, "--fail-on", "regressed", "--fail-on", "insufficient", code=1).stderr
    assert "1 regressed, 1 insufficient data (--fail-on regressed,insufficient)" in both
    assert "--fail-on takes regressed, insufficient, not_comparable" in cli(*compared, "--fail-on", "x", code=2).stderr


def test_nothing_in_common_says_what_each_side_holds(sweeps: Sweeps, cli):
    sweeps.repeats("one", 10.0, model="this")
    sweeps.repeats("two", 10.0, model="that")
    text = cli("compare", "one", "two", "--fail-on", "regressed", code=2).stderr
    assert "A, one: 1 configurations; hardware_id dev; precision fp32; model this; batch 1" in text
    assert "B, two: 1 configurations; hardware_id dev; precision fp32; model that; batch 1" in text


def test_an_unknown_selector_an_empty_lake_and_equal_sides_are_usage_errors(two_sessions: Sweeps, cli):
    assert "sessions: after, before" in cli("compare", "before", "tomorrow", code=2).stderr
    assert "the same 20 runs" in cli("compare", "after", "latest", code=2).stderr
    two_sessions.run(10.0, model="single")
    assert "are the same run; there" in cli("compare", "latest", "latest", "--model", "single", code=2).stderr
    cli("init", "--root", "empty")
    assert "no good run" in cli("compare", "latest~1", "latest", "--root", "empty", code=2).stderr
    assert "no lake at" in cli("compare", "latest~1", "latest", "--root", "nowhere", code=2).stderr


def test_configurations_that_were_not_measured_again_have_no_row(sweeps: Sweeps, cli):
    sweeps.run(10.0, model="old")
    sweeps.repeats("before", 10.0)
    sweeps.repeats("before", 10.0, model="gone")
    sweeps.written = 24
    sweeps.repeats("after", 10.0)
    sweeps.run(10.0, model="new")
    lines = cli("compare", "2026-02-05", "2026-02-06").stdout.splitlines()
    assert len(lines) == 4
    assert lines[-1].endswith("without a counterpart: 0 of A, 1 of B; not measured again: 2")
    text = cli("compare", "2026-02-05", "2026-02-06", "--model", "old", code=2).stderr
    assert "are the same" in text


def test_a_run_on_both_sides_is_not_compared_with_itself(sweeps: Sweeps):
    sweeps.repeats("a", 10.0, note="x")
    last = sweeps.run(10.0, session_id="a")
    (row,) = compare(sweeps.lake, "a", "latest").to_dicts()
    assert (row["verdict"], row["reason"]) == ("not comparable", f"run {last} is on both sides")


def test_every_format_has_every_column_and_a_summary_goes_into_a_file(two_sessions: Sweeps, cli, tmp_path: Path):
    frame = compare(two_sessions.lake, "before", "after")
    done = cli("compare", "before", "after", "--format", "csv", "--summary", "out.md")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["model"] for row in rows] == frame["model"].to_list()
    assert list(rows[0]) == frame.columns
    assert [float(row["change_percent"]) for row in rows] == frame["change_percent"].to_list()
    cli("compare", "before", "after", "--format", "parquet", "-o", "out.parquet", "--summary", "out.md")
    assert pl.read_parquet(tmp_path / "out.parquet").equals(frame)
    text = (tmp_path / "out.md").read_text()
    assert text.count("## Runs compared: before → after") == 2
    assert "1 regressed, 1 insufficient data, 1 unchanged, 1 improved" in text
    assert "| verdict | change_percent |" in text


def test_energy_is_compared_rail_by_rail(sweeps: Sweeps, cli):
    def measured(session: str, power_w: float) -> None:
        for number in range(5):
            drawn = power_w * math.exp(sweeps.random.normal(0.0, 0.01))
            moments = np.arange(-0.5, 10.6, 0.1)
            board_w = 30.0 * math.exp(sweeps.random.normal(0.0, 0.001))
            # The work ran on the processor, so what a GPU took meanwhile is none of its energy.
            rails = [("replay", "core", drawn), ("replay", "board", board_w), ("nvml", "gpu", drawn)]
            power = pl.concat(
                pl.DataFrame(
                    {"timestamp_s": moments, "power_w": level + 0.1 * np.sin(np.arange(moments.size))}
                ).with_columns(source=pl.lit(source), rail=pl.lit(rail), phase=pl.lit("measure"), averaging_s=0.0)
                for source, rail, level in rails
            )
            row = {"session_id": session, "run_index": number, "measured_window_s": 10.0, "timed_runs": 100}
            sweeps.lake.write(NET | METHODS | row, power_timeseries=power)

    measured("before", 20.0)
    measured("after", 24.0)
    rows = json.loads(cli("compare", "before", "after", "--quantity", "energy", "--format", "json").stdout)
    assert [(row["rail"], row["verdict"]) for row in rows] == [
        ("replay/core", "regressed"),
        ("replay/board", "unchanged"),
    ]
    assert rows[0]["quantity"] == "energy_per_pass_j"
    assert rows[0]["a_value"] == pytest.approx(2.0, rel=0.02)
    assert "latency" in cli("compare", "before", "after", code=2).stderr


def test_repeats_of_one_session_are_said_to_know_nothing_of_drift(sweeps: Sweeps):
    for session, latency in (("before", 10.0), ("after", 15.0)):
        sweeps.repeats(session, latency)
    drift = "drift between sessions is not in the noise"
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert drift in row["reason"]
    for number in range(5):
        sweeps.run(10.0 + 0.1 * number, session_id=f"nightly {number}", software_fingerprint="x")
    (row,) = compare(sweeps.lake, "before", "after").to_dicts()
    assert row["verdict"] == "regressed"
    assert drift not in row["reason"]


def test_the_table_of_recall_and_false_alarms_is_written_between_its_markers(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- regressions: begin -->\nold\n<!-- regressions: end -->\nafter\n")
    command = [sys.executable, BENCHMARK, "--trials", "12", "--write", "--page", page]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    text = page.read_text()
    assert text.startswith("before\n<!-- regressions: begin -->\n\n**One run of 50 samples")
    assert text.endswith("\n<!-- regressions: end -->\nafter\n")
    assert "old" not in text
    assert text.count("none: false alarms") == 12
    assert "| normal | 1 % | 10 % | 100.0 | 100.0 |" in text
    assert "| normal | 1 % | 10 % | 100.0 | 100.0 |" in done.stdout


def test_names_are_text_in_a_summary(sweeps: Sweeps, cli, tmp_path: Path):
    name = "<img src=x onerror=alert(1)> [a](b)"
    for session in ("before", "<b>after"):
        sweeps.repeats(session, 10.0, model=name)
    cli("compare", "before", "<b>after", "--summary", "out.md")
    text = (tmp_path / "out.md").read_text()
    assert "<" not in text
    assert r"| &lt;img src=x onerror=alert(1)&gt; \[a\](b) |" in text
    assert "before → &lt;b&gt;after" in text
