"""Scoring and analysing an evaluation of 100,000 answers: 5 budgets, 5 bins, 1,000 draws.

    python benchmarks/transition.py

Prints the seconds of `lake kv score` and `lake kv analyze` without the start of a process; the aim is 5 s for both.
docs/benchmarks.md has figures of a past run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from groundlake.store import Lake
from groundlake.transition.analysis.analyze import analyze_group
from groundlake.transition.configuration.config_file import load_settings
from groundlake.transition.data.prepared import require_summary
from groundlake.transition.inference.identity import epoch_hash
from groundlake.transition.scoring.score import score_group

if TYPE_CHECKING:
    from groundlake.transition.configuration.settings import Settings

SEED = 20261121
BUDGETS, BINS = (1.0, 0.8, 0.6, 0.4, 0.2), 5
FAILING = 0.02
GROUP = "benchmark"
WORDS = np.array(
    [
        "the",
        "of",
        "a",
        "cat",
        "dog",
        "house",
        "river",
        "Paris",
        "London",
        "1984",
        "yes",
        "no",
        "who",
        "where",
        "wall",
        "green",
    ]
)
CLOCK = {"timing_method": "none"}
KEYS = {"hardware_id": "dev", "precision": "fp32", "model": "made", "batch": 1} | CLOCK


def texts(random: np.random.Generator, number: int, longest: int) -> list[str]:
    """Make answers of a few words."""
    lengths = random.integers(1, longest + 1, number)
    return [" ".join(WORDS[random.integers(0, len(WORDS), length)]) for length in lengths]


def fill(lake: Lake, examples: int, settings: Settings) -> None:
    """Write a data set, and a run for each budget, asked with these settings; two of a hundred requests fail."""
    names = [f"e{number:06}" for number in range(examples)]
    bins = np.arange(examples) % BINS
    group = {"exp_group_id": GROUP}
    dataset = group | {"dataset_id": "made", "task": "hotpotqa", "tokenizer": "t", "tokenizer_fingerprint": "t"}
    dataset |= {"prompt_hash": "p", "population": examples, "left_out": 0, "selected": examples}
    dataset |= {"manifest_sha256": "m", "settings_hash": "s", "selection_json": "{}"}
    random = np.random.default_rng(SEED)
    rows = pl.DataFrame({"example_id": names, "bin_index": bins, "position": np.arange(examples)}).with_columns(
        prompt_tokens=100 * (pl.col("bin_index") + 1),
        answers=pl.Series([[text] for text in texts(random, examples, 4)]),
        **{
            name: pl.lit("x")
            for name in ("question", "context", "content_sha256", "line_sha256", "prompt_sha256", "dataset_id")
        },
        exp_group_id=pl.lit(GROUP),
    )
    none = {"hardware_id": "none", "precision": "none", "model": "none", "batch": 0, "kind": "kv_dataset"} | CLOCK
    edges = pl.DataFrame({"bin_index": range(BINS)}).with_columns(
        exp_group_id=pl.lit(GROUP), dataset_id=pl.lit("made"), population=examples, selected=examples // BINS
    )
    lake.write(none, kv_datasets=pl.DataFrame([dataset]), kv_examples=rows, kv_bins=edges)
    epoch = epoch_hash(settings, require_summary(lake, GROUP))
    for budget in BUDGETS:
        _ask(lake, budget, rows.select("example_id", "bin_index", "exp_group_id"), random, epoch)


def _ask(lake: Lake, budget: float, examples: pl.DataFrame, random: np.random.Generator, epoch: str) -> None:
    identity = f"b{budget:g}"
    requests = examples.with_columns(
        pl.lit(identity).alias("budget_id"),
        (identity + pl.col("example_id")).alias("request_id"),
        pl.lit(1, dtype=pl.Int64).alias("repeat"),
        pl.lit("p").alias("prompt_sha256"),
        pl.lit("none").alias("prompt_truncation"),
        pl.lit("2026-01-01").str.to_datetime().alias("sent_at"),
        pl.lit(1, dtype=pl.Int64).alias("num_attempts"),
    )
    fails = random.random(examples.height) < FAILING
    answered = requests.filter(~fails).select("request_id", "exp_group_id")
    run = dict.fromkeys(("dataset_id", "dataset_run_id", "policy", "policy_json", "how_applied", "prompt_hash"), "x")
    run |= {"tokenizer_fingerprint": "t", "settings_hash": epoch, "settings_json": "{}"}
    facts: dict[str, object] = {"exp_group_id": GROUP, "budget_id": identity, "budget": budget, "engine": "openai"}
    facts |= {"temperature": 0.0, "max_tokens": 8, "repeats": 1, "planned_requests": examples.height}
    lake.write(
        KEYS | {"kind": "kv_transition"},
        kv_runs=pl.DataFrame([run | facts]),
        kv_requests=requests,
        kv_responses=answered.select(
            "request_id", text=pl.Series(texts(random, answered.height, 8)), is_truncated=pl.lit(value=False)
        ),
        kv_failures=requests.filter(fails).select("request_id", failure=pl.lit("TIMEOUT")),
    )


def main() -> None:
    """Fill a lake, read it, analyse it, and print how long that takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=100_000)
    answers = parser.parse_args().answers
    overrides = ["output.exp_group_id=benchmark", "dataset.task=hotpotqa", f"kv.budgets={list(BUDGETS)}"]
    overrides += ["kv.policy=snapkv", "kv.apply=extra_body", "kv.extra_body={kept: '${budget}'}", "model.name=made"]
    settings = load_settings("default", overrides, {})
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "lake")
        fill(lake, answers // len(BUDGETS), settings)
        moments, processor = [time.perf_counter()], [time.process_time()]
        scored = score_group(settings, lake)
        moments, processor = [*moments, time.perf_counter()], [*processor, time.process_time()]
        found = analyze_group(settings, lake)
        moments, processor = [*moments, time.perf_counter()], [*processor, time.process_time()]
    for place, what in enumerate(("scoring", "analysing")):
        wall, busy = (each[place + 1] - each[place] for each in (moments, processor))
        print(f"{what}: {wall:.2f} s ({busy:.2f} s of processor)")
    print(f"together: {moments[-1] - moments[0]:.2f} s; {scored.scored} answers, {found.transitions.height} verdicts")


if __name__ == "__main__":
    main()
