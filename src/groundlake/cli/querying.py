"""The command that asks the queries which come with groundlake, by their names."""

from __future__ import annotations

from typing import Annotated

import typer

from groundlake.cli.app import ASK, app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import Settings, command
from groundlake.errors import UsageError


@command(app, ASK)
def query(
    settings: Settings,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A query; without one, all are listed.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="A parameter of the query; may be repeated.")
    ] = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Ask a query by its name: `lake query` lists them, with what one row is and their parameters."""
    import polars as pl

    from groundlake.query_files import named_queries

    if name is not None:
        print_rows(settings.lake.query(name, **parameters(param)).pl(), form, output)
        return
    if param:
        raise UsageError(f"--param {param[0]}: name the query that it is for; `lake query` lists them")
    rows = [
        {
            "name": each.name,
            "one_row_is": each.one_row_is,
            "parameters": ", ".join(f"{p.name}={p.setting}" for p in each.parameters),
        }
        for each in named_queries().values()
    ]
    print_rows(pl.DataFrame(rows), form, output)


def parameters(given: list[str] | None) -> dict[str, object]:
    """Read `k=v` texts; which names and values there are is the query's to say.

    Raises:
        UsageError: A text has no equals sign, or a name is given twice.
    """
    found: dict[str, object] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError(f"--param takes name=value, got {text!r}")
        if name in found:
            raise UsageError(f"--param {name} is given twice")
        found[name] = value
    return found
