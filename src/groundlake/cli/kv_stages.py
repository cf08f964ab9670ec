"""`lake kv prepare|run|score|analyze|report|all`: the stages of an evaluation."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from groundlake.cli.kv import (
    KV,
    ConfigOption,
    ForceOption,
    OverrideOption,
    PartialOption,
    PrintConfigOption,
    RunIdOption,
    kv,
    read_evaluation,
)
from groundlake.cli.kv_words import (
    analysis_words,
    budget_words,
    preparation_words,
    run_words,
    scoring_words,
)
from groundlake.cli.moving import finish
from groundlake.cli.progress import progress
from groundlake.cli.settings import Settings, command
from groundlake.errors import INTERRUPTED, LakeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundlake.transition.configuration.settings import Settings as Evaluation

HardwareOption = Annotated[
    str | None, typer.Option("--hw", metavar="ID", help="Hardware id of a local model.", show_default="detected")
]


class Stage(str, Enum):
    """Where `lake kv all` begins."""

    PREPARE = "prepare"
    RUN = "run"
    SCORE = "score"
    ANALYZE = "analyze"
    REPORT = "report"


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One evaluation, and how its stages are to be done."""

    settings: Settings
    evaluation: Evaluation
    run_id: str | None = None
    allow_partial: bool = False
    force: bool = False
    hw: str | None = None

    def prepare(self) -> None:
        """Read, count, sort into bins, choose."""
        from groundlake.transition.data.prepare import prepare

        with progress("prepare", quiet=self.settings.quiet) as show:
            done = prepare(
                self.evaluation,
                self.settings.lake,
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

        with progress("run", quiet=self.settings.quiet) as show:
            outcome = run(
                self.evaluation,
                self.settings.lake,
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
        with progress("score", quiet=self.settings.quiet) as show:
            done = score_group(
                self.evaluation,
                self.settings.lake,
                allow_partial=self.allow_partial,
                run_id=self.run_id,
                on_progress=lambda count, total: show(count, total, "answers"),
            )
        print("\n".join(scoring_words(done)))

    def analyze(self) -> None:
        """Compute intervals, changes and verdicts."""
        from groundlake.transition.analysis.analyze import analyze_group
        from groundlake.transition.standing import budget_states

        done = analyze_group(self.evaluation, self.settings.lake, allow_partial=self.allow_partial)
        group = str(self.evaluation.output.exp_group_id)
        print("\n".join([*analysis_words(done), *budget_words(budget_states(self.settings.lake, group))]))

    def report(self) -> None:
        """Write the report."""
        from groundlake.transition.report import write_report

        remarks: list[str] = []
        path = write_report(
            self.evaluation, self.settings.lake, allow_partial=self.allow_partial, on_remark=remarks.append
        )
        print("\n".join([f"report: {path}", *(f"  {remark}" for remark in remarks)]))

    def _budgets(self) -> tuple[float, ...] | None:
        """Return the budgets that --run-id names; None for all."""
        if self.run_id is None:
            return None
        from groundlake.transition.standing import budgets_named

        return budgets_named(self.settings.lake, str(self.evaluation.output.exp_group_id), self.run_id)

    def finish(self, view: str = "kv_run_summary") -> None:
        """Write the view file, and say how to ask for more."""
        finish(self.settings, self.settings.lake, view)

    @contextmanager
    def finishing(self, view: str = "kv_run_summary") -> Iterator[None]:
        """Finish behind the block, however it ends: what was answered can be asked for.

        What ended the block is what the user has to know: an error of the view file does not take its place.
        """
        try:
            yield
        except BaseException:
            if self.settings.lake.exists:
                with suppress(Exception):
                    self.finish(view)
            raise
        self.finish(view)


@command(kv, KV, "prepare")
def prepare(
    settings: Settings,
    config: ConfigOption,
    override: OverrideOption = None,
    print_config: PrintConfigOption = False,
    force: ForceOption = False,
) -> None:
    """Read the data set, count tokens, sort by length into bins, and choose what is asked; writes manifest.json.

    Nothing is counted twice. Preparing again with other bins, or more examples, keeps the answers that still count.
    """
    evaluation = read_evaluation(config, override, print_config=print_config)
    if evaluation is None:
        return
    work = _Work(settings=settings, evaluation=evaluation, force=force)
    work.prepare()
    work.finish("kv_current_datasets")


@command(kv, KV, "run")
def run(
    settings: Settings,
    config: ConfigOption,
    override: OverrideOption = None,
    print_config: PrintConfigOption = False,
    run_id: RunIdOption = None,
    hw: HardwareOption = None,
    force: ForceOption = False,
) -> None:
    """Ask each chosen example at each budget; what has an answer is never asked again.

    A request that fails is kept with its reason, and the run goes on. Ctrl-C keeps what was answered; so does a killed
    process: the same command goes on.
    """
    evaluation = read_evaluation(config, override, print_config=print_config)
    if evaluation is None:
        return
    work = _Work(settings=settings, evaluation=evaluation, run_id=run_id, force=force, hw=hw)
    with work.finishing():
        work.run()


@command(kv, KV, "score")
def score(
    settings: Settings,
    config: ConfigOption,
    override: OverrideOption = None,
    print_config: PrintConfigOption = False,
    run_id: RunIdOption = None,
    allow_partial: PartialOption = False,
) -> None:
    """Score each answer by its task's metric, exact match and F1; what has a score by the same rules keeps it."""
    evaluation = read_evaluation(config, override, print_config=print_config)
    if evaluation is None:
        return
    work = _Work(settings=settings, evaluation=evaluation, run_id=run_id, allow_partial=allow_partial)
    work.score()
    work.finish("kv_answers")


@command(kv, KV, "analyze")
def analyze(
    settings: Settings,
    config: ConfigOption,
    override: OverrideOption = None,
    print_config: PrintConfigOption = False,
    allow_partial: PartialOption = False,
) -> None:
    """Compare all budgets of the group: intervals, paired changes, and whether quality collapses, and where."""
    evaluation = read_evaluation(config, override, print_config=print_config)
    if evaluation is None:
        return
    work = _Work(settings=settings, evaluation=evaluation, allow_partial=allow_partial)
    work.analyze()
    work.finish("kv_transitions")


@command(kv, KV, "report")
def report(
    settings: Settings,
    config: ConfigOption,
    override: OverrideOption = None,
    print_config: PrintConfigOption = False,
    allow_partial: PartialOption = False,
) -> None:
    """Write report.md, report.html and the plots, from the lake alone."""
    evaluation = read_evaluation(config, override, print_config=print_config)
    if evaluation is None:
        return
    _Work(settings=settings, evaluation=evaluation, allow_partial=allow_partial).report()


@command(kv, KV, "all")
def run_all(
    settings: Settings,
    config: ConfigOption,
    override: OverrideOption = None,
    print_config: PrintConfigOption = False,
    start: Annotated[
        Stage, typer.Option("--from", help="Begin with this stage; `--from score` asks nothing.")
    ] = Stage.PREPARE,
    run_id: RunIdOption = None,
    hw: HardwareOption = None,
    allow_partial: PartialOption = False,
    force: ForceOption = False,
) -> None:
    """Do every stage that is not done yet: prepare, run, score, analyze, report."""
    evaluation = read_evaluation(config, override, print_config=print_config)
    if evaluation is None:
        return
    if run_id is not None and not allow_partial:
        raise UsageError("--run-id leaves the other budgets as they are: give --allow-partial with it")
    work = _Work(
        settings=settings, evaluation=evaluation, run_id=run_id, allow_partial=allow_partial, force=force, hw=hw
    )
    stages = (work.prepare, partial(work.run, goes_on=True), work.score, work.analyze, work.report)
    with work.finishing():
        for stage in stages[list(Stage).index(start) :]:
            stage()
