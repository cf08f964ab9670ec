"""`lake experiment study`: run several configurations in several cycles, and say what is done and what came of it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundlake.cli.experimenting import URL_VARIABLE, place_of, preflight_doubts
from groundlake.cli.experiments import EXPERIMENT, experiment
from groundlake.cli.moving import finish
from groundlake.cli.output import Format, FormatOption, OutOption, print_rows
from groundlake.cli.progress import progress
from groundlake.cli.settings import Settings, command, say
from groundlake.cli.stopping import stops_behind_the_current_run
from groundlake.cli.study_report import print_cells, print_figures, print_summary, shown
from groundlake.errors import INTERRUPTED, LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from groundlake.cli.experimenting import Place
    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.prompts import Prompts
    from groundlake.experiment.quality import Doubt
    from groundlake.experiment.study import Study
    from groundlake.store import Lake

study = typer.Typer(
    help="Studies: several configurations in several cycles, planned in the lake and resumable.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
experiment.add_typer(study, name="study")

NameArgument = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A study, or the file that asks for it.")]

PROMPTS = 100
"""Number of prompts where a study does not say: that of `lake experiment run`."""

FIELDS = {"hw": "hardware_id", "baseline": "baseline_s", "timeout": "timeout_s"}
"""Options whose field of a plan has another name."""

ELSEWHERE = frozenset({"prompts", "n", "hw", "device", "base_url", "remote", "completions"})
"""Options that are no field of a plan as they stand."""

LIST = """
    SELECT p.*, r.last_run_at
    FROM study_progress p
    LEFT JOIN (
        SELECT hardware_id, session_id, max(started_at) AS last_run_at
        FROM runs
        WHERE kind IN ('study', 'llm_inference')
        GROUP BY hardware_id, session_id
    ) r ON r.hardware_id = p.hardware_id AND r.session_id = p.study
    ORDER BY r.last_run_at DESC NULLS LAST, p.study, p.hardware_id
"""


@command(study, EXPERIMENT, "run")
def run(
    settings: Settings,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The study, as YAML.")],
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed experiments again, besides what was not tried yet.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for whoever measures on the device now.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", envvar="LAKE_FORCE", help="Measure although preflight fails, and mark the runs."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be measured, and write nothing.")] = False,
) -> None:
    """Run what is planned and not done. Killed or stopped, the same command goes on; nothing is measured twice.

    A file: study: NAME, cycles: N, order: sequential|interleaved|shuffled (with seed), gap_s, base: options of
    `lake experiment run`, grid: lists of values, configurations: further ones. One that fails is kept with its reason,
    and the study goes on; exit code 1 then. Ctrl-C stops behind the current experiment.
    """
    asked = _Asked(settings)
    planned = asked.study(file)
    if dry_run:
        print_cells(_cells(settings.lake, planned.name, planned), planned)
        print("dry run: nothing was measured")
        return
    for text in planned.remarks:
        settings.remark(text)
    _run(settings, asked, planned, retry_failed=retry_failed, wait=wait, force=force)


@command(study, EXPERIMENT, "status")
def status(settings: Settings, name: NameArgument, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """Show each experiment of a study: done, failed with its last error, or missing."""
    from groundlake.experiment.study_file import is_study_file

    planned = _Asked(settings).study(Path(name)) if is_study_file(name) else None
    rows = _cells(settings.lake, name if planned is None else planned.name, planned)
    if form is Format.TABLE and output is None:
        print_cells(rows, planned)
    else:
        print_rows(rows, form, output)


@command(study, EXPERIMENT, "show")
def show(settings: Settings, name: NameArgument, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """Show what came of a study, a row for each configuration: means over cycles, with their 95 % intervals."""
    from groundlake.experiment.study_figures import study_figures
    from groundlake.experiment.study_file import is_study_file, read_study

    name = read_study(Path(name)).name if is_study_file(name) else name
    _require_known(settings.lake, name)
    rows = study_figures(settings.lake, name)
    if form is Format.TABLE and output is None:
        print_figures(name, rows)
    else:
        print_rows(rows, form, output)


@command(study, EXPERIMENT, "list")
def list_studies(settings: Settings, form: FormatOption = Format.TABLE, output: OutOption = None) -> None:
    """List studies, the latest first: how much of each is done."""
    print_rows(settings.lake.sql(LIST).pl(), form, output)


@dataclass
class _Asked:
    """Makes plans of configurations; each device and each file of prompts is looked at once."""

    settings: Settings
    places: dict[object, Place] = field(default_factory=dict)
    prompts: dict[object, Prompts] = field(default_factory=dict)

    def study(self, file: Path) -> Study:
        """Read the file of a study, and check every configuration."""
        from groundlake.experiment.study import plan_study
        from groundlake.experiment.study_file import read_study

        return plan_study(read_study(file), self.plan)

    def plan(self, options: Mapping[str, Any]) -> ExperimentPlan:
        """Make a plan of options of `lake experiment run`.

        Raises:
            UsageError: It cannot be measured.
        """
        from groundlake.experiment.plan import BACKENDS, OPENAI, ExperimentPlan
        from groundlake.experiment.prompts import read_prompts

        if options["backend"] not in BACKENDS:
            raise UsageError(f"--backend must be one of {', '.join(BACKENDS)}, got {options['backend']!r}")
        is_endpoint = options["backend"] == OPENAI
        place = self._place(options, is_endpoint=is_endpoint)
        file = (options["prompts"], options.get("n", PROMPTS))
        if file not in self.prompts:
            self.prompts[file] = read_prompts(Path(file[0]), file[1])
        told = {FIELDS.get(name, name): value for name, value in options.items() if name not in ELSEWHERE}
        device = options.get("device")
        return ExperimentPlan(
            **told,
            prompts=self.prompts[file],
            hardware_id=place.hardware_id,
            device=device if is_endpoint or place.target is None else place.target.device,
            base_url=place.base_url,
            is_remote=place.is_remote,
            chat=not options.get("completions", False),
            thermal_profile=place.target.spec.power_mode if place.target is not None else None,
            show_output=self.settings.debug,
        )

    def _place(self, options: Mapping[str, Any], *, is_endpoint: bool) -> Place:
        url = options.get("base_url") or (os.environ.get(URL_VARIABLE) if is_endpoint else None)
        hw, device, remote = options.get("hw"), options.get("device"), options.get("remote", False)
        key = (hw, device, url, remote, is_endpoint)
        if key not in self.places:
            self.places[key] = place_of(self.settings, hw, device, url, is_endpoint=is_endpoint, remote=remote)
        return self.places[key]


def _run(settings: Settings, asked: _Asked, planned: Study, *, retry_failed: bool, wait: bool, force: bool) -> None:
    """Hold the study and its devices, run what is to be run, and say what came of it."""
    from groundlake.experiment.study_run import require_study, run_study, states_of, to_do
    from groundlake.measure.occupancy import alone, occupied, physical_device

    lake, targets = settings.lake, [place.target for place in asked.places.values() if place.target is not None]
    require_study(planned)
    under_way: list[str] = []
    with (
        stops_behind_the_current_run(lambda: "".join(under_way[-1:])) as should_stop,
        progress("study", quiet=settings.quiet) as show_progress,
        ExitStack() as stack,
    ):
        stack.enter_context(alone(planned.name, lake.root))
        devices = {cell.plan.device for cell in planned.cells if not cell.plan.is_remote} - {None}
        devices |= {target.device for target in targets}
        # cuda and cuda:0 may be one device. In one order, so that two studies never wait for each other.
        places = {physical_device(device): device for device in map(str, devices)}
        for _, device in sorted(places.items()):
            held = occupied(
                device,
                planned.name,
                wait=wait,
                should_stop=should_stop,
                on_wait=lambda what: show_progress(0, 0, what),
            )
            if not stack.enter_context(held):
                raise typer.Exit(INTERRUPTED)
        todo = to_do(planned, states_of(lake, planned), retry_failed=retry_failed)
        result = run_study(
            lake,
            planned,
            retry_failed=retry_failed,
            doubts_of=_preflight(settings, [cell.plan for cell in todo], force=force),
            on_event=shown(show_progress, under_way, quiet=settings.quiet),
            should_stop=should_stop,
        )
    for target in targets:
        target.introduce(lake)
    rows = _cells(lake, planned.name, planned)
    print_summary(settings, planned, result, rows)
    finish(settings, lake, "experiment_summary")
    if result.left:
        say(f"stopped; the same command goes on with the {len(result.left)} that are left")
        raise typer.Exit(INTERRUPTED)
    failed = rows.filter(state="failed", is_current=True).height
    if failed:
        again = "" if retry_failed else "; to try them again: --retry-failed"
        raise LakeError(f"{failed} of {len(planned.cells)} experiments failed; the lake has the reasons{again}")


def _preflight(
    settings: Settings, plans: Sequence[ExperimentPlan], *, force: bool
) -> Callable[[ExperimentPlan], list[Doubt]]:
    """Check each device on which a model is to be loaded, once, before anything is written."""
    # A server that is warm fills memory and processor, which preflight would take for somebody else's work.
    devices = dict.fromkeys(plan.device for plan in plans if plan.base_url is None)
    found = {device: preflight_doubts(settings, device, force=force) for device in devices}
    return lambda plan: found.get(plan.device, []) if plan.base_url is None else []


def _cells(lake: Lake, name: str, planned: Study | None) -> Any:  # noqa: ANN401 - a frame; polars is imported late
    """Experiments of a study, as the lake and the file have them."""
    from groundlake.experiment.study_cells import cells_beside_file, told_cells

    if planned is not None:
        return cells_beside_file(lake, planned)
    _require_known(lake, name)
    return told_cells(lake, name)


def _require_known(lake: Lake, name: str) -> None:
    """Raise unless a study of this name was planned in the lake."""
    there = sorted({row[0] for row in lake.sql("SELECT DISTINCT study FROM study_cells").rows()})
    if name not in there:
        raise UsageError(f"no study {name!r} in {lake.root}; there are {', '.join(there) or 'none'}")
