"""Defects that other harnesses for KV-cache budgets were seen to have, each with the test that would have caught it.

Names of files are relative to `tests`; a test without one is here.

1 F1 of two equal texts below 1, as a set is divided by lists
    unit/test_transition_metrics.py::test_f1_of_answers_counts_each_shared_word_as_often_as_both_have_it
    property/test_transition_metrics.py::test_the_gold_answer_itself_is_exact
2 every task scored by exact match: 0 where its own metric gives 37.5
    test_a_task_is_scored_by_its_own_metric_where_no_answer_is_exact
3 scoring a second time takes scores away; a truncated answer is answered and failed
    test_scoring_again_changes_nothing_and_truncated_answers_keep_their_scores
    contract/test_transition_outcomes.py::test_every_request_ends_in_one_response_or_one_failure
4 an interrupted run cannot go on, and is reported as if it were whole
    test_an_interrupted_evaluation_is_refused_until_the_rest_is_asked
    functional/test_transition_run.py::test_a_killed_run_goes_on_without_asking_twice_or_mixing
5 timeouts and errors of the server stored as empty answers
    functional/test_transition_run.py::test_every_failure_has_its_name_in_the_lake_and_none_stops_the_run
6 the interval is of another figure than the mean beside it
    test_an_interval_is_of_the_mean_beside_it_whatever_the_metric
7 intervals depend on the order of rows
    test_two_lakes_with_the_same_answers_have_the_same_intervals
    property/test_transition_analysis.py::test_the_order_of_rows_changes_nothing
8 the hash of the settings leaves out every key with "token" in its name
    unit/test_transition_settings_hash.py::test_a_setting_is_in_the_hash_of_what_it_decides_and_in_no_other
    functional/test_transition_run.py::test_other_data_are_refused_until_they_are_forced
9 a report without a transition says "Detected: (not available)"
    functional/test_transition_report.py::test_no_transition_is_said_plainly_with_the_largest_drop
10 preparing with fewer bins leaves rows of the old ones; experiments overwrite each other's manifest
    test_fewer_bins_leave_nothing_of_the_old_ones_in_the_answers
    functional/test_transition_prepare.py::test_fewer_bins_and_examples_leave_no_row_of_the_old_data_set_in_sight
    functional/test_transition_prepare.py::test_groups_have_folders_and_manifests_of_their_own
11 an override of a number stays a text, and is refused
    functional/test_transition_config.py::test_an_override_of_a_whole_number_is_one
    functional/test_transition_cli.py::test_overrides_have_the_type_of_their_setting
12 lengths that repeat make edges that repeat
    functional/test_transition_prepare.py::test_equal_lengths_are_in_one_bin_and_bins_without_any_are_empty
13 a slope of .80, .68, .56 is no transition; no paired interval; bins weigh the same whatever their size
    test_a_slope_that_is_really_asked_is_a_transition_against_the_baseline
    unit/test_transition_analysis.py::test_a_drop_that_chance_explains_is_none_unless_asked_for
    unit/test_transition_analysis.py::test_the_mean_over_all_is_over_examples_not_over_bins
14 the budget is a label, put into the prompt, or a placeholder that is sent as it stands
    test_no_prompt_names_budget_or_policy_and_no_placeholder_is_sent
    functional/test_transition_report.py::test_a_budget_that_nothing_verifies_has_a_banner_with_counts_and_evidence
    functional/test_transition_run.py::test_another_prompt_is_noticed
15 a Chinese question counts as one token, by a tokenizer that has another name
    unit/test_transition_tokens.py::test_the_approximation_counts_words_marks_and_characters_of_scripts_without_spaces
    unit/test_transition_tokens.py::test_an_unknown_tokenizer_is_never_replaced_by_the_approximation
    functional/test_transition_report.py::test_lengths_that_were_counted_by_words_are_called_approximate
16 Retry-After is not read, what may pass is not tried again, waits cannot be repeated
    functional/test_transition_defects_asking.py::test_a_run_sends_again_what_may_pass_and_nothing_else
    functional/test_transition_defects_asking.py::test_waits_between_attempts_are_the_same_each_time
    functional/test_llm_endpoint.py::test_a_wait_until_a_date_is_kept
17 analysing one run overwrites the verdict and the plots of its group
    test_an_analysis_is_of_the_whole_group_after_work_on_one_budget
18 an engine ignores the prompt
    test_every_kind_of_engine_is_tested_to_answer_its_prompts
    functional/test_transition_run.py::test_every_example_is_asked_once_at_each_budget_and_never_again
    functional/test_recall_model.py::test_the_model_answers_with_its_whole_cache_at_every_length
19 stray names of failures, budgets that are not checked, two responses of a request, headers stored in clear
    functional/test_transition_defects_asking.py::test_the_lake_takes_known_names_of_failures_and_one_answer_of_a_request
    functional/test_transition_defects_asking.py::test_the_value_of_a_header_is_sent_and_kept_nowhere
    functional/test_transition_run_local.py::test_a_prompt_that_is_too_long_is_not_sent_or_loses_its_middle
    unit/test_transition_settings.py::test_a_wrong_key_is_told_with_its_path
20 content that is null, thoughts that are lost, 0 shown as unknown, samples that change, axes that name another metric
    functional/test_transition_defects_asking.py::test_an_answer_without_content_is_empty_and_its_thoughts_are_kept
    test_zero_is_shown_as_zero
    test_axes_and_report_name_the_metric_of_the_task
    functional/test_transition_report.py::test_empty_bins_are_shown_as_empty
    functional/test_transition_sample.py::test_rows_do_not_depend_on_the_order_in_which_they_were_written

Unknown keys are accepted
    functional/test_transition_defects_asking.py::test_a_key_that_nobody_reads_is_refused
Population in place of sample deviation
    functional/test_transition_views.py::test_figures_of_bins_are_those_of_the_hand
One request at a time, no time to the first token, no throughput
    functional/test_transition_run.py::test_so_many_are_asked_at_a_time_and_no_more
    functional/test_transition_run.py::test_a_run_says_what_was_asked_of_what_and_how
    functional/test_transition_views.py::test_throughput_is_over_the_wall_clock_of_all_runs
The shortest examples of each bin, limits after the edges, pins by place
    unit/test_transition_selection.py::test_each_bin_gives_as_many_and_not_its_shortest
    functional/test_transition_prepare.py::test_filters_come_before_the_bins_so_that_none_is_empty
    functional/test_transition_prepare.py::test_pinned_examples_and_slices_say_which_are_asked
Files of tests without a test
    test_every_test_that_is_named_here_exists
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from llm_server import LlmServer, Received, Reply, events_of, stream
from transition_group import Group, Recall, said
from typer.main import get_command

from groundlake.cli.app import app
from groundlake.errors import UsageError
from groundlake.store import Lake
from groundlake.transition.analysis.analyze import Analyzed, analyze_group
from groundlake.transition.configuration.settings import EngineSettings
from groundlake.transition.report import write_report
from groundlake.transition.report.content import require_content
from groundlake.transition.report.document import document
from groundlake.transition.report.plots import _accuracies
from groundlake.transition.scoring.score import score_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.transition.inference.outcome import RunEvent
    from groundlake.transition.report.facts import Content

pytestmark = pytest.mark.slow  # together they take minutes

TESTS = Path(__file__).parents[1]
BODY = {"kv": {"keep": "${budget}", "policy": "${policy}"}}
KV = {"policy": "snapkv", "apply": "extra_body", "extra_body": BODY, "budgets": [1.0, 0.5, 0.2]}
RIGHT = {1.0: 20, 0.5: 17, 0.2: 14}
"""Right answers of 25 by budget: .80, .68, .56."""
FEW = {"n_bootstrap": 200}


class Slope(Recall):
    """Answers fewer and fewer examples as the budget falls; every third answer ends at its longest."""

    def answer(self, received: Received) -> Reply:
        (name,) = re.findall(r"What of (e\d+)\?", received.body["messages"][-1]["content"])
        self.asked.append(name)
        known = int(name[1:]) <= RIGHT[received.body["kv"]["keep"]]
        return said(f"answer to {name}" if known else "nothing", "stop" if int(name[1:]) % 3 else "length")


class Classes(LlmServer):
    """Names a class in a sentence; the right one for three of the first four questions."""

    def answer(self, received: Received) -> Reply:
        number = int(re.findall(r"Who is e(\d+)\?", received.body["prompt"])[-1])
        text = "It is Other place, I think" if number < 4 else "It is the place"
        return stream(events_of([text], chat=False))


def finish(group: Group, *overrides: str) -> Analyzed:
    """Score and analyse a group that was asked."""
    score_group(group.settings(*overrides), group.lake)
    return analyze_group(group.settings(*overrides), group.lake)


def copied(group: Group, folder: Path) -> Group:
    """The same group in another folder, to be changed."""
    shutil.copytree(group.folder, folder)
    made = copy.copy(group)
    made.folder, made.lake, made.file = folder, Lake(folder / "lake"), folder / group.file.name
    made.file.write_text(group.file.read_text().replace(str(group.folder), str(folder)))
    return made


@pytest.fixture(scope="module")
def slopes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Group, Group, Slope]]:
    """The same evaluation in two lakes: one request after the other, and eight at a time in another order."""
    with Slope() as server:
        engine = {"base_url": server.url}
        one = Group(
            tmp_path_factory.mktemp("one") / "group", server.url, examples=25, kv=KV, engine=engine, analysis=FEW
        )
        one.prepare()
        other = copied(one, tmp_path_factory.mktemp("other") / "group")
        for group, told in ((one, ()), (other, ("engine.concurrency=8", "kv.budgets=[1.0, 0.2, 0.5]"))):
            assert group.run(*told).answered == 75
            finish(group)
        yield one, other, server


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """A task whose answers name a class: eight questions, of which no answer is exact, and three name the right one."""
    with Classes() as server:
        group = Group(
            tmp_path_factory.mktemp("classes"), server.url, dataset={"task": "trec", "n_per_bin": 4}, analysis=FEW
        )
        rows = (
            {
                "_id": f"e{number}",
                "input": f"Question: Who is e{number}?\nType:",
                "context": "Question: Who?\nType: Human\n" * number,
                "answers": ["Other place"],
                "all_classes": ["Human", "Other place", "Number"],
            }
            for number in range(1, 9)
        )
        (group.folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        group.prepare()
        group.run()
        finish(group)
        return group


@pytest.fixture(scope="module")
def contents(slopes: tuple[Group, Group, Slope], classes: Group) -> dict[str, Content]:
    """What the report of each is made from, by its metric."""
    groups = {"qa_f1": slopes[0], "classification": classes}
    return {metric: require_content(group.settings(), group.lake) for metric, group in groups.items()}


# ---------------------------------------------------------------- the table


def test_every_test_that_is_named_here_exists() -> None:
    here = Path(__file__).relative_to(TESTS).as_posix()
    told = re.findall(r"^    (?:(\S+)::)?(test_\w+)$", str(__doc__), re.MULTILINE)
    files = {TESTS / (file or here) for file, _ in told} | {*TESTS.glob("*/test_transition_*.py")}
    there = {file: _tests_of(file) for file in files}
    assert [name for name in told if name[1] not in there[TESTS / (name[0] or here)]] == []
    assert [file for file, names in there.items() if not names] == []
    assert re.findall(r"^(\d+) ", str(__doc__), re.MULTILINE) == [str(number) for number in range(1, 21)]


def _tests_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name[:5] == "test_"}


def test_every_kind_of_engine_is_tested_to_answer_its_prompts() -> None:
    assert get_args(EngineSettings.model_fields["type"].annotation) == ("openai", "transformers")


# ---------------------------------------------------------------- scores and intervals


def test_a_task_is_scored_by_its_own_metric_where_no_answer_is_exact(classes: Group) -> None:
    whole = classes.one("select accuracy, exact_match, f1 from kv_bin_stats where bin_index = -1")
    assert (whole["accuracy"], whole["exact_match"]) == (3 / 8, 0)
    assert 0 < whole["f1"] < 1


def test_an_interval_is_of_the_mean_beside_it_whatever_the_metric(classes: Group) -> None:
    long_ones = classes.one("select accuracy, exact_match, f1 from kv_bin_stats where bin_index = 1")
    assert (long_ones["accuracy"], long_ones["exact_match"]) == (0, 0)
    assert long_ones["f1"] > 0  # of which no interval of accuracy may be
    rows = classes.rows("select bin_index, subject, mean, ci_lower, ci_upper from kv_intervals where bin_index >= 0")
    found = {(number, subject): figures for number, subject, *figures in rows}
    assert found[1, "accuracy"] == found[1, "exact_match"] == [0, 0, 0]
    assert found[0, "exact_match"] == [0, 0, 0]
    mean, lower, upper = found[0, "accuracy"]
    assert (mean, upper) == (0.75, 1)
    assert lower < mean


def test_scoring_again_changes_nothing_and_truncated_answers_keep_their_scores(
    slopes: tuple[Group, Group, Slope],
) -> None:
    group = slopes[0]
    scores = "select request_id, accuracy, exact_match, f1, run_id from kv_scores order by request_id"
    before = group.rows(scores)
    again = score_group(group.settings(), group.lake)
    assert (again.scored, again.known, again.failed) == (0, 75, 0)
    assert group.rows(scores) == before
    truncated = group.rows("select state, is_scored, accuracy from kv_current_requests where is_truncated")
    assert len(truncated) == 3 * 8
    assert {(state, scored) for state, scored, _ in truncated} == {("answered", True)}
    assert {accuracy for *_, accuracy in truncated} == {0.0, 1.0}


def test_two_lakes_with_the_same_answers_have_the_same_intervals(slopes: tuple[Group, Group, Slope]) -> None:
    ends = "mean, ci_lower, ci_upper from kv_intervals order by budget_id, bin_index, subject"
    quality = "where subject <> 'log_latency'"  # the clock is another one each time
    changes = f"change, ci_lower, ci_upper, probability_below_zero from kv_deltas {quality}"
    for query in (
        f"select budget_id, bin_index, subject, {ends}",
        f"select comparison, to_budget_id, bin_index, subject, {changes} order by 1, 2, 3, 4",
    ):
        one, other = (group.rows(query) for group in slopes[:2])
        assert one == other
        assert len(one) > 20


def test_a_slope_that_is_really_asked_is_a_transition_against_the_baseline(contents: dict[str, Content]) -> None:
    content = contents["qa_f1"]
    assert [content.bin(each).accuracy_all for each in content.budgets] == pytest.approx([0.80, 0.68, 0.56])
    adjacent, found = content.verdict("adjacent"), content.verdict("baseline")
    assert adjacent is not None
    assert not adjacent.is_detected
    assert found is not None
    assert (found.is_detected, found.from_budget, found.to_budget) == (True, 1.0, 0.2)
    assert found.drop == pytest.approx(0.24)
    assert found.drop_ci_lower is not None
    assert found.drop_ci_lower > 0
    text = document(content, has_pictures=False)
    assert "**Quality slides: no single step loses 0.15, but budget 0.2 loses 0.240 [" in text


# ---------------------------------------------------------------- budgets


def test_no_prompt_names_budget_or_policy_and_no_placeholder_is_sent(slopes: tuple[Group, Group, Slope]) -> None:
    group, _, server = slopes
    prompts: dict[float, set[str]] = {}
    for received in server.received:
        body = json.dumps(received.body)
        assert "{" not in body.replace('{"', "").replace("{}", ""), "a placeholder that nobody filled in"
        assert received.body["kv"]["policy"] == "snapkv"
        assert [message["role"] for message in received.body["messages"]] == ["user"]
        asked = received.body["messages"][0]["content"]
        assert not re.search(r"snapkv|budget|policy|cache|kv|keep|0\.[25]", asked, re.IGNORECASE)
        prompts.setdefault(received.body["kv"]["keep"], set()).add(asked)
    assert prompts[1.0] == prompts[0.5] == prompts[0.2]
    assert len(prompts[1.0]) == 25
    assert group.rows("select count(distinct prompt_sha256) from kv_requests") == [(25,)]


# ---------------------------------------------------------------- going on, and preparing again


def test_an_interrupted_evaluation_is_refused_until_the_rest_is_asked(tmp_path: Path) -> None:
    class BreakError(Exception):
        pass

    def stop(event: RunEvent) -> None:
        if event.done == 3:
            raise BreakError

    with Recall() as server:
        group = Group(tmp_path / "group", server.url, analysis=FEW)
        settings = group.settings()
        group.prepare()
        with pytest.raises(BreakError):
            group.run(on_event=stop)
        with pytest.raises(UsageError, match=r"budget 1: 3 of 6 requests\n  lake kv run first"):
            write_report(settings, group.lake)
        assert group.run().asked == 3
        assert sorted(server.asked) == [f"e{number:02}" for number in range(1, 7)]
    scoring = score_group(settings, group.lake)
    assert (scoring.scored, scoring.missing) == (6, ())


def test_fewer_bins_leave_nothing_of_the_old_ones_in_the_answers(
    slopes: tuple[Group, Group, Slope], tmp_path: Path
) -> None:
    group = copied(slopes[1], tmp_path / "group")
    wide = "binning.n_bins=1"
    group.prepare(wide)
    analyzed = analyze_group(group.settings(wide), group.lake)  # nothing has to be asked or scored again
    assert not analyzed.was_current
    assert group.rows("select bin_index, num_answered from kv_bin_stats where budget = 0.2 order by 1") == [
        (-1, 25),
        (0, 25),
    ]
    bins = f"select distinct bin_index, run_id = '{analyzed.run_id}' as is_last from kv_intervals order by 1"
    assert group.rows(bins) == [(-1, True), (0, True), (1, False)]
    assert {each for each in analyzed.transitions["worst_bin"].to_list() if each is not None} == {0}


def test_an_analysis_is_of_the_whole_group_after_work_on_one_budget(
    slopes: tuple[Group, Group, Slope], tmp_path: Path
) -> None:
    group = copied(slopes[1], tmp_path / "group")
    more = "decoding.repeats=2"
    run_id = group.run(more, budgets=[0.2]).budgets[0].run_id
    assert score_group(group.settings(more), group.lake, run_id=run_id).scored == 25
    analyzed = analyze_group(group.settings(more), group.lake, allow_partial=True)
    assert [text.partition(":")[0] for text in analyzed.missing] == ["budget 1", "budget 0.5"]
    assert analyzed.transitions["comparison"].to_list() == ["adjacent", "baseline"]
    budgets = "select distinct budget from kv_intervals i join kv_budgets using (exp_group_id, budget_id)"
    found = group.rows(f"{budgets} where i.run_id = '{analyzed.run_id}' order by 1")
    assert found == [(0.2,), (0.5,), (1.0,)]
    commands = get_command(app).commands["kv"].commands
    takes = {name for name, command in commands.items() if "run_id" in {each.name for each in command.params}}
    assert takes == {"run", "score", "sample", "all"}


# ---------------------------------------------------------------- what is shown


def test_zero_is_shown_as_zero(contents: dict[str, Content]) -> None:
    content = contents["classification"]
    zeros = {"tokens_from": 0, "tokens_to": 0, "num_examples": 0, "completion_tokens_p50": 0.0}
    bins = tuple(dataclasses.replace(each, **zeros) for each in content.bins)
    text = document(dataclasses.replace(content, bins=bins), has_pictures=False)
    cells = next(line for line in text.splitlines() if line.startswith("| 0 | ")).split(" | ")
    assert cells[1:3] == ["0", "0"]
    assert cells[11].startswith("0 / ")
    assert "0: 0; 1: 0" in text, "the edges of the bins"


def test_axes_and_report_name_the_metric_of_the_task(contents: dict[str, Content]) -> None:
    for metric, content in contents.items():
        assert [panel.axis for panel in _accuracies(content)] == [f"Accuracy ({metric})"]
        assert f"scored by `{metric}`" in document(content, has_pictures=False)
