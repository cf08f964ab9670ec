"""The command line `lake`: a command parses, calls one function, and prints."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from groundlake.cli.app import app

    app(prog_name="lake")
