"""Views over a small lake of evaluations whose answers are worked out by hand, and the analysis from lake to lake."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from transition_lake import (
    GROUP,
    NOON,
    Outcome,
    analyzed,
    asked,
    budget_id,
    fill,
    frame,
    lost,
    prepared,
    request_id,
    right,
    score,
)

from groundlake.errors import UsageError
from groundlake.snapshot import Snapshot
from groundlake.store import Lake
from groundlake.transition.analysis.analysis import analyze, read_requests
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.configuration.settings import AnalysisSettings, Settings
from groundlake.transition.data.focus import focus_for
from groundlake.transition.data.selection import Focus
from groundlake.transition.inference.recording import MAY_PASS
from groundlake.transition.scoring.failures import FAILURES

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {"hardware_id": "dev", "precision": "fp32", "model": "small", "batch": 1}
SCORING = KEYS | {"kind": "kv_score", "timing_method": "none"}


VIEWS = (
    "kv_current_runs",
    "kv_budgets",
    "kv_current_requests",
    "kv_answers",
    "kv_bin_stats",
    "kv_run_summary",
    "kv_failure_summary",
    "kv_integrity",
    "kv_current_analyses",
    "kv_transitions",
)
NO_TELEMETRY = dict.fromkeys(("latency_ms", "time_to_first_token_ms", "prompt_tokens", "completion_tokens"))
KEPT = (0.31, 0.32, 0.33, 0.34, 0.35)


def failed_later(lake: Lake, group: str) -> None:
    """Two machines asked the same: one has answers, the other, later by its clock, failures of each kind."""
    asked(lake, 1.0, {"a": lost("REFUSAL")} | {code: lost(code) for code in FAILURES}, hour=2, group=group)
    asked(lake, 1.0, {"a": right()} | {code: right() for code in FAILURES}, hour=1, group=group)


def failed_again(lake: Lake, group: str) -> None:
    """What stays stands before what may pass; of two that may pass, the later one."""
    asked(lake, 1.0, {"a": lost("REFUSAL"), "b": lost("TIMEOUT")}, hour=1, group=group)
    asked(lake, 1.0, {"a": lost("TIMEOUT"), "b": lost("CONNECTION")}, hour=2, group=group)


def scored_again(lake: Lake, group: str) -> None:
    run = asked(lake, 1.0, {"a": right(0.2)}, group=group)
    again = score(request_id(1.0, "a", group=group), 0.7, group, run) | {"scorer_version": "2"}
    lake.write(SCORING, kv_scores=frame([again]))


def prepared_again(lake: Lake, group: str) -> None:
    prepared(lake, {"a": 0, "gone": 1}, hour=0, group=group)
    asked(lake, 1.0, {"a": right(), "gone": right(0.0)}, bins={"gone": 1}, group=group)
    prepared(lake, {"a": 3}, hour=2, group=group)


def repeated(lake: Lake, group: str) -> None:
    once = Outcome(answered=False, failure="TIMEOUT", repeat=2)
    outcomes: dict[str, Outcome | list[Outcome]] = {
        "a": right(0.8),
        "b": right(0.4),
        "c": lost(),
        "d": [right(1.0), once],
    }
    asked(lake, 1.0, outcomes, group=group)


def verified(lake: Lake, group: str) -> None:
    both = {"a": right(budget_verified=True), "b": right(budget_verified=True)}
    asked(lake, 0.5, both, group=group)
    asked(lake, 0.2, {"a": lost(), "b": lost("REFUSAL"), "c": right()}, bins={"b": 1}, hour=2, group=group)


def resumed(lake: Lake, group: str) -> None:
    twice = Outcome(answered=False, failure="TIMEOUT", attempts=("failed", "failed"))
    asked(lake, 1.0, {"a": right(), "b": twice}, group=group)
    asked(lake, 1.0, {"b": right(None)}, hour=2, planned_requests=2, group=group)


def begun_anew(lake: Lake, group: str) -> None:
    asked(lake, 1.0, {"a": right(0.1), "b": lost()}, group=group)
    asked(lake, 0.5, {"a": right(0.1)}, hour=2, group=group)
    again: dict[str, Any] = {"settings_hash": "other", "forced": "decoding.max_tokens: 8 before, 16 now"}
    asked(lake, 1.0, {"a": right(0.9)}, hour=3, group=group, **again)


def without_telemetry(lake: Lake, group: str) -> None:
    asked(lake, 1.0, {"a": right(**NO_TELEMETRY), "b": right()}, group=group)


def silent(lake: Lake, group: str) -> None:
    asked(lake, 1.0, {"a": right(**NO_TELEMETRY)}, group=group)


def half_told(lake: Lake, group: str) -> None:
    asked(lake, 1.0, {"a": right(prompt_tokens=None), "b": right()}, group=group)


def kept(lake: Lake, group: str) -> None:
    asked(lake, 0.33, {f"k{each}": right(kept_fraction=each, cache_entries=100) for each in KEPT}, group=group)


def orphaned(lake: Lake, group: str) -> None:
    request = {
        "exp_group_id": group,
        "budget_id": "b",
        "request_id": "w",
        "example_id": "a",
        "bin_index": 0,
        "repeat": 1,
        "prompt_sha256": "a",
        "prompt_truncation": "none",
        "sent_at": NOON,
        "num_attempts": 1,
    }
    lake.write(
        KEYS | {"kind": "kv_transition", "timing_method": "none"},
        kv_requests=frame([request]),
        kv_responses=frame([{"request_id": "x", "text": "this", "is_truncated": False}]),
        kv_failures=frame([{"request_id": "y", "failure": "TIMEOUT"}]),
        kv_attempts=frame(
            [{"request_id": "z", "attempt": 1, "status": "ok", "started_s": 0.0, "duration_s": 1.0}],
        ),
    )


def analysed_again(lake: Lake, group: str) -> None:
    asked(lake, 1.0, {"a": right(), "b": right()}, group=group)
    asked(lake, 0.5, {"a": right(0.0), "b": right(0.0)}, hour=2, group=group)
    analyzed(lake, AnalysisSettings(drop_threshold=0.2), hour=9, group=group)
    analyzed(lake, AnalysisSettings(drop_threshold=0.3), hour=8, group=group)  # a clock that was set back


def answered_again(lake: Lake, group: str) -> None:
    """Two machines asked the same, and scored: the run that is later by its clock is the one whose answers stand."""
    asked(lake, 1.0, {"a": right(None), "b": right(0.3)}, hour=2, group=group)
    asked(lake, 1.0, {"a": right(0.9), "b": right(0.9)}, hour=1, group=group)


def fewer_repeats(lake: Lake, group: str) -> None:
    thrice = [right(), Outcome(accuracy=0.0, repeat=2), Outcome(answered=False, failure="TIMEOUT", repeat=3)]
    asked(lake, 1.0, {"a": thrice}, group=group)
    asked(lake, 0.5, {"a": thrice}, hour=2, group=group)
    asked(lake, 1.0, {"b": right(0.5)}, hour=3, group=group)


def unfit(lake: Lake, group: str) -> None:
    never = Outcome(answered=False, failure="CONTEXT_LENGTH_EXCEEDED", attempts=())
    asked(lake, 1.0, {"a": right(), "b": never, "c": never}, begun_s=3, group=group)
    asked(lake, 0.5, {"a": never}, hour=2, group=group)


SITUATIONS: dict[Callable[[Lake, str], None], dict[str, int]] = {
    failed_later: dict.fromkeys(("a", *FAILURES), 0),
    failed_again: {"a": 0, "b": 0},
    scored_again: {"a": 0},
    prepared_again: {},
    repeated: dict.fromkeys("abcd", 0),
    verified: {"a": 0, "b": 1, "c": 0},
    resumed: {"a": 0, "b": 0},
    begun_anew: {"a": 0, "b": 0},
    without_telemetry: {"a": 0, "b": 0},
    silent: {"a": 0},
    half_told: {"a": 0, "b": 0},
    answered_again: {"a": 0, "b": 0},
    fewer_repeats: {"a": 0, "b": 0},
    unfit: {"a": 0, "b": 0, "c": 0},
    kept: {f"k{each}": 0 for each in KEPT},
    orphaned: {"a": 0},
    analysed_again: {"a": 0, "b": 0},
}
"""Each is a group of its own name in one lake, so that every view is asked once; and the examples of its data set."""


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    lake = Lake(tmp_path_factory.mktemp("full") / "lake")
    fill(lake)
    for write, examples in SITUATIONS.items():
        if examples:
            prepared(lake, examples, group=write.__name__)
        write(lake, write.__name__)
    state = Snapshot(lake, VIEWS)  # which reads each part once, however many views are asked
    return {name: state.ask(f"select * from {name}") for name in VIEWS}


@pytest.fixture
def lake(lake_root: Path) -> Lake:
    return Lake(lake_root)


@pytest.fixture
def row(views: dict[str, pl.DataFrame]) -> Callable[..., dict[str, Any]]:
    def find(view: str, group: str = GROUP, **keys: object) -> dict[str, Any]:
        """The one row of a group in a view with these values."""
        (found,) = views[view].filter(exp_group_id=group, **keys).rows(named=True)
        return found

    return find


Row = Callable[..., dict[str, Any]]


def violations(views: dict[str, pl.DataFrame], group: str | None = GROUP) -> list[tuple[Any, ...]]:
    found = views["kv_integrity"].filter(pl.col("exp_group_id").eq_missing(pl.lit(group)))
    return sorted(found.select("violation", "request_id").rows())


def test_a_request_stands_as_the_latest_run_left_it(row: Row) -> None:
    again = row("kv_current_requests", request_id=request_id(1.0, "c"))
    assert (again["state"], again["failure"], again["accuracy"], again["accuracy_all"]) == ("answered", None, 0.9, 0.9)
    failed = row("kv_current_requests", request_id=request_id(0.5, "c"))
    assert (failed["state"], failed["accuracy"], failed["accuracy_all"], failed["failed"]) == ("failed", None, 0.0, 1.0)
    unscored = row("kv_current_requests", request_id=request_id(0.5, "b"))
    assert (unscored["state"], unscored["is_scored"], unscored["accuracy_all"]) == ("answered", False, None)


def test_a_failure_after_an_answer_stands_where_it_stays_and_not_where_it_may_pass(
    row: Row, views: dict[str, pl.DataFrame]
) -> None:
    found = row("kv_current_requests", "failed_later", example_id="a")
    assert (found["state"], found["accuracy"], found["accuracy_all"]) == ("failed", None, 0.0)
    states = views["kv_current_requests"].filter(exp_group_id="failed_later").select("example_id", "state").rows()
    expected = {code: "answered" if code in MAY_PASS else "failed" for code in FAILURES}
    assert dict(states) == expected | {"a": "failed"}
    again = views["kv_current_requests"].filter(exp_group_id="failed_again").sort("example_id")
    assert again["failure"].to_list() == ["REFUSAL", "CONNECTION"]


def test_a_later_score_stands_for_the_one_before(row: Row) -> None:
    found = row("kv_current_requests", "scored_again")
    assert (found["accuracy"], found["scorer_version"]) == (0.7, "2")


def test_bin_and_selection_are_those_of_the_data_set_as_prepared_last(row: Row, views: dict[str, pl.DataFrame]) -> None:
    group = "prepared_again"
    assert row("kv_current_requests", group, example_id="a")["bin_index"] == 3
    assert not row("kv_current_requests", group, example_id="gone")["is_selected"]
    stats = row("kv_bin_stats", group, bin_index=-1)
    assert (stats["num_examples"], stats["accuracy"]) == (1, 1.0)
    assert violations(views, group) == []


def test_figures_of_bins_are_those_of_the_hand(row: Row) -> None:
    short = row("kv_bin_stats", budget=1.0, bin_index=0)
    assert (short["num_examples"], short["num_requests"], short["accuracy"], short["exact_match"]) == (2, 2, 0.875, 0.5)
    assert short["accuracy_std"] == pytest.approx(0.125 * 2**0.5)  # of a sample: n - 1
    assert (short["latency_p50_ms"], short["latency_p95_ms"]) == (150.0, 195.0)
    assert (short["ttft_p50_ms"], short["prompt_tokens_p50"], short["completion_tokens_p95"]) == (15.0, 100.0, 4.0)
    assert (short["tokens_from"], short["tokens_to"], short["population"], short["selected"]) == (100, 100, 4, 2)
    whole = row("kv_bin_stats", budget=1.0, bin_index=-1)
    assert whole["accuracy"] == pytest.approx((1 + 0.75 + 0.9 + 0.5) / 4)
    assert (whole["num_truncated"], whole["failure_rate"]) == (1, 0.0)
    half = row("kv_bin_stats", budget=0.5, bin_index=0)
    assert half["accuracy"] == pytest.approx(0.6)  # two repeats of one example; the other has no score yet
    assert (half["num_requests"], half["num_scored"], half["kept_fraction_mean"]) == (3, 2, pytest.approx(0.49))


def test_failures_count_as_0_beside_what_was_answered(row: Row) -> None:
    stats = row("kv_bin_stats", "repeated", bin_index=0)
    # The sample standard deviations of (0.8, 0.4, 1) and of (0.8, 0.4, 0, 0.5), with n - 1.
    assert stats["accuracy_std"] == pytest.approx((0.28 / 3) ** 0.5)
    assert stats["accuracy_all_std"] == pytest.approx((0.3275 / 3) ** 0.5)
    assert stats["accuracy"] == pytest.approx((0.8 + 0.4 + 1.0) / 3)
    assert stats["accuracy_all"] == pytest.approx((0.8 + 0.4 + 0.0 + 0.5) / 4)
    assert stats["failure_rate"] == pytest.approx((0 + 0 + 1 + 0.5) / 4)
    assert (stats["num_answered"], stats["num_failed"]) == (3, 2)


def test_bins_without_examples_and_without_answers_have_a_row(row: Row) -> None:
    empty = row("kv_bin_stats", budget=0.5, bin_index=2)
    assert (empty["num_examples"], empty["selected"], empty["accuracy"], empty["tokens_from"]) == (0, 0, None, None)
    failed = row("kv_bin_stats", budget=0.5, bin_index=1)
    assert (failed["num_answered"], failed["accuracy"], failed["latency_p50_ms"]) == (0, None, None)


def test_progress_and_the_state_of_the_budget_are_told(row: Row) -> None:
    done = row("kv_run_summary", budget=1.0)
    # Four examples, asked twice each, as the latest run of the group has it: this budget lacks the second time.
    assert (done["planned_requests"], done["num_answered"], done["num_missing"], done["num_runs"]) == (8, 4, 4, 2)
    states = (done["is_complete"], done["is_scored"], done["budget_state"], done["num_unverified"])
    assert states == (False, True, "unknown", 4)
    part = row("kv_run_summary", budget=0.5)
    assert (part["planned_requests"], part["num_missing"]) == (8, 4)
    assert (part["is_complete"], part["is_scored"]) == (False, False)
    assert (part["budget_state"], part["verified_share"]) == ("false", pytest.approx(1 / 3))
    whole = row("kv_run_summary", "resumed")
    assert (whole["planned_requests"], whole["num_missing"], whole["is_complete"]) == (2, 0, True)
    assert (done["num_without_latency"], part["num_failed_attempts"], part["waited_s"]) == (1, 2, 0.5)


def test_a_budget_that_every_answer_shows_is_verified(row: Row) -> None:
    assert row("kv_run_summary", "verified", budget=0.5)["budget_state"] == "true"
    assert row("kv_run_summary", "verified", budget=0.2)["budget_state"] == "unknown"


def test_throughput_is_over_the_wall_clock_of_all_runs(row: Row) -> None:
    # The first run has attempts at 0-1, 2-3 and 3-4 s, the second at 0-1 s; each answer has 4 tokens, each prompt 100.
    summary = row("kv_run_summary", "resumed")
    assert (summary["num_attempts"], summary["num_failed_attempts"], summary["wall_s"]) == (4, 2, 5.0)
    assert summary["requests_per_min"] == pytest.approx(3 / 5 * 60)
    assert summary["output_tokens_per_s"] == pytest.approx(8 / 5)
    assert summary["tokens_per_s"] == pytest.approx(208 / 5)
    assert (summary["total_completion_tokens"], summary["mean_prompt_tokens"]) == (8, 100.0)


def test_what_was_never_sent_is_no_throughput_and_takes_no_time(row: Row) -> None:
    # One request of three was sent: its only attempt began 3 s after the start of the run, and took a second.
    summary = row("kv_run_summary", "unfit", budget=1.0)
    assert (summary["num_asked"], summary["num_failed"], summary["num_missing"]) == (1, 2, 0)
    assert (summary["wall_s"], summary["requests_per_min"]) == (1.0, 60.0)
    never = row("kv_run_summary", "unfit", budget=0.5)
    assert (never["num_asked"], never["num_failed"], never["wall_s"], never["requests_per_min"]) == (0, 1, None, None)


def test_percentiles_of_a_budget_are_between_its_answers(row: Row) -> None:
    # The answers took 100, 200, 400 and 500 ms; the third request failed first, and its answer tells no latency.
    summary = row("kv_run_summary", budget=1.0)
    assert (summary["latency_p50_ms"], summary["latency_p95_ms"]) == (200.0, pytest.approx(380.0))


def test_repeats_beyond_those_of_the_latest_run_do_not_count(row: Row, views: dict[str, pl.DataFrame]) -> None:
    group = "fewer_repeats"
    assert set(views["kv_current_requests"].filter(exp_group_id=group)["repeat"]) == {1}
    first, second = (row("kv_run_summary", group, budget=budget) for budget in (1.0, 0.5))
    assert (first["planned_requests"], first["num_answered"], first["num_missing"]) == (2, 2, 0)
    assert (first["is_complete"], first["num_failed"]) == (True, 0)
    assert (second["planned_requests"], second["num_missing"], second["is_complete"]) == (2, 1, False)
    assert row("kv_bin_stats", group, budget=1.0, bin_index=0)["accuracy"] == pytest.approx(0.75)
    assert violations(views, group) == []


def test_a_score_is_of_the_answer_that_was_scored(row: Row, views: dict[str, pl.DataFrame]) -> None:
    found = views["kv_current_requests"].filter(exp_group_id="answered_again").sort("example_id")
    assert found.select("is_scored", "accuracy").rows() == [(False, None), (True, 0.3)]
    answers = views["kv_answers"].filter(exp_group_id="answered_again").sort("example_id")
    assert answers.select("accuracy", "normalized_answer").rows() == [(None, None), (0.3, "this")]
    assert row("kv_run_summary", "answered_again")["num_scored"] == 1
    assert violations(views, "answered_again") == []


def test_only_runs_of_the_latest_settings_of_a_group_count(row: Row, views: dict[str, pl.DataFrame]) -> None:
    group = "begun_anew"
    (run,) = views["kv_current_runs"].filter(exp_group_id=group).rows(named=True)
    assert (run["place"], run["settings_hash"], run["budget"]) == (1, "other", 1.0)
    assert row("kv_budgets", group)["planned_requests"] == 2
    assert row("kv_current_requests", group)["accuracy"] == 0.9
    summary = row("kv_run_summary", group)
    assert (summary["num_attempts"], summary["num_failed_attempts"], summary["num_missing"]) == (1, 0, 1)
    assert summary["requests_per_min"] == pytest.approx(60.0)
    assert violations(views, group) == []


def test_missing_telemetry_is_null_and_counted(row: Row) -> None:
    summary = row("kv_run_summary", "without_telemetry")
    assert [summary[f"num_without_{what}"] for what in ("latency", "ttft", "tokens")] == [1, 1, 1]
    # A total that lacks an answer would be too small; a mean is of those that tell.
    totals = ("total_prompt_tokens", "total_completion_tokens", "output_tokens_per_s", "tokens_per_s")
    assert [summary[name] for name in totals] == [None] * 4
    assert (summary["mean_completion_tokens"], summary["latency_p50_ms"], summary["wall_s"]) == (4.0, 200.0, 3.0)
    silent = row("kv_run_summary", "silent")
    figures = (*totals, "latency_p50_ms", "latency_p95_ms", "mean_completion_tokens")
    assert [silent[name] for name in figures] == [None] * 7
    half = row("kv_run_summary", "half_told")
    assert [half[name] for name in totals] == [None, 8, pytest.approx(8 / 3), None]
    stats = row("kv_bin_stats", "silent", bin_index=0)
    assert (stats["latency_p50_ms"], stats["completion_tokens_p50"], stats["prompt_tokens_p50"]) == (None, None, 100.0)


def test_failures_are_counted_by_kind_and_bin(views: dict[str, pl.DataFrame]) -> None:
    found = views["kv_failure_summary"].filter(exp_group_id="verified", budget=0.2)
    assert sorted(found.select("bin_index", "failure", "num_failed", "num_requests", "share").rows()) == [
        (-1, "REFUSAL", 1, 3, 1 / 3),
        (-1, "TIMEOUT", 1, 3, 1 / 3),
        (0, "TIMEOUT", 1, 2, 0.5),
        (1, "REFUSAL", 1, 1, 1.0),
    ]


def test_every_violation_is_told_once(views: dict[str, pl.DataFrame], row: Row) -> None:
    assert violations(views) == [
        ("answer_and_failure", request_id(0.5, "stranger")),
        ("kept_fraction_off", request_id(0.5, "b")),
        ("no_outcome", request_id(0.5, "d")),
        ("request_without_example", request_id(0.5, "stranger")),
        ("score_without_answer", "nobody"),
    ]
    off = row("kv_integrity", violation="kept_fraction_off")
    assert (off["expected"], off["seen"], off["budget_id"]) == (0.5, 0.48, budget_id(0.5))


def test_whatever_has_no_request_is_told(views: dict[str, pl.DataFrame]) -> None:
    assert violations(views, "orphaned") == [("no_outcome", "w"), ("request_without_run", "w")]
    assert violations(views, None) == [
        ("answer_without_request", "x"),
        ("attempt_without_request", "z"),
        ("failure_without_request", "y"),
    ]


def test_the_analysis_that_counts_is_the_one_that_was_recorded_last(row: Row, views: dict[str, pl.DataFrame]) -> None:
    last = row("kv_current_analyses", "analysed_again")
    assert (last["num_analyses"], last["started_at"], last["config_hash"]) == (2, NOON + dt.timedelta(hours=8), "c")
    verdicts = views["kv_transitions"].filter(exp_group_id="analysed_again")
    # Whoever joins the verdicts to it finds them: the table keeps those of the same analysis.
    assert set(verdicts["run_id"]) == {last["run_id"]}
    assert set(verdicts["drop_threshold"]) == {0.3}


def test_a_cache_may_keep_one_entry_more_or_less(views: dict[str, pl.DataFrame]) -> None:
    off = [("kept_fraction_off", request_id(0.33, f"k{each}", group="kept")) for each in (0.31, 0.35)]
    assert violations(views, "kept") == off


@pytest.mark.parametrize("group", ["failed_later", "scored_again", "repeated", "verified", "resumed"])
def test_nothing_is_told_where_all_is_well(views: dict[str, pl.DataFrame], group: str) -> None:
    assert violations(views, group) == []


def test_the_analysis_goes_from_lake_to_lake_and_means_are_those_of_the_views(lake: Lake) -> None:
    bins = {f"e{number:02}": number % 2 for number in range(24)}
    prepared(lake, bins)
    asked(lake, 1.0, {name: right(0.9) for name in bins}, bins=bins)
    asked(
        lake,
        0.2,
        {name: lost() if number == 0 else right(0.8 - 0.6 * bins[name]) for number, name in enumerate(bins)},
        bins=bins,
        hour=2,
    )
    requests = read_requests(lake, GROUP)
    analysis = analyze(requests, GROUP, AnalysisSettings())
    for _ in range(2):  # the later analysis stands for the one before
        lake.write(KEYS | {"kind": "kv_analysis", "timing_method": "none"}, **analysis.frames)
    joined = lake.sql(
        "select i.subject, i.mean, s.accuracy, s.accuracy_all, s.exact_match, s.failure_rate from kv_intervals i "
        "join kv_bin_stats s on s.budget_id = i.budget_id and s.bin_index = i.bin_index"
    ).pl()
    assert joined.height == 2 * 3 * 4
    for each in joined.rows(named=True):
        assert each["mean"] == pytest.approx(each[each["subject"]])
    (verdict,) = lake.sql("select * from kv_transitions where comparison = 'adjacent'").pl().rows(named=True)
    assert (verdict["is_detected"], verdict["from_budget"], verdict["to_budget"], verdict["worst_bin"]) == (
        True,
        1.0,
        0.2,
        1,
    )
    assert [flag.split(":")[0] for flag in verdict["flags"]] == ["short_context_failures"]


@pytest.fixture
def focused(tmp_path: Path) -> Callable[..., Settings]:
    def make(*overrides: str) -> Settings:
        path = tmp_path / "focus.yaml"
        path.write_text(
            "dataset: {task: hotpotqa, n_per_bin: 2}\nmodel: {name: m}\noutput: {exp_group_id: g}\n"
            "sampling: {strategy: focus_transition, focus_n_per_bin: 6, focus_radius_bins: 1}\n"
        )
        return load_settings(path, overrides=list(overrides))

    return make


def test_focus_is_taken_from_the_analysis_in_the_lake(lake: Lake, focused: Callable[..., Settings]) -> None:
    with pytest.raises(UsageError, match="was not analysed yet"):
        focus_for(focused(), lake)
    bins = {f"e{number:02}": number % 3 for number in range(24)}
    prepared(lake, bins)
    asked(lake, 1.0, {name: right() for name in bins}, bins=bins)
    asked(lake, 0.5, {name: right() for name in bins}, bins=bins, hour=2)
    analyzed(lake, AnalysisSettings())
    with pytest.raises(UsageError, match="no bin that falls"):
        focus_for(focused(), lake)
    asked(lake, 0.2, {name: right(0.0 if bins[name] == 2 else 1.0) for name in bins}, bins=bins, hour=3)
    analyzed(lake, AnalysisSettings())
    assert focus_for(focused(), lake) == Focus(bins=(2,), radius=1, base_n=2, focus_n=6)
    assert focus_for(focused("sampling.focus_bins=[0, 1]"), None) == Focus(bins=(0, 1), radius=1, base_n=2, focus_n=6)


def test_a_uniform_sampling_has_no_focus(focused: Callable[..., Settings]) -> None:
    plain = ["sampling.strategy=uniform", "sampling.focus_n_per_bin=null", "sampling.focus_radius_bins=null"]
    assert focus_for(focused(*plain), None) is None


def test_two_processes_find_the_same_to_the_last_digit(tmp_path: Path) -> None:
    script = (
        "import polars as pl\n"
        "from groundlake.transition.analysis.analysis import analyze\n"
        "from groundlake.transition.configuration.settings import AnalysisSettings\n"
        "rows = [\n"
        "    {'budget_id': str(b), 'budget': b, 'example_id': f'e{n}', 'bin_index': n % 3,\n"
        "     'accuracy': n / 40 * b, 'accuracy_all': n / 40 * b, 'exact_match': 0.0, 'failed': 0.0,\n"
        "     'budget_verified': None, 'latency_ms': None}\n"
        "    for b in (1.0, 0.5) for n in range(40)\n"
        "]\n"
        "found = analyze(pl.DataFrame(rows), 'g', AnalysisSettings(n_bootstrap=200))\n"
        "print([frame.rows() for frame in found.frames.values()])\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
