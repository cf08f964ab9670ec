"""Identities of experiments that other tools name only by a model and a second."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundlake.experiment.result import ExperimentResult

EXPERIMENTS = uuid.UUID("8f0d1ad5-3f5c-5a3c-9d0b-5a3a6ff4a4a1")
"""Namespace of the ids that are made of what a result says."""

NOT_CONTENT = frozenset({"schema_version", "timeseries", "timeseries_sha256"})
"""Fields that may differ between two files of one experiment: a copy may lack the sidecar, `save` sets the version."""


def content_id(result: ExperimentResult) -> str:
    """Derive a run id from what a result says: a UUIDv5 of its canonical JSON, wherever its file lies."""
    said = result.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return _id({name: value for name, value in said.items() if name not in NOT_CONTENT})


def processes_id(experiment_id: str, started: str | None, total_tokens: int | None) -> str:
    """Derive a run id from what a result and its single processes both say.

    Results of processes that were put together here have it, so that they are known as the same experiment when its
    whole result comes, and the other way round.

    Args:
        experiment_id: Name that the tool gave.
        started: First start, as the files have it, in ISO 8601.
        total_tokens: Tokens of prompts and answers of all processes.
    """
    return _id(["processes", experiment_id, started, total_tokens])


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID as this project writes it."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _id(said: object) -> str:
    return str(uuid.uuid5(EXPERIMENTS, json.dumps(said, sort_keys=True, separators=(",", ":"))))
