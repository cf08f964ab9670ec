"""Commands that bring measurements in from files, and take them out again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import KEEP, START, app
from groundlake.cli.progress import progress
from groundlake.cli.settings import Settings, command, how_to_ask
from groundlake.errors import LakeError, UsageError
from groundlake.places import is_remote

if TYPE_CHECKING:
    from groundlake.importers import MigrationReport
    from groundlake.store import Lake
    from groundlake.sync import SyncReport

LOOSE_LEDGER_FILES = 32
"""At this many ledger files of one hardware id, an import or a sweep ends by merging them."""

export = typer.Typer(
    help="Write measurements in other formats.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(export, name="export", rich_help_panel=KEEP)


@command(app, START, "migrate-v1")
def migrate_v1(
    settings: Settings,
    roots: Annotated[list[Path], typer.Argument(metavar="ROOT...", help="calibration_data/, measurements/, or both.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the same report and write nothing.")] = False,
    tz: Annotated[
        list[str] | None,
        typer.Option("--tz", metavar="ZONE|HW=ZONE", help="Zone of dates without one. [default: UTC is assumed]"),
    ] = None,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the report as JSON.")
    ] = None,
) -> None:
    """Import trees of v1.0 and v2.0 measurement JSON, once: twins become one run, bad files are set aside."""
    from groundlake.importers import Zones
    from groundlake.importers import migrate_v1 as migrate

    if report_file and not report_file.absolute().parent.is_dir():
        raise UsageError(f"--report {report_file}: its folder does not exist; nothing was imported")
    with progress("migrate", quiet=settings.quiet) as show:
        report = migrate(settings.lake, roots, zones=Zones.parse(tz or ()), dry_run=dry_run, on_progress=show)
    if report_file:
        report_file.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    print_report(settings, report, dry_run=dry_run)


@command(app, START, "sync")
def sync_(
    settings: Settings,
    source: Annotated[str, typer.Argument(metavar="SRC", help="Where from.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="Where to; made when missing.")],
    hw: Annotated[str | None, typer.Option("--hw", metavar="ID", help="Only this hardware id.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be copied, and write nothing.")] = False,
) -> None:
    """Copy to one lake what another has and it lacks: checked, the ledger last, nothing overwritten or removed.

    Each is a folder, s3://bucket/prefix, or ssh://user@host/path (rsync on both machines); not both are on other
    machines. The same command goes on where it was stopped. In both directions, it makes both lakes equal.
    """
    from groundlake.store import Lake
    from groundlake.sync import sync
    from groundlake.sync.places import SSH

    with progress("sync", quiet=settings.quiet) as show:
        report = sync(source, destination, hardware_id=hw, dry_run=dry_run, on_progress=show)
    print("\n".join(report.lines()))
    if dry_run:
        print("dry run: nothing was written")
    elif not destination.lower().startswith(SSH):
        finish(settings, Lake(destination))


@command(export, KEEP, "v2-json")
def v2_json(
    settings: Settings,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder to write to.")],
    hw: Annotated[str | None, typer.Option("--hw", metavar="ID", help="Only this hardware id.")] = None,
) -> None:
    """Write the canonical v2.0 JSON tree: the latest good run of each configuration, manifests, efficiency curves."""
    from groundlake.importers import export_v2_json

    with progress("export", quiet=settings.quiet) as show:
        report = export_v2_json(settings.lake, dest, hw, on_progress=show)
    print("\n".join(report.lines()))


@command(export, KEEP)
def odcs(
    settings: Settings,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file, which is replaced. [default: stdout]"),
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", metavar="NAME", help="Only this table; repeatable.")
    ] = None,
) -> None:
    """Write the contracts of the tables as YAML of the Open Data Contract Standard, for catalogues and other tools."""
    import yaml

    from groundlake.commit import write_atomically
    from groundlake.direct import contract_named
    from groundlake.odcs import data_contract
    from groundlake.schemas import TABLES

    document = data_contract(settings.lake, [contract_named(name) for name in table or TABLES])
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    if output is None:
        print(text, end="")
        return
    if not output.absolute().parent.is_dir() or output.is_dir():
        raise UsageError(f"--output {output}: give a file in a folder that exists")
    write_atomically(output, text.encode(), "--output")
    settings.remark(f"{output}: {len(document['schema'])} tables")


def print_report(
    settings: Settings, report: MigrationReport | SyncReport, *, dry_run: bool, view: str = "model_summary"
) -> None:
    """Print what an import did, end it tidily, and say by the exit code whether input was set aside."""
    print("\n".join(report.lines()))
    if dry_run:
        print("dry run: nothing was written")
    elif settings.lake.exists:
        finish(settings, settings.lake, view)
    if report.set_aside:
        raise LakeError(f'{report.set_aside} files were set aside; `lake sql "select * from quarantine"` says why')


def finish(settings: Settings, lake: Lake, view: str = "model_summary") -> None:
    """End work that wrote runs: merge a ledger that has become loose, write the view file, say how to ask for them."""
    if is_remote(lake.root):
        settings.remark(
            f'data in {lake.root}\nask: lake --root {shlex.quote(str(lake.root))} sql "select * from {view}"'
        )
        return
    lake.compact_runs(at_least=LOOSE_LEDGER_FILES)
    path = lake.bind_views(only_if_stale=True)
    settings.remark(f"data in {lake.root}, views in {path}\n{how_to_ask(path, view)}")
