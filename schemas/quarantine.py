"""Contract of the quarantine: input that was set aside, with the reason. Kept as JSON lines, outside the ledger."""

from __future__ import annotations

from groundlake.schemas.base import Table, column
from groundlake.schemas.ledger import UtcTime


class Quarantine(Table):
    """A file, or part of one, that an import set aside; the file itself is not moved."""

    import_id: str = column("Import that set the file aside")
    imported_at: UtcTime = column("When that import ran (UTC)")
    uri: str = column("The file, as a path below the imported root")
    sha256: str = column("Hash of the file's bytes; NULL where it could not be read", nullable=True)
    layout: str = column("Layout the path was recognised as, if any", nullable=True)
    code: str = column("Short name of the reason", str_matches=r"^[a-z][a-z0-9_]*$")
    reason: str = column("What is wrong, with the value that was found")
    what_to_do: str = column("How to get the file imported")

    @classmethod
    def table_name(cls) -> str:
        """Name of the view."""
        return "quarantine"

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Not partitioned: one small file for each import."""
        return ()
