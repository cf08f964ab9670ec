"""What the lake's ledger already says about one device, as an import needs it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from groundlake.ground_truth.columns import from_frame
from groundlake.ground_truth.record import date_text
from groundlake.importers.candidates import Candidate, content_id
from groundlake.ledger import Ledger, good_runs

if TYPE_CHECKING:
    from groundlake.store import Lake

Key = tuple[str, str, str, int, str]
_COLUMNS = (
    "hardware_id",
    "run_id",
    "precision",
    "model",
    "batch",
    "status",
    "kind",
    "schema_version",
    "started_at",
    "source_measurement_date",
    "sources",
    "total_flops",
    "total_latency_ms",
    "num_subgraphs",
)


@dataclass
class LedgerState:
    """Runs of one device: those that are shown, by what they measured, and the ids of those that were withdrawn."""

    lake: Lake
    hardware_id: str
    ids: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    shown: dict[Key, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, lake: Lake, hardware_id: str) -> LedgerState:
        """Read the ledger of a device; a lake that does not exist yet has none."""
        state = cls(lake, hardware_id)
        if not lake.exists:
            return state
        state.ids = set(Ledger(lake.root).all_rows(hardware_id)["run_id"])
        current = lake.runs(hardware_id).select(_COLUMNS)
        state.withdrawn = state.ids - set(current["run_id"])
        for run in good_runs(current).iter_rows(named=True):
            state.shown[(hardware_id, run["precision"], run["model"], run["batch"], date_text(run))].append(run)
        return state

    def holds(self, run: dict[str, Any], candidate: Candidate) -> bool:
        """Whether a shown run has the content of a file; its rows are read only where ids and hashes do not tell."""
        if run["run_id"] == candidate.content_id:
            return True
        if any(source["sha256"] == candidate.sha256 for source in run["sources"] or ()):
            return True
        if (run["total_flops"], run["num_subgraphs"]) != (
            candidate.summary["total_flops"],
            candidate.summary["num_subgraphs"],
        ):
            return False
        timings = self.lake.frame(
            "subgraph_timings",
            hardware_id=self.hardware_id,
            precision=run["precision"],
            model=run["model"],
            batch=run["batch"],
            run_id=run["run_id"],
        )
        return content_id(candidate.key, from_frame(timings, run["model"])) == candidate.content_id


def is_canonical(run: dict[str, Any]) -> bool:
    """Whether a run is as good as a canonical v2.0 file: imported from one, or measured, not imported."""
    layouts = {source["layout"] for source in run["sources"] or ()}
    return not layouts or ("canonical" in layouts and run["schema_version"] == "2.0")


def named(run: dict[str, Any]) -> str:
    """Name a run by its files, as far as it has any."""
    uris = ", ".join(source["uri"] for source in run["sources"] or ())
    return f"run {run['run_id']}" + (f" ({uris})" if uris else "")
