"""Reads the settings of an evaluation: the packaged defaults, the file, overrides, and variables, in this order.

    extends: submission            # a packaged profile, or a file beside this one; default where it is left out
    dataset: {task: qasper, path: data/longbench}
    model: {name: "${MODEL_NAME}"}
    kv: {policy: snapkv, budgets: [1.0, 0.5]}

Mappings are merged key by key; lists and values replace those below. The group (`output.exp_group_id`) is not taken
over from what is extended: a file that names none is called by its own name. Variables come from the environment, then
from `.env` beside the file (of a packaged profile: in the working directory). Paths of data and models are relative to
the file in which they stand; with a variable in them and on the command line, to the same folder as `.env`. A path
that begins with `groundlake:`, as stored settings have it, lies in the package.
"""

from __future__ import annotations

import copy
import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import yaml

from groundlake.documents import UniqueKeyLoader
from groundlake.errors import UsageError
from groundlake.transition.configuration import variables
from groundlake.transition.configuration.mistakes import dotted, field_type, find_mistakes, short
from groundlake.transition.configuration.overrides import read_overrides, typed
from groundlake.transition.configuration.projections import PACKAGED, SHIPPED, packaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from groundlake.transition.configuration.settings import Settings

CONFIGS = Path(__file__).parent / "configs"
DEFAULT = "default"
SHOWN_MISTAKES = 5
LONGEST_CHAIN = 10

PATHS = (("dataset", "path"), ("tokenizer", "path"), ("model", "path"))

DEPENDENTS = {
    "engine.type": (
        *(f"engine.{key}" for key in ("base_url", "api_key_env", "headers", "concurrency", "device", "dtype")),
        *("model.precision", "kv.apply", "kv.base_urls", "kv.extra_body", "kv.evidence", "run.pacing"),
    ),
    "kv.policy": ("kv.parameters",),
    "kv.apply": ("kv.base_urls", "kv.extra_body"),
    "model.path": ("tokenizer.name", "tokenizer.path"),
    "sampling.strategy": tuple(
        f"sampling.{key}" for key in ("focus_bins", "focus_radius_bins", "focus_n_per_bin", "base_n_per_bin")
    ),
}
"""Key to those that belong to its value: a file that changes the one does not inherit the others.

Another local model has another tokenizer: its own, unless the file says otherwise.
"""

ALTERNATIVES = (
    ("dataset.path", "dataset.download"),
    ("dataset.pinned_example_ids", "dataset.sanity_slices"),
    ("tokenizer.name", "tokenizer.path"),
    ("model.name", "model.path"),
)
"""Keys that stand for each other: a file that gives the one does not inherit the other."""


FREE: Final = (("kv", "extra_body"), ("kv", "parameters"))
"""Mappings whose keys are anybody's: a null in them drops a key that is inherited."""

Where = tuple["str | int | float", ...]
"""Where a value stands: names of keys and places in lists."""


@dataclass(frozen=True)
class Layer:
    """One of the sources of settings.

    Attributes:
        name: What messages call it.
        folder: What paths in it are relative to.
        data: What it says.
        base: The layer that it extends, by name or path; None for the lowest one.
    """

    name: str
    folder: Path
    data: dict[str, Any] = field(default_factory=dict)
    base: str | None = None


def load_settings(
    path: str | Path,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    *,
    options: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """Read the settings of an evaluation.

    Args:
        path: A YAML file, or the name of a packaged profile.
        overrides: Further settings `a.b=value`, over those of the file.
        environment: Variables.
        options: Settings that have an option of their own, over all others: `a.b=value` by the name of the option,
            which messages then say.

    Raises:
        UsageError: A file cannot be read, a variable is missing, or a setting is wrong; the message has the path of
            every wrong key, and no secret.
    """
    file = find_config(path)
    home = Path.cwd() if file.parent == CONFIGS else file.absolute().parent
    told = {"--override": overrides} | {name: (text,) for name, text in options.items()}
    above = [Layer(name, home, _checked_sections(read_overrides(texts), name)) for name, texts in told.items()]
    layers = [*_chain(file), *above]
    merged: dict[str, Any] = {}
    origins: dict[Where, Layer] = {}
    for layer in layers:
        _forget(merged, layer, origins)
        _merge(merged, layer.data, layer, origins)
    known = {**variables.read_env(home / ".env"), **environment}
    filled = _Filled(known, home)
    data = filled.tree(merged, ())
    filled.missing += _locate(data, merged, origins, home)
    output = data.get("output", {})
    if isinstance(output, dict) and output.get("exp_group_id") is None:
        data["output"] = output | {"exp_group_id": re.sub(r"[^A-Za-z0-9._-]+|^[._-]+", "-", file.stem).strip("-")}
    settings, mistakes = find_mistakes(data, [where for where, _ in filled.missing])
    mistakes = filled.missing + mistakes
    api_key = known.get(settings.engine.api_key_env or "") or None if settings else None
    secrets = tuple({*filled.secrets, *((api_key,) if api_key and len(api_key) >= variables.SECRET_LENGTH else ())})
    if mistakes or settings is None:
        found = [f"{dotted(where)}: {text}{_origin(where, origins, file)}" for where, text in mistakes]
        raise UsageError(variables.masked(_message(file, found), secrets))
    settings.keep_secrets(api_key=api_key, secrets=secrets)
    return settings


def profiles() -> list[tuple[str, str]]:
    """Return the packaged profiles, the default first: name and what its first comment says."""
    files = sorted(CONFIGS.glob("*.yaml"), key=lambda file: (file.stem != DEFAULT, file.stem))
    return [(file.stem, file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()) for file in files]


def find_config(path: str | Path, folder: Path = Path()) -> Path:
    """Return the file of settings that a path or the name of a profile means.

    Args:
        path: A file; a text without a suffix that is none names a profile.
        folder: What it is relative to.

    Raises:
        UsageError: There is neither.
    """
    file = folder / Path(path).expanduser()
    if file.is_file():
        return file
    names = [name for name, _ in profiles()]
    text = str(path)
    if text in names:
        return CONFIGS / f"{text}.yaml"
    if Path(text).suffix or len(Path(text).parts) > 1:
        raise UsageError(f"{file}: there is no such file" if not file.exists() else f"{file}: is no file")
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"there is neither a file nor a packaged profile {text!r}; {hint}")


def _chain(file: Path) -> list[Layer]:
    """Read a file and what it extends; the lowest comes first."""
    layers: list[Layer] = []
    seen: list[Path] = []
    here: Path | None = file
    while here is not None:
        if here.resolve() in seen or len(seen) == LONGEST_CHAIN:
            raise UsageError(f"{file}: extends: {here.name} extends itself, or more than {LONGEST_CHAIN} files")
        seen.append(here.resolve())
        layer = _read(here)
        layers.append(layer)
        here = None if layer.base is None else find_config(layer.base, layer.folder)
    for layer in layers[1:]:  # a group is one evaluation: whoever extends it must not write into it unasked
        if isinstance(output := layer.data.get("output"), dict):
            output.pop("exp_group_id", None)
    return layers[::-1]


def _read(file: Path) -> Layer:
    try:
        text = file.read_bytes().decode("utf-8-sig")
        data = yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: byte {error.start} is no UTF-8; save the file as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{file}{where}: no YAML: {getattr(error, 'problem', None) or error}") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UsageError(f"{file}: settings are a mapping of sections, such as dataset and model; got {short(data)}")
    lowest = file.parent == CONFIGS and file.stem == DEFAULT
    base = data.pop("extends", None if lowest else DEFAULT)
    if base is not None and not isinstance(base, str):
        raise UsageError(f"{file}: extends: got {short(base)}, wanted the name of a profile or a path")
    return Layer(file.name, file.absolute().parent, _checked_sections(data, str(file)), base)


def _checked_sections(data: dict[Any, Any], source: str) -> dict[str, Any]:
    """Refuse keys that are no texts, which no path can name."""
    strange = [key for key in data if not isinstance(key, str)]
    if strange:
        raise UsageError(f"{source}: {short(strange[0])}: no such key; the names of sections are texts")
    return data


def _forget(merged: dict[str, Any], layer: Layer, origins: dict[Where, Layer]) -> None:
    """Do not inherit what belongs to another value of a key, or stands for a key that is given."""
    dropped: list[str] = []
    for key, others in DEPENDENTS.items():
        told, before = _told(layer, key), origins.get(tuple(key.split(".")))
        if told is not None and (before is None or told != _told(before, key)):
            dropped += others
    for pair in ALTERNATIVES:
        given = [key for key in pair if _get(layer.data, key)]
        for other in pair:
            if given and other not in given:
                dropped += (other, *(DEPENDENTS.get(other, ()) if _get(merged, other) else ()))
    for each in dropped:
        _drop(merged, each, origins)


def _told(layer: Layer, key: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return what a layer says of a key; a path with the folder that it is relative to."""
    value = _get(layer.data, key)
    is_path = tuple(key.split(".")) in PATHS and isinstance(value, str) and "${" not in value
    return os.path.normpath(layer.folder / value) if is_path else value


def _get(data: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - whatever the file holds
    section, name = key.split(".")
    keys = data.get(section)
    return keys.get(name) if isinstance(keys, dict) else None


def _drop(data: dict[str, Any], key: str, origins: dict[Where, Layer]) -> None:
    section, name = key.split(".")
    if isinstance(data.get(section), dict):
        data[section].pop(name, None)
    for where in [where for where in origins if where[:2] == (section, name)]:
        del origins[where]


def _merge(
    merged: dict[Any, Any],
    data: Mapping[Any, Any],
    layer: Layer,
    origins: dict[Where, Layer],
    above: Where = (),
) -> None:
    """Put one layer over the others, and note whose each key is now."""
    for key, value in data.items():
        path = (*above, key)
        if isinstance(value, dict):
            if not isinstance(merged.get(key), dict):
                merged[key] = {}
                origins[path] = layer
            if value:  # what is wrong with a mapping as a whole is so by the last that was put into it
                origins[path] = layer
            _merge(merged[key], value, layer, origins, path)
        elif value is None and key in merged and above[:2] in FREE:
            del merged[key]
            for where in [where for where in origins if where[: len(path)] == path]:
                del origins[where]
        else:
            merged[key] = copy.deepcopy(value)
            origins[path] = layer


class _Filled:
    """Puts the values of variables into settings, and remembers those that are missing, and the secrets."""

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self._environment = environment
        self.home = home
        self.missing: list[tuple[Where, str]] = []
        self.secrets: set[str] = set()

    def tree(self, value: Any, path: Where) -> Any:  # noqa: ANN401 - whatever the files hold
        """Return settings with the values of variables in them; what stands under a key that there is not stays."""
        is_known = field_type(path) is not None
        if is_known and isinstance(value, dict):
            return {key: self.tree(each, (*path, key)) for key, each in value.items()}
        if is_known and isinstance(value, list):
            return [self.tree(each, (*path, place)) for place, each in enumerate(value)]
        if not is_known or not isinstance(value, str):
            return value
        is_named = any(isinstance(part, str) and variables.sounds_secret(part) for part in path)
        if "${" not in value:
            self.secrets |= variables.secrets_in(value) if is_named else set()
            return value
        keep = variables.PLACEHOLDERS if path[:2] == ("kv", "extra_body") else ()
        try:
            text = variables.filled(value, self._environment, keep=keep)
        except variables.MissingVariableError as error:
            self.missing.append((path, str(error)))
            return None
        for name in variables.names(value):
            told = self._environment.get(name, "")
            self.secrets |= {told} if variables.is_secret(name, told) else set()
            self.secrets |= variables.secrets_in(told) if is_named else set()
        self.secrets |= variables.secrets_in(text) if is_named else set()
        return self._with_type(text, path)

    def _with_type(self, text: str, path: Where) -> Any:  # noqa: ANN401 - whatever the variable holds
        """A variable is a text; its key may be a number. In free fields of a request it stays a text."""
        kind = field_type(path)
        if kind is None or kind is Any:
            return text
        try:
            return typed(text, kind)
        except yaml.YAMLError:
            return text


def _locate(
    data: dict[str, Any], merged: dict[str, Any], origins: Mapping[Where, Layer], home: Path
) -> list[tuple[Where, str]]:
    """Make paths absolute, each from the folder of the file it stands in; returns what the package has not."""
    mistakes: list[tuple[Where, str]] = []
    for section, name in PATHS:
        value = _get(data, f"{section}.{name}")
        if not isinstance(value, str) or not value or "://" in value:
            continue
        if value.startswith(PACKAGED):
            found = packaged(value)
            data[section][name] = found
            mistakes += [] if found else [((section, name), f"got {short(value)}; {_what_is_packaged()}")]
            continue
        written = _get(merged, f"{section}.{name}")
        folder = home if "${" in str(written) else origins[section, name].folder
        data[section][name] = os.path.normpath(folder / Path(value).expanduser())
    return mistakes


def _what_is_packaged() -> str:
    named = [f"{PACKAGED}{each}" for each in SHIPPED]
    return f"the package has {' and '.join(named)}; any other path is written without {PACKAGED}"


def _origin(path: Where, origins: Mapping[Where, Layer], file: Path) -> str:
    """Say where a wrong key stands, or the nearest that it stands in, unless it stands in the very file."""
    told = dotted(path)
    known = {spelled: layer for where, layer in origins.items() if len(where) > 1 for spelled in _spellings(where)}
    around = [key for key in known if told == key or told.startswith((f"{key}.", f"{key}["))]
    if not around:
        return ""
    layer = known[max(around, key=len)]
    if layer.name != file.name:
        return f" ({layer.name})"
    return "" if layer.folder == file.absolute().parent else f" ({layer.folder / layer.name})"


def _spellings(where: Where) -> Iterator[str]:
    """Write a path in all ways that messages do: the key 1 of a mapping of budgets is its 1.0."""
    yield dotted(where)
    yield dotted(tuple(float(part) if isinstance(part, int) else part for part in where))


def _message(file: Path, told: Sequence[str]) -> str:
    """Name the first mistakes in full, and the paths of all others."""
    if len(told) == 1:
        return f"{file}: {told[0]}"
    first, rest = list(told), []
    if len(told) > SHOWN_MISTAKES:
        first, rest = list(told[: SHOWN_MISTAKES - 1]), list(told[SHOWN_MISTAKES - 1 :])
    lines = [f"{file}: {len(told)} mistakes", *(f"  {text}" for text in first)]
    if rest:
        lines.append(f"  and {len(rest)} more: {', '.join(text.partition(': ')[0] for text in rest)}")
    return "\n".join(lines)
