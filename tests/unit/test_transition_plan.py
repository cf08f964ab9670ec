"""What is planned to be asked, and how prompts that are too long lose their middle."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest
import yaml

from groundlake.errors import UsageError
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.data.examples import Example
from groundlake.transition.data.prepared import Prepared, PreparedExample
from groundlake.transition.data.tokens import TokenizerCounter, WordCounter, counter_named
from groundlake.transition.inference.identity import decoding_json, request_id
from groundlake.transition.inference.plan import Plan, plan
from groundlake.transition.scoring.tasks import find_task

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.transition.configuration.settings import Settings

tokenizers = pytest.importorskip("tokenizers")
TASK = find_task("kv_recall")  # "{context}\n{input}", no conversation
LIMIT, ANSWER = 20, 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of words between spaces."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106 - no secret
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def settings(tmp_path: Path, tokenizer: Path):
    def make(*overrides: str) -> Settings:
        file = tmp_path / "plan.yaml"
        told = {
            "dataset": {"task": "kv_recall", "path": "data"},
            "tokenizer": {"path": str(tokenizer)},
            "model": {"name": "m", "max_model_len": LIMIT},
            "decoding": {"max_tokens": ANSWER},
            "output": {"exp_group_id": "g"},
        }
        file.write_text(yaml.safe_dump(told))
        return load_settings(file, overrides, {})

    return make


def prepared_for(settings: Settings, *lengths: int, question: str = "which one?", words: bool = False) -> Prepared:
    """A data set of contexts of so many words, w0 w1 w2 ..."""
    counter = WordCounter() if words else counter_named(settings.tokenizer_source)
    examples = []
    for position, length in enumerate(lengths):
        context = " ".join(f"w{number}" for number in range(length))
        prompt = TASK.prompt(context, question)
        example = Example(
            example_id=f"e{position}",
            task="kv_recall",
            question=question,
            context=context,
            answers=("w1",),
            all_classes=None,
            language=None,
            source_length=None,
            source_sha256="0",
        )
        examples.append(
            PreparedExample(
                example=example,
                position=position,
                bin_index=0,
                prompt_tokens=counter.count([prompt])[0],
                prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
            )
        )
    return Prepared(
        run_id="d",
        exp_group_id="g",
        dataset_id="longbench__kv_recall",
        task="kv_recall",
        source_uri=None,
        source_sha256="0",
        tokenizer=counter.name,
        tokenizer_fingerprint=counter.fingerprint,
        prompt_hash="p",
        settings_hash=settings.settings_hash("prepare"),
        manifest_sha256="m",
        population=len(lengths),
        left_out=0,
        examples=tuple(examples),
        bins=pl.DataFrame(),
    )


def only(planned: Plan, place: int = 0):
    return planned.budgets[0].requests[place].asked


def test_a_prompt_that_fits_is_sent_as_it_is(settings) -> None:
    made = settings("run.truncation=middle")
    fits = LIMIT - ANSWER - 2
    for known in (made, settings("model.max_model_len=null")):
        asked = only(plan(known, prepared_for(known, fits), TASK))
        assert (asked.truncation, asked.unfit, len(asked.prompt.text.split())) == ("none", None, fits + 2)
        assert asked.prompt_sha256 == asked.source.prompt_sha256


def test_a_prompt_that_is_too_long_is_not_sent(settings) -> None:
    made = settings()
    planned = plan(made, prepared_for(made, LIMIT - ANSWER - 1), TASK)
    assert only(planned).unfit == (
        "the prompt has 17 tokens and the answer may have 4: 21 are more than model.max_model_len, 20; it was not sent"
    )


def test_a_prompt_that_is_too_long_loses_its_middle(settings) -> None:
    made = settings("run.truncation=middle")
    asked = only(plan(made, prepared_for(made, 101), TASK))
    assert asked.prompt.text.split() == [
        *(f"w{number}" for number in range(7)),
        *(f"w{number}" for number in range(94, 101)),
        *("which", "one?"),
    ]
    assert asked.prompt.question == "\nwhich one?"
    assert (asked.truncation, asked.unfit) == ("middle", None)
    assert asked.prompt_sha256 == hashlib.sha256(asked.prompt.text.encode()).hexdigest() != asked.source.prompt_sha256


def test_room_is_left_for_the_template_of_a_conversation(settings) -> None:
    made = settings("run.truncation=middle", "model.max_model_len=200")
    talk = replace(TASK, chat_template=True)
    for length in (190, 160):  # the second would fit, were there no template
        asked = only(plan(made, prepared_for(made, length), talk))
        assert (asked.truncation, len(asked.prompt.text.split())) == ("middle", 200 - ANSWER - 64)


def test_a_question_that_is_too_long_alone_is_not_sent(settings) -> None:
    made = settings("run.truncation=middle")
    asked = only(plan(made, prepared_for(made, 5, question="long " * LIMIT), TASK))
    assert asked.unfit is not None
    assert "question and template alone" in asked.unfit
    assert asked.truncation == "none"


def test_an_approximation_neither_refuses_nor_cuts(settings) -> None:
    words = ("tokenizer.path=null", "tokenizer.name=words")
    made = settings(*words)
    assert only(plan(made, prepared_for(made, 101, words=True), TASK)).unfit is None
    made = settings(*words, "run.truncation=middle")
    with pytest.raises(UsageError, match=r"words \(approximation\) cannot tell them"):
        plan(made, prepared_for(made, 101, words=True), TASK)


def test_the_tokenizer_that_cuts_is_the_one_that_counted(settings) -> None:
    made = settings("run.truncation=middle")
    with pytest.raises(UsageError, match="another one than counted the data set"):
        plan(made, replace(prepared_for(made, 101), tokenizer_fingerprint="other"), TASK)


def test_the_order_is_that_of_budgets_examples_and_repeats(settings) -> None:
    made = settings(
        "decoding.repeats=2",
        "kv.policy=snapkv",
        "kv.apply=extra_body",
        "kv.extra_body={b: '${budget}'}",
        "kv.budgets=[1, 0.5]",
    )
    planned = plan(made, prepared_for(made, 3, 4), TASK)
    assert [each.budget for each in planned.budgets] == [1.0, 0.5]
    for each in planned.budgets:
        order = [(request.asked.source.example.example_id, request.repeat) for request in each.requests]
        assert order == [("e0", 1), ("e0", 2), ("e1", 1), ("e1", 2)]
    ids = [request.request_id for each in planned.budgets for request in each.requests]
    assert len(set(ids)) == 8
    done = set(ids[:3])
    assert [each.request_id for each in planned.budgets[0].without(done)] == ids[3:4]


def test_a_repeat_is_identified_by_the_seed_that_it_is_asked_with(settings) -> None:
    drawing = settings("decoding.seed=7").decoding
    assert [decoding_json(drawing, 4, repeat) for repeat in (1, 2)] == [
        '{"max_tokens":4,"seed":7,"temperature":0.0}',
        '{"max_tokens":4,"seed":8,"temperature":0.0}',
    ]
    made = settings("decoding.seed=7", "decoding.repeats=2")
    first, second = plan(made, prepared_for(made, 3), TASK).budgets[0].requests
    told = (first.budget_id, "e0", first.asked.prompt_sha256)
    assert second.request_id == request_id(*told, decoding_json(drawing, 4, 2), 2)
    assert first.request_id == request_id(*told, decoding_json(drawing, 4, 1), 1)


def test_words_and_tokens_say_where_they_stand(tokenizer: Path) -> None:
    text = "Schön, w1  水火!"
    assert [text[start:end] for start, end in WordCounter().spans(text)] == ["Schön", ",", "w1", "水", "火", "!"]
    counter = TokenizerCounter(tokenizer)
    assert [text[start:end] for start, end in counter.spans(text)] == ["Schön,", "w1", "水火!"]
    assert len(counter.spans(text)) == counter.count([text])[0]
