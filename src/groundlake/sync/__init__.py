"""Moving lakes: `sync` copies from one place to another what is missing there, the ledger last."""

from groundlake.sync.places import Place, open_place
from groundlake.sync.transfer import SyncReport, sync

__all__ = ["Place", "SyncReport", "open_place", "sync"]
