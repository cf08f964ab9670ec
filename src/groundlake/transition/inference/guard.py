"""Keeps answers apart that were not asked alike: a group holds those of one data set, prompt and set of settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from groundlake.errors import UsageError
from groundlake.query_files import quoted
from groundlake.transition.configuration.mistakes import short
from groundlake.transition.configuration.projections import PROJECTIONS, flat, plain
from groundlake.transition.configuration.settings import TRANSFORMERS
from groundlake.transition.inference.identity import epoch_hash
from groundlake.transition.inference.model_files import model_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings
    from groundlake.transition.data.prepared import Prepared, Summary

SHOWN: Final = 3
NAME_AS_WELL: Final = " (another model.path does not inherit it: give model.name as well)"
DIGITS: Final = 12
"""Of a hash in a message."""
MODEL_FILES: Final = "model_files"
"""Under this name the fingerprint of a local model stands among the settings that a run keeps."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the latest run of a group was asked with.

    Attributes:
        epoch: Hash of all of it.
        dataset_id: Data set.
        source_sha256: Hash of its file.
        tokenizer: What counted its tokens.
        tokenizer_fingerprint: Hash of that.
        prompt_hash: Hash of the template of the prompt.
        settings: All settings, without secrets.
        model_files: Fingerprint of the files of a local model; None of an endpoint.
    """

    epoch: str
    dataset_id: str
    source_sha256: str | None
    tokenizer: str | None
    tokenizer_fingerprint: str
    prompt_hash: str
    settings: Mapping[str, Any]
    model_files: str | None


def held(lake: Lake, exp_group_id: str) -> Held | None:
    """Read what the latest run of a group was asked with; None where it was not asked yet."""
    if not lake.exists:
        return None
    rows = lake.sql(
        "SELECT c.settings_hash AS epoch, c.dataset_id, d.source_sha256, d.tokenizer, c.tokenizer_fingerprint, "  # noqa: S608 - a literal
        "c.prompt_hash, k.settings_json FROM kv_current_runs c "
        "JOIN kv_runs k ON k.hardware_id = c.hardware_id AND k.run_id = c.run_id "
        "LEFT JOIN kv_datasets d ON d.run_id = c.dataset_run_id "
        f"WHERE c.place = 1 AND c.exp_group_id = {quoted(exp_group_id)}"
    ).pl()
    if rows.is_empty():
        return None
    row = rows.row(0, named=True)
    told = json.loads(row.pop("settings_json"))
    return Held(settings=told, model_files=told.get(MODEL_FILES), **row)


def held_otherwise(settings: Settings, prepared: Prepared | Summary, lake: Lake) -> Held | None:
    """Return what the latest run of a group was asked with, where that is not as it would be now; else None.

    Args:
        settings: Settings of now.
        prepared: Data set of now.
        lake: Where the group is; one that was not asked yet has no other answers.
    """
    before = held(lake, prepared.exp_group_id)
    if before is None or before.epoch == epoch_hash(settings, prepared, before.model_files):
        return None
    return before


def require_same(settings: Settings, prepared: Prepared, lake: Lake, *, force: bool) -> str | None:
    """Return what differs from what the group holds, where that is let through; None where nothing differs.

    Args:
        settings: What is asked for now.
        prepared: Data set that is asked for now.
        lake: Where the group is.
        force: Let it through: the group begins anew under these settings.

    Raises:
        UsageError: Something differs; the message names it with both values.
    """
    before = held_otherwise(settings, prepared, lake)
    if before is None:
        return None
    found = list(differences(before, settings, prepared))
    if force:
        return "; ".join(found)
    raise UsageError(
        f"{_asked_differently(prepared.exp_group_id, found)}\n"
        "  give it another output.exp_group_id, or --force: it begins anew, and its answers no longer count"
    )


def require_asked_so(settings: Settings, prepared: Summary, lake: Lake) -> None:
    """Raise unless the answers that count are those of these settings, of the data set as it was prepared last.

    Raises:
        UsageError: Something differs; the message names it with both values.
    """
    before = held_otherwise(settings, prepared, lake)
    if before is None:
        return
    raise UsageError(
        f"{_asked_differently(prepared.exp_group_id, list(differences(before, settings, prepared)))}\n"
        "  lake kv run first (or restore the settings): --force begins the group anew, and its answers no longer count"
    )


def _asked_differently(exp_group_id: str, found: Sequence[str]) -> str:
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    shown = "\n  ".join([*found[:SHOWN], *more])
    return f"group {exp_group_id} holds answers that were asked differently\n  {shown}"


def differences(before: Held, settings: Settings, prepared: Prepared | Summary) -> Iterator[str]:
    """Name everything that differs, each with both values; never nothing."""
    found = [*_of_data(before, prepared), *_of_settings(before, settings)]
    now = model_files(settings) or before.model_files
    if before.model_files != now:
        found.append(f"model files: {_digits(before.model_files)} before, now {_digits(now)}")
    yield from found or ["settings: something that is not shown, or the rules by which they are compared"]


def files_of(settings: Settings, lake: Lake) -> str | None:
    """Return the fingerprint of a local model: that of its files, or, where they are elsewhere, of the latest run."""
    found = model_files(settings)
    if found is not None or settings.engine.type != TRANSFORMERS:
        return found
    before = held(lake, str(settings.output.exp_group_id))
    return None if before is None else before.model_files


def stored_settings(settings: Settings) -> dict[str, Any]:
    """Return all settings as a run keeps them: without secrets, and without where this package lies."""
    portable: dict[str, Any] = json.loads(json.dumps(plain(settings.resolved(), portable=True)))
    return portable


def _of_data(before: Held, prepared: Prepared | Summary) -> Iterator[str]:
    if before.dataset_id != prepared.dataset_id:
        yield f"data set: {before.dataset_id} before, now {prepared.dataset_id}"
    if before.source_sha256 != prepared.source_sha256:
        yield f"source: {_digits(before.source_sha256)} before, now {_digits(prepared.source_sha256)}"
    if before.tokenizer_fingerprint != prepared.tokenizer_fingerprint:
        was = f"{before.tokenizer} ({_digits(before.tokenizer_fingerprint)})"
        yield f"tokenizer: {was} before, now {prepared.tokenizer} ({_digits(prepared.tokenizer_fingerprint)})"
    if before.prompt_hash != prepared.prompt_hash:
        yield f"prompt: {_digits(before.prompt_hash)} before, now {_digits(prepared.prompt_hash)}"


def _of_settings(before: Held, settings: Settings) -> Iterator[str]:
    was, now = flat(_projected(before.settings)), flat(_projected(stored_settings(settings)))
    for key in dict.fromkeys([*was, *now]):
        if was.get(key) != now.get(key):
            dropped = key == "model.name" and now.get(key) is None and settings.model.path is not None
            yield f"{key}: {short(was.get(key))} before, now {short(now.get(key))}{NAME_AS_WELL if dropped else ''}"


def _projected(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of all settings that decide what is asked and how."""
    chosen: dict[str, Any] = {}
    for key in PROJECTIONS["run"][1]:
        value: Any = settings
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        chosen[key] = value
    return chosen


def _digits(sha256: str | None) -> str:
    return "unknown" if sha256 is None else sha256[:DIGITS]
