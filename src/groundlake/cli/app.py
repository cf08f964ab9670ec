"""The Typer application: its panels, global options and exit codes."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

from groundlake import __version__
from groundlake.cli.settings import Debug, Quiet, Root, Settings

START, ASK, ESTIMATE, MEASURE, KEEP = "Start", "Ask", "Estimate", "Measure", "Keep"

ORDER = (
    *("init", "ingest", "migrate-v1", "sync"),
    *("sql", "query", "ls", "show", "plot", "report"),
    *("estimates", "validate", "compare"),
    *("experiment",),
    *("kv",),
    *("calibration",),
    *("preflight", "hw"),
    *("views", "check", "compact", "vacuum", "retract", "export"),
)
"""Commands as `lake --help` lists them, panel by panel in the order of a first day."""


class InOrder(TyperGroup):
    """A group that lists its commands in the order of `ORDER`, whatever module registered them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override] # typer passes its own context
        """Names of the commands; one that has no place yet comes last."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    name="lake",
    cls=InOrder,
    help="The ground-truth lake for machine-learning measurements: measure once, ask for ever.",
    epilog="Exit codes: 0 done | 1 a check failed or input was set aside | 2 wrong usage, SQL or name | "
    "3 missing extra, device or sensor | 4 corrupt lake data | 5 disk, permission, network | 130 interrupted",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lake {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    root: Root = None,
    quiet: Quiet = False,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The ground-truth lake for machine-learning measurements: measure once, ask for ever."""
    del version  # handled by its callback
    ctx.obj = Settings(root="lake" if root is None else root, quiet=quiet, debug=debug)


# Each module registers its commands when it is imported; none of them imports anything heavy at its top.
from groundlake.cli import (  # noqa: E402, F401 - they need `app` above
    ask,
    calibration,
    calibration_look,
    comparing,
    devices,
    estimating,
    experimenting,
    experiments,
    fitness,
    keep,
    kv,
    kv_look,
    kv_stages,
    measuring,
    moving,
    querying,
    reporting,
    studying,
    upkeep,
    validating,
)
