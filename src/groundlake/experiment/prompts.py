"""Files of prompts: a line each, or JSON; what is wrong with one is said with the number of its line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundlake.documents import load_json
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SUFFIXES = (".txt", ".jsonl", ".json")
FIELDS = ("prompt", "text", "messages")
SHOWN = 60
"""Characters shown of what is wrong."""

Message = dict[str, str]
Prompt = str | tuple[Message, ...]
"""A text, or the messages of a chat, each with a role and a content."""

_FORM = 'a prompt is a text, or an object with one of prompt, text, messages: {"prompt": "Tell me a story"}'


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of an experiment, in their order.

    Attributes:
        items: The prompts.
        name: Name of their file, without its folder.
        sha256: Hash of the prompts as they will be sent; equal ones in another file or form have the same.
        remark: How `items` differ from the file; None where they are what it holds.
        spare: Further prompts of the file, which are none of `items`.
    """

    items: tuple[Prompt, ...]
    name: str
    sha256: str
    remark: str | None = None
    spare: tuple[Prompt, ...] = ()

    @property
    def num_repeated(self) -> int:
        """How many of the prompts stand before, word for word."""
        return len(self.items) - len({_canonical(item) for item in self.items})

    @property
    def is_chat(self) -> bool:
        """Whether a prompt has messages, so that only a chat can answer it."""
        return any(not isinstance(item, str) for item in self.items)


def read_prompts(path: Path, number: int | None = None) -> Prompts:
    """Read prompts: `.txt` has one in a line, `.jsonl` one as JSON in a line, `.json` a list of them.

    Args:
        path: The file, in UTF-8.
        number: How many there are to be; the file is cut, or begun again from its start. None takes it as it is.

    Raises:
        UsageError: There is no such file, it holds no prompts, or one of them is none; the message names the line.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--prompts {path}: prompts are in a file that ends in {', '.join(SUFFIXES)}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"--prompts {path}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"--prompts {path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"--prompts {path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None
    readers = {".txt": _of_lines, ".jsonl": _of_json_lines, ".json": _of_list}
    found = list(readers[path.suffix](text, path))
    if not found:
        raise UsageError(f"--prompts {path}: the file holds no prompts\n{_FORM}")
    return _numbered(found, path.name, number)


def _numbered(found: Sequence[Prompt], name: str, number: int | None) -> Prompts:
    """Take as many prompts as are wanted, and say how that differs from the file."""
    wanted = len(found) if number is None else number
    if wanted < 1:
        raise UsageError(f"--n must be at least 1, got {number}")
    items = tuple(found[place % len(found)] for place in range(wanted))
    remark = None
    if wanted < len(found):
        remark = f"{name} has {len(found)} prompts; the first {wanted} are taken (--n)"
    elif wanted > len(found):
        remark = f"{name} has {len(found)} prompts; they are repeated to make {wanted} (--n)"
    taken = {_canonical(item) for item in items}
    return Prompts(
        items=items,
        name=name,
        sha256=hashlib.sha256(_canonical(items).encode()).hexdigest(),
        remark=remark,
        spare=tuple(each for each in found[wanted:] if _canonical(each) not in taken),
    )


def _canonical(value: Prompt | Sequence[Prompt]) -> str:
    """Write prompts in the one way that equal ones share."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _of_lines(text: str, _path: Path) -> Iterator[Prompt]:
    """Empty lines are none: editors leave them at the end."""
    for line in text.split("\n"):
        if line.strip():
            yield line.rstrip("\r")


def _of_json_lines(text: str, path: Path) -> Iterator[Prompt]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"--prompts {path}, line {number}"
        try:
            value = load_json(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{where}: no JSON: {error.msg} at character {error.colno}\n{_FORM}") from None
        yield _prompt(value, where)


def _of_list(text: str, path: Path) -> Iterator[Prompt]:
    try:
        values = load_json(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"--prompts {path}, line {error.lineno}: no JSON: {error.msg} at character {error.colno}"
        ) from None
    if not isinstance(values, list):
        raise UsageError(f"--prompts {path}: a .json file holds a list of prompts, got {_short(values)}\n{_FORM}")
    for number, value in enumerate(values, start=1):
        yield _prompt(value, f"--prompts {path}, prompt {number}")


def _prompt(value: Any, where: str) -> Prompt:  # noqa: ANN401 - whatever the JSON holds
    """Read one prompt of a JSON file."""
    if isinstance(value, dict):
        named = [name for name in FIELDS if name in value]
        if len(named) != 1:
            many = f"got {' and '.join(named)}" if named else f"got {', '.join(map(str, value)) or 'an empty object'}"
            raise UsageError(f"{where}: one of {', '.join(FIELDS)} is wanted, {many}\n{_FORM}")
        if named == ["messages"]:
            return _messages(value["messages"], where)
        value = value[named[0]]
    if not isinstance(value, str):
        raise UsageError(f"{where}: got {_short(value)}\n{_FORM}")
    if not value.strip():
        raise UsageError(f"{where}: the prompt is empty")
    return value


def _messages(value: Any, where: str) -> tuple[Message, ...]:  # noqa: ANN401 - the same
    """Read the messages of a chat."""
    good = isinstance(value, list) and bool(value) and all(map(_is_message, value))
    if not good:
        raise UsageError(
            f'{where}: messages are a list of {{"role": "user", "content": "..."}}, each of both a text,'
            f" got {_short(value)}"
        )
    return tuple(value)


def _is_message(value: Any) -> bool:  # noqa: ANN401 - the same
    """Whether a value has a role and a content, both texts, and nothing else."""
    is_form = isinstance(value, dict) and set(value) == {"role", "content"}
    return is_form and all(isinstance(part, str) for part in value.values())


def _short(value: Any) -> str:  # noqa: ANN401 - the same
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
