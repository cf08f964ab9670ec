"""Bring in what was measured elsewhere: trees of v1 and v2 JSON files, and other lakes; and give JSON back."""

from groundlake.importers.lake_folder import ImportReport, import_folder, merge_lake
from groundlake.importers.report import MigrationReport
from groundlake.importers.v1_tree import migrate_v1
from groundlake.importers.v2_json import ExportReport, export_v2_json
from groundlake.importers.zones import Zones

__all__ = [
    "ExportReport",
    "ImportReport",
    "MigrationReport",
    "Zones",
    "export_v2_json",
    "import_folder",
    "merge_lake",
    "migrate_v1",
]
