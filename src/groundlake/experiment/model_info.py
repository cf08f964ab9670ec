"""The model that answered: its size, its shape, and how its weights are quantized."""

from __future__ import annotations

from typing import Any, ClassVar

from groundlake.experiment.base import Count, Model

BILLION = 1e9


class QuantizationSpec(Model):
    """How weights are quantized.

    Attributes:
        enabled: Whether they are.
        bits: Bits of a weight.
        method: Library or algorithm: bitsandbytes, gptq, awq, none.
        quant_type: Type of the values, such as nf4.
        compute_dtype: Type in which is computed.
    """

    enabled: bool = False
    bits: Count | None = None
    method: str = "none"
    quant_type: str | None = None
    compute_dtype: str = "float16"

    @property
    def is_bnb(self) -> bool:
        """Whether bitsandbytes quantized them."""
        return (self.enabled and self.method in {"bitsandbytes", "bnb"}) or self.method.startswith("bnb")


class ModelInfo(Model):
    """Size and shape of a model; None is what is not known.

    Attributes:
        name: Name on a hub, or a path.
        revision: Commit or tag.
        num_parameters: Parameters.
        num_layers: Layers.
        hidden_size: Width of a layer.
        num_attention_heads: Heads of a layer.
        vocab_size: Tokens of the vocabulary.
        context_length: Longest context, in tokens.
        model_type: Family, such as llama.
        architecture: Class, such as LlamaForCausalLM.
        torch_dtype: Type of the weights.
        quantization: How they are quantized.
    """

    spellings: ClassVar[dict[str, str]] = {"dtype": "torch_dtype"}

    name: str
    revision: str | None = None
    num_parameters: Count
    num_layers: Count | None = None
    hidden_size: Count | None = None
    num_attention_heads: Count | None = None
    vocab_size: Count | None = None
    context_length: Count | None = None
    model_type: str | None = None
    architecture: str | None = None
    torch_dtype: str = "float16"
    quantization: QuantizationSpec = QuantizationSpec()

    @property
    def parameters_billions(self) -> float:
        """Parameters in thousand millions."""
        return self.num_parameters / BILLION

    @property
    def is_quantized(self) -> bool:
        """Whether the weights are quantized."""
        return self.quantization.enabled

    @classmethod
    def from_hf_config(cls, name: str, config: Any, num_parameters: int, revision: str | None = None) -> ModelInfo:  # noqa: ANN401 - a configuration of transformers
        """Read the shape from a configuration of transformers.

        Args:
            name: Name of the model.
            config: Its configuration.
            num_parameters: Parameters, counted.
            revision: Commit or tag.
        """
        architectures = getattr(config, "architectures", None) or [None]
        dtype = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)
        return cls(
            name=name,
            revision=revision,
            num_parameters=num_parameters,
            num_layers=getattr(config, "num_hidden_layers", None),
            hidden_size=getattr(config, "hidden_size", None),
            num_attention_heads=getattr(config, "num_attention_heads", None),
            vocab_size=getattr(config, "vocab_size", None),
            context_length=getattr(config, "max_position_embeddings", None),
            model_type=getattr(config, "model_type", None),
            architecture=architectures[0],
            torch_dtype=str(dtype).removeprefix("torch.") if dtype is not None else "float32",
        )
