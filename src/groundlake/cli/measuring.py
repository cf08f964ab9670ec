"""The command that measures, or brings in what was measured elsewhere."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import START, app
from groundlake.cli.moving import finish, print_report
from groundlake.cli.output import print_rows
from groundlake.cli.progress import progress
from groundlake.cli.settings import Settings, command
from groundlake.errors import LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundlake.measure.plan import Configuration, SweepSettings
    from groundlake.measure.sweep import Event, SweepResult
    from groundlake.measure.target import Target


class Sweep(str, Enum):
    """Named sets of configurations."""

    QUICK = "quick"
    FULL = "full"


@command(app, START)
def ingest(
    settings: Settings,
    hw: Annotated[str | None, typer.Option("--hw", metavar="ID", help="Hardware id. [default: detected]")] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Import a lake folder or v1/v2 JSON, measure nothing.")
    ] = None,
    sweep: Annotated[
        Sweep, typer.Option("--sweep", help="What to measure unless the next options say so.")
    ] = Sweep.QUICK,
    models: Annotated[
        str | None, typer.Option("--models", metavar="A,B", help="torchvision models, or package.module:factory.")
    ] = None,
    precisions: Annotated[
        str | None, typer.Option("--precisions", metavar="P,Q", help="fp32, tf32, fp16, bf16.")
    ] = None,
    batches: Annotated[str | None, typer.Option("--batches", metavar="1,4", help="Batch sizes.")] = None,
    input_shape: Annotated[
        str | None, typer.Option("--input-shape", metavar="3,224,224", help="Shape of one input of your own model.")
    ] = None,
    warmup: Annotated[int, typer.Option("--warmup", help="Passes before timing.")] = 10,
    runs: Annotated[int, typer.Option("--runs", help="Timed passes.")] = 50,
    repeat: Annotated[
        int | None, typer.Option("--repeat", metavar="N", help="Measure each N times, also what the lake holds.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="Limit for one configuration, in s.")
    ] = 600.0,
    device: Annotated[
        str | None, typer.Option("--device", metavar="cpu|cuda", help="[default: the best there is]")
    ] = None,
    power: Annotated[
        str, typer.Option("--power", metavar="auto|none|FILE", help="Power sensors to read, or a trace to replay.")
    ] = "auto",
    power_hz: Annotated[float, typer.Option("--power-hz", help="Reads of each power sensor per second.")] = 20.0,
    baseline: Annotated[
        float, typer.Option("--baseline", metavar="S", help="Idle baseline before the first run, in s; 0: none.")
    ] = 5.0,
    session: Annotated[str | None, typer.Option("--session", help="Name of this sweep.")] = None,
    note: Annotated[str | None, typer.Option("--note", help="Free text kept with each run.")] = None,
    tz: Annotated[
        list[str] | None,
        typer.Option("--tz", metavar="ZONE|HW=ZONE", help="With --from: zone of dates without one. [default: UTC]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
) -> None:
    """Measure this machine, or import with --from: subgraph timings and summaries go into the lake.

    What the lake holds is skipped unless --repeat is given. A model that fails becomes a failed run with its reason.
    """
    if folder is not None:
        if tz and (folder / "runs").is_dir():
            raise UsageError(f"--tz {tz[0]}: {folder} is a lake, whose times are UTC already; leave it out")
        _import(settings, folder, hw, tz or [], dry_run=dry_run)
        return
    if tz:
        raise UsageError(f"--tz {tz[0]}: a zone is for imported dates; give it with --from DIR, or leave it out")
    from groundlake.measure.plan import SweepSettings, configurations
    from groundlake.measure.target import choose_target

    wanted = configurations(
        sweep.value, models=_names(models), precisions=_names(precisions), batches=_numbers("--batches", batches)
    )
    target = choose_target(settings.lake, hw, device)
    shape = _numbers("--input-shape", input_shape)
    plan_settings = SweepSettings(
        hardware_id=target.hardware_id,
        device=target.device,
        thermal_profile=target.spec.power_mode,
        peaks=target.spec.peaks,
        peak_source=target.peak_source,
        warmup=warmup,
        runs=runs,
        repeat=repeat,
        timeout_s=timeout,
        session=session,
        note=note,
        input_shape=tuple(shape) if shape else None,
        power=power,
        power_hz=power_hz,
        baseline_s=baseline,
    )
    if dry_run:
        _print_plan(settings, plan_settings, wanted)
        return
    _measure(settings, target, plan_settings, wanted)


def _measure(settings: Settings, target: Target, plan_settings: SweepSettings, wanted: list[Configuration]) -> None:
    """Run the sweep, say what came of it, and end with how to ask."""
    from groundlake.measure.sweep import sweep

    lake = settings.lake
    settings.remark(f"measuring {target.hardware_id} on {target.device}: {len(wanted)} configurations")
    with progress("ingest", quiet=settings.quiet) as show:
        result = sweep(lake, plan_settings, wanted, _shown(show, lambda: target.introduce(lake)))
    _print_result(result, target.hardware_id)
    finish(settings, lake)
    if result.failed:
        raise LakeError(
            f"{len(result.failed)} of {len(result.done) + len(result.failed)} runs failed; the lake has the reasons"
        )


def _shown(show: Callable[[int, int, str], None], before_first: Callable[[], None]) -> Callable[[Event], None]:
    """Turn the events of a sweep into progress; a device that nobody knows is written before its first run."""

    def on_event(event: Event) -> None:
        if event.kind == "skipped":
            return
        if event.kind == "started" and event.position == 1:
            before_first()
        done = event.position if event.kind in ("done", "failed") else event.position - 1
        phase = f" {event.phase} {event.passes_done}/{event.passes_total}" if event.phase else ""
        show(done, event.total, f"{event.configuration}{phase}")

    return on_event


def _print_result(result: SweepResult, hardware_id: str) -> None:
    counts = f"{len(result.done)} measured, {len(result.failed)} failed, {len(result.skipped)} in the lake already"
    print(f"{hardware_id}: {counts}")
    for failed in result.failed:
        print(f"  failed: {failed.run}: {failed.reason}")


def _print_plan(settings: Settings, plan_settings: SweepSettings, wanted: list[Configuration]) -> None:
    """Say what a sweep would do, and end as it would where a model is not known or the device is missing."""
    import polars as pl

    from groundlake.measure.plan import plan
    from groundlake.measure.sweep import preflight, torch_is_installed

    todo = plan(settings.lake, plan_settings, wanted)
    checkable = torch_is_installed()
    if checkable:
        preflight(plan_settings, todo)
    rows = [
        {
            "model": run.configuration.model,
            "precision": run.configuration.precision,
            "batch": run.configuration.batch,
            "run_index": run.run_index,
        }
        for run in todo.todo
    ]
    schema = {"model": pl.String, "precision": pl.String, "batch": pl.Int64, "run_index": pl.Int64}
    counts = f"{len(rows)} runs to do, {len(todo.skipped)} in the lake already"
    print(f"{plan_settings.hardware_id} on {plan_settings.device}: {counts}")
    print_rows(pl.DataFrame(rows, schema=schema))
    if not checkable:
        print("models and device were not checked: torch is not installed (pip install 'groundlake[measure]')")


def _import(settings: Settings, folder: Path, hardware_id: str | None, zones: list[str], *, dry_run: bool) -> None:
    from groundlake.importers import Zones, import_folder

    parsed = Zones.parse(zones)
    with progress("import", quiet=settings.quiet) as show:
        report = import_folder(
            settings.lake, folder, hardware_id=hardware_id, zones=parsed, dry_run=dry_run, on_progress=show
        )
    print_report(settings, report, dry_run=dry_run)


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def _numbers(option: str, text: str | None) -> list[int] | None:
    names = _names(text)
    try:
        return [int(name) for name in names] if names else None
    except ValueError:
        raise UsageError(f"{option} takes whole numbers between commas, got {text!r}") from None
