"""Body of a process of an experiment: it loads a model or opens an endpoint, warms up, waits for all, and measures.

Everything goes back through the pipe. No file is written, so none is left behind, whatever ends the process.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from groundlake.child_process import reason_of
from groundlake.errors import LakeError
from groundlake.experiment.messages import Ended, Failed, Go, Measured, Progress, Ready
from groundlake.system import software_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from groundlake.experiment.messages import Job
    from groundlake.llm.generation import Generation

PROGRESS_PERIOD_S = 0.2


class _Engine(Protocol):
    """Something that answers prompts."""

    def ready(self, warmup: list[Generation]) -> Ready: ...

    def answer(self, prompts: Sequence[Any], on_done: Callable[[int], None]) -> list[Generation]: ...

    def begin(self) -> None: ...

    def peak_memory_bytes(self) -> int | None: ...

    def close(self) -> None: ...


def serve(connection: Connection) -> None:
    """Do one job, and end.

    Args:
        connection: The child's end of the pipe to the parent.
    """
    warnings.simplefilter("ignore")  # advice of libraries to whoever writes programs with them
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
