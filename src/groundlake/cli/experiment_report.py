"""What `lake experiment run` says: its plan, and what came of it, in numbers that come from the views of the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.cli.sweep_report import duration

if TYPE_CHECKING:
    from groundlake.cli.settings import Settings
    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.rows import ExperimentRun
    from groundlake.experiment.runner import Outcome
    from groundlake.experiment.watching import IdleBaseline

SUMMARY = "SELECT * FROM experiment_summary"


def print_plan(plan: ExperimentPlan, repeat: int) -> None:
    """Say what would be measured, and the hash of the settings that decide it."""
    from groundlake.experiment.plan import config_hash

    times = f", {repeat} times" if repeat > 1 else ""
    print(f"{plan.config_name} on {plan.hardware_id}: {len(plan.prompts.items)} prompts{times}; nothing was measured")
    for name, value in _flat(plan.settings()):
        if value is not None:
            print(f"  {name:<18} {value}")
    if plan.prompts.remark:
        print(f"  {plan.prompts.remark}")
    if plan.is_remote:
        print("  the endpoint runs on another machine: no sensor of this one is read")
    print(f"config_hash {config_hash(plan)}")


def print_outcome(settings: Settings, plan: ExperimentPlan, outcome: Outcome) -> None:
    """Print what came of an experiment: figures, failures, warnings, and where to look next."""
    cycle = f" (cycle {outcome.cycle})" if outcome.cycle else ""
    if outcome.run is None:
        print(f"{plan.config_name} on {plan.hardware_id}{cycle}: failed: {outcome.reason}")
        print(f"next: lake experiment show {outcome.run_id}")
        return
    row = _summary(outcome.run, outcome.baseline)
    told = f"{plan.backend}, {row['precision']}, {_load(plan)}"
    print(
        f"{row['model']} on {row['hardware_id']}{cycle} ({told}):"
        f" {row['num_requests']} requests in {duration_of(row['wall_time_s'])}"
    )
    both = "" if row["total_tokens_per_s"] is None else f", {_number(row['total_tokens_per_s'])} with those of prompts"
    print(f"  tokens per second    {_number(row['output_tokens_per_s'])} of answers{both}; by the wall clock")
    print(f"  first token          {_latency(row, 'ttft', 'p50', 'p95')}")
    print(f"  between tokens       {_latency(row, 'itl', 'p50', 'p99')}")
    print(f"  energy               {_energy(row, outcome)}")
    if outcome.failures:
        from groundlake.experiment.doubting import kinds

        number = outcome.failures.total()
        print(f"  failed requests      {number} of {row['num_requests']}: {kinds(outcome.failures)}")
    for doubt in outcome.doubts:
        print(f"  warning: {doubt}")
    where = f" --root {settings.root}" if str(settings.root) != "lake" else ""
    print(f"next: lake experiment show {outcome.run_id}{where}")


def duration_of(seconds: float | None) -> str:
    """Say a time; short ones with their digits."""
    if seconds is None:
        return "an unknown time"
    return f"{seconds:.3g} s" if seconds < 60 else duration(seconds)  # noqa: PLR2004 - a minute


def _summary(run: ExperimentRun, baseline: IdleBaseline | None) -> dict[str, Any]:
    """What the lake says of the run."""
    from groundlake.memory import ask_unwritten

    runs = [] if baseline is None else [baseline.to_frames()]
    answer = ask_unwritten([*runs, run.to_frames()], SUMMARY, "experiment_summary")
    return answer.row(0, named=True)


def _load(plan: ExperimentPlan) -> str:
    load = f"batch {plan.batch}" if plan.base_url is None else f"concurrency {plan.concurrency}"
    return f"{load}, {plan.processes} processes" if plan.processes > 1 else load


def _latency(row: dict[str, Any], metric: str, *percentiles: str) -> str:
    """Percentiles of a latency with the number of values behind them, and how they were timed."""
    if not row[f"num_{metric}"]:
        return "unknown: answers did not come token by token"
    said = ", ".join(f"{name} {_number(row[f'{metric}_{name}_ms'])} ms" for name in percentiles)
    return f"{said} (of {row[f'num_{metric}']}, {row['token_timing']})"


def _energy(row: dict[str, Any], outcome: Outcome) -> str:
    """Energy of a token with its source and scope, or why there is none."""
    if row["energy_j"] is None:
        return f"unknown: {outcome.why_no_energy}"
    of_token = row["energy_per_output_token_j"]
    none = "nobody counted the tokens" if row["output_tokens"] is None else "no tokens came"
    per = none if of_token is None else f"{_number(of_token)} J per token of answers"
    told = f"{row['energy_source']} {row['energy_scope']}, {row['energy_method']}"
    above = row["energy_above_baseline_j"]
    idle = "" if above is None else f"; {_number(above)} J above idle"
    return f"{per}: {_number(row['energy_j'])} J ({told}{idle})"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _flat(told: dict[str, object], path: str = "") -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for name, value in told.items():
        inner = f"{path}{name}"
        pairs += _flat(value, f"{inner}.") if isinstance(value, dict) else [(inner, value)]
    return pairs
