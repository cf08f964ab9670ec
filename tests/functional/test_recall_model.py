"""The shipped truth: a small trained model that knows its answers, and loses them when its cache is compressed."""

from __future__ import annotations

import itertools
import json
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from groundlake.errors import UsageError
from groundlake.llm import Decoding
from groundlake.llm.local import LocalModel
from groundlake.stats.bootstrap import bootstrap_interval
from groundlake.transition.engines.base import Prompt
from groundlake.transition.engines.local import LocalEngine
from groundlake.transition.engines.presses import Policy
from groundlake.transition.recall import data_folder, model_folder, questions, train
from groundlake.transition.recall.questions import RECORDS, rows, whole_items
from groundlake.transition.recall.tokenizer import VOCABULARY, make_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_kvpress = pytest.mark.skipif(find_spec("kvpress") is None, reason="kvpress is not installed")
DECODING = Decoding(max_new_tokens=4)
EACH = 8
"""Contexts of each length."""
POLICIES = {
    "snapkv": {"window_size": 8},
    "expected_attention": {"n_future_positions": 64, "use_vnorm": False},
    "streaming_llm": {},
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load(model_folder())


def accuracies(engine: LocalEngine, budget: float, asked: list[dict]) -> dict[str, float]:
    """Whether each answer is the right one, word by word."""
    right = {}
    for row in asked:
        answer = engine.answer_now(Prompt(context=row["context"], question=f"\n{row['input']}"), budget)
        assert answer.budget_verified
        assert answer.kept_fraction == pytest.approx(budget, abs=0.5 / answer.compressed_tokens + 1e-9)
        right[row["_id"]] = float(answer.text == row["answers"][0])
    return right


@pytest.fixture(scope="module")
def whole(model: LocalModel) -> dict[str, float]:
    return accuracies(LocalEngine(model, decoding=DECODING), 1.0, list(rows(per_length=EACH)))


def test_the_model_answers_with_its_whole_cache_at_every_length(whole: dict[str, float]) -> None:
    assert len(whole) == EACH * len(RECORDS)
    assert np.mean(list(whole.values())) >= 0.9
    for _, of_length in itertools.groupby(whole, key=lambda example: example[:10]):
        assert np.mean([whole[example] for example in of_length]) >= 0.75


@needs_kvpress
@pytest.mark.parametrize("policy", POLICIES)
def test_a_small_budget_costs_answers_of_the_same_questions(
    model: LocalModel, whole: dict[str, float], policy: str
) -> None:
    engine = LocalEngine(model, decoding=DECODING, policy=Policy(name=policy, settings=POLICIES[policy]))
    small = accuracies(engine, 0.2, list(rows(per_length=EACH)))
    paired = [small[example] - whole[example] for example in whole]
    low, high = bootstrap_interval(paired, list(whole), np.mean)
    assert np.mean(list(small.values())) < np.mean(list(whole.values()))
    assert low <= high < 0


@needs_kvpress
def test_a_policy_that_sees_the_question_keeps_its_answer(model: LocalModel) -> None:
    asked = [row for row in rows(per_length=EACH) if row["length"] > 200]
    policy = Policy(name="snapkv", settings=POLICIES["snapkv"])
    blind = accuracies(LocalEngine(model, decoding=DECODING, policy=policy), 0.2, asked)
    aware = accuracies(LocalEngine(model, decoding=DECODING, policy=policy, query_aware=True), 0.2, asked)
    assert np.mean(list(aware.values())) > np.mean(list(blind.values())) + 0.3


@needs_kvpress
def test_going_on_with_generate_would_hide_what_was_removed(model: LocalModel) -> None:
    """The reason for a loop of our own: generate feeds part of the prompt again, at other places."""
    from groundlake.transition.engines.cache import entries, fill

    row = next(rows(per_length=1, records=[64]))
    ids = model.tokenizer(f"{row['context']} {row['input']}")["input_ids"]
    filled = fill(model.model, ids[:-2], Policy(name="streaming_llm").press(len(ids) - 2, 51))
    model.model.generate(
        torch.tensor([ids]), past_key_values=filled.cache, max_new_tokens=1, do_sample=False, pad_token_id=1
    )
    assert entries(filled.cache)[0] > 51 + 2


def test_examples_are_the_same_wherever_they_are_made(tmp_path: Path) -> None:
    assert questions._main([str(tmp_path / "again.jsonl")]) == 0
    shipped = data_folder() / f"{questions.TASK}.jsonl"
    assert (tmp_path / "again.jsonl").read_bytes() == shipped.read_bytes()
    assert [row["_id"] for row in rows(per_length=2, records=[16])] == ["recall-016-0-0000", "recall-016-0-0001"]
    assert list(rows(per_length=1, seed=1)) != list(rows(per_length=1))


def test_only_the_record_of_a_question_tells_its_answer() -> None:
    for row in map(json.loads, (data_folder() / f"{questions.TASK}.jsonl").read_text().splitlines()):
        words = row["context"].split()
        assert words.count(row["input"].removeprefix("? ")) == 1
        assert words.count(row["answers"][0].split()[0]) == 1
        assert f"{row['input'].removeprefix('? ')} {row['answers'][0]} ;" in row["context"]
        assert row["length"] == len(words)


def test_longer_contexts_ask_for_more_where_this_is_wanted() -> None:
    growing = list(rows(per_length=2, growing=True))
    asked = [len(list(of)) for _, of in itertools.groupby(growing, key=lambda row: row["context"])]
    assert asked == [1, 1, 2, 2, 4, 4, 7, 7]
    right = {row["_id"]: 1.0 for row in growing}
    right["recall-064-0-0001-q3"] = 0.0
    items = whole_items(right)
    assert len(items) == 8
    assert [item for item, accuracy in items.items() if not accuracy] == ["recall-064-0-0001"]


@pytest.mark.parametrize("given", [{"per_length": 0}, {"records": [161]}, {"records": [0]}])
def test_a_number_of_records_that_cannot_be_is_refused(given: dict) -> None:
    with pytest.raises(UsageError, match="must be"):
        list(rows(**given))


def test_a_context_has_one_token_for_each_word_and_one_before(model: LocalModel) -> None:
    for row in rows(per_length=1):
        assert len(model.tokenizer(row["context"])["input_ids"]) == row["length"] + 1
    assert [model.tokenizer.convert_ids_to_tokens(number) for number in range(len(VOCABULARY))] == list(VOCABULARY)
    assert make_tokenizer()("? baba:")["input_ids"] == model.tokenizer("? baba:")["input_ids"]


def test_what_is_shipped_says_how_it_was_made_and_what_it_shows() -> None:
    made = json.loads((model_folder() / "training.json").read_text())
    assert made["steps"] == train.STEPS
    assert min(made["right_tokens"].values()) >= 0.9
    assert "what not" in (model_folder() / "README.md").read_text().lower()
    assert sum(file.stat().st_size for file in model_folder().iterdir()) <= 2_000_000


def test_training_with_the_same_seed_gives_the_same_model() -> None:
    models = [train.train(steps=2, seed=seed)[0] for seed in (3, 3, 4)]
    weights = [torch.cat([tensor.flatten() for tensor in model.state_dict().values()]) for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_training_writes_a_model_that_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "TESTED", 1)
    assert train._main([str(tmp_path / "model"), "--steps", "1"]) == 0
    assert LocalModel.load(tmp_path / "model").num_parameters == 452_224
    assert train._main([str(tmp_path / "none"), "--steps", "0"]) == 2
    assert not (tmp_path / "none").exists()


def test_a_level_is_left_when_it_is_mastered_and_not_before() -> None:
    from groundlake.transition.recall.curriculum import COPY_LEVELS, Course

    course = Course(0)
    for step in range(900):
        course.batch()
        course.note(step, loss=0.9, accuracy=0.95)
    assert course.passed == []
    for step in range(900):
        course.batch()
        course.note(step, loss=0.1, accuracy=0.95)
    assert len(course.summary()) == len(COPY_LEVELS) + len(RECORDS)
    steps = [step for _, step in course.passed]
    assert steps == sorted(set(steps))
