"""A process that works for this one: started so that Ctrl-C cannot hit it, ended for certain, asked for its last words.

A process of its own, because a hung or crashed model must not take the work with it, only a killed process gives up its
memory for certain, and nothing finds what another one left. It tells results through a pipe. What libraries print in it
goes into a file without a name, so nothing is left on the disk. This module imports no torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

    Body = Callable[[Connection], None]

STOP_TIMEOUT_S = 10.0
LAST_BYTES, SHOWN_WORDS = 4096, 200
"""Looked at for the last line that a dead process printed, and shown of it."""

SHOWN_REASON = 500
"""Characters kept of a failure's reason."""

TRACKER_SILENT = "ignore:resource_tracker:UserWarning"

GPU_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Makes `cuda:1` the GPU that NVML and nvidia-smi call 1. CUDA's own order is the fastest first, and then the id, the
peaks and the power in the lake would be another GPU's than the latency."""

FIRST_TO_GO = "800"
"""When memory runs out, the kernel is to end this process and not its parent or the user's shell (0 to 1000)."""


class ChildProcess:
    """A process that works for this one.

    Args:
        body: What it does with its end of the pipe; it ends behind that. A function of a module.
        title: What the system calls it.
        called: What messages call it.
        preload: Modules that the server imports from which it is forked; () starts it from scratch.
        output: Takes what the process prints; None lets it through to this one's stderr.

    Attributes:
        connection: This end of the pipe.
    """

    def __init__(
        self, body: Body, *, title: str, called: str, preload: Sequence[str] = (), output: IO[bytes] | None = None
    ) -> None:
        self.called = called
        self._output = output
        # The file has no name; the child reaches it through its owner, which is this process.
        place = None if output is None else f"/proc/{os.getpid()}/fd/{output.fileno()}"
        self.connection, self._process = _start(body, title, preload, place)

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return self._process.pid

    def join(self) -> None:
        """Let it end by itself, as it does behind its work: what it shares with others is tidied up."""
        self._process.join(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End it at once, whatever it does, and with it what a library or a model may have started."""
        with suppress(ProcessLookupError, PermissionError):
            if self.pid is not None and os.getpgid(self.pid) == self.pid:  # it leads a group of its own
                os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()

    def close(self) -> None:
        """Wait for the end of a killed process, and close the pipe."""
        self._process.join()
        self.connection.close()

    def cause_of_death(self) -> str:
        """Say how it ended; its end of the pipe is closed."""
        self.join()
        code = self._process.exitcode
        if code is None:
            return f"{self.called} closed its pipe and had to be killed"
        if code >= 0:
            return f"{self.called} ended by itself with exit code {code}{self._last_words()}"
        name = signal.strsignal(-code) if -code not in set(signal.Signals) else signal.Signals(-code).name
        hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return f"{self.called} was killed by signal {name}{hint}{self._last_words()}"

    def _last_words(self) -> str:
        """Last line that it printed, which tells more than a signal does: an assertion, an abort."""
        if self._output is None:
            return ""
        with suppress(OSError):
            self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - LAST_BYTES))
            text = self._output.read().decode(errors="replace")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            return f"; it printed last: {lines[-1][:SHOWN_WORDS]}" if lines else ""
        return ""


def reason_of(error: BaseException, secret: str | None = None) -> str:
    """Describe an error in one line, with the line of code that raised it, and without the secret."""
    text = " ".join(str(error).split())[:SHOWN_REASON]
    if secret:
        text = text.replace(secret, "***")
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {text or 'no message'}{where}"


def _start(body: Body, title: str, preload: Sequence[str], output: str | None) -> tuple[Any, BaseProcess]:
    """Start a process: forked from a server that has imported what is wanted; where that does not work, from scratch.

    A fork of this very process would inherit thread and CUDA state half-made; the server has neither. Server and
    processes are started with SIGINT held back, which they inherit, so Ctrl-C cannot hit them before they ignore it.
    """
    if preload:
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(list(preload))
        try:
            with _interrupts_held():
                forkserver.ensure_running()
            return _started(server, body, title, output)  # waits until the server has imported, and can be interrupted
        except (EOFError, OSError):  # the server died while it imported; a fresh process can say why
            pass
    with _interrupts_held():
        return _started(multiprocessing.get_context("spawn"), body, title, output)


def _started(context: BaseContext, body: Body, title: str, output: str | None) -> tuple[Any, BaseProcess]:
    ours, theirs = context.Pipe()
    process: BaseProcess = context.Process(  # type: ignore[attr-defined] # every context has it
        target=_serve, args=(body, theirs, dict(os.environ), output), daemon=True, name=title
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


def _serve(body: Body, connection: Connection, environment: Mapping[str, str], output: str | None) -> None:
    """Settle in the new process, and do its work; end at once when the parent does.

    Args:
        body: The work.
        connection: The child's end of the pipe.
        environment: Variables of the parent: the server this process was forked from may be older than they are.
        output: File that takes what libraries print; None lets it through to the parent's stderr.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which stops this process
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    with suppress(OSError):
        os.setpgid(0, 0)  # a group of its own, so that the parent can end what a library or a model starts, too
    os.environ.clear()
    os.environ.update({**environment, **GPU_ORDER})  # CUDA reads it when it starts: nothing has started it yet
    with suppress(OSError):  # stderr may have been closed
        if output is not None:
            os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), 2)
        os.dup2(2, 1)  # stdout is the parent's result; whatever is printed here is a diagnostic
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    body(connection)


def _end_with_parent() -> None:
    """End when the parent does, even while a model runs or hangs: nobody would read the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
