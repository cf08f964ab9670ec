"""A causal language model in this process, through transformers: each token is timed when it is there."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.llm.facts import context_length, eos_token_ids, parameters_at_work, precision_of, versions
from groundlake.llm.generation import CONTEXT_LENGTH, EMPTY_PROMPT, OUT_OF_MEMORY, STREAMING, Failure, Generation
from groundlake.llm.loading import (
    DTYPES,
    import_transformers,
    load_model,
    load_tokenizer,
    quietly,
    require_config,
    require_device,
    require_dtype,
    source_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from groundlake.llm.generation import Decoding

    Dtype = Literal["auto", "fp32", "fp16", "bf16"]
    Prompt = str | Sequence[Mapping[str, str]]


@dataclass(kw_only=True)
class LocalModel:
    """A causal language model and its tokenizer, on one device.

    Decoding is what `Decoding` says and nothing else: settings that lie beside the weights (a penalty of repetitions, a
    temperature) are not used, except for the tokens that end an answer.

    Attributes:
        name: Name of the model, or of its folder.
        precision: Type of the weights: fp32, fp16, bf16, int8, int4, fp8; none for another.
        device: cpu, cuda or cuda:1.
        chat: Whether prompts are put into the model's template of a conversation.
        quiet: Whether transformers prints nothing.
        model: The model of transformers, in eval mode.
        tokenizer: Its tokenizer.
        config: Its configuration.
        num_parameters: Its parameters; those that two parts share count once.
        non_embedding_parameters: Those of them that a token is multiplied with; see `parameters_at_work`.
        model_memory_bytes: Memory of its parameters and buffers.
        context_length: Longest prompt and answer together, in tokens; None where the model does not say.
        eos_token_ids: Tokens that end an answer.
        versions: Versions of what it runs on, by the name of the package.
    """

    name: str
    precision: str
    device: str
    chat: bool
    quiet: bool
    model: Any
    tokenizer: Any
    config: Any
    num_parameters: int
    non_embedding_parameters: int
    model_memory_bytes: int
    context_length: int | None
    eos_token_ids: frozenset[int]
    versions: Mapping[str, str]

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
        """Load a model from a folder, or by its name from the local cache.

        No code that lies beside the weights is run.

        Args:
            path: A folder in the layout of transformers, or the name of a model.
            dtype: Type of the weights; `auto` leaves them as they were saved.
            device: cpu, cuda or cuda:1.
            chat: Put prompts into the model's template of a conversation.
            download: Fetch what is not in the local cache.
            quiet: Let transformers print neither progress nor warnings.

        Raises:
            UsageError: There is no such model, it is no causal language model, or it lacks what is needed.
            MissingDependencyError: A package or the device is missing, or the device does not run the type.
            LakeEnvironmentError: It cannot be downloaded.
        """
        if dtype not in ("auto", *DTYPES):
            raise UsageError(f"dtype must be auto, {', '.join(DTYPES)}, got {dtype!r}")
        source, name = source_of(path)
        with quietly(quiet):
            require_device(device)
            require_dtype(dtype, device)
            require_config(source, download=download)
            tokenizer = load_tokenizer(source, download=download)
            if chat and not tokenizer.chat_template:
                raise UsageError(f"model {name}: its tokenizer has no template of a conversation; ask without chat")
            model = load_model(source, dtype=dtype, download=download).eval().to(device)
            loaded = cls._of(model, tokenizer, name=name, device=device, chat=chat, quiet=quiet)
            model.generation_config = import_transformers().GenerationConfig()
            loaded.require_to_run()
        return loaded

    @classmethod
    def _of(cls, model: Any, tokenizer: Any, **given: Any) -> Self:  # noqa: ANN401 - transformers has no types
        """Return a model that is loaded, with what it says of itself."""
        return cls(
            **given,
            precision=precision_of(model),
            model=model,
            tokenizer=tokenizer,
            config=model.config,
            num_parameters=sum(parameter.numel() for parameter in model.parameters()),
            non_embedding_parameters=parameters_at_work(model),
            model_memory_bytes=model.get_memory_footprint(),
            context_length=context_length(model.config, tokenizer),
            eos_token_ids=eos_token_ids(model, tokenizer),
            versions=versions(),
        )

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Generation]:
        """Answer prompts in one batch.

        The moment of sending is the call. A token arrives when the device has done the step that makes it. A prompt
        that cannot be answered (it has no tokens; it and its answer are longer than the context) fails alone.

        Args:
            prompts: Texts, or messages of a conversation where `chat` is set.
            decoding: How the answers are to be made. A seed is of the batch: in another batch the draws differ.

        Returns:
            The answers, in the order of the prompts.

        Raises:
            UsageError: Messages without `chat`.
        """
        self.synchronize()
        sent_s = perf_counter()
        tokens = [self._tokens(prompt) for prompt in prompts]
        failures = [self._unfit(len(ids), decoding) for ids in tokens]
        fit = [ids for ids, failure in zip(tokens, failures, strict=True) if failure is None]
        batch = iter(self._answer(fit, decoding, sent_s))
        return [
            next(batch) if failure is None else _failed(failure, sent_s, len(ids))
            for ids, failure in zip(tokens, failures, strict=True)
        ]

    def peak_memory_bytes(self) -> int | None:
        """Return the most memory of the device that was in use at a time since `reset_peak`; None on a processor."""
        import torch

        return torch.cuda.max_memory_allocated(self.device) if self._is_cuda() else None

    def reset_peak(self) -> None:
        """Look for the peak from now on."""
        import torch

        if self._is_cuda():
            torch.cuda.reset_peak_memory_stats(self.device)

    def synchronize(self) -> None:
        """Wait until the device has done all its work."""
        import torch

        if self._is_cuda():
            torch.cuda.synchronize(self.device)

    def _is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    def _tokens(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt."""
        if self.chat:
            messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
            text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # the template has them
        if not isinstance(prompt, str):
            raise UsageError("messages need a conversation: load the model with chat=True, or give a text")
        with quietly(self.quiet):  # it warns of prompts that are too long, which fail in our words
            return list(self.tokenizer(prompt)["input_ids"])

    def _unfit(self, length: int, decoding: Decoding) -> Failure | None:
        """Return why a prompt cannot be answered; None where it can. Nothing is ever cut off silently."""
        if not length:
            return Failure(code=EMPTY_PROMPT, message="the prompt has no tokens")
        wanted = length + decoding.max_new_tokens
        if self.context_length is None or wanted <= self.context_length:
            return None
        return Failure(
            code=CONTEXT_LENGTH,
            message=f"the prompt has {length} tokens and the answer may have {decoding.max_new_tokens}: "
            f"{wanted} are more than the {self.context_length} of the model's context",
        )

    def _answer(self, prompts: list[list[int]], decoding: Decoding, sent_s: float) -> list[Generation]:
        """Answer prompts, given as tokens, in one batch."""
        if not prompts:
            return []
        import torch

        from groundlake.llm.stepping import Steps

        ids, mask = self._padded(prompts)
        steps = Steps(
            prompt_length=ids.shape[1],
            batch=len(prompts),
            eos_token_ids=() if decoding.ignore_eos else self.eos_token_ids,
            stop=decoding.stop,
            decode=self._text,
            settle=self.synchronize,
        )
        try:
            with quietly(self.quiet), torch.inference_mode(), self._drawing(decoding):
                made = self.model.generate(
                    input_ids=ids, attention_mask=mask, stopping_criteria=[steps], **_settings(decoding)
                )
            self.synchronize()
        except torch.OutOfMemoryError as error:
            failure = Failure(
                code=OUT_OF_MEMORY,
                message=f"the memory of {self.device} is too small for {len(prompts)} prompts of up to "
                f"{ids.shape[1]} tokens at a time: {str(error).splitlines()[0]}",
            )
            return [_failed(failure, sent_s, len(prompt)) for prompt in prompts]
        finished_s = perf_counter()
        return [
            self._generation(
                prompt, row, arrivals_s, reason or "length", stop=decoding.stop, span_s=(sent_s, finished_s)
            )
            for prompt, row, arrivals_s, reason in zip(
                prompts, made[:, ids.shape[1] :].tolist(), steps.arrivals_s, steps.reasons, strict=True
            )
        ]

    def _generation(
        self,
        prompt: list[int],
        row: list[int],
        arrivals_s: list[float],
        reason: str,
        *,
        stop: Sequence[str],
        span_s: tuple[float, float],
    ) -> Generation:
        """Return an answer, also one of tokens without a text; what the batch made behind its end is no part of it."""
        text = self._text(row[: len(arrivals_s)])
        text = text[: min((text.index(end) for end in stop if end in text), default=len(text))]
        return Generation(
            text=text,
            sent_s=span_s[0],
            arrivals_s=tuple(arrivals_s),
            finished_s=span_s[1],
            input_tokens=len(prompt),
            output_tokens=len(arrivals_s),
            tokens_counted_by="tokenizer",
            token_timing=STREAMING,
            finish_reason=reason,
        )

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _padded(self, prompts: list[list[int]]) -> tuple[Any, Any]:
        """Return the tokens of a batch and its mask, both of shape (batch, longest), padded on the left."""
        import torch

        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)  # what the mask leaves out may be any token
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        return ids.to(self.device), mask.to(self.device)

    @contextmanager
    def _drawing(self, decoding: Decoding) -> Iterator[None]:
        """Draw by the seed, where there is one, and leave the random numbers of the program as they were."""
        import torch

        if decoding.seed is None:
            yield
            return
        with torch.random.fork_rng(devices=[torch.device(self.device)] if self._is_cuda() else []):
            torch.manual_seed(decoding.seed)
            yield

    def require_to_run(self) -> None:
        """Raise unless the device runs the model in its type; there is no other way to know than to try.

        Raises:
            MissingDependencyError: An operator is missing for this type on this device.
        """
        import torch

        try:
            with torch.inference_mode():
                self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device))
            self.synchronize()
        except (RuntimeError, NotImplementedError) as error:
            raise MissingDependencyError(
                f"model {self.name}: {self.precision} does not run on {self.device} with torch {torch.__version__}: "
                f"{str(error).splitlines()[0]}\n  take another dtype or device"
            ) from error


def _settings(decoding: Decoding) -> dict[str, Any]:
    """Return what transformers is told; it does not look for the end of an answer itself."""
    settings: dict[str, Any] = {"max_new_tokens": decoding.max_new_tokens, "pad_token_id": 0, "do_sample": False}
    if decoding.temperature > 0:
        settings |= {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
    return settings


def _failed(failure: Failure, sent_s: float, input_tokens: int) -> Generation:
    """Return what came of a prompt that was not answered."""
    return Generation(
        text="",
        sent_s=sent_s,
        finished_s=perf_counter(),
        input_tokens=input_tokens,
        token_timing=STREAMING,
        error=failure,
    )
