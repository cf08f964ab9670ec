"""A causal language model in this process, through transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from groundlake.llm.generation import Decoding, Generation

    Dtype = Literal["auto", "fp32", "fp16", "bf16"]
    Prompt = str | Sequence[Mapping[str, str]]


class LocalModel:
    """A causal language model and its tokenizer, on one device."""

    name: str
    precision: str
    num_parameters: int
    non_embedding_parameters: int
    config: Any
    tokenizer: Any
    model: Any
    device: str
    versions: Mapping[str, str]
    model_memory_bytes: int
    context_length: int | None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str = "cpu",
        chat: bool = False,
        download: bool = False,
        quiet: bool = True,
    ) -> Self:
        """Load a model from a folder, or by its name from the local cache."""
        raise NotImplementedError

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """Answer the prompts in one batch."""
        raise NotImplementedError

    def peak_memory_bytes(self) -> int | None:
        """Most memory of the device that was in use since `reset_peak`; None on a processor."""
        raise NotImplementedError

    def reset_peak(self) -> None:
        """Begin to look for the peak anew."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until the device has done all its work."""
        raise NotImplementedError
