"""Measure a small language model at two batch sizes, and ask which of them answers most tokens per second.

python examples/experiment.py FOLDER [PROMPTS]

Makes FOLDER/tiny-llama (random weights: it answers nonsense), measures it on the processor into FOLDER/lake, and saves
each result below FOLDER/results.
"""

from __future__ import annotations

import sys
from pathlib import Path

from groundlake import Lake
from groundlake.experiment.plan import ExperimentPlan
from groundlake.experiment.prompts import read_prompts
from groundlake.experiment.runner import run_experiment
from groundlake.hardware import detect
from groundlake.llm.tiny import make_tiny_model

QUERY = """
    SELECT batch, output_tokens, output_tokens_per_s, ttft_p50_ms, itl_p50_ms
    FROM experiment_summary ORDER BY output_tokens_per_s DESC
"""

if __name__ == "__main__":  # the processes that ask the model import this file again
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder, number = Path(sys.argv[1]), int((*sys.argv, "12")[2])
    (folder / "prompts.txt").write_text("Why is the sky blue?\nName three rivers.\n", encoding="utf-8")
    lake, model = Lake(folder / "lake"), make_tiny_model(folder / "tiny-llama")
    for batch in (1, 4):
        plan = ExperimentPlan(
            backend="transformers",
            model=str(model),
            prompts=read_prompts(folder / "prompts.txt", number),
            hardware_id=detect(device="cpu").hardware_id,
            device="cpu",
            batch=batch,
            max_new_tokens=16,
            ignore_eos=True,  # answers of one length, so that batches can be compared
        )
        outcome = run_experiment(lake, plan)
        if outcome.result is None:
            sys.exit(f"batch {batch}: {outcome.reason}")
        latency = outcome.result.latency_stats
        print(
            outcome.result.save(folder / "results"), f"first token p95 {latency.ttft_p95_ms:.1f} ms" if latency else ""
        )
    print(lake.sql(QUERY).pl())
