"""Bring in what was measured elsewhere: v1 and v2 JSON files, LLM experiments, other lakes; and give JSON back."""

from groundlake.importers.experiments import ExperimentReport, import_experiments
from groundlake.importers.lake_folder import import_folder
from groundlake.importers.report import MigrationReport
from groundlake.importers.v1_tree import migrate_v1
from groundlake.importers.v2_json import ExportReport, export_v2_json
from groundlake.importers.zones import Zones

__all__ = [
    "ExperimentReport",
    "ExportReport",
    "MigrationReport",
    "Zones",
    "export_v2_json",
    "import_experiments",
    "import_folder",
    "migrate_v1",
]
