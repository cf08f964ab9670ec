"""The stages of an evaluation in their order, and whether each is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from groundlake.transition.analysis.analysis import read_requests
from groundlake.transition.analysis.analyze import is_analyzed
from groundlake.transition.data.prepare import group_folder
from groundlake.transition.data.prepared import read_summary
from groundlake.transition.inference.guard import held_otherwise
from groundlake.transition.inference.run import counts_fewer, missing
from groundlake.transition.scope import of_requests
from groundlake.transition.scoring.answer import scorer_version
from groundlake.transition.scoring.tasks import find_task
from groundlake.transition.standing import last_analysis, standing

if TYPE_CHECKING:
    from groundlake.store import Lake
    from groundlake.transition.configuration.settings import Settings

STAGES: Final = ("prepare", "run", "score", "analyze", "report")


def is_done(stage: str, settings: Settings, lake: Lake) -> bool:
    """Whether a stage has nothing left to do for these settings, as far as that is seen without its input.

    Whether the file of the data set was changed is not looked at: `prepare` does that.
    """
    group = str(settings.output.exp_group_id)
    prepared = read_summary(lake, group)
    if prepared is None or prepared.settings_hash != settings.settings_hash("prepare"):
        return False
    if stage == "prepare" or held_otherwise(settings, prepared, lake) is not None:
        return stage == "prepare"  # all behind it is of answers that were asked differently
    if stage == "run":
        return not any(missing(settings, lake).values()) and not counts_fewer(settings, lake)
    if stage == "score":
        requests = read_requests(lake, group, of_requests(settings))
        budgets = standing(settings, requests, prepared, scorer_version(find_task(prepared.task)))
        return not any(each.missing or each.unscored for each in budgets)
    if stage == "analyze":
        return is_analyzed(settings, lake)
    return is_reported(settings, lake)


def is_reported(settings: Settings, lake: Lake) -> bool:
    """Whether the group's report is of its last analysis."""
    last = last_analysis(lake, str(settings.output.exp_group_id))
    report = group_folder(settings) / "report.md"
    return last is not None and report.is_file() and last.run_id in report.read_text(encoding="utf-8")
