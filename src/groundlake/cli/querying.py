"""The command that asks the queries which come with groundlake, by their names."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import ASK, app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import AsOfOption, Settings, command
from groundlake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundlake.query_files import Parameter
    from groundlake.store import Lake

LISTED = 10
"""Names that an error lists."""


@command(app, ASK)
def query(
    settings: Settings,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A query; without one, all are listed.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="A parameter of the query; may be repeated.")
    ] = None,
    as_of: AsOfOption = None,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Ask a query by its name: `lake query` lists them, with what one row is and their parameters.

    Rows come in the order that the query has, else sorted by their columns from left to right.
    """
    import polars as pl

    from groundlake.query_files import named_queries, named_query

    if name is not None:
        lake = settings.lake_as_of(as_of)
        given, found = parameters(param), named_query(name)
        rows = replace(lake.query(name, **given), query=found.ordered).pl()
        if rows.is_empty():
            refuse_unknown_names(lake, found.parameters, given)
        print_rows(rows, form, output)
        return
    if param:
        raise UsageError(f"--param {param[0]}: name the query that it is for; `lake query` lists them")
    listed = [
        {
            "name": each.name,
            "one_row_is": each.one_row_is,
            "parameters": ", ".join(f"{p.name}={p.setting}" for p in each.parameters),
        }
        for each in named_queries().values()
    ]
    print_rows(pl.DataFrame(listed), form, output)


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


def refuse_unknown_names(lake: Lake, declared: tuple[Parameter, ...], given: Mapping[str, object]) -> None:
    """Tell a name that is not in the lake at all, which is a slip, from one about which there is nothing to report.

    Raises:
        UsageError: Nothing in the lake has a name that was given; similar ones are offered.
    """
    from groundlake.query_files import NAMES

    for parameter in declared:
        if parameter.name not in given or parameter.name not in NAMES:
            continue
        text = str(given[parameter.name])
        text = text if parameter.kind == "STRING" else str(int(text))
        relation, column, condition = NAMES[parameter.name]
        where = f" WHERE {condition}" if condition else ""
        asked = f"SELECT DISTINCT {column} FROM {relation}{where} ORDER BY {column}"
        names = [str(name) for (name,) in lake.sql(asked).rows() if name is not None]
        if text == parameter.default or text in names:
            continue
        by_lower = {name.lower(): name for name in names}
        near = difflib.get_close_matches(text.lower(), by_lower, n=1)
        meant = f"; did you mean {by_lower[near[0]]}?" if near else ""
        there = ", ".join(names[:LISTED]) + (f", {len(names) - LISTED} more" if len(names) > LISTED else "")
        raise UsageError(f"the lake has no {parameter.name} {text!r}{meant}\nthere are {there or 'none'}")
