"""How tokens are counted, and that nothing is counted twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.transition.data.examples import Example
from groundlake.transition.data.tokens import TiktokenCounter, TokenizerCounter, WordCounter, count_all, counter_named

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHINESE = "请问这篇文章的作者在第二章中提到的主要观点究竟是什么呢"


def asked(number: int, context: str = "a b c") -> Example:
    text = f"{number}"
    return Example(
        example_id=text, task="t", question="q " * number, context=context, answers=("x",), source_sha256=text
    )


def prompt(example: Example) -> str:
    return f"Read: {example.context}\nAnswer: {example.question}"


class Noted(WordCounter):
    """Counts words, and notes which texts."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def count(self, texts: Sequence[str]) -> list[int]:
        self.texts += texts
        return super().count(texts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of words that puts one token before each text, with a limit of length as files may have one."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"<s>": 0, "<unk>": 1, "one": 2, "two": 3, "three": 4}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - no password
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.enable_truncation(4)
    made.enable_padding(length=3)
    place = tmp_path_factory.mktemp("model") / "small"
    place.mkdir()
    made.save(str(place / "tokenizer.json"))
    return place


def test_the_approximation_says_so_in_its_name() -> None:
    counter = counter_named("words")
    assert (counter.name, counter.is_approximate) == ("words (approximation)", True)
    assert counter_named(counter.name).fingerprint == counter.fingerprint


def test_the_approximation_counts_words_marks_and_characters_of_scripts_without_spaces() -> None:
    texts = ["", " \n", "one two, three.", "snake_case(42)", CHINESE, "GPT很好", "カタカナ한글", "naïve café"]
    assert WordCounter().count(texts) == [0, 0, 5, 4, len(CHINESE), 3, 6, 2]


def test_a_tokenizer_counts_all_of_a_text_with_the_tokens_around_it(folder: Path) -> None:
    counter = counter_named(str(folder))
    texts = ["one two three one two three", "", "one"] * 40
    assert counter.count(texts) == [7, 1, 2] * 40, "neither cut nor filled up, though the file says so"
    assert (counter.name, counter.is_approximate) == ("small/tokenizer.json", False)
    assert counter.fingerprint == hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert counter_named(str(folder / "tokenizer.json")).fingerprint == counter.fingerprint


def test_a_tokenizer_without_special_tokens_is_another_one(folder: Path) -> None:
    plain = TokenizerCounter(folder, special_tokens=False)
    assert plain.count(["one two"]) == [2]
    assert plain.fingerprint != TokenizerCounter(folder).fingerprint
    assert plain.name != TokenizerCounter(folder).name


def test_a_name_is_that_of_a_model_in_the_cache_of_the_hub_without_asking_the_hub(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    model, commit = tmp_path / "hub" / "models--Some--Model", "c" * 40
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    shutil.copytree(folder, model / "snapshots" / commit)
    module = "groundlake.transition.data.tokens"
    code = f"from {module} import *; c = counter_named('Some/Model'); print(c.name, *c.count(['one']))"
    settings = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["Some/Model", "2"]


def test_an_unknown_tokenizer_is_never_replaced_by_the_approximation() -> None:
    for name in ("gpt-4o-mini", "Some/Model-7B", "a/b/c", ""):
        with pytest.raises(UsageError, match="words \\(an approximation\\)"):
            counter_named(name)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tokenizer\.json cannot be read"):
        counter_named(str(tmp_path))
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 1}))
    with pytest.raises(UsageError, match="holds no tokenizer"):
        counter_named(str(tmp_path))


@pytest.mark.skipif(find_spec("tiktoken") is not None, reason="tiktoken is installed")
def test_without_tiktoken_its_names_say_what_to_install() -> None:
    with pytest.raises(MissingDependencyError, match="pip install tiktoken"):
        counter_named("tiktoken:gpt-4o-mini")


def test_an_encoding_of_tiktoken_counts_names_of_special_tokens_as_text() -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256}
    encoding = tiktoken.Encoding("tiny", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|end|>": 257})
    counter = TiktokenCounter(encoding)
    assert counter.count(["abab", "", "a<|end|>"]) == [2, 0, 8]
    assert (counter.name, counter.is_approximate) == ("tiktoken:tiny", False)
    with pytest.raises(UsageError, match="no such encoding or model"):
        counter_named("tiktoken:no-such-model")


def test_what_is_counted_is_the_prompt_as_it_is_sent() -> None:
    counted = count_all([asked(2)], WordCounter(), {}, prompt=prompt)
    assert [(each.example_id, each.tokens, each.was_known) for each in counted] == [("2", 9, False)]
    assert counted[0].prompt_sha256 == hashlib.sha256(prompt(asked(2)).encode()).hexdigest()


def test_nothing_that_is_known_is_counted_again() -> None:
    examples = [asked(number) for number in (1, 2, 3)]
    first = count_all(examples[:2], counter := Noted(), {}, prompt=prompt)
    known = {(each.prompt_sha256, counter.fingerprint): each.tokens for each in first}
    again = count_all(examples, counter, known, prompt=prompt)
    assert counter.texts == [prompt(each) for each in examples], "each once"
    assert [each.tokens for each in again] == [8, 9, 10]
    assert [each.was_known for each in again] == [True, True, False]


def test_another_tokenizer_template_or_content_is_counted_anew() -> None:
    counter = Noted()
    (first,) = count_all([asked(1)], counter, {}, prompt=prompt)
    known = {(first.prompt_sha256, "another tokenizer"): 99}
    assert [each.tokens for each in count_all([asked(1)], counter, known, prompt=prompt)] == [8]
    known = {(first.prompt_sha256, counter.fingerprint): 99}
    longer = count_all([asked(1)], counter, known, prompt=lambda example: f"Please! {prompt(example)}")
    assert [each.tokens for each in longer] == [10]
    assert [each.tokens for each in count_all([asked(1, "d")], counter, known, prompt=prompt)] == [6]


def test_equal_prompts_are_counted_once() -> None:
    counter = Noted()
    twins = [asked(1), Example(**(vars(asked(1)) | {"example_id": "twin"}))]
    counted = count_all(twins, counter, {}, prompt=prompt)
    assert ([each.tokens for each in counted], len(counter.texts)) == ([8, 8], 1)
