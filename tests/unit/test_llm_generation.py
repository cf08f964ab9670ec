"""What is asked, and what came."""

from __future__ import annotations

import subprocess
import sys

import pytest

from groundlake.errors import UsageError
from groundlake.llm import Decoding, Failure, Generation


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"stop": ("a", "")}, "stop"),
        ({"stop": "abc"}, "stop"),
    ],
)
def test_a_decoding_that_cannot_be_meant_is_refused(wrong: dict, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Decoding(**wrong)


def test_a_generation_is_an_answer_unless_something_failed() -> None:
    answer = {"text": "", "sent_s": 0.0, "finished_s": 1.0, "token_timing": "streaming"}
    assert Generation(**answer).ok
    assert not Generation(**answer, error=Failure(code="empty", message="no text")).ok


@pytest.mark.parametrize("module", ["llm", "llm.endpoint", "llm.local", "llm.tiny"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = (
        f"import sys, groundlake.{module}\n"
        "print({'torch', 'transformers', 'torchvision', 'httpx2', 'anyio', 'polars', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
