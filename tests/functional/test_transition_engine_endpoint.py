"""The engine that asks a server: real HTTP on loopback, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from llm_clock import SetClock
from llm_server import MODEL, LlmServer, Reply, chunk, error, event, events_of, stream, usage, whole

from groundlake.errors import UsageError
from groundlake.transition.configuration.settings import Settings
from groundlake.transition.engines.base import EngineAnswer, Prompt
from groundlake.transition.engines.endpoint import EndpointEngine, tolerance
from groundlake.transition.engines.opening import EngineFacts, open_engine
from groundlake.transition.scoring.failures import classify
from groundlake.transition.scoring.tasks import TASKS, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.llm.clock import Clock

PROMPT = Prompt(context="Story: a lake of measurements.\n\n", question="Question: what is kept?\nAnswer:")
STORY, TREC = TASKS["narrativeqa"], TASKS["trec"]
KEY = "sk-0123456789-secret"
TOLD = {"policy": "snapkv", "budgets": [1.0, 0.2], "apply": "extra_body", "extra_body": {"kv": {"keep": "${budget}"}}}
SHOWN = TOLD | {"evidence": "usage.details[0].kept"}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: loopback must not go through it


def settings_for(
    url: str,
    kv: dict[str, Any] | None = None,
    *,
    engine: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    **sections: Any,
) -> Settings:
    """Settings of a server, whose retries do not wait."""
    made = Settings.model_validate(
        {
            "dataset": {"task": "narrativeqa", "path": "data"},
            "tokenizer": {"name": "words"},
            "model": {"name": MODEL, "precision": "bf16", "max_model_len": 4096},
            "engine": {"base_url": url, "timeout_s": 30.0} | (engine or {}),
            "kv": kv or {},
            "run": {"retries": {"max_attempts": 3, "base_s": 0.0, "cap_s": 0.0}} | (run or {}),
            "output": {"exp_group_id": "g"},
        }
        | sections
    )
    made.keep_secrets(api_key=KEY, secrets=(KEY,))
    return made


def ask(
    settings: Settings, *budgets: float, task: Task = STORY, clock: Clock | None = None, prompt: Prompt = PROMPT
) -> list[EngineAnswer]:
    """Ask the same prompt under each budget, one after the other."""

    async def asked() -> list[EngineAnswer]:
        async with EndpointEngine(settings, task, clock=clock) as engine:
            return [await engine.answer(prompt, budget) for budget in budgets]

    return asyncio.run(asked())


def facts(settings: Settings, *budgets: float, hw: str | None = None) -> list[EngineFacts]:
    async def opened() -> list[EngineFacts]:
        async with open_engine(settings, STORY, hw=hw) as engine:
            assert engine.count_tokens("any text") is None, "the server's tokenizer is not here"
            assert engine.context_length == 4096
            return [engine.facts(budget) for budget in budgets]

    return asyncio.run(opened())


def kept(value: object) -> Reply:
    """An answer whose usage tells what was kept."""
    return stream(events_of(["a ", "b"], counted=usage(9, 2) | {"details": [{"kept": value}]}))


def statuses(answer: EngineAnswer) -> list[int | None]:
    return [attempt.status for attempt in answer.generation.attempts]


def test_the_budget_is_in_a_field_of_the_request_and_the_prompt_is_the_same_byte_for_byte() -> None:
    with LlmServer() as server:
        answers = ask(settings_for(server.url, TOLD), 1.0, 0.2)
        first, second = (received.body for received in server.received)
    assert all(answer.failure is None and answer.text for answer in answers)
    assert (first.pop("kv"), second.pop("kv")) == ({"keep": 1.0}, {"keep": 0.2}), "the baseline is told as well"
    assert json.dumps(first) == json.dumps(second)
    assert first["messages"] == [{"role": "user", "content": PROMPT.text}]
    assert (first["stream"], first["temperature"]) == (True, 0.0)
    assert first["max_tokens"] == STORY.max_new_tokens == 128


def test_each_budget_goes_to_the_server_of_its_address() -> None:
    with LlmServer() as whole_cache, LlmServer() as small:
        urls = {1.0: whole_cache.url, 0.2: small.url}
        kv = {"policy": "snapkv", "budgets": [1.0, 0.2], "apply": "base_url", "base_urls": urls}
        ask(settings_for(whole_cache.url, kv), 0.2, 1.0, 0.2)
        assert (len(whole_cache.received), len(small.received)) == (1, 2)
        assert whole_cache.received[0].body == small.received[0].body
        told = facts(settings_for(whole_cache.url, kv), 1.0, 0.2)
        assert [each.base_url for each in told] == [f"{whole_cache.url}/v1", f"{small.url}/v1"]
    assert {each.how_applied for each in told} == {"base_url"}


def test_a_task_that_is_continued_goes_without_a_conversation() -> None:
    before = Prompt(context=PROMPT.context, question=PROMPT.question, system="Be brief.")
    with LlmServer() as server:
        ask(settings_for(server.url), 1.0, task=TREC)
        ask(settings_for(server.url), 1.0, task=TREC, prompt=before)
        ask(settings_for(server.url), 1.0, prompt=before)
        text, continued, spoken = server.received
    assert (text.path, text.body["prompt"]) == ("/v1/completions", PROMPT.text)
    assert continued.body["prompt"] == f"Be brief.\n\n{PROMPT.text}"
    assert spoken.path == "/v1/chat/completions"
    assert [message["role"] for message in spoken.body["messages"]] == ["system", "user"]


def test_decoding_headers_and_the_key_are_those_of_the_settings() -> None:
    with LlmServer() as server:
        decoding = {"temperature": 0.5, "max_tokens": 3, "seed": 7}
        (answer,) = ask(settings_for(server.url, engine={"headers": {"X-Tenant": "lake"}}, decoding=decoding), 1.0)
        (received,) = server.received
    assert {name: received.body[name] for name in decoding} == decoding
    assert (received.headers["Authorization"], received.headers["X-Tenant"]) == (f"Bearer {KEY}", "lake")
    assert (answer.finish_reason, answer.completion_tokens, answer.prompt_tokens) == ("length", 3, 10)
    assert answer.time_to_first_token_s is not None
    assert answer.peak_memory_bytes is None


@pytest.mark.parametrize(
    ("value", "verified", "fraction", "words"),
    [
        (0.2, True, 0.2, r"usage.details\[0\].kept of the answer is 0.2; 0.2 was to be kept, within 0.01"),
        (0.2099, True, 0.2099, "0.2099"),
        (0.22, False, 0.22, "is 0.22; 0.2 was to be kept"),
        (1, False, 1.0, "is 1; 0.2"),
        (512, None, None, "does not show it: .* is 512, which is no fraction"),
        ("yes", None, None, 'is "yes", which is no fraction'),
        (True, None, None, "is true, which is no fraction"),
        (None, None, None, r"the endpoint does not show it: its answer has no usage.details\[0\].kept"),
    ],
)
def test_what_the_answer_tells_was_kept_decides_whether_the_budget_is_verified(
    value: object, verified: bool | None, fraction: float | None, words: str
) -> None:
    with LlmServer(kept(value)) as server:
        (answer,) = ask(settings_for(server.url, SHOWN), 0.2)
    assert (answer.budget_verified, answer.kept_fraction, answer.failure) == (verified, fraction, None)
    assert re.search(words, answer.evidence), answer.evidence


@pytest.mark.parametrize(
    ("budget", "others", "within"),
    [
        (1.0, (0.5, 0.2), 0.01),
        (0.2, (1.0,), 0.01),
        (0.05, (1.0,), 0.005),
        (0.01, (1.0,), 0.001),
        (0.5, (1.0, 0.49), 0.0049),
        (0.02, (1.0, 0.03, 0.01), 0.002),
    ],
)
def test_no_budget_is_taken_for_another(budget: float, others: Sequence[float], within: float) -> None:
    assert tolerance(budget, (budget, *others)) == pytest.approx(within)
    assert all(tolerance(budget, (budget, *others)) < abs(budget - other) / 2 for other in others)


def test_a_fraction_that_is_that_of_another_budget_refutes_this_one() -> None:
    with LlmServer(kept(0.02), kept(0.02), kept(0.02)) as server:
        settings = settings_for(server.url, SHOWN | {"budgets": [1.0, 0.03, 0.02, 0.01]})
        answers = ask(settings, 0.03, 0.02, 0.01)
    assert [answer.budget_verified for answer in answers] == [False, True, False]
    assert "0.02; 0.01 was to be kept, within 0.001" in answers[2].evidence


def test_each_repeat_is_asked_with_a_seed_of_its_own() -> None:
    async def asked(settings: Settings) -> None:
        async with EndpointEngine(settings, STORY) as engine:
            for repeat in (1, 2, 3):
                await engine.answer(PROMPT, 1.0, repeat=repeat)

    with LlmServer() as server:
        asyncio.run(asked(settings_for(server.url, decoding={"temperature": 0.8, "seed": 7})))
        asyncio.run(asked(settings_for(server.url, decoding={"temperature": 0.8, "seed": 2**63 - 1})))
        asyncio.run(asked(settings_for(server.url, decoding={"temperature": 0.8})))
    assert [each.body.get("seed") for each in server.received] == [7, 8, 9, 2**63 - 1, 0, 1, None, None, None]


def test_an_answer_of_a_server_that_ignores_the_field_proves_nothing() -> None:
    with LlmServer() as server:
        unlooked = ask(settings_for(server.url, TOLD), 1.0, 0.2)
        (missing,) = ask(settings_for(server.url, SHOWN), 0.2)
    assert {(each.budget_verified, each.evidence) for each in unlooked} == {(None, "the endpoint does not show it")}
    assert (missing.budget_verified, missing.kept_fraction) == (None, None)


def test_the_fraction_is_found_in_an_answer_that_came_whole_and_beside_the_usage() -> None:
    said = {"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}], "kv": {"kept": 0.2}}
    early = [event(chunk("a", kv={"kept": 0.9})), event(chunk("b", kv={"kept": 0.2})), event(chunk(finish="stop"))]
    with LlmServer(whole(said), stream([*early, event("[DONE]")])) as server:
        answers = ask(settings_for(server.url, TOLD | {"evidence": "kv.kept"}), 0.2, 0.2)
    assert [(answer.budget_verified, answer.kept_fraction) for answer in answers] == [(True, 0.2)] * 2


def test_a_limit_that_was_reached_is_waited_for_as_long_as_the_server_says() -> None:
    clock = SetClock()
    with LlmServer(error(429, "slow down", Retry_After="7"), error(500)) as server:
        (answer,) = ask(settings_for(server.url), 1.0, clock=clock)
    assert (answer.failure, statuses(answer)) == (None, [429, 500, 200])
    assert clock.sleeps == [7.0]
    assert [attempt.waited_s for attempt in answer.generation.attempts] == [0.0, 7.0, 0.0]


def test_retries_end_with_the_last_failure() -> None:
    with LlmServer(*(error(503, "busy") for _ in range(4))) as server:
        (answer,) = ask(settings_for(server.url), 1.0)
        assert len(server.received) == 3
    assert statuses(answer) == [503, 503, 503]
    assert answer.failure is not None
    assert (answer.budget_verified, answer.kept_fraction) == (None, None)
    assert "no answer" in answer.evidence


def test_a_wait_that_nobody_would_sit_out_is_a_failure_at_once() -> None:
    with LlmServer(error(429, "come back tomorrow", Retry_After="86400")) as server:
        (answer,) = ask(settings_for(server.url), 1.0, clock=SetClock())
    assert statuses(answer) == [429]
    assert classify(answer.failure, answer.text, answer.finish_reason) == "RATE_LIMITED"


@pytest.mark.parametrize(
    ("status", "message", "name"),
    [
        (400, "This model's maximum context length is 4096 tokens", "CONTEXT_LENGTH_EXCEEDED"),
        (400, "unknown field kv", "ENGINE_ERROR"),
        (401, "no such key", "ENGINE_ERROR"),
        (404, "no such model", "ENGINE_ERROR"),
    ],
)
def test_a_request_that_is_wrong_is_sent_once(status: int, message: str, name: str) -> None:
    with LlmServer(error(status, message)) as server:
        (answer,) = ask(settings_for(server.url), 1.0)
        assert len(server.received) == 1
    assert classify(answer.failure, answer.text, answer.finish_reason) == name


@pytest.mark.parametrize(
    ("reply", "name", "attempts"),
    [
        (stream([event(chunk("half of"))], ending="hang"), "TIMEOUT", 2),
        (stream([event(chunk("half of"))], ending="whole"), "CONNECTION", 2),
        (stream([event(chunk("half of"))], ending="reset"), "CONNECTION", 2),
        (stream(events_of([], counted=usage(9, 0))), "EMPTY_OUTPUT", 1),
        (stream([event("{"), event("[DONE]")]), "ENGINE_ERROR", 1),
        (whole(["no", "object"]), "ENGINE_ERROR", 1),
    ],
)
def test_an_answer_that_is_none_is_a_failure_with_its_name(reply: Reply, name: str, attempts: int) -> None:
    run = {"retries": {"max_attempts": 2, "base_s": 0.0, "cap_s": 0.0}}
    with LlmServer(reply, reply) as server:
        (answer,) = ask(settings_for(server.url, SHOWN, engine={"timeout_s": 0.25}, run=run), 0.2)
    assert classify(answer.failure, answer.text, answer.finish_reason) == name
    assert len(answer.generation.attempts) == attempts
    assert (answer.budget_verified, answer.told_fraction) == (None, None)


def test_a_server_that_is_not_there_is_a_failure_of_the_prompt() -> None:
    with LlmServer() as server:
        url = server.url
    (answer,) = ask(settings_for(url), 1.0)
    assert classify(answer.failure, answer.text, answer.finish_reason) == "CONNECTION"
    assert len(answer.generation.attempts) == 3


def test_a_budget_that_the_server_does_not_get_to_know_is_refused() -> None:
    with LlmServer() as server:
        unaware = EndpointEngine(settings_for(server.url), STORY)
        aware = EndpointEngine(settings_for(server.url, TOLD), STORY)
        unaware.require([1.0])
        aware.require([1, 0.2])
        with pytest.raises(UsageError, match=r"kv.apply none .*only 1.0 can be asked"):
            unaware.require([1.0, 0.5])
        with pytest.raises(UsageError, match=r"0\.5 is not among kv\.budgets: 1, 0\.2"):
            asyncio.run(aware.answer(PROMPT, 0.5))
        with pytest.raises(UsageError, match="above 0 and at most 1"):
            aware.require([0.0])
        with pytest.raises(UsageError, match="not open"):
            asyncio.run(aware.answer(PROMPT, 0.2))
        assert server.received == []


@pytest.mark.parametrize(("urls", "sleeps"), [("one", [0.6, 0.6]), ("two", [0.6])])
def test_all_budgets_of_a_server_share_its_limits(urls: str, sleeps: Sequence[float]) -> None:
    run = {"pacing": {"requests_per_minute": 100.0}}
    clock = SetClock()
    with LlmServer() as server, LlmServer() as other:
        kv: dict[str, Any] = TOLD
        if urls == "two":
            addresses = {1.0: server.url, 0.2: other.url}
            kv = {"policy": "snapkv", "budgets": [1.0, 0.2], "apply": "base_url", "base_urls": addresses}
        ask(settings_for(server.url, kv, run=run), 1.0, 0.2, 1.0, clock=clock)
    assert clock.sleeps == pytest.approx(sleeps)


def test_several_prompts_are_asked_at_a_time() -> None:
    async def asked(settings: Settings) -> list[EngineAnswer]:
        async with EndpointEngine(settings, STORY) as engine:
            return await asyncio.gather(*(engine.answer(PROMPT, budget) for budget in (1.0, 1.0, 0.2, 0.2)))

    with LlmServer(meet=4) as server:
        answers = asyncio.run(asked(settings_for(server.url, TOLD)))
        assert server.busiest == 4
    assert all(answer.failure is None for answer in answers)


def test_facts_say_how_the_budget_is_applied_and_what_is_not_known() -> None:
    settings = settings_for("http://127.0.0.1:8000", TOLD | {"parameters": {"window_size": 32}})
    (told,) = facts(settings, 0.2)
    assert told == EngineFacts(
        engine="openai",
        engine_version=None,
        hardware_id="none",
        device=None,
        precision="bf16",
        model=MODEL,
        batch=0,
        base_url="http://127.0.0.1:8000/v1",
        how_applied="extra_body",
        policy="snapkv",
        policy_json='{"parameters": {"window_size": 32}, "policy": "snapkv"}',
        is_local=False,
    )
    (named,) = facts(settings, 1.0, hw="h100_sxm")
    assert (named.hardware_id, named.precision) == ("h100_sxm", "bf16")
    with pytest.raises(UsageError, match=r"not among kv\.budgets"):
        facts(settings, 0.5)


def test_no_key_and_no_secret_of_an_address_is_in_facts_or_messages() -> None:
    replies = (error(401, f"the key {KEY} is not known"), kept(f"for {KEY}"))
    with LlmServer(*replies) as server:
        settings = settings_for(server.url, SHOWN)
        refused, answered = ask(settings, 0.2, 0.2)
        behind = settings_for(f"{server.url}/tenant-{KEY}/v1", SHOWN)
        (lost,) = ask(behind, 0.2)  # the server has nothing there, and the message names the address
    for answer in (refused, lost):
        assert answer.failure is not None
        assert "***" in answer.failure.message
    assert "***" in answered.evidence
    told = [*facts(behind, 0.2), EndpointEngine(behind, STORY).facts(), refused, answered, lost]
    assert KEY not in repr(told)
    assert "/tenant-***/v1" in repr(told)


def test_a_secret_that_comes_in_pieces_is_in_nothing_that_is_kept() -> None:
    header = "header-0123456789"

    def thought(text: str) -> bytes:
        return event({"choices": [{"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}]})

    pieces = [
        *(event(chunk(text)) for text in ("a key: ", KEY[:9], KEY[9:], " at http://me@host, ", header[:3], header[3:])),
        *(thought(text) for text in ("is it ", header[:6], header[6:], "?")),
        *(event(chunk(finish=KEY)), event("[DONE]")),
    ]
    with LlmServer(stream(pieces)) as server:
        (answer,) = ask(settings_for(server.url, engine={"headers": {"X-Tenant": header}}), 1.0)
    assert answer.text == "a key: *** at http://me@host, ***", "and nothing else is changed"
    assert answer.generation.reasoning == "is it ***?"
    assert answer.finish_reason == "***"


def test_a_model_or_device_that_cannot_be_a_key_of_the_lake_is_refused_before_anything_is_asked() -> None:
    with LlmServer() as server:
        with pytest.raises(UsageError, match="123"):
            facts(settings_for(server.url, model={"name": "123"}), 1.0)
        with pytest.raises(UsageError, match="42"):
            facts(settings_for(server.url), 1.0, hw="42")
        with pytest.raises(UsageError, match="did you mean h200_sxm"):
            facts(settings_for(server.url), 1.0, hw="h200_sxn")
        with pytest.raises(UsageError, match="an id has letters"):
            facts(settings_for(server.url), 1.0, hw="we ird/../x")
        assert server.connections == 0
