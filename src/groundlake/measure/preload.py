"""Imported once by the server that measuring processes are forked from, so that none of them waits for torch.

Whatever does not import here is tried again by each process, which can say what is wrong with it.
"""

from __future__ import annotations

from contextlib import suppress

with suppress(Exception):
    from groundlake.measure import engine  # noqa: F401 - imported to be there
    from groundlake.vision import import_torchvision

    import_torchvision()
