"""What a loaded model says of itself. Imports torch only where it is called."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

NO_LIMIT = 10**9
"""A tokenizer that knows no limit of its model names a number far beyond this."""
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")


def parameters_at_work(model: Any) -> int:  # noqa: ANN401 - transformers has no types
    """Return the number of parameters that a token is multiplied with: the N in "2 N FLOPs for each token".

    That rule (Kaplan et al. 2020, arXiv:2001.08361; Chowdhery et al. 2022, arXiv:2204.02311, appendix B) counts a
    multiplication and an addition for each parameter, so that tables in which a token or a position is looked up do not
    count. The output layer multiplies: it counts, also where it shares its weights with the table of tokens. (Kaplan et
    al. leave the output layer out; for a small model with a large vocabulary that would be most of the work.)
    """
    import torch

    output = model.get_output_embeddings()
    at_work = {id(parameter) for parameter in output.parameters()} if output is not None else set()
    looked_up = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding)
        for parameter in module.parameters()
    }
    return sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in looked_up - at_work)


def precision_of(model: Any) -> str:  # noqa: ANN401 - transformers has no types
    """Return the type of a model's weights: fp32, fp16, bf16, int8, int4, fp8, or none for another."""
    quantization = getattr(model.config, "quantization_config", None)
    if quantization is None:
        return {"torch.float32": "fp32", "torch.float16": "fp16", "torch.bfloat16": "bf16"}.get(
            str(model.dtype), "none"
        )
    said = quantization if isinstance(quantization, dict) else quantization.to_dict()
    if said.get("load_in_8bit") or said.get("bits") == 8:  # noqa: PLR2004 - bits
        return "int8"
    if said.get("load_in_4bit") or said.get("bits") == 4:  # noqa: PLR2004 - bits
        return "int4"
    return "fp8" if "fp8" in str(said.get("quant_method", "")) else "none"


def context_length(config: Any, tokenizer: Any) -> int | None:  # noqa: ANN401 - transformers has no types
    """Return how many tokens a prompt and its answer may have together; None where the model does not say."""
    text = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        length = getattr(text, name, None)
        if isinstance(length, int) and length > 0:
            return length
    return tokenizer.model_max_length if tokenizer.model_max_length < NO_LIMIT else None


def eos_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:  # noqa: ANN401 - transformers has no types
    """Return the tokens that end an answer, as the model's settings of generation name them, else its tokenizer."""
    for named in (model.generation_config.eos_token_id, model.config.get_text_config().eos_token_id):
        if named is not None:
            return frozenset([named] if isinstance(named, int) else named)
    return frozenset() if tokenizer.eos_token_id is None else frozenset([tokenizer.eos_token_id])


def versions() -> dict[str, str]:
    """Return the versions of the packages that run a model, by name, and of CUDA where torch is built for it."""
    import torch

    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | ({"cuda": torch.version.cuda} if torch.version.cuda else {})
