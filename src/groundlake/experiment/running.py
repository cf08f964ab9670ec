"""The parent's handle of the processes of an experiment: they begin together, and end together, whatever happens.

Results come through pipes. What libraries print goes into a file without a name, so nothing is left on the disk.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from groundlake.errors import LakeError, MissingDependencyError, UsageError
from groundlake.experiment.child import serve
from groundlake.experiment.messages import Ended, Failed, Go, Measured, Progress, Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

    from groundlake.experiment.messages import Answer, Job

LOAD_TIMEOUT_S = 3600.0
"""A large model from a slow disk takes long; Ctrl-C ends the wait."""

STOP_TIMEOUT_S = 10.0
LAST_BYTES, SHOWN_WORDS = 4096, 200
"""Looked at for the last line that a dead process printed, and shown of it."""

TRACKER_SILENT = "ignore:resource_tracker:UserWarning"
PRELOAD = ["torch"]


class ProcessLostError(Exception):
    """A process of the experiment failed, died or hung; the message says which and why.

    It stays inside this package: a runner turns it into a failed run.
    """


@dataclass
class _Process:
    """One process, and what it has said so far."""

    index: int
    connection: Any
    process: BaseProcess
    output: IO[bytes] | None
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
                connection, process = _start(output, preload=job.backend == "transformers")
                crew._processes.append(_Process(index, connection, process, output))
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
            each.process.join(STOP_TIMEOUT_S)
        return [each.measured for each in self._processes if each.measured is not None]

    def kill(self) -> None:
        """End all processes at once, whatever they do, and with them what a library may have started."""
        for each in self._processes:
            pid = each.process.pid
            with suppress(ProcessLookupError, PermissionError):
                if pid is not None and os.getpgid(pid) == pid:  # it leads a group of its own
                    os.killpg(pid, signal.SIGKILL)
            each.process.kill()
        for each in self._processes:
            each.process.join()
            each.connection.close()

    def _send(self, each: _Process, message: Job | Go) -> None:
        try:
            each.connection.send(message)
        except OSError as error:
            raise ProcessLostError(self._cause_of_death(each)) from error
        each.heard_s = time.monotonic()

    def _until(self, is_there: Callable[[_Process], bool], limit_s: float) -> None:
        """Listen to all that have not come so far; one that fails, dies or hangs ends it."""
        while waiting := [each for each in self._processes if not is_there(each)]:
            oldest = min(waiting, key=lambda each: each.heard_s)
            rest_s = oldest.heard_s + limit_s - time.monotonic()
            if rest_s <= 0:
                raise ProcessLostError(
                    f"timeout: {_name(oldest)} gave no sign of life within {limit_s:g} s (--timeout)"
                )
            by_connection = {each.connection: each for each in waiting}
            for connection in wait(list(by_connection), rest_s):
                each = by_connection[connection]
                try:
                    answer: Answer = each.connection.recv()
                except (EOFError, OSError) as error:
                    raise ProcessLostError(self._cause_of_death(each)) from error
                self._take(each, answer)

    def _take(self, each: _Process, answer: Answer) -> None:
        each.heard_s = time.monotonic()
        if isinstance(answer, Failed):
            is_early = each.ready is None
            if is_early and isinstance(answer.error, (UsageError, MissingDependencyError)):
                raise answer.error
            raise ProcessLostError(f"{_name(each)}: {answer.error}")
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
            raise LakeError(f"{_name(each)} sent {type(answer).__name__}, which nobody asked for")

    def _cause_of_death(self, each: _Process) -> str:
        """Say how a process ended; its end of the pipe is closed."""
        each.process.join(STOP_TIMEOUT_S)
        code, name = each.process.exitcode, _name(each)
        if code is None:
            return f"{name} closed its pipe and had to be killed"
        if code >= 0:
            return f"{name} ended by itself with exit code {code}{_last_words(each)}"
        known = -code in set(signal.Signals)
        which = signal.Signals(-code).name if known else signal.strsignal(-code)
        hint = ", as the kernel does when memory runs out" if which == "SIGKILL" else ""
        return f"{name} was killed by signal {which}{hint}{_last_words(each)}"


def _name(each: _Process) -> str:
    return f"process {each.index}"


def _last_words(each: _Process) -> str:
    """Last line that a process printed, which tells more than a signal does."""
    if each.output is None:
        return ""
    with suppress(OSError):
        each.output.seek(max(0, each.output.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = [line.strip() for line in each.output.read().decode(errors="replace").splitlines() if line.strip()]
        return f"; it printed last: {lines[-1][:SHOWN_WORDS]}" if lines else ""
    return ""


def _start(output: IO[bytes] | None, *, preload: bool) -> tuple[Any, BaseProcess]:
    """Start a process: forked from a server that has imported torch where that is wanted, else from scratch.

    A fork of this very process would inherit thread and CUDA state half-made; the server has neither. Server and
    processes are started with SIGINT held back, which they inherit, so Ctrl-C cannot hit them before they ignore it.
    """
    # The file has no name; the child reaches it through its owner, which is this process.
    place = None if output is None else f"/proc/{os.getpid()}/fd/{output.fileno()}"
    if preload:
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(PRELOAD)
        try:
            with _interrupts_held():
                forkserver.ensure_running()
            return _started(server, place)  # waits until the server has imported torch, and can be interrupted
        except (EOFError, OSError):  # the server died while it imported; a fresh process can say why
            pass
    with _interrupts_held():
        return _started(multiprocessing.get_context("spawn"), place)


def _started(context: BaseContext, output: str | None) -> tuple[Any, BaseProcess]:
    ours, theirs = context.Pipe()
    process: BaseProcess = context.Process(  # type: ignore[attr-defined] # every context has it
        target=serve, args=(theirs, dict(os.environ), output), daemon=True, name="groundlake-experiment"
    )
    try:
        process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, process


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back; the resource tracker lifts that while it starts, so it comes first, and in silence."""
    sys.warnoptions.append(TRACKER_SILENT)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(TRACKER_SILENT)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
