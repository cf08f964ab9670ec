"""Stop an action before one of the steps that it takes on the disk.

Steps are found by Python's audit events (open to write, link, remove, rename, mkdir), so every one can be met.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

STEPS = {"open", "os.link", "os.remove", "os.rename", "os.mkdir"}


class Stopped(BaseException):
    """The process is gone."""


class Clock:
    """Counts steps below a folder, and stops the action at one of them."""

    def __init__(self, mode: str) -> None:
        self.mode, self.folder, self.left, self.dead = mode, "", None, False
        self.reached = 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.left is None or event not in STEPS or not str(arguments[0]).startswith(self.folder):
            return
        if event == "open" and not set(arguments[1] or "r") & set("wxa+"):
            return  # reading, or syncing a folder, changes nothing that a reader could see
        if self.dead:
            raise Stopped
        if self.left == 0:
            if self.mode == "interrupt":
                self.left = None
                raise KeyboardInterrupt
            self.dead = True
            raise Stopped
        self.left -= 1

    def stops(self, folder: Path, step: int, action: Any) -> bool:
        """Run the action and stop it before this step; False where it had fewer steps."""
        self.folder, self.left, self.dead = str(folder), step, False
        try:
            action()
        except (Stopped, KeyboardInterrupt):
            return True
        else:
            return False
        finally:
            self.reached = self.left or 0
            self.left, self.dead = None, False
