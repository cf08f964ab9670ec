"""The report: every section of it, over one state of the lake."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from groundlake import __version__
from groundlake.report import (
    contents,
    coverage,
    drift,
    efficiency,
    latency,
    modes,
    power,
    roofline,
    scaling,
    speedup,
    validation,
)
from groundlake.report.figure import Ask, Wanted, check_names, load_converter, where
from groundlake.report.page import Section, page
from groundlake.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from groundlake.report.figure import Figure
    from groundlake.store import Lake

NAMES = (
    *("runs", "latest_runs", "coverage", "run_noise", "efficiency_curves", "roofline_position", "batch_scaling"),
    *(
        "precision_speedup",
        "power_mode_scaling",
        "power_profile",
        "run_energy",
        "estimator_error",
        "estimator_versions",
    ),
    *("estimator_accuracy", "plot_drift", "data_quality"),
)
"""What the report asks."""

HELD = (
    "latest_runs",
    "run_noise",
    "estimator_error",
    "efficiency_curves",
    "roofline_position",
    "power_profile",
)
"""Views that are worked out once: several figures read them."""

LEFT_OUT = {"runs": ("end_to_end_samples_ms",), "subgraph_timings": ("latency_samples_ms", "node_names")}
"""Raw samples are most of a lake, and no figure shows them."""

MOST_FIGURES = 48
"""Figures of a section: a page with more is too long, and too large."""

MOST_TRACES = 6
"""Power traces: each is long."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a section is made of: the module with its figures, its tables, and what is said."""

    key: str
    title: str
    short: str
    intro: str
    hint: str
    figures: Callable[[Ask, Wanted], Iterator[Figure]] | None = None
    tables: tuple[contents.TableOf, ...] = ()
    most: int = MOST_FIGURES
    opens_first: bool = False


PARTS = (
    Part(
        key="coverage",
        title="Coverage",
        short="Coverage",
        intro="What was measured at least once, by hardware id, precision and model.",
        hint=coverage.HINT,
        figures=coverage.figures,
        tables=(contents.FAILED,),
    ),
    Part(
        key="latency",
        title="Latency",
        short="Latency",
        intro="The latest good run of each configuration. Latencies that were timed by different methods are different "
        "things and stand in different figures.",
        hint=latency.HINT,
        figures=latency.figures,
        tables=(contents.LATENCIES,),
    ),
    Part(
        key="efficiency",
        title="Efficiency curves",
        short="Efficiency",
        intro="The share of the recorded peak that an operation type reaches at one size. Recorded peaks are what the "
        "measuring program assumed: compare curves within a figure, not across devices or precisions.",
        hint=efficiency.HINT,
        figures=efficiency.figures,
    ),
    Part(
        key="roofline",
        title="Roofline",
        short="Roofline",
        intro="What is achieved at an arithmetic intensity, below what the device could do. Bytes are counted, not "
        "measured; caches let a point lie above the roof.",
        hint=roofline.HINT,
        figures=roofline.figures,
    ),
    Part(
        key="scaling",
        title="Batch scaling",
        short="Batch",
        intro="What one input costs as the batch grows.",
        hint=scaling.HINT,
        figures=scaling.figures,
    ),
    Part(
        key="precision",
        title="Precision speed-ups",
        short="Precision",
        intro="A lower precision beside fp32, by the same methods on the same device.",
        hint=speedup.HINT,
        figures=speedup.figures,
        tables=(contents.SPEEDUPS,),
    ),
    Part(
        key="modes",
        title="Power-mode speed-ups",
        short="Power modes",
        intro="A power mode beside the next lower one in which the same device was measured.",
        hint=modes.HINT,
        figures=modes.figures,
        tables=(contents.MODES,),
    ),
    Part(
        key="power",
        title="Power traces",
        short="Power",
        intro="Power while a model ran, the latest runs first.",
        hint=power.HINT,
        figures=power.figures,
        tables=(contents.ENERGIES,),
        most=MOST_TRACES,
    ),
    Part(
        key="estimators",
        title="Estimator accuracy",
        short="Estimators",
        intro="The latest version of each estimator beside the measurements, the one written last first. Extrapolated "
        "predictions are hollow, and have rows of their own; an error within the noise of the measurement "
        "counts as none.",
        hint=validation.HINT,
        figures=validation.figures,
        tables=(contents.ACCURACIES,),
        opens_first=True,
    ),
    Part(
        key="drift",
        title="Drift",
        short="Drift",
        intro="Configurations that were measured again by the same methods.",
        hint=drift.HINT,
        figures=drift.figures,
    ),
    Part(
        key="quality",
        title="Data quality",
        short="Quality",
        intro="What to know before a number is trusted. A finding is no error in itself.",
        hint="no findings: nothing is doubtful, or nothing was measured yet (`lake ingest`)",
        tables=(contents.FINDINGS,),
    ),
)


def write_report(lake: Lake, path: Path, hardware: tuple[str, ...] = ()) -> dict[str, int]:
    """Write the report to a file.

    Args:
        lake: The lake; its state at one moment is shown.
        path: The file, which is replaced.
        hardware: Hardware ids that it is about; all of them without.

    Returns:
        How many figures and rows of tables it has.

    Raises:
        UsageError: There is no lake, or no such hardware id in it.
        MissingDependencyError: The extra `plot` is not installed.
    """
    load_converter()
    snapshot = Snapshot(lake, NAMES, held=HELD, left_out=LEFT_OUT)
    wanted = Wanted(hardware=hardware)
    check_names(snapshot.ask, wanted)
    sections = [_section(part, snapshot.ask, wanted) for part in PARTS]
    sections.append(_provenance(lake, snapshot.ask, wanted, path))
    title = "Ground-truth report: " + (", ".join(hardware) if hardware else lake.root.name)
    text = page(lake.root, title, sections, tiles=_tiles(snapshot.ask, wanted))
    path.write_text(text, encoding="utf-8")
    return {
        "figures": sum(len(section.figures) for section in sections),
        "rows": sum(table.rows.height for section in sections for table in section.tables),
    }


def _section(part: Part, ask: Ask, wanted: Wanted) -> Section:
    found = list(islice(part.figures(ask, wanted), part.most + 1)) if part.figures else []
    tables = [table for table in (of.read(ask, wanted) for of in part.tables) if not table.rows.is_empty()]
    left_out = ""
    if len(found) > part.most:
        left_out = f"Only the first {part.most} figures are shown; `lake report --hw ID` shows those of one device."
    return Section(
        key=part.key,
        title=part.title,
        short=part.short,
        intro=part.intro if found or tables else "",
        figures=tuple(found[: part.most]),
        tables=tuple(tables),
        empty="" if found or tables else _nothing(part),
        left_out=left_out,
        opens_first=part.opens_first,
    )


def _nothing(part: Part) -> str:
    return part.hint[:1].upper() + part.hint[1:] + "."


def _tiles(ask: Ask, wanted: Wanted) -> list[tuple[str, str]]:
    sql = (
        "SELECT count(*) AS runs, count(DISTINCT hardware_id) AS devices, count(DISTINCT model) AS models,\n"
        "    count(DISTINCT hardware_id || '/' || precision || '/' || model || '/' || CAST(batch AS STRING))\n"
        "        AS configurations,\n"
        f"    max(started_at) AS latest\nFROM runs{_good(wanted)}"
    )
    row = ask(sql).row(0, named=True)
    latest = row["latest"]
    return [
        ("Good runs", f"{row['runs']}"),
        ("Configurations", f"{row['configurations']}"),
        ("Hardware ids", f"{row['devices']}"),
        ("Models", f"{row['models']}"),
        ("Last measured (UTC)", latest.strftime("%Y-%m-%d") if latest else "not known"),
    ]


def _good(wanted: Wanted) -> str:
    return where(["status = 'ok'", "kind = 'efficiency'", *wanted.conditions("hardware_id")])


def _provenance(lake: Lake, ask: Ask, wanted: Wanted, path: Path) -> Section:
    chosen = "".join(f" --hw {shlex.quote(name)}" for name in wanted.hardware)
    command = f"lake --root {shlex.quote(lake.root.name)} report{chosen} -o {shlex.quote(path.name)}"
    return Section(
        key="provenance",
        title="Provenance",
        intro=f"Made by groundlake {__version__} from one state of the lake {lake.root.name}, with: `{command}`. "
        "What a figure or table shows is what its query returns: run it with `lake sql`.",
        tables=tuple(table for table in (contents.RUNS.read(ask, wanted),) if not table.rows.is_empty()),
    )
