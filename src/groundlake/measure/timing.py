"""Time a traced model: each subgraph in instrumented passes, then the whole model without instrumentation."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import fx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from groundlake.measure.cut import Subgraph
    from groundlake.measure.trace import TracedModel


@dataclass(frozen=True, kw_only=True)
class SubgraphTimes:
    """Result of the instrumented passes.

    Attributes:
        timing_method: perf_counter, or node_events on a CUDA device.
        subgraph_ms: Shape (subgraphs, runs): time of the operations of each subgraph, summed for each pass.
        pass_ms: Shape (runs,): each pass from its first operation to its last, instrumentation included.
    """

    timing_method: str
    subgraph_ms: tuple[tuple[float, ...], ...]
    pass_ms: tuple[float, ...]


NOT_TIMED = SubgraphTimes(timing_method="end_to_end", subgraph_ms=(), pass_ms=())
"""Where parts cannot be timed singly."""


class Clock(Protocol):
    """A source of marks in the stream of work whose distances are read after the pass."""

    method: str

    def mark(self) -> Any:  # noqa: ANN401 - a number or an event, known to the clock alone
        """Mark the present point of the work."""
        ...

    def settle(self) -> None:
        """Wait until all marks have been passed; called once per pass."""
        ...

    def elapsed_ms(self, start: Any, end: Any) -> float:  # noqa: ANN401 - marks of this clock
        """Time between two settled marks."""
        ...

    def reuse(self) -> None:
        """Give up the marks of the last pass."""
        ...


class HostClock:
    """Marks of the host's monotonic clock: on a CPU an operation is done when its call returns."""

    method = "perf_counter"

    def mark(self) -> int:
        """Read the clock (ns)."""
        return perf_counter_ns()

    def settle(self) -> None:
        """Nothing to wait for."""

    def elapsed_ms(self, start: int, end: int) -> float:
        """Time between two readings."""
        return (end - start) / 1e6

    def reuse(self) -> None:
        """Nothing to give up."""


class DeviceClock:
    """Events recorded on a CUDA stream: the device is not synchronised until the pass is over."""

    method = "node_events"

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._events: list[torch.cuda.Event] = []
        self._used = 0

    def mark(self) -> torch.cuda.Event:
        """Record an event behind the work that was queued so far; events are kept for the next pass."""
        if self._used == len(self._events):
            self._events.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call] # torch leaves it untyped
        event = self._events[self._used]
        self._used += 1
        event.record(self._stream)
        return event

    def settle(self) -> None:
        """Wait for the device, once."""
        self._stream.synchronize()

    def elapsed_ms(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Time between two events, by the device's own clock."""
        return float(start.elapsed_time(end))

    def reuse(self) -> None:
        """Record over the events of the last pass."""
        self._used = 0


def clock_for(device: torch.device) -> Clock:
    """Return the clock that sees the work of a device."""
    return DeviceClock(device) if device.type == "cuda" else HostClock()


class _MarkingInterpreter(fx.Interpreter):
    """Runs a graph node by node, with a mark before and behind each timed operation.

    Arguments are looked up before the first mark: that is the interpreter's work, not the model's.
    """

    def __init__(self, graph_module: fx.GraphModule, clock: Clock, timed: frozenset[str]) -> None:
        super().__init__(graph_module)
        self._clock = clock
        self._timed = timed
        self._marks: list[tuple[str, Any, Any]] = []

    def timed_pass(self, example: torch.Tensor) -> float:
        """Run the graph once, and return the time from its first operation to its last, marks included, in ms."""
        self._marks.clear()
        self._clock.reuse()
        start = self._clock.mark()
        self.run(example)
        end = self._clock.mark()
        self._clock.settle()
        return self._clock.elapsed_ms(start, end)

    def spent_ms(self) -> Iterator[tuple[str, float]]:
        """Yield each timed operation of the last pass with its time in ms."""
        for name, start, end in self._marks:
            yield name, self._clock.elapsed_ms(start, end)

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401 - whatever the operation returns
        """Run one node, marked if it is timed."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        call = getattr(self, n.op)
        if n.name not in self._timed:
            return call(n.target, args, kwargs)
        start = self._clock.mark()
        result = call(n.target, args, kwargs)
        self._marks.append((n.name, start, self._clock.mark()))
        return result


def time_subgraphs(
    traced: TracedModel,
    subgraphs: Sequence[Subgraph],
    example: torch.Tensor,
    *,
    warmup: int,
    runs: int,
    enough: Callable[[Sequence[float]], bool] = lambda _: False,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> SubgraphTimes:
    """Time each subgraph in at most `runs` passes behind `warmup` untimed ones.

    A subgraph's sample is the sum over its nodes in one pass; nodes outside all subgraphs are left out.

    Args:
        traced: The traced model, on its device.
        subgraphs: How its graph is cut.
        example: Input, batch first, on the same device and in the same precision.
        warmup: Passes before timing.
        runs: Timed passes, at most.
        enough: Asked behind each timed pass with the times of the passes so far, in ms; True ends the phase.
        on_progress: Called between passes with the phase, passes done and passes in all, at most.
    """
    clock = clock_for(example.device)
    owner = {name: subgraph.subgraph_id for subgraph in subgraphs for name in subgraph.node_names}
    interpreter = _MarkingInterpreter(traced.graph_module, clock, frozenset(owner))
    samples: list[list[float]] = [[] for _ in subgraphs]
    pass_ms: list[float] = []
    with _quiet():
        for number in range(warmup + runs):
            whole = interpreter.timed_pass(example)
            if number >= warmup:
                pass_ms.append(whole)
                for times in samples:
                    times.append(0.0)
                for name, spent in interpreter.spent_ms():
                    samples[owner[name]][-1] += spent
            on_progress("warm-up" if number < warmup else "subgraphs", number + 1, warmup + runs)
            if pass_ms and enough(pass_ms):
                break
    return SubgraphTimes(
        timing_method=clock.method, subgraph_ms=tuple(tuple(row) for row in samples), pass_ms=tuple(pass_ms)
    )


def time_end_to_end(
    module: torch.nn.Module,
    example: torch.Tensor,
    *,
    warmup: int,
    runs: int,
    enough: Callable[[Sequence[float]], bool] = lambda _: False,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
    on_border: Callable[[], None] = lambda: None,
) -> tuple[float, ...]:
    """Time the model as its user runs it, without instrumentation.

    Args:
        module: The model itself, not its graph.
        example: Input, batch first.
        warmup: Passes before timing.
        runs: Timed passes, at most.
        enough: As for `time_subgraphs`.
        on_progress: As for `time_subgraphs`.
        on_border: Called before the first timed pass, and behind the last.

    Returns:
        Shape (passes,): latency of each pass in ms.
    """
    clock = clock_for(example.device)
    samples: list[float] = []
    with _quiet():
        for number in range(warmup + runs):
            if number == warmup:
                on_border()
            clock.reuse()
            start = clock.mark()
            module(example)
            end = clock.mark()
            clock.settle()
            if number >= warmup:
                samples.append(clock.elapsed_ms(start, end))
            on_progress("whole model", number + 1, warmup + runs)
            if samples and enough(samples):
                break
        on_border()
    return tuple(samples)


@contextmanager
def _quiet() -> Iterator[None]:
    """Run inference only, and keep the garbage collector from interrupting a timed pass."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_enabled:
            gc.enable()
