"""Experiments of tests: a plan for a server on loopback, and what the lake says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_server import MODEL, LlmServer, Reply

from groundlake.experiment.plan import ExperimentPlan
from groundlake.experiment.prompts import read_prompts

if TYPE_CHECKING:
    from pathlib import Path

    from groundlake.store import Lake

HANG = Reply(headers={"Content-Type": "text/event-stream"}, ending="hang")


def plan_of(server: LlmServer, prompts: Path, n: int = 8, **changed: object) -> ExperimentPlan:
    told = {"backend": "openai", "model": MODEL, "prompts": read_prompts(prompts, n), "hardware_id": "bench"}
    told |= {"base_url": f"{server.url}/v1", "power": "none", "warmup": 1, "baseline_s": 0.0}
    return ExperimentPlan(**(told | changed))


def one(lake: Lake, query: str) -> dict:
    return lake.sql(query).pl().row(0, named=True)
