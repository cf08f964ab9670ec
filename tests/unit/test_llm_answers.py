"""Answers of endpoints, chunk by chunk."""

from __future__ import annotations

import json

import pytest
from llm_server import chunk, usage

from groundlake.llm.answers import Answer, MalformedError, ServerSaysError, value_at


def answer(*chunks: object) -> Answer:
    """What comes of chunks, each at the moment of its number."""
    taken = Answer()
    for moment_s, said in enumerate(chunks):
        taken.take_event(said if isinstance(said, str) else json.dumps(said), float(moment_s))
    return taken


def test_a_chunk_that_only_names_the_role_is_no_token() -> None:
    taken = answer({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, chunk("a"), chunk("b"), "[DONE]")
    assert (taken.text(), taken.arrivals_s, taken.done) == ("ab", [1.0, 2.0], True)


@pytest.mark.parametrize("choices", [[], None])
def test_the_last_chunk_has_the_usage_and_no_choice(choices: object) -> None:
    taken = answer(chunk("a b c"), chunk(finish="length"), {"choices": choices, "usage": usage(7, 3)}, "[DONE]")
    assert taken.tokens() == (3, "server")
    assert (taken.input_tokens, taken.finish_reason, len(taken.arrivals_s)) == (7, "length", 1)


def test_usage_that_is_null_until_the_end_says_nothing() -> None:
    assert answer(chunk("a", usage=None), chunk("b", usage=None)).tokens() == (2, "chunks")


def test_what_a_reasoning_model_thinks_is_timed_but_no_part_of_the_answer() -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "hm"}}]}
    taken = answer(thought, {"choices": [{"delta": {"reasoning": "well", "content": None}}]}, chunk("yes"))
    assert (taken.text(), taken.reasoning(), taken.arrivals_s) == ("yes", "hmwell", [0.0, 1.0, 2.0])


def test_tokens_without_a_text_are_an_answer_as_far_as_time_goes() -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "hm"}}]}
    assert answer(thought, chunk(finish="length"), "[DONE]").failure(200) is None
    only_its_end = answer(chunk(finish="stop"), {"choices": [], "usage": usage(4, 1)}, "[DONE]")
    assert (only_its_end.failure(200), only_its_end.tokens()) == (None, (1, "server"))
    whole = Answer()
    whole.take_whole('{"choices": [{"message": {"reasoning_content": "hm"}, "finish_reason": "length"}]}')
    assert (whole.failure(200), whole.text(), whole.reasoning()) == (None, "", "hm")


def test_a_second_choice_that_nobody_asked_for_is_not_counted() -> None:
    assert answer({"choices": [{"index": 1, "delta": {"content": "other"}}]}, chunk("a")).text() == "a"


def test_halves_of_a_character_in_two_chunks_are_put_together() -> None:
    first, second = r'{"choices":[{"delta":{"content":"\ud83e"}}]}', r'{"choices":[{"delta":{"content":"\udd8a"}}]}'
    assert answer(first, second).text() == "🦊"
    assert answer(first).text() == "\ufffd", "a half alone is no character, and must not break a file later"


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        ([chunk("a"), "[DONE]"], None),
        ([chunk("a"), chunk(finish="stop")], None),
        ([chunk("a")], "truncated"),
        ([], "truncated"),
        (["[DONE]"], "empty"),
        ([chunk(""), chunk(finish="stop"), "[DONE]"], "empty"),
        ([chunk(" "), "[DONE]"], None),
    ],
)
def test_what_is_wrong_with_an_answer_once_nothing_more_comes(chunks: list, code: str | None) -> None:
    failure = answer(*chunks).failure(200)
    assert (failure and failure.code) == code


@pytest.mark.parametrize(
    "chunk_",
    [
        *("{bad", "[1]", "null", "7", "", "[" * 100_000),
        *({"choices": {}}, {"choices": "x"}, {"choices": ["x"]}, {"choices": [{"delta": [1]}]}),
        *({"choices": [{"delta": {"content": 5}}]}, {"choices": [], "usage": 3}, {"choices": [{"finish_reason": 1}]}),
    ],
)
def test_what_is_no_chunk_is_malformed(chunk_: object) -> None:
    with pytest.raises(MalformedError):
        answer(chunk_)


@pytest.mark.parametrize("count", [-1, 1.5, "3", True, None])
def test_a_number_of_tokens_that_is_none_says_nothing(count: object) -> None:
    taken = answer(chunk("a"), {"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": count}})
    assert (taken.input_tokens, taken.tokens()) == (None, (1, "chunks"))


@pytest.mark.parametrize(
    ("error", "words", "status"),
    [
        ({"message": "too busy", "code": 503}, "too busy", 503),
        ({"message": "too busy", "code": "429"}, "too busy", 429),
        ({"message": "no", "code": "model_not_found"}, "no", None),
        ({"type": "server_error"}, "server_error", None),
        ("out of memory", "out of memory", None),
        ({"code": 7}, "7", None),
    ],
)
def test_an_error_in_a_stream_is_said_in_the_servers_words(error: object, words: str, status: int | None) -> None:
    with pytest.raises(ServerSaysError, match=f"^{words}$") as raised:
        answer(chunk("a"), {"error": error})
    assert raised.value.status == status


def test_half_a_character_in_a_servers_words_does_not_reach_a_file() -> None:
    with pytest.raises(ServerSaysError) as raised:
        answer(r'{"error": {"message": "bad \ud83d emoji", "code": 400}}')
    assert str(raised.value) == "bad \ufffd emoji"
    assert answer(r'{"choices": [{"finish_reason": "\ud83d"}]}').finish_reason == "\ufffd"


def test_an_answer_that_comes_whole_has_no_arrivals() -> None:
    taken = Answer()
    taken.take_whole(
        json.dumps({"choices": [{"message": {"content": "a b"}, "finish_reason": "stop"}], "usage": usage(1, 2)})
    )
    assert (taken.text(), taken.arrivals_s, taken.tokens(), taken.failure(200)) == ("a b", [], (2, "server"), None)


def test_nobody_counts_the_tokens_of_a_whole_answer_without_usage() -> None:
    taken = Answer()
    taken.take_whole('{"choices": [{"text": "a b", "finish_reason": "stop"}]}')
    assert (taken.text(), taken.tokens()) == ("a b", (None, None))


@pytest.mark.parametrize("body", ["<html>", "{}", '{"detail": "x"}', ""])
def test_what_is_no_answer_is_malformed(body: str) -> None:
    with pytest.raises(MalformedError):
        Answer().take_whole(body)


def test_a_further_value_is_the_last_one_at_its_place() -> None:
    taken = Answer(wanted="usage.details[1].kept")
    for kept in (0.9, None, 0.2):
        counted = usage(7, 3) | {"details": [{}, {} if kept is None else {"kept": kept}]}
        taken.take_event(json.dumps({"choices": [], "usage": counted}), 0.0)
    taken.take_event(json.dumps({"choices": [], "usage": None}), 0.0)
    assert taken.told == 0.2
    assert answer({"choices": [], "usage": {"kept": 0.2}}).told is None, "nobody asked for it"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", {"b": [{"c": 0}, [1, 2]]}),
        ("a.b[0].c", 0),
        ("a.b[1][1]", 2),
        ("a-b.x_1", "text"),
        ("a.b[2]", None),
        ("a.b.c", None),
        ("a[0]", None),
        ("a.b[0].c.d", None),
        ("z", None),
    ],
)
def test_a_place_in_an_answer_is_named_by_a_path(path: str, found: object) -> None:
    assert value_at({"a": {"b": [{"c": 0}, [1, 2]]}, "a-b": {"x_1": "text"}}, path) == found


def test_a_number_of_tokens_that_no_table_holds_says_nothing() -> None:
    most = 2**63 - 1
    assert answer(chunk("a", usage=usage(most, most))).tokens() == (most, "server")
    taken = answer(chunk("a", usage=usage(10**30, most + 1)))
    assert (taken.input_tokens, taken.tokens()) == (None, (1, "chunks"))
    known = answer(chunk("a", usage=usage(7, 3)), chunk("b", usage=usage(10**30, -1)))
    assert (known.input_tokens, known.tokens()) == (7, (3, "server"))
