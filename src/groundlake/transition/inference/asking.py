"""Asks an engine the requests of one budget: a bounded number at a time, nothing queued beyond it.

No failure stops it. It ends early where somebody asks for that, and where the endpoint is not there at all.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final

from groundlake.transition.inference.rows import answer_of_error, outcome_of, outcome_unsent
from groundlake.transition.scoring.failures import CONNECTION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from groundlake.transition.engines.base import Engine
    from groundlake.transition.inference.plan import PlannedRequest
    from groundlake.transition.inference.rows import Outcome, Start

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a batch system or service manager, and a terminal that went away."""
MORE_THAN_A_ROUND: Final = 2
"""So many failures beyond one of each worker say that the next requests would meet the same."""
REFUSED: Final = (401, 403, 404)
"""Statuses that every request meets, whatever it asks."""


class Stop:
    """Whether somebody asked the run to end, and what to do then.

    Args:
        on_ask: Called when somebody does.
    """

    def __init__(self, on_ask: Callable[[], object]) -> None:
        self.signal: str | None = None
        self._on_ask = on_ask
        self._then: Callable[[], object] = _nothing

    def __bool__(self) -> bool:
        return self.signal is not None

    def ask(self, name: str) -> None:
        """End: what is under way is left where it can be."""
        self.signal = name
        self._on_ask()
        self._then()

    @contextmanager
    def calls(self, then: Callable[[], object]) -> Iterator[None]:
        """Let it call this inside the block."""
        self._then = then
        try:
            yield
        finally:
            self._then = _nothing

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen to signals of this process in the running loop; the second one has its usual effect.

        In another thread than the first nothing can be listened to.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        # What the shell told this process to ignore (a job in the background, nohup) stays ignored.
        before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
        heard = [each for each, handler in before.items() if handler is not signal.SIG_IGN]

        def note(number: signal.Signals) -> None:
            for each in heard:
                loop.remove_signal_handler(each)
            self.ask(number.name)

        for each in heard:
            loop.add_signal_handler(each, note, each)
        try:
            yield
        finally:
            for each in heard:
                loop.remove_signal_handler(each)
                signal.signal(each, before[each] or signal.SIG_DFL)


def _nothing() -> None:
    """Nothing is under way."""


@dataclass(kw_only=True)
class Asked:
    """What asking came to.

    Attributes:
        ended: Requests that ended in an answer or a failure.
        dead: Why no further request was sent: the endpoint is not there, or lets nobody in. None where it is.
    """

    ended: int = 0
    dead: str | None = None


@dataclass(kw_only=True)
class Asking:
    """The requests of one budget, and how they are asked.

    Attributes:
        engine: What answers.
        budget: Fraction kept.
        requests: What is asked, in this order.
        concurrency: So many at a time.
        is_local: Whether the model runs in this process, where a request under way cannot be left.
        start: When the run began.
        stop: Whether to end early.
        on_outcome: Called as each request ends. An error in it ends everything.
    """

    engine: Engine
    budget: float
    requests: Sequence[PlannedRequest]
    concurrency: int
    is_local: bool
    start: Start
    stop: Stop
    on_outcome: Callable[[Outcome], object]
    asked: Asked = field(default_factory=Asked)
    _workers: list[asyncio.Future[None]] = field(default_factory=list)
    _lives: bool = False
    _hopeless: int = 0

    async def run(self) -> Asked:
        """Ask all of them, or as many as may be."""
        waiting = iter(self.requests)
        number = 0 if self.stop else min(self.concurrency, len(self.requests))
        self._workers = [asyncio.ensure_future(self._work(waiting)) for _ in range(number)]
        try:
            with self.stop.calls(self._leave):
                if self._workers:
                    await asyncio.wait(self._workers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for worker in self._workers:
                worker.cancel()
            ends = await asyncio.gather(*self._workers, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return self.asked

    def _leave(self) -> None:
        """Leave what is under way, where that can be: it is asked again by the next run."""
        for worker in () if self.is_local else self._workers:
            worker.cancel()

    async def _work(self, waiting: Iterator[PlannedRequest]) -> None:
        for request in waiting:
            if self.stop or self.asked.dead:
                return
            outcome = await self._ask(request)
            self.asked.ended += 1
            self.on_outcome(outcome)
            if not self.is_local and request.asked.unfit is None:
                self._look(outcome)

    async def _ask(self, request: PlannedRequest) -> Outcome:
        if request.asked.unfit is not None:
            return outcome_unsent(request, request.asked.unfit, self.start)
        sent_s = perf_counter()
        try:
            answer = await self.engine.answer(request.asked.prompt, self.budget, repeat=request.repeat)
        except Exception as error:  # noqa: BLE001 - one failure never stops the run
            answer = answer_of_error(error, sent_s)
        return outcome_of(request, answer, self.start)

    def _look(self, outcome: Outcome) -> None:
        """Notice that the first requests all failed as every other one would."""
        if self._lives:
            return
        if not _is_hopeless(outcome):
            self._lives = True
            return
        self._hopeless += 1
        if self._hopeless >= min(self.concurrency + MORE_THAN_A_ROUND, len(self.requests)):
            self.asked.dead = outcome.message
            self._leave()


async def warm_up(engine: Engine, budget: float, request: PlannedRequest) -> None:
    """Ask a local model once, and forget the answer: the first time is slow, and the largest budget is asked first.

    Without it the first latencies are those of a library that wakes up, and a smaller cache seems to save time. What
    goes wrong is met again by the request itself.
    """
    if request.asked.unfit is None:
        with suppress(Exception):
            await engine.answer(request.asked.prompt, budget)


def _is_hopeless(outcome: Outcome) -> bool:
    """Whether a request never reached a server, or one that lets nobody in."""
    if outcome.http_status is None:
        return outcome.failure == CONNECTION
    return outcome.http_status in REFUSED
