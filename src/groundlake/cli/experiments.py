"""Commands about LLM inference experiments: bring results in, list them, show one, export, compare."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundlake.cli.app import app
from groundlake.cli.output import Format, FormatOption, OutOption, as_table, print_rows
from groundlake.cli.progress import progress
from groundlake.cli.settings import Settings, command
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from groundlake.importers.quarantine import Entry
    from groundlake.store import Lake

EXPERIMENT = "LLM experiments"

experiment = typer.Typer(
    help="LLM inference experiments: bring results in, list, show, export and compare them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(experiment, name="experiment", rich_help_panel=EXPERIMENT)

PathsArgument = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="result.json files, folders of results, or trees of them.")
]
HardwareOption = Annotated[str | None, typer.Option("--hw", metavar="ID", help="Only on this device.")]

LIST = """
    SELECT
        r.run_id, r.started_at, r.status, r.hardware_id, r.model, r.precision, r.batch, s.backend, s.study, s.cycle,
        s.num_processes, s.concurrency, s.max_new_tokens, s.num_requests, s.output_tokens, s.output_tokens_per_s,
        s.energy_per_output_token_j, s.energy_scope,
        s.ttft_p50_ms, s.itl_p50_ms, s.num_warnings, s.experiment_id, r.error
    FROM runs r
    LEFT JOIN experiment_summary s ON s.hardware_id = r.hardware_id AND s.run_id = r.run_id
    WHERE r.kind = 'llm_inference'
    ORDER BY r.started_at, r.run_id
"""

IDS = """
    SELECT r.hardware_id, r.run_id, r.status, r.error, e.experiment_id
    FROM runs r
    LEFT JOIN experiments e ON e.hardware_id = r.hardware_id AND e.run_id = r.run_id
    WHERE r.kind = 'llm_inference'
"""

MIN_PREFIX = 8
"""Characters of a run id from which on it is looked for."""

HEAD = (
    *("experiment_id", "run_id", "hardware_id", "device", "backend", "backend_version", "model", "precision", "batch"),
    *("study", "cycle", "started_at", "config_hash", "measurement_methodology", "num_processes", "concurrency"),
)
TOTALS = (
    *("num_requests", "answered_requests", "failed_requests", "warmup_requests"),
    *("input_tokens", "output_tokens", "total_tokens"),
    *("wall_time_s", "inference_time_s", "flops", "flops_estimate_method", "flops_confidence", "peak_memory_bytes"),
    *("model_memory_bytes", "throttled", "throttled_s", "max_temperature_c", "overlap_verified", "devices_verified"),
    "is_representative",
)
RATIOS = {
    "output_tokens_per_s": "tokens of answers over the wall clock",
    "total_tokens_per_s": "tokens of prompts and answers over the wall clock",
    "output_tokens_per_inference_s": "tokens of answers over the time of inference, summed over processes",
    "total_tokens_per_inference_s": "tokens of prompts and answers over the same time",
    "process_tokens_per_s_sum": "sum of the processes' own throughputs, as recorded",
    "process_tokens_per_s_mean": "mean of the processes' own throughputs, as recorded",
    "energy_per_output_token_j": "energy over tokens of answers",
    "energy_per_total_token_j": "energy over tokens of prompts and answers",
    "energy_per_answered_request_j": "energy, that of failed requests too, over answered requests",
}
"""Ratios that are easily taken for one another, with what they are."""

ENERGY = (
    *("energy_j", "scope", "source", "method", "process_index", "device_index", "phase", "window_s"),
    *("baseline_power_w", "baseline_method", "energy_above_baseline_j", "note"),
)
LATENCY = ("metric", "token_timing", "num_values", "mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")


@command(experiment, EXPERIMENT, "import")
def import_results(
    settings: Settings,
    paths: PathsArgument,
    hw: Annotated[
        str | None, typer.Option("--hw", metavar="ID", help="Device of all of them. [default: the GPU they name]")
    ] = None,
    tz: Annotated[
        list[str] | None,
        typer.Option("--tz", metavar="ZONE|HW=ZONE", help="Zone of times without one. [default: UTC is assumed]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the same report and write nothing.")] = False,
) -> None:
    """Import results, once: of `lake experiment run`, of tools that write the same models, optimum-benchmark, AIPerf.

    Importing them again adds nothing, also from another place. Bad files are set aside. See docs/experiments.md.
    """
    from groundlake.cli.moving import print_report
    from groundlake.importers import Zones, import_experiments

    with progress("import", quiet=settings.quiet) as show_progress:
        report = import_experiments(
            settings.lake,
            paths,
            hardware_id=hw,
            zones=Zones.parse(tz or ()),
            dry_run=dry_run,
            on_progress=show_progress,
        )
    print_report(settings, report, dry_run=dry_run, view="experiment_summary")


@command(experiment, EXPERIMENT, "list")
def list_experiments(
    settings: Settings,
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    hw: HardwareOption = None,
    study: Annotated[str | None, typer.Option("--study", help="Only of this study.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", help="Only of this backend.")] = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """List experiments, oldest first, failed ones too."""
    import polars as pl

    from groundlake.compare.experiments import telling_length

    rows = settings.lake.sql(LIST).pl()
    for name, wanted in (("model", model), ("hardware_id", hw), ("study", study), ("backend", backend)):
        if wanted is None:
            continue
        there = sorted(rows[name].drop_nulls().unique().to_list())
        rows = rows.filter(pl.col(name) == wanted)
        if rows.is_empty():
            raise UsageError(f"no experiment with {name} {wanted!r}; there are {', '.join(there) or 'none'}")
    if form is Format.TABLE:
        rows = rows.select(name for name in rows.columns if rows[name].null_count() < rows.height or rows.is_empty())
        rows = rows.with_columns(pl.col("run_id").str.head(telling_length(rows["run_id"].to_list())))
    print_rows(rows, form, output)


@command(experiment, EXPERIMENT)
def show(
    settings: Settings,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run id, its first 8 characters, or experiment id.")],
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Show one experiment: settings, totals, each energy with its source, throughputs, latencies, warnings."""
    lake = settings.lake
    found = _find(lake, run)
    of_run = " WHERE " + " AND ".join(f"{name} = {_quoted(found[name])}" for name in ("hardware_id", "run_id"))
    summary = lake.sql(f"SELECT * FROM experiment_summary{of_run}").pl()
    if form is not Format.TABLE or output is not None:
        print_rows(summary, form, output)
        return
    if found["status"] != "ok":
        print(f"{found['run_id']} on {found['hardware_id']} {found['status']}: {found['error']}")
        return
    told = summary.row(0, named=True)
    _print_facts("experiment", {name: told[name] for name in HEAD})
    _print_facts("totals", {name: told[name] for name in TOTALS})
    _print_facts("ratios", {f"{name}  ({what})": told[name] for name, what in RATIOS.items()})
    frame = partial(lake.frame, hardware_id=found["hardware_id"], run_id=found["run_id"])
    _print_table("energies (scopes overlap: never add them up)", frame("energy_estimates").select(ENERGY))
    latencies = lake.sql(f"SELECT * FROM experiment_latency_summary{of_run} ORDER BY metric DESC").pl()
    _print_table("latencies", latencies.select(LATENCY))
    _print_lines("warnings", _warnings(frame("measurement_warnings")))
    config = frame("experiment_settings").filter(kind="config").sort("name")
    _print_facts("settings", dict(config.select("name", "value").iter_rows()))


@command(experiment, EXPERIMENT, "csv")
def write_csv(
    settings: Settings,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Results that are in no lake; without, those of the lake."),
    ] = None,
    output: OutOption = None,
    hw: HardwareOption = None,
) -> None:
    """Write experiments as CSV, one row each: the same columns for a lake and for folders of results."""
    import sys

    import polars as pl

    from groundlake.experiment.csv_export import csv_table, csv_text, unwritten

    aside: list[Entry] = []
    if paths:
        from groundlake.importers.experiments import runs_of

        runs, aside = runs_of(paths, hardware_id=hw)
        rows = unwritten(runs)
    else:
        lake = settings.lake
        rows = csv_table(lambda query: lake.sql(query).pl())
        rows = rows if hw is None else rows.filter(pl.col("hardware_id") == hw)
    if output is None:
        sys.stdout.write(csv_text(rows))
    else:
        output.write_text(csv_text(rows), encoding="utf-8")
    if aside:
        said = "\n".join(f"{entry.uri}: {entry.code}: {entry.reason}" for entry in aside[:4])
        raise LakeError(f"{len(aside)} files could not be read\n{said}")


@command(experiment, EXPERIMENT)
def compare(
    settings: Settings,
    a: Annotated[str, typer.Argument(metavar="A", help="Experiments to compare with.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Experiments to compare.")],
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Compare experiments: means and spreads of both sides, and the 95 % interval of their difference.

    A and B are each a run id (or its first 8 characters), an experiment id, a study, or
    column=value,... (any column of experiment_summary). Three repeats a side are the least. Where energies, tokens or
    windows were measured differently there is no verdict, and the remark says why.
    """
    import polars as pl

    from groundlake.compare.experiments import compare_experiments, select_experiments, without_partner

    summary = settings.lake.sql("SELECT * FROM experiment_summary").pl()
    of_a, of_b = select_experiments(summary, a), select_experiments(summary, b)
    rows = compare_experiments(of_a, of_b)
    alone = without_partner(of_a, of_b, rows)
    if form is not Format.TABLE or output is not None:
        print_rows(rows, form, output)
    else:
        keys = rows.columns[rows.columns.index("differs_in") + 1 :]
        told = [name for name in keys if rows[name].n_unique() > 1]
        empty = {"remark"} if rows["remark"].null_count() == rows.height else set()
        print_rows(rows.select(pl.exclude(set(keys) - set(told) | empty)).select(*told, pl.exclude(told)))
        print(f"A: {a}, {of_a.height} experiments; B: {b}, {of_b.height}; difference: B less A, Welch, 95 %")
        if alone:
            print(f"{alone} of them are in no row: the other side has no such configuration")


def _find(lake: Lake, text: str) -> dict[str, Any]:
    """Find the one run that a text names."""
    import polars as pl

    rows = lake.sql(IDS).pl()
    exact = (pl.col("run_id") == text) | (pl.col("experiment_id") == text)
    found = rows.filter(exact)
    if found.is_empty() and len(text) >= MIN_PREFIX:
        found = rows.filter(pl.col("run_id").str.starts_with(text))
    if found.height == 1:
        return found.row(0, named=True)
    if found.is_empty():
        raise UsageError(
            f"{text!r} names none of the {rows.height} experiments in {lake.root}\n"
            f"give a run id, at least {MIN_PREFIX} characters of one, or an experiment id; `lake experiment list`"
        )
    listed = "\n".join(f"  {run} on {hw}" for hw, run in found.select("hardware_id", "run_id").head(4).iter_rows())
    raise UsageError(f"{text!r} names {found.height} experiments; give a run id\n{listed}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _print_facts(title: str, facts: dict[str, Any]) -> None:
    """Print names and values, those left out that are not known."""
    known = {name: value for name, value in facts.items() if value is not None}
    width = max(map(len, known), default=0)
    _print_lines(title, (f"{name.ljust(width)}  {_text(value)}" for name, value in known.items()))


def _print_lines(title: str, lines: Iterator[str]) -> None:
    texts = list(lines)
    if texts:
        print(f"\n{title}\n" + "\n".join(f"  {line}" for line in texts))


def _print_table(title: str, rows: pl.DataFrame) -> None:
    """Print a table, columns left out that say nothing."""
    if rows.is_empty():
        return
    kept = rows.select(name for name in rows.columns if rows[name].null_count() < rows.height)
    _print_lines(title, iter(as_table(kept, terminal=False).splitlines()))


def _warnings(rows: pl.DataFrame) -> Iterator[str]:
    """Each warning; what to do stands at its end, or is added."""
    for code, message, advice in rows.select("code", "message", "advice").iter_rows():
        yield f"{code}: {message}" + (f" {advice}" if advice and advice not in message else "")


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
