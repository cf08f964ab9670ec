"""Read YAML and JSON that others wrote: no key twice, nothing nested beyond measure, no aliases that swell.

Readers and checks walk a document by calling themselves. Some ten thousand brackets end that in an error of Python's,
and some hundred thousand take the process down; a few lines of aliases can stand for more values than memory holds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from yaml import SafeLoader as _Loader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, five times as fast, where PyYAML has it

MOST_LEVELS = 100
"""Of lists and mappings in each other; the deepest settings there are have six."""

MOST_VALUES = 100_000
"""In a YAML document, with what its aliases stand for."""

TOO_DEEP = f"it is nested more than {MOST_LEVELS} levels deep"


class UniqueKeyLoader(_Loader):
    """YAML where a key that is given twice is an error; the ordinary loader keeps the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Make a mapping of a node, whose keys must be unique."""
        # Merged keys (<<) may be overridden: only what is written in this very mapping must be unique.
        own = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and id(key) not in self._merged]
        twice = sorted({key for key in own if own.count(key) > 1 and key != "<<"})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge keys into a node, and remember which."""
        own = {id(key) for key, _ in node.value}
        super().flatten_mapping(node)
        self._merged |= {id(key) for key, _ in node.value if id(key) not in own}

    def __init__(self, stream: str) -> None:
        _refuse_beyond_measure(yaml.parse(stream, Loader=_Loader))
        super().__init__(stream)
        self._merged: set[int] = set()


def load_json(text: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """Read JSON.

    Raises:
        json.JSONDecodeError: It is none, or is nested beyond measure.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError(TOO_DEEP, text, 0) from None
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS + 1):
        level = [inner for each in level if isinstance(each, (dict, list)) for inner in _inside(each)]
        if not level:
            return value
    raise json.JSONDecodeError(TOO_DEEP, text, 0)


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


@dataclass
class _Collection:
    """A list or mapping that is being read: its anchor, and the values and levels in it so far."""

    anchor: str | None
    values: int = 1
    levels: int = 0


def _refuse_beyond_measure(events: Iterable[yaml.Event]) -> None:
    """Follow a document event by event, which needs no depth of calls.

    Raises:
        yaml.YAMLError: It is nested too deeply, has too many values, or contains itself.
    """
    around: list[_Collection] = []
    known: dict[str, _Collection] = {}
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Collection(event.anchor))
            problem = TOO_DEEP if len(around) > MOST_LEVELS else None
        else:
            problem = _taken(event, around, known)
        if problem is not None:
            raise yaml.constructor.ConstructorError(None, None, problem, event.start_mark)  # type: ignore[arg-type] # the mark of C's parser is one too


def _taken(event: yaml.Event, around: list[_Collection], known: dict[str, _Collection]) -> str | None:
    """Count what ends with an event where it stands, and by its anchor; returns what is wrong with it."""
    if isinstance(event, yaml.CollectionEndEvent):
        value = around.pop()
        value.levels += 1
    elif isinstance(event, yaml.ScalarEvent):
        value = _Collection(event.anchor)
    elif isinstance(event, yaml.AliasEvent):
        if any(each.anchor == event.anchor for each in around):
            return f"the alias *{event.anchor} stands within what it stands for"
        value = known.get(str(event.anchor), _Collection(None))  # an anchor that is not there: the loader says so
    else:
        return None
    if value.anchor is not None:
        known[value.anchor] = value
    if around:
        around[-1].values += value.values
        around[-1].levels = max(around[-1].levels, value.levels)
    if value.values > MOST_VALUES:
        return f"it has more than {MOST_VALUES} values, with what its aliases stand for"
    return TOO_DEEP if len(around) + value.levels > MOST_LEVELS else None
