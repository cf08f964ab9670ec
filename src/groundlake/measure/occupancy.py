"""One sweep at a time on a device: a second one waits for the first, or stops. Imports no torch."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from groundlake import machine
from groundlake.errors import LakeEnvironmentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK_PERIOD_S = 1.0
FOLDER_VARIABLE = "LAKE_LOCKS"


@contextmanager
def occupied(
    device: str,
    session: str | None,
    *,
    wait: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    on_wait: Callable[[str], None] = lambda _: None,
    folder: Path | None = None,
) -> Iterator[bool]:
    """Hold a device of this machine for a sweep; it is free again when the block or the process ends.

    The lock is the kernel's (flock) on a file that all users of the machine share; its content says who holds it.

    Args:
        device: cpu, cuda or cuda:1.
        session: Name of the sweep, for whoever waits.
        wait: Wait for a sweep that holds the device, instead of raising.
        should_stop: Asked about once a second while waiting; True gives up.
        on_wait: Called about once a second with who is waited for.
        folder: Where the lock lies; $LAKE_LOCKS, else /run/lock or /tmp by default.

    Yields:
        Whether the device is held; False only where `should_stop` ended the wait.

    Raises:
        LakeEnvironmentError: Another sweep holds the device, and `wait` is False.
    """
    with _opened((folder or _shared_folder()) / f"groundlake-{physical_device(device)}.lock") as descriptor:
        held = _taken(descriptor)
        while not held and not should_stop():
            holder = _holder(descriptor)
            if not wait:
                raise LakeEnvironmentError(
                    f"{device} is being measured by another sweep: {holder}\n"
                    "  two at a time would disturb each other; wait for it with --wait, or stop it"
                )
            on_wait(f"waiting for another sweep: {holder}")
            time.sleep(LOOK_PERIOD_S)
            held = _taken(descriptor)
        if held:
            _sign(descriptor, session)
        yield held


@contextmanager
def alone(study: str, root: Path, *, folder: Path | None = None) -> Iterator[None]:
    """Hold the name of a study in a lake, so that it is not run twice at once on this machine.

    Args:
        study: Its name.
        root: Data root of the lake.
        folder: Where the lock lies, as for `occupied`.

    Raises:
        LakeEnvironmentError: Another process runs the study.
    """
    name = hashlib.sha256(f"{root.resolve()}\n{study}".encode()).hexdigest()[:16]
    with _opened((folder or _shared_folder()) / f"groundlake-study-{name}.lock") as descriptor:
        if not _taken(descriptor):
            raise LakeEnvironmentError(
                f"the study {study} is being run: {_holder(descriptor)}\n"
                "  two at a time would measure the same; wait until that one has ended, or stop it"
            )
        _sign(descriptor, study)
        yield


def _shared_folder() -> Path:
    """Where the locks of all users lie: TMPDIR may be another one for each job, /run/lock and /tmp are not."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        Path(chosen).mkdir(parents=True, exist_ok=True)
        return Path(chosen)
    shared = [Path(name) for name in ("/run/lock", "/tmp") if os.access(name, os.W_OK)]  # noqa: S108 - meant to be shared
    return shared[0] if shared else Path(tempfile.gettempdir())


def physical_device(device: str) -> str:
    """Name of the physical device: what one process calls cuda:0 may be another one to the next.

    The GPU of a Jetson has the processor's memory and power budget, so they are one device.
    """
    if machine.jetson_model() is not None:
        return "jetson"
    return "cpu" if device == "cpu" else f"gpu{machine.chosen_gpu(device)}"


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open the lock file, and make it for everybody where it is missing."""
    try:
        # A file of another user in a sticky folder may be opened only without O_CREAT (fs.protected_regular).
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with suppress(OSError):
            os.fchmod(descriptor, 0o666)  # whatever the umask: the device is everybody's
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int, session: str | None) -> None:
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    text = json.dumps({"pid": os.getpid(), "session": session, "since": since})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 1000, 0).decode(errors="replace")
    try:
        told = json.loads(text)
        return f"process {told['pid']}, session {told['session']}, since {told['since']}"
    except (ValueError, TypeError, KeyError):
        return re.sub(r"\s+", " ", text).strip() or "a process that has not signed yet"
