"""`lake experiment run`: ask a model, measure latency and energy, and keep it in the lake."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.experiment_report import print_outcome, print_plan
from groundlake.cli.experiments import EXPERIMENT, experiment
from groundlake.cli.fitness import preflight_of_sweep
from groundlake.cli.moving import finish
from groundlake.cli.progress import progress
from groundlake.cli.settings import Settings, command
from groundlake.cli.stopping import STOP_SIGNALS
from groundlake.errors import LakeEnvironmentError, LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from groundlake.experiment.plan import ExperimentPlan
    from groundlake.experiment.quality import Doubt
    from groundlake.experiment.rows import ExperimentRun
    from groundlake.experiment.runner import Event, Outcome
    from groundlake.hardware.target import Target
    from groundlake.store import Lake

URL_VARIABLE = "OPENAI_BASE_URL"


class Backend(str, Enum):
    """What answers."""

    TRANSFORMERS = "transformers"
    OPENAI = "openai"


class Dtype(str, Enum):
    """Type of a local model's weights."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


@command(experiment, EXPERIMENT, "run")
def run(
    settings: Settings,
    backend: Annotated[
        Backend, typer.Option("--backend", help="A model in processes of this machine, or an endpoint that streams.")
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="PATH|NAME", help="Folder or name of a model; its name at an endpoint.")
    ],
    prompts: Annotated[
        Path, typer.Option("--prompts", metavar="FILE", help=".txt with a prompt in a line, .jsonl, or .json.")
    ],
    n: Annotated[int, typer.Option("--n", help="Prompts; the file is cut, or begun again.")] = 100,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Limit of an answer, in tokens.")] = 64,
    batch: Annotated[int, typer.Option("--batch", help="Prompts that a local model answers together.")] = 1,
    concurrency: Annotated[int, typer.Option("--concurrency", help="Requests in flight at an endpoint at once.")] = 1,
    processes: Annotated[
        int, typer.Option("--processes", help="Processes that share the prompts; each loads the model.")
    ] = 1,
    hw: Annotated[str | None, typer.Option("--hw", metavar="ID", help="Hardware id.", show_default="detected")] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            metavar="URL",
            envvar=URL_VARIABLE,
            help="Address of the endpoint; its key is read from OPENAI_API_KEY only.",
        ),
    ] = None,
    remote: Annotated[
        bool,
        typer.Option("--remote", help="The endpoint runs on another machine, although its address is of this one."),
    ] = False,
    completions: Annotated[
        bool, typer.Option("--completions", help="Ask for continuations of the prompts, not in a chat.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="cpu|cuda", help="Where the model runs.", show_default="the best there is"),
    ] = None,
    dtype: Annotated[Dtype, typer.Option("--dtype", help="Type of a local model's weights.")] = Dtype.AUTO,
    precision: Annotated[
        str | None,
        typer.Option("--precision", metavar="P", help="What an endpoint serves: bf16, int4.", show_default="none"),
    ] = None,
    warmup: Annotated[int, typer.Option("--warmup", help="Batches, or requests, before; of each process.")] = 3,
    baseline: Annotated[
        float, typer.Option("--baseline", metavar="S", help="Idle power before the model is loaded, in s; 0: none.")
    ] = 5.0,
    power: Annotated[
        str, typer.Option("--power", metavar="auto|none|FILE", help="Power sensors to read, or a trace to replay.")
    ] = "auto",
    power_hz: Annotated[float, typer.Option("--power-hz", help="Reads of each power sensor per second.")] = 20.0,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of sampling.")] = None,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Go on to --max-new-tokens, so that all answers are of one length.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="Limit of a request, or of a batch, in s.")
    ] = 600.0,
    repeat: Annotated[int, typer.Option("--repeat", metavar="N", help="Measure N times, as cycles 1 to N.")] = 1,
    cycle: Annotated[
        int | None, typer.Option("--cycle", metavar="K", help="Number of this repeat, where you repeat it yourself.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the configuration.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Study that the runs belong to.")] = None,
    note: Annotated[str | None, typer.Option("--note", help="Free text kept with each run.")] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Also write result.json and timeseries.parquet.")
    ] = None,
    export_csv: Annotated[
        Path | None, typer.Option("--export-csv", metavar="FILE", help="Also write a line for each result.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for whoever measures on the device now.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", envvar="LAKE_FORCE", help="Measure although preflight fails, and mark the runs."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be measured, and write nothing.")] = False,
) -> None:
    """Ask a model, measure latency, throughput and energy, and write a run of kind llm_inference.

    Warm-up is in no figure. A request that fails is kept with its reason; where all fail, or a process dies, the run is
    kept as failed. Warnings say what is doubtful, and what to do. Ctrl-C ends all processes and writes nothing.
    """
    from groundlake.experiment.plan import OPENAI, ExperimentPlan
    from groundlake.experiment.prompts import read_prompts

    _refuse_places(save, export_csv)
    if repeat < 1:
        raise UsageError(f"--repeat must be at least 1, got {repeat}")
    if repeat > 1 and cycle is not None:
        raise UsageError("--repeat counts the cycles itself; leave --cycle out")
    is_endpoint = backend.value == OPENAI
    place = place_of(settings, hw, device, base_url, is_endpoint=is_endpoint, remote=remote)
    plan = ExperimentPlan(
        backend=backend.value,
        model=model,
        prompts=read_prompts(prompts, n),
        hardware_id=place.hardware_id,
        max_new_tokens=max_new_tokens,
        batch=batch,
        concurrency=concurrency,
        processes=processes,
        device=device if is_endpoint or place.target is None else place.target.device,
        dtype=dtype.value,
        precision=precision or "none",
        base_url=place.base_url,
        is_remote=place.is_remote,
        warmup=warmup,
        baseline_s=baseline,
        power=power,
        power_hz=power_hz,
        seed=seed,
        temperature=temperature,
        ignore_eos=ignore_eos,
        timeout_s=timeout,
        chat=not completions,
        name=name,
        session=session,
        cycle=1 if repeat > 1 else cycle,
        thermal_profile=place.target.spec.power_mode if place.target is not None else None,
        note=note,
        show_output=settings.debug,
    )
    if dry_run:
        print_plan(plan, repeat)
        return
    if plan.prompts.remark:
        settings.remark(plan.prompts.remark)
    if place.target is not None and place.target.remark:
        settings.remark(place.target.remark)
    _measure(settings, _Work(plan, place, repeat, save, export_csv), wait=wait, force=force)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the model runs.

    Attributes:
        hardware_id: Id that the runs carry.
        base_url: Address of the endpoint.
        is_remote: Whether another machine works.
        target: This machine, where it works.
    """

    hardware_id: str
    base_url: str | None = None
    is_remote: bool = False
    target: Target | None = None


@dataclass
class _Work:
    """What is to be measured, where it goes, and what came of it."""

    plan: ExperimentPlan
    place: Place
    repeat: int
    save: Path | None
    export_csv: Path | None
    runs: list[ExperimentRun] = field(default_factory=list)
    saved: list[Path] = field(default_factory=list)
    failed: int = 0
    not_saved: LakeEnvironmentError | None = None

    def keep(self, outcome: Outcome) -> None:
        """Write a result beside the lake, before the lake is written: neither loses it for the other."""
        if outcome.result is None or outcome.run is None:
            return
        self.runs.append(outcome.run)
        try:
            if self.save is not None:
                self.saved.append(outcome.result.save(self.save))
            if self.export_csv is not None:
                from groundlake.experiment.csv_export import export_csv

                export_csv(self.runs, self.export_csv)
        except LakeEnvironmentError as error:
            self.not_saved = error


def place_of(
    settings: Settings, hw: str | None, device: str | None, url: str | None, *, is_endpoint: bool, remote: bool
) -> Place:
    """Decide under which hardware id is measured, and whether this machine works."""
    from groundlake.hardware.target import choose_target, require_meant

    if not is_endpoint:
        if remote:
            raise UsageError("--remote is about an endpoint; a local model runs on this machine")
        target = choose_target(settings.lake, hw, device)
        # The variable may be set for other programs: only an address that was meant is an error.
        return Place(hardware_id=target.hardware_id, base_url=_meant(url), target=target)
    from groundlake.experiment.plan import address_of
    from groundlake.llm.address import is_loopback

    address = address_of(url)
    if is_loopback(address) and not remote:
        target = choose_target(settings.lake, hw, device)
        return Place(hardware_id=target.hardware_id, base_url=address, target=target)
    if hw is None:
        raise UsageError(
            f"{address} is not on this machine, so its hardware cannot be seen from here: give --hw ID\n"
            "  lake hw list shows the ids that are known; any other name is that of a new device"
        )
    return Place(hardware_id=require_meant(settings.lake, hw), base_url=address, is_remote=True)


def _meant(url: str | None) -> str | None:
    return None if url == os.environ.get(URL_VARIABLE) else url


def _refuse_places(save: Path | None, export_csv: Path | None) -> None:
    """Refuse places that cannot be written before an hour is measured for them."""
    if save is not None and save.exists() and not save.is_dir():
        raise UsageError(f"--save {save} is a file; give a folder")
    if export_csv is not None and export_csv.is_dir():
        raise UsageError(f"--export-csv {export_csv} is a folder; give a file")


def _measure(settings: Settings, work: _Work, *, wait: bool, force: bool) -> None:
    """Hold the device, measure all cycles, say what came of them, and end with how to look."""
    from groundlake.experiment.readiness import require_backend
    from groundlake.measure.occupancy import occupied

    plan, target, lake = work.plan, work.place.target, settings.lake
    require_backend(plan.backend)
    outcomes: list[Outcome] = []
    try:
        with _ended_by_signals(), progress("experiment", quiet=settings.quiet) as show, ExitStack() as stack:
            if target is not None:
                device = plan.device or target.device
                stack.enter_context(occupied(device, plan.session, wait=wait, on_wait=lambda what: show(0, 0, what)))
            # A server that is warm fills memory and processor, which preflight would take for somebody else's work.
            doubts = preflight_doubts(settings, plan.device, force=force) if plan.base_url is None else []
            outcomes.extend(_cycles(work, lake, doubts, show))
    finally:
        for outcome in outcomes:
            print_outcome(settings, plan, outcome)
    for place in work.saved:
        print(f"saved: {place}")
    if target is not None:
        target.introduce(lake)
    finish(settings, lake, "experiment_summary")
    if work.not_saved is not None:
        raise work.not_saved
    if work.failed:
        raise LakeError(f"{work.failed} of {work.repeat} experiments failed; the lake has the reasons")


def _cycles(work: _Work, lake: Lake, doubts: list[Doubt], show: Callable[[int, int, str], None]) -> Iterator[Outcome]:
    """Measure each cycle; the idle power is taken once."""
    from groundlake.experiment.runner import run_experiment
    from groundlake.layout import new_id

    plan, baseline = work.plan, None
    session_id = plan.session or plan.name or new_id()
    for number in range(1, work.repeat + 1):
        prefix = f"cycle {number} of {work.repeat}: " if work.repeat > 1 else ""

        def on_event(event: Event, prefix: str = prefix) -> None:
            show(event.done, event.total, f"{prefix}{event.now}")

        outcome = run_experiment(
            lake,
            replace(plan, cycle=number) if work.repeat > 1 else plan,
            session_id=session_id,
            baseline=baseline,
            doubts=doubts,
            on_event=on_event,
            before_writing=work.keep,
        )
        baseline = outcome.baseline
        work.failed += outcome.result is None
        yield outcome


def preflight_doubts(settings: Settings, device: str | None, *, force: bool) -> list[Doubt]:
    """Check this machine as every sweep does; what is doubtful becomes a warning of the runs."""
    from groundlake.experiment.quality import Doubt

    found = preflight_of_sweep(settings, device or "cpu", force=force)()
    return [
        Doubt(
            code=each.code,
            seen=f"{each.meaning}: {each.observed}, wanted {each.threshold}",
            advice=f"{each.advice}." if each.advice else "Look at lake preflight.",
        )
        for each in found
    ]


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Treat the end of a session, or a batch system's signal, like Ctrl-C: processes are ended, nothing is written."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    # What the shell told this process to ignore (nohup) stays ignored.
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
