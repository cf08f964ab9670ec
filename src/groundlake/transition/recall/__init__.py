"""A task with a known truth: a context of records, a question for the value of one, a small model that can do it.

`questions` makes the examples that lie in `data/`, `curriculum` and `train` the model that lies in `model/`, with its
`tokenizer`. What they show, and what not, is said in `model/README.md`.
"""

from __future__ import annotations

from pathlib import Path


def model_folder() -> Path:
    """Return the folder of the trained model, in the layout of transformers."""
    return Path(__file__).parent / "model"


def data_folder() -> Path:
    """Return the folder of the examples, in the format of LongBench."""
    return Path(__file__).parent / "data"
