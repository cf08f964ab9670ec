"""The parent's handle of a measuring process: one configuration each, within limits of time and memory.

This module imports no torch.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from groundlake import machine
from groundlake.child_process import ChildProcess
from groundlake.errors import LakeEnvironmentError
from groundlake.measure.child import serve
from groundlake.measure.messages import Failed, Progress, Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from groundlake.measure.messages import Answer, Job, Question

START_TIMEOUT_S = 300.0
"""Importing torch from a cold disk may take a minute; it is not part of any configuration's time."""

LOOK_PERIOD_S = 0.25
"""Time between two looks at the memory of the process: reading one small file disturbs no pass."""

PRELOAD = ("groundlake.measure.preload",)
GIB = 2**30


class WorkerLostError(Exception):
    """The measuring process ran out of time or memory, or died; the message says which.

    It stays inside this package: a sweep turns it into a failed run, everything before into `LakeEnvironmentError`.
    """


class WorkerTimeoutError(WorkerLostError):
    """The measuring process ran out of time."""


class Worker:
    """One measuring process. As a context manager it is ended with the block, whatever it does.

    Attributes:
        software: Versions and fingerprints of the process, named as in the ledger.
    """

    software: dict[str, Any]

    def __init__(self, output: IO[bytes] | None = None) -> None:
        self._process = ChildProcess(
            serve, title="groundlake-measure", called="the measuring process", preload=PRELOAD, output=output
        )
        self._connection = self._process.connection
        self._answered = False

    @classmethod
    @contextmanager
    def running(cls, *, show_output: bool = False) -> Iterator[Worker]:
        """Start a process, wait until it has imported torch, and end it with the block.

        Args:
            show_output: Let through what the process prints. It is kept for the cause of a death otherwise: torch
                writes pages about a model that cannot be exported, and the run has the reason.

        Raises:
            MissingDependencyError: torch is not installed or cannot be imported.
            LakeEnvironmentError: The process died or did not answer.
        """
        with ExitStack() as stack:
            worker = cls(None if show_output else stack.enter_context(TemporaryFile()))
            stack.callback(worker.kill)
            try:
                answer = worker._receive(START_TIMEOUT_S, None, lambda _: None)
            except WorkerLostError as error:
                raise LakeEnvironmentError(f"the measuring process did not start: {error}") from error
            if isinstance(answer, Failed):
                raise answer.error
            worker.software = answer.software if isinstance(answer, Ready) else {}
            yield worker
            worker.finish()

    def ask(
        self,
        request: Job | Question,
        timeout_s: float,
        memory_limit_bytes: int | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> Answer:
        """Send the request and wait for its answer.

        Args:
            request: What to do.
            timeout_s: Limit for the answer.
            memory_limit_bytes: Limit for the memory the process holds (resident set), looked at a few times a second.
            on_progress: Called with each progress the process reports.

        Raises:
            WorkerLostError: The process died, or was ended because of a limit.
        """
        try:
            self._connection.send(request)
        except OSError as error:
            raise WorkerLostError(self._process.cause_of_death()) from error
        answer = self._receive(timeout_s, memory_limit_bytes, on_progress)
        self._answered = True
        return answer

    def finish(self) -> None:
        """Let the process end by itself, as it does behind its answer: what it shares with others is tidied up."""
        if self._answered:
            self._process.join()

    def kill(self) -> None:
        """End the process at once, whatever it does, and with it what a model may have started."""
        self._process.kill()
        self._process.close()

    def _receive(
        self, timeout_s: float, memory_limit_bytes: int | None, on_progress: Callable[[Progress], None]
    ) -> Answer:
        deadline = time.monotonic() + timeout_s
        while True:
            rest_s = deadline - time.monotonic()
            if rest_s <= 0:
                raise WorkerTimeoutError(f"timeout: no result within {timeout_s:g} s")
            self._mind(memory_limit_bytes)
            try:
                if not self._connection.poll(min(rest_s, LOOK_PERIOD_S)):
                    continue
                message: Answer | Progress = self._connection.recv()
            except (EOFError, OSError) as error:
                raise WorkerLostError(self._process.cause_of_death()) from error
            if not isinstance(message, Progress):
                return message
            on_progress(message)

    def _mind(self, memory_limit_bytes: int | None) -> None:
        """Raise when the process holds more memory than it may."""
        held = None if memory_limit_bytes is None else machine.resident_bytes(self._process.pid)
        if held is not None and memory_limit_bytes is not None and held > memory_limit_bytes:
            raise WorkerLostError(
                f"memory limit: the measuring process held {held / GIB:.2f} GiB, the limit is"
                f" {memory_limit_bytes / GIB:.2f} GiB (--memory-limit)"
            )
