"""The command that measures, or brings in what was measured elsewhere."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.app import START, app
from groundlake.cli.fitness import preflight_of_sweep
from groundlake.cli.moving import finish, print_report
from groundlake.cli.progress import progress
from groundlake.cli.settings import Settings, command, say, without_reader
from groundlake.cli.stopping import stops_behind_the_current_run
from groundlake.cli.sweep_report import Course, doubts_about_int8, print_plan, print_result, shown
from groundlake.errors import INTERRUPTED, LakeError, UsageError

if TYPE_CHECKING:
    from groundlake.hardware.target import Target
    from groundlake.measure.int8.settings import Int8Settings
    from groundlake.measure.plan import Configuration, SweepSettings
    from groundlake.store import Lake


GIB = 2**30


class Sweep(str, Enum):
    """Named sets of configurations."""

    QUICK = "quick"
    FULL = "full"


@command(app, START)
def ingest(
    settings: Settings,
    hw: Annotated[str | None, typer.Option("--hw", metavar="ID", help="Hardware id.", show_default="detected")] = None,
    folder: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="Import a lake or v1/v2 JSON, measure nothing: a folder, ssh://user@host/path or s3://bucket/prefix.",
        ),
    ] = None,
    sweep: Annotated[
        Sweep, typer.Option("--sweep", help="What to measure unless the next options say so.")
    ] = Sweep.QUICK,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B", help="torchvision models, encoders, own package.module:factory."),
    ] = None,
    precisions: Annotated[
        str | None, typer.Option("--precisions", metavar="P,Q", help="fp32, tf32, fp16, bf16, int8.")
    ] = None,
    batches: Annotated[str | None, typer.Option("--batches", metavar="1,4", help="Batch sizes.")] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            "--input-shape",
            metavar="3,224,224",
            help="Shape of one input; of an encoder, its length. It becomes a part of the model's name.",
        ),
    ] = None,
    calibration_set: Annotated[
        str | None,
        typer.Option("--calibration-set", metavar="NAME", help="Set of images that int8 is calibrated with."),
    ] = None,
    int8_engine: Annotated[
        str | None,
        typer.Option(
            "--int8-engine",
            metavar="onednn|x86|fbgemm|qnnpack",
            help="What runs int8.",
            show_default="onednn, or the first that torch has",
        ),
    ] = None,
    evaluation_set: Annotated[
        str | None,
        typer.Option(
            "--evaluation-set",
            metavar="NAME",
            help="With int8: prepare calibration images as this registered evaluation does.",
        ),
    ] = None,
    evaluation_data: Annotated[
        Path | None,
        typer.Option(
            "--evaluation-data", metavar="DIR", help="Its images: the accuracy before and after int8 is evaluated."
        ),
    ] = None,
    warmup: Annotated[int, typer.Option("--warmup", help="Passes before timing.")] = 10,
    runs: Annotated[int | None, typer.Option("--runs", help="Timed passes.", show_default="50")] = None,
    until_ci: Annotated[
        str | None,
        typer.Option(
            "--until-ci", metavar="1%", help="Time passes until the mean is known that well, at most --max-runs."
        ),
    ] = None,
    max_runs: Annotated[
        int | None,
        typer.Option("--max-runs", help="Most timed passes with --until-ci, at least 10.", show_default="1000"),
    ] = None,
    repeat: Annotated[
        int | None, typer.Option("--repeat", metavar="N", help="Measure each N times, also what the lake holds.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="Limit for one configuration, in s.")
    ] = 600.0,
    memory_limit: Annotated[
        float | None,
        typer.Option(
            "--memory-limit", metavar="GIB", help="Memory of one configuration.", show_default="90 % of the free"
        ),
    ] = None,
    cooldown: Annotated[
        str | None,
        typer.Option(
            "--cooldown", metavar="30s|55C", help="Between two runs, wait this long or until this temperature."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for another sweep on the same device, instead of stopping.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", envvar="LAKE_FORCE", help="Measure although preflight fails, and mark the runs."),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="cpu|cuda", help="What to measure on.", show_default="the best there is"),
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
        typer.Option(
            "--tz", metavar="ZONE|HW=ZONE", help="With --from: zone of dates without one.", show_default="UTC"
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
) -> None:
    """Measure this machine, or import with --from: subgraph timings and summaries go into the lake.

    What the lake holds is skipped unless --repeat is given. A model that fails becomes a failed run with its reason.
    int8 is quantized with a calibration set (--calibration-set), and its kernels are proven.
    Ctrl-C stops behind the current run; the same command goes on later (with --repeat, give it a --session).
    """
    if folder is not None:
        _import(settings, folder, hw, tz or [], dry_run=dry_run)
        return
    if tz:
        raise UsageError(f"--tz {tz[0]}: a zone is for imported dates; give it with --from PLACE, or leave it out")
    from groundlake.hardware.target import choose_target
    from groundlake.measure.cooldown import Cooldown
    from groundlake.measure.plan import SweepSettings, configurations

    shape = _numbers("--input-shape", input_shape)
    wanted = configurations(
        sweep.value,
        models=_names("--models", models),
        precisions=_names("--precisions", precisions),
        batches=_numbers("--batches", batches),
        input_shape=None if shape is None else tuple(shape),
    )
    int8 = _int8(settings.lake, wanted, calibration_set, int8_engine, evaluation_set, evaluation_data)
    target = choose_target(settings.lake, hw, device)
    plan_settings = SweepSettings(
        hardware_id=target.hardware_id,
        device=target.device,
        thermal_profile=target.spec.power_mode,
        peaks=target.spec.peaks,
        peak_source=target.peak_source,
        warmup=warmup,
        runs=_passes(runs, until_ci, max_runs),
        until_ci=_share("--until-ci", until_ci),
        repeat=repeat,
        timeout_s=timeout,
        memory_limit_bytes=_bytes(memory_limit),
        cooldown=Cooldown.parse(cooldown) if cooldown else None,
        wait=wait,
        session=session,
        note=note,
        power=power,
        power_hz=power_hz,
        baseline_s=baseline,
        show_output=settings.debug,
        int8=int8,
    )
    if dry_run:
        print_plan(settings, plan_settings, wanted, target)
        return
    _measure(settings, target, plan_settings, wanted, force=force)


def _measure(
    settings: Settings, target: Target, plan_settings: SweepSettings, wanted: list[Configuration], *, force: bool
) -> None:
    """Run the sweep, say what came of it, and end with how to ask."""
    from groundlake.measure.sweep import sweep

    lake = settings.lake
    settings.remark(f"measuring {target.hardware_id} on {target.device}: {len(wanted)} configurations")
    if target.remark:
        settings.remark(target.remark)
    for doubt in doubts_about_int8(plan_settings):
        settings.remark(f"warning: {doubt}")
    course = Course()
    with (
        stops_behind_the_current_run(course.under_way) as should_stop,
        progress("ingest", quiet=settings.quiet) as show,
    ):
        result = sweep(
            lake,
            plan_settings,
            wanted,
            on_event=shown(show, lambda: target.introduce(lake), course, should_stop, quiet=settings.quiet),
            should_stop=should_stop,
            preflight=preflight_of_sweep(settings, target.device, force=force),
        )
    try:
        print_result(settings, result, target, repeat=plan_settings.repeat)
        sys.stdout.flush()
    except BrokenPipeError:
        without_reader()  # the exit code below still tells a script what came of the sweep
    if result.stopped_by is not None:
        raise result.stopped_by
    if lake.exists:
        finish(settings, lake)
    if result.left:
        say(f"stopped; the same command goes on with the {len(result.left)} that are left")
        raise typer.Exit(INTERRUPTED)
    if result.failed:
        raise LakeError(
            f"{len(result.failed)} of {len(result.done) + len(result.failed)} runs failed; the lake has the reasons"
        )


def _import(settings: Settings, folder: str, hardware_id: str | None, zones: list[str], *, dry_run: bool) -> None:
    from groundlake.importers import Zones, import_folder

    parsed = Zones.parse(zones) if zones else None
    with progress("import", quiet=settings.quiet) as show:
        report = import_folder(
            settings.lake, folder, hardware_id=hardware_id, zones=parsed, dry_run=dry_run, on_progress=show
        )
    print_report(settings, report, dry_run=dry_run)


def _int8(
    lake: Lake,
    wanted: list[Configuration],
    calibration_set: str | None,
    engine: str | None,
    evaluation_set: str | None,
    evaluation_data: Path | None,
) -> Int8Settings | None:
    """Check what int8 is made with; the options for it mean nothing without it."""
    from groundlake.measure.int8.settings import INT8, choose_int8

    given = {
        "--calibration-set": calibration_set,
        "--int8-engine": engine,
        "--evaluation-set": evaluation_set,
        "--evaluation-data": evaluation_data,
    }
    told = [option for option, value in given.items() if value is not None]
    if told and not any(each.precision == INT8 for each in wanted):
        raise UsageError(f"{told[0]} is for int8, which is not measured here; add --precisions int8, or leave it out")
    if calibration_set is None:
        return None
    return choose_int8(
        lake,
        calibration_set=calibration_set,
        engine=engine,
        evaluation_set=evaluation_set,
        evaluation_data=evaluation_data,
    )


def _names(option: str, text: str | None) -> list[str] | None:
    """Read names between commas; without any of them, the whole sweep would be measured that nobody asked for."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{option} {text!r} names nothing; give values between commas, or leave {option} out")
    return names


def _numbers(option: str, text: str | None) -> list[int] | None:
    names = _names(option, text)
    try:
        return None if names is None else [int(name) for name in names]
    except ValueError:
        raise UsageError(f"{option} takes whole numbers between commas, got {text!r}") from None


def _bytes(gib: float | None) -> int | None:
    if gib is not None and not 0 < gib < float("inf"):
        raise UsageError(f"--memory-limit must be more than 0 GiB, got {gib:g}")
    return None if gib is None else int(gib * GIB)


def _share(option: str, text: str | None) -> float | None:
    """Read `1%` or `0.01`."""
    if text is None:
        return None
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        raise UsageError(f"{option} takes a share of the mean such as 1%, got {text!r}") from None
    if not percent and 1 <= share < 100:  # noqa: PLR2004 - percent
        raise UsageError(f"{option} {text.strip()} is {share:.0%} of the mean; did you mean {share:g}%?")
    return share


def _passes(runs: int | None, until_ci: str | None, max_runs: int | None) -> int:
    """Timed passes, or the most of them; the two ways to say how many exclude each other."""
    if until_ci is None:
        if max_runs is not None:
            raise UsageError("--max-runs bounds --until-ci; give that too, or --runs for a fixed number of passes")
        return 50 if runs is None else runs
    if runs is not None:
        raise UsageError("--runs is a fixed number of passes, and --until-ci finds it; bound it with --max-runs")
    return 1000 if max_runs is None else max_runs
