"""Says what is wrong with settings: the path of every wrong key, what was got, and what was wanted."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from groundlake.transition.configuration.settings import RULES, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

Path = tuple["str | int | float", ...]
"""Where a value stands: names of keys and places in lists."""

UNSHOWN = ("engine.base_url", "engine.api_key_env", "engine.headers", "kv.base_urls")
"""Keys whose values stand in no message: somebody may have put a secret there."""

LONGEST_SHOWN = 60
_TEXT = "a text"
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": _TEXT,
    "bool_type": "true or false",
    "tuple_type": "a list, such as [a, b]",
    "dict_type": "keys and their values",
    "model_type": "keys and their values",
    "string_too_short": "a text that is not empty",
    "too_short": "a list that is not empty",
}
BUDGETS: tuple[Path, ...] = (("kv", "budgets"), ("kv", "base_urls"))
"""Where budgets stand: in a list, and as keys."""
FRACTION = "a fraction of the cache that is kept, above 0 and at most 1"
FRACTIONS = "a list of fractions of the cache that are kept, each above 0 and at most 1, such as [1.0, 0.5]"
_NO_BUDGET = ("float_type", "finite_number", "tuple_type", "too_short")
_LIMITS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
_WORDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def find_mistakes(data: Mapping[str, Any], lost: Sequence[Path] = ()) -> tuple[Settings | None, list[tuple[Path, str]]]:
    """Check settings; return them, or every mistake with its path.

    Rules about several keys are checked too where one key is wrong for itself: without that key, so that a file is
    not mended in rounds.

    Args:
        data: The settings.
        lost: Values that are not known, which is told already; nothing is said of them.
    """
    dropped = [path[:2] for path in lost]
    data = _without(data, dropped)
    try:
        return Settings.model_validate(data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    if any(each["type"] == RULES for each in details):
        return None, list(_broken(details, dropped))
    details = [each for each in details if each["type"] != "too_short" or not each["input"]]  # it counts right items
    mistakes: list[tuple[Path, str]] = [(tuple(each["loc"]), _text(each)) for each in details]
    dropped += [path[:2] for path, _ in mistakes]
    try:
        Settings.model_validate(_without(data, dropped))
    except ValidationError as error:
        mistakes += _broken(error.errors(include_url=False), dropped)
    return None, mistakes


def dotted(path: Path) -> str:
    """Write a path: names with dots, places in lists in brackets."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path if part != "[key]")
    return text.removeprefix(".")


def short(value: Any) -> str:  # noqa: ANN401 - whatever the file holds
    """Show a value, cut where it is long."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def unknown_key(key: str, known: Sequence[str]) -> str:
    """Say that there is no such key, and which one was meant."""
    near = difflib.get_close_matches(key, known, n=1)
    return f"no such key; did you mean {near[0]}?" if near else f"no such key; there are {', '.join(known)}"


def field_type(path: Path) -> Any:  # noqa: ANN401 - a type
    """Return the type of the value at a path: a section, a type with its limits, or None where there is no such key."""
    found: Any = Settings
    for part in path:
        found = optional_of(found)[0]
        if isinstance(found, type) and issubclass(found, BaseModel):
            field = found.model_fields.get(str(part))
            if field is None:
                return None
            found = field.annotation
        elif get_origin(found) is tuple:
            found = get_args(found)[0]
        elif get_origin(found) is dict:
            found = get_args(found)[1]
        elif found not in (Any, object):
            return None
    return found


def optional_of(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401 - a type
    """Return a type without its limits and without None, and whether None is allowed."""
    optional = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
            continue
        members = get_args(annotation)
        if type(None) in members:
            (annotation, *_) = [each for each in members if each is not type(None)]
            optional = True
            continue
        return annotation, optional


def _broken(details: Sequence[ErrorDetails], dropped: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Mistakes of rules, unless they look at a key that is wrong or unknown anyway."""
    gone = [dotted(path) for path in dropped]
    for each in details:
        for rule in each.get("ctx", {}).get("rules", ()):
            looked_at = (rule.path, *rule.others)
            if not any(key == old or key.startswith((f"{old}.", f"{old}[")) for key in looked_at for old in gone):
                yield _split(rule.path), rule.text


def _split(path: str) -> Path:
    """Read what `dotted` has written, in as far as a key is looked up by it: by its section and its name."""
    return tuple(path.split("."))


def _without(data: Mapping[str, Any], wrong: Sequence[Path]) -> dict[str, Any]:
    """Leave out what is wrong: a section, or a key of one."""
    kept: dict[str, Any] = {}
    for section, keys in data.items():
        if (section,) in wrong:
            continue
        whole = isinstance(keys, dict)
        kept[section] = {key: keys[key] for key in keys if (section, key) not in wrong} if whole else keys
    return kept


def _text(error: ErrorDetails) -> str:
    """Say what is wrong with one value."""
    kind, path = error["type"], tuple(error["loc"])
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return "missing"
    hidden = any(dotted(path).startswith(key) for key in UNSHOWN)
    got = "something else" if hidden else short(error["input"])
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(error["input"], (int, float)) else ""
    return f"got {got}, wanted {_wanted(error, path)}{quotes}{_hint(error)}"


def _wanted(error: ErrorDetails, path: Path) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if path[:2] in BUDGETS and (kind in _LIMITS or kind in _NO_BUDGET):
        return FRACTIONS if path == BUDGETS[0] else FRACTION
    if kind in _LIMITS:
        return f"{_WORDS[_LIMITS[kind]]} {context[_LIMITS[kind]]:g}"
    if kind == "literal_error":
        return f"one of {', '.join(map(str, get_args(optional_of(field_type(path))[0])))}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(path[-1]), "letters, digits and . _ - (at most 100)")
    return _KINDS.get(kind, error["msg"])


_PATTERNS = {
    "api_key_env": "the name of a variable, never the key itself",
    "device": "auto, cpu, cuda or cuda:0",
    "precision": "a name in lower case, such as bf16",
    "evidence": "a path into the answer, such as usage.kv_kept",
}


def _hint(error: ErrorDetails) -> str:
    """Explain percentages in place of fractions, and the numbers of YAML 1.1: 1e-3 without a point is a text to it."""
    percent = error["input"]
    if tuple(error["loc"][:2]) in BUDGETS and isinstance(percent, (int, float)) and 5 <= percent <= 100:  # noqa: PLR2004 - percent
        return f"; {percent:g} % is {percent / 100:g}" if len(error["loc"]) > len(BUDGETS[0]) else ""
    if error["type"] not in ("float_type", "int_type") or not isinstance(error["input"], str):
        return ""
    try:
        number = float(error["input"])
    except ValueError:
        return ""
    return f"; write it without quotes, as {number:.12g}" if abs(number) < 1e6 else ""  # noqa: PLR2004 - not as 1e+06


def _unknown(path: Path) -> str:
    """Name the key that was meant, in this section or in another one."""
    section = optional_of(field_type(path[:-1]))[0]
    key, known = str(path[-1]), tuple(section.model_fields)
    elsewhere = [f"{name}.{key}" for name in Settings.model_fields if key in _keys_of(name)]
    return f"no such key; did you mean {elsewhere[0]}?" if elsewhere else unknown_key(key, known)


def _keys_of(section: str) -> tuple[str, ...]:
    annotation = Settings.model_fields[section].annotation
    return tuple(annotation.model_fields) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else ()
