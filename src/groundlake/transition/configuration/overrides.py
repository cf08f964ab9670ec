"""Settings of the command line: `--override dataset.n_per_bin=10`, each with the type that its key has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

from groundlake.documents import MOST_LEVELS, TOO_DEEP, UniqueKeyLoader
from groundlake.errors import UsageError
from groundlake.transition.configuration.mistakes import field_type, optional_of

if TYPE_CHECKING:
    from collections.abc import Sequence

NULLS = ("", "~", "null", "Null", "NULL")


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return overrides as the mapping that a file with the same settings would hold; the last of a key counts.

    Args:
        overrides: Texts `a.b=value`, the value in YAML.

    Raises:
        UsageError: One of them has no sign, no key, or a value that is no YAML.
    """
    found: dict[str, Any] = {}
    for text in overrides:
        key, sign, value = text.partition("=")
        names = key.strip().split(".")
        if not sign or not all(names):
            raise UsageError(f"--override {key}: wanted a key and a value, such as dataset.n_per_bin=10")
        if len(names) > MOST_LEVELS:
            raise UsageError(f"--override {key[:40]}...: {TOO_DEEP}")
        inner = found
        for name in names[:-1]:
            if not isinstance(inner.get(name), dict):
                inner[name] = {}
            inner = inner[name]
        path = tuple(names)
        try:
            inner[names[-1]] = typed(value, field_type(path))
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or "it is not complete"
            raise UsageError(f"--override {key}: the value is no YAML: {problem}") from None
    return found


def typed(text: str, annotation: Any) -> Any:  # noqa: ANN401 - a type, and whatever the text holds
    """Read a value as YAML with the type that its key has, so that a name of digits stays a text.

    What cannot be read as that type is returned as YAML has it, for the check of all settings to name.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    wanted, optional = optional_of(annotation)
    if wanted is str or get_origin(wanted) is Literal:
        return _text(text, optional=optional)
    loader = UniqueKeyLoader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _built(node, wanted, loader)
    finally:
        loader.dispose()


def _text(text: str, *, optional: bool) -> str | None:
    """Read a text, which needs no quotes, whatever is in it."""
    told = text.strip()
    if optional and told in NULLS:
        return None
    if told[:1] in ("'", '"'):
        try:
            read = yaml.load(told, Loader=UniqueKeyLoader)  # noqa: S506 - a SafeLoader
        except yaml.YAMLError:
            return told
        return read if isinstance(read, str) else told
    return told


def _built(node: yaml.Node, annotation: Any, loader: UniqueKeyLoader) -> Any:  # noqa: ANN401 - the same
    """Make the value of a node, with the types of the keys below it."""
    wanted, optional = optional_of(annotation)
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_object(node, deep=True)
        if wanted is str or get_origin(wanted) is Literal:
            return None if value is None and optional else node.value
        return _number(value) if wanted is float else value
    if isinstance(node, yaml.SequenceNode) and get_origin(wanted) is tuple:
        return [_built(each, get_args(wanted)[0], loader) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        own = loader.construct_mapping(node, deep=True)  # which refuses keys that are given twice
        if len(own) != len(node.value):
            return own  # keys are merged into it with <<
        kinds = [_kind_of(key, wanted) for key in own]
        values = [_built(each, kind, loader) for (_, each), kind in zip(node.value, kinds, strict=True)]
        return dict(zip(own, values, strict=True))
    return loader.construct_object(node, deep=True)


def _kind_of(key: object, annotation: Any) -> Any:  # noqa: ANN401 - the same
    """Return the type of what a mapping holds under a key."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(key))
        return field.annotation if field else None
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


def _number(value: Any) -> Any:  # noqa: ANN401 - the same
    """Read 1e-3 as a number, which YAML 1.1 takes for a text without a point."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
