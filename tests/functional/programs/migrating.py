"""Import a tree of measurement files, and print runs and peak memory in bytes: `migrating.py ROOT TREE KEPT`."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from groundlake.importers import migrate_v1
from groundlake.store import Lake


def main(root: str, tree: str, kept_bytes: int) -> None:
    """Import, and say how many runs came in, and what it took."""
    report = migrate_v1(Lake(root), [Path(tree)], kept_bytes=kept_bytes)
    imported = sum(counts.imported for counts in report.by_hardware.values())
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    os.write(1, f"{imported} {peak_kib * 1024}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
