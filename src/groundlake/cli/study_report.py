"""What `lake experiment study` says: the experiments one by one, how far it is, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundlake.cli.experiment_report import duration_of
from groundlake.cli.output import print_rows
from groundlake.cli.settings import say

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from groundlake.cli.settings import Settings
    from groundlake.experiment.runner import Outcome
    from groundlake.experiment.study import Study
    from groundlake.experiment.study_run import StudyEvent, StudyResult

SHOWN_FAILURES = 10
SHOWN_REASON = 200
"""Characters shown of the reason of a failure."""

FIGURES = {
    "energy_per_output_token_j": "J per output token",
    "output_tokens_per_s": "output tokens/s",
    "ttft_p50_ms": "ttft p50, ms",
    "itl_p50_ms": "itl p50, ms",
}


def print_cells(rows: pl.DataFrame, planned: Study | None = None) -> None:
    """Print the experiments of a study, a line each, and their number by state."""
    import polars as pl

    from groundlake.compare.experiments import telling_length

    name = rows["study"][0] if planned is None else planned.name
    print(f"{name}: {_counts(rows)}")
    remark = pl.when(~pl.col("is_current")).then(pl.lit(_dropped(planned)))
    table = rows.select(
        "hardware_id",
        number=pl.when("is_current").then(pl.col("position") + 1),
        configuration="configuration",
        cycle="cycle",
        state="state",
        failed=pl.when(pl.col("num_failed") > 0).then("num_failed"),
        run=pl.col("done_run_id").str.head(telling_length(rows["done_run_id"].drop_nulls().to_list())),
        error="error",
        remark=remark.when(~pl.col("is_planned")).then(pl.lit("not planned yet")),
    )
    several = table["hardware_id"].n_unique() > 1
    shown = [column for column in table.columns if table[column].null_count() < table.height]
    print_rows(table.select(column for column in shown if several or column != "hardware_id"))
    for text in () if planned is None else planned.remarks:
        print(text)


def shown(show: Callable[[int, int, str], None], under_way: list[str], *, quiet: bool) -> Callable[[StudyEvent], None]:
    """Turn the events of a study into progress, and a line for each experiment that has ended."""

    def on_event(event: StudyEvent) -> None:
        left = "" if not event.left_s else f", about {duration_of(event.left_s)} left"
        what = f"{event.position} of {event.total}: {event.cell}"
        under_way[:] = [] if event.spent_s is not None or event.now.startswith("pause") else [f"{what}, {event.now}"]
        if event.outcome is not None and not quiet:
            say(f"study: {what}: {_told(event.outcome)} in {duration_of(event.spent_s)}{left}")
        done = event.position if event.outcome is not None else event.position - 1
        show(done, event.total, f"{event.cell}: {event.now}")

    return on_event


def print_summary(settings: Settings, planned: Study, result: StudyResult, rows: pl.DataFrame) -> None:
    """Say what was done now and before, what failed and why, and how to look at it."""
    import polars as pl

    now = f"{len(result.done)} measured now, {len(result.failed)} failed now, {result.before} done before"
    print(f"{planned.name}: {_counts(rows)} ({now})")
    failed = rows.filter(pl.col("is_current") & (pl.col("state") == "failed"))
    columns = ("configuration", "cycle", "error")
    for configuration, cycle, error in failed.select(columns).head(SHOWN_FAILURES).iter_rows():
        print(f"  failed: {configuration}, cycle {cycle}: {_short(error)}")
    if failed.height > SHOWN_FAILURES:
        print(f"  and {failed.height - SHOWN_FAILURES} more; lake experiment study status has all")
    warned = sum(bool(outcome.doubts) for _, outcome in result.done)
    if warned:
        print(f"  {warned} of {len(result.done)} experiments have warnings; lake experiment show RUN says which")
    where = f" --root {settings.root}" if str(settings.root) != "lake" else ""
    print(f"next: lake experiment study show {_quoted(planned.name)}{where}")


def print_figures(name: str, rows: pl.DataFrame) -> None:
    """Print what came of a study: each mean with its standard deviation and 95 % interval in one cell."""
    import polars as pl

    told = [_line(row) for row in rows.iter_rows(named=True)]
    table = pl.DataFrame(told, infer_schema_length=None)
    kept = [column for column in table.columns if table[column].null_count() < table.height]
    if rows["hardware_id"].n_unique() == 1:
        kept.remove("hardware_id")
    print_rows(table.select(kept))
    print(f"{name}: mean ± standard deviation [95 % interval of the mean, Student's t] over n cycles")


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """One configuration as a line of the table."""
    hidden = {"config_hash", "planned", "energy_scope", "cycles_with_warnings", "remark"}
    parts = {f"{figure}_{part}" for figure in FIGURES for part in ("mean", "sd", "ci_lower", "ci_upper", "n")}
    line = {column: value for column, value in row.items() if column not in hidden | parts}
    line["n"] = f"{row['n']} of {row['planned']}" if row["n"] < row["planned"] else str(row["n"])
    for figure, title in FIGURES.items():
        scope = f" ({row['energy_scope']})" if figure.startswith("energy") and row["energy_scope"] else ""
        cell = _cell(row, figure)
        line[title] = None if cell is None else f"{cell}{scope}"
    return line | {"remark": row["remark"]}


def _cell(row: dict[str, Any], figure: str) -> str | None:
    mean, spread = row[f"{figure}_mean"], row[f"{figure}_sd"]
    if mean is None:
        return None
    if spread is None:
        return f"{mean:.4g}"
    return f"{mean:.4g} ± {spread:.2g} [{row[f'{figure}_ci_lower']:.4g}, {row[f'{figure}_ci_upper']:.4g}]"


def _counts(rows: pl.DataFrame) -> str:
    """Number of experiments by state; what was taken out of the study is counted alone."""
    current = rows.filter("is_current")
    numbers = {state: current.filter(state=state).height for state in ("done", "failed", "missing")}
    text = ", ".join(f"{number} {state}" for state, number in numbers.items())
    dropped = rows.height - current.height
    return f"{current.height} planned: {text}" + (f"; {dropped} not in the file any more" if dropped else "")


def _dropped(planned: Study | None) -> str:
    return "not in the last plan any more" if planned is None else "not in the file any more"


def _told(outcome: Outcome) -> str:
    """What came of one experiment, in a few words."""
    if outcome.result is None:
        return f"failed: {_short(outcome.reason or '')}"
    return f"done, {len(outcome.doubts)} warnings" if outcome.doubts else "done"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_REASON else f"{line[:SHOWN_REASON]}..."


def _quoted(name: str) -> str:
    import shlex

    return shlex.quote(name)
