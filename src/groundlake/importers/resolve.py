"""Decide what becomes of the good files of one device: a run, a twin of one, or a conflict."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from groundlake.importers.ledger_state import LedgerState, is_canonical, named
from groundlake.importers.quarantine import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from groundlake.importers.candidates import Candidate


@dataclass(frozen=True)
class NewRun:
    """A run to write: its best file, and all files that hold it."""

    files: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        """The file whose content is imported."""
        return self.files[0]

    @property
    def run_id(self) -> str:
        """The first run id that a file brings along, else the one derived from the content."""
        return next((str(file.head["run_id"]) for file in self.files if file.head["run_id"]), self.best.content_id)


@dataclass(frozen=True)
class Retraction:
    """An earlier import that a canonical file contradicts."""

    run_id: str
    hardware_id: str
    why: str


@dataclass
class Plan:
    """What an import does for one device."""

    new: list[NewRun] = field(default_factory=list)
    present: int = 0
    twins: int = 0
    withdrawn: int = 0
    retractions: list[Retraction] = field(default_factory=list)
    quarantined: list[Entry] = field(default_factory=list)


def resolve(candidates: Iterable[Candidate], state: LedgerState) -> Plan:
    """Merge twins, look every run up in the ledger, and settle conflicts.

    Files with the same device, precision, model, batch and date hold one run (the same content) or contradict each
    other: then the canonical v2.0 file is imported, else the first by layout and path, and the others are set aside.

    Args:
        candidates: Good files of one device.
        state: What the ledger says about the same device.
    """
    plan = Plan()
    by_key: dict[tuple[Any, ...], dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in sorted(candidates, key=lambda file: file.rank):
        by_key[candidate.key][candidate.content_id].append(candidate)
    for contents in by_key.values():
        _settle(plan, list(contents.values()), state)
    _refuse_taken_ids(plan, state)
    return plan


def _settle(plan: Plan, contents: list[list[Candidate]], state: LedgerState) -> None:
    """Settle one key: `contents` are the files of each distinct content, the most trusted first."""
    shown = state.shown.get(contents[0][0].key, [])
    held = [files for files in contents if any(state.holds(run, files[0]) for run in shown)]
    fresh = [files for files in contents if files not in held]
    for files in held:
        plan.present += 1
        plan.twins += len(files) - 1
    if not fresh:
        return
    winner = fresh[0]
    if not shown:
        _take(plan, winner, state)
        fresh = fresh[1:]
        _set_aside(plan, fresh, f"{winner[0].found.uri}, which is imported")
    elif winner[0].is_canonical and not any(map(is_canonical, shown)):
        _replace(plan, winner, shown, state)
        plan.present -= len(held)
        plan.twins -= sum(len(files) - 1 for files in held)
        earlier = {source["uri"] for run in shown for source in run["sources"] or ()}
        others = [[file for file in files if file.found.uri not in earlier] for files in [*fresh[1:], *held]]
        _set_aside(plan, others, f"{winner[0].found.uri}, which is imported")
    else:
        _set_aside(plan, fresh, f"{named(shown[0])}, which is in the lake")


def _take(plan: Plan, files: list[Candidate], state: LedgerState) -> None:
    run = NewRun(tuple(files))
    plan.twins += len(files) - 1
    if run.run_id in state.withdrawn:
        plan.withdrawn += 1
    else:
        plan.new.append(run)


def _replace(plan: Plan, files: list[Candidate], shown: list[dict[str, Any]], state: LedgerState) -> None:
    """Withdraw what was imported from lesser files, and take the canonical one."""
    uri = files[0].found.uri
    for run in shown:
        why = f"conflict: the canonical file {uri} has the same date and other values"
        plan.retractions.append(Retraction(run["run_id"], state.hardware_id, why))
        plan.quarantined += [
            Entry(
                uri=source["uri"],
                sha256=source["sha256"],
                layout=source["layout"],
                code="conflict",
                reason=f"same configuration and date, other values than {uri}, which is imported; "
                f"run {run['run_id']} of {source['uri']} is withdrawn",
            )
            for source in run["sources"]
        ]
    _take(plan, files, state)


def _set_aside(plan: Plan, contents: list[list[Candidate]], winner: str) -> None:
    plan.quarantined += [
        file.refuse("conflict", f"{file.found.uri}: same configuration and date, other values than {winner}")
        for files in contents
        for file in files
    ]


def _refuse_taken_ids(plan: Plan, state: LedgerState) -> None:
    """A run id that a file brings along must not belong to another run."""
    taken = dict.fromkeys(state.ids, "a run in the lake")
    kept = []
    for run in plan.new:
        if run.run_id in taken:
            what = f"its run_id {run.run_id} belongs to {taken[run.run_id]} with other content"
            plan.quarantined += [file.refuse("conflict", f"{file.found.uri}: {what}") for file in run.files]
            plan.twins -= len(run.files) - 1
        else:
            taken[run.run_id] = run.best.found.uri
            kept.append(run)
    plan.new = kept
