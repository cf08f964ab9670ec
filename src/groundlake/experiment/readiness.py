"""Whether a backend can work at all: what has to be installed, and whether an endpoint is there."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING

from groundlake.errors import MissingDependencyError
from groundlake.experiment.doubting import kinds
from groundlake.experiment.plan import OPENAI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundlake.llm.generation import Generation

HOPELESS = ("connection", "tls", "timeout", "http_401", "http_403", "http_404")
"""Failures that the next request meets, too."""


class AllFailedError(Exception):
    """No request has, or can have, an answer; a runner turns it into a failed run."""


def require_backend(backend: str) -> None:
    """Raise unless what a backend needs is installed; nothing heavy is imported.

    Raises:
        MissingDependencyError: It is not; the message says what to install.
    """
    if backend == OPENAI:
        from groundlake.llm.endpoint import require_httpx2

        require_httpx2()
        return
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"--backend {backend} needs {' and '.join(missing)}\n  pip install 'groundlake[measure,transformers]'"
        )


def refuse_a_dead_endpoint(warmup: Sequence[Generation]) -> None:
    """Raise where every request of the warm-up failed in a way that no later one will mend.

    A server that is not there may need minutes to say so, each time.
    """
    errors = [each.error for each in warmup if each.error is not None]
    if errors and len(errors) == len(warmup) and all(error.code in HOPELESS for error in errors):
        failures = Counter(error.code for error in errors)
        raise AllFailedError(f"all requests of the warm-up failed ({kinds(failures)}): {errors[0].message}")
