"""Latencies of streamed answers: intervals between tokens, raw measurements, statistics over all at once."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from typing_extensions import Self

from groundlake.errors import UsageError
from groundlake.experiment.base import Amount, Count, Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TokenTiming = Literal["streaming", "per_request_batch", "proportional"]
TIMING_SPELLINGS = {"true_streaming": "streaming", "proportional_estimate": "proportional"}

ENDS = 2
"""Intervals that trimming drops of each request: the first and the last."""


def timing(value: Any) -> Any:  # noqa: ANN401 - any input
    """Return our name of a way to time tokens."""
    return TIMING_SPELLINGS.get(value, value) if isinstance(value, str) else value


class LatencyMeasurements(Model):
    """Raw latencies of the requests of one process, or of several put together.

    Attributes:
        ttft_ms: Time to the first token of each request, in ms.
        itl_full_ms: All times between two tokens, in ms.
        itl_trimmed_ms: The same without the first and last of each request, in ms.
        request_count: Requests behind them.
        total_output_tokens: Tokens of their answers; None where nobody counted those of one.
        excluded_tokens: Intervals that trimming left out.
        streaming_mode: Whether answers were streamed.
        warmup_requests_excluded: Requests before the measurement, which are in nothing here.
        measurement_method: How tokens were timed.
    """

    spellings: ClassVar[dict[str, str]] = {"measurement_mode": "measurement_method"}

    ttft_ms: list[Amount] = Field(default_factory=list)
    itl_full_ms: list[Amount] = Field(default_factory=list)
    itl_trimmed_ms: list[Amount] = Field(default_factory=list)
    request_count: Count = 0
    total_output_tokens: Count | None = 0
    excluded_tokens: Count = 0
    streaming_mode: bool = True
    warmup_requests_excluded: Count = 0
    measurement_method: Annotated[TokenTiming, BeforeValidator(timing)] = "streaming"

    @classmethod
    def from_arrivals(
        cls, sent_ms: Sequence[float], arrivals_ms: Sequence[Sequence[float]], *, warmup_requests: int = 0
    ) -> Self:
        """Make them from the moments at which tokens came.

        Args:
            sent_ms: When each request was sent, in ms of one clock; shape (requests,).
            arrivals_ms: When each of its tokens came, on the same clock.
            warmup_requests: Requests that are in neither.
        """
        full, trimmed, excluded = intervals(arrivals_ms)
        firsts = [tokens[0] - sent for sent, tokens in zip(sent_ms, arrivals_ms, strict=True) if tokens]
        return cls(
            ttft_ms=firsts,
            itl_full_ms=full,
            itl_trimmed_ms=trimmed,
            request_count=len(arrivals_ms),
            total_output_tokens=sum(map(len, arrivals_ms)),
            excluded_tokens=excluded,
            warmup_requests_excluded=warmup_requests,
        )

    @classmethod
    def pooled(cls, parts: Sequence[LatencyMeasurements]) -> LatencyMeasurements:
        """Put the raw values of several processes together, so that statistics are made once over all.

        Raises:
            UsageError: There are none, or their tokens were timed in different ways.
        """
        methods = sorted({part.measurement_method for part in parts})
        if len(methods) != 1:
            raise UsageError(
                f"latencies that are put together were timed in one way, got {', '.join(methods) or 'none'}"
            )
        return cls(
            ttft_ms=[value for part in parts for value in part.ttft_ms],
            itl_full_ms=[value for part in parts for value in part.itl_full_ms],
            itl_trimmed_ms=[value for part in parts for value in part.itl_trimmed_ms],
            request_count=sum(part.request_count for part in parts),
            total_output_tokens=_all([part.total_output_tokens for part in parts]),
            excluded_tokens=sum(part.excluded_tokens for part in parts),
            streaming_mode=all(part.streaming_mode for part in parts),
            warmup_requests_excluded=sum(part.warmup_requests_excluded for part in parts),
            measurement_method=methods[0],
        )

    def contradictions(self) -> Iterator[str]:
        """More trimmed intervals than there are, or more first tokens than requests."""
        if len(self.itl_trimmed_ms) > len(self.itl_full_ms):
            yield f"{len(self.itl_trimmed_ms)} trimmed intervals of {len(self.itl_full_ms)}"
        if self.request_count and len(self.ttft_ms) > self.request_count:
            yield f"{len(self.ttft_ms)} first tokens of {self.request_count} requests"


class LatencyStatistics(Model):
    """Statistics of the time to the first token and between tokens, in ms; percentiles are interpolated linearly.

    `itl_*` is of the trimmed intervals, `itl_full_*` of all. The names without a prefix (`mean_ms`, `p95_ms`,
    `sample_count`, ...) are read too, and mean the time to the first token.
    """

    spellings: ClassVar[dict[str, str]] = {
        "mean_ms": "ttft_mean_ms",
        "median_ms": "ttft_median_ms",
        "p95_ms": "ttft_p95_ms",
        "p99_ms": "ttft_p99_ms",
        "min_ms": "ttft_min_ms",
        "max_ms": "ttft_max_ms",
        "sample_count": "ttft_samples",
    }

    ttft_mean_ms: Amount
    ttft_median_ms: Amount
    ttft_p95_ms: Amount
    ttft_p99_ms: Amount
    ttft_min_ms: Amount
    ttft_max_ms: Amount
    ttft_samples: Count
    itl_mean_ms: Amount | None = None
    itl_median_ms: Amount | None = None
    itl_p95_ms: Amount | None = None
    itl_p99_ms: Amount | None = None
    itl_samples: Count = 0
    itl_full_mean_ms: Amount | None = None
    itl_full_p99_ms: Amount | None = None

    @classmethod
    def of(cls, measured: LatencyMeasurements) -> LatencyStatistics | None:
        """Statistics of raw latencies; None where no request has a first token."""
        if not measured.ttft_ms:
            return None
        figures = {f"ttft_{name}": value for name, value in _summary(measured.ttft_ms, ends=True).items()}
        if measured.itl_trimmed_ms:
            figures |= {f"itl_{name}": value for name, value in _summary(measured.itl_trimmed_ms).items()}
        if measured.itl_full_ms:
            full = _summary(measured.itl_full_ms)
            figures |= {"itl_full_mean_ms": full["mean_ms"], "itl_full_p99_ms": full["p99_ms"]}
        return cls(**figures)  # type: ignore[arg-type] # counts are int, figures float

    @property
    def mean_ms(self) -> float:
        """Mean time to the first token, in ms."""
        return self.ttft_mean_ms

    @property
    def median_ms(self) -> float:
        """Median time to the first token, in ms."""
        return self.ttft_median_ms

    @property
    def p95_ms(self) -> float:
        """95th percentile of the time to the first token, in ms."""
        return self.ttft_p95_ms

    @property
    def p99_ms(self) -> float:
        """99th percentile of the time to the first token, in ms."""
        return self.ttft_p99_ms

    @property
    def min_ms(self) -> float:
        """Shortest time to the first token, in ms."""
        return self.ttft_min_ms

    @property
    def max_ms(self) -> float:
        """Longest time to the first token, in ms."""
        return self.ttft_max_ms

    @property
    def sample_count(self) -> int:
        """First tokens behind the statistics."""
        return self.ttft_samples

    def contradictions(self) -> Iterator[str]:
        """Percentiles out of order."""
        low, median, p95, p99, high = (
            self.ttft_min_ms,
            self.ttft_median_ms,
            self.ttft_p95_ms,
            self.ttft_p99_ms,
            self.ttft_max_ms,
        )
        if not low <= median <= p95 <= p99 <= high:
            yield f"min {low}, median {median}, p95 {p95}, p99 {p99}, max {high} ms are not in order"
        if not low <= self.ttft_mean_ms <= high:
            yield f"the mean {self.ttft_mean_ms} ms lies outside {low} to {high} ms"


def intervals(arrivals_ms: Sequence[Sequence[float]]) -> tuple[list[float], list[float], int]:
    """Times between the tokens of each request: all of them, those without the ends, and how many were left out.

    A request of three intervals or more loses its first and last; one of fewer loses all.
    """
    full: list[float] = []
    trimmed: list[float] = []
    excluded = 0
    for arrivals in arrivals_ms:
        steps = [later - earlier for earlier, later in pairwise(arrivals)]
        full += steps
        trimmed += steps[1:-1]
        excluded += min(len(steps), ENDS)
    return full, trimmed, excluded


def _all(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _summary(values: Sequence[float], *, ends: bool = False) -> dict[str, float]:
    """Mean, median, percentiles and number; numpy's linear interpolation is SQL's percentile_cont."""
    median, p95, p99 = np.percentile(values, [50, 95, 99])
    figures = {
        "mean_ms": float(np.mean(values)),
        "median_ms": float(median),
        "p95_ms": float(p95),
        "p99_ms": float(p99),
        "samples": len(values),
    }
    return figures | ({"min_ms": float(min(values)), "max_ms": float(max(values))} if ends else {})
