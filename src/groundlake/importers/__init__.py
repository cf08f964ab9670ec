"""Bring in what was measured elsewhere: trees of v1 and v2 JSON files, and other lakes; and give JSON back."""

from groundlake.importers.report import MigrationReport
from groundlake.importers.v1_tree import migrate_v1
from groundlake.importers.zones import Zones

__all__ = ["MigrationReport", "Zones", "migrate_v1"]
