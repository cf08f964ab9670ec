"""Measure a small language model over a few batch sizes, and ask which answers most tokens per second.

python examples/experiment.py FOLDER [PROMPTS_PER_RUN]

Makes FOLDER/tiny-llama (random weights: it answers nonsense), measures it on this machine's processor into FOLDER/lake,
saves each result below FOLDER/results, and reads one back.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from groundlake import Lake
from groundlake.experiment import ExperimentResult
from groundlake.experiment.plan import ExperimentPlan
from groundlake.experiment.prompts import read_prompts
from groundlake.experiment.runner import run_experiment
from groundlake.hardware import detect
from groundlake.llm.tiny import make_tiny_model

if TYPE_CHECKING:
    import polars as pl

BATCHES = (1, 4)
QUERY = """
    SELECT batch, num_requests, output_tokens, output_tokens_per_s, ttft_p50_ms, itl_p50_ms, num_warnings
    FROM experiment_summary ORDER BY output_tokens_per_s DESC
"""


def measure(folder: Path, number: int) -> tuple[pl.DataFrame, list[Path]]:
    """Measure every batch size; return what the lake says of them, and the saved results."""
    lake = Lake(folder / "lake")
    model = folder / "tiny-llama"
    if not model.exists():
        make_tiny_model(model)
    prompts = folder / "prompts.txt"
    prompts.write_text("Why is the sky blue?\nName three rivers.\nWhat is a lake?\n", encoding="utf-8")
    saved = []
    for batch in BATCHES:
        plan = ExperimentPlan(
            backend="transformers",
            model=str(model),
            prompts=read_prompts(prompts, number),
            hardware_id=detect(device="cpu").hardware_id,
            device="cpu",
            batch=batch,
            max_new_tokens=16,
            ignore_eos=True,  # answers of one length, so that batches can be compared
            session="example",
        )
        outcome = run_experiment(lake, plan)
        if outcome.result is None:
            sys.exit(f"batch {batch}: {outcome.reason}")
        saved.append(outcome.result.save(folder / "results"))
    return lake.sql(QUERY).pl(), saved


if __name__ == "__main__":  # the processes that ask the model import this file again
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    rows, results = measure(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 12)  # noqa: PLR2004 - the option
    print(rows)
    for path in results:
        latency = ExperimentResult.from_json(path).latency_stats
        print(f"{path}: first token p95 {latency.ttft_p95_ms:.1f} ms" if latency else f"{path}: no latencies")
