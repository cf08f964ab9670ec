"""Language models behind one form of answer: OpenAI-compatible endpoints, and models in this process.

`groundlake.llm.endpoint` asks an endpoint, `groundlake.llm.local` a model that `transformers` loads, and
`groundlake.llm.tiny` makes a small random one. They load what they need; this module loads nothing.
"""

from __future__ import annotations

from groundlake.llm.generation import Attempt, Decoding, Failure, Generation

__all__ = ["Attempt", "Decoding", "Failure", "Generation"]
