"""What `lake ingest` says of a sweep: the plan, how far it is, and what came of it."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from groundlake.cli.output import print_rows
from groundlake.cli.settings import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from groundlake.cli.settings import Settings
    from groundlake.hardware.target import Target
    from groundlake.measure.forecast import Forecast
    from groundlake.measure.plan import Configuration, SweepSettings
    from groundlake.measure.sweep import Event, SweepResult

SHOWN_WARNINGS = 10
WAITING = "waiting for another sweep"
WHOLE_MODEL = "whole model"
"""The last phase of a run; the one before it has as many passes."""
PREPARING = ("calibration images", "evaluation images")
"""Phases before the first pass: a network is quantized to int8. They say how many images are done."""
SECONDS_OF_A_MINUTE, MINUTES_OF_AN_HOUR = 60, 60


def duration(seconds: float) -> str:
    """Say a time as a person would: 8 s, 3 min 12 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), SECONDS_OF_A_MINUTE)
    if not minutes:
        return f"{rest} s"
    hours, left = divmod(minutes, MINUTES_OF_AN_HOUR)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"


class Course:
    """Where a sweep is, for somebody who wants to stop it."""

    def __init__(self) -> None:
        self._now: Event | None = None
        self._since_s, self._since_pass = 0.0, 0

    def follow(self, event: Event) -> None:
        """Take note of an event."""
        before, self._now = self._now, event
        if before is None or not before.passes_total or event.passes_done <= before.passes_done:  # a phase begins
            self._since_s, self._since_pass = monotonic(), event.passes_done

    def under_way(self) -> str:
        """Say which run is under way, how far it is, and about how long it takes to its end; empty without one."""
        now = self._now
        if now is None or now.kind not in ("started", "progress"):
            return ""
        if not now.passes_total:
            return f"{now.configuration}, the model is being built"
        if now.phase in PREPARING:
            return f"{now.configuration}, {now.passes_done} of {now.passes_total} {now.phase}"
        passes = now.passes_done - self._since_pass
        rest = now.passes_total - now.passes_done + (0 if now.phase == WHOLE_MODEL else now.passes_total)
        left = f", about {duration((monotonic() - self._since_s) / passes * rest)} left" if passes else ""
        return f"{now.configuration}, {now.phase} pass {now.passes_done} of {now.passes_total}{left}"


def shown(
    show: Callable[[int, int, str], None],
    before_first: Callable[[], None],
    course: Course,
    is_stopping: Callable[[], bool],
    *,
    quiet: bool,
) -> Callable[[Event], None]:
    """Turn the events of a sweep into progress; a device that nobody knows is written before its first run.

    A wait for another sweep may be long: it is said at once, also in a log.
    """
    waits = False

    def on_event(event: Event) -> None:
        nonlocal waits
        if event.kind == "skipped":
            return
        course.follow(event)
        if event.phase.startswith(WAITING) and not waits and not quiet:
            waits = True
            say(f"ingest: {event.phase}")
        if event.kind == "started" and event.position == 1:
            before_first()
        done = event.position if event.kind in ("done", "failed") else max(0, event.position - 1)
        passes = f" {event.passes_done}/{event.passes_total}" if event.passes_total else ""
        stopping = "stopping behind " if is_stopping() else ""
        show(done, event.total, f"{stopping}{event.configuration or ''} {event.phase}{passes}".strip())

    return on_event


def doubts_about_int8(settings: SweepSettings) -> list[str]:
    """Say what is known to be doubtful about every run in int8, before the first one."""
    return [] if settings.int8 is None else [str(doubt) for doubt in settings.int8.doubts]


def print_result(settings: Settings, result: SweepResult, target: Target, *, repeat: int | None) -> None:
    """Print what a sweep did: counts, where the data and the time went, and what to look at."""
    doubtful = sum(bool(finished.warnings) for finished in result.done)
    counts = f"{len(result.done)} measured, {len(result.failed)} failed, {len(result.skipped)} in the lake already"
    left = f", {len(result.left)} left undone" if result.left else ""
    warned = f", {doubtful} with warnings" if doubtful else ""
    print(f"{target.hardware_id}: {counts}{left}{warned}")
    if not (result.done or result.failed or result.left):
        print(f"  {_again(repeat)}")
    if result.done or result.failed:
        print(f"  written to {settings.root}, session {result.session}")
    spent = {what: seconds for what, seconds in result.spent_s.items() if seconds >= 0.5}  # noqa: PLR2004 - shown as 0 s
    if spent:
        parts = ", ".join(f"{what} {duration(seconds)}" for what, seconds in spent.items())
        print(f"  took {duration(sum(result.spent_s.values()))}: {parts}")
    _print_runs(result)
    if result.no_power:
        print(f"  no power readings: {'; '.join(' '.join(reason.split()) for reason in result.no_power)}")
    if target.remark and (result.done or result.failed):
        print(f"  {target.remark}")
    warnings = _grouped(result)
    for text in warnings[:SHOWN_WARNINGS]:
        print(f"  warning: {text}")
    if len(warnings) > SHOWN_WARNINGS:
        print(f'  warnings not shown: {len(warnings) - SHOWN_WARNINGS}; lake sql "select * from data_quality" has all')


def _print_runs(result: SweepResult) -> None:
    """Print what is to be said of single runs: what int8 was made with, and why a run failed."""
    for done in result.done:
        if done.int8 is not None:
            print(f"  {done.run}: {done.int8}")
    for failed in result.failed:
        print(f"  failed: {failed.run}: {failed.reason}")


def _again(repeat: int | None) -> str:
    """Say how to measure what the lake holds."""
    return "to measure again: --repeat 1" if repeat is None else "to measure again: another --session, or none"


def _grouped(result: SweepResult) -> list[str]:
    """Warnings with the runs they are about; what several runs share is said once."""
    runs: dict[str, list[str]] = {}
    for finished in result.done:
        for text in finished.warnings:
            runs.setdefault(text, []).append(str(finished.run))
    return [f"{about[0] if len(about) == 1 else f'{len(about)} runs'}: {text}" for text, about in runs.items()]


def print_plan(settings: Settings, plan_settings: SweepSettings, wanted: list[Configuration], target: Target) -> None:
    """Say what a sweep would do and how long; end as it would where a model is not known or the device is missing."""
    import polars as pl

    from groundlake.measure.attempt import check_sweep
    from groundlake.measure.forecast import forecast
    from groundlake.measure.messages import Known
    from groundlake.measure.plan import plan
    from groundlake.measure.sweep import torch_is_installed

    todo = plan(settings.lake, plan_settings, wanted)
    checkable = torch_is_installed()
    known = check_sweep(plan_settings, todo) if checkable else Known()
    plan_settings = replace(plan_settings, int8=known.settle(plan_settings.int8))
    todo = plan(settings.lake, plan_settings, wanted)
    expected = forecast(settings.lake, plan_settings, todo, known.flops)
    rows = [
        {
            "model": each.run.configuration.model,
            "precision": each.run.configuration.precision,
            "batch": each.run.configuration.batch,
            "run_index": each.run.run_index,
            "estimated_s": each.seconds,
            "estimated_from": each.method,
        }
        for each in expected
    ]
    schema = {
        "model": pl.String,
        "precision": pl.String,
        "batch": pl.Int64,
        "run_index": pl.Int64,
        "estimated_s": pl.Float64,
        "estimated_from": pl.String,
    }
    counts = f"{len(rows)} runs to do, {len(todo.skipped)} in the lake already{_expected_time(expected, plan_settings)}"
    print(f"{plan_settings.hardware_id} on {plan_settings.device}: {counts}")
    if target.remark:
        print(target.remark)
    for doubt in doubts_about_int8(plan_settings):
        print(f"warning: {doubt}")
    if not rows:
        print(_again(plan_settings.repeat))
    print_rows(pl.DataFrame(rows, schema=schema))
    if not checkable:
        print("models and device were not checked: torch is not installed (pip install 'groundlake[measure]')")


def _expected_time(expected: Sequence[Forecast], settings: SweepSettings) -> str:
    """Sum of the estimates, with what they leave out."""
    known = [each.seconds for each in expected if each.seconds is not None]
    if not known:
        return ", time unknown" if expected else ""
    pauses = 0.0 if settings.cooldown is None else (settings.cooldown.seconds or 0.0) * (len(expected) - 1)
    unknown = len(expected) - len(known)
    bound = "at most " if settings.until_ci else ""
    rest = f" and {unknown} runs of unknown time" if unknown else ""
    return f", {bound}about {duration(sum(known) + pauses)}{rest}"
