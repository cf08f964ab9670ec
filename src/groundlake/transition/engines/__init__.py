"""Who answers the prompts, and under which budget of the KV cache: an endpoint, or a model in this process.

`base` says what an engine is, `local` runs a model of transformers with `presses` of kvpress on it, `cache` compresses,
counts what was kept, and goes on from there. torch and kvpress are imported where they are needed, not here.
"""
