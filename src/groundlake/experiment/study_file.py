"""Reads the file of a study: which configurations it asks for, and where in the file each of their settings stands.

    study: batches of a small model
    cycles: 5
    order: shuffled          # sequential, interleaved
    seed: 1                  # of the order
    gap_s: 30
    base: {backend: transformers, model: ./llama, prompts: prompts.txt, max_new_tokens: 128}
    grid: {batch: [1, 4, 16], dtype: [fp16, bf16]}
    configurations:
      - {batch: 64, dtype: bf16}

Settings have the names and defaults of the options of `lake experiment run`. The grid is every combination of its
values; `configurations` are further ones. Each is `base` with what it says itself. Paths are relative to the file.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from groundlake.documents import UniqueKeyLoader
from groundlake.errors import UsageError
from groundlake.experiment.plan import TRANSFORMERS
from groundlake.experiment.settings import UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES = (".yaml", ".yml", ".json")
SEQUENTIAL, INTERLEAVED, SHUFFLED = "sequential", "interleaved", "shuffled"
ORDERS = (SEQUENTIAL, INTERLEAVED, SHUFFLED)
KEYS = ("study", "cycles", "order", "seed", "gap_s", "base", "grid", "configurations")
MOST_EXPERIMENTS = 10_000
"""More are a slip: at a minute each they would take a week."""

LONGEST_NAME = 100
SHOWN_MISTAKES = 5

TEXT, WHOLE, NUMBER, FLAG = "a text", "a whole number", "a number", "true or false"
OPTIONS = {
    **dict.fromkeys(("backend", "model", "prompts", "dtype", "power"), TEXT),
    **dict.fromkeys(("hw", "base_url", "device", "precision", "name", "note"), TEXT),
    **dict.fromkeys(("n", "max_new_tokens", "batch", "concurrency", "processes", "warmup", "seed"), WHOLE),
    **dict.fromkeys(("baseline", "power_hz", "temperature", "timeout"), NUMBER),
    **dict.fromkeys(("remote", "completions", "ignore_eos"), FLAG),
}
"""Options of `lake experiment run` that a configuration may set, and what each is."""

UNSET = ("hw", "base_url", "device", "precision", "name", "note", "seed")
"""Options that may be null, which is their default."""

REQUIRED = ("backend", "model", "prompts")
ELSEWHERE = {
    "repeat": "cycles at the top of the file says how often each configuration is measured",
    "cycle": "cycles at the top of the file says how often each configuration is measured",
    "session": "the name of the study is the session of its runs",
    "save": "results are in the lake; lake experiment csv writes them",
    "export_csv": "results are in the lake; lake experiment csv writes them",
    **dict.fromkeys(("wait", "force", "dry_run"), "it is an option of lake experiment study run"),
}
"""Options that a study has otherwise, or not."""


@dataclass(frozen=True)
class Configuration:
    """What one configuration sets, and where.

    Attributes:
        settings: Values by option; options that are left out have their default.
        places: Path in the file of each.
    """

    settings: Mapping[str, Any]
    places: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """What a file of a study asks for.

    Attributes:
        path: The file.
        name: Name of the study.
        cycles: How often each configuration is measured.
        order: sequential (all cycles of a configuration, then the next one), interleaved (all configurations, then the
            next cycle) or shuffled (the same, each cycle in an order of its own).
        seed: Decides the shuffled order.
        gap_s: Pause between two experiments, in s.
        configurations: All of them, as they stand in the file.
    """

    path: Path
    name: str
    cycles: int = 1
    order: str = SEQUENTIAL
    seed: int = 0
    gap_s: float = 0.0
    configurations: tuple[Configuration, ...] = ()

    def refusal(self, mistakes: Sequence[str]) -> UsageError:
        """Make the error that names what is wrong with the file."""
        return _refusal(self.path, mistakes)


def read_study(path: Path) -> StudyFile:
    """Read the file of a study.

    Raises:
        UsageError: It cannot be read, or something in it is wrong; the message has the path of every wrong key.
    """
    data = _mapping(path)
    mistakes = list(_mistakes(data))
    if mistakes:
        raise _refusal(path, mistakes)
    configurations = tuple(_located(each, path.absolute().parent) for each in _configurations(data))
    mistakes = list(_incomplete(configurations))
    if mistakes:
        raise _refusal(path, mistakes)
    told = {name: data[name] for name in ("cycles", "order", "seed") if name in data}
    gap_s = float(data.get("gap_s", 0.0))
    return StudyFile(path=path, name=data["study"], gap_s=gap_s, configurations=configurations, **told)


def is_study_file(text: str) -> bool:
    """Whether a text names a file of a study, rather than a study: the names of studies do not end like files."""
    return Path(text).suffix in SUFFIXES


def _mapping(path: Path) -> dict[Any, Any]:
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: a study is in a file that ends in {', '.join(SUFFIXES)}")
    try:
        data = yaml.load(path.read_bytes().decode("utf-8-sig"), Loader=UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is no UTF-8; save the file as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: no YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a study is a mapping with the keys {', '.join(KEYS)}; got {_short(data)}")
    return data


def _mistakes(data: Mapping[Any, Any]) -> Iterator[str]:
    """Every mistake that can be seen without knowing what the settings mean together."""
    yield from (_unknown(str(key), KEYS, "") for key in data if key not in KEYS)
    yield from _name_mistakes(data.get("study"))
    cycles = data.get("cycles", 1)
    if not _is(WHOLE, cycles) or cycles < 1:
        yield f"cycles: got {_short(cycles)}, wanted a whole number of at least 1"
    if data.get("order", SEQUENTIAL) not in ORDERS:
        yield f"order: got {_short(data['order'])}, wanted one of {', '.join(ORDERS)}"
    elif "seed" in data and data.get("order") != SHUFFLED:
        yield f"seed: it is that of order: {SHUFFLED}; for the seed of sampling write base.seed"
    if "seed" in data and not _is(WHOLE, data["seed"]):
        yield f"seed: got {_short(data['seed'])}, wanted a whole number"
    gap_s = data.get("gap_s", 0.0)
    if not _is(NUMBER, gap_s) or not 0 <= gap_s < math.inf:
        yield f"gap_s: got {_short(gap_s)}, wanted a number of seconds of at least 0"
    if "base" in data:
        yield from _setting_mistakes(data["base"], "base")
    yield from _grid_mistakes(data.get("grid", {}))
    yield from _list_mistakes(data)


def _name_mistakes(name: Any) -> Iterator[str]:  # noqa: ANN401 - whatever the file holds
    if name is None:
        yield "study: the name of the study is missing"
    elif not isinstance(name, str):
        yield f"study: got {_short(name)}, wanted a text; put it in quotes"
    elif name.strip().lower() in UNDECIDED or name != name.strip() or not name.isprintable():
        yield f"study: {_short(name)} cannot be the name of a study; take a word or a few"
    elif len(name) > LONGEST_NAME:
        yield f"study: the name has {len(name)} characters; at most {LONGEST_NAME}"
    elif is_study_file(name):
        yield f"study: {_short(name)} looks like a file; leave {Path(name).suffix} out"


def _setting_mistakes(settings: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - the same
    """Mistakes of a mapping of options to values."""
    if not isinstance(settings, dict):
        yield f"{path}: got {_short(settings)}, wanted options of lake experiment run and their values"
        return
    for key, value in settings.items():
        yield from _key_mistakes(key, path) or _value_mistakes(str(key), value, f"{path}.{key}")


def _grid_mistakes(grid: Any) -> Iterator[str]:  # noqa: ANN401 - the same
    if not isinstance(grid, dict):
        yield f"grid: got {_short(grid)}, wanted options of lake experiment run, each with a list of values"
        return
    for key, values in grid.items():
        wrong = _key_mistakes(key, "grid")
        yield from wrong
        if wrong:
            continue
        if not isinstance(values, list) or not values:
            yield f"grid.{key}: got {_short(values)}, wanted a list of values"
            continue
        for place, value in enumerate(values):
            yield from _value_mistakes(key, value, f"grid.{key}[{place}]")
            if any(value == other and type(value) is type(other) for other in values[:place]):
                yield f"grid.{key}[{place}]: {_short(value)} stands there twice"


def _list_mistakes(data: Mapping[Any, Any]) -> Iterator[str]:
    """Mistakes of the further configurations, and of the size of it all."""
    listed, grid, cycles = data.get("configurations", []), data.get("grid", {}), data.get("cycles", 1)
    if not isinstance(listed, list):
        yield f"configurations: got {_short(listed)}, wanted a list of overrides of base"
        return
    for place, settings in enumerate(listed):
        yield from _setting_mistakes(settings, f"configurations[{place}]")
    if isinstance(grid, dict) and all(isinstance(values, list) for values in grid.values()) and _is(WHOLE, cycles):
        number = (math.prod(map(len, grid.values())) + len(listed)) * cycles
        if number > MOST_EXPERIMENTS:
            yield f"cycles: {number} experiments in all; at most {MOST_EXPERIMENTS} in one study"


def _key_mistakes(key: Any, path: str) -> list[str]:  # noqa: ANN401 - the same
    if key in OPTIONS:
        return []
    name = str(key).removeprefix("--").replace("-", "_")
    if name in ELSEWHERE:
        return [f"{path}.{key}: {ELSEWHERE[name]}"]
    return [_unknown(name if name in OPTIONS else str(key), tuple(OPTIONS), f"{path}.", shown=str(key))]


def _value_mistakes(option: str, value: Any, path: str) -> list[str]:  # noqa: ANN401 - the same
    if (value is None and option in UNSET) or _is(OPTIONS[option], value):
        return []
    quotes = "; put it in quotes" if OPTIONS[option] == TEXT and isinstance(value, (int, float)) else ""
    return [f"{path}: got {_short(value)}, wanted {OPTIONS[option]}{quotes}"]


def _is(kind: str, value: Any) -> bool:  # noqa: ANN401 - the same
    if kind == FLAG:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    wanted: dict[str, tuple[type, ...]] = {TEXT: (str,), WHOLE: (int,), NUMBER: (int, float)}
    return isinstance(value, wanted[kind])


def _configurations(data: Mapping[str, Any]) -> Iterator[Configuration]:
    """All combinations of the grid, then the further ones; the base alone where there is neither."""
    base, grid, listed = data.get("base", {}), data.get("grid", {}), data.get("configurations", [])
    of_base = {option: f"base.{option}" for option in base}
    if grid or not listed:
        for places in itertools.product(*(range(len(values)) for values in grid.values())):
            chosen = dict(zip(grid, places, strict=True))
            yield Configuration(
                base | {option: grid[option][place] for option, place in chosen.items()},
                of_base | {option: f"grid.{option}[{place}]" for option, place in chosen.items()},
            )
    for number, settings in enumerate(listed):
        yield Configuration(
            base | settings, of_base | {option: f"configurations[{number}].{option}" for option in settings}
        )


def _incomplete(configurations: Sequence[Configuration]) -> Iterator[str]:
    for option in REQUIRED:
        lacking = sum(option not in each.settings for each in configurations)
        if lacking:
            yield f"base.{option}: missing, and {lacking} of {len(configurations)} configurations do not set it"


def _located(configuration: Configuration, folder: Path) -> Configuration:
    """Read paths from the folder of the file: a study is the same wherever it is run from."""
    settings = {name: value for name, value in configuration.settings.items() if value is not None}
    for option in ("prompts", "power", "model"):
        value = settings.get(option)
        if value is None or (option == "power" and value in ("auto", "none")):
            continue
        place = folder / Path(value).expanduser()
        is_path = option != "model" or value.startswith((".", "/", "~")) or place.exists()
        if is_path and (option != "model" or settings.get("backend") == TRANSFORMERS):
            settings[option] = str(place)
    return Configuration(settings, configuration.places)


def _unknown(key: str, known: Sequence[str], path: str, *, shown: str | None = None) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"{path}{shown or key}: no such key; {hint}"


def _refusal(path: Path, mistakes: Sequence[str]) -> UsageError:
    """Name as many mistakes as a message holds."""
    first = list(mistakes[:SHOWN_MISTAKES])
    if len(mistakes) > len(first):
        first[-1] = f"and {len(mistakes) - len(first) + 1} more"
    if len(first) == 1:
        return UsageError(f"{path}: {first[0]}")
    return UsageError("\n".join([f"{path}: {len(mistakes)} mistakes", *(f"  {text}" for text in first)]))


def _short(value: Any) -> str:  # noqa: ANN401 - whatever the file holds
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004 - enough to recognize it
