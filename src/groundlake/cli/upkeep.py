"""Commands that keep a lake quick, small and sound: compact, vacuum, check, retract."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import KEEP, app
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.progress import progress
from groundlake.cli.settings import Settings, command
from groundlake.errors import CorruptLakeError, LakeEnvironmentError, LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from groundlake.maintenance.compaction import Compacted
    from groundlake.maintenance.integrity import Finding
    from groundlake.maintenance.vacuum import Dead, Vacuumed

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHOWN = 20

HardwareOption = Annotated[str | None, typer.Option("--hw", metavar="ID", help="Only this hardware id.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]


@command(app, KEEP)
def compact(
    settings: Settings,
    table: Annotated[
        str | None, typer.Option("--table", help="`runs`: merge the ledger alone.", show_default="everything")
    ] = None,
    hw: HardwareOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Merge the small files of each leaf folder into one, and the ledger's: this is what keeps a lake quick.

    Readers and writers go on meanwhile. The merged files stay, unseen, until `lake vacuum` removes them.
    """
    lake = settings.lake
    if table not in (None, "runs"):
        raise UsageError(
            f"--table {table}: the rows of a run move together in all tables; only the ledger is merged by itself: "
            "--table runs"
        )
    if table == "runs":
        counts = lake.loose_ledger_files(hw) if dry_run else lake.compact_runs(hw)
        would = "would be " if dry_run else ""
        for name, count in counts.items():
            print(f"{name}: {count} ledger files {would}merged into 1")
        if not counts:
            print("nothing to do: every hardware id has one ledger file")
        return
    with progress("compact", quiet=settings.quiet) as show:
        done = lake.compact(hw, dry_run=dry_run, on_progress=lambda count, total: show(count, total, "files merged"))
    print("\n".join(_compacted_words(done, dry_run=dry_run)))


@command(app, KEEP)
def vacuum(
    settings: Settings,
    older_than: Annotated[
        str,
        typer.Option("--older-than", metavar="TIME", help="Only files that have lain there for so long: 7d, 12h, 30m."),
    ] = "7d",
    dry_run: DryRunOption = False,
    nobody_writes: Annotated[
        bool,
        typer.Option("--nobody-writes", help="No writer is at work on any machine, so that less than 10m is safe."),
    ] = False,
) -> None:
    """Remove files that no reader can see: remains of crashes, and parts that were merged into others.

    A query in flight may fail meanwhile, and never answers wrongly. `--as-of` goes on working.
    """
    seconds = parse_time(older_than, "--older-than")
    done = settings.lake.vacuum(older_than_s=seconds, dry_run=dry_run, nobody_writes=nobody_writes)
    print("\n".join(_vacuumed_words(done, older_than, dry_run=dry_run)))


@command(app, KEEP)
def check(
    settings: Settings,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read every part: its rows against the contract, its bytes against the ledger."),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Set damaged files aside, so that everything else can be read again, and misplaced ones back.",
        ),
    ] = False,
    form: FormatOption = Format.TABLE,
    output: OutOption = None,
) -> None:
    """Compare ledger, files and contracts: orphans, leftovers, torn, foreign, misplaced and missing parts.

    Exit code 0 when all is well, 1 with remains of a crash, 4 with damaged data, 5 where files may not be read.
    """
    import polars as pl

    lake = settings.lake
    findings = lake.check()
    seen = ""
    if deep:
        with progress("check", quiet=settings.quiet) as show:
            looked = lake.check_deep(findings, on_progress=lambda count, total: show(count, total, "files read"))
        findings = [*findings, *looked.findings]
        seen = f"; {looked.files} files read, {looked.with_checksum} of them held against a recorded checksum"
    columns = ("code", "where", "what", "what_to_do")
    rows = [{name: getattr(finding, name) for name in columns} for finding in findings]
    if form is not Format.TABLE or output:
        print_rows(pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String)), form, output)
    else:
        for row in rows:
            print(f"{row['code']}: {row['where']}\n  {row['what']}\n  -> {row['what_to_do']}")
        print(("all is well" if not rows else f"{len(rows)} findings") + seen)
    if repair:
        for moved in lake.repair(findings):
            print(f"{'put back' if moved.back else 'set aside'}: {moved.was}\n  -> {moved.now}")
    _end(findings)


@command(app, KEEP)
def retract(
    settings: Settings,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it stays in the ledger.")],
    hw: Annotated[
        str | None, typer.Option("--hw", metavar="ID", help="Its hardware id, where several have such a run.")
    ] = None,
) -> None:
    """Withdraw a run: it is not shown any more. What was recorded stays, and `--as-of` an earlier time shows it."""
    lake = settings.lake
    hardware_id = lake.retract(run_id, hw, why)
    print(f"run {run_id} of {hardware_id} is withdrawn: {why}")


def parse_time(text: str, option: str) -> float:
    """Return the seconds of a time such as 7d, 12h, 30m or 90s.

    Raises:
        UsageError: It is no such time.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text.strip())
    if match is None:
        raise UsageError(f"{option} {text}: a time is a number and s, m, h or d, for example 7d or 12h")
    return float(match[1]) * UNITS_S[match[2]]


def _end(findings: Sequence[Finding]) -> None:
    if any(finding.corrupt for finding in findings):
        raise CorruptLakeError("the lake has damaged data; the findings say what to do")
    if any(finding.code == "unreadable" for finding in findings):
        raise LakeEnvironmentError("files of the lake may not be read; the findings say what to do")
    if any(finding.code == "orphan" for finding in findings):
        raise LakeError(
            "files that no run points at are in the lake: remains of interrupted work, or of a lost ledger file"
        )
    if findings:
        raise LakeError("remains of interrupted work are in the lake; no run is affected")


def _compacted_words(done: Sequence[Compacted], *, dry_run: bool) -> Iterator[str]:
    would = "would be " if dry_run else ""
    for each in done:
        after = "" if each.bytes_after is None else f", {_size(each.bytes_before)} to {_size(each.bytes_after)}"
        before = f"{each.files_before} files of {each.runs} runs"
        yield f"{each.hardware_id}: {before} {would}merged into {each.files_after}{after}"
    if not done:
        yield "nothing to do: every leaf folder has one part"


def _vacuumed_words(done: Vacuumed, older_than: str, *, dry_run: bool) -> Iterator[str]:
    for each in done.removed[:SHOWN]:
        yield f"{each.code}: {each.path}"
    if len(done.removed) > SHOWN:
        yield f"and {len(done.removed) - SHOWN} more"
    would = "would be " if dry_run else ""
    yield f"{_counted(done.removed)} {would}removed"
    if done.kept:
        yield f"{_counted(done.kept)} younger than {older_than} stay"
    if done.without_ledger:
        yield (
            f"{len(done.without_ledger)} files have no ledger at all and stay, such as {done.without_ledger[0]}\n"
            "  restore the folder runs/ of their hardware id from a copy, or remove them yourself"
        )
    if done.elsewhere:
        yield (
            f"{len(done.elsewhere)} files are named by the ledger of another hardware id and stay, such as "
            f"{done.elsewhere[0]}\n  move the file of runs/ that names them back to their own hardware id"
        )
    for kept in done.needed:
        yield (
            f"{kept.hardware_id}: {len(kept.paths)} superseded files stay, such as {kept.paths[0]}\n"
            f"  what they were merged into is damaged: {kept.why}\n"
            "  restore that part from a copy of the lake; until then they hold the only rows, and nothing removes them"
        )
    for left in done.forgotten:
        yield (
            f"{left.hardware_id}: {left.statements} statements about empty places {would}removed from the ledger; "
            f"its {left.files} files {would}written as one"
        )


def _counted(files: Sequence[Dead]) -> str:
    kinds = sorted({each.code for each in files})
    detail = ", ".join(f"{sum(each.code == kind for each in files)} {kind}" for kind in kinds)
    return f"{len(files)} files ({_size(sum(each.size_bytes for each in files))}{'; ' + detail if detail else ''})"


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - the next unit begins there
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
