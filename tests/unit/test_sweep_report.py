"""What somebody who stops a sweep is told about the run that is under way."""

from __future__ import annotations

import re

from groundlake.cli.sweep_report import Course, shown
from groundlake.measure.plan import Configuration
from groundlake.measure.sweep import Event

NET = Configuration("net", "fp32", 1)


def passes(phase: str, done: int) -> Event:
    return Event(
        kind="progress", configuration=NET, position=1, total=2, phase=phase, passes_done=done, passes_total=60
    )


def test_the_run_under_way_is_named_with_its_passes_and_the_time_to_its_end() -> None:
    course = Course()
    assert course.under_way() == ""
    course.follow(Event(kind="waiting", phase="preflight"))
    assert course.under_way() == ""
    course.follow(Event(kind="started", configuration=NET, position=1, total=2))
    assert course.under_way() == "net fp32 batch 1, the model is being built"
    course.follow(passes("warm-up", 1))
    assert course.under_way() == "net fp32 batch 1, warm-up pass 1 of 60"
    course.follow(passes("subgraphs", 30))
    assert re.fullmatch(r"net fp32 batch 1, subgraphs pass 30 of 60, about \d+ s left", course.under_way())
    course.follow(passes("whole model", 1))
    assert course.under_way() == "net fp32 batch 1, whole model pass 1 of 60"
    course.follow(Event(kind="done", configuration=NET, position=1, total=2))
    assert course.under_way() == ""


def test_images_that_calibrate_are_no_passes() -> None:
    course = Course()
    course.follow(passes("calibration images", 20))
    assert course.under_way() == "net fp32 batch 1, 20 of 60 calibration images"


def test_the_time_left_counts_the_passes_of_both_phases() -> None:
    course = Course()
    course.follow(passes("subgraphs", 10))
    course.follow(passes("subgraphs", 20))
    course._since_s -= 100.0  # ten passes took 100 s
    assert "about 16 min 40 s" in course.under_way()  # 40 passes, and 60 of the whole model
    course.follow(passes("whole model", 10))
    course.follow(passes("whole model", 20))
    course._since_s -= 100.0
    assert "about 6 min 40 s" in course.under_way()


def test_the_progress_says_that_the_sweep_is_stopping() -> None:
    lines: list[str] = []
    asked = [False]
    on_event = shown(lambda _done, _total, now: lines.append(now), lambda: None, Course(), lambda: asked[0], quiet=True)
    on_event(passes("subgraphs", 10))
    asked[0] = True
    on_event(passes("subgraphs", 11))
    assert lines == ["net fp32 batch 1 subgraphs 10/60", "stopping behind net fp32 batch 1 subgraphs 11/60"]
