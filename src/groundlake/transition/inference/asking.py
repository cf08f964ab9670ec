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

from groundlake.llm.generation import CONNECTION, MALFORMED, TLS
from groundlake.transition.inference.rows import answer_of_error, outcome_of, outcome_unsent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from groundlake.llm.generation import Failure
    from groundlake.transition.engines.base import Engine
    from groundlake.transition.inference.plan import PlannedRequest
    from groundlake.transition.inference.rows import Outcome, Start

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a batch system or service manager, and a terminal that went away."""
MORE_THAN_A_ROUND: Final = 2
"""So many failures beyond one of each worker say that the next requests would meet the same."""
NOWHERE: Final = (*range(300, 400), 401, 404, 405, 501)
"""Statuses that every request meets, whatever it asks: of another place, or of one that lets nobody in."""
FORBIDDEN: Final = 403
"""A status that every request may meet, or one alone, of a gateway that looks at what is asked."""


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
        failed_before: Requests that failed in an earlier run; None where this address has not answered any in one.
        stop: Whether to end early.
        on_outcome: Called as each request ends. An error in it ends everything.
    """

    engine: Engine
    budget: float
    requests: Sequence[PlannedRequest]
    concurrency: int
    is_local: bool
    start: Start
    failed_before: Collection[str] | None
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
                self._look(request, outcome.error, outcome.message)

    async def _ask(self, request: PlannedRequest) -> Outcome:
        if request.asked.unfit is not None:
            return outcome_unsent(request, request.asked.unfit, self.start)
        sent_s = perf_counter()
        try:
            answer = await self.engine.answer(request.asked.prompt, self.budget, repeat=request.repeat)
        except Exception as error:  # noqa: BLE001 - one failure never stops the run
            answer = answer_of_error(error, sent_s)
        return outcome_of(request, answer, self.start)

    def _look(self, request: PlannedRequest, error: Failure | None, message: str | None) -> None:
        """Notice that the first requests all failed as every other one would.

        What may be of a request alone says less where the address has answered in an earlier run: one that fails again
        says nothing, and it takes more than a round of others.
        """
        self._lives = self._lives or not (_is_of_all(error) or _may_be_of_all(error))
        if self._lives:
            return
        enough = self.concurrency + MORE_THAN_A_ROUND
        if self.failed_before is None or _is_of_all(error):
            enough = min(enough, len(self.requests))
        elif request.request_id in self.failed_before:
            return
        self._hopeless += 1
        if self._hopeless >= enough:
            self.asked.dead = message
            self._leave()


async def warm_up(engine: Engine, budget: float, request: PlannedRequest) -> None:
    """Ask a local model once, and forget the answer: the first time is slow, and the largest budget is asked first.

    Without it the first latencies are those of a library that wakes up, and a smaller cache seems to save time. What
    goes wrong is met again by the request itself.
    """
    if request.asked.unfit is None:
        with suppress(Exception):
            await engine.answer(request.asked.prompt, budget)


def _is_of_all(error: Failure | None) -> bool:
    """Whether no request can be answered: nothing is there, or something else, or it lets nobody in."""
    return error is not None and (not error.connected or error.status in NOWHERE)


def _may_be_of_all(error: Failure | None) -> bool:
    """Whether it looks as if no request could be answered, though it may be this one alone."""
    if error is None:
        return False
    broke = error.status is None and error.code in (CONNECTION, TLS)
    return broke or error.status == FORBIDDEN or error.code == MALFORMED
