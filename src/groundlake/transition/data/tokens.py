"""Counts the tokens of prompts: with a tokenizer, or with an approximation whose name says that it is one.

What is counted is the prompt as it is sent: a context alone is shorter by the template and the question, and lengths
that leave them out sort short examples into the wrong bins.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from groundlake.errors import LakeEnvironmentError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from groundlake.transition.data.examples import Example

WORDS = "words"
TIKTOKEN = "tiktoken:"
TOKENIZER_FILE = "tokenizer.json"
BATCH = 32
"""Texts at once: enough for every core, and few enough that the tokens of long ones fit into the memory."""

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "\uac00-\ud7af"  # Hangul: it has spaces, but its syllables are about a token each
)
_COUNTED = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


class Counter(Protocol):
    """Counts tokens.

    Attributes:
        name: What it is called in the lake and in reports.
        fingerprint: Equal where every count is equal; part of the key under which counts are kept.
        is_approximate: Whether no tokenizer is behind it.
    """

    name: str
    fingerprint: str
    is_approximate: bool

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        ...

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each token of a text begins and ends, in characters; tokens of one character share them."""
        ...


class WordCounter:
    """An approximation for when there is no tokenizer.

    A run of letters and digits counts as one token, as does each mark of punctuation. Scripts without spaces between
    words count each character: a Chinese sentence is not one word. Tokenizers cut long and rare words into pieces, so
    that for English prose the true number is about a quarter higher, and for code and numbers more than that; the
    order of lengths, which is what bins are made of, hardly changes.
    """

    name = f"{WORDS} (approximation)"
    fingerprint = hashlib.sha256(_COUNTED.pattern.encode()).hexdigest()
    is_approximate = True

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count words, marks and characters of scripts without spaces."""
        return [len(_COUNTED.findall(text)) for text in texts]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each word or mark begins and ends."""
        return [found.span() for found in _COUNTED.finditer(text)]


class TokenizerCounter:
    """A tokenizer of transformers, from its `tokenizer.json`.

    Args:
        path: The folder of a model or of a tokenizer, or the file itself.
        special_tokens: Whether the tokens that it puts around a text count, as they do when a model is given one.

    Raises:
        UsageError: There is no such file, or it is no tokenizer.
        MissingDependencyError: tokenizers is not installed.
    """

    is_approximate = False

    def __init__(self, path: Path, *, special_tokens: bool = True) -> None:
        file = path / TOKENIZER_FILE if path.is_dir() else path
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UsageError(
                f"tokenizer {path}: {file.name} cannot be read: {error.strerror or error}\n"
                "  give the folder of a model that has one (save_pretrained of a fast tokenizer writes it)"
            ) from None
        self._special_tokens = special_tokens
        self._tokenizer = _tokenizer(content, path)
        self.name = f"{file.absolute().parent.name}/{file.name}{'' if special_tokens else ' (without special tokens)'}"
        self.fingerprint = hashlib.sha256(content + (b"" if special_tokens else b"\0plain")).hexdigest()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count tokens, on all cores."""
        batches = (list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH))
        encode = self._tokenizer.encode_batch_fast
        return [len(made.ids) for batch in batches for made in encode(batch, add_special_tokens=self._special_tokens)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each token begins and ends, without those that are put around a text."""
        return [(int(start), int(end)) for start, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]


class TiktokenCounter:
    """An encoding of tiktoken. Words that look like special tokens count as the text they are.

    Args:
        encoding: A `tiktoken.Encoding`.
    """

    is_approximate = False

    def __init__(self, encoding: Any) -> None:  # noqa: ANN401 - tiktoken may not be installed
        self._encoding = encoding
        self.name = f"{TIKTOKEN}{encoding.name}"
        self.fingerprint = hashlib.sha256(f"{self.name} {encoding.n_vocab}".encode()).hexdigest()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count tokens, on several cores."""
        batches = (list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH))
        return [len(made) for batch in batches for made in self._encoding.encode_ordinary_batch(batch)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each token begins and ends."""
        _, starts = self._encoding.decode_with_offsets(self._encoding.encode_ordinary(text))
        return list(zip(starts, [*starts[1:], len(text)], strict=True))


def counter_named(name: str) -> Counter:
    """Return what counts tokens: never another one than is asked for.

    Args:
        name: A folder with `tokenizer.json`; the name of a model in the local cache of the hub;
            `tiktoken:` and an encoding or model, such as `tiktoken:o200k_base` or `tiktoken:gpt-4o-mini`; or `words`.

    Raises:
        UsageError: There is none of this name.
        MissingDependencyError: tokenizers or tiktoken is not installed.
        LakeEnvironmentError: tiktoken cannot fetch the encoding.
    """
    if name in (WORDS, WordCounter.name):
        return WordCounter()
    if name.startswith(TIKTOKEN):
        return TiktokenCounter(_encoding(name.removeprefix(TIKTOKEN)))
    path = Path(name).expanduser()
    if name and path.exists():
        return TokenizerCounter(path)
    cached = _in_cache(name)
    if cached is None:
        raise UsageError(
            f"tokenizer {name!r}: there is no such folder, nor one of this name in the local cache of the hub\n"
            f"  give a folder with {TOKENIZER_FILE}, {TIKTOKEN}<encoding or model>, or {WORDS} (an approximation)"
        )
    counter = TokenizerCounter(cached)
    counter.name = name  # the folder of the cache is named after a commit
    return counter


@dataclass(frozen=True, kw_only=True)
class Counted:
    """How long the prompt of an example is.

    Attributes:
        example_id: Of the example.
        tokens: Of its prompt.
        prompt_sha256: Hash of the prompt.
        was_known: Whether the number was taken from before.
    """

    example_id: str
    tokens: int
    prompt_sha256: str
    was_known: bool


def count_all(
    examples: Iterable[Example],
    counter: Counter,
    known: Mapping[tuple[str, str], int],
    *,
    prompt: Callable[[Example], str],
) -> tuple[Counted, ...]:
    """Count the tokens of every example's prompt, each that is not known already.

    Args:
        examples: What is asked.
        counter: Counts.
        known: Tokens by hash of the prompt and fingerprint of the counter. The prompt holds the example and the
            template, so that a change of either is noticed.
        prompt: Makes the prompt as it is sent.

    Returns:
        The lengths, in the order of the examples.
    """
    prompts = [(example.example_id, prompt(example)) for example in examples]
    hashes = [hashlib.sha256(text.encode()).hexdigest() for _, text in prompts]
    lacking = {sha256: text for sha256, (_, text) in zip(hashes, prompts, strict=True)}
    lacking = {sha256: text for sha256, text in lacking.items() if (sha256, counter.fingerprint) not in known}
    fresh = dict(zip(lacking, counter.count(list(lacking.values())), strict=True)) if lacking else {}
    return tuple(
        Counted(
            example_id=example_id,
            tokens=fresh[sha256] if sha256 in fresh else known[sha256, counter.fingerprint],
            prompt_sha256=sha256,
            was_known=sha256 not in fresh,
        )
        for sha256, (example_id, _) in zip(hashes, prompts, strict=True)
    )


def _tokenizer(content: bytes, path: Path) -> Any:  # noqa: ANN401 - tokenizers may not be installed
    try:
        import tokenizers
    except ImportError as error:
        raise MissingDependencyError(
            f"tokenizer {path}: it needs tokenizers: {error}\n"
            f"  pip install 'groundlake[transformers]', or count with {WORDS} (an approximation)"
        ) from error
    try:
        tokenizer = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as error:
        raise UsageError(f"tokenizer {path}: {TOKENIZER_FILE} holds no tokenizer: {error}") from error
    # Files may carry both: every long prompt would have the same length.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _encoding(name: str) -> Any:  # noqa: ANN401 - tiktoken may not be installed
    try:
        tiktoken = import_module("tiktoken")
    except ImportError as error:
        raise MissingDependencyError(
            f"tokenizer {TIKTOKEN}{name}: it needs tiktoken: {error}\n"
            f"  pip install tiktoken, or count with {WORDS} (an approximation)"
        ) from error
    try:
        known = tiktoken.list_encoding_names()
        encoding = name if name in known else tiktoken.encoding_name_for_model(name)
    except KeyError:
        raise UsageError(
            f"tokenizer {TIKTOKEN}{name}: tiktoken knows no such encoding or model\n  encodings: {', '.join(known)}"
        ) from None
    try:
        return tiktoken.get_encoding(encoding)
    except Exception as error:  # it fetches files, with the errors of its client
        words = next(iter(str(error).splitlines()), type(error).__name__)
        raise LakeEnvironmentError(f"tokenizer {TIKTOKEN}{name}: its files cannot be fetched: {words}") from error


def _in_cache(name: str) -> Path | None:
    """Find the file of a tokenizer in the local cache of the hub, without asking the hub."""
    try:
        import huggingface_hub
    except ImportError:
        return None
    try:
        found = huggingface_hub.try_to_load_from_cache(name, TOKENIZER_FILE)
    except ValueError:  # no name that the hub could have
        return None
    return Path(found) if isinstance(found, str) else None
