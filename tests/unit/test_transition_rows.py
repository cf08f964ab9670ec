"""What came of a request, as rows of the lake: exactly what the engine measured, and nothing that no table holds."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from groundlake.llm.generation import STREAMING, Generation
from groundlake.transition.engines.base import EngineAnswer
from groundlake.transition.inference.rows import Start, outcome_of, run_frames

if TYPE_CHECKING:
    from groundlake.transition.inference.plan import PlannedRequest

START = Start(dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), 100.0)
EXAMPLE = SimpleNamespace(example=SimpleNamespace(example_id="e"), bin_index=0)
ASKED = SimpleNamespace(source=EXAMPLE, prompt_sha256="p", truncation="none")
REQUEST = cast(
    "PlannedRequest", SimpleNamespace(exp_group_id="g", budget_id="b", request_id="r", repeat=1, asked=ASKED)
)


def answered(**told: Any) -> EngineAnswer:
    """An answer that was asked for at 110 s, began after 0.25 s and was complete after 2 s."""
    times = {"sent_s": 110.0, "arrivals_s": (110.25, 110.5, 111.75), "finished_s": 112.0}
    return EngineAnswer(
        generation=Generation(text="a b c", token_timing=STREAMING, **(times | told)), budget_verified=None, evidence=""
    )


def test_times_are_those_of_the_answer_in_ms() -> None:
    (row,) = outcome_of(REQUEST, answered(), START).rows["kv_responses"]
    assert (row["time_to_first_token_ms"], row["latency_ms"]) == (250.0, 2000.0)
    (row,) = outcome_of(REQUEST, answered(arrivals_s=()), START).rows["kv_responses"]
    assert (row["time_to_first_token_ms"], row["latency_ms"]) == (None, 2000.0)
    (attempt,) = outcome_of(REQUEST, answered(), START).rows["kv_attempts"]
    assert (attempt["started_s"], attempt["duration_s"]) == (10.0, 2.0)


@pytest.mark.parametrize(("told", "kept"), [(2**63 - 1, 2**63 - 1), (2**63, None), (10**30, None), (-1, None)])
def test_a_number_of_tokens_that_no_table_holds_is_unknown(told: int, kept: int | None) -> None:
    answer = answered(input_tokens=told, output_tokens=told, tokens_counted_by="server")
    frame = run_frames({}, [outcome_of(REQUEST, answer, START).rows])["kv_responses"]
    assert frame.select("prompt_tokens", "completion_tokens").rows() == [(kept, kept)]
