"""Commands that make a lake and look after it."""

from __future__ import annotations

from groundlake.cli.app import KEEP, START, app
from groundlake.cli.settings import Settings, command, how_to_ask


@command(app, START)
def init(settings: Settings) -> None:
    """Make an empty lake and its view file; does nothing to a lake that is there."""
    lake = settings.lake
    lake.create()
    print(f"{lake.root}  (data)")
    path = lake.renew_views()
    if path:
        print(f"{path}  (views)")


@command(app, KEEP)
def views(settings: Settings) -> None:
    """Write the view file anew, for example after moving the lake."""
    path = settings.lake.bind_views()
    print(f"{path}\n{how_to_ask(path)}")
