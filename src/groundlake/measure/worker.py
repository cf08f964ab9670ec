"""The measuring process: started once, fed one configuration after another, replaced when it hangs or dies.

A process of its own, because torch is imported once for many configurations, a hung or crashed model must not take
the sweep with it, and only a killed process gives up its memory for certain. This module imports no torch: the
parent never needs it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundlake.errors import LakeEnvironmentError, LakeError, MissingDependencyError, UsageError
from groundlake.system import software_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from multiprocessing.connection import Connection

    from groundlake.measure.cut import Subgraph
    from groundlake.measure.power import PowerRecord

START_TIMEOUT_S = 300.0
"""Importing torch from a cold disk may take a minute; it is not part of any configuration's time."""

STOP_TIMEOUT_S = 10.0
PROGRESS_PERIOD_S = 0.1
FIRST_TO_GO = "800"
"""When memory runs out, the kernel is to end this process and not the sweep or the user's shell (0 to 1000)."""
SHOWN_REASON = 500
"""Characters kept of a failure's reason."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One configuration, as the measuring process gets it."""

    model: str
    precision: str
    batch: int
    device: str
    warmup: int
    runs: int
    input_shape: tuple[int, ...] | None = None
    power: str = "none"
    power_hz: float = 20.0


@dataclass(frozen=True)
class Preflight:
    """Asks whether a sweep can start: names that must be known, and the device."""

    models: tuple[str, ...]
    device: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the measuring process found out about one configuration.

    Attributes:
        subgraph_ms: Shape (subgraphs, runs), in ms.
        pass_ms: Shape (runs,): instrumented passes, in ms.
        end_to_end_ms: Shape (runs,): uninstrumented passes, in ms.
        started_at: Aware, UTC.
        software: Versions and fingerprints, named as in the ledger.
        system_under_load: Read between the timed passes of both kinds.
        power: What the power sensors said around the timed passes of the whole model.
        warnings: Each as `code: text`.
    """

    input_shape: tuple[int, ...]
    subgraphs: tuple[Subgraph, ...]
    flops_method: str
    timing_method: str
    subgraph_ms: tuple[tuple[float, ...], ...]
    pass_ms: tuple[float, ...]
    end_to_end_ms: tuple[float, ...]
    started_at: datetime
    duration_s: float
    software: dict[str, Any]
    system_before: dict[str, Any]
    system_under_load: dict[str, Any]
    system_after: dict[str, Any]
    power: PowerRecord | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ready:
    """The process has imported torch, or has checked a preflight; `software` is what it runs on, for failed runs."""

    software: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Passes done in a phase of the current configuration."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Failed:
    """A configuration or a start that did not work; a process whose state is in doubt is not used again."""

    error: LakeError
    reusable: bool


Answer = Ready | Measured | Failed


class WorkerLostError(Exception):
    """The measuring process ran out of time or died; the message says which.

    It stays inside this package: a sweep turns it into a failed run, everything before into `LakeEnvironmentError`.
    """


def serve(connection: Connection) -> None:
    """Body of the measuring process: import torch, then answer requests until the parent sends None or goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which stops this process
    os.dup2(2, 1)  # stdout is the parent's result; whatever a model prints is a diagnostic
    warnings.filterwarnings("ignore", module=r"torch(vision)?(\.|$)")  # their advice to developers of models
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    try:
        from groundlake.measure import engine
    except ImportError as error:
        missing = MissingDependencyError(f"measuring cannot start: {error}\n  pip install 'groundlake[measure]'")
        connection.send(Failed(missing, reusable=False))
        return
    connection.send(Ready(software_facts()))
    while (request := connection.recv()) is not None:
        connection.send(_answer(request, engine, connection))
        engine.release_memory()


def _answer(request: Job | Preflight, engine: Any, connection: Connection) -> Answer:  # noqa: ANN401 - a module
    try:
        if isinstance(request, Preflight):
            engine.check(request)
            return Ready()
        measured: Measured = engine.measure(request, _throttled(connection))
    except (UsageError, MissingDependencyError) as error:  # refused before anything ran
        return Failed(error, reusable=True)
    except LakeError as error:
        return Failed(error, reusable=False)
    except Exception as error:  # noqa: BLE001 - the model's own code ran, and may raise anything
        return Failed(LakeError(_reason(error)), reusable=False)
    return measured


def _reason(error: BaseException) -> str:
    """Describe an error in one line, with the line of code that raised it."""
    text = " ".join(str(error).split())[:SHOWN_REASON]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {text or 'no message'}{where}"


def _throttled(connection: Connection) -> Callable[[str, int, int], None]:
    """Report progress now and then: waking the parent at each pass would disturb the next one."""
    last = 0.0

    def report(phase: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_PERIOD_S or done == total:
            last = now
            connection.send(Progress(phase, done, total))

    return report


def _end_with_parent() -> None:
    """End when the parent does, even while a model runs or hangs: nobody would read the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Worker:
    """The parent's handle of one measuring process.

    Attributes:
        software: Versions and fingerprints of the process, named as in the ledger.
    """

    software: dict[str, Any]

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit CUDA and thread state half-made
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True, name="groundlake-measure")
        with _interrupts_held():
            self._process.start()
        theirs.close()

    @classmethod
    def start(cls) -> Worker:
        """Start a process and wait until it has imported torch.

        Raises:
            MissingDependencyError: torch is not installed or cannot be imported.
            LakeEnvironmentError: The process died or did not answer.
        """
        worker = cls()
        try:
            answer = worker._receive(START_TIMEOUT_S, lambda _: None)
        except WorkerLostError as error:
            raise LakeEnvironmentError(f"the measuring process did not start: {error}") from error
        except BaseException:
            worker.kill()
            raise
        if isinstance(answer, Failed):
            worker.kill()
            raise answer.error
        worker.software = answer.software if isinstance(answer, Ready) else {}
        return worker

    def ask(
        self, request: Job | Preflight, timeout_s: float, on_progress: Callable[[Progress], None] = lambda _: None
    ) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            WorkerLostError: The process ran out of time or died; it is gone, and a new one has to be started.
        """
        try:
            self._connection.send(request)
        except OSError as error:
            raise WorkerLostError(self._cause_of_death()) from error
        return self._receive(timeout_s, on_progress)

    def stop(self) -> None:
        """End the process: it is idle, so it is asked first."""
        try:
            self._connection.send(None)
            self._process.join(STOP_TIMEOUT_S)
        except OSError:  # gone already
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _receive(self, timeout_s: float, on_progress: Callable[[Progress], None]) -> Answer:
        deadline = time.monotonic() + timeout_s
        while True:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                self.kill()
                raise WorkerLostError(f"timeout: no result within {timeout_s:g} s")
            try:
                message: Answer | Progress = self._connection.recv()
            except (EOFError, OSError) as error:
                raise WorkerLostError(self._cause_of_death()) from error
            if not isinstance(message, Progress):
                return message
            on_progress(message)

    def _cause_of_death(self) -> str:
        """Say how the process ended; its end of the pipe is closed."""
        self._process.join(STOP_TIMEOUT_S)
        code = self._process.exitcode
        self.kill()
        if code is None:
            return "the measuring process closed its pipe and had to be killed"
        if code >= 0:
            return f"the measuring process ended by itself with exit code {code}"
        name = signal.Signals(-code).name
        hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return f"the measuring process was killed by signal {name}{hint}"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back while a process starts: it inherits that, so Ctrl-C cannot hit it before it ignores it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
