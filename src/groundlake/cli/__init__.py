"""The command line `lake`: a command parses, calls one function, and prints."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    _open_standard_files()
    from groundlake.cli.startup import keep_pandas_out

    keep_pandas_out()
    from groundlake.cli.app import app

    app(prog_name="lake")


def _open_standard_files() -> None:
    """Put the null device where a caller closed stdout or stderr (`2>&-`): the next file would take its place."""
    import os
    import sys

    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            setattr(sys, name, os.fdopen(number, "w"))
