"""Defects of asking that other harnesses were seen to have; `test_transition_defects` says which is which."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import polars as pl
import pytest
from llm_clock import SetClock
from llm_server import Reply, error, events_of, stream, usage, whole
from transition_group import Group, Recall
from transition_lake import asked, lost, prepared, right

from groundlake.errors import ContractViolationError, UsageError
from groundlake.store import Lake
from groundlake.transition.engines.base import Prompt
from groundlake.transition.engines.endpoint import EndpointEngine
from groundlake.transition.scoring.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from groundlake.transition.configuration.settings import Settings

pytestmark = pytest.mark.slow  # together they take minutes

SECRET = "header-0123456789-secret"  # noqa: S105 - of nobody
PAST = "Thu, 01 Jan 2026 00:00:00 GMT"


def test_a_run_sends_again_what_may_pass_and_nothing_else(tmp_path: Path) -> None:
    passing: dict[str, Callable[[], Reply]] = {
        "e01": lambda: error(429, Retry_After="0"),
        "e02": lambda: error(429, Retry_After=PAST),
        "e03": lambda: error(500),
        "e04": lambda: error(529, "overloaded"),
        "e05": lambda: error(408),
        "e06": lambda: stream([], ending="hang"),
        "e07": lambda: stream([], ending="reset"),
        "e11": lambda: stream(events_of(["half"])[:2]),  # an end of the stream, and none of the answer
    }
    lasting: dict[str, Callable[[], Reply]] = {
        name: lambda status=status: error(status) for name, status in (("e08", 400), ("e09", 401), ("e10", 404))
    }
    with Recall() as server:
        retries = {"retries": {"max_attempts": 3, "base_s": 0.0, "cap_s": 0.0}}
        engine = {"base_url": server.url, "concurrency": 4, "timeout_s": 0.4}
        group = Group(tmp_path / "group", server.url, examples=11, run=retries, engine=engine)
        group.prepare()
        server.special = {name: [reply()] for name, reply in passing.items()} | lasting
        outcome = group.run()
        assert (outcome.answered, outcome.budgets[0].failures) == (8, {"ENGINE_ERROR": 3})
        assert sorted(server.asked) == sorted([*passing, *passing, *lasting])
    attempts = dict(group.rows("select example_id, num_attempts from kv_requests"))
    assert attempts == dict.fromkeys(passing, 2) | dict.fromkeys(lasting, 1)


def test_waits_between_attempts_are_the_same_each_time(tmp_path: Path) -> None:
    with Recall() as server:
        group = Group(tmp_path / "group", server.url, run={"retries": {"max_attempts": 4, "base_s": 8.0}})
        one, again, other = (
            _waits(group.settings(*overrides), server) for overrides in ((), (), ("output.exp_group_id=other",))
        )
    assert one == again
    assert one != other
    assert len(one) == 3
    assert all(0 < wait <= bound for wait, bound in zip(one, (8.0, 16.0, 30.0), strict=True))


def _waits(settings: Settings, server: Recall) -> list[float]:
    """How long is waited behind each of three failures."""
    clock = SetClock()
    server.replies = [error(503)] * 3

    async def ask() -> None:
        async with EndpointEngine(settings, TASKS["hotpotqa"], clock=clock) as engine:
            assert (await engine.answer(Prompt(context="", question="What of e01?"), 1.0)).failure is None

    asyncio.run(ask())
    return clock.sleeps


def test_repeats_of_an_example_are_asked_with_seeds_of_their_own(tmp_path: Path) -> None:
    with Recall() as server:
        decoding = {"temperature": 0.8, "seed": 7, "repeats": 3}
        group = Group(tmp_path / "group", server.url, examples=2, decoding=decoding)
        group.prepare()
        group.run()
        assert [each.body["seed"] for each in server.received] == [7, 8, 9] * 2
    assert group.rows("select seed, repeats from kv_runs") == [(7, 3)]


def test_the_lake_takes_known_names_of_failures_and_one_answer_of_a_request(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    prepared(lake, {"a": 0})
    with pytest.raises(ContractViolationError, match="runtime_prompt_too_long"):
        asked(lake, 1.0, {"a": lost("runtime_prompt_too_long")})
    with pytest.raises(ContractViolationError, match="_once_in_run"):
        asked(lake, 1.0, {"a": [right(), right()]})
    assert lake.sql("select * from kv_runs").rows() == []


def test_the_value_of_a_header_is_sent_and_kept_nowhere(tmp_path: Path) -> None:
    with Recall() as server:
        headers = {"Authorization": f"Bearer {SECRET}", "X-Tenant": SECRET}
        group = Group(tmp_path / "group", server.url, engine={"base_url": server.url, "headers": headers})
        server.special["e02"] = lambda: error(400, f"no {SECRET} here")
        group.prepare()
        group.run()
        assert server.received[0].headers["Authorization"] == f"Bearer {SECRET}"
    kept = [file for file in (*group.lake.root.rglob("*"), *group.results.rglob("*")) if file.is_file()]
    texts = [
        pl.read_parquet(file).write_ndjson() if file.suffix == ".parquet" else file.read_bytes().decode(errors="ignore")
        for file in kept
    ]
    assert len(texts) > 10
    assert any("X-Tenant" in text for text in texts), "the name of a header is kept"
    assert [file for file, text in zip(kept, texts, strict=True) if SECRET in text] == []


def test_an_answer_without_content_is_empty_and_its_thoughts_are_kept(tmp_path: Path) -> None:
    def answered(content: str | None, finish: str, **more: object) -> Callable[[], Reply]:
        message = {"role": "assistant", "content": content, **more}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return lambda: whole({"choices": [choice], "usage": usage(9, 5)})

    with Recall() as server:
        group = Group(tmp_path / "group", server.url, examples=3)
        server.special = {
            "e01": answered(None, "length", reasoning_content="let me see"),
            "e02": answered("answer to e02", "stop", reasoning_content="let me see"),
            "e03": answered(None, "tool_calls", tool_calls=[{"id": "1", "type": "function"}]),
        }
        group.prepare()
        group.run()
    rows = group.rows(
        "select q.example_id, f.failure, f.text, f.message from kv_failures f "
        "join kv_requests q using (run_id, request_id) order by 1"
    )
    assert [row[:3] for row in rows] == [("e01", "EMPTY_OUTPUT", "let me see"), ("e03", "EMPTY_OUTPUT", None)]
    assert rows[0][3].endswith("; the limit of tokens (decoding.max_tokens) ended it")
    assert "limit of tokens" not in rows[1][3]
    assert group.rows("select text, reasoning from kv_responses") == [("answer to e02", "let me see")]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("rate_limit.max_rpm=30", "rate_limit: no such key; there are dataset, "),
        ("engine.rate_limit={max_rpm: 30}", "engine.rate_limit: no such key"),
        ("kv.budget=[1.0]", "kv.budget: no such key; did you mean budgets?"),
        ("dataset.seed=any", "dataset.seed: got 'any', wanted a whole number"),
        ("model.name=${NOT_THERE}", "model.name: the variable NOT_THERE is not set"),
        ("kv.extra_body={keep: '${kv.budget}'}", "kv.extra_body.keep: after ${ comes the name of a variable"),
    ],
)
def test_a_key_that_nobody_reads_is_refused(tmp_path: Path, override: str, problem: str) -> None:
    group = Group(tmp_path / "group", "http://127.0.0.1:9")
    with pytest.raises(UsageError) as caught:
        group.settings(override)
    assert problem in str(caught.value)
