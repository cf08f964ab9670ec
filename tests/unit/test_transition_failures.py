"""Why there is no answer: one stable word for each way to fail."""

from __future__ import annotations

import re

import pytest

from groundlake.llm import Failure
from groundlake.schemas import transition as contracts
from groundlake.transition.scoring.failures import FAILURES, classify, is_truncated, strip_reasoning

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I can\N{RIGHT SINGLE QUOTATION MARK}t assist with that request.",
    "I cannot provide that information.",
    "I am unable to answer this question.",
    "I'm not able to comply.",
    "Sorry, I can't.",
    "Unfortunately, I cannot answer that.",
    "As an AI language model, I cannot provide an opinion.",
    '"I will not do that."',
    "抱歉，我无法回答这个问题。",  # noqa: RUF001 - Chinese
]
ANSWERS = [
    "Paris",
    "I Can't Help Myself (Sugar Pie, Honey Bunch)",
    "I can't help falling in love",
    "I cannot tell a lie",
    "I'm sorry, Dave. I'm afraid I can't do that.",
    "I cannot find the answer in the context.",
    "He wrote: I can't help you with that.",
    "The minister said that she was not able to comply.",
    "unanswerable",
    "Error handling",
    "I cannot provide the exact day, but the text says when it was. " + "The war ended in spring. " * 20,
]


def classify_failure(code: str, message: str = "", status: int | None = None, text: str = "") -> str | None:
    return classify(Failure(code=code, message=message, status=status), text, None)


def test_the_words_are_those_of_the_contract() -> None:
    assert set(FAILURES) == set(contracts.FAILURES)
    assert "TRUNCATED" not in FAILURES


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("timeout", "TIMEOUT"),
        ("connection", "CONNECTION"),
        ("tls", "CONNECTION"),
        ("truncated", "CONNECTION"),
        ("malformed", "ENGINE_ERROR"),
        ("context_length", "CONTEXT_LENGTH_EXCEEDED"),
        ("empty_prompt", "ENGINE_ERROR"),
        ("out_of_memory", "ENGINE_ERROR"),
        ("empty", "EMPTY_OUTPUT"),
        ("http_429", "RATE_LIMITED"),
        ("http_408", "TIMEOUT"),
        ("http_504", "TIMEOUT"),
        ("http_302", "ENGINE_ERROR"),
        ("http_400", "ENGINE_ERROR"),
        ("http_401", "ENGINE_ERROR"),
        ("http_404", "ENGINE_ERROR"),
        ("http_500", "ENGINE_ERROR"),
        ("http_503", "ENGINE_ERROR"),
    ],
)
def test_a_failure_without_text_is_what_its_code_says_not_an_empty_answer(code: str, word: str) -> None:
    assert classify_failure(code) == word
    assert classify_failure(code, text="I'm sorry, but I can't help with that.") == word, "no text is looked at"


@pytest.mark.parametrize("code", ["http_400", "http_413", "http_422", "http_500"])
@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        "the server says: Please reduce the length of the messages or completion.",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "the request exceeds the available context size, try increasing it",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
        "error code: context_length_exceeded",
        "VLLMValidationError (parameter=input_tokens, value=9000)",
    ],
)
def test_a_server_that_says_that_the_context_is_too_long_is_believed(code: str, message: str) -> None:
    assert classify_failure(code, message) == "CONTEXT_LENGTH_EXCEEDED"


def test_the_status_goes_before_the_words() -> None:
    assert classify_failure("http_429", "maximum context length is 8192") == "RATE_LIMITED"
    assert classify_failure("http_413", "Request too large on tokens per minute (TPM)") == "RATE_LIMITED"
    assert classify_failure("http_500", "the worker timed out") == "ENGINE_ERROR"
    assert classify_failure("odd", "no words", status=503) == "ENGINE_ERROR"
    assert classify_failure("odd", status=429) == "RATE_LIMITED"


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("Rate limit reached for requests", "RATE_LIMITED"),
        ("too many requests", "RATE_LIMITED"),
        ("the read operation timed out", "TIMEOUT"),
        ("TimeoutError", "TIMEOUT"),
        ("[Errno 111] Connection refused", "CONNECTION"),
        ("maximum context length is 512", "CONTEXT_LENGTH_EXCEEDED"),
        ("something happened", "UNKNOWN_FAILURE"),
        ("", "UNKNOWN_FAILURE"),
    ],
)
def test_words_decide_only_where_there_is_neither_a_known_code_nor_a_status(message: str, word: str) -> None:
    assert classify_failure("odd", message) == word
    assert classify_failure("odd", message, status=200) == word, "a status of success says nothing"


@pytest.mark.parametrize("text", [None, "", " \n\t", "<think>so much to think about", "<think>all of it</think>\n"])
def test_nothing_but_thoughts_is_an_empty_answer(text: str | None) -> None:
    assert classify(None, text, "stop") == "EMPTY_OUTPUT"
    assert classify(None, text, "length") == "EMPTY_OUTPUT", "at its longest, and still nothing that can be scored"


def test_an_answer_that_a_filter_withheld_is_a_refusal_and_what_it_left_is_scored() -> None:
    assert classify(None, "", "content_filter") == "REFUSAL"
    assert classify(Failure(code="empty", message="no text"), "", "content_filter") == "REFUSAL"
    assert classify(None, "Paris", "content_filter") is None


@pytest.mark.parametrize("text", REFUSALS)
def test_a_short_answer_that_begins_as_a_refusal_is_one(text: str) -> None:
    assert classify(None, text, "stop") == "REFUSAL"
    assert classify(None, f"<think>May I?</think>\n{text}", "stop") == "REFUSAL"


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_that_speaks_of_what_cannot_be_is_none(text: str) -> None:
    assert classify(None, text, "stop") is None


def test_an_error_in_place_of_an_answer_is_a_format_error() -> None:
    assert classify(None, "ERROR: backend unavailable", "stop") == "FORMAT_ERROR"
    assert classify(None, "The log says ERROR: disk full", "stop") is None


def test_an_answer_at_its_longest_is_flagged_and_scored() -> None:
    assert is_truncated("length")
    assert is_truncated("MAX_TOKENS")
    assert not is_truncated("stop")
    assert not is_truncated(None)
    assert classify(None, "Paris is the", "length") is None


@pytest.mark.parametrize(
    ("text", "spoken", "reasoning", "unfinished"),
    [
        ("Paris", "Paris", "", False),
        ("a < b", "a < b", "", False),
        ("<think>Rome?</think>Paris", "Paris", "<think>Rome?</think>", False),
        ("<think>\nRome?\n</think>\n\nParis", "\n\nParis", "<think>\nRome?\n</think>", False),
        ("<THINKING>x</THINKING>Paris", "Paris", "<THINKING>x</THINKING>", False),
        ("<think>a</think>Pa<think>b</think>ris", "Paris", "<think>a</think><think>b</think>", False),
        ("<think>Rome? or", "", "<think>Rome? or", True),
        ("Paris <think>or", "Paris ", "<think>or", True),
        ("Rome? No.</think>Paris", "Paris", "Rome? No.</think>", False),
        ("<think>a<think>b</think>c</think>Paris", "Paris", None, False),
        ("<thinker>Rodin</thinker>", "<thinker>Rodin</thinker>", "", False),
    ],
)
def test_thoughts_are_taken_out_and_kept(text: str, spoken: str, reasoning: str | None, unfinished: bool) -> None:
    found = strip_reasoning(text)
    assert (found.text, found.unfinished) == (spoken, unfinished)
    assert len(found.text) + len(found.reasoning) == len(text), "nothing is lost"
    if reasoning is not None:
        assert found.reasoning == reasoning


@pytest.mark.parametrize(
    ("text", "spoken", "unfinished"),
    [
        ("<think>" * 200_000, "", True),
        ("<think>" + "<" * 2_000_000, "", True),
        ("a" + "<think>" * 100_000 + "</think>" * 100_000 + "b", "ab", False),
        ("a</think>" * 200_000 + "b", "b", False),
        ("a<think></think>" * 100_000, "a" * 100_000, False),
    ],
    ids=("open", "angles", "nested", "closed", "many"),
)
def test_however_many_thoughts_are_taken_out_in_one_pass(text: str, spoken: str, unfinished: bool) -> None:
    found = strip_reasoning(text)  # to look at the rest again for each of them would take hours
    assert (found.text, found.unfinished) == (spoken, unfinished)
    assert len(found.text) + len(found.reasoning) == len(text)


def test_a_thought_ends_with_the_tag_that_began_it() -> None:
    assert strip_reasoning("a<think>b</thinking>c</think>d").text == "ad"
    assert strip_reasoning("<think>a<thinking>b</think>c").text == "c"
    left = strip_reasoning("a<think>b</think>c</think>d<think>e")
    assert (left.text, left.reasoning, left.unfinished) == ("d", "a<think>b</think>c</think><think>e", True)


def test_every_word_is_explained() -> None:
    assert all(re.fullmatch(r"[A-Z_]+", word) and sentence for word, sentence in FAILURES.items())
