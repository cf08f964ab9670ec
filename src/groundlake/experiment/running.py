"""The parent's handle of the processes of an experiment: they begin together, and end together, whatever happens."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from groundlake.child_process import STOP_TIMEOUT_S, ChildProcess
from groundlake.errors import LakeError, MissingDependencyError, UsageError
from groundlake.experiment.child import serve
from groundlake.experiment.messages import Ended, Failed, Go, Measured, Progress, Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from groundlake.experiment.messages import Answer, Job

LOAD_TIMEOUT_S = 3600.0
"""A large model from a slow disk takes long; Ctrl-C ends the wait."""

PRELOAD = ("torch",)


class ProcessLostError(Exception):
    """A process of the experiment failed, died or hung; the message says which and why.

    It stays inside this package: a runner turns it into a failed run.
    """


@dataclass
class _Process:
    """One process, and what it has said so far."""

    process: ChildProcess
    done: int = 0
    ready: Ready | None = None
    ended: Ended | None = None
    measured: Measured | None = None
    heard_s: float = 0.0


class Crew:
    """The processes of an experiment. As a context manager it ends them all with the block.

    Args:
        jobs: One for each process.
        timeout_s: Limit for the time between two signs of life of a process while it measures.
        on_done: Called with the number of requests that are done, of all processes together.
    """

    def __init__(
        self, jobs: Sequence[Job], *, timeout_s: float, on_done: Callable[[int], None] = lambda _: None
    ) -> None:
        self._jobs = jobs
        self._timeout_s = timeout_s
        self._on_done = on_done
        self._processes: list[_Process] = []

    @classmethod
    @contextmanager
    def running(
        cls,
        jobs: Sequence[Job],
        *,
        timeout_s: float,
        on_done: Callable[[int], None] = lambda _: None,
        show_output: bool = False,
    ) -> Iterator[Crew]:
        """Start a process for each job, and end them all with the block.

        Args:
            jobs: One for each process.
            timeout_s: Limit for the time between two signs of life of a process while it measures.
            on_done: Called with the number of requests that are done.
            show_output: Let through what the processes print.
        """
        crew = cls(jobs, timeout_s=timeout_s, on_done=on_done)
        with ExitStack() as stack:
            stack.callback(crew.kill)
            for index, job in enumerate(jobs):
                output = None if show_output else stack.enter_context(TemporaryFile())
                process = ChildProcess(
                    serve,
                    title="groundlake-experiment",
                    called=f"process {index}",
                    preload=PRELOAD if job.backend == "transformers" else (),
                    output=output,
                )
                crew._processes.append(_Process(process))
            yield crew

    def wait_ready(self) -> list[Ready]:
        """Give each process its job, and wait until all are warm.

        Raises:
            UsageError: A model is not known, or cannot be asked like this.
            MissingDependencyError: A library or a device is missing.
            ProcessLostError: A process failed otherwise.
        """
        for each, job in zip(self._processes, self._jobs, strict=True):
            self._send(each, job)
        self._until(lambda each: each.ready is not None, LOAD_TIMEOUT_S)
        return [each.ready for each in self._processes if each.ready is not None]

    def go(self) -> None:
        """Let all begin to measure."""
        for each in self._processes:
            self._send(each, Go())

    def wait_ended(self) -> list[Ended]:
        """Wait until all have measured.

        Raises:
            ProcessLostError: A process failed.
        """
        self._until(lambda each: each.ended is not None, self._timeout_s)
        return [each.ended for each in self._processes if each.ended is not None]

    def results(self) -> list[Measured]:
        """Take over what they measured, and let the processes end.

        Raises:
            ProcessLostError: A process failed.
        """
        self._until(lambda each: each.measured is not None, STOP_TIMEOUT_S + self._timeout_s)
        for each in self._processes:
            each.process.join()
        return [each.measured for each in self._processes if each.measured is not None]

    def kill(self) -> None:
        """End all processes at once, whatever they do, and with them what a library may have started."""
        for each in self._processes:
            each.process.kill()
        for each in self._processes:
            each.process.close()

    def _send(self, each: _Process, message: Job | Go) -> None:
        try:
            each.process.connection.send(message)
        except OSError as error:
            raise ProcessLostError(each.process.cause_of_death()) from error
        each.heard_s = time.monotonic()

    def _until(self, is_there: Callable[[_Process], bool], limit_s: float) -> None:
        """Listen to all that have not come so far; one that fails, dies or hangs ends it."""
        while waiting := [each for each in self._processes if not is_there(each)]:
            oldest = min(waiting, key=lambda each: each.heard_s)
            rest_s = oldest.heard_s + limit_s - time.monotonic()
            if rest_s <= 0:
                raise ProcessLostError(
                    f"timeout: {oldest.process.called} gave no sign of life within {limit_s:g} s (--timeout)"
                )
            by_connection = {each.process.connection: each for each in waiting}
            for connection in wait(list(by_connection), rest_s):
                each = by_connection[connection]
                try:
                    answer: Answer = each.process.connection.recv()
                except (EOFError, OSError) as error:
                    raise ProcessLostError(each.process.cause_of_death()) from error
                self._take(each, answer)

    def _take(self, each: _Process, answer: Answer) -> None:
        each.heard_s = time.monotonic()
        if isinstance(answer, Failed):
            is_early = each.ready is None
            if is_early and isinstance(answer.error, (UsageError, MissingDependencyError)):
                raise answer.error
            raise ProcessLostError(f"{each.process.called}: {answer.error}")
        if isinstance(answer, Ready):
            each.ready = answer
        elif isinstance(answer, Ended):
            each.ended = answer
        elif isinstance(answer, Measured):
            each.measured = answer
        elif isinstance(answer, Progress):
            each.done = answer.done
            self._on_done(sum(every.done for every in self._processes))
        else:
            raise LakeError(f"{each.process.called} sent {type(answer).__name__}, which nobody asked for")
