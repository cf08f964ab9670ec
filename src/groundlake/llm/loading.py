"""Loads a causal language model and its tokenizer through transformers, from this machine unless asked otherwise."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundlake.errors import LakeEnvironmentError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""Names of precisions, and what torch calls them."""
AMPERE = (8, 0)
"""First compute capability of NVIDIA GPUs with bf16 (NVIDIA A100 architecture whitepaper, 2020)."""


@cache
def import_transformers() -> Any:  # noqa: ANN401 - transformers has no types
    """Import transformers.

    Raises:
        MissingDependencyError: It, or torch, is not installed, or they do not work together.
    """
    try:
        import_module("torch")
        if find_spec("torchvision") is not None:  # transformers imports it, and does not cope where it is broken
            import_module("groundlake.vision").import_torchvision()
        transformers = import_module("transformers")
        import_module("transformers.modeling_utils")
    except ImportError as error:
        raise MissingDependencyError(
            f"a model in this process needs torch and transformers: {str(error).splitlines()[0]}\n"
            "  pip install 'groundlake[measure,transformers]'"
        ) from error
    if not transformers.is_torch_available():
        raise MissingDependencyError(f"transformers {transformers.__version__} refuses this torch; install a newer one")
    return transformers


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Let transformers print no progress and no warnings inside the block."""
    if not quiet:
        yield
        return
    logging = import_transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def require_device(device: str) -> None:
    """Raise unless torch can use the device.

    Raises:
        UsageError: It is no name of a device.
        MissingDependencyError: There is none such.
    """
    import torch

    try:
        kind, index = torch.device(device).type, torch.device(device).index or 0
    except RuntimeError:
        kind, index = "", 0
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"device must be cpu, cuda or cuda:N, got {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise MissingDependencyError(
            f"device {device!r}: torch {torch.__version__} ({build}) sees no CUDA device\n"
            "  take device cpu, or install the driver and a torch that is built for it"
        )
    if kind == "cuda" and index >= torch.cuda.device_count():
        raise MissingDependencyError(f"device {device!r}: there are {torch.cuda.device_count()} CUDA devices")


def require_dtype(dtype: str, device: str) -> None:
    """Raise unless the device computes in the type itself.

    Raises:
        MissingDependencyError: It would compute in another one, more slowly.
    """
    import torch

    if dtype != "bf16" or torch.device(device).type != "cuda":
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < AMPERE:
        raise MissingDependencyError(
            f"bf16 needs compute capability {AMPERE[0]}.{AMPERE[1]};"
            f" {torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}"
        )


def source_of(path: str | Path) -> tuple[str, str]:
    """Return what transformers is to load, and the name under which the model is known.

    A folder is a folder; what cannot be one is the name of a model.

    Raises:
        UsageError: There is no such folder, or it holds no model.
    """
    if not str(path):
        raise UsageError("model: give a folder or a name")
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UsageError(f"model {path}: the folder has no config.json, so that it holds no model of transformers")
        return str(folder), folder.resolve().name
    given = str(path)
    if folder.exists():
        raise UsageError(f"model {given}: give the folder of the model, not a file")
    if isinstance(path, Path) or given.startswith(("/", ".", "~")) or given.count("/") > 1:
        raise UsageError(f"model {given}: there is no such folder")
    return given, given


def require_config(source: str, *, download: bool) -> None:
    """Raise unless there is a configuration that transformers knows: the first thing that it would look for.

    Raises:
        UsageError: There is none, or it is broken.
        LakeEnvironmentError: It cannot be downloaded.
    """
    transformers = import_transformers()
    with _in_words(source, "configuration", download=download):
        transformers.AutoConfig.from_pretrained(source, local_files_only=not download)


def load_model(source: str, *, dtype: str, download: bool) -> Any:  # noqa: ANN401 - transformers has no types
    """Load a causal language model onto the processor.

    Raises:
        UsageError: It is none, it is not there, or it is broken.
        LakeEnvironmentError: It cannot be downloaded.
    """
    transformers = import_transformers()
    import torch

    wanted = "auto" if dtype == "auto" else getattr(torch, DTYPES[dtype])
    with _in_words(source, "model", download=download):
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            source, dtype=wanted, local_files_only=not download, output_loading_info=True
        )
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise UsageError(
            f"model {source}: these are no weights of a causal language model ({model.config.model_type}): "
            f"{len(missing)} are missing, for example {missing[0]}\n  they would be random"
        )
    return model


def load_tokenizer(source: str, *, download: bool) -> Any:  # noqa: ANN401 - transformers has no types
    """Load the tokenizer that lies beside a model.

    Raises:
        UsageError: There is none.
        LakeEnvironmentError: It cannot be downloaded.
    """
    transformers = import_transformers()
    with _in_words(source, "tokenizer", download=download):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=not download)
    if not len(tokenizer) or _is_made_up(tokenizer, source):
        raise UsageError(f"model {source}: it has no tokenizer; save one into the same folder")
    return tokenizer


def _is_made_up(tokenizer: Any, source: str) -> bool:  # noqa: ANN401 - transformers has no types
    """Whether there is no file of a vocabulary: some releases (5.2) then make a tokenizer that knows no words.

    The kind of the model alone decides of which type that one is, and all its words are unknown.
    """
    from huggingface_hub import try_to_load_from_cache

    names = set(tokenizer.vocab_files_names.values())
    folder = Path(source) if Path(source).is_dir() else None
    if folder is None:
        found = try_to_load_from_cache(source, "config.json")
        folder = Path(found).parent if isinstance(found, str) else None
    if folder is None or not names:  # one of bytes needs no file
        return False
    return not any((folder / name).is_file() for name in (*names, "tekken.json")) and not any(
        folder.glob("tokenizer.*")
    )


@contextmanager
def _in_words(source: str, what: str, *, download: bool) -> Iterator[None]:
    """Say in plain words why transformers cannot load something."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError, AttributeError) as error:
        raise _reason(error, source, what, download=download) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # it derives from Exception itself
            raise
        raise UsageError(f"model {source}: its weights are broken: {error}") from error


def _reason(error: Exception, source: str, what: str, *, download: bool) -> Exception:
    """Return the error that says why; transformers' own words are many, the first line is enough."""
    words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, ImportError):
        return MissingDependencyError(f"model {source}: its {what} needs a package that is not there: {words}")
    if "Unrecognized configuration class" in words:
        kind = words.split("<class '")[-1].split("'")[0].rsplit(".", 1)[-1]
        return UsageError(f"model {source}: it is no causal language model, but one of {kind}")
    if Path(source).is_dir():
        if what == "tokenizer":
            return UsageError(f"model {source}: it has no tokenizer that can be loaded ({words})\n  save one beside it")
        return UsageError(f"model {source}: it cannot be loaded: {words}")
    if not download:
        return UsageError(
            f"model {source}: there is no such folder, and no {what} of this name in the local cache\n"
            "  give a folder, or download it beforehand (hf download ...)"
        )
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return LakeEnvironmentError(f"model {source}: its {what} cannot be downloaded{offline}: {words}")
