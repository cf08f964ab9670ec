"""One request of an experiment: when it was sent, how long it took, and its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from groundlake.experiment.base import Amount, Count, Model, differ
from groundlake.experiment.latency import TokenTiming, timing

if TYPE_CHECKING:
    from collections.abc import Iterator


class RequestRecord(Model):
    """One request.

    Attributes:
        request_index: Number of the request in its process and phase, from 0.
        phase: warmup (in no figure) or measure.
        status: ok, failed or cancelled.
        error: Why it has no answer.
        sent_at_s: When it was sent, in s from the start of the measurement; below 0 in the warm-up.
        time_to_first_token_ms: From sending to the first token, in ms.
        end_to_end_latency_ms: From sending to the last token, in ms.
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens of the answer.
        inter_token_latencies_ms: Times between two tokens, or chunks of them, in ms; None where they were not streamed.
        token_timing: How tokens were timed.
    """

    request_index: Count
    phase: Literal["warmup", "measure"] = "measure"
    status: Literal["ok", "failed", "cancelled"] = "ok"
    error: str | None = None
    sent_at_s: float | None = None
    time_to_first_token_ms: Amount | None = None
    end_to_end_latency_ms: Amount | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    inter_token_latencies_ms: list[Amount] | None = Field(default=None)
    token_timing: Annotated[TokenTiming, BeforeValidator(timing)] | None = None

    def contradictions(self) -> Iterator[str]:
        """A first token and intervals that do not give the whole."""
        if not self.inter_token_latencies_ms or self.time_to_first_token_ms is None:
            return
        parts = self.time_to_first_token_ms + sum(self.inter_token_latencies_ms)
        if self.end_to_end_latency_ms is not None and differ(parts, self.end_to_end_latency_ms):
            yield f"first token and intervals give {parts:.5g} ms, the whole took {self.end_to_end_latency_ms:.5g} ms"
