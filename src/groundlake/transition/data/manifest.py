"""The manifest of a prepared data set: all that is needed to ask the same questions elsewhere, in one file.

It has no times and no folders, so that preparing the same input again gives the same bytes.
"""

import json
from collections import Counter as Tally
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from groundlake.commit import environment_error, write_atomically
from groundlake.errors import UsageError
from groundlake.transition.configuration.settings import FOLDER
from groundlake.transition.data.bins import Bin, bin_of
from groundlake.transition.data.examples import Example, sha256_of

SCHEMA_VERSION = 1
FILE_NAME = "manifest.json"
HASH = "manifest_sha256"
SHOWN = 3

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    """A part of the manifest: what it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Source(_Part):
    """Where the examples come from.

    Attributes:
        name: Name of the file, without its folder.
        sha256: Hash of its lines, unpacked.
        n_examples: Examples in it, each id once.
    """

    name: str
    sha256: Sha256
    n_examples: Count


class TokenizerFacts(_Part):
    """What counted the tokens.

    Attributes:
        name: Its name.
        fingerprint: Hash of it; equal where all counts are equal.
        is_approximate: Whether no tokenizer is behind it.
        prompt_template_sha256: Hash of the template of the prompts that were counted.
    """

    name: str
    fingerprint: Sha256
    is_approximate: bool
    prompt_template_sha256: Sha256 | None = None


class BinFacts(_Part):
    """A range of lengths, in tokens; see `groundlake.transition.data.bins.Bin`."""

    index: Count
    low: Count
    high: Count
    is_closed: bool
    longest: Count | None
    population: Count
    selected: Count


class Entry(_Part):
    """An example that is asked.

    Attributes:
        example_id: Which.
        bin_index: Bin of its length.
        tokens: Length of its prompt.
        content_sha256: Hash of its content.
        slice_name: Sanity slice that chose it; None where none did.
    """

    example_id: str
    bin_index: Count
    tokens: Count
    content_sha256: Sha256
    slice_name: str | None = None


class Manifest(_Part):
    """A prepared data set.

    Attributes:
        schema_version: Of this form.
        dataset_id: Name of the data set and its task.
        task: The task.
        source: Where the examples come from.
        tokenizer: What counted tokens.
        filters: Limits of length, in tokens.
        dropped: Examples that each limit left out.
        sampling: How examples were chosen.
        bins: All bins, empty ones too.
        entries: What is asked, short ones first.
        examples: The example of each entry, in the same order.
        remarks: What was merged, left out, or fell short.
    """

    schema_version: Literal[1] = 1
    dataset_id: str
    task: str
    source: Source
    tokenizer: TokenizerFacts
    filters: dict[str, int | None] = {}
    dropped: dict[str, Count] = {}
    sampling: dict[str, JsonValue] = {}
    bins: tuple[BinFacts, ...]
    entries: tuple[Entry, ...]
    examples: tuple[Example, ...]
    remarks: tuple[str, ...] = ()

    @property
    def manifest_sha256(self) -> str:
        """Hash of all of it; it is in the file too."""
        return sha256_of(self.model_dump(mode="json"))

    def to_bytes(self) -> bytes:
        """Write it as a file has it: equal manifests have equal bytes."""
        content = self.model_dump(mode="json") | {HASH: self.manifest_sha256}
        return (json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()

    def example(self, example_id: str) -> Example:
        """Return one of the examples.

        Raises:
            UsageError: There is none of this id.
        """
        found = next((each for each in self.examples if each.example_id == example_id), None)
        if found is None:
            raise UsageError(f"{self.dataset_id}: the manifest has no example {example_id}")
        return found


def bin_facts(bins: Sequence[Bin]) -> tuple[BinFacts, ...]:
    """Bring bins into the form of the manifest."""
    return tuple(BinFacts(**vars(each)) for each in bins)


def bins_of(manifest: Manifest) -> tuple[Bin, ...]:
    """Bring the bins of a manifest back."""
    return tuple(Bin(**each.model_dump()) for each in manifest.bins)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the file as a whole; its folder is made when it is missing.

    Raises:
        UsageError: The parts of the manifest contradict each other.
        LakeEnvironmentError: It cannot be written.
    """
    _refuse(path, _contradictions(manifest))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise environment_error(error, path.parent, FOLDER) from error
    write_atomically(path, manifest.to_bytes(), FOLDER)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest and check it: its hash, and that its parts agree.

    Raises:
        UsageError: There is none, it has another form, or it was changed.
    """
    data = _data(path)
    told = data.pop(HASH, None)
    if told != sha256_of(data):
        raise UsageError(
            f"{path}: its content does not have the hash that it names; it was changed\n  prepare it again"
        )
    try:
        manifest = Manifest.model_validate_json(json.dumps(data))
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        _refuse(path, mistakes)
        raise  # pragma: no cover - an error has at least one mistake
    _refuse(path, _contradictions(manifest))
    return manifest


def _data(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no manifest; prepare the data set first") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON
        raise UsageError(f"{path}: no JSON: {error}\n  prepare the data set again") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a manifest is an object, got a {type(data).__name__}")
    if data.get("schema_version") != SCHEMA_VERSION:
        got = data.get("schema_version")
        raise UsageError(f"{path}: schema_version {got!r}; this program reads {SCHEMA_VERSION}\n  prepare it again")
    return data


def _refuse(path: Path, mistakes: Sequence[str]) -> None:
    if mistakes:
        more = [f"and {len(mistakes) - SHOWN} more"] if len(mistakes) > SHOWN else []
        raise UsageError("\n  ".join([f"{path}: the manifest does not hold together", *mistakes[:SHOWN], *more]))


def _contradictions(manifest: Manifest) -> list[str]:
    """Everything that two parts say differently."""
    examples = {each.example_id: each for each in manifest.examples}
    ids = [entry.example_id for entry in manifest.entries]
    mistakes = [f"{each} is there {number} times" for each, number in Tally(ids).items() if number > 1]
    if [each.example_id for each in manifest.examples] != ids and set(examples) == set(ids):
        mistakes.append("the examples are not in the order of the entries")
    mistakes += [f"example {each} is of no entry" for each in examples if each not in set(ids)]
    if [each.index for each in manifest.bins] != list(range(len(manifest.bins))):
        mistakes.append("the bins are not numbered from 0 up")
        return mistakes
    bins = bins_of(manifest)
    for entry in manifest.entries:
        mistakes += _entry_mistakes(entry, examples.get(entry.example_id), bins, manifest.task)
    selected = Tally(entry.bin_index for entry in manifest.entries)
    mistakes += [
        f"bin {each.index} has {selected[each.index]} entries, and says {each.selected}"
        for each in manifest.bins
        if each.selected != selected[each.index]
    ]
    return mistakes


def _entry_mistakes(entry: Entry, example: Example | None, bins: Sequence[Bin], task: str) -> list[str]:
    if example is None:
        return [f"entry {entry.example_id} has no example"]
    mistakes = []
    if example.content_sha256 != entry.content_sha256:
        mistakes.append(f"example {entry.example_id} has another content than its entry says")
    if example.task != task:
        mistakes.append(f"example {entry.example_id} is of task {example.task}, not of {task}")
    try:
        found = bin_of(bins, entry.tokens)
    except UsageError as error:
        return [*mistakes, f"entry {entry.example_id}: {error}"]
    if found != entry.bin_index:
        mistakes.append(
            f"entry {entry.example_id} has {entry.tokens} tokens, which is bin {found}, not {entry.bin_index}"
        )
    return mistakes
