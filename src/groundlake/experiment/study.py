"""A study: several configurations, each measured in several cycles, planned in the lake before the first begins.

The lake is the manifest. What is planned are rows of `study_plan`; what is done or failed, the runs themselves tell, so
that a study that was killed goes on where it was, and nothing is measured twice.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from groundlake import __version__
from groundlake.errors import UsageError
from groundlake.experiment.plan import ExperimentPlan, config_hash
from groundlake.experiment.settings import flattened
from groundlake.experiment.study_file import SEQUENTIAL, SHUFFLED, Configuration, StudyFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from groundlake.store import Lake

KIND = "study"
Key = tuple[str, str, int]
"""Hardware id, config_hash and cycle: what tells the experiments of a study apart."""

CELLS = "SELECT * FROM study_cells"
LABELS = ("prompts.sha256", "config_hash_version")
"""Settings that tell configurations apart only where nothing readable does."""

_OPTION = re.compile(r"--([a-z][a-z-]*)")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One planned experiment: a configuration, and the number of its repeat.

    Attributes:
        plan: Everything that is decided before a model is loaded.
        config_hash: Hash of what decides what is measured.
        position: Place in the order of the study, from 0.
        label: How its configuration differs from the others, for people.
    """

    plan: ExperimentPlan
    config_hash: str
    position: int
    label: str

    @property
    def cycle(self) -> int:
        """Number of the repeat, from 1."""
        return self.plan.cycle or 1

    @property
    def key(self) -> Key:
        """What tells it apart from the other experiments of the study."""
        return self.plan.hardware_id, self.config_hash, self.cycle

    def __str__(self) -> str:
        return f"{self.label}, cycle {self.cycle}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that can be run: its file, and all experiments in their order.

    Attributes:
        file: What was asked for.
        cells: The experiments.
        remarks: What was put right about the file.
    """

    file: StudyFile
    cells: tuple[Cell, ...]
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the study, which its runs carry as their session."""
        return self.file.name


def plan_study(file: StudyFile, to_plan: Callable[[Mapping[str, Any]], ExperimentPlan]) -> Study:
    """Check every configuration of a study, and put the experiments in order.

    Args:
        file: What is asked for.
        to_plan: Makes a plan of the settings of a configuration, or refuses them.

    Raises:
        UsageError: Configurations that cannot be measured, each with its place in the file; or two that would be
            taken for repeats of one although they are not the same.
    """
    plans, mistakes = [], []
    for configuration in file.configurations:
        try:
            plan = to_plan(configuration.settings)
        except UsageError as error:
            mistakes.append(_placed(str(error), configuration))
        else:
            plans.append((configuration, replace(plan, session=file.name, cycle=1)))
    if mistakes:
        raise file.refusal(list(dict.fromkeys(mistakes)))
    unique, remarks = _once(file, plans)
    labels = _labels([plan for _, plan in unique])
    cells = [
        Cell(plan=replace(plan, cycle=cycle), config_hash=config_hash(plan), position=0, label=label)
        for (_, plan), label in zip(unique, labels, strict=True)
        for cycle in range(1, file.cycles + 1)
    ]
    placed = (replace(cell, position=position) for position, cell in enumerate(_in_order(cells, file)))
    prompts = dict.fromkeys(plan.prompts.remark for _, plan in unique if plan.prompts.remark)
    return Study(file=file, cells=tuple(placed), remarks=(*remarks, *prompts))


def settings_of(plan: ExperimentPlan) -> dict[str, object]:
    """Settings of a configuration as the plan of a study keeps them, without those that are not set.

    They hold no key of an endpoint, and neither the study nor the number of a repeat.
    """
    told = plan.settings() | {"name": plan.name, "study": None, "cycle": None}
    told["batch"] = told.pop("batch_size")  # as the option is called
    return {name: value for name, value in told.items() if value is not None}


def differences(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, str | None]]:
    """Say how configurations differ: of each the settings, by their path, in which not all are the same."""
    flat = [dict(flattened(each)) for each in settings]
    names = dict.fromkeys(name for each in flat for name in each)
    differing = [name for name in names if len({each.get(name) for each in flat}) > 1]
    shown = [name for name in differing if name not in LABELS] or differing
    return [{name: each.get(name) for name in shown} for each in flat]


def known_cells(lake: Lake, study: str) -> pl.DataFrame:
    """Read what the lake knows of a study: rows of `study_cells`, empty where it was never planned."""
    if not lake.exists:
        return pl.DataFrame(schema={"study": pl.String, **dict.fromkeys(("hardware_id", "config_hash"), pl.String)})
    return lake.sql(CELLS).pl().filter(study=study).sort("is_current", "position", descending=[True, False])


def write_plan(lake: Lake, study: Study) -> bool:
    """Write the plan of a study, unless the last one is the same.

    Returns:
        Whether it was written.
    """
    known = known_cells(lake, study.name)
    rows = [_row(study, cell) for cell in study.cells]
    if not known.is_empty():
        columns = ("hardware_id", "config_hash", "cycle", "position", "settings_json")
        current = set(known.filter("is_current").select(columns).iter_rows())
        if current == {tuple(row[name] for name in columns) for row in rows}:
            return False
    dropped = set(known["hardware_id"].to_list()) - {row["hardware_id"] for row in rows}
    lake.write_many([*_runs(study, rows), *((_ledger(study, hardware_id), {}) for hardware_id in sorted(dropped))])
    return True


def _row(study: Study, cell: Cell) -> dict[str, Any]:
    """Row of `study_plan` of one experiment."""
    plan = cell.plan
    return {
        "hardware_id": plan.hardware_id,
        "precision": plan.precision if plan.dtype == "auto" else plan.dtype,
        "model": plan.model_name,
        "batch": plan.keyed_batch,
        "study": study.name,
        "position": cell.position,
        "config_hash": cell.config_hash,
        "cycle": cell.cycle,
        "settings_json": json.dumps(settings_of(plan)),
    }


def _runs(study: Study, rows: Sequence[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], dict[str, pl.DataFrame]]]:
    """A run of kind `study` for each hardware id."""
    for hardware_id in dict.fromkeys(row["hardware_id"] for row in rows):
        own = [row for row in rows if row["hardware_id"] == hardware_id]
        yield _ledger(study, hardware_id), {"study_plan": pl.DataFrame(own, infer_schema_length=None)}


def _ledger(study: Study, hardware_id: str) -> dict[str, Any]:
    """Row of the ledger of a plan; it says how the experiments were put in order."""
    file = study.file
    seed = f", seed {file.seed}" if file.order == SHUFFLED else ""
    return {
        "kind": KIND,
        "hardware_id": hardware_id,
        "session_id": study.name,
        "started_at": dt.datetime.now().astimezone(),
        "started_at_zone_source": "clock",
        "tool_version": f"groundlake {__version__}",
        "sources": [
            {"uri": file.path.name, "sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(), "layout": KIND}
        ],
        "note": f"cycles {file.cycles}, order {file.order}{seed}, gap {file.gap_s:g} s",
    }


def _placed(message: str, configuration: Configuration) -> str:
    """Put the place in the file before a refusal, in which an option is named."""
    first = message.splitlines()[0]
    named = [name.replace("-", "_") for name in _OPTION.findall(first)]
    place = next((configuration.places[name] for name in named if name in configuration.places), None)
    if place is None:
        own = [path for path in configuration.places.values() if not path.startswith("base.")]
        place = ", ".join(own) or "base"
    return f"{place}: {first}"


def _once(
    file: StudyFile, plans: Sequence[tuple[Configuration, ExperimentPlan]]
) -> tuple[list[tuple[Configuration, ExperimentPlan]], list[str]]:
    """Leave out configurations that stand there twice; refuse those that could not be told apart in the lake."""
    found: dict[tuple[str, str], tuple[Configuration, ExperimentPlan]] = {}
    remarks, mistakes = [], []
    for configuration, plan in plans:
        key = plan.hardware_id, config_hash(plan)
        if key not in found:
            found[key] = (configuration, plan)
            continue
        first, other = found[key]
        differing = [name for name in vars(plan) if getattr(plan, name) != getattr(other, name)]
        where = f"{_own(configuration)}: the same configuration as {_own(first)}"
        if differing:
            mistakes.append(
                f"{where} but for {', '.join(differing)}, which config_hash leaves out; make them two studies"
            )
        else:
            remarks.append(f"{where}; it is measured once")
    if mistakes:
        raise file.refusal(mistakes)
    return list(found.values()), remarks


def _own(configuration: Configuration) -> str:
    """Where a configuration stands."""
    own = [path for path in configuration.places.values() if not path.startswith("base.")]
    listed = {path.split(".")[0] for path in own if path.startswith("configurations[")}
    return ", ".join(sorted(listed) or own) or "base"


def _labels(plans: Sequence[ExperimentPlan]) -> list[str]:
    """Say how configurations differ; the only one has its name."""
    return [
        " ".join(f"{name}={value or 'none'}" for name, value in each.items()) or plan.config_name
        for plan, each in zip(plans, differences([settings_of(plan) for plan in plans]), strict=True)
    ]


def _in_order(cells: Sequence[Cell], file: StudyFile) -> list[Cell]:
    """Put experiments in the order that the file asks for.

    A shuffled cycle goes by the hash of seed, cycle and configuration, so that a configuration that is added later
    does not move the others.
    """
    if file.order == SEQUENTIAL:
        return list(cells)
    if file.order == SHUFFLED:

        def drawn(cell: Cell) -> tuple[int, str]:
            text = f"{file.seed}:{cell.cycle}:{cell.plan.hardware_id}:{cell.config_hash}"
            return cell.cycle, hashlib.sha256(text.encode()).hexdigest()

        return sorted(cells, key=drawn)
    return sorted(cells, key=lambda cell: cell.cycle)
