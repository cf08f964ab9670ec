"""Answers to be read by eye: drawn at random, the same ones always, raw beside what counts as right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transition_lake import GROUP, Outcome, asked, lost, prepared, right

from groundlake.errors import UsageError
from groundlake.store import Lake
from groundlake.transition.configuration.settings import Settings
from groundlake.transition.verification.sample import SampleRow, as_frame, sample

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = {name: int(name > "f") for name in "abcdefghij"}


def settings_of(group: str, budgets: tuple[float, ...] = (1.0, 0.5)) -> Settings:
    """Settings of a group, as far as they say what of it is looked at."""
    return Settings.model_validate(
        {
            "dataset": {"task": "hotpotqa", "path": "x"},
            "model": {"name": "small"},
            "engine": {"type": "transformers"},
            "kv": {"policy": "snapkv", "budgets": budgets},
            "output": {"exp_group_id": group},
        }
    )


SETTINGS = settings_of(GROUP)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Ten examples in two bins, asked at two budgets; one request failed, one answer has no score."""
    made = Lake(tmp_path_factory.mktemp("sampled") / "lake")
    prepared(made, EXAMPLES)
    asked(made, 1.0, {name: right(text=f"\n It's {name}!  ") for name in EXAMPLES} | {"a": lost()}, bins=EXAMPLES)
    asked(made, 0.5, {name: right(0.25) for name in EXAMPLES} | {"b": right(None)}, bins=EXAMPLES, hour=2)
    prepared(made, EXAMPLES, group="waiting")
    return made


@pytest.fixture(scope="module")
def everything(lake: Lake) -> list[SampleRow]:
    """A sample that is larger than the group."""
    return sample(SETTINGS, lake, n=99)


def test_a_seed_draws_rows_by_the_hash_of_seed_and_request_and_another_seed_others(
    lake: Lake, everything: list[SampleRow]
) -> None:
    # Written down once, so that no version of Python or of a library draws others.
    assert [row.request_id for row in everything[:4]] == ["g_0.5_c_1", "g_0.5_a_1", "g_0.5_e_1", "g_1_g_1"]
    assert sample(SETTINGS, lake, n=5) == everything[:5]
    assert sample(SETTINGS, lake, n=5, seed=2) != everything[:5]


def test_rows_do_not_depend_on_the_order_in_which_they_were_written(
    everything: list[SampleRow], lake_root: Path
) -> None:
    other = Lake(lake_root)
    backwards = dict(reversed(EXAMPLES.items()))
    asked(other, 0.5, {name: right(0.25) for name in backwards} | {"b": right(None)}, bins=EXAMPLES, hour=2)
    asked(other, 1.0, {name: right() for name in backwards} | {"a": lost()}, bins=EXAMPLES)
    prepared(other, backwards)
    assert [row.request_id for row in sample(SETTINGS, other, n=99)] == [row.request_id for row in everything]


def test_a_sample_that_is_larger_than_the_group_is_all_of_it(everything: list[SampleRow]) -> None:
    assert {(row.budget, row.example_id) for row in everything} == {(b, e) for b in (1.0, 0.5) for e in EXAMPLES}
    assert len(everything) == 2 * len(EXAMPLES)


def test_a_row_shows_the_raw_answer_beside_what_counts_as_right_and_its_score(
    everything: list[SampleRow],
) -> None:
    rows = {(row.budget, row.example_id): row for row in everything}
    answered = rows[1.0, "g"]
    assert (answered.text, answered.answers, answered.question) == ("\n It's g!  ", ("this",), "Which?")
    assert (answered.metric, answered.accuracy, answered.exact_match, answered.f1) == ("qa_f1", 1.0, 1.0, 1.0)
    assert (answered.bin_index, answered.prompt_tokens, answered.repeat) == (1, 200, 1)
    assert (answered.state, answered.finish_reason, answered.failure) == ("answered", "stop", None)
    failed = rows[1.0, "a"]
    assert (failed.state, failed.failure, failed.message) == ("failed", "TIMEOUT", "it failed")
    assert (failed.text, failed.accuracy, failed.metric) == (None, None, None)
    unscored = rows[0.5, "b"]
    assert (unscored.text, unscored.accuracy, unscored.normalized_gold) == ("this", None, None)


def test_a_budget_and_a_bin_leave_only_their_rows(lake: Lake) -> None:
    assert {(row.budget, row.bin_index) for row in sample(SETTINGS, lake, bin_index=1)} == {(1.0, 1), (0.5, 1)}
    both = sample(SETTINGS, lake, budget=1.0, bin_index=0, n=99)
    assert {(row.budget, row.example_id) for row in both} == {(1.0, each) for each in "abcdef"}


def test_a_run_or_the_id_of_a_budget_leaves_only_its_rows(lake: Lake) -> None:
    (run_id, budget_id), *_ = lake.sql("SELECT run_id, budget_id FROM kv_runs WHERE budget = 0.5").rows()
    for name in (run_id, budget_id):
        assert {row.budget for row in sample(SETTINGS, lake, n=99, run_id=name)} == {0.5}
    with pytest.raises(UsageError, match="run nobody has no request that counts now"):
        sample(SETTINGS, lake, run_id="nobody")


def test_budgets_and_repeats_that_the_settings_have_no_longer_are_not_shown(lake_root: Path) -> None:
    lake = Lake(lake_root)
    prepared(lake, {"a": 0})
    for hour, budget in enumerate((1.0, 0.5), start=1):
        asked(lake, budget, {"a": [right(), Outcome(accuracy=0.0, repeat=2)]}, hour=hour)
    assert {(row.budget, row.repeat) for row in sample(SETTINGS, lake)} == {(1.0, 1), (0.5, 1)}
    whole = settings_of(GROUP, (1.0,))
    assert {(row.budget, row.repeat) for row in sample(whole, lake)} == {(1.0, 1)}
    with pytest.raises(UsageError, match=r"nothing was asked in budget 0\.5\n  there is: 1"):
        sample(whole, lake, budget=0.5)


def test_a_frame_has_the_rows_in_the_order_of_the_sample(everything: list[SampleRow]) -> None:
    frame = as_frame(everything)
    assert frame["request_id"].to_list() == [row.request_id for row in everything]
    assert frame.filter(budget=1.0, example_id="g")["answers"].to_list() == [["this"]]
    assert as_frame([]).columns == frame.columns


@pytest.mark.parametrize(
    ("asked_for", "told"),
    [
        ({"budget": 0.2}, "nothing was asked in budget 0.2\n  there is: 0.5, 1"),
        ({"bin_index": 7}, "nothing was asked in bin 7\n  there is: 0, 1"),
        ({"n": 0}, "at least 1 row, got 0"),
    ],
)
def test_what_is_not_there_is_refused_with_what_there_is(lake: Lake, asked_for: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        sample(SETTINGS, lake, **asked_for)
    assert told in str(refused.value)


def test_a_group_that_is_not_there_or_was_not_asked_says_so(lake: Lake, lake_root: Path) -> None:
    with pytest.raises(UsageError, match=f"there is no group nobody\n  there is: {GROUP}, waiting"):
        sample(settings_of("nobody"), lake)
    with pytest.raises(
        UsageError, match=r"group waiting: nothing was asked yet at budget 1, 0\.5\n  lake kv run first"
    ):
        sample(settings_of("waiting"), lake)
    for nowhere in (None, "some_run"):
        with pytest.raises(UsageError, match=r"there is no lake at [^\n]*\n  lake kv prepare first, which makes one"):
            sample(SETTINGS, Lake(lake_root), run_id=nowhere)
    lake_root.write_text("no lake")
    with pytest.raises(UsageError, match=f"{lake_root} is a file, not the folder of a lake"):
        sample(SETTINGS, Lake(lake_root))
