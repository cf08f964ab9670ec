"""The parent's handle of a measuring process: one configuration each, within limits of time and memory.

A process of its own, because a hung or crashed model must not take the sweep with it, only a killed process gives up
its memory for certain, and no configuration finds what another one left. This module imports no torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from groundlake import machine
from groundlake.errors import LakeEnvironmentError
from groundlake.measure.child import serve
from groundlake.measure.messages import Failed, Progress, Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

    from groundlake.measure.messages import Answer, Job, Question

START_TIMEOUT_S = 300.0
"""Importing torch from a cold disk may take a minute; it is not part of any configuration's time."""

STOP_TIMEOUT_S = 10.0
LOOK_PERIOD_S = 0.25
"""Time between two looks at the memory of the process: reading one small file disturbs no pass."""

LAST_BYTES, SHOWN_WORDS = 4096, 200
"""Looked at for the last line that a dead process printed, and shown of it."""

TRACKER_SILENT = "ignore:resource_tracker:UserWarning"

PRELOAD = ["groundlake.measure.preload"]
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

    def __init__(self, output: str | None = None) -> None:
        self._output = output
        self._connection, self._process = _start(output)
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
            file = None if show_output else stack.enter_context(NamedTemporaryFile(prefix="groundlake-"))
            worker = cls(None if file is None else file.name)
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
            raise WorkerLostError(self._cause_of_death()) from error
        answer = self._receive(timeout_s, memory_limit_bytes, on_progress)
        self._answered = True
        return answer

    def finish(self) -> None:
        """Let the process end by itself, as it does behind its answer: what it shares with others is tidied up."""
        if self._answered:
            self._process.join(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End the process at once, whatever it does, and with it what a model may have started."""
        pid = self._process.pid
        with suppress(ProcessLookupError, PermissionError):
            if pid is not None and os.getpgid(pid) == pid:  # it leads a group of its own
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._connection.close()

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
                raise WorkerLostError(self._cause_of_death()) from error
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

    def _cause_of_death(self) -> str:
        """Say how the process ended; its end of the pipe is closed."""
        self._process.join(STOP_TIMEOUT_S)
        code = self._process.exitcode
        if code is None:
            return "the measuring process closed its pipe and had to be killed"
        if code >= 0:
            return f"the measuring process ended by itself with exit code {code}{self._last_words()}"
        name = signal.strsignal(-code) if -code not in set(signal.Signals) else signal.Signals(-code).name
        hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return f"the measuring process was killed by signal {name}{hint}{self._last_words()}"

    def _last_words(self) -> str:
        """Last line that the process printed, which tells more than a signal does: an assertion, an abort."""
        if self._output is None:
            return ""
        with suppress(OSError), Path(self._output).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
            return f"; it printed last: {lines[-1][:SHOWN_WORDS]}" if lines else ""
        return ""


def _start(output: str | None) -> tuple[Any, BaseProcess]:
    """Start a process: forked from a server that has imported torch, or, where that does not work, from scratch.

    A fork of this very process would inherit thread and CUDA state half-made; the server has neither. Server and
    processes are started with SIGINT held back, which they inherit, so Ctrl-C cannot hit them before they ignore it.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOAD)
    try:
        with _interrupts_held():
            forkserver.ensure_running()
        return _started(server, output)  # waits until the server has imported torch, and can be interrupted
    except (EOFError, OSError):  # the server died while it imported; a fresh process can say why
        with _interrupts_held():
            return _started(multiprocessing.get_context("spawn"), output)


def _started(context: BaseContext, output: str | None) -> tuple[Any, BaseProcess]:
    ours, theirs = context.Pipe()
    process: BaseProcess = context.Process(  # type: ignore[attr-defined] # every context has it
        target=serve, args=(theirs, dict(os.environ), output), daemon=True, name="groundlake-measure"
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
    """Hold SIGINT back; the resource tracker, which a server needs, lifts that while it starts, so it comes first.

    The tracker removes what a killed process left behind, and would tell the user about semaphores meanwhile.
    """
    sys.warnoptions.append(TRACKER_SILENT)  # inherited by the tracker alone, which starts here
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(TRACKER_SILENT)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
