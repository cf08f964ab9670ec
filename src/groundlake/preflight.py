"""Is this machine fit to be measured now? Each check says what it saw, what it wanted, and the command that helps.

Nothing is changed, and what cannot be read is skipped with the reason. Every check takes the root of the file tree with
`/proc` and `/sys`, so that a copy of another machine's is judged in the same way.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from groundlake import machine
from groundlake.hardware import registry
from groundlake.hardware.detection import mode_slug, require_device
from groundlake.system import THROTTLES, cpu_governor, system_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

GIB = 2**30
FIXED_BY_DRIVER = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
"""Drivers whose governor `powersave` raises the clock with the load; elsewhere it holds the lowest clock."""

ENOUGH_CLOCK, LITTLE_CLOCK = 0.9, 0.7
QUIET, BUSY = 0.05, 0.20
WARM_C, HOT_C = 70.0, 85.0
SCARCE_BYTES, ENOUGH_BYTES = 1 * GIB, 2 * GIB
USED_BY_OTHERS = 0.1
"""Share of a GPU's memory that a desktop takes; more means that somebody computes."""

SPIN_S = 0.2
WINDOW_S = 1.0
MOST_WINDOWS = 10
"""Load of a moment, such as an installation that has just ended, is given these windows to pass."""

SHOWN_PROCESSES = 3
SHOWN_COMMAND = 60
"""Characters shown of a process's command line."""


class Verdict(str, Enum):
    """Result of a check; only FAILED keeps a sweep from starting."""

    PASSED = "PASSED"
    WARNING = "WARNING"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of the machine.

    Attributes:
        name: What was looked at.
        verdict: PASSED, WARNING, FAILED or SKIPPED.
        observed: What was seen; of a skipped check, why nothing was.
        wanted: What passes.
        fix: Command or deed that mends it; empty where there is nothing to mend.
    """

    name: str
    verdict: Verdict
    observed: str
    wanted: str
    fix: str = ""


def preflight(device: str, root: Path = machine.ROOT, *, windows: int = MOST_WINDOWS) -> list[Check]:
    """Check the machine before a measurement; takes a second or two, and up to ten on a busy machine.

    Args:
        device: cpu, cuda or cuda:1: what is going to be measured.
        root: Root of the file tree with `/proc` and `/sys`.
        windows: Seconds that a busy machine is given to calm down.

    Raises:
        UsageError: No such kind of device.
        MissingDependencyError: The GPU is not there, or it is a slice.
    """
    require_device(device, root)
    load = _load(root, windows)
    checks = [_governor(root), _cpu_clock(root), _turbo(root), *load, _temperature(device, root), _memory(root)]
    if machine.jetson_model(root) is not None:
        checks += [_power_mode(root), _jetson_clock(root)]
    elif device != "cpu":
        checks += _nvml_checks(device, root)
    return checks


def _governor(root: Path) -> Check:
    wanted, found = "performance", cpu_governor(root)
    if found is None:
        return _skipped("cpu_governor", "the kernel shows no governor (a virtual machine hides it)", wanted)
    driver = _driver(root)
    names = set(found.split("+"))
    if names == {"performance"} or (names == {"schedutil"} and machine.jetson_model(root)):
        verdict = Verdict.PASSED
    elif "powersave" in names and driver not in FIXED_BY_DRIVER:
        verdict = Verdict.FAILED
    else:
        verdict = Verdict.WARNING
    seen = found if driver is None else f"{found} ({driver})"
    fix = "" if verdict is Verdict.PASSED else "sudo cpupower frequency-set -g performance"
    return Check(name="cpu_governor", verdict=verdict, observed=seen, wanted=wanted, fix=fix)


def _driver(root: Path) -> str | None:
    return next((machine.read_text(path / "scaling_driver") for path in machine.governor_folders(root)), None)


def _cpu_clock(root: Path) -> Check:
    """Compare the fastest processor, after a moment of work, with the limit that is set: idle ones clock down."""
    wanted = f"at least {ENOUGH_CLOCK:.0%} of the limit under load, and no limit below the processor's own"
    if root == machine.ROOT:
        _spin()
    found = [clocks for folder in machine.governor_folders(root) if (clocks := _clocks_mhz(folder)) is not None]
    if not found:
        return _skipped("cpu_clock", "the kernel shows no clocks", wanted)
    now, limit, most = max(found, key=lambda clocks: clocks[0] / clocks[1])
    seen = f"{now / limit:.0%} ({now:.0f} of {limit:.0f} MHz)"
    verdict, fix = Verdict.PASSED, ""
    if now / limit < ENOUGH_CLOCK and machine.jetson_model(root) is None:
        verdict = Verdict.WARNING if now / limit >= LITTLE_CLOCK else Verdict.FAILED
        fix = "sudo cpupower frequency-set -g performance; check the power supply"
    elif limit < ENOUGH_CLOCK * most:
        verdict, fix = Verdict.WARNING, f"sudo cpupower frequency-set -u {most:.0f}MHz, unless the lower limit is meant"
        seen += f", the processor's own limit is {most:.0f} MHz"
    return Check(name="cpu_clock", verdict=verdict, observed=seen, wanted=wanted, fix=fix)


def _clocks_mhz(folder: Path) -> tuple[float, float, float] | None:
    """Clock now, limit that is set, and limit of the processor itself; None where the kernel does not show them."""
    now, limit, most = (
        machine.read_number(folder / name) for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
    )
    if not now or not most:
        return None
    return now / machine.KHZ_PER_MHZ, (limit or most) / machine.KHZ_PER_MHZ, most / machine.KHZ_PER_MHZ


def _spin() -> None:
    until = time.perf_counter() + SPIN_S
    while time.perf_counter() < until:
        pass


def _turbo(root: Path) -> Check:
    wanted = "on"
    off = machine.read_number(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = machine.read_number(root / "sys/devices/system/cpu/cpufreq/boost")
    if off is None and boost is None:
        return _skipped("turbo", "the kernel shows no switch for it", wanted)
    if off == 1 or boost == 0:
        switch = "0 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"
        if off is None:
            switch = "1 | sudo tee /sys/devices/system/cpu/cpufreq/boost"
        return Check(name="turbo", verdict=Verdict.WARNING, observed="off", wanted=wanted, fix=f"echo {switch}")
    return Check(name="turbo", verdict=Verdict.PASSED, observed="on", wanted=wanted)


@dataclass(frozen=True)
class _Times:
    """Processor time so far, in ticks: busy and all, and of each process with its name."""

    busy: float
    total: float
    processes: dict[int, tuple[str, float]]


def _times(root: Path) -> _Times | None:
    fields = (machine.read_text(root / "proc/stat") or "").split("\n", 1)[0].split()[1:]
    if len(fields) < 5:  # noqa: PLR2004 - user, nice, system, idle, iowait
        return None
    ticks = [float(value) for value in fields[:8]]
    idle = ticks[3] + ticks[4]
    processes = {}
    for path in machine.folder(root / "proc", "[0-9]*/stat"):
        found = re.match(r"(\d+) \((.*)\) \S (.*)", machine.read_text(path) or "", re.DOTALL)
        if found and int(found[1]) != os.getpid():
            rest = found[3].split()
            processes[int(found[1])] = (found[2], float(rest[10]) + float(rest[11]))
    return _Times(sum(ticks) - idle, sum(ticks), processes)


def _load(root: Path, windows: int = MOST_WINDOWS, pause: Callable[[float], None] = time.sleep) -> list[Check]:
    """Judge the quietest of some windows of a second: what lasts is there in all of them."""
    wanted, wanted_processes = f"below {QUIET:.0%}", f"none above {BUSY:.0%} of a core"
    best: tuple[float, dict[int, str]] | None = None
    before = _times(root)
    for _ in range(windows):
        pause(WINDOW_S)
        after = _times(root)
        if before is None or after is None or after.total <= before.total:
            continue
        share = (after.busy - before.busy) / (after.total - before.total)
        if best is None or share < best[0]:
            best = (share, _competitors(before, after))
        if share < QUIET:
            break
        before = after
    if best is None:
        return [
            _skipped("cpu_load", "/proc/stat says nothing", wanted),
            _skipped("processes", "/proc says nothing", wanted_processes),
        ]
    share, competitors = best
    verdict = Verdict.PASSED if share < QUIET else Verdict.WARNING if share < BUSY else Verdict.FAILED
    fix = "" if verdict is Verdict.PASSED else "stop what else runs (top shows it)"
    by_whom = f", {', '.join(competitors.values())}" if competitors and fix else ""
    seen = f"{share:.0%} of all cores{by_whom}"
    load = Check(name="cpu_load", verdict=verdict, observed=seen, wanted=wanted, fix=fix)
    if competitors:
        seen, verdict, fix = ", ".join(competitors.values()), Verdict.WARNING, _how_to_end(competitors, root)
    else:
        seen, verdict, fix = "none", Verdict.PASSED, ""
    return [load, Check(name="processes", verdict=verdict, observed=seen, wanted=wanted_processes, fix=fix)]


def _competitors(before: _Times, after: _Times) -> dict[int, str]:
    """Processes that took more than a fifth of a core, described, by their id; the greediest first."""
    cores = os.cpu_count() or 1
    ticks_of_a_core = (after.total - before.total) / cores
    shares = sorted(
        (
            ((spent - before.processes[pid][1]) / ticks_of_a_core, name, pid)
            for pid, (name, spent) in after.processes.items()
            if pid in before.processes
        ),
        reverse=True,
    )
    return {pid: f"{name} {share:.0%} ({pid})" for share, name, pid in shares[:SHOWN_PROCESSES] if share > BUSY}


def _how_to_end(pids: Iterable[int], root: Path) -> str:
    """Advice about processes in one line; what they are called, so that nobody ends what he does not know."""
    named = [f"kill {pid}" + (f" ({command})" if (command := _command(pid, root)) else "") for pid in pids]
    them = "it" if len(named) == 1 else "them"
    return f"wait for {them}, or end {them} if yours: {', '.join(named)}"


def _command(pid: int, root: Path) -> str:
    """Program of a process and its script or module; no more, because options may hold what nobody is to read."""
    words = [word for word in (machine.read_text(root / f"proc/{pid}/cmdline") or "").split("\0") if word]
    if not words:
        return ""  # a thread of the kernel
    shown = [words[0].rsplit("/", 1)[-1], *(words[1:3] if words[1:2] == ["-m"] else words[1:2])]
    if len(shown) == 2 and shown[1].startswith("-"):  # noqa: PLR2004 - the program and one more
        shown.pop()
    return " ".join(" ".join(shown).split())[:SHOWN_COMMAND]


def _temperature(device: str, root: Path) -> Check:
    wanted = f"below {WARM_C:.0f} C"
    found = system_state(device, root)["temperature_c"]
    if found is None:
        return _skipped("temperature", f"no temperature sensor of {device} can be read", wanted)
    verdict = Verdict.PASSED if found < WARM_C else Verdict.WARNING if found < HOT_C else Verdict.FAILED
    fix = "" if verdict is Verdict.PASSED else "let it cool down, check the fan; lake ingest --cooldown 55C"
    return Check(name="temperature", verdict=verdict, observed=f"{found:.0f} C", wanted=wanted, fix=fix)


def _memory(root: Path) -> Check:
    wanted = f"at least {ENOUGH_BYTES / GIB:.0f} GiB"
    free = machine.available_bytes(root)
    if free is None:
        return _skipped("free_memory", "/proc/meminfo says nothing", wanted)
    verdict = Verdict.PASSED
    if free < ENOUGH_BYTES:
        verdict = Verdict.WARNING if free >= SCARCE_BYTES else Verdict.FAILED
    fix = "" if verdict is Verdict.PASSED else "stop what holds memory (top -o %MEM shows it)"
    return Check(name="free_memory", verdict=verdict, observed=f"{free / GIB:.1f} GiB", wanted=wanted, fix=fix)


def _power_mode(root: Path) -> Check:
    known = sorted({spec.power_mode for spec in registry().values() if spec.power_mode})
    wanted = f"one of {', '.join(known)}"
    mode, source = machine.power_mode(root)
    if mode is not None and mode_slug(mode) in {mode_slug(name) for name in known}:
        return Check(name="power_mode", verdict=Verdict.PASSED, observed=f"{mode} ({source})", wanted=wanted)
    seen = f"{mode}, which the registry does not know" if mode else source
    fix = "sudo nvpmodel -m ID, with an ID of /etc/nvpmodel.conf"
    return Check(name="power_mode", verdict=Verdict.WARNING, observed=seen, wanted=wanted, fix=fix)


def _jetson_clock(root: Path) -> Check:
    """An idle Jetson clocks its GPU down, so it is the floor that is judged: `jetson_clocks` raises it to the limit."""
    wanted = f"a floor of at least {ENOUGH_CLOCK:.0%} of the limit"
    devfreq = machine.gpu_devfreq(root)
    low, high = (None if devfreq is None else machine.read_number(devfreq / name) for name in ("min_freq", "max_freq"))
    if not low or not high:
        return _skipped("gpu_clock", "devfreq shows no limits of the GPU's clock", wanted)
    share = low / high
    verdict = Verdict.PASSED if share >= ENOUGH_CLOCK else Verdict.WARNING
    fix = "" if verdict is Verdict.PASSED else "sudo jetson_clocks"
    seen = f"{share:.0%} ({low / machine.HZ_PER_MHZ:.0f} of {high / machine.HZ_PER_MHZ:.0f} MHz)"
    return Check(name="gpu_clock", verdict=verdict, observed=seen, wanted=wanted, fix=fix)


def _nvml_checks(device: str, root: Path) -> list[Check]:
    names = ("gpu_clock", "gpu_memory", "gpu_processes")
    index = machine.chosen_gpu(device, root)
    with machine.nvml(root) as (nvml, why):
        handle = None if nvml is None or index is None else machine.ask(nvml, "nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            return [_skipped(name, why or f"NVML does not answer for {device}", "") for name in names]
        return [
            _nvml_clock(nvml, handle, device, root),
            _nvml_memory(nvml, handle),
            _nvml_processes(nvml, handle, root),
        ]


def _nvml_clock(nvml: object, handle: object, device: str, root: Path) -> Check:
    wanted = f"at least {ENOUGH_CLOCK:.0%} of the limit, and nothing that holds it back"
    sm = getattr(nvml, "NVML_CLOCK_SM", 1)
    now = machine.ask(nvml, "nvmlDeviceGetClockInfo", handle, sm)
    most = machine.ask(nvml, "nvmlDeviceGetMaxClockInfo", handle, sm)
    reasons = system_state(device, root)["throttle_reasons"]
    held = [reason for reason in reasons or () if reason in THROTTLES]
    if not now or not most:
        return _skipped("gpu_clock", "NVML tells no clock", wanted)
    seen, verdict, fix = f"{now / most:.0%} ({now} of {most} MHz)", Verdict.PASSED, ""
    if held:
        seen, verdict = f"{seen}, held by {', '.join(held)}", Verdict.WARNING
        fix = "let it cool down; nvidia-smi -q -d PERFORMANCE shows more"
    elif now / most < ENOUGH_CLOCK:
        is_locked = "applications_clocks_setting" in (reasons or ())
        if reasons is None or "gpu_idle" in reasons or not (is_locked or _is_busy(nvml, handle)):
            return _skipped("gpu_clock", f"{seen}: the GPU may be idle; a run judges its clock under load", wanted)
        verdict = Verdict.WARNING if is_locked or now / most >= LITTLE_CLOCK else Verdict.FAILED
        fix = "sudo nvidia-smi -rgc, unless the lower clock is meant"
    return Check(name="gpu_clock", verdict=verdict, observed=seen, wanted=wanted, fix=fix)


def _is_busy(nvml: object, handle: object) -> bool:
    """Whether the GPU is known to work: an idle one clocks down, and not every driver says that it is idle."""
    rates = machine.ask(nvml, "nvmlDeviceGetUtilizationRates", handle)
    return rates is not None and rates.gpu / 100 >= BUSY


def _nvml_memory(nvml: object, handle: object) -> Check:
    wanted = f"at least {1 - USED_BY_OTHERS:.0%} free"
    memory = machine.ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    if memory is None:
        return _skipped("gpu_memory", "NVML tells no memory", wanted)
    share = memory.free / memory.total
    verdict = Verdict.PASSED if share >= 1 - USED_BY_OTHERS else Verdict.WARNING
    fix = "" if verdict is Verdict.PASSED else "stop what holds it (nvidia-smi shows it)"
    seen = f"{share:.0%} of {memory.total / GIB:.0f} GiB free"
    return Check(name="gpu_memory", verdict=verdict, observed=seen, wanted=wanted, fix=fix)


def _nvml_processes(nvml: object, handle: object, root: Path) -> Check:
    wanted = "no other compute process"
    found = machine.ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    if found is None:
        return _skipped("gpu_processes", "NVML lists no processes", wanted)
    pids = [process.pid for process in found if process.pid != os.getpid()]
    if not pids:
        return Check(name="gpu_processes", verdict=Verdict.PASSED, observed="none", wanted=wanted)
    rates = machine.ask(nvml, "nvmlDeviceGetUtilizationRates", handle)
    busy = None if rates is None else rates.gpu / 100
    verdict = Verdict.FAILED if busy is not None and busy >= BUSY else Verdict.WARNING
    seen = ", ".join(map(str, pids[:SHOWN_PROCESSES])) + ("" if busy is None else f", GPU {busy:.0%} busy")
    return Check(
        name="gpu_processes",
        verdict=verdict,
        observed=f"process {seen}",
        wanted=wanted,
        fix=_how_to_end(pids, root),
    )


def _skipped(name: str, why: str, wanted: str) -> Check:
    return Check(name=name, verdict=Verdict.SKIPPED, observed=why, wanted=wanted)
