"""What counts of a group that was changed behind its answers: by other data, settings, budgets, repeats, or lakes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from llm_server import error
from transition_group import GROUP, Group, Recall, said

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.transition.analysis.analyze import analyze_group
from groundlake.transition.inference.journal import one_process
from groundlake.transition.inference.run import missing
from groundlake.transition.report import write_report
from groundlake.transition.report.content import require_content
from groundlake.transition.scoring.score import score_group
from groundlake.transition.stages import STAGES as ORDER
from groundlake.transition.stages import is_done
from groundlake.transition.verification.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KV = {"policy": "snapkv", "apply": "extra_body", "extra_body": {"kv_budget": "${budget}"}, "budgets": [1.0, 0.5]}
EXAMPLES = [f"e{number:02}" for number in range(1, 7)]
STAGES = (score_group, analyze_group, write_report)


@pytest.fixture
def server() -> Iterator[Recall]:
    with Recall() as running:
        yield running


@pytest.fixture
def group(tmp_path: Path, server: Recall) -> Group:
    """Six examples at two budgets, all answered right."""
    made = Group(tmp_path / "group", server.url, kv=KV, analysis={"n_bootstrap": 100})
    made.prepare()
    made.run()
    return made


def finish(group: Group, *overrides: str) -> None:
    """Score and analyse."""
    for stage in (score_group, analyze_group):
        stage(group.settings(*overrides), group.lake)


def failing(group: Group, *overrides: str) -> dict[str, str]:
    """Checks that do not hold, and what they say; but for files, which are not written here."""
    checks = verify(group.settings(*overrides), group.lake)
    return {each.name: each.detail for each in checks if not each.passed and not each.name.startswith("report.")}


def refusals(group: Group, *overrides: str) -> list[str]:
    """What each stage says that refuses."""
    told = []
    for stage in STAGES:
        with pytest.raises(UsageError) as caught:
            stage(group.settings(*overrides), group.lake)
        told.append(str(caught.value))
    return told


# ---------------------------------------------------------------- other data, other settings


def test_old_answers_are_never_scored_or_reported_against_new_right_answers(group: Group) -> None:
    score_group(group.settings(), group.lake)
    data = group.folder / "data.jsonl"
    data.write_text(data.read_text().replace('["answer to', '["another answer to'))
    group.prepare(force=True)
    for told in refusals(group):
        assert "group g holds answers that were asked differently\n  source: " in told
        assert "lake kv run first (or restore the settings)" in told
    assert group.rows("select distinct accuracy from kv_scores") == [(1.0,)]
    group.run(force=True)
    assert score_group(group.settings(), group.lake).scored == 12


def test_answers_of_other_settings_are_refused_by_name_until_these_are_restored(group: Group) -> None:
    others = ("model.name=another", "decoding.max_tokens=7")
    for told in refusals(group, *others):
        assert "model.name: 'test-model' before, now 'another'\n  decoding.max_tokens: " in told
        assert " before, now 7\n  lake kv run first" in told
    assert score_group(group.settings(), group.lake).scored == 12


# ---------------------------------------------------------------- other budgets


def test_a_budget_that_was_taken_out_of_the_settings_decides_nothing(group: Group, server: Recall) -> None:
    wrong = Group(group.folder, server.url, kv=KV | {"budgets": [1.0, 0.7, 0.5]}, analysis={"n_bootstrap": 100})
    server.special = dict.fromkeys(EXAMPLES, lambda: said("something else"))
    few = "dataset.n_per_bin=1"
    wrong.prepare(few)
    wrong.run(few)  # a collapse at 0.7, of two examples of six
    wrong.prepare()
    kept = "kv.budgets=[1.0,0.5]"
    finish(wrong, kept)
    content = require_content(wrong.settings(kept), wrong.lake)
    assert [each.budget for each in content.budgets] == [1.0, 0.5]
    assert [each.is_detected for each in content.verdicts] == [False, False]
    assert {(each.from_budget, each.to_budget) for each in content.deltas} == {(1.0, 0.5)}
    assert {flag.split(":")[0] for flag in content.flags} == {"no_effect", "few_examples"}
    assert failing(wrong, kept) == {}
    with pytest.raises(UsageError, match=r"budget 0\.7: 4 of 6 requests"):
        require_content(wrong.settings(), wrong.lake)


# ---------------------------------------------------------------- other repeats


def test_fewer_repeats_than_before_are_all_that_counts(group: Group, server: Recall) -> None:
    server.special = dict.fromkeys(EXAMPLES, lambda: said("something else"))
    thrice, once = "decoding.repeats=3", "decoding.repeats=1"
    group.run(thrice)  # the second and third answers are wrong
    assert group.one("select num_missing, is_complete from kv_run_summary where budget = 0.5") == {
        "num_missing": 0,
        "is_complete": True,
    }
    finish(group, once)
    content = require_content(group.settings(once), group.lake)
    assert [(each.num_answered, each.repeats) for each in content.budgets] == [(6, 1)] * 2
    assert {each.accuracy_all for each in content.bins} == {1.0}
    assert failing(group, once) == {}


def test_a_run_of_fewer_repeats_that_ends_early_says_what_is_missing(tmp_path: Path, server: Recall) -> None:
    group, few = Group(tmp_path / "group", server.url, kv=KV), "dataset.n_per_bin=1"
    group.prepare(few)
    group.run(few, "decoding.repeats=3")
    group.prepare()
    group.run(budgets=[1.0])
    told = group.rows("select budget, planned_requests, num_missing, is_complete from kv_run_summary order by 1 desc")
    assert told == [(1.0, 6, 0, True), (0.5, 6, 4, False)]


def test_repeats_that_are_set_again_count_again_without_being_asked_again(group: Group, server: Recall) -> None:
    twice, few = "decoding.repeats=2", "dataset.n_per_bin=1"
    group.prepare(few)
    group.run(few, twice)
    group.prepare()
    asked = len(server.asked)
    more = "kv.budgets=[1.0,0.5,0.1]"
    group.run(more)  # once each, the latest
    assert set(group.rows("select distinct repeat from kv_current_requests")) == {(1,)}
    assert len(server.asked) == asked + 6
    group.prepare(few)
    with pytest.raises(UsageError, match="lake kv run first"):
        score_group(group.settings(few, twice), group.lake)
    assert not is_done("run", group.settings(few, twice), group.lake)
    outcome = group.run(few, twice)
    assert (outcome.asked, len(server.asked)) == (0, asked + 6)
    assert is_done("run", group.settings(few, twice), group.lake)
    score_group(group.settings(few, twice), group.lake)
    assert group.run(few, twice).budgets[0].run_id is None  # said once


# ---------------------------------------------------------------- other lakes and processes


def test_a_score_of_another_machine_is_not_that_of_this_ones_answer(tmp_path: Path, server: Recall) -> None:
    here, there = (Group(tmp_path / name, server.url) for name in ("here", "there"))
    for each in (here, there):
        each.prepare()
    here.run()
    score_group(here.settings(), here.lake)
    server.special = dict.fromkeys(EXAMPLES, lambda: said("something else"))
    there.run()
    shutil.copytree(there.lake.root, here.lake.root, dirs_exist_ok=True)
    assert here.rows("select distinct text, accuracy from kv_answers") == [("something else", None)]  # it is later
    assert score_group(here.settings(), here.lake).scored == 6
    assert here.rows("select distinct accuracy from kv_answers") == [(0.0,)]
    here.require_consistent()


@pytest.mark.parametrize("first", ["answered", "failed"])
def test_an_answer_of_another_machine_stands_for_a_failure_of_this_one_whichever_was_later(
    tmp_path: Path, server: Recall, first: str
) -> None:
    here, there = (Group(tmp_path / name, server.url, examples=2) for name in ("here", "there"))
    for each in (here, there):
        each.prepare()
    failing = {"e01": lambda: error(503), "e02": lambda: said("I'm sorry, but I can't help with that.")}
    for each in (here, there) if first == "failed" else (there, here):
        server.special = dict(failing) if each is here else {}
        each.run()
    assert missing(here.settings(), here.lake) == {1.0: 1}
    shutil.copytree(there.lake.root, here.lake.root, dirs_exist_ok=True)
    states = dict(here.rows("select example_id, state from kv_current_requests"))
    assert states == {
        "e01": "answered",
        "e02": "failed" if first == "answered" else "answered",
    }  # what stays: the later
    assert missing(here.settings(), here.lake) == {1.0: 0}
    assert here.run().asked == 0
    assert is_done("run", here.settings(), here.lake)
    here.require_consistent()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("decoding.max_tokens=7", "decoding.max_tokens: nothing before, now 7"),
        ("model.name=another", "model.name: 'test-model' before, now 'another'"),
    ],
)
def test_no_stage_is_done_under_settings_that_the_group_was_not_asked_with(
    group: Group, changed: str, named: str
) -> None:
    finish(group)
    write_report(group.settings(), group.lake)
    assert [is_done(stage, group.settings(), group.lake) for stage in ORDER] == [True] * 5
    assert [is_done(stage, group.settings(changed), group.lake) for stage in ORDER] == [True, *[False] * 4]
    failed = {each.name: each.detail for each in verify(group.settings(changed), group.lake) if not each.passed}
    assert failed["run.settings"].startswith(f"asked with {named}; ")


def test_two_processes_with_results_in_two_folders_do_not_ask_for_one_group(group: Group, server: Recall) -> None:
    elsewhere = f"output.folder={group.folder / 'elsewhere'}"
    asked, more = len(server.asked), "decoding.repeats=2"
    with one_process(group.folder / "elsewhere" / GROUP, group.lake.root, GROUP):
        with pytest.raises(UsageError, match=r"another process is asking for it \(it holds .*lake/\.asking-g\)"):
            group.run(more)
        with pytest.raises(UsageError, match=r"it holds .*/elsewhere/g\)"):
            group.run(more, elsewhere)
        assert len(server.asked) == asked
    assert group.run(more, elsewhere).asked == 12
    assert group.lake.check() == []


def test_a_lake_that_cannot_be_locked_is_told_before_anything_is_asked(group: Group, server: Recall) -> None:
    asked = len(server.asked)
    lock = group.lake.root / ".asking-g"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(LakeEnvironmentError, match=r"cannot write .*asking-g: Is a directory"):
        group.run("decoding.repeats=2")
    assert len(server.asked) == asked
