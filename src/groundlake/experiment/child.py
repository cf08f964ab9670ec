"""Body of a process of an experiment: it loads a model or opens an endpoint, warms up, waits for all, and measures.

Everything goes back through the pipe. No file is written, so none is left behind, whatever ends the process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from groundlake.errors import LakeError
from groundlake.experiment.messages import Ended, Failed, Go, Measured, Progress, Ready
from groundlake.system import software_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection

    from groundlake.experiment.messages import Job
    from groundlake.llm.generation import Generation

PROGRESS_PERIOD_S = 0.2
GPU_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Makes `cuda:1` the GPU that NVML calls 1, so that energy and work are of one GPU."""

FIRST_TO_GO = "800"
"""When memory runs out, the kernel is to end this process and not the user's shell (0 to 1000)."""

SHOWN_REASON = 500
"""Characters kept of a failure's reason."""


class _Engine(Protocol):
    """Something that answers prompts."""

    def ready(self, warmup: list[Generation]) -> Ready: ...

    def answer(self, prompts: Sequence[Any], on_done: Callable[[int], None]) -> list[Generation]: ...

    def begin(self) -> None: ...

    def peak_memory_bytes(self) -> int | None: ...

    def close(self) -> None: ...


def serve(connection: Connection, environment: Mapping[str, str], output: str | None) -> None:
    """Do one job, and end; end at once when the parent does.

    Args:
        connection: The child's end of the pipe to the parent.
        environment: Variables of the parent: the server this process was forked from may be older than they are.
        output: File that takes what libraries print; None lets it through to the parent's stderr.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which stops this process
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    with suppress(OSError):
        os.setpgid(0, 0)  # a group of its own, so that the parent can end what a library starts, too
    os.environ.clear()
    os.environ.update({**environment, **GPU_ORDER})  # CUDA reads it when it starts: nothing has started it yet
    with suppress(OSError):  # stderr may have been closed
        if output is not None:
            os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), 2)
        os.dup2(2, 1)  # stdout is the parent's result
    warnings.simplefilter("ignore")  # advice of libraries to whoever writes programs with them
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    with suppress(EOFError, BrokenPipeError):  # the parent has nothing to ask any more
        job: Job = connection.recv()
        try:
            _measure(job, connection)
        except LakeError as error:
            connection.send(Failed(error))
        except Exception as error:  # noqa: BLE001 - a model's own code ran, and may raise anything
            connection.send(Failed(LakeError(reason_of(error, job.api_key))))


def _measure(job: Job, connection: Connection) -> None:
    """Load, warm up, say so, wait for the start, measure, and hand over."""
    engine: _Engine = _Local(job) if job.backend == "transformers" else _Remote(job)
    warmup = engine.answer(job.warmup, lambda _: None) if job.warmup else []
    connection.send(engine.ready(warmup))
    if not isinstance(connection.recv(), Go):
        return
    engine.begin()
    started_s = time.perf_counter()
    generations = engine.answer(job.prompts, _throttled(connection, len(job.prompts)))
    connection.send(Ended(started_s=started_s, ended_s=time.perf_counter()))
    connection.send(Measured(generations=generations, peak_memory_bytes=engine.peak_memory_bytes()))
    engine.close()


class _Local:
    """A model in this process."""

    def __init__(self, job: Job) -> None:
        from groundlake.llm.local import LocalModel

        self._job = job
        self._model = LocalModel.load(job.model, dtype=job.dtype, device=job.device or "cpu", chat=job.chat)  # type: ignore[arg-type] # the plan checked the type

    def ready(self, warmup: list[Generation]) -> Ready:
        from groundlake.experiment.model_info import ModelInfo

        model = self._model
        info = ModelInfo.from_hf_config(self._job.name, model.config, model.num_parameters)
        return Ready(
            warmup=warmup,
            precision=model.precision,
            model_info=info,
            non_embedding_parameters=model.non_embedding_parameters,
            model_memory_bytes=model.model_memory_bytes,
            software=software_facts(),
            backend_version=model.versions.get("transformers"),
        )

    def begin(self) -> None:
        self._model.reset_peak()
        self._model.synchronize()

    def answer(self, prompts: Sequence[Any], on_done: Callable[[int], None]) -> list[Generation]:
        answers: list[Generation] = []
        for first in range(0, len(prompts), self._job.batch):
            answers += self._model.generate(prompts[first : first + self._job.batch], self._job.decoding)
            on_done(len(answers))
        self._model.synchronize()
        return answers

    def peak_memory_bytes(self) -> int | None:
        return self._model.peak_memory_bytes()

    def close(self) -> None:
        """Nothing is held open: memory goes with the process."""


class _Remote:
    """An endpoint that is asked over HTTP; connections of the warm-up serve the measurement, too."""

    def __init__(self, job: Job) -> None:
        from groundlake.llm.endpoint import OpenAiEndpoint

        self._job = job
        self._loop = asyncio.new_event_loop()
        endpoint = OpenAiEndpoint(
            job.base_url or "", job.model, api_key=job.api_key, timeout_s=job.timeout_s, chat=job.chat
        )
        self._endpoint = self._loop.run_until_complete(endpoint.__aenter__())

    def ready(self, warmup: list[Generation]) -> Ready:
        return Ready(warmup=warmup, software=software_facts())

    def begin(self) -> None:
        """Nothing is to be prepared: the server is warm."""

    def answer(self, prompts: Sequence[Any], on_done: Callable[[int], None]) -> list[Generation]:
        from groundlake.llm.endpoint import ask_each

        done = 0

        def count(_place: int, _answer: Generation) -> None:
            nonlocal done
            done += 1
            on_done(done)

        job = self._job
        asked = ask_each(self._endpoint, prompts, job.decoding, concurrency=job.concurrency, on_done=count)
        return self._loop.run_until_complete(asked)

    def peak_memory_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._loop.run_until_complete(self._endpoint.__aexit__(None, None, None))
        self._loop.close()


def reason_of(error: BaseException, secret: str | None = None) -> str:
    """Describe an error in one line, with the line of code that raised it, and without the key."""
    text = " ".join(str(error).split())[:SHOWN_REASON]
    if secret:
        text = text.replace(secret, "***")
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {text or 'no message'}{where}"


def _throttled(connection: Connection, total: int) -> Callable[[int], None]:
    """Report progress now and then: waking the parent at each answer would disturb the next one."""
    last = 0.0

    def report(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_PERIOD_S or done == total:
            last = now
            connection.send(Progress(done))

    return report


def _end_with_parent() -> None:
    """End when the parent does, even while a model runs or hangs: nobody would read the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
