"""Identities of what is asked: the same question under the same settings has the same one, on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from groundlake.transition.engines.base import seed_of
from groundlake.transition.inference.model_files import model_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundlake.transition.configuration.settings import DecodingSettings, KvSettings, Settings
    from groundlake.transition.data.prepared import Prepared, Summary

SHORT: Final = 24
LONG: Final = 32
"""Letters of a hash that are kept: 96 and 128 bits of it."""


def epoch_hash(settings: Settings, prepared: Prepared | Summary, known: str | None = None) -> str:
    """Return the hash of all that decides what is asked and how; answers of two of them are never mixed.

    It covers the settings of a run, the files of a local model, and where the questions come from. Which of the
    examples are chosen, the budgets and the repeats are not in it: a group may get more of them.

    Args:
        settings: The settings.
        prepared: The data set.
        known: Fingerprint of the model's files as a run had them, where they are not on this machine.
    """
    return _hash(
        {
            "settings": settings.settings_hash("run"),
            "dataset_id": prepared.dataset_id,
            "source_sha256": prepared.source_sha256,
            "tokenizer_fingerprint": prepared.tokenizer_fingerprint,
            "prompt_hash": prepared.prompt_hash,
            "model_files": model_files(settings) or known,
        },
        SHORT,
    )


def budget_id(exp_group_id: str, epoch: str, kv: KvSettings, budget: float) -> str:
    """Return the identity of a budget in its group; resumed work has the same one.

    Args:
        exp_group_id: The group.
        epoch: As `epoch_hash` gives it.
        kv: Policy and its parameters.
        budget: Fraction kept; 1 and 1.0 are the same.
    """
    told = [exp_group_id, epoch, kv.policy, canonical(kv.parameters), repr(float(budget))]
    return f"kv-{_hash(told, SHORT)}"


def request_id(budget: str, example_id: str, prompt_sha256: str, decoding: str, repeat: int) -> str:
    """Return the identity of a request.

    Args:
        budget: Identity of its budget.
        example_id: What is asked.
        prompt_sha256: Hash of the prompt as it is sent.
        decoding: As `decoding_json` gives it.
        repeat: 1, 2, 3, ...
    """
    return _hash([budget, example_id, prompt_sha256, decoding, repeat], LONG)


def decoding_json(decoding: DecodingSettings, max_tokens: int, repeat: int) -> str:
    """Return how an answer is made, as canonical JSON.

    Args:
        decoding: Settings.
        max_tokens: Longest answer, where the settings leave it to the task.
        repeat: 1, 2, 3, ...; each has a seed of its own.
    """
    seed = seed_of(decoding.seed, repeat)
    return canonical({"temperature": decoding.temperature, "max_tokens": max_tokens, "seed": seed})


def canonical(value: Mapping[str, Any]) -> str:
    """Write as JSON, in one way only."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _hash(told: object, length: int) -> str:
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
