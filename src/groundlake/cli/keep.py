"""Commands that make a lake and look after it."""

from __future__ import annotations

from typing import Annotated

import typer

from groundlake.cli.app import KEEP, START, app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.settings import Settings, command, how_to_ask
from groundlake.errors import CorruptLakeError, LakeError, UsageError


@command(app, START)
def init(settings: Settings) -> None:
    """Make an empty lake and its view file; does nothing to a lake that is there."""
    lake = settings.lake
    lake.create()
    print(f"{lake.root}  (data)\n{lake.bind_views(only_if_stale=True)}  (views)")


@command(app, KEEP)
def views(settings: Settings) -> None:
    """Write the view file anew, for example after moving the lake."""
    path = settings.lake.bind_views()
    print(f"{path}\n{how_to_ask(path)}")


@command(app, KEEP)
def check(settings: Settings, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """Compare ledger, files and contracts: orphans, leftovers, torn, foreign and missing parts.

    Exit code 0 when all is well, 1 with remains of a crash, 4 with damaged data.
    """
    import polars as pl

    findings = settings.lake.check()
    columns = ("code", "where", "what", "what_to_do")
    rows = [{name: getattr(finding, name) for name in columns} for finding in findings]
    if form is not Format.TABLE or output:
        print_rows(pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String)), form, output)
    else:
        for row in rows:
            print(f"{row['code']}: {row['where']}\n  {row['what']}\n  -> {row['what_to_do']}")
        print("all is well" if not rows else f"{len(rows)} findings")
    if any(finding.corrupt for finding in findings):
        raise CorruptLakeError("the lake has damaged data; the findings say what to do")
    if findings:
        raise LakeError("remains of interrupted work are in the lake; no run is affected")


@command(app, KEEP)
def compact(
    settings: Settings,
    table: Annotated[str, typer.Option("--table", help="Table to compact; `runs` is the ledger.")] = "runs",
) -> None:
    """Merge the ledger's loose files, which is what keeps a lake quick. Readers and writers go on meanwhile."""
    if table != "runs":
        raise UsageError(f"only the ledger is compacted, got --table {table}; use --table runs")
    merged = settings.lake.compact_runs()
    for hardware_id, count in merged.items():
        print(f"{hardware_id}: {count} ledger files merged into 1")
    if not merged:
        print("nothing to do: every hardware id has one ledger file")
