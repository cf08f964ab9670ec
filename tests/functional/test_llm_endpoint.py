"""An OpenAI-compatible endpoint over real HTTP on loopback, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llm_clock import SetClock
from llm_server import MODEL, LlmServer, Reply, chunk, error, event, events_of, stream, usage, whole

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.llm import Decoding, Generation
from groundlake.llm.endpoint import OpenAiEndpoint, ask_all, ask_each
from groundlake.llm.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

DECODING = Decoding(max_new_tokens=16)
PATIENT_S = 30.0
IMPATIENT_S = 0.3


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: loopback must not go through it


def ask(
    server: LlmServer, prompt: object = "one two", *, timeout_s: float = PATIENT_S, **settings: object
) -> Generation:
    """Ask once."""
    decoding = settings.pop("decoding", DECODING)
    endpoint = OpenAiEndpoint(server.url, MODEL, timeout_s=timeout_s, **settings)
    return ask_all(endpoint, [prompt], decoding, concurrency=1)[0]


def failed(reply: Reply, **settings: object) -> Generation:
    """What comes of one reply that is no answer."""
    with LlmServer(reply) as server:
        generation = ask(server, **settings)
    assert not generation.ok
    assert generation.sent_s <= generation.finished_s
    assert [attempt.error for attempt in generation.attempts] == [generation.error]
    return generation


def test_each_chunk_of_a_stream_is_timed_and_the_server_counts_the_tokens() -> None:
    with LlmServer(tokens=5) as server:
        generation = ask(server)
    assert generation.ok
    assert generation.text == "the quick brown fox jumps "
    assert (generation.input_tokens, generation.output_tokens, generation.tokens_counted_by) == (2, 5, "server")
    assert (generation.finish_reason, generation.token_timing) == ("stop", "streaming")
    assert len(generation.arrivals_s) == 5, "neither the role, nor the finish reason, nor the usage is a token"
    moments = [generation.sent_s, *generation.arrivals_s, generation.finished_s]
    assert all(before <= after for before, after in pairwise(moments))
    assert generation.sent_s < generation.arrivals_s[0]


def test_a_conversation_and_its_settings_are_sent_as_the_api_has_them() -> None:
    decoding = Decoding(max_new_tokens=3, temperature=0.5, top_p=0.9, seed=4, stop=("#",), ignore_eos=True)
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hé \ud83e"}]
    with LlmServer() as server:
        generation = ask(server, messages, decoding=decoding, extra_body={"kv": {"budget": 0.2}, "top_p": None})
        received = server.received[0]
    assert generation.finish_reason == "length"
    assert received.path == "/v1/chat/completions"
    assert received.body == {
        "model": MODEL,
        "messages": messages,
        "max_tokens": 3,
        "temperature": 0.5,
        "seed": 4,
        "stop": ["#"],
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "kv": {"budget": 0.2},
    }


def test_without_a_conversation_a_text_is_continued() -> None:
    with LlmServer() as server:
        generation = ask(server, "a b c", chat=False)
        received = server.received[0]
        with pytest.raises(UsageError, match="chat=True"):
            ask(server, [{"role": "user", "content": "x"}], chat=False)
    assert (generation.ok, generation.input_tokens, len(generation.arrivals_s)) == (True, 3, 5)
    assert (received.path, received.body["prompt"]) == ("/v1/completions", "a b c")
    assert {"messages", "stop", "seed", "ignore_eos"}.isdisjoint(received.body)


def test_a_server_that_does_not_count_leaves_it_to_the_chunks() -> None:
    with LlmServer(stream(events_of(["a b ", "c"]))) as server:
        generation = ask(server)
    assert (generation.input_tokens, generation.output_tokens, generation.tokens_counted_by) == (None, 2, "chunks")


def test_several_tokens_in_a_chunk_are_one_arrival() -> None:
    with LlmServer(stream(events_of(["a b c ", "d e"], counted=usage(4, 5)))) as server:
        generation = ask(server)
    assert (len(generation.arrivals_s), generation.output_tokens) == (2, 5)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_stream_that_is_cut_within_characters_and_lines_is_the_same(size: int) -> None:
    body = b": keep-alive\n\n" + b"".join(events_of(["één ", "二 ", "🦊"])).replace(b"\n", b"\r\n")
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    with LlmServer(stream(pieces)) as server:
        generation = ask(server)
    assert (generation.ok, generation.text, len(generation.arrivals_s)) == (True, "één 二 🦊", 3)


def test_a_stream_that_comes_in_one_piece_is_the_same() -> None:
    with LlmServer(stream([b"".join(events_of(["a", "b"]))])) as server:
        generation = ask(server)
    assert generation.text == "ab"
    assert len(generation.arrivals_s) == 2


@pytest.mark.parametrize("stream_asked", [True, False])
def test_an_answer_that_comes_whole_is_taken_and_not_timed_by_tokens(stream_asked: bool) -> None:
    answer = {"choices": [{"message": {"content": "a b"}, "finish_reason": "stop"}], "usage": usage(3, 2)}
    with LlmServer(whole(answer)) as server:
        generation = ask(server, stream=stream_asked)
        assert server.received[0].body["stream"] is stream_asked
        assert ("stream_options" in server.received[0].body) is stream_asked
    assert (generation.ok, generation.text, generation.arrivals_s) == (True, "a b", ())
    assert (generation.token_timing, generation.output_tokens) == ("per_request_batch", 2)


def test_an_answer_that_had_its_end_counts_though_the_stream_goes_on_for_ever() -> None:
    pieces = [event(chunk("a")), event(chunk(finish="stop"))]
    with LlmServer(stream(pieces, ending="hang"), stream([*pieces, event("[DONE]")], ending="hang")) as server:
        assert ask(server, timeout_s=IMPATIENT_S).ok
        assert ask(server).ok, "nothing is waited for behind the end"


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (error(400, "too long"), "http_400", "too long"),
        (error(401), "http_401", "another API key"),
        (error(404, "no such model"), "http_404", "model's name right"),
        (error(429), "http_429", "limit is reached"),
        (error(500, "oops"), "http_500", "oops"),
        (whole({"detail": "Not allowed"}, 403), "http_403", "Not allowed"),
        (Reply(status=502, pieces=[b"<html>\n bad   gateway"]), "http_502", "<html> bad gateway"),
        (Reply(status=307, headers={"Location": "http://127.0.0.1:9/"}), "http_307", "base URL"),
        (stream([event(chunk("a")), event({"error": {"message": "lost", "code": 503}})]), "http_503", "lost"),
        (stream([event("{bad json")]), "malformed", "{bad json"),
        (Reply(headers={"Content-Type": "text/html"}, pieces=[b"<h1>Sign in"]), "malformed", "Sign in"),
        (stream([event("[DONE]")]), "empty", "no text"),
        (stream(events_of([])), "empty", "finish_reason stop"),
        (Reply(), "truncated", "before any text"),
    ],
)
def test_what_is_no_answer_is_said_in_words(reply: Reply, code: str, words: str) -> None:
    generation = failed(reply)
    assert generation.error.code == code
    assert words in generation.error.message
    assert len(generation.error.message.splitlines()) <= 6
    assert generation.error.status == reply.status == generation.attempts[0].status


@pytest.mark.parametrize(
    ("ending", "code"),
    [("whole", "truncated"), ("cut", "connection"), ("reset", "connection"), ("hang", "timeout")],
)
def test_what_came_of_an_answer_without_an_end_is_kept(ending: str, code: str) -> None:
    reply = stream([event(chunk("a")), event(chunk("b"))], ending=ending)
    generation = failed(reply, timeout_s=IMPATIENT_S if ending == "hang" else PATIENT_S)
    assert generation.error.code == code
    if ending != "reset":  # what lies unread when a connection is reset is lost
        assert (generation.text, len(generation.arrivals_s)) == ("ab", 2)


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_an_answer_without_an_end_is_left_at_the_limit(kind: str) -> None:
    piece = event(chunk("x" * 2**23)) if kind == "text/event-stream" else b" " * 2**23
    endless = Reply(headers={"Content-Type": kind}, pieces=[piece] * 12, ending="hang")
    generation = failed(endless)
    assert generation.error is not None
    assert generation.error.code == "malformed"
    assert "it is longer than 64 MiB, and the rest was not read" in generation.error.message
    assert len(generation.text) <= 2**26


def test_a_server_that_says_nothing_is_left_after_the_timeout() -> None:
    with LlmServer(stream([], ending="hang")) as server:
        generation = ask(server, timeout_s=IMPATIENT_S)
        assert server.is_left.wait(PATIENT_S), "the connection is closed"
    assert (generation.error.code, generation.output_tokens) == ("timeout", None)


def test_a_pause_longer_than_allowed_ends_an_answer_before_the_whole_is_over() -> None:
    generation = failed(stream([event(chunk("a"))], ending="hang"), timeout_s=PATIENT_S, read_timeout_s=IMPATIENT_S)
    assert generation.error.code == "timeout"
    assert "nothing came" in generation.error.message


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        (lambda url: url, "connection", "nothing listens at 127.0.0.1"),
        (lambda _: "http://host.invalid", "connection", "is not known"),
    ],
)
def test_why_there_is_no_connection_is_said_in_words(address: Callable[[str], str], code: str, words: str) -> None:
    with LlmServer() as server:
        url = server.url
    generation = ask_all(OpenAiEndpoint(address(url), MODEL), ["x"], DECODING, concurrency=1)[0]
    assert (generation.error.code, generation.error.status) == (code, None)
    assert words in generation.error.message or "host.invalid" in generation.error.message
    assert (generation.text, generation.arrivals_s, generation.attempts[0].status) == ("", (), None)


def test_a_server_that_speaks_no_tls_is_recognised() -> None:
    with LlmServer() as server:
        endpoint = OpenAiEndpoint(server.url.replace("http:", "https:"), MODEL, max_attempts=3)
        generation = ask_all(endpoint, ["x"], DECODING, concurrency=1)[0]
    assert (generation.error.code, len(generation.attempts)) == ("tls", 1)
    assert "does it speak http, not https?" in generation.error.message


def test_failures_that_pass_are_asked_again_and_every_attempt_is_recorded() -> None:
    clock = SetClock()
    replies = [error(500), stream([], ending="cut"), error(429, Retry_After="20"), stream([])]
    with LlmServer(*replies) as server:
        endpoint = OpenAiEndpoint(server.url, MODEL, max_attempts=5, clock=clock, seed=1)
        generation = ask_all(endpoint, ["x"], DECODING, concurrency=1)[0]
        assert len(server.received) == 5
    assert (generation.ok, generation.text) == (True, "the quick brown fox jumps ")
    errors = [attempt.error and attempt.error.code for attempt in generation.attempts]
    assert errors == ["http_500", "connection", "http_429", "truncated", None]
    assert [attempt.status for attempt in generation.attempts] == [500, 200, 429, 200, 200]
    assert [attempt.waited_s for attempt in generation.attempts] == pytest.approx([0.0, *clock.sleeps])
    assert all(0 <= wait <= bound for wait, bound in zip(clock.sleeps, (0.5, 1.0, 20.0, 4.0), strict=True))
    assert clock.sleeps[2] == 20.0, "the server's own wait"
    assert generation.sent_s == generation.attempts[-1].started_s == pytest.approx(100.0 + sum(clock.sleeps))


def test_a_wait_until_a_date_is_kept() -> None:
    clock = SetClock()
    with LlmServer(error(503, Retry_After="Thu, 26 Feb 2026 14:00:45 GMT")) as server:
        endpoint = OpenAiEndpoint(server.url, MODEL, max_attempts=2, clock=clock)
        assert ask_all(endpoint, ["x"], DECODING, concurrency=1)[0].ok
    assert clock.sleeps == [45.0]


@pytest.mark.parametrize("reply", [error(400), error(401), error(404), error(422), stream([event("{")])])
def test_what_stays_wrong_is_asked_once(reply: Reply) -> None:
    with LlmServer(reply) as server:
        generation = ask(server, max_attempts=5, clock=SetClock())
        assert len(server.received) == len(generation.attempts) == 1
    assert not generation.ok


def test_after_the_last_attempt_the_failure_stands() -> None:
    clock = SetClock()
    with LlmServer(*[error(500)] * 3) as server:
        generation = ask(server, backoff=Backoff(max_attempts=3, base_s=2.0), clock=clock)
    assert (generation.error.code, len(generation.attempts), len(clock.sleeps)) == ("http_500", 3, 2)


def test_limits_hold_back_attempts_too_and_count_what_the_server_counted() -> None:
    clock = SetClock()
    with LlmServer(error(500), tokens=5) as server:
        endpoint = OpenAiEndpoint(
            server.url, MODEL, clock=clock, backoff=Backoff(max_attempts=2, base_s=0.0), requests_per_minute=6
        )
        ask_all(endpoint, ["x", "y"], DECODING, concurrency=1)
        assert clock.sleeps == [10.0, 10.0]
        clock.sleeps.clear()
        endpoint = OpenAiEndpoint(server.url, MODEL, clock=clock, tokens_per_minute=60)
        generations = ask_all(endpoint, ["x y z", "x"], DECODING, concurrency=1)
    assert clock.sleeps == pytest.approx([8.0]), "3 tokens of the prompt and 5 of the answer, one a second"
    assert [generation.attempts[0].waited_s for generation in generations] == pytest.approx([0.0, 8.0])


@pytest.mark.parametrize("concurrency", [1, 8])
def test_so_many_requests_as_are_asked_for_are_on_their_way_at_a_time(concurrency: int) -> None:
    with LlmServer(meet=concurrency) as server:  # it answers none before so many are there
        generations = ask_all(OpenAiEndpoint(server.url, MODEL), ["x"] * 24, DECODING, concurrency=concurrency)
        assert (server.busiest, len(server.received)) == (concurrency, 24)
        assert server.connections == concurrency, "connections are used again"
    assert all(generation.ok for generation in generations)


def test_answers_are_in_the_order_of_the_prompts_and_each_is_told_when_it_comes() -> None:
    prompts = [" ".join(["x"] * length) for length in range(1, 31)]
    told: dict[int, Generation] = {}
    with LlmServer() as server:
        generations = ask_all(
            OpenAiEndpoint(server.url, MODEL), iter(prompts), DECODING, concurrency=5, on_done=told.__setitem__
        )
    assert [generation.input_tokens for generation in generations] == list(range(1, 31))
    assert [told[number] for number in range(30)] == generations


def test_one_failure_stops_no_other() -> None:
    with LlmServer(error(500)) as server:
        generations = ask_all(OpenAiEndpoint(server.url, MODEL), ["x"] * 4, DECODING, concurrency=1)
    assert [generation.ok for generation in generations] == [False, True, True, True]


def test_no_prompts_give_no_answers() -> None:
    with LlmServer() as server:
        assert ask_all(OpenAiEndpoint(server.url, MODEL), [], DECODING, concurrency=4) == []


def test_an_error_of_the_caller_ends_everything_and_is_raised() -> None:
    class OwnError(Exception):
        pass

    def told(number: int, _: Generation) -> None:
        raise OwnError(number)

    with LlmServer(whole({"choices": [{"text": "a"}]}), stream([], ending="hang")) as server:
        endpoint = OpenAiEndpoint(server.url, MODEL)
        with pytest.raises(OwnError):
            ask_all(endpoint, ["x"] * 2, DECODING, concurrency=2, on_done=told)


def test_an_endpoint_is_opened_once_for_several_rounds() -> None:
    async def rounds(endpoint: OpenAiEndpoint) -> list[Generation]:
        async with endpoint:
            await ask_each(endpoint, ["warm up"], DECODING, concurrency=1)
            return await ask_each(endpoint, ["x"], DECODING, concurrency=1)

    with LlmServer() as server:
        assert asyncio.run(rounds(OpenAiEndpoint(server.url, MODEL)))[0].ok
        assert server.connections == 1, "the second round finds the connection of the first"


def test_it_works_within_a_running_loop_and_in_a_thread() -> None:
    async def notebook(url: str) -> list[Generation]:
        return ask_all(OpenAiEndpoint(url, MODEL), ["x", "y"], DECODING, concurrency=2)

    with LlmServer() as server:
        assert [generation.ok for generation in asyncio.run(notebook(server.url))] == [True, True]
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(ask, server).result().ok


INTERRUPTED = """
import asyncio, os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from llm_server import LlmServer, stream
from groundlake.llm import Decoding
from groundlake.llm.endpoint import OpenAiEndpoint, ask_all

def interrupt():
    server.is_busy.wait()
    os.kill(os.getpid(), signal.SIGINT)

def ask():
    ask_all(OpenAiEndpoint(server.url, "m"), ["x"] * 100, Decoding(), concurrency=1)

async def ask_within_a_loop():
    ask()

with LlmServer(*[stream([], ending="hang")] * 100) as server:
    threading.Thread(target=interrupt).start()
    try:
        asyncio.run(ask_within_a_loop()) if sys.argv[2] == "loop" else ask()
    except KeyboardInterrupt:
        print("interrupted", server.is_left.wait(30), len(server.received))
"""


@pytest.mark.parametrize("where", ["plain", "loop"])
def test_an_interrupt_closes_the_connections_and_is_raised(where: str) -> None:
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, tests, where], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("interrupted True 1\n", "")


def test_a_key_is_sent_as_a_bearer_token_and_shown_nowhere() -> None:
    key = "sk-SECRET-0123456789"
    replies = [
        error(401, f"Incorrect API key provided: {key}"),
        Reply(status=500, pieces=[b"x" * 290 + key.encode()]),
        stream([event({"error": {"message": f"who is {key}?"}})]),
        whole({"no": key}),
    ]
    with LlmServer(*replies) as server:
        endpoint = OpenAiEndpoint(server.url, MODEL, api_key=key)
        generations = ask_all(endpoint, ["x"] * 5, DECODING, concurrency=1)
        assert {received.headers["Authorization"] for received in server.received} == {f"Bearer {key}"}
        assert key not in json.dumps([received.body for received in server.received])
    assert [generation.ok for generation in generations] == [False] * 4 + [True]
    assert "SECRET" not in repr(generations) + repr(endpoint) + str(endpoint)


def test_without_a_key_none_is_sent() -> None:
    with LlmServer() as server:
        ask(server, headers={"X-Title": "a test"})
        assert "Authorization" not in server.received[0].headers
        assert server.received[0].headers["X-Title"] == "a test"


def models(url: str) -> list[str]:
    async def opened() -> list[str]:
        async with OpenAiEndpoint(url, MODEL, timeout_s=PATIENT_S) as endpoint:
            return await endpoint.models()

    return asyncio.run(opened())


def test_an_endpoint_names_its_models() -> None:
    with LlmServer() as server:
        assert models(server.url) == [MODEL]
        with pytest.raises(LakeEnvironmentError, match="404"):
            models(server.url + "/elsewhere")


def test_what_cannot_be_meant_is_refused() -> None:
    endpoint = OpenAiEndpoint("http://127.0.0.1:9", MODEL)
    with pytest.raises(UsageError, match="not open"):
        asyncio.run(endpoint.generate("x", DECODING))
    with pytest.raises(UsageError, match="concurrency"):
        ask_all(endpoint, ["x"], DECODING, concurrency=0)
    with pytest.raises(UsageError, match="timeout_s"):
        OpenAiEndpoint("http://127.0.0.1:9", MODEL, timeout_s=0)
    with pytest.raises(UsageError, match="max_attempts"):
        OpenAiEndpoint("http://127.0.0.1:9", MODEL, max_attempts=0)


def test_a_missing_client_is_named_with_what_to_install() -> None:
    program = (
        "import sys; sys.modules['httpx2'] = None\n"
        "from groundlake.errors import MissingDependencyError\n"
        "from groundlake.llm.endpoint import OpenAiEndpoint\n"
        "try: OpenAiEndpoint('http://127.0.0.1:9', 'm')\n"
        "except MissingDependencyError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'groundlake[experiment]'" in done.stdout
