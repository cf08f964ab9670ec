"""What the processes of an experiment are told, and what they answer: plain data that goes through a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from groundlake.errors import LakeError
from groundlake.experiment.model_info import ModelInfo
from groundlake.llm.generation import Decoding, Generation


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process does.

    Attributes:
        backend: transformers or openai.
        model: Folder or name of the model.
        name: Name of the model in the lake.
        prompts: Its prompts, in their order.
        decoding: How answers are made.
        warmup: Prompts before the measurement.
        batch: Prompts that are answered together.
        concurrency: Requests in flight at an endpoint.
        device: Where a local model runs.
        dtype: Type of a local model's weights.
        base_url: Address of the endpoint.
        api_key: Its key; it is in no message that comes back.
        timeout_s: Limit for a request.
        chat: Whether prompts are asked as a chat.
    """

    backend: str
    model: str
    name: str
    prompts: list[Any]
    decoding: Decoding
    warmup: list[Any]
    batch: int = 1
    concurrency: int = 1
    device: str | None = None
    dtype: str = "auto"
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    chat: bool = True


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The model is loaded, or the endpoint open, and warm: the process waits for the common start.

    Attributes:
        warmup: What the warm-up gave; it is in no figure.
        precision: Precision of the weights; None where the process cannot know.
        model_info: Size and shape of a local model.
        non_embedding_parameters: Parameters outside the embeddings; None where it is not known.
        model_memory_bytes: Memory of the device after loading.
        software: Versions and fingerprints, named as in the ledger.
        backend_version: Version of what runs the model.
    """

    warmup: list[Generation]
    precision: str | None = None
    model_info: ModelInfo | None = None
    non_embedding_parameters: int | None = None
    model_memory_bytes: int | None = None
    software: Mapping[str, Any] = field(default_factory=dict)
    backend_version: str | None = None


@dataclass(frozen=True)
class Go:
    """Begin to measure."""


@dataclass(frozen=True)
class Progress:
    """So many requests are answered, or have failed."""

    done: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last answer is there. It comes before the answers themselves, so that the clock does not count their way.

    Attributes:
        started_s: When the process began to measure, by `time.perf_counter`.
        ended_s: When its last answer was there.
    """

    started_s: float
    ended_s: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the process measured.

    Attributes:
        generations: One for each prompt, in their order.
        peak_memory_bytes: Peak memory of the device, weights included; None where it is not known.
    """

    generations: list[Generation]
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Failed:
    """The process cannot go on."""

    error: LakeError


Answer = Ready | Progress | Ended | Measured | Failed
