"""Body of the measuring process: it measures one configuration, or answers one question, and ends.

It is forked from a server that has imported torch already (`preload`), so that each configuration has a process of its
own without paying for the import. This module imports no torch.
"""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from groundlake.child_process import reason_of
from groundlake.errors import LakeError, MissingDependencyError
from groundlake.measure.messages import Failed, Known, Progress, Question, Ready
from groundlake.system import software_facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from groundlake.measure.messages import Answer, Job

PROGRESS_PERIOD_S = 0.1


def serve(connection: Connection) -> None:
    """Answer one request, and end.

    Args:
        connection: The child's end of the pipe to the parent.
    """
    warnings.filterwarnings("ignore", module=r"torch(vision)?(\.|$)")  # their advice to developers of models
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
            return Known(engine.check(request), engine.int8_engine(request))
        measured: Answer = engine.measure(request, _throttled(connection))
    except LakeError as error:
        return Failed(error)
    except Exception as error:  # noqa: BLE001 - the model's own code ran, and may raise anything
        return Failed(LakeError(reason_of(error)))
    return measured


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
