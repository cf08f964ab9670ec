"""Body of the measuring process: it measures one configuration, or answers one question, and ends.

It is forked from a server that has imported torch already (`preload`), so that each configuration has a process of its
own without paying for the import. This module imports no torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundlake.errors import LakeError, MissingDependencyError
from groundlake.measure.messages import Failed, Known, Progress, Question, Ready
from groundlake.system import software_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

    from groundlake.measure.messages import Answer, Job

PROGRESS_PERIOD_S = 0.1
GPU_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Makes `cuda:1` the GPU that NVML and nvidia-smi call 1. CUDA's own order is the fastest first, and then the id, the
peaks and the power in the lake would be another GPU's than the latency."""

FIRST_TO_GO = "800"
"""When memory runs out, the kernel is to end this process and not the sweep or the user's shell (0 to 1000)."""

SHOWN_REASON = 500
"""Characters kept of a failure's reason."""


def serve(connection: Connection, environment: Mapping[str, str], output: str | None) -> None:
    """Answer one request, and end; end at once when the parent does.

    Args:
        connection: The child's end of the pipe to the parent.
        environment: Variables of the parent: the server this process was forked from may be older than they are.
        output: File that takes what models and torch print; None lets it through to the parent's stderr.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which stops this process
    with suppress(OSError):
        os.setpgid(0, 0)  # a group of its own, so that the parent can end what a model starts, too
    os.environ.clear()
    os.environ.update({**environment, **GPU_ORDER})  # CUDA reads it when it starts: nothing has started it yet
    with suppress(OSError):  # stderr may have been closed
        if output is not None:
            os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), 2)
        os.dup2(2, 1)  # stdout is the parent's result; whatever a model prints is a diagnostic
    warnings.filterwarnings("ignore", module=r"torch(vision)?(\.|$)")  # their advice to developers of models
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    try:
        from groundlake.measure import engine
    except ImportError as error:
        connection.send(
            Failed(MissingDependencyError(f"measuring cannot start: {error}\n  pip install 'groundlake[measure]'"))
        )
        return
    connection.send(Ready(software_facts()))
    with suppress(EOFError):  # the parent has nothing to ask any more
        connection.send(_answer(connection.recv(), engine, connection))


def _answer(request: Job | Question, engine: Any, connection: Connection) -> Answer:  # noqa: ANN401 - a module
    try:
        if isinstance(request, Question):
            return Known(engine.check(request))
        measured: Answer = engine.measure(request, _throttled(connection))
    except LakeError as error:
        return Failed(error)
    except Exception as error:  # noqa: BLE001 - the model's own code ran, and may raise anything
        return Failed(LakeError(_reason(error)))
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
