"""Variables in the files of settings: `${NAME}`, `${NAME:-default}`, and the file `.env` they may come from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PLACEHOLDERS = ("budget", "removed", "policy")
"""Names that are no variables within `kv.extra_body`: they are filled in for each budget."""

HIDDEN = "***"
CUT = "..."
"""What messages have in place of the rest of something long."""
SECRET_LENGTH = 8
"""A shorter value is no secret; to hide it would hide words and numbers."""

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")
_SECRET = re.compile(
    r"(?:(?:token|key|secret|password|passwd|passphrase|credentials?)"
    r"|(?:^|[_-])(?:pwd|auth|authorization|bearer|cookie))[_-]?\d*$",
    re.IGNORECASE,
)
_OF_TEXT = re.compile(
    r"(?:^|[_-])(?:bos|eos|pad|unk|sep|cls|mask|stop|start|end|image|first|last|next|per)[_-]?token$", re.IGNORECASE
)
"""A token that a model reads or writes, or figures of each of them."""
_SCHEME = re.compile(r"(?:bearer|basic|token|apikey)\s+(\S.*)", re.IGNORECASE)
_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class MissingVariableError(Exception):
    """A text cannot be filled in; the message says which variable, and why."""


def filled(text: str, environment: Mapping[str, str], *, keep: Sequence[str] = ()) -> str:
    """Put the values of variables in place of their names; `$${` stands for `${` itself.

    Args:
        text: With `${NAME}` or, for a value where the variable is not set or empty, `${NAME:-default}`.
        environment: Values by name.
        keep: Names that stay as they are.

    Raises:
        MissingVariableError: A variable is neither set nor has it a default, or `${` is no variable.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            raise MissingVariableError("after ${ comes the name of a variable and }; write $${ for ${ itself")
        if name in keep and default is None:
            return match[0]
        found = environment.get(name) or default
        if found is None:
            state = "empty" if name in environment else "not set"
            raise MissingVariableError(f"the variable {name} is {state}; set it, in .env too, or give the key a value")
        return found

    return _VARIABLE.sub(value, text)


def names(text: str) -> list[str]:
    """Return the variables that a text asks for."""
    return [match["name"] for match in _VARIABLE.finditer(text) if match["name"]]


def sounds_secret(name: str) -> bool:
    """Whether what has this name is what nobody should see: a key, a password, a token, but no number of tokens."""
    return _SECRET.search(name) is not None and _OF_TEXT.search(name) is None


def is_secret(name: str, value: str) -> bool:
    """Whether a variable holds what nobody should see, going by its name."""
    return sounds_secret(name) and len(value) >= SECRET_LENGTH


def secrets_in(value: str) -> set[str]:
    """Return what must not be seen of a value whose key sounds secret: all of it, and what follows `Bearer`."""
    if any(f"${{{name}}}" in value for name in PLACEHOLDERS):
        return set()
    scheme = _SCHEME.fullmatch(value.strip())
    return {each for each in (value, scheme[1] if scheme else "") if len(each) >= SECRET_LENGTH}


def without_named(value: Any, *, is_named: bool = False) -> Any:  # noqa: ANN401 - any JSON
    """Return it with `***` in place of texts under keys that sound secret, however short, at any depth."""
    if isinstance(value, dict):
        return {key: without_named(each, is_named=is_named or sounds_secret(str(key))) for key, each in value.items()}
    if isinstance(value, list):
        return [without_named(each, is_named=is_named) for each in value]
    if not is_named or not isinstance(value, str) or any(f"${{{name}}}" in value for name in PLACEHOLDERS):
        return value
    return HIDDEN


def masked(value: Any, secrets: Sequence[str]) -> Any:  # noqa: ANN401 - any setting
    """Return it with `***` in place of secrets, and of users and passwords in addresses, at any depth."""
    if isinstance(value, dict):
        return {masked(key, secrets): masked(each, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [masked(each, secrets) for each in value]
    return re.sub(r"://[^/\s@]+@", "://***@", hidden(value, secrets)) if isinstance(value, str) else value


def hidden(text: str, secrets: Sequence[str]) -> str:
    """Return a text with `***` in place of secrets, and of those whose end was cut off; nothing else is changed."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
        for length in range(len(secret) - 1 if CUT in text else 0, SECRET_LENGTH - 1, -1):
            text = text.replace(f"{secret[:length]}{CUT}", f"{HIDDEN}{CUT}")
    return text


def read_env(path: Path) -> dict[str, str]:
    r"""Read a file of variables: `NAME=value` in each line; # begins a comment; a file that is not there is empty.

    In double quotes `\n`, `\"` and the like are escapes; in single quotes everything is as it stands.

    Raises:
        UsageError: A line is no variable; the message does not repeat it, as it may hold a secret.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        value = _value(match["value"]) if match else None
        if match is None or value is None:
            raise UsageError(
                f"{path}, line {number}: this is no variable; write NAME=value, or quotes around the value"
            )
        found[match["name"]] = value
    return found


def _value(text: str) -> str | None:
    """Read what stands behind the sign; None where a quote is not closed, or something follows it."""
    quoted: dict[str, tuple[str, Callable[[str], str]]] = {
        "'": (r"'([^']*)'", str),
        '"': (r'"((?:[^"\\]|\\.)*)"', lambda inner: re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), inner)),
    }
    if text[:1] in quoted:
        pattern, read = quoted[text[:1]]
        match = re.fullmatch(pattern + r"\s*(?:#.*)?", text)
        return read(match[1]) if match else None
    return re.sub(r"(^|\s+)#.*", "", text).strip()
