"""Measuring: models -> subgraphs -> timed runs, each in a process of its own -> the lake.

`engine` and what it calls import torch, in the measuring process alone; `plan`, `sweep`, `attempt`, `worker`, `record`
and the rest do not, so that planning stays quick.
"""
