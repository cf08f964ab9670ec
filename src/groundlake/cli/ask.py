"""Commands that ask the lake."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from groundlake.cli.app import ASK, app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import AsOfOption, Settings, command
from groundlake.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

RUN_TIMES = (
    "SELECT hardware_id, min(started_at) AS first_run, max(started_at) AS latest_run FROM runs "
    "WHERE status = 'ok' AND kind = 'efficiency' GROUP BY hardware_id"
)
SUBGRAPH_COLUMNS = (
    "subgraph_id",
    "fusion_pattern",
    "operation_type",
    "node_names",
    "latency_mean_ms",
    "latency_std_ms",
    "flops",
    "total_bytes",
    "efficiency_mean",
)


class Engine(str, Enum):
    """What can run a query."""

    DUCKDB = "duckdb"
    SPARK = "spark"


_COMMENT = re.compile(r"--[^=]*\s")


class QueryCommand(TyperCommand):
    """A command whose query may begin with an SQL comment, which looks like an option."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override] # typer passes its own context
        """Set a space before what begins with a comment: no option has a space in its name."""
        return super().parse_args(ctx, [f" {arg}" if _COMMENT.match(arg) else arg for arg in args])


@command(app, ASK, cls=QueryCommand)
def sql(
    settings: Settings,
    query: Annotated[str, typer.Argument(help="One SELECT; `select * from help` lists the views.")],
    as_of: AsOfOption = None,
    engine: Annotated[
        Engine, typer.Option("--engine", help="What runs it: DuckDB in this process, or a session of Spark.")
    ] = Engine.DUCKDB,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Ask a question in SQL: `lake sql "select * from model_summary"`."""
    lake = settings.lake_as_of(as_of)
    if engine is Engine.SPARK:
        from groundlake import spark

        print_rows(spark.ask(lake.root, query, lake.as_of), form, output)
        return
    print_rows(lake.sql(query).pl(), form, output)


@command(app, ASK)
def ls(
    settings: Settings,
    hardware_id: Annotated[str | None, typer.Argument(metavar="[HW]", help="Hardware id; all of them without.")] = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """List the hardware ids in the lake, or the configurations measured on one."""
    import polars as pl

    lake = settings.lake
    if hardware_id is None:
        by_device = (
            lake.sql("SELECT * FROM model_summary")
            .pl()
            .group_by("hardware_id")
            .agg(
                configurations=pl.len(),
                models=pl.col("model").n_unique(),
                precisions=pl.col("precision").unique().sort().str.join(" "),
            )
        )
        moments = lake.sql(RUN_TIMES).pl()
        print_rows(by_device.join(moments, on="hardware_id").sort("hardware_id"), form, output)
        return
    summary = lake.sql("SELECT * FROM model_summary").pl().filter(pl.col("hardware_id") == hardware_id)
    if summary.is_empty():
        raise UsageError(f"nothing was measured on {hardware_id!r}; the lake has {_known(lake.hardware_ids())}")
    print_rows(summary.drop("hardware_id").sort("precision", "model", "batch"), form, output)


@command(app, ASK)
def show(
    settings: Settings,
    hardware_id: Annotated[str, typer.Argument(metavar="HW", help="Hardware id.")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model.")],
    precision: Annotated[str | None, typer.Option("--precision", help="Only this precision.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Only this batch size.")] = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Show what is known of one model on one device: its configurations, and the subgraphs when only one is left."""
    import polars as pl

    lake = settings.lake
    summary = lake.sql("SELECT * FROM model_summary").pl().filter(pl.col("hardware_id") == hardware_id)
    chosen = summary.filter(
        (pl.col("model") == model)
        & (pl.col("precision") == precision.lower() if precision else pl.lit(True))  # noqa: FBT003 - no condition
        & (pl.col("batch") == batch if batch is not None else pl.lit(True))  # noqa: FBT003 - no condition
    ).sort("precision", "batch")
    if chosen.is_empty():
        known = sorted(set(summary["model"])) if not summary.is_empty() else lake.hardware_ids()
        raise UsageError(f"no run of {model!r} on {hardware_id!r} with these options; the lake has {_known(known)}")
    if chosen.height > 1:
        print_rows(chosen, form, output)
        return
    if form is Format.TABLE and output is None:
        print_rows(chosen)
        print()
    print_rows(_subgraphs(settings, chosen.row(0, named=True)), form, output)


def _subgraphs(settings: Settings, configuration: dict[str, object]) -> pl.DataFrame:
    """Rows of the latest run of one configuration, slowest first."""
    import polars as pl

    keys = {name: configuration[name] for name in ("hardware_id", "precision", "model", "batch")}
    latest = settings.lake.sql("SELECT * FROM latest_runs").pl()
    for name, value in keys.items():
        latest = latest.filter(pl.col(name) == value)
    rows = settings.lake.frame("subgraph_timings", **keys, run_id=latest["run_id"][0])
    return rows.select(SUBGRAPH_COLUMNS).sort("latency_mean_ms", descending=True)


def _known(names: list[str]) -> str:
    return ", ".join(names) if names else "no runs yet (`lake ingest` measures this machine)"
