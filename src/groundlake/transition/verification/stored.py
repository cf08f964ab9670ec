"""Checks of the settings that runs hold: all of them are there, and no secret is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from groundlake.transition.configuration.variables import HIDDEN
from groundlake.transition.verification.check import Check, judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from groundlake.transition.configuration.settings import Settings


def stored_checks(settings: Settings, runs: pl.DataFrame) -> Iterator[Check]:
    """Check the settings that are stored with the runs of a group.

    Args:
        settings: The settings of now, which know what is secret.
        runs: Rows of `kv_runs` of the group.
    """
    stored = [(row["run_id"], parsed(row["settings_json"])) for row in runs.sort("run_id").to_dicts()]
    sections = set(type(settings).model_fields)
    missing = [
        f"run {run_id}: expected {', '.join(sorted(sections))}, found no {', '.join(sorted(sections - set(told)))}"
        for run_id, told in stored
        if sections - set(told)
    ]
    nothing = [] if stored else ["nothing was asked yet"]
    yield judged(
        "run.stored_settings",
        nothing + missing,
        fine=f"{len(stored)} runs hold their resolved settings",
        mend="lake kv run",
    )
    addresses = dict(runs.select("run_id", "base_url").rows())
    shown = [
        f"run {run_id} holds a secret"
        for run_id, told in stored
        if settings.reveals([told, addresses[run_id]]) or _shows_headers(told)
    ]
    yield judged(
        "run.secrets",
        nothing + shown,
        fine="no run holds a key, a password or the value of a header",
        mend="change the secret, and retract the run",
    )


def parsed(text: str) -> dict[str, Any]:
    """Read settings as a run holds them; empty where they are none."""
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _shows_headers(told: dict[str, Any]) -> bool:
    headers = (told.get("engine") or {}).get("headers") or {}
    return any(value != HIDDEN for value in headers.values())
