"""Every request ends in one response or in one failure, whatever an engine says, and the lake takes it."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from groundlake.llm import generation
from groundlake.llm.generation import PER_REQUEST_BATCH, Attempt, Failure, Generation
from groundlake.schemas.transition import FAILURES
from groundlake.store import Lake
from groundlake.transition.data.examples import Example
from groundlake.transition.data.prepared import PreparedExample
from groundlake.transition.engines.base import EngineAnswer, Prompt
from groundlake.transition.engines.local import BUDGET, ENGINE
from groundlake.transition.inference.plan import PlannedPrompt, PlannedRequest
from groundlake.transition.inference.recording import MAY_PASS
from groundlake.transition.inference.rows import Outcome, Start, answer_of_error, outcome_of, outcome_unsent, run_frames
from groundlake.transition.scoring.failures import FAILURES as CODES

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = (
    "",
    "  ",
    "an answer",
    "<think>so",
    "<think>so</think>this",
    "ERROR: no",
    "I'm sorry, but I can't.",
    "half \ud83d",
)
ERRORS = (
    None,
    *(generation.TIMEOUT, generation.CONNECTION, generation.TLS, generation.MALFORMED, generation.TRUNCATED),
    *(generation.EMPTY, generation.CONTEXT_LENGTH, generation.EMPTY_PROMPT, generation.OUT_OF_MEMORY),
    *(BUDGET, ENGINE, "http_400", "http_401", "http_429", "http_500", "http_504", "something new"),
)
ENDS = (None, "stop", "length", "content_filter")
START = Start.now()
RUN = {
    "exp_group_id": "g",
    "dataset_id": "made__recall",
    "dataset_run_id": "d",
    "budget_id": "b",
    "policy": "none",
    "policy_json": "{}",
    "budget": 1.0,
    "engine": "openai",
    "how_applied": "none",
    "temperature": 0.0,
    "max_tokens": 8,
    "repeats": 1,
    "prompt_hash": "p",
    "tokenizer_fingerprint": "t",
    "settings_hash": "s",
    "settings_json": "{}",
    "planned_requests": 1,
}


def request(number: int) -> PlannedRequest:
    example = Example(
        example_id=f"e{number}",
        task="kv_recall",
        question="q",
        context="c",
        answers=("a",),
        all_classes=None,
        language=None,
        source_length=None,
        source_sha256="0",
    )
    source = PreparedExample(example=example, position=number, bin_index=0, prompt_tokens=2, prompt_sha256="p")
    asked = PlannedPrompt(source=source, prompt=Prompt(context="c", question="q"), prompt_sha256="p")
    return PlannedRequest(exp_group_id="g", budget_id="b", request_id=f"r{number}", asked=asked, repeat=1)


def answer(text: str, code: str | None, finish: str | None, *, attempts: int, odd: bool = False) -> EngineAnswer:
    failure = None if code is None else Failure(code=code, message="it said so \ud83d")
    tried = Attempt(started_s=START.s + 1, ended_s=START.s + 2, error=failure)
    return EngineAnswer(
        generation=Generation(
            text=text,
            sent_s=START.s + 1,
            finished_s=START.s + 2,
            input_tokens=-1 if odd else 5,
            token_timing=PER_REQUEST_BATCH,
            finish_reason=finish,
            error=failure,
            attempts=(tried,) * attempts,
        ),
        budget_verified=None,
        evidence="",
        told_fraction=1.5 if odd else None,
    )


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """What came of every combination."""
    told = [
        *(answer(*each, attempts=attempts) for each, attempts in product(product(TEXTS, ERRORS, ENDS), (0, 2))),
        answer("an answer", None, "stop", attempts=1, odd=True),
        answer_of_error(ValueError("first\nsecond"), START.s),
        answer_of_error(KeyError(), START.s),
    ]
    found = [outcome_of(request(number), each, START) for number, each in enumerate(told)]
    return [*found, outcome_unsent(request(len(found)), "too long", START)]


def test_every_request_ends_in_one_response_or_one_failure(outcomes: list[Outcome]) -> None:
    for each in outcomes:
        ends = each.rows.get("kv_responses", []) + each.rows.get("kv_failures", [])
        assert len(each.rows["kv_requests"]) == len(ends) == 1
        assert (each.failure is None) == ("kv_responses" in each.rows)
        assert ends[0]["request_id"] == each.rows["kv_requests"][0]["request_id"]
        assert len(each.rows.get("kv_attempts", [])) == each.rows["kv_requests"][0]["num_attempts"]


def test_the_lake_takes_all_of_them_and_finds_nothing_wrong(outcomes: list[Outcome], tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    frames = run_frames(RUN, [each.rows for each in outcomes])
    lake.write({"hardware_id": "none", "kind": "kv_transition", "timing_method": "none"}, **frames)
    violations = {name for (name,) in lake.sql("select distinct violation from kv_integrity").rows()}
    assert violations == {"request_without_example"}  # no data set was written here
    counted = [lake.sql(f"select count(*) from {table}").rows()[0][0] for table in ("kv_responses", "kv_failures")]
    assert sum(counted) == len(outcomes)
    assert min(counted) > 0


def test_an_error_of_the_engine_is_of_its_request_alone(outcomes: list[Outcome]) -> None:
    raised = outcomes[-3]
    assert (raised.failure, raised.message) == ("ENGINE_ERROR", "ValueError: first")


def test_what_a_server_cannot_mean_is_unknown(outcomes: list[Outcome]) -> None:
    (response,) = outcomes[-4].rows["kv_responses"]
    assert (response["prompt_tokens"], response["kept_fraction"]) == (None, None)


def test_failures_have_the_same_names_everywhere_and_each_either_stays_or_passes() -> None:
    assert set(FAILURES) == set(CODES)
    assert set(CODES) - MAY_PASS == {"EMPTY_OUTPUT", "REFUSAL", "FORMAT_ERROR", "CONTEXT_LENGTH_EXCEEDED"}
