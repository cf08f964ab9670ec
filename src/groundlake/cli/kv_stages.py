"""`lake kv prepare|run|score|analyze|report|all`: the stages of an evaluation."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.kv import ForceOption, Group, PartialOption, RunIdOption, group_command
from groundlake.cli.kv_words import (
    analysis_words,
    budget_words,
    preparation_words,
    run_words,
    scoring_words,
)
from groundlake.cli.moving import finish
from groundlake.cli.progress import progress
from groundlake.errors import INTERRUPTED, LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

HardwareOption = Annotated[
    str | None,
    typer.Option(
        "--hw", metavar="ID", help="Hardware id.", show_default="detected of a local model, none of an endpoint"
    ),
]


class Stage(str, Enum):
    """Where `lake kv all` begins."""

    PREPARE = "prepare"
    RUN = "run"
    SCORE = "score"
    ANALYZE = "analyze"
    REPORT = "report"


@dataclass(frozen=True)
class _Work:
    """One group, and how its stages are to be done."""

    group: Group
    _: KW_ONLY
    run_id: str | None = None
    allow_partial: bool = False
    force: bool = False
    hw: str | None = None

    def check_options(self) -> None:
        """Refuse a hardware id that runs cannot have, before any stage begins."""
        from groundlake.transition.engines.opening import require_device_id

        require_device_id(self.group.evaluation, self.group.lake, self.hw)

    def prepare(self) -> None:
        """Read, count, sort into bins, choose."""
        from groundlake.transition.data.prepare import prepare

        with progress("prepare", quiet=self.group.settings.quiet) as show:
            done = prepare(
                self.group.evaluation,
                self.group.lake,
                force=self.force,
                on_progress=lambda count, total: show(count, total, "prompts counted"),
            )
        print("\n".join(preparation_words(done)))

    def run(self, *, goes_on: bool = False) -> None:
        """Ask what has no answer.

        Args:
            goes_on: That nothing was answered now is no error where requests had ended before.

        Raises:
            LakeError: No request was answered.
        """
        from groundlake.transition.inference.run import run

        with progress("run", quiet=self.group.settings.quiet) as show:
            outcome = run(
                self.group.evaluation,
                self.group.lake,
                force=self.force,
                hw=self.hw,
                budgets=self._budgets(),
                on_event=lambda event: show(event.done, event.total, event.now),
            )
        print("\n".join(run_words(outcome)))
        if outcome.interrupted:
            raise typer.Exit(INTERRUPTED)
        had_ended = any(each.already for each in outcome.budgets)
        if outcome.asked and not outcome.answered and not (goes_on and had_ended):
            raise LakeError("no request was answered; the lake has the reasons: lake kv sample shows them")

    def score(self) -> None:
        """Score what has no score."""
        from groundlake.transition.scoring.score import score_group

        self._budgets()  # refuses a run that is not there
        with progress("score", quiet=self.group.settings.quiet) as show:
            done = score_group(
                self.group.evaluation,
                self.group.lake,
                allow_partial=self.allow_partial,
                run_id=self.run_id,
                on_progress=lambda count, total: show(count, total, "answers"),
            )
        print("\n".join(scoring_words(done)))

    def analyze(self) -> None:
        """Compute intervals, changes and verdicts."""
        from groundlake.transition.analysis.analyze import analyze_group

        done = analyze_group(self.group.evaluation, self.group.lake, allow_partial=self.allow_partial)
        print("\n".join([*analysis_words(done), *budget_words(done.states)]))

    def report(self) -> None:
        """Write the report."""
        from groundlake.transition.report import write_report

        remarks: list[str] = []
        path = write_report(
            self.group.evaluation, self.group.lake, allow_partial=self.allow_partial, on_remark=remarks.append
        )
        print("\n".join([f"report: {path}", *(f"  {remark}" for remark in remarks)]))

    def _budgets(self) -> tuple[float, ...] | None:
        """Return the budgets that --run-id names; None for all."""
        if self.run_id is None:
            return None
        from groundlake.transition.standing import budgets_named

        return budgets_named(self.group.lake, self.group.exp_group_id, self.run_id)

    def finish(self, view: str = "kv_run_summary") -> None:
        """Write the view file, and say how to ask for more."""
        finish(self.group.settings, self.group.lake, view)

    @contextmanager
    def finishing(self, view: str = "kv_run_summary") -> Iterator[None]:
        """Finish behind the block, however it ends: what was answered can be asked for.

        What ended the block is what the user has to know: an error of the view file does not take its place.
        """
        try:
            yield
        except BaseException:
            if self.group.lake.exists:
                with suppress(Exception):
                    self.finish(view)
            raise
        self.finish(view)


@group_command("prepare")
def prepare(group: Group, force: ForceOption = False) -> None:
    """Read the data set, count tokens, sort by length into bins, and choose what is asked; writes manifest.json.

    Nothing is counted twice. Preparing again with other bins, or more examples, keeps the answers that still count.
    """
    work = _Work(group, force=force)
    work.prepare()
    work.finish("kv_current_datasets")


@group_command("run", asks=True)
def run(group: Group, run_id: RunIdOption = None, hw: HardwareOption = None, force: ForceOption = False) -> None:
    """Ask each chosen example at each budget; what has an answer is never asked again.

    A request that fails is kept with its reason, and the run goes on. Ctrl-C keeps what was answered; so does a killed
    process: the same command goes on.
    """
    work = _Work(group, run_id=run_id, force=force, hw=hw)
    work.check_options()
    with work.finishing():
        work.run()


@group_command("score")
def score(group: Group, run_id: RunIdOption = None, allow_partial: PartialOption = False) -> None:
    """Score each answer by its task's metric, exact match and F1; what has a score by the same rules keeps it."""
    work = _Work(group, run_id=run_id, allow_partial=allow_partial)
    work.score()
    work.finish("kv_answers")


@group_command("analyze")
def analyze(group: Group, allow_partial: PartialOption = False) -> None:
    """Compare all budgets of the group: intervals, paired changes, and whether quality collapses, and where."""
    work = _Work(group, allow_partial=allow_partial)
    work.analyze()
    work.finish("kv_transitions")


@group_command("report")
def report(group: Group, allow_partial: PartialOption = False) -> None:
    """Write report.md, report.html and the plots, from the lake alone."""
    _Work(group, allow_partial=allow_partial).report()


@group_command("all", asks=True)
def run_all(
    group: Group,
    start: Annotated[
        Stage, typer.Option("--from", help="Begin with this stage; `--from score` asks nothing.")
    ] = Stage.PREPARE,
    run_id: RunIdOption = None,
    hw: HardwareOption = None,
    allow_partial: PartialOption = False,
    force: ForceOption = False,
) -> None:
    """Do every stage that is not done yet: prepare, run, score, analyze, report."""
    if run_id is not None and not allow_partial:
        raise UsageError("--run-id leaves the other budgets as they are: give --allow-partial with it")
    work = _Work(group, run_id=run_id, allow_partial=allow_partial, force=force, hw=hw)
    work.check_options()
    stages = (work.prepare, partial(work.run, goes_on=True), work.score, work.analyze, work.report)
    with work.finishing():
        for stage in stages[list(Stage).index(start) :]:
            stage()
