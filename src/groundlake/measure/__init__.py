"""Measuring: models -> subgraphs -> timed runs in a worker process -> the lake.

`plan`, `record`, `sweep` and `worker` import no torch, so that planning stays quick and only the worker pays for it.
"""
